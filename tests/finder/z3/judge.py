#!/usr/bin/env python3
"""An independent judge of the rewrites by meaning: symbolic execution of the bytes, decided by z3.

The shapes of `crates/oracles/shapes` are compiled, `agxpatch patch` rewrites them, and every
function that was rewritten is executed symbolically before and after. Nothing of agxpatch's own
semantics takes part: angr lifts the machine code (VEX), claripy and z3 decide. A rewrite is

    proven      on every pair of paths that one input can take, both make the same calls with the
                same arguments, memory is the same at each call and at the end, and so are the
                result, the stack pointer and the registers a function must keep. One difference is
                permitted: at a call the cleared field may be NULL already. At each unlock and free
                that gives the block back, it must be.
    refuted     an input exists that shows a difference; the first is printed.
    undecided   the judge cannot follow the function, and says why.

`corpus.py` compiles and rewrites, `machine.py` is the machine under angr, `inputs.py` names what both
runs begin with, `run.py` executes a function, `paths.py` has what is seen of it, `landing_pads.py` reads
exception tables, `compare.py` asks z3, `controls.py` makes wrong rewrites.

What is assumed: pointers from different places lead to different objects or are NULL; other threads
and the functions called may change everything but the stack, the object with the field and what the
function reached it through; an exception passes through the function's own landing pads only; signing
a pointer leaves it as it is. A path that comes to one branch for the fourth time, and may go either
way, is compared up to there and counted as cut; an index without a bound has one of its first 16 values.

`--controls` makes wrong rewrites of the compiled functions, each of which must be refuted.
"""

import argparse
import contextlib
import json
import multiprocessing
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import corpus
from compare import Counts, Refuted, clears_in_time, refine
from controls import controls
from inputs import Inputs
from machine import load
from paths import Undecided, find_cells
from run import Run

ROOT = Path(__file__).resolve().parents[3]


class Original:
    """A function before the rewrite: its paths, and the fields that it clears late."""

    def __init__(self, image: bytes, entry: int) -> None:
        self.entry, self.inputs = entry, Inputs()
        self.reached: set[int] = set()
        project = load(image)
        first = Run(project, self.inputs, forgetful=False).explore(entry, enough=16)
        self.inputs.keep(find_cells(first, self.inputs))
        if not self.inputs.cells:
            raise Undecided("no field whose block is given back is cleared")
        self.paths = Run(project, self.inputs).explore(entry)
        self.require_followed()
        with contextlib.suppress(Refuted):
            clears_in_time(self.paths, self.inputs)
            raise Undecided("the original clears in time")

    def require_followed(self):
        ends = {path.end for path in self.paths}
        for end, why in (("unbounded", "an address or a branch may lead anywhere"), ("endless", "a loop does not end")):
            if end in ends:
                raise Undecided(why)
        if "return" not in ends:
            raise Undecided("no path returns")

    def judge(self, image: bytes) -> tuple[str, str, Counts]:
        """Whether the function in `image` refines this one and clears in time."""
        counts, run = Counts(), Run(load(image), self.inputs)
        try:
            paths = run.explore(self.entry)
            self.reached = run.reached
            refine(self.paths, paths, self.inputs, counts)
            clears_in_time(paths, self.inputs)
        except Refuted as refuted:
            shown = ", ".join(f"{name} = {value:#x}" for name, value in refuted.model.items())
            return "refuted", f"{refuted.reason}; with {shown}", counts
        except Undecided as undecided:
            return "undecided", str(undecided), counts
        return "proven", "", counts


@contextlib.contextmanager
def limit(seconds: int):
    def late(*_):
        raise Undecided(f"not decided in {seconds} s")

    # Seconds of the processor, so that a busy machine decides the same.
    signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def judge_function(before: bytes, after: bytes, rewrite: corpus.Rewrite, options) -> list[dict]:
    start = time.process_time()
    results = []

    def add(kind, verdict, why, counts):
        seconds = round(time.process_time() - start, 2)
        results.append({"function": rewrite.name, "kind": kind, "verdict": verdict, "why": why, "seconds": seconds})
        results[-1] |= {"ways": rewrite.ways, **asdict(counts)}

    try:
        with limit(options.seconds):
            original = Original(before, rewrite.entry)
            add("rewrite", *original.judge(after))
    except Undecided as undecided:
        add("rewrite", "undecided", str(undecided), Counts())
        return results
    reached = original.reached
    for kind, image in controls(before, after, rewrite.entry, reached) if options.controls else ():
        start = time.process_time()
        try:
            with limit(options.seconds):
                add(kind, *original.judge(image))
        except Undecided as undecided:
            add(kind, "undecided", str(undecided), Counts())
    return results


