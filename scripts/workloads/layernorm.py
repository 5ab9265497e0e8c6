"""Layer normalisation of [16, 512, 768], compared with the CPU's.

The published check of the layer whose Metal kernel crashed most: a difference
of at most 1e-3.
"""

import harness

TOLERANCE = 1e-3


def main():
    options = harness.arguments(__doc__, iterations=50)
    torch = harness.torch_on(options)
    generator = torch.Generator().manual_seed(harness.SEED)
    source = torch.randn(16, 512, 768, generator=generator)
    expected = torch.nn.functional.layer_norm(source, (768,))

    def make(_thread):
        local = source.to(options.device)

        def operation(_iteration):
            result = torch.nn.functional.layer_norm(local, (768,))
            harness.synchronize(torch, options.device)
            return (result.cpu() - expected).abs().max().item()
        return operation

    harness.run("layernorm", options, make, tolerance=TOLERANCE)


if __name__ == "__main__":
    main()
