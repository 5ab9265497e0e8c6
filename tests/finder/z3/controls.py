"""Wrong rewrites, made of right ones: the judge proves nothing unless it refutes each of them."""

import struct
from collections.abc import Iterator

from machine import load

NOP = 0xD503201F


def is_clear(word: int) -> bool:
    """`str xzr`, with an immediate or a register as the offset."""
    return word & 0xFFC0001F == 0xF900001F or word & 0xFFE00C1F == 0xF820081F


def is_call(word: int) -> bool:
    return word & 0xFC000000 == 0x94000000


def is_stub(word: int) -> bool:
    """`adrp x16`, the first of the three words that lead to a function of another image."""
    return word & 0x9F00001F == 0x90000010


def has_effect(word: int) -> bool:
    """A call, a store, or the first argument of a call."""
    return is_call(word) or word & 0x3A400000 == 0x38000000 or word & 31 == 0


def is_conditional(word: int) -> bool:
    return word & 0xFF000010 == 0x54000000


def target(at: int, word: int) -> int:
    """Where a branch or a call leads."""
    bits, shift = (19, 5) if is_conditional(word) else (26, 0)
    distance = word >> shift & (1 << bits) - 1
    return at + 4 * (distance - (distance >> bits - 1 << bits))


def leading(at: int, word: int, to: int) -> int:
    return word & 0xFC000000 | (to - at) // 4 & 0x3FFFFFF


class Code:
    """A rewritten function; in these images each word is at the offset of its address."""

    def __init__(self, before: bytes, after: bytes, entry: int, reached: set[int]) -> None:
        self.image, main = after, load(after).loader.main_object
        text = next(segment for segment in main.segments if segment.segname == "__TEXT")
        assert text.vaddr == text.offset == 0
        count = text.filesize // 4
        self.old, self.new = (struct.unpack_from(f"<{count}I", image) for image in (before, after))
        code = next(section for section in main.sections if section.name == "__text")
        starts = (symbol.rebased_addr for symbol in main.symbols)
        self.end = code.vaddr + code.memsize
        self.own = range(entry, min(start for start in (*starts, self.end) if start > entry), 4)
        self.all = [at for at in range(0, text.filesize, 4) if at in reached and self.is_own(at)]
        # Room for a call that goes another way: the last words of the segment are padding.
        self.room = text.filesize - 8

    def is_own(self, at: int) -> bool:
        """Whether the word is of the function, or of the code in padding that its rewrite added."""
        return at in self.own or (at >= self.end and self.old[at // 4] != self.new[at // 4])

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return ((at, self.new[at // 4]) for at in self.all)

    def spoil(self, words: dict[int, int]) -> bytes:
        image = bytearray(self.image)
        for at, word in words.items():
            struct.pack_into("<I", image, at, word)
        return bytes(image)


def of_the_clear(code: Code) -> Iterator[tuple[str, dict[int, int]]]:
    added = {at: word for at, word in code if is_clear(word) and word != code.old[at // 4]}
    dropped = {at: code.old[at // 4] for at, word in code if word == NOP and is_clear(code.old[at // 4])}
    lost = dict.fromkeys(added, NOP)
    yield "clear lost", lost
    yield "clear late as before", lost | dropped
    yield "clear of the first field", {at: 0xF900001F | word & 0x3E0 for at, word in added.items()}
    yield "clear of half a pointer", {at: word & ~(1 << 30) for at, word in added.items()}
    yield "clear of another object", {at: word ^ 1 << 5 for at, word in added.items()}
    places = [target(at, word) for at, word in code if is_call(word)]
    calls = [at for at, word in code if is_call(word) and places.count(target(at, word)) > 1]
    clear = next(iter(dropped.values()), None)
    for at in calls if clear else ():
        way = {code.room: clear, code.room + 4: leading(code.room + 4, 0x14000000, target(at, code.new[at // 4]))}
        yield "clear at one call only", lost | way | {at: leading(at, code.new[at // 4], code.room)}


def of_the_rest(code: Code) -> Iterator[tuple[str, dict[int, int]]]:
    for at, word in code:
        # A call of what ends the program may be followed by another of the same.
        twice = is_call(code.new[at // 4 + 1]) and target(at, word) == target(at + 4, code.new[at // 4 + 1])
        if is_call(word) and not twice:
            yield "call lost", {at: NOP}
        if is_call(word) and is_stub(code.new[target(at, word) // 4 + 3]):
            yield "call of the next function", {at: word + 3}
        # To branch past a word without effect would be right.
        if is_conditional(word):
            yield "condition inverted", {at: word ^ 1}
        if is_conditional(word) and has_effect(code.new[target(at, word) // 4]):
            yield "conditional branch a word further", {at: word + 32}
        if word & 0x7E000000 == 0x34000000:
            yield "test inverted", {at: word ^ 1 << 24}
        if word & 0xFC000000 == 0x14000000 and has_effect(code.new[target(at, word) // 4]):
            yield "branch a word further", {at: word + 1}
        if word & 0xFFC00000 == 0xA9400000 and (word ^ 1) & 31 != word >> 10 & 31:
            yield "saved registers exchanged", {at: word ^ 1}
        if word & 0xFFC00000 == 0xA8C00000:
            yield "stack unbalanced", {at: word + (1 << 16)}
        if word & 0xBFC00000 == 0xB9000000 and word & 0x3E0 != 0x3E0:
            yield "store lost", {at: NOP}


def controls(before: bytes, after: bytes, entry: int, reached: set[int]) -> Iterator[tuple[str, bytes]]:
    """The kind of each wrong rewrite of the function, and the image that holds it."""
    code = Code(before, after, entry, reached)
    for make in (of_the_clear, of_the_rest):
        for kind, words in make(code):
            if any(code.new[at // 4] != word for at, word in words.items()):
                where = ", ".join(f"{at:#x}" for at in words)
                yield f"{kind} ({where})", code.spoil(words)
