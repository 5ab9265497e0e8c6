"""One function, executed symbolically on all its paths, and what it lets others see.

angr lifts the machine code and executes it; this module decides what memory holds, what an address
may be and what a call does. A call writes down its arguments, the words stored since the call
before it, and the fields. Then every register that a call may change and all memory but the stack
and the object with the fields are forgotten, as if other threads had changed them.
"""

import angr
import claripy
from inputs import STACK_TOP, Inputs, is_heap, is_stack, object_at, unknown
from landing_pads import landing_pads
from machine import (
    CHANGED_BY_CALLS,
    CHANGED_VECTORS,
    KEPT_BY_CALLS,
    KEPT_VECTORS,
    MAX_ADDRESSES,
    Listed,
    SharedMemory,
    pointers,
)
from paths import ARGUMENTS, FILLS, LOCKS, NO_RETURN, Event, Path, Undecided

RETURN = 0x6100_0000_0000
PAGE_ZERO = 0x10_0000
MAX_FORKS, MAX_VISITS = 3, 40
MAX_STEPS = 20_000
MAX_INDEX = 16


class PathEnded(Exception):
    """No input is left on a path."""


class Unbounded(Exception):
    """An address or a branch may lead anywhere."""


class Run:
    """The exploration of one function of one image."""

    def __init__(self, project: angr.Project, inputs: Inputs, forgetful: bool = True) -> None:
        self.project, self.inputs, self.forgetful = project, inputs, forgetful
        externs = project.loader.extern_object
        self.pads = landing_pads(project)
        self.imports = {symbol.rebased_addr: symbol.name for symbol in externs.symbols}
        self.paths: list[Path] = []
        self.steps = 0
        self.reached: set[int] = set()

    def explore(self, entry: int, enough: int = MAX_STEPS) -> list[Path]:
        """Follows all paths, or stops after so many."""
        states = [self.beginning(entry)]
        while states and len(self.paths) < enough:
            state = states.pop()
            try:
                states += self.step(state)
            except PathEnded:
                pass
            except Unbounded:
                self.finish(state, "unbounded")
        return self.paths

    def beginning(self, entry: int) -> angr.SimState:
        memory = SharedMemory(memory_id="mem", cle_memory_backer=self.project.loader, default_permissions=7)
        state = self.project.factory.blank_state(addr=entry, plugins={"memory": memory})
        state.globals["inputs"] = self.inputs
        for name in CHANGED_BY_CALLS + KEPT_BY_CALLS:
            setattr(state.regs, name, unknown(name))
        for number in range(32):
            setattr(state.regs, f"q{number}", unknown(f"q{number}", 128))
        state.regs.xsp, state.regs.x30 = STACK_TOP - 0x8000, RETURN
        self.forget_flags(state, "flags")
        state.memory.read_strategies = [Listed()]
        state.memory.write_strategies = [Listed()]
        state.inspect.b("mem_read", when=angr.BP_BEFORE, action=self.on_read)
        state.inspect.b("mem_write", when=angr.BP_BEFORE, action=self.on_write)
        blank = {"events": (), "written": frozenset(), "stored": (), "known": {}, "visits": {}, "cleared": frozenset()}
        blank |= {"epoch": 0, "guards": ()}
        for name, value in blank.items():
            state.globals[name] = value
        return state

    @staticmethod
    def forget_flags(state, name):
        state.regs.cc_op, state.regs.cc_dep2, state.regs.cc_ndep = 0, 0, 0
        state.regs.cc_dep1 = claripy.Concat(claripy.BVV(0, 32), unknown(name, 4), claripy.BVV(0, 28))

    # Accesses to memory

    def on_read(self, state):
        state.inspect.mem_read_address = self.resolve(state, state.inspect.mem_read_address)[0]

    def on_write(self, state):
        address, places = self.resolve(state, state.inspect.mem_write_address)
        state.inspect.mem_write_address = address
        value, size = state.inspect.mem_write_expr, state.inspect.mem_write_length
        size = value.length // 8 if size is None else state.solver.eval(size)
        places = [place for place in places if not is_stack(place)]
        words = {word for place in places for word in range(place & ~7, place + size, 8)}
        state.globals["written"] |= words
        if len(places) == 1 and value.op == "BVV" and value.args[0] == 0 and size >= 8:
            state.globals["cleared"] |= words
        if any(not self.is_kept(place) for place in places):
            state.globals["stored"] += (value,)

    def resolve(self, state, address):
        """The address, concrete where it can be, and every place that it may be."""
        known, unseen = state.globals["known"], False
        for pointer, always in pointers(address):
            if pointer.args[0] in known:
                continue
            unseen = True
            base = self.inputs.base(pointer)
            places = [pointer == 0] if base is None else [pointer == 0, pointer == base]
            state.solver.add(claripy.Or(*places))
            if always and base is not None:
                known = state.globals["known"] = known | {pointer.args[0]: (pointer, base)}
        if unseen:
            self.exclude_null(state, address)
        for pointer, base in known.values():
            if pointer.args[0] in address.variables:
                address = claripy.replace(address, pointer, claripy.BVV(base, 64))
        if not address.symbolic:
            return address, [address.concrete_value]
        places = state.solver.eval_upto(address, MAX_ADDRESSES + 1)
        if len(places) > MAX_ADDRESSES:
            places = self.bound(state, address)
        return address, places

    def bound(self, state, address) -> list[int]:
        """An index without a bound is tried with its first values only."""
        first = state.solver.min(address)
        if not is_heap(first):
            raise Unbounded
        state.solver.add(claripy.ULT(address, first + 8 * MAX_INDEX))
        places = state.solver.eval_upto(address, MAX_ADDRESSES + 1)
        if len(places) > MAX_ADDRESSES:
            raise Unbounded
        return places

    def exclude_null(self, state, address):
        """NULL cannot be followed: where it would be, the path ends in a fault."""
        low = claripy.ULT(address, PAGE_ZERO)
        if state.solver.satisfiable(extra_constraints=[low]):
            self.finish(state, "fault", low)
            state.solver.add(claripy.Not(low))
            state.globals["guards"] += (claripy.Not(low),)
            if not state.solver.satisfiable():
                raise PathEnded

    # Steps

    def step(self, state) -> list:
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise Undecided(f"more than {MAX_STEPS} blocks")
        if state.addr == RETURN:
            kept = ["x0", *KEPT_BY_CALLS, *KEPT_VECTORS]
            self.record(state, "return", [getattr(state.regs, name) for name in kept])
            return self.finish(state, "return")
        if state.addr in self.imports:
            return self.call(state, self.imports[state.addr])
        successors = self.successors(state)
        # A branch that goes both ways is what multiplies paths; a loop that counts to three does not.
        forks = len(successors) > 1
        visits, place = state.globals["visits"], (state.addr, forks)
        count = visits.get(place, 0) + 1
        if count > (MAX_FORKS if forks else MAX_VISITS):
            return self.finish(state, "cut" if forks else "endless")
        for successor in successors:
            successor.globals["visits"] = visits | {place: count}
        return successors

    def successors(self, state) -> list:
        try:
            end = self.project.factory.successors(state)
        except angr.errors.SimIRSBNoDecodeError as error:
            if self.project.loader.memory.unpack_word(state.addr, size=4) >> 16 == 0:
                return self.finish(state, "trap")
            raise Undecided(f"VEX does not know the instruction at {state.addr:#x}") from error
        except angr.errors.SimError as error:
            raise Undecided(f"angr at {state.addr:#x}: {error}") from error
        if end.unconstrained_successors:
            raise Unbounded
        self.reached.update(end.artifacts.get("insn_addrs", ()))
        going = []
        for successor in end.flat_successors:
            kind = successor.history.jumpkind
            successor.globals["guards"] += (successor.history.jump_guard,)
            # What cannot be decoded is met at the next step, with its address.
            if kind in ("Ijk_Boring", "Ijk_Call", "Ijk_Ret", "Ijk_NoDecode"):
                going.append(successor)
            elif kind == "Ijk_SigTRAP":
                self.finish(successor, "trap")
            else:
                raise Undecided(f"{kind} at {state.addr:#x}")
        return going

    def fill(self, state, name) -> list:
        """A fill, stored in pieces of eight bytes. It leaves the registers as they are, as it may."""
        byte, count = (getattr(state.regs, register) if register else claripy.BVV(0, 64) for register in FILLS[name])
        values = [state.solver.eval_upto(value, 2) for value in (byte, count, state.regs.x30)]
        if any(len(value) != 1 for value in values):
            raise Undecided(f"what {name} fills is not known")
        [byte], [count], [back] = values
        for offset in range(0, count, 8):
            piece = bytes([byte & 0xFF]) * min(8, count - offset)
            state.memory.store(state.regs.x0 + offset, claripy.BVV(piece), size=len(piece))
        state.regs.pc = back
        return [state]

    def call(self, state, name) -> list:
        if name in FILLS:
            return self.fill(state, name)
        count = ARGUMENTS.get(name, 8)
        self.record(state, name, [getattr(state.regs, f"x{number}") for number in range(count)])
        if name in NO_RETURN:
            return self.finish(state, "noreturn")
        if name in LOCKS:
            state.globals["stored"] = ()
        back = state.solver.eval_upto(state.regs.x30, 2)
        if len(back) != 1:
            raise Unbounded
        self.forget(state, f"call_{len(state.globals['events'])}")
        thrown = self.throw(state, back[0]) if self.pads else []
        state.regs.pc = back[0]
        return [state, *thrown]

    def throw(self, state, back) -> list:
        """A call that may throw does either. Without a landing pad of this function's, its caller goes on."""
        throws = unknown(f"throws_{len(state.globals['events'])}", 1) == 1
        thrown = state.copy()
        for successor, fact in ((thrown, throws), (state, claripy.Not(throws))):
            successor.solver.add(fact)
            successor.globals["guards"] += (fact,)
        pad = next((pad for stretch, pad in self.pads.items() if back - 4 in stretch), None)
        if pad is None:
            return self.finish(thrown, "thrown")
        thrown.regs.pc = pad
        return [thrown]

    def forget(self, state, name):
        """What a call may change is unknown after it."""
        for register in CHANGED_BY_CALLS:
            setattr(state.regs, register, unknown(f"{name}_{register}"))
        for register in CHANGED_VECTORS:
            setattr(state.regs, register, unknown(f"{name}_{register}", 128))
        self.forget_flags(state, f"{name}_flags")
        if self.forgetful:
            self.forget_memory(state)

    def forget_memory(self, state):
        """Drops the pages of all objects that other threads may change."""
        state.globals["epoch"] += 1
        pages = state.memory._pages
        for number in list(pages):
            address = number * state.memory.page_size
            if is_heap(address) and object_at(address) not in self.inputs.kept:
                page = pages.pop(number)
                if page is not None:
                    page.release_shared()
        kept = {word for word in state.globals["written"] if self.is_kept(word)}
        state.globals["written"] = frozenset(kept)

    def is_kept(self, word: int) -> bool:
        return not is_heap(word) or object_at(word) in self.inputs.kept

    def record(self, state, name, arguments):
        def load(word):
            return state.memory.load(word, 8, endness="Iend_LE", inspect=False)

        cells = {cell: load(cell) for cell in self.inputs.cells}
        words = {word: load(word) for word in state.globals["written"] if word not in cells}
        event = Event(name, tuple(arguments), words, cells, state.globals["stored"])
        state.globals["events"] += (event,)

    def finish(self, state, end, *conditions) -> list:
        condition = (*state.solver.constraints, *conditions)
        guards = tuple(guard for guard in (*state.globals["guards"], *conditions) if not guard.is_true())
        self.paths.append(Path(end, state.globals["events"], condition, guards, state.globals["cleared"]))
        return []
