"""Six transformer blocks, d 512, 8 heads, on [4, 128, 512].

The largest model of the published comprehensive suite: 20 iterations without a
lock. It left the width of the feed-forward layers to torch, which makes it 2048.
"""

import harness


def main():
    options = harness.arguments(__doc__, iterations=20, batch=4)
    torch = harness.torch_on(options)

    def make(_thread):
        block = torch.nn.TransformerEncoderLayer(512, 8, dropout=0.0, batch_first=True)
        model = torch.nn.TransformerEncoder(block, 6).eval().to(options.device)
        batch = torch.randn(options.batch, 128, 512, device=options.device)
        return harness.inference(torch, options, model, batch)

    harness.run("large-transformer", options, make)


if __name__ == "__main__":
    main()
