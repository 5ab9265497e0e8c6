"""One thread with batches instead of many threads with one each.

The published answer to threads that crash: the transformer blocks on a batch of
eight, 30 times. --threads N means a batch of N in one thread, so that the rate,
in samples, compares with that of `transformer` with N threads.
"""

import harness


def main():
    options = harness.arguments(__doc__, iterations=30)
    torch = harness.torch_on(options)
    batch_size, options.threads = options.threads, 1
    block = torch.nn.TransformerEncoderLayer(256, 4, 1024, dropout=0.0, batch_first=True)
    model = torch.nn.TransformerEncoder(block, 2).eval().to(options.device)
    batch = torch.randn(batch_size, 32, 256, device=options.device)

    def make(_thread):
        def operation(_iteration):
            with torch.no_grad():
                model(batch)
            harness.synchronize(torch, options.device)
        return operation

    harness.run("batching", options, make, per_call=batch_size)


if __name__ == "__main__":
    main()
