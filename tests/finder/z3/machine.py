"""The machine under angr: an image as the loader leaves it, memory with shared names, and the registers."""

import io
import logging

import claripy

# Neither the load commands that the loader leaves out nor the missing Unicorn engine matter here.
logging.getLogger("cle").setLevel(logging.ERROR)
logging.getLogger("angr").setLevel(logging.CRITICAL)

import angr  # noqa: E402
from angr.storage.memory_mixins import DefaultMemory  # noqa: E402

MAX_ADDRESSES = 32
# VEX lacks `retaa` and, for x30 and sp, `pacia` and `autia`: here what they are without the signature.
UNSIGNED = {0xD65F0BFF: 0xD65F03C0, 0xDAC103FE: 0xD503201F, 0xDAC113FE: 0xD503201F}
CHANGED_BY_CALLS = [f"x{n}" for n in range(18)] + ["x30"]
CHANGED_VECTORS = [f"q{n}" for n in (*range(8), *range(16, 32))]
KEPT_BY_CALLS = ["xsp", "x18", *(f"x{n}" for n in range(19, 30))]
KEPT_VECTORS = [f"d{n}" for n in range(8, 16)]


def load(image: bytes) -> angr.Project:
    """The image as the loader leaves it, without signed return addresses."""
    project = angr.Project(io.BytesIO(image), auto_load_libs=False, use_sim_procedures=False)
    memory = project.loader.memory
    for section in project.loader.main_object.sections:
        if section.name != "__text":
            continue
        for address in range(section.vaddr, section.vaddr + section.memsize, 4):
            unsigned = UNSIGNED.get(memory.unpack_word(address, size=4))
            if unsigned:
                memory.pack_word(address, unsigned, size=4)
    return project


def pointers(value: claripy.ast.BV):
    """The unknowns that a value is or adds a distance to, and whether always."""
    if value.op == "BVS" and value.length == 64:
        yield value, True
    elif value.op == "__add__":
        for part in value.args:
            yield from pointers(part)
    elif value.op == "If":
        for part in value.args[1:]:
            yield from ((pointer, False) for pointer, _ in pointers(part))


class SharedMemory(DefaultMemory):
    """Memory whose unknown words have the names that `Inputs` gives them."""

    def _default_value(self, addr, size, **kwargs):
        known = self.state.globals
        return known["inputs"].bytes(known["epoch"], addr, size)


class Listed(angr.concretization_strategies.SimConcretizationStrategy):
    """Every address an access may have; `Run.resolve` has seen that they are few."""

    def _concretize(self, memory, addr, **kwargs):
        return memory.state.solver.eval_upto(addr, MAX_ADDRESSES)
