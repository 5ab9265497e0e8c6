#!/usr/bin/env python3
"""Two threads on two encoders share no cache line that either of them writes: why calls scale, shown without a clock.

Needs guard/target/emulated/peer. Two threads run under qemu one instruction at a time; every load and store between two marks is
decoded from its instruction and the registers before it: the runtime's lookup, the thunk, the guard, and the method. The published
design, with its one mutex, is the control that a shared line is seen.
"""

import os
import re
import struct
import subprocess
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
PEER = os.path.join(HERE, "..", "target", "emulated", "peer")
QEMU = ["qemu-aarch64-static", "-singlestep", "-d", "cpu,nochain", "-D", "/dev/stdout"]
LINE = 128  # of Apple's processors
STACK = 1 << 20  # threads are told apart by their stacks, which lie further from each other
CALLS = 5


class Program:
    """The words and the symbols of a static ELF file."""

    def __init__(self, path):
        with open(path, "rb") as file:
            self.file = file.read()
        offset, size, count = struct.unpack_from("<Q", self.file, 32)[0], *struct.unpack_from("<HH", self.file, 54)
        headers = [struct.unpack_from("<IIQQQQQQ", self.file, offset + size * at) for at in range(count)]
        self.segments = [(address, place, length) for kind, _, place, address, _, length, _, _ in headers if kind == 1]
        names = subprocess.run(["aarch64-linux-gnu-nm", path], check=True, capture_output=True, text=True).stdout
        self.symbols = {words[2]: int(words[0], 16) for words in map(str.split, names.splitlines()) if len(words) == 3}

    def word(self, at):
        for address, place, length in self.segments:
            if address <= at < address + length:
                return struct.unpack_from("<I", self.file, place + at - address)[0]
        raise KeyError(hex(at))


def signed(value, bits):
    return value - (1 << bits) if value >> (bits - 1) else value


def accesses(word, registers, pc):
    """The memory an instruction reads and writes: [(address, bytes, writes)]; Arm ARM, "Loads and stores"."""
    if (word >> 25) & 0b0101 != 0b0100:
        return []
    size, vector, load, base = word >> 30, (word >> 26) & 1, (word >> 22) & 1, registers[(word >> 5) & 31]
    kind = (word >> 27) & 0b111
    if kind == 0b101:  # pairs
        scale = (2 + size) if vector else (2 + (size >> 1))
        offset = 0 if (word >> 23) & 0b11 == 0b01 else signed((word >> 15) & 0x7F, 7) << scale
        return [(base + offset, 2 << scale, not load)]
    if kind == 0b011:  # literal
        return [(pc + (signed((word >> 5) & 0x7FFFF, 19) << 2), 8, False)]
    if kind == 0b001 and not vector:  # exclusive, ordered, compare-and-swap
        compares = (word >> 21) & 1 and (word >> 23) & 1
        return [(base, 1 << size, bool(compares) or not load)]
    if kind != 0b111:
        raise ValueError(f"a load or store that is not known: {word:#010x}")
    opcode = (word >> 22) & 0b11
    scale = 4 if vector and opcode & 0b10 else size
    if size == 0b11 and opcode == 0b10 and not vector:
        return []  # prefetch
    writes = opcode == 0 or (vector and opcode == 0b10)
    if (word >> 24) & 1:
        return [(base + (((word >> 10) & 0xFFF) << scale), 1 << scale, writes)]
    if (word >> 21) & 1 and (word >> 10) & 0b11 == 0b00:  # atomic
        return [(base, 1 << size, (word >> 12) & 0b1111 != 0b1100)]
    if (word >> 21) & 1:  # register offset
        shift = scale if (word >> 12) & 1 else 0
        index, option = (word >> 16) & 31, (word >> 13) & 0b111
        index = 0 if index == 31 else registers[index]
        if option & 0b011 == 0b010:
            index = signed(index & 0xFFFFFFFF, 32) if option == 0b110 else index & 0xFFFFFFFF
        return [((base + (index << shift)) % (1 << 64), 1 << scale, writes)]
    offset = 0 if (word >> 10) & 0b11 == 0b01 else signed((word >> 12) & 0x1FF, 9)
    return [(base + offset, 1 << scale, writes)]


