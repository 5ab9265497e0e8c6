"""Results of many threads against the CPU's, within 1e-3.

The fourth chapter of the published suite: ten inputs through the transformer
blocks, on one model that all threads share.
"""

import copy

import harness

TOLERANCE = 1e-3


def main():
    options = harness.arguments(__doc__, iterations=10)
    torch = harness.torch_on(options)
    block = torch.nn.TransformerEncoderLayer(256, 4, 1024, dropout=0.0, batch_first=True)
    reference = torch.nn.TransformerEncoder(block, 2).eval()
    model = copy.deepcopy(reference).to(options.device)
    inputs = [torch.randn(4, 32, 256) for _ in range(options.iterations)]
    with torch.no_grad():
        expected = [reference(each) for each in inputs]

    def make(_thread):
        def operation(iteration):
            with torch.no_grad():
                result = model(inputs[iteration].to(options.device))
            harness.synchronize(torch, options.device)
            return (result.cpu() - expected[iteration]).abs().max().item()
        return operation

    harness.run("correctness", options, make, tolerance=TOLERANCE)


if __name__ == "__main__":
    main()
