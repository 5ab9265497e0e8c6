"""Thin calls of the `agxpatch` program, by its JSON."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import site
import subprocess
import sysconfig
from typing import Any, Dict, List, Optional, Sequence, Tuple, Type, Union

__all__ = ["AgxpatchError", "crashes", "doctor"]

_Path = Union[str, "os.PathLike[str]"]


class AgxpatchError(RuntimeError):
    """The program refused. `code` is its AGX number, `next` what it says to do."""

    def __init__(self, code: str, message: str, next: Optional[str], exit_status: int) -> None:
        super().__init__(f"{message} [{code}]" + (f"; next: {next}" if next else ""))
        self.code = code
        self.message = message
        self.next = next
        self.exit_status = exit_status

    def __reduce__(self) -> Tuple[Type[AgxpatchError], Tuple[str, str, Optional[str], int]]:
        # Another process of multiprocessing gets it by its parts, not by its text.
        return type(self), (self.code, self.message, self.next, self.exit_status)


def program() -> str:
    """The program's path: the one this package was installed with, else the one on PATH."""
    # `pip install --user` puts it elsewhere.
    for folder in (sysconfig.get_path("scripts"), os.path.join(site.getuserbase(), "bin")):
        beside = pathlib.Path(folder, "agxpatch")
        if beside.is_file():
            return str(beside)
    found = shutil.which("agxpatch")
    if found is None:
        raise FileNotFoundError("the agxpatch program is neither beside this Python nor on PATH")
    return str(pathlib.Path(found).absolute())


def crashes(*paths: _Path, options: Sequence[str] = ()) -> Dict[str, Any]:
    """Crash reports by class: the result of `agxpatch crashes`, of the usual folders or of `paths`."""
    return _call("crashes", [*options, *(["--", *(os.fspath(path) for path in paths)] if paths else [])])


def doctor(options: Sequence[str] = ()) -> Dict[str, Any]:
    """What blocks each depth on this Mac: the result of `agxpatch doctor`."""
    return _call("doctor", list(options))


def _call(command: str, arguments: List[str]) -> Dict[str, Any]:
    words = [program(), "--json", command, *arguments]
    ran = subprocess.run(words, capture_output=True, encoding="utf-8", errors="replace", check=False)
    try:
        answer = json.loads(ran.stdout or ran.stderr)
    except ValueError:
        said = (ran.stderr or ran.stdout).strip()
        raise AgxpatchError("none", said or "no answer", None, ran.returncode) from None
    error = answer.get("error")
    if error is not None:
        raise AgxpatchError(error.get("code", "none"), error.get("message", ""), error.get("next"), ran.returncode)
    result: Dict[str, Any] = answer["result"]
    return result
