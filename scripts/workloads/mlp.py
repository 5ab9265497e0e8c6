"""A perceptron 512-1024-1024-512 with a model for each thread.

The published scaling curve: threads 1, 2, 4, 8, 16 with 50 iterations each.
"""

import harness


def main():
    options = harness.arguments(__doc__, iterations=50, batch=4)
    torch = harness.torch_on(options)

    def make(_thread):
        model = model_of(torch).to(options.device)
        batch = torch.randn(options.batch, 512, device=options.device)
        return harness.inference(torch, options, model, batch)

    harness.run("mlp", options, make)


def model_of(torch):
    """The published model, ready for inference."""
    nn = torch.nn
    return nn.Sequential(
        nn.Linear(512, 1024), nn.ReLU(),
        nn.Linear(1024, 1024), nn.ReLU(),
        nn.Linear(1024, 512),
    ).eval()


if __name__ == "__main__":
    main()
