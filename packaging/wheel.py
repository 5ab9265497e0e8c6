"""Makes the macOS wheel from the Linux one and what was built for macOS.

    wheel.py TEMPLATE.whl OUT-DIR TAG PROGRAM [LIBRARY]

The metadata is maturin's, so that both wheels say the same; the program, its tag
and the record are exchanged. The library goes to `lib` beside the `bin` of the
environment, where the program looks for it. The same input gives the same bytes.
"""

import base64
import hashlib
import pathlib
import sys
import zipfile

EPOCH = (2020, 1, 1, 0, 0, 0)


def digest(content: bytes) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


def entry(name: str, executable: bool) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, EPOCH)
    info.external_attr = (0o100755 if executable else 0o100644) << 16
    info.compress_type = zipfile.ZIP_DEFLATED
    info.create_system = 3
    return info


def retagged(wheel_file: bytes, tag: str) -> bytes:
    kept = [line for line in wheel_file.decode().splitlines() if line and not line.startswith("Tag:")]
    return "\n".join([*kept, f"Tag: {tag}", ""]).encode()


def contents(template: zipfile.ZipFile, tag: str, program: bytes, library: "bytes | None") -> "dict[str, bytes]":
    files = {}
    for name in template.namelist():
        directory, _, rest = name.partition("/")
        if rest == "RECORD":
            continue
        if rest.startswith("scripts/"):
            files[name] = program
            if library is not None:
                files[f"{directory}/data/lib/libagx_guard.dylib"] = library
        elif rest == "WHEEL":
            files[name] = retagged(template.read(name), tag)
        else:
            files[name] = template.read(name)
    return files


def main(template: str, out: str, tag: str, program: str, library: "str | None" = None) -> None:
    with zipfile.ZipFile(template) as source:
        name, version = pathlib.Path(template).name.split("-")[:2]
        files = contents(
            source,
            tag,
            pathlib.Path(program).read_bytes(),
            pathlib.Path(library).read_bytes() if library else None,
        )
    record = f"{name}-{version}.dist-info/RECORD"
    lines = [f"{file},{digest(content)},{len(content)}" for file, content in sorted(files.items())]
    files[record] = "\n".join([*lines, f"{record},,", ""]).encode()
    path = pathlib.Path(out) / f"{name}-{version}-{tag}.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for file, content in sorted(files.items()):
            wheel.writestr(entry(file, "/scripts/" in file), content)
    print(path)


main(*sys.argv[1:])
