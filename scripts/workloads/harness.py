"""What the workloads have in common: arguments, threads, the line of results.

A workload calls run() with a function that makes one operation. torch is
imported here only, and only when a workload runs, so that --help works without
it. The last line printed is JSON that `agxpatch stress` reads:

    {"agxpatch_workload": 1, "workload": "matmul", "device": "mps", "threads": 8,
     "operations": 800, "expected": 800, "seconds": 1.5, "errors": [],
     "max_difference": null, "tolerance": null}

Nothing here locks, retries or waits for the driver: whether it survives being
called from many threads is the question. --permits N asks for the published
workaround in Python: at most N threads inside an operation, 1 for a lock.
--batched asks for what scales: one worker makes the operations of all threads, and
looks at the samples that wait together as one batch where the workload is a model's.
"""

import argparse
import contextlib
import functools
import json
import math
import sys
import threading
import time

SKIP = 77
SEED = 2994


def arguments(description, *, threads=8, iterations=None, duration=None, batch=None,
              permits=None):
    """The options every workload takes, with this one's defaults."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--device", default="mps", help="torch device (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=threads, metavar="N",
                        help="threads at work at once (default: %(default)s)")
    if iterations is not None:
        parser.add_argument("--iterations", type=int, default=iterations, metavar="N",
                            help="operations a thread (default: %(default)s)")
    else:
        parser.set_defaults(iterations=None)
    if duration is not None:
        parser.add_argument("--duration", type=float, default=duration, metavar="S",
                            help="seconds to run (default: %(default)s)")
    else:
        parser.set_defaults(duration=None)
    if batch is not None:
        parser.add_argument("--batch", type=int, default=batch, metavar="N",
                            help="samples an operation (default: %(default)s)")
    parser.add_argument("--permits", type=int, default=permits, metavar="N",
                        help="threads inside an operation at once (default: "
                             f"{permits or 'no bound'})")
    parser.add_argument("--batched", action="store_true",
                        help="let one worker make the operations of all threads, in batches")
    parser.add_argument("--check", action="store_true", help="only tell whether it could run")
    options = parser.parse_args()
    for name in ("threads", "batch", "permits"):
        value = getattr(options, name, None)
        if value is not None and value < 1:
            parser.error(f"--{name} must be at least 1")
    return options


def torch_on(options):
    """torch, once it is certain that it has the device; ends a --check."""
    try:
        import torch
    except ImportError as error:
        sys.exit(_skip(f"torch cannot be imported: {error}"))
    try:
        (torch.ones(2, device=options.device) + 1).cpu()
    except Exception as error:  # torch raises several kinds for a missing device
        reason = str(error).splitlines()[0][:120]
        sys.exit(_skip(f"torch {torch.__version__} has no device {options.device}: {reason}"))
    torch.manual_seed(SEED)
    torch.set_grad_enabled(False)
    if options.device == "cpu":
        # The threads are the workload's own.
        torch.set_num_threads(1)
    if options.check:
        print(f"torch {torch.__version__} on {options.device}")
        sys.exit(0)
    return torch


def _skip(reason):
    print(reason, file=sys.stderr)
    return SKIP


def inference(torch, options, model, batch):
    """The operation that has the model look at the batch once."""
    def look(samples):
        # Autograd's mode belongs to the thread.
        with torch.no_grad():
            model(samples)
        synchronize(torch, options.device)

    def operation(_iteration):
        look(batch)

    # What --batched makes one call of; models of all threads are the same.
    operation.many = lambda count: look(torch.cat([batch] * count))
    return operation


def batcher(options):
    """The worker of --batched, which takes operations and their numbers."""
    from batch import Batcher

    def work(calls):
        many = getattr(calls[0][0], "many", None)
        if many is None:
            return [operation(iteration) for operation, iteration in calls]
        many(len(calls))
        return [None] * len(calls)

    return Batcher(work, max_batch=options.threads, max_delay=0.001)


def synchronize(torch, device):
    """Waits until the device has done what it was asked."""
    if device == "mps":
        torch.mps.synchronize()


def run(name, options, make_operation, *, tolerance=None, per_call=1, final_check=None):
    """Runs the workload and prints its result.

    make_operation(thread) is called in each thread before the clock starts and
    returns a function of the iteration's number: one operation, which returns
    None or its difference from the expected result. The first call in each thread
    comes before the clock starts and is not counted. per_call is how many
    operations one call stands for. final_check() returns what is wrong once all
    threads have ended, or None.
    """
    errors = []
    permit = contextlib.nullcontext()
    if options.permits is not None:
        permit = threading.Semaphore(options.permits)
    worker = batcher(options) if options.batched else None
    done = [0] * options.threads
    differences = [[] for _ in range(options.threads)]
    spans = [None] * options.threads
    barrier = threading.Barrier(options.threads)

    def work(thread):
        started = False
        try:
            operation = make_operation(thread)
            if worker is not None:
                operation = functools.partial(_through, worker, operation)
            # The first call compiles kernels and fills caches, which is not what a
            # rate is about; whether it survives counts all the same.
            with permit:
                operation(0)
            barrier.wait()
            started = True
            began = time.perf_counter()
            for iteration in _iterations(options, began):
                with permit:
                    difference = operation(iteration)
                done[thread] += per_call
                if difference is not None:
                    differences[thread].append(difference)
            spans[thread] = (began, time.perf_counter())
        except threading.BrokenBarrierError:
            errors.append(f"thread {thread}: another thread could not start")
        except Exception as error:  # a thread must not die unheard
            if not started:
                # Or the others would wait for it for ever.
                barrier.abort()
            errors.append(f"thread {thread}: {type(error).__name__}: {error}")

    workers = [threading.Thread(target=work, args=(index,), name=f"worker-{index}")
               for index in range(options.threads)]
    for thread in workers:
        thread.start()
    for thread in workers:
        thread.join()

    if worker is not None:
        worker.close()
    wrong = final_check() if final_check else None
    if wrong:
        errors.append(wrong)
    spans = [span for span in spans if span]
    seconds = max(end for _, end in spans) - min(begin for begin, _ in spans) if spans else 0.0
    report(name, options, sum(done), seconds, errors, sum(differences, []), tolerance, per_call)


def _through(worker, operation, iteration):
    return worker((operation, iteration))


def _iterations(options, began):
    if options.duration is None:
        yield from range(options.iterations)
        return
    iteration = 0
    while time.perf_counter() - began < options.duration:
        yield iteration
        iteration += 1


def report(name, options, operations, seconds, errors, differences, tolerance, per_call):
    """Prints the line of results; ends with 1 if the result is not right."""
    expected = None
    if options.duration is None:
        expected = options.threads * options.iterations * per_call
    # JSON has no NaN: a difference that is not finite is none, which fails.
    finite = differences and all(math.isfinite(each) for each in differences)
    worst = max(differences) if finite else None
    print(json.dumps({
        "agxpatch_workload": 1, "workload": name, "device": options.device,
        "threads": options.threads, "operations": operations, "expected": expected,
        "seconds": seconds, "errors": errors, "max_difference": worst, "tolerance": tolerance,
    }), flush=True)
    wrong = tolerance is not None and (worst is None or worst > tolerance)
    if errors or wrong or (expected is not None and operations != expected):
        sys.exit(1)
