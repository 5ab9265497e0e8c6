"""Two transformer blocks, d 256, 4 heads, feed-forward 1024, on [4, 32, 256].

The first chapter of the published suite: 8 threads, 20 iterations, 160 of 160.
There every call was behind a lock; here none is, unless --permits asks for it.
"""

import harness


def main():
    options = harness.arguments(__doc__, iterations=20, batch=4)
    torch = harness.torch_on(options)

    def make(_thread):
        model = model_of(torch).to(options.device)
        batch = torch.randn(options.batch, 32, 256, device=options.device)
        return harness.inference(torch, options, model, batch)

    harness.run("transformer", options, make)


def model_of(torch):
    """The published model, ready for inference."""
    block = torch.nn.TransformerEncoderLayer(256, 4, 1024, dropout=0.0, batch_first=True)
    return torch.nn.TransformerEncoder(block, 2).eval()


if __name__ == "__main__":
    main()
