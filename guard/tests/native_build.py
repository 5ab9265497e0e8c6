#!/usr/bin/env python3
"""The Objective-C tests for a Mac, as far as they can be judged where there is none: they compile without a warning for Apple's runtime, link,
and scripts/test-guard would run them. What they say on a Mac is awaited."""

import os
import re
import shutil
import stat
import subprocess
import tempfile
import unittest

from macos_build import HERE, ROOT, text, tool
from scenarios import NATIVE_CLASSES

WARNINGS = ["-Werror", "-Wextra", "-Wno-unused-parameter", "-Wno-missing-field-initializers"]
# Debian's clang has no such default; an SDK with headers of our own stands in for Apple's.
SDK = os.path.join(HERE, "objc", "sdk")
DRIVER = "AGXMetalFake.bundle/Contents/MacOS/AGXMetalFake"
APPLES = {
    "/usr/lib/libSystem.B.dylib", "/usr/lib/libobjc.A.dylib", "/usr/lib/libc++.1.dylib",
    "/System/Library/Frameworks/CoreFoundation.framework/Versions/A/CoreFoundation",
}


class Built(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        environment = dict(
            os.environ, AGX_GUARD_NATIVE=cls.folder.name, AGX_GUARD_CLANG=tool("clang"), AGX_GUARD_LINKER=shutil.which(tool("ld64.lld")),
            AGX_GUARD_CLANG_FLAGS=" ".join(["-isysroot", SDK, *WARNINGS]))
        subprocess.run([os.path.join(HERE, "..", "build-native"), "--tests"], check=True, env=environment)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def symbols(self, file, *options):
        lines = text(tool("llvm-nm"), "--format=just-symbols", *options, os.path.join(self.folder.name, file)).splitlines()
        return {line.strip() for line in lines}

    def libraries(self, file):
        said = text(tool("llvm-objdump"), "--macho", "--dylibs-used", os.path.join(self.folder.name, file))
        return set(re.findall(r"^\t(\S+) \(", said, re.M))

    def test_the_driver_is_a_library_of_its_own_that_the_program_loads_from_its_bundle(self):
        self.assertIn(f"@executable_path/{DRIVER}", self.libraries("program"))
        self.assertNotIn(f"@executable_path/{DRIVER}", self.libraries("inserted"))
        for file in ("program", "inserted", DRIVER):
            self.assertLessEqual(self.libraries(file), APPLES | {f"@executable_path/{DRIVER}"}, file)

    def test_it_is_for_apples_runtime(self):
        driver = self.symbols(DRIVER, "--defined-only")
        self.assertIn("_OBJC_CLASS_$_AGXFakeFamilyComputeContext", driver)
        # Where instance variables lie is told at run time, which only Apple's ABI does.
        self.assertIn("_OBJC_IVAR_$_MPSFakeCommandBuffer._commandBuffer", driver)
        program = self.symbols("program", "--undefined-only")
        self.assertLessEqual({"_objc_msgSend", "_OBJC_CLASS_$_AGXFakeFamilyComputeContext", "_objc_begin_catch", "___cxa_throw"}, program)

    def test_the_library_that_is_inserted_offers_what_the_programs_ask_of_it(self):
        with open(os.path.join(HERE, "..", "macos", "exports.txt"), encoding="utf-8") as file:
            offered = set(file.read().split())
        for file in ("program", "inserted"):
            asked = {name for name in self.symbols(file, "--undefined-only") if name.startswith("_agx_guard")}
            self.assertGreater(len(asked), 1)
            self.assertLessEqual(asked, offered)

    def test_as_many_classes_are_named_like_the_drivers_as_the_report_must_say(self):
        named = r"_OBJC_CLASS_\$_AGX\w*Family(\w*Context|CommandBuffer|ThreadedRenderPass|RayTracingGPUBuilder)(_mtlnext)?"
        classes = {name for name in self.symbols(DRIVER, "--defined-only") if re.fullmatch(named, name)}
        self.assertEqual(len(classes), NATIVE_CLASSES, classes)

    def test_the_lookup_of_bundles_may_be_missing(self):
        bound = text(tool("llvm-objdump"), "--macho", "--bind", os.path.join(self.folder.name, "inserted"))
        self.assertRegex(bound, r"libSystem\s+_gpu_bundle_find_trusted \(weak_import\)")


STAND_IN = """#!/bin/sh
echo "$(basename "$0") $*" >> "$LOG"
[ "$(basename "$0")" = uname ] && echo Darwin
[ "$(basename "$0")" != "$FAILS" ]
"""


class Mac(unittest.TestCase):
    """scripts/test-guard with stand-ins for the system and for what it starts: which steps a Mac takes."""

    def steps(self, fails=""):
        with tempfile.TemporaryDirectory() as folder:
            for directory in ("bin", "scripts", "guard"):
                os.mkdir(os.path.join(folder, directory))
            shutil.copy(os.path.join(ROOT, "scripts", "test-guard"), os.path.join(folder, "scripts"))
            names = ("uname", "cargo", "python3", "dpkg-query", "apt-get", "qemu-aarch64-static")
            for path in [*(os.path.join("bin", name) for name in names), "guard/build-native", "guard/build-emulated", "scripts/bench-guard"]:
                with open(os.path.join(folder, path), "w", encoding="utf-8") as file:
                    file.write(STAND_IN)
                os.chmod(file.name, stat.S_IRWXU)
            log = os.path.join(folder, "log")
            environment = {"PATH": os.path.join(folder, "bin") + ":/usr/bin:/bin", "LOG": log, "FAILS": fails}
            done = subprocess.run([os.path.join(folder, "scripts", "test-guard")], env=environment, capture_output=True, text=True)
            with open(log, encoding="utf-8") as file:
                return done, file.read().splitlines()

    def test_a_mac_runs_the_core_and_the_objective_c_tests_and_says_why_not_the_rest(self):
        done, started = self.steps()
        self.assertEqual(done.returncode, 0, done.stderr)
        started = [line for line in started if not line.startswith("uname")]
        self.assertEqual([line.split()[0] for line in started], ["cargo", "cargo", "build-native", "python3"])
        self.assertEqual(started[3], "python3 guard/tests/scenarios.py")
        skipped = re.findall(r"^SKIPPED (.+?): (.+)$", done.stdout, re.M)
        self.assertEqual([part for part, _ in skipped], ["what two threads share", "what it costs", "the macOS library"])

    def test_a_step_that_fails_on_a_mac_fails_the_whole(self):
        for name in ("cargo", "build-native", "python3"):
            self.assertNotEqual(self.steps(fails=name)[0].returncode, 0, name)


if __name__ == "__main__":
    unittest.main()
