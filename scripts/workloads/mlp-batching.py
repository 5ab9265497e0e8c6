"""The perceptron 512-1024-1024-512 in one thread, with batches.

The other half of the published scaling curve: batches of 1, 8, 64 and 256, 100
times each. An operation here is a sample.
"""

import harness
from mlp import model_of


def main():
    options = harness.arguments(__doc__, threads=1, iterations=100, batch=8)
    torch = harness.torch_on(options)

    def make(_thread):
        model = model_of(torch).to(options.device)
        batch = torch.randn(options.batch, 512, device=options.device)
        return harness.inference(torch, options, model, batch)

    harness.run("mlp-batching", options, make, per_call=options.batch)


if __name__ == "__main__":
    main()
