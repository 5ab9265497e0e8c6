"""The project's shapes and their rewrites, compiled as `crates/oracles/src/shapes.rs` does but for arm64e."""

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

LEVELS = ("-O1", "-O2", "-O3", "-Os", "-Oz")
# Flags that change the form of the code, with the levels they are tried at.
FLAGS = (
    ((), LEVELS),
    (("-mcpu=apple-m1",), ("-O3",)),
    (("-mbranch-protection=standard",), ("-O2",)),
    (("-fstack-protector-all",), ("-O1",)),
    (("-fno-inline",), ("-O2",)),
    (("-mcmodel=large",), ("-Oz",)),
    (("-fexceptions", "-fno-omit-frame-pointer"), ("-Os",)),
    (("-mcpu=apple-m1", "-mbranch-protection=standard", "-fstack-protector-all"), ("-Oz",)),
)
LINKER = "ld64.lld-22"


@dataclass(frozen=True)
class Job:
    """One way to compile one source."""

    source: Path
    version: int
    flags: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.source.name} clang-{self.version} {' '.join(self.flags)}"


@dataclass(frozen=True)
class Rewrite:
    """One function that agxpatch rewrote by meaning."""

    name: str
    entry: int
    ways: tuple[str, ...]


def missing(versions: list[int]) -> str | None:
    tools = [LINKER, *(f"clang-{version}" for version in versions)]
    return next((tool for tool in tools if shutil.which(tool) is None), None)


def jobs(sources: Path, versions: list[int]) -> list[Job]:
    files = sorted(path for path in sources.iterdir() if path.suffix != ".h")
    ways = [(level, *flags) for flags, levels in FLAGS for level in levels]
    return [Job(file, version, way) for way in ways for version in versions for file in files]


def compile_job(job: Job, to: Path) -> None:
    object_ = to.with_suffix(".o")
    compiler = [f"clang-{job.version}", "-target", "arm64-apple-macos13", "-ffreestanding", "-nostdinc", "-fblocks"]
    compiler += [*job.flags, "-c", "-o", object_, job.source, "-Wno-unused-command-line-argument"]
    linker = [LINKER, "-dylib", "-arch", "arm64", "-undefined", "dynamic_lookup", "-adhoc_codesign"]
    linker += ["-platform_version", "macos", "13.0", "13.0", "-o", to, object_]
    for command in (compiler, linker):
        subprocess.run(command, check=True, capture_output=True)


def patch(agxpatch: Path, image: Path, to: Path) -> list[Rewrite]:
    """Has agxpatch write its rewrite of every function in the image that clears late."""
    command = [agxpatch, "patch", image, "--output", to, "--json"]
    answer = json.loads(subprocess.run(command, capture_output=True, text=True, check=False).stdout)
    plan = answer.get("result", {}).get("by_meaning")
    if plan is None or not to.exists():
        return []
    return [Rewrite(one["name"], int(one["function"], 16), tuple(one["ways"])) for one in plan["rewritten"]]