def trace(peer, mode):
    """For each of the two threads: instructions, cache lines read, cache lines written, between the marks."""
    program = Program(PEER)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AGX_GUARD")}
    begins, ends = program.symbols["trace_begins"], program.symbols["trace_ends"]
    running, done = {}, []
    command = QEMU + [PEER, "trace", str(peer), str(CALLS)]
    with subprocess.Popen(command, env=clean | {"AGX_GUARD": mode}, stdout=subprocess.PIPE, text=True) as process:
        for dump in dumps(process.stdout, lambda pc: running or pc == begins):
            pc, stack = int(dump[4:20], 16), int(re.search(r"SP=(\w+)", dump)[1], 16) // STACK
            if pc == begins:
                running[stack] = []
            elif pc == ends:
                done.append(lines_of(program, running.pop(stack)))
            elif stack in running:
                running[stack].append(dump)
    return done


def dumps(lines, wanted):
    """The register dumps in a log, each as one text."""
    dump = []
    for line in lines:
        if line.startswith(" PC="):
            if dump:
                yield "".join(dump)
            dump = [line] if wanted(int(line[4:20], 16)) else []
        elif dump:
            dump.append(line)


def lines_of(program, dumps):
    read, written = set(), set()
    for dump in dumps:
        values = {name: int(value, 16) for name, value in re.findall(r"\b(PC|SP|X\d\d)=(\w{16})", dump)}
        registers = [values[f"X{at:02}"] for at in range(31)] + [values["SP"]]
        for address, size, writes in accesses(program.word(values["PC"]), registers, values["PC"]):
            lines = range(address // LINE, (address + size - 1) // LINE + 1)
            (written if writes else read).update(lines)
    return len(dumps), read, written


def shared(threads):
    """Lines that one thread writes and the other reads or writes."""
    (_, read, written), (_, other_read, other_written) = threads
    return (written & (other_read | other_written)) | (other_written & read)


class SharedLines(unittest.TestCase):
    def traced(self, peer, mode):
        threads = trace(peer, mode)
        self.assertEqual(len(threads), 2)
        for instructions, read, written in threads:
            self.assertGreater(instructions, CALLS * 20)
            self.assertTrue(read and written)
        return threads

    def test_the_decoder_knows_each_kind_of_access(self):
        registers = [0x1000 * at for at in range(32)]
        for word, expected in (
            (0xA9BF7BFD, [(0x1F000 - 16, 16, True)]),  # stp x29, x30, [sp, #-16]!
            (0xA8C17BFD, [(0x1F000, 16, False)]),  # ldp x29, x30, [sp], #16
            (0xAD0107E0, [(0x1F020, 32, True)]),  # stp q0, q1, [sp, #32]
            (0xF9400441, [(0x2008, 8, False)]),  # ldr x1, [x2, #8]
            (0x3D800441, [(0x2010, 16, True)]),  # str q1, [x2, #16]
            (0x39000041, [(0x2000, 1, True)]),  # strb w1, [x2]
            (0xF81F8041, [(0x2000 - 8, 8, True)]),  # stur x1, [x2, #-8]
            (0xF8637841, [(0x2000 + (0x3000 << 3), 8, False)]),  # ldr x1, [x2, x3, lsl #3]
            (0xC8A17C43, [(0x2000, 8, True)]),  # cas x1, x3, [x2]
            (0xC89FFC41, [(0x2000, 8, True)]),  # stlr x1, [x2]
            (0xC8DFFC41, [(0x2000, 8, False)]),  # ldar x1, [x2]
            (0xF8210043, [(0x2000, 8, True)]),  # ldadd x1, x3, [x2]
            (0xC8017C43, [(0x2000, 8, True)]),  # stxr w1, x3, [x2]
            (0x58000041, [(0x7008, 8, False)]),  # ldr x1, #8
            (0x8B020021, []),  # add x1, x1, x2
        ):
            self.assertEqual(accesses(word, registers, 0x7000), expected, hex(word))

    def test_two_threads_on_two_encoders_write_no_line_the_other_touches(self):
        self.assertEqual(shared(self.traced(0, "guard")), set())

    def test_the_published_design_shares_its_mutex(self):
        self.assertGreater(len(shared(self.traced(1, "off"))), 0)


if __name__ == "__main__":
    unittest.main()
