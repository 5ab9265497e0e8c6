"""What the original and its rewrite begin with: a name for every unknown, a place for every object.

Both runs share one `Inputs`, so that equal unknowns are the same symbol in both. Memory is
read in words: `word_E_A` is what the word at A holds after E calls, if nothing was stored there.
A pointer is bound to an object of its own when it is first followed, or it is NULL. So two
pointers from different places lead to different objects, and lists have at most `MAX_DEPTH` nodes.
"""

import claripy

HEAP = 0x5000_0000_0000
HEAP_END = 0x6000_0000_0000
SPACING = 1 << 20
STACK = 0x7000_0000_0000
STACK_TOP = STACK + 0x10_0000
MAX_DEPTH = 6


def unknown(name: str, bits: int = 64) -> claripy.ast.BV:
    return claripy.BVS(name, bits, explicit_name=True)


def is_heap(address: int) -> bool:
    return HEAP <= address < HEAP_END


def is_stack(address: int) -> bool:
    return STACK <= address < STACK_TOP


def object_at(address: int) -> int:
    return address - (address - HEAP) % SPACING


class Inputs:
    """The symbols of both runs, and the objects that pointers lead to."""

    def __init__(self) -> None:
        self.bases: dict[str, int | None] = {}
        self.owners: dict[int, int | None] = {}
        # The fields that a rewrite may clear earlier, and the objects that hold them.
        self.cells: tuple[int, ...] = ()
        self.kept: frozenset[int] = frozenset()

    def word(self, calls: int, address: int) -> claripy.ast.BV:
        """What an aligned word holds that was not stored to since call number `calls`."""
        if not is_heap(address) or object_at(address) in self.kept:
            calls = 0
        return unknown(f"word_{calls}_{address:x}")

    def bytes(self, calls: int, address: int, size: int) -> claripy.ast.BV:
        first = address & ~7
        words = [self.word(calls, at) for at in range(first, address + size, 8)]
        low = (address - first) * 8
        return claripy.Concat(*reversed(words))[low + size * 8 - 1 : low]

    def base(self, pointer: claripy.ast.BV) -> int | None:
        """The address of the object a pointer leads to; None where lists end."""
        name = pointer.args[0]
        if name not in self.bases:
            base = HEAP + (len(self.bases) + 1) * SPACING
            self.owners[base] = self._owner(name)
            self.bases[name] = base if len(self._chain(base)) <= MAX_DEPTH else None
        return self.bases[name]

    def _owner(self, name: str) -> int | None:
        """The object that holds the pointer."""
        address = int(name.split("_")[2], 16) if name.startswith("word_") else 0
        return object_at(address) if is_heap(address) else None

    def _chain(self, object_: int | None) -> list[int]:
        chain = []
        while object_ is not None:
            chain.append(object_)
            object_ = self.owners[object_]
        return chain

    def keep(self, cells: tuple[int, ...]) -> None:
        """Calls leave the object with the fields alone, and those that the function reached it through."""
        self.cells = cells
        self.kept = frozenset(one for cell in cells for one in self._chain(object_at(cell)))
