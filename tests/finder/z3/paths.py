"""What a run leaves: its paths, with what others can see at each call; and what they say of the fields."""

from dataclasses import dataclass

import claripy
from inputs import Inputs

# The functions whose number of arguments is known; of others all eight registers are compared.
ARGUMENTS = {
    "_os_unfair_lock_lock": 1,
    "_os_unfair_lock_lock_with_options": 2,
    "_os_unfair_lock_trylock": 1,
    "_os_unfair_lock_unlock": 1,
    "_free": 1,
    "_elsewhere": 1,
    "_chance": 0,
    "_destroy_owned": 1,
    "__ZdlPv": 1,
    "___stack_chk_fail": 0,
    "__Unwind_Resume": 1,
    "___clang_call_terminate": 1,
}
# Functions that fill memory: the registers with the byte, if it is not zero, and with how many bytes. What they do
# is a store, and other stores may do it as well.
FILLS = {"_memset": ("x1", "x2"), "_bzero": (None, "x1")}
LOCKS = ("_os_unfair_lock_lock", "_os_unfair_lock_lock_with_options", "_os_unfair_lock_trylock")
UNLOCKS = ("_os_unfair_lock_unlock",)
FREES = ("_free", "__ZdlPv")
NO_RETURN = ("___stack_chk_fail", "__Unwind_Resume", "__ZSt9terminatev", "_abort", "_objc_terminate")


class Undecided(Exception):
    """The judge cannot follow the function; the message says why."""


@dataclass(frozen=True)
class Event:
    """A call or the return: what others can see at that moment."""

    name: str
    arguments: tuple
    words: dict[int, claripy.ast.BV]
    cells: dict[int, claripy.ast.BV]
    # What was stored outside the stack and the object since the last lock.
    stored: tuple


@dataclass(frozen=True)
class Path:
    """One way through the function; `end` is return, fault, trap, noreturn, thrown, cut, unbounded or endless."""

    end: str
    events: tuple[Event, ...]
    condition: tuple
    # The branches taken, in order.
    guards: tuple
    cleared: frozenset[int]


def find_cells(paths: list[Path], inputs: Inputs) -> tuple[int, ...]:
    """The fields in question: a path gives back what a word held at the beginning, and clears the word."""
    cells = set()
    for path in paths:
        given = {value.args[0] for event in path.events for value in given_back(event) if value.op == "BVS"}
        cells |= {word for word in path.cleared if inputs.word(0, word).args[0] in given}
    return tuple(sorted(cells))


def given_back(event: Event) -> tuple:
    """The values a call gives away: stored in memory before an unlock, or freed."""
    if event.name in FREES:
        return event.arguments[:1]
    return event.stored if event.name in UNLOCKS else ()
