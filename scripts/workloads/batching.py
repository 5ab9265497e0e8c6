"""One thread with batches instead of many threads with one sample each.

The published answer to threads that crash: the transformer blocks on a batch of
eight, 30 times, against 8 threads with one sample, and 4 threads with two. An
operation here is a sample, so --threads 8 --batch 1 and --threads 4 --batch 2 are
those two, and their rates compare.
"""

import harness
from transformer import model_of


def main():
    options = harness.arguments(__doc__, threads=1, iterations=30, batch=8)
    torch = harness.torch_on(options)

    def make(_thread):
        model = model_of(torch).to(options.device)
        batch = torch.randn(options.batch, 32, 256, device=options.device)
        return harness.inference(torch, options, model, batch)

    harness.run("batching", options, make, per_call=options.batch)


if __name__ == "__main__":
    main()
