"""Packs a directory so that the same content gives the same bytes.

    archive.py DIRECTORY OUT.tar.gz

Names are sorted, owners and times are fixed, and a file is readable by all or
also runnable by all: who packs, when, on what system and under what umask leaves
no trace. The tar of a Mac has none of the options that GNU's has for this.
"""

import gzip
import pathlib
import sys
import tarfile

# The first of January 2020.
EPOCH = 1577836800


def anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mtime = EPOCH
    member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
    return member


def main(directory: str, out: str) -> None:
    top = pathlib.Path(directory)
    with open(out, "wb") as file, gzip.GzipFile("", "wb", 9, file, EPOCH) as packed:
        with tarfile.open(mode="w", fileobj=packed, format=tarfile.USTAR_FORMAT) as archive:
            for path in [top, *sorted(top.rglob("*"))]:
                name = str(path.relative_to(top.parent))
                archive.add(path, name, recursive=False, filter=anonymous)


main(*sys.argv[1:])
