#!/usr/bin/env python3
"""The macOS library as LLVM's tools see it. Builds it twice, in two places, with scripts/build-guard-macos."""

import hashlib
import json
import os
import re
import shutil
import struct
import subprocess
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.join(HERE, "..", "..")


LOADER = os.path.join(HERE, "..", "target", "emulated", "loader")
# Address 0 of the emulated machine can be mapped when it lies elsewhere on this one.
QEMU = ["qemu-aarch64-static", "-B", "0x100000000000", "-L", "/usr/aarch64-linux-gnu"]


def tool(name):
    for candidate in (name + "-14", name + "-19", name, f"/usr/lib/llvm-14/bin/{name}"):
        if shutil.which(candidate):
            return candidate
    raise unittest.SkipTest(f"{name} is not installed")


def text(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def build(root, out):
    """Builds from the sources under `root`. The objects of Rust's core are shared; the guard's own are compiled again for each root."""
    environment = dict(os.environ, AGX_GUARD_TARGET_DIR=os.path.join(HERE, "..", "target", "shipped"))
    subprocess.run([os.path.join(root, "scripts", "build-guard-macos"), out], check=True, env=environment)


class Library(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.out = os.path.join(cls.folder.name, "out")
        build(ROOT, cls.out)
        subprocess.run([os.path.join(HERE, "..", "build-emulated"), "loader"], check=True)
        cls.path = os.path.join(cls.out, "libagx_guard.dylib")

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def slice(self, architecture):
        path = os.path.join(self.folder.name, architecture)
        subprocess.run([tool("llvm-lipo"), self.path, "-thin", architecture, "-output", path], check=True)
        return path

    def headers(self, architecture):
        return text(tool("llvm-objdump"), "--macho", "--private-headers", self.slice(architecture))

    def sections(self, architecture):
        return set(re.findall(r"sectname (\S+)\n\s*segname (\S+)", self.headers(architecture)))

    def test_it_has_the_three_slices_a_mac_may_ask_for(self):
        self.assertEqual(text(tool("llvm-lipo"), "-archs", self.path).split(), ["x86_64", "arm64", "arm64e"])

    def test_the_arm64e_slice_has_the_subtype_dyld_wants(self):
        with open(self.slice("arm64e"), "rb") as file:
            self.assertEqual(struct.unpack("<I", file.read(12)[8:])[0], 0x80000002)

    def test_the_arm64e_slice_is_the_arm64_code(self):
        with open(self.slice("arm64"), "rb") as one, open(self.slice("arm64e"), "rb") as two:
            plain, other = one.read(), two.read()
        different = [at for at in range(len(plain)) if plain[at] != other[at]]
        self.assertEqual(len(plain), len(other))
        self.assertEqual(different[:2], [8, 11], "the subtype")
        self.assertLessEqual(len(different[2:]), 32, "one page hash")
        self.assertLess(max(different) - min(different[2:]), 32)

    def test_its_install_name_does_not_name_the_place_it_was_built(self):
        for architecture in ("x86_64", "arm64", "arm64e"):
            names = re.findall(r"LC_ID_DYLIB.*?name (\S+)", self.headers(architecture), re.S)
            self.assertEqual(names, ["@rpath/libagx_guard.dylib"], architecture)

    def test_it_loads_nothing_that_iokit_does_not_load_but_the_runtime(self):
        for architecture in ("arm64", "arm64e"):
            loaded = re.findall(r"cmd LC_LOAD_DYLIB.*?name (\S+)", self.headers(architecture), re.S)
            self.assertEqual(
                loaded,
                [
                    "/usr/lib/libSystem.B.dylib",
                    "/usr/lib/libobjc.A.dylib",
                    "/System/Library/Frameworks/IOKit.framework/Versions/A/IOKit",
                    "/System/Library/Frameworks/CoreFoundation.framework/Versions/A/CoreFoundation",
                ],
            )
        self.assertEqual(re.findall(r"cmd LC_LOAD_DYLIB.*?name (\S+)", self.headers("x86_64"), re.S), ["/usr/lib/libSystem.B.dylib"])

    INTERPOSED = [
        "CoreFoundation _CFPreferencesCopyAppValue", "CoreFoundation _CFPreferencesCopyMultiple",
        "CoreFoundation _CFPreferencesCopyValue", "CoreFoundation _CFPreferencesGetAppBooleanValue",
        "CoreFoundation _CFPreferencesGetAppIntegerValue", "IOKit _IORegistryEntryCreateCFProperty",
        "libSystem _gpu_bundle_find_trusted",
    ]

    def test_what_it_interposes_is_bound_to_the_libraries_that_have_it(self):
        for architecture in ("arm64", "arm64e"):
            self.assertIn(("__interpose", "__DATA"), self.sections(architecture))
            bound = text(tool("llvm-objdump"), "--macho", "--bind", self.slice(architecture))
            interposed = re.findall(r"^__DATA\s+__interpose\s+\S+\s+pointer\s+0\s+(\S+)\s+(\S+)(?: \(weak_import\))?$", bound, re.M)
            self.assertEqual(sorted(map(" ".join, interposed)), self.INTERPOSED)
            # The one that not every macOS has: the library loads without it.
            self.assertEqual(re.findall(r"(\S+) \(weak_import\)$", bound, re.M), ["_gpu_bundle_find_trusted"])
            rebased = text(tool("llvm-objdump"), "--macho", "--rebase", self.slice(architecture))
            self.assertEqual(len(re.findall(r"^__DATA\s+__interpose\s", rebased, re.M)), len(self.INTERPOSED))
        self.assertNotIn(("__interpose", "__DATA"), self.sections("x86_64"))

    def test_an_exception_that_passes_an_ordinary_frame_is_told_to_the_guard(self):
        slices = os.path.join(self.out, "arm64", "libagx_guard.dylib")
        said = text(tool("llvm-objdump"), "--unwind-info", slices)
        start = next(line.split()[0] for line in text(tool("llvm-nm"), slices).splitlines() if line.endswith(" _agx_guard_framed"))
        # A frame that x29 points to, no register saved beside it, and the first function for exceptions.
        self.assertRegex(said, rf"function offset=0x{int(start, 16):08x}, encoding\[\d\]=0x14000000")
        self.assertIn("Number of personality functions in array:  0x1\n", said)

    def test_it_runs_one_initialiser(self):
        for architecture in ("x86_64", "arm64", "arm64e"):
            size = re.findall(r"sectname __mod_init_func.*?size (\S+)", self.headers(architecture), re.S)
            self.assertEqual([int(value, 16) for value in size], [8], architecture)

    def test_it_runs_from_macos_13_on(self):
        for architecture in ("x86_64", "arm64", "arm64e"):
            self.assertRegex(self.headers(architecture), r"(?s)LC_BUILD_VERSION.*?platform macos.*?minos 13\.0", architecture)

    def test_it_exports_its_functions_and_nothing_else(self):
        with open(os.path.join(HERE, "..", "macos", "exports.txt"), encoding="utf-8") as file:
            expected = file.read().split()
        for architecture in ("arm64", "arm64e"):
            table = text(tool("llvm-objdump"), "--macho", "--exports-trie", self.slice(architecture))
            self.assertEqual(sorted(re.findall(r"(_agx_\w+)", table)), sorted(expected))
            self.assertEqual(len(re.findall(r"^0x", table, re.M)), len(expected))

    def test_every_page_of_every_slice_has_its_hash_and_the_signature_is_ad_hoc(self):
        for architecture in ("x86_64", "arm64", "arm64e"):
            with open(self.slice(architecture), "rb") as file:
                image = file.read()
            flags, wrong, pages = check_signature(image)
            self.assertEqual(flags & 0x2, 0x2, architecture)
            self.assertEqual(wrong, [], architecture)
            self.assertGreater(pages, 0)

    def test_a_changed_byte_does_not_have_its_hash(self):
        with open(self.slice("arm64e"), "rb") as file:
            image = bytearray(file.read())
        image[0x5000] ^= 1
        self.assertEqual(check_signature(image)[1], [5])

    def emulated(self, architecture, pauth, scenario, status=0, **environment):
        """Runs the slice's own bytes, on a processor with pointer authentication or without; answers standard error."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("AGX_GUARD")}
        plugin = {"AGX_GUARD_PLUGIN": "../../../Users/me/AGXMetalFake", "AGX_GUARD_PLUGIN_FOR": "AGXMetalFake"}
        command = QEMU + ["-cpu", f"max,pauth={pauth}", LOADER, self.slice(architecture), scenario]
        done = subprocess.run(command, env=clean | plugin | environment, capture_output=True, text=True, timeout=300)
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        return done.stderr

    def test_without_authentication_both_slices_guard_and_answer_the_plug_in_name(self):
        for architecture in ("arm64", "arm64e"):
            for scenario in ("guards", "moved", "late", "answers"):
                with self.subTest(f"{architecture} {scenario}"):
                    said = self.emulated(architecture, "off", scenario, CALLED_EARLY="1")
                    if scenario in ("guards", "moved"):
                        # It calls an encoder that it has ended.
                        self.assertRegex(said, r"\Aagx-guard: refused -\[AGXFakeFamilyComputeContext .*results may be wrong\n\Z")
                    else:
                        self.assertEqual(said, "")
        self.emulated("arm64e", "off", "inert", status=1)

    def test_with_authentication_the_arm64e_slice_says_so_once_and_does_nothing(self):
        said = "agx-guard: this process authenticates pointers (arm64e); the guard is loaded and does nothing\n"
        self.assertEqual(self.emulated("arm64e", "on", "inert", CALLED_EARLY="1"), said)
        for off in ({"AGX_GUARD": "off", "AGX_GUARD_PLUGIN": "x"}, {"AGX_GUARD_QUIET": "1"}):
            self.assertEqual(self.emulated("arm64e", "on", "inert", **off), said if "AGX_GUARD" in off else "")
        self.emulated("arm64e", "on", "guards", status=1)

    def test_a_report_is_written_where_a_mac_would(self):
        place = os.path.join(self.folder.name, "report.json")
        self.emulated("arm64", "off", "guards", AGX_GUARD_REPORT=place)
        with open(place, encoding="utf-8") as file:
            report = json.load(file)
        self.assertEqual(report["driver"]["way"], "system")
        self.assertEqual(report["refused_methods"]["-[AGXFakeFamilyComputeContext setComputePipelineState:]"], 1)

    def test_a_copy_that_dyld_refuses_leaves_metal_the_systems_driver_and_the_reason_is_told(self):
        told = {}
        for scenario in ("answers", "refused"):
            place = os.path.join(self.folder.name, f"{scenario}.json")
            self.emulated("arm64", "off", scenario, AGX_GUARD_REPORT=place)
            with open(place, encoding="utf-8") as file:
                told[scenario] = json.load(file)["driver"]
        self.assertTrue(told["answers"]["plugin_name_asked"] and told["answers"]["plugin_name_answered"])
        self.assertNotIn("copy_refused", told["answers"])
        self.assertTrue(told["refused"]["plugin_name_asked"])
        self.assertFalse(told["refused"]["plugin_name_answered"])
        self.assertEqual(told["refused"]["copy_refused"], "tried: '/Users/me' (not valid for use in process)")
        self.assertEqual(told["refused"]["images"], 1)

    def test_every_reader_of_preferences_is_told_that_coalescing_is_off_where_it_is(self):
        for architecture in ("arm64", "arm64e"):
            for mode in ("off", "guard"):
                self.emulated(architecture, "off", "coalesces", AGX_GUARD=mode)
                self.emulated(architecture, "off", "coalescing-off", AGX_GUARD=mode, AGX_GUARD_COALESCING="off", CALLED_EARLY="1")
        self.emulated("arm64e", "on", "coalesces", AGX_GUARD_COALESCING="off")

    def driver_of(self, scenario, **environment):
        place = os.path.join(self.folder.name, f"{scenario}.json")
        self.emulated("arm64", "off", scenario, AGX_GUARD_REPORT=place, **environment)
        with open(place, encoding="utf-8") as file:
            return json.load(file)["driver"]

    def test_metal_looks_the_copy_up_and_finds_it_and_the_name_is_left_alone(self):
        for architecture in ("arm64", "arm64e"):
            self.emulated(architecture, "off", "lookup", AGX_GUARD="off", CALLED_EARLY="1")
        driver = self.driver_of("lookup")
        self.assertTrue(driver["lookup_there"] and driver["lookup_asked"] and driver["lookup_answered"], driver)
        self.assertEqual((driver["way"], driver["plugin_name_answered"], driver["images"]), ("lookup", False, 1))

    def test_a_name_that_leads_to_the_copy_is_not_trusted_and_gives_no_device(self):
        driver = self.driver_of("lookup-name", AGX_GUARD_PLUGIN="")
        self.assertEqual((driver["loaded"], driver["lookup_answered"]), (False, False))

    def test_where_there_is_no_lookup_the_library_loads_and_answers_the_name(self):
        driver = self.driver_of("lookup-missing")
        self.assertEqual((driver["lookup_there"], driver["plugin_name_answered"], driver["way"]), (False, True, "plugin-name"))

    def test_a_copy_that_cannot_be_taken_leaves_the_systems_driver_and_the_reason_is_told(self):
        refusals = {
            "lookup-refused": "tried: '/Users/me' (not valid for use in process)",
            "lookup-no-device": "no class in it is a Metal device",
        }
        for scenario, reason in refusals.items():
            driver = self.driver_of(scenario)
            self.assertEqual((driver["lookup_asked"], driver["lookup_answered"], driver["copy_refused"]), (True, False, reason))
            self.assertEqual(driver["way"], "system")

    def test_the_hooks_are_in_place_when_the_device_is_handed_out(self):
        for scenario in ("lookup-hooks", "lookup-hooks-missing"):
            driver = self.driver_of(scenario, AGX_GUARD_PLUGIN="")
            self.assertEqual((driver["hooked_in_time"], driver["images"], driver["way"]), (True, 1, "system"))
        for scenario in ("lookup-hooks-copy", "lookup-hooks-copy-missing"):
            self.assertTrue(self.driver_of(scenario)["hooked_in_time"])

    def test_nothing_is_loaded_early_where_nothing_is_to_be_hooked(self):
        driver = self.driver_of("lookup-system", AGX_GUARD="off", AGX_GUARD_PLUGIN="")
        self.assertEqual((driver["hooked_in_time"], driver["way"]), (False, "system"))

    def test_a_buffer_that_is_too_short_gets_the_systems_answer(self):
        self.emulated("arm64", "off", "lookup-short")

    def test_a_process_that_authenticates_pointers_gets_the_systems_driver(self):
        self.emulated("arm64e", "on", "lookup-system")

    def test_nothing_of_the_machine_it_was_built_on_is_in_it(self):
        with open(self.path, "rb") as file:
            whole = file.read()
        for place in (os.path.realpath(ROOT), os.path.expanduser("~/.cargo"), tempfile.gettempdir() + "/"):
            self.assertNotIn(place.encode(), whole)

    def test_the_same_source_gives_the_same_bytes_elsewhere(self):
        root = os.path.join(self.folder.name, "elsewhere")
        skip = shutil.ignore_patterns("target*")
        shutil.copytree(os.path.join(ROOT, "guard"), os.path.join(root, "guard"), ignore=skip)
        os.makedirs(os.path.join(root, "scripts"))
        shutil.copy(os.path.join(ROOT, "scripts", "build-guard-macos"), os.path.join(root, "scripts"))
        out = os.path.join(self.folder.name, "again")
        build(root, out)
        with open(self.path, "rb") as one, open(os.path.join(out, "libagx_guard.dylib"), "rb") as two:
            self.assertEqual(hashlib.sha256(one.read()).hexdigest(), hashlib.sha256(two.read()).hexdigest())


def check_signature(image):
    """Flags, numbers of the pages whose hash is wrong, and how many pages there are, of the code directory of a thin image."""
    commands = struct.unpack_from("<I", image, 16)[0]
    at = 32
    for _ in range(commands):
        command, size, offset = struct.unpack_from("<3I", image, at)
        if command == 0x1D:
            break
        at += size
    directory = offset + struct.unpack_from(">I", image, offset + 16)[0]
    magic, _, _, flags, hashes, _, _, slots, limit = struct.unpack_from(">9I", image, directory)
    assert magic == 0xFADE0C02
    page = 1 << image[directory + 39]
    wrong = []
    for slot in range(slots):
        content = bytes(image[slot * page : min((slot + 1) * page, limit)])
        stored = bytes(image[directory + hashes + 32 * slot : directory + hashes + 32 * (slot + 1)])
        if hashlib.sha256(content).digest() != stored:
            wrong.append(slot)
    return flags, wrong, slots


if __name__ == "__main__":
    unittest.main()
