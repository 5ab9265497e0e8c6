"""Product of two 128 x 128 matrices, synchronised each time, for a minute.

The published quick soak test: 8 threads, 60 seconds, no errors.
"""

import harness


def main():
    options = harness.arguments(__doc__, duration=60.0)
    torch = harness.torch_on(options)

    def make(_thread):
        a = torch.randn(128, 128, device=options.device)
        b = torch.randn(128, 128, device=options.device)

        def operation(_iteration):
            torch.mm(a, b)
            harness.synchronize(torch, options.device)
        return operation

    harness.run("soak", options, make)


if __name__ == "__main__":
    main()
