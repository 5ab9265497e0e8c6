"""Where an exception that a call throws goes on: the table that the compiler leaves for the unwinder.

`__unwind_info` names the table of each function that has one. A table lists stretches of code, each
with its landing pad, as LEB128 distances from the start of the function.
"""

import struct
from collections.abc import Iterator

OMITTED, ULEB128 = 0xFF, 0x01


def landing_pads(project) -> dict[range, int]:
    """The landing pad of each stretch of code that has one."""
    sections = {section.name: section for section in project.loader.main_object.sections}
    info = sections.get("__unwind_info")
    if info is None:
        return {}
    pads = {}
    data = project.loader.memory.load(info.vaddr, info.memsize)
    for function, table in tables(data):
        bytes_ = project.loader.memory.load(table, 0x400)
        pads |= {range(function + start, function + end): function + pad for start, end, pad in stretches(bytes_)}
    return pads


def tables(info: bytes) -> Iterator[tuple[int, int]]:
    """The functions with a table, and its address; images here begin at address 0."""
    index, count = struct.unpack_from("<II", info, 20)
    first, last = (struct.unpack_from("<III", info, index + 12 * number)[2] for number in (0, count - 1))
    return struct.iter_unpack("<II", info[first:last])


def uleb128(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value, shift, at = value | (byte & 0x7F) << shift, shift + 7, at + 1
        if byte < 0x80:
            return value, at


def stretches(table: bytes) -> Iterator[tuple[int, int, int]]:
    """Start, end and landing pad, each from the start of the function."""
    assert table[0] == OMITTED, "landing pads are counted from the function"
    at = 2 if table[1] == OMITTED else uleb128(table, 2)[1]
    assert table[at] == ULEB128
    length, at = uleb128(table, at + 1)
    end = at + length
    while at < end:
        fields = []
        for _ in range(4):
            value, at = uleb128(table, at)
            fields.append(value)
        start, size, pad, _action = fields
        if pad:
            yield start, start + size, pad
