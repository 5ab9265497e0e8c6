"""A linear layer and layer normalisation, width 256, batch 32, for an hour.

The published long soak test: 4 threads of which 2 work at once, a checkpoint a
minute, and memory that grows by no more than 1000 MB. It allowed one operation in
a hundred to fail; here none may.
"""

import resource
import sys
import threading
import time

import harness

CHECKPOINT_SECONDS = 60
MOST_GROWTH_MB = 1000


def main():
    options = harness.arguments(__doc__, threads=4, duration=3600.0, batch=32, permits=2)
    torch = harness.torch_on(options)
    done = [0] * options.threads
    watch = Watch(done)

    def make(thread):
        model = torch.nn.Sequential(
            torch.nn.Linear(256, 256), torch.nn.LayerNorm(256),
        ).to(options.device).eval()
        batch = torch.randn(options.batch, 256, device=options.device)

        def operation(_iteration):
            with torch.no_grad():
                model(batch)
            harness.synchronize(torch, options.device)
            done[thread] += 1
        return operation

    harness.run("soak-hour", options, make, final_check=watch.end)


class Watch:
    """Tells of progress and memory each minute, and judges them at the end.

    The peak of memory stands for what is used: it is what the system keeps of it
    everywhere, and it cannot miss growth, only count it early.
    """

    def __init__(self, done):
        self.done = done
        self.first = peak_mb()
        self.ended = threading.Event()
        self.stalled = None
        self.thread = threading.Thread(target=self.work, name="watch", daemon=True)
        self.thread.start()

    def work(self):
        before = list(self.done)
        began = time.monotonic()
        while not self.ended.wait(CHECKPOINT_SECONDS):
            now = list(self.done)
            for thread, (old, new) in enumerate(zip(before, now)):
                if old == new and self.stalled is None:
                    self.stalled = f"thread {thread} did nothing for {CHECKPOINT_SECONDS} s"
            before = now
            print(f"{time.monotonic() - began:.0f} s: {sum(now)} operations, "
                  f"{peak_mb() - self.first:.0f} MB more", file=sys.stderr, flush=True)

    def end(self):
        self.ended.set()
        self.thread.join()
        growth = peak_mb() - self.first
        if growth > MOST_GROWTH_MB:
            return f"memory grew by {growth:.0f} MB, more than {MOST_GROWTH_MB}"
        return self.stalled


def peak_mb():
    """The most memory this process has had, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Bytes on macOS, KiB on Linux.
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


if __name__ == "__main__":
    main()
