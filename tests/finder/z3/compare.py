"""The rewrite against the original: every pair of paths that one input can take, decided by z3."""

from dataclasses import dataclass

import claripy
from inputs import Inputs
from paths import Event, Path, Undecided, given_back


@dataclass
class Refuted(Exception):
    """What differs, and an input that shows it."""

    reason: str
    model: dict[str, int]

    def __str__(self) -> str:
        return self.reason


@dataclass
class Counts:
    """What a comparison looked at."""

    original: int = 0
    rewrite: int = 0
    cut: int = 0
    pairs: int = 0


def solver_for(condition) -> claripy.Solver:
    solver = claripy.Solver()
    solver.add(list(condition))
    return solver


def model_of(solver: claripy.Solver, wrong) -> dict[str, int]:
    names = sorted(set().union(*(part.variables for part in [*solver.constraints, wrong])))
    symbols = {}
    for part in [*solver.constraints, wrong]:
        symbols |= {leaf.args[0]: leaf for leaf in part.leaf_asts() if leaf.op == "BVS"}
    values = solver.batch_eval([symbols[name] for name in names], 1, extra_constraints=[wrong])
    return dict(zip(names, values[0], strict=True)) if values else {}


def require(solver: claripy.Solver, obligations: list[tuple[str, claripy.ast.Bool]]):
    """Asks for all at once, and one by one only where that fails."""
    obligations = [(reason, fact) for reason, fact in obligations if not fact.is_true()]
    if not obligations:
        return
    if not solver.satisfiable(extra_constraints=[claripy.Not(claripy.And(*(fact for _, fact in obligations)))]):
        return
    for reason, fact in obligations:
        wrong = claripy.Not(fact)
        if solver.satisfiable(extra_constraints=[wrong]):
            raise Refuted(reason, model_of(solver, wrong))


def same_event(number: int, before: Event, after: Event, inputs: Inputs):
    """The obligations of one pair of calls, or of the return."""
    at = f"call {number} ({before.name})"
    for place, (old, new) in enumerate(zip(before.arguments, after.arguments, strict=True)):
        yield f"{at}: argument {place} differs", old == new
    for word in before.words.keys() | after.words.keys():
        untouched = inputs.word(number, word)
        old, new = before.words.get(word, untouched), after.words.get(word, untouched)
        yield f"{at}: memory differs at {word:#x}", old == new
    for cell, old in before.cells.items():
        new = after.cells[cell]
        if before.name == "return":
            yield f"at the end the field at {cell:#x} differs", old == new
        else:
            yield f"{at}: the field at {cell:#x} differs and is not NULL", claripy.Or(old == new, new == 0)


def compare_pair(solver: claripy.Solver, before: Path, after: Path, inputs: Inputs):
    obligations = []
    for number, (old, new) in enumerate(zip(before.events, after.events, strict=False)):
        if old.name != new.name:
            require(solver, [*obligations, (f"call {number} is {old.name}, then {new.name}", claripy.false())])
        obligations += same_event(number, old, new, inputs)
    if "cut" in (before.end, after.end):
        require(solver, obligations)
        if before.end != after.end:
            raise Undecided("one goes round a loop more often")
    elif (before.end, len(before.events)) != (after.end, len(after.events)):
        ends = f"ends with {before.end} after {len(before.events)} calls, then {after.end} after {len(after.events)}"
        obligations.append((ends, claripy.false()))
    require(solver, obligations)


def opposed(before: Path, after: Path) -> bool:
    """Whether the paths part at a branch that both have (quick; the solver finds the rest)."""
    for old, new in zip(before.guards, after.guards, strict=False):
        if old.hash() != new.hash():
            return claripy.Not(old).hash() == new.hash()
    return False


def refine(before: list[Path], after: list[Path], inputs: Inputs, counts: Counts):
    """Raises `Refuted` unless the rewrite does what the original does but for earlier clears."""
    counts.original, counts.rewrite = len(before), len(after)
    counts.cut = sum(path.end == "cut" for path in [*before, *after])
    for old in before:
        solver = solver_for(old.condition)
        for new in after:
            if opposed(old, new):
                continue
            both = solver.branch()
            both.add(list(new.condition))
            if both.satisfiable():
                counts.pairs += 1
                compare_pair(both, old, new, inputs)


def clears_in_time(paths: list[Path], inputs: Inputs):
    """Raises `Refuted` where a block is given back and its field still points to it."""
    for path in paths:
        obligations = []
        for number, event in enumerate(path.events):
            given = given_back(event)
            for cell, value in event.cells.items():
                block = inputs.word(0, cell)
                gives = [one == block for one in given if block.args[0] in one.variables]
                if gives:
                    late = claripy.And(claripy.Or(*gives), block != 0, value != 0)
                    reason = f"call {number} ({event.name}): given back, and the field at {cell:#x} is not NULL"
                    obligations.append((reason, claripy.Not(late)))
        require(solver_for(path.condition), obligations)
