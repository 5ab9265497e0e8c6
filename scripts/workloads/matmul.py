"""Product of two 256 x 256 matrices and ReLU, synchronised each time.

The published verification of the binary patch: 8 threads, 100 iterations.
"""

import harness


def main():
    options = harness.arguments(__doc__, iterations=100)
    torch = harness.torch_on(options)

    def make(_thread):
        def operation(_iteration):
            a = torch.randn(256, 256, device=options.device)
            b = torch.randn(256, 256, device=options.device)
            torch.relu(torch.mm(a, b))
            harness.synchronize(torch, options.device)
        return operation

    harness.run("matmul", options, make)


if __name__ == "__main__":
    main()