def prepare(jobs: list[corpus.Job], options) -> Iterator[tuple]:
    """Compiles and rewrites; an image that another job gave as well is judged once."""
    seen = set()
    with tempfile.TemporaryDirectory() as folder:
        image, rewritten = Path(folder, "original"), Path(folder, "rewritten")
        for job in jobs:
            corpus.compile_job(job, image)
            before = image.read_bytes()
            if before in seen:
                continue
            seen.add(before)
            rewrites = corpus.patch(options.agxpatch, image, rewritten)
            rewrites = [one for one in rewrites if re.search(options.only, one.name)]
            if rewrites:
                yield job, before, rewritten.read_bytes(), rewrites, options
            rewritten.unlink(missing_ok=True)


def judge_image(work: tuple) -> list[dict]:
    job, before, after, rewrites, options = work
    results = [one for rewrite in rewrites for one in judge_function(before, after, rewrite, options)]
    return [{"job": str(job), **one} for one in results]


def report(results: list[dict]) -> bool:
    """Prints the sums; whether no rewrite is refuted, and every wrong one is."""
    rewrites = [one for one in results if one["kind"] == "rewrite"]
    spoilt = [one for one in results if one["kind"] != "rewrite"]
    for name, part in (("rewrites", rewrites), ("wrong rewrites", spoilt)):
        if part:
            verdicts = Counter(one["verdict"] for one in part)
            sums = ", ".join(f"{verdicts[verdict]} {verdict}" for verdict in ("proven", "refuted", "undecided"))
            paths, cut = (sum(one[key] for one in part) for key in ("original", "cut"))
            seconds = sum(one["seconds"] for one in part) / len(part)
            print(f"{len(part)} {name}: {sums}; {paths} paths, {cut} cut; {seconds:.1f} s each")
    if not rewrites:
        print("no function was rewritten")
    right = all(one["verdict"] != "refuted" for one in rewrites) and all(one["verdict"] == "refuted" for one in spoilt)
    return bool(rewrites) and right


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--agxpatch", type=Path, required=True, help="the program whose rewrites are judged")
    parser.add_argument("--sources", type=Path, default=ROOT / "crates/oracles/shapes")
    parser.add_argument("--clang", default="14,22", help="versions, by comma")
    parser.add_argument("--flags", help="only this set of flags, as -O2")
    parser.add_argument("--only", default="", help="only functions whose name matches this")
    parser.add_argument("--controls", action="store_true", help="judge wrong rewrites as well")
    parser.add_argument(
        "--seconds", type=int, default=300, help="the limit for one judgement, in seconds of the processor"
    )
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--out", type=Path, help="append one JSON object for each judgement")
    return parser.parse_args()


def main() -> int:
    options = arguments()
    versions = [int(version) for version in options.clang.split(",")]
    if lacking := corpus.missing(versions):
        print(f"SKIPPED judge: {lacking} is missing")
        return 0
    jobs = corpus.jobs(options.sources, versions)
    jobs = [job for job in jobs if options.flags is None or job.flags == tuple(options.flags.split())]
    results = []
    # A process for each image gives back what angr keeps.
    with multiprocessing.get_context("fork").Pool(options.processes, maxtasksperchild=1) as pool:
        for found in pool.imap_unordered(judge_image, prepare(jobs, options)):
            results += found
            for one in found:
                if one["verdict"] != ("proven" if one["kind"] == "rewrite" else "refuted"):
                    print(f"{one['verdict']}: {one['kind']} of {one['function']}, {one['job']}: {one['why']}")
            if options.out:
                with options.out.open("a") as out:
                    out.writelines(json.dumps(one) + "\n" for one in found)
    return 0 if report(results) else 1


if __name__ == "__main__":
    sys.exit(main())
