#!/usr/bin/env python3
"""Makes the arm64e slice of the guard from its arm64 slice: `arm64e.py IN OUT`.

rustc has no arm64e target here, and none is needed. The slice is the arm64 code under the arm64e sub-type: where pointer
authentication is off the two run alike, and where it is on the library notices when it is loaded, says so and does nothing.

Why not an empty slice: from macOS 14.4 on, dyld takes the arm64e slice of a universal library before the arm64 one also for an
arm64 process (with the keys off; that is how such a process runs Apple's arm64e drivers). An empty arm64e slice would be what
every Python gets.

Changes the CPU sub-type in the header and the hash of the first page in the ad-hoc signature, and nothing else.
"""

import hashlib
import struct
import sys

MH_MAGIC_64 = 0xFEEDFACF
CPU_SUBTYPE_ARM64E = 0x80000002  # with the "versioned ABI" bit, version 0: dyld refuses 0x2
LC_CODE_SIGNATURE = 0x1D
CODE_DIRECTORY = 0xFADE0C02


def code_signature(image):
    """Offset of the signature's super blob."""
    magic, _, _, _, commands = struct.unpack_from("<5I", image)
    if magic != MH_MAGIC_64:
        raise SystemExit("not a thin 64-bit Mach-O file")
    at = 32
    for _ in range(commands):
        command, size, offset = struct.unpack_from("<3I", image, at)
        if command == LC_CODE_SIGNATURE:
            return offset
        at += size
    raise SystemExit("no code signature to bring up to date")


def rehash_first_page(image):
    blob = code_signature(image)
    _, _, count = struct.unpack_from(">3I", image, blob)
    for index in range(count):
        (offset,) = struct.unpack_from(">I", image, blob + 12 + 8 * index + 4)
        directory = blob + offset
        if struct.unpack_from(">I", image, directory)[0] != CODE_DIRECTORY:
            continue
        (hashes,) = struct.unpack_from(">I", image, directory + 16)
        (limit,) = struct.unpack_from(">I", image, directory + 32)
        hash_size, hash_type, _, page_bits = struct.unpack_from("4B", image, directory + 36)
        if (hash_size, hash_type) != (32, 2):
            raise SystemExit("the code directory does not use SHA-256")
        page = image[: min(limit, 1 << page_bits)]
        image[directory + hashes : directory + hashes + 32] = hashlib.sha256(page).digest()
        return
    raise SystemExit("no code directory in the signature")


def main(source, target):
    with open(source, "rb") as file:
        image = bytearray(file.read())
    struct.pack_into("<I", image, 8, CPU_SUBTYPE_ARM64E)
    rehash_first_page(image)
    with open(target, "wb") as file:
        file.write(image)


if __name__ == "__main__":
    main(*sys.argv[1:])
