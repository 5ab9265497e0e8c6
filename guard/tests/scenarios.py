#!/usr/bin/env python3
"""The guard with a real Objective-C runtime: GNU's on arm64 Linux under qemu, Apple's on a Mac, natively. scripts/test-guard builds what
this needs, in guard/target/emulated or guard/target/native.

Each test runs one scenario of tests/objc/program.m; the bare driver (AGX_GUARD=off) is the control that the crash is there to be
prevented. On a Mac dyld inserts the library as it ships, which hooks the driver's classes by itself; tests/objc/inserted.m has the
scenarios that load the driver later, as Metal does.
"""

import json
import os
import re
import signal
import struct
import subprocess
import sys
import tempfile
import unittest
import unittest.mock

HERE = os.path.dirname(os.path.abspath(__file__))
TARGET = os.path.join(HERE, "..", "target")
QEMU = ["qemu-aarch64-static", "-L", "/usr/aarch64-linux-gnu"]
SIGSEGV, SIGABRT = -signal.SIGSEGV, -signal.SIGABRT
# A fault in the program: which of the two a Mac sends depends on what is mapped near by.
FAULTS = (SIGSEGV, -signal.SIGBUS)
IS_NATIVE = sys.platform == "darwin"
# Classes of the fake driver that a Mac's library hooks for their names; elsewhere the program names seven of them.
NATIVE_CLASSES = 10
# The scenarios of inserted.m; program.m's have the driver from the start.
LATE = ("late", "unhooked", "lookup", "no-coalescing")

# Millions of calls for the long runs: 8, 16 and 64 threads, more than ten millions together.
LONG_RUNS = {8: 4000, 16: 4000, 64: 4000}


def command_of(arguments, is_native=IS_NATIVE, cpu=None):
    """The command that runs a scenario, and what it has in its environment besides the test's settings."""
    if not is_native:
        return [*QEMU, *(["-cpu", cpu] if cpu else []), os.path.join(TARGET, "emulated", "program"), *arguments], {}
    folder = os.path.realpath(os.path.join(TARGET, "native"))
    program = "inserted" if arguments[0] in LATE else "program"
    inserted = {"DYLD_INSERT_LIBRARIES": os.path.join(folder, "libagx_guard.dylib")}
    return [os.path.join(folder, program), *arguments], inserted


def environment_of(inserted, settings):
    """This process's environment with the settings of a test and no others of the guard's."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("AGX_GUARD", "DYLD_"))}
    return clean | inserted | settings


def run(*arguments, cpu=None, **settings):
    """Runs a scenario; answers its exit status, standard output and standard error."""
    command, inserted = command_of([str(argument) for argument in arguments], cpu=cpu)
    done = subprocess.run(command, env=environment_of(inserted, settings), capture_output=True, text=True, timeout=300)
    return done.returncode, done.stdout, done.stderr


class Runner(unittest.TestCase):
    """How scenarios are started on a Mac, as far as that can be seen elsewhere."""

    def test_a_mac_runs_the_program_itself_with_the_shipped_library_inserted(self):
        command, inserted = command_of(["races", "3"], is_native=True)
        self.assertEqual([os.path.basename(part) for part in command], ["program", "races", "3"])
        self.assertEqual(inserted, {"DYLD_INSERT_LIBRARIES": os.path.join(os.path.dirname(command[0]), "libagx_guard.dylib")})
        command, _ = command_of(["late"], is_native=True)
        self.assertEqual(os.path.basename(command[0]), "inserted")

    def test_what_the_caller_has_set_for_the_guard_or_dyld_is_not_passed_on(self):
        with unittest.mock.patch.dict(os.environ, {"AGX_GUARD_QUIET": "1", "DYLD_PRINT_LIBRARIES": "1", "KEPT": "1"}):
            environment = environment_of({"DYLD_INSERT_LIBRARIES": "x"}, {"AGX_GUARD": "off"})
        self.assertEqual((environment["KEPT"], environment["AGX_GUARD"], environment["DYLD_INSERT_LIBRARIES"]), ("1", "off", "x"))
        self.assertFalse({"AGX_GUARD_QUIET", "DYLD_PRINT_LIBRARIES"} & set(environment))


class Scenarios(unittest.TestCase):
    def holds(self, *arguments, **environment):
        status, out, err = run(*arguments, **environment)
        self.assertEqual(status, 0, f"{arguments}: {out}{err}")
        return out, err

    def test_every_method_but_the_excepted_is_guarded(self):
        out, _ = self.holds("coverage")
        self.assertRegex(out, r"1\d\d methods guarded")

    def test_every_method_shape_goes_through_from_eight_threads_and_is_zero_when_refused(self):
        self.holds("shapes")

    def test_an_ended_encoder_is_refused_and_stays_an_object(self):
        self.holds("ended")

    def test_the_first_refused_call_is_said_with_both_threads_and_only_once(self):
        _, err = self.holds("handed")
        says = (r"^agx-guard: refused -\[AGXFakeFamilyComputeContext setBuffer:offset:atIndex:\] in late: "
                r"ender had ended the encoder; this GPU call is lost, and results may be wrong$")
        self.assertEqual(len(re.findall(says, err, re.M)), 1, err)
        self.assertEqual(err.count("refused"), 1, err)

    def test_a_refused_call_ends_the_process_where_that_is_asked_for(self):
        status, _, err = run("handed", AGX_GUARD_ON_REFUSAL="abort")
        self.assertEqual(status, SIGABRT, err)
        self.assertRegex(err, r"in late: ender had ended the encoder; ending the process")

    def test_the_quarantine_holds_no_more_than_it_may(self):
        for most in (5, 0, 256):
            self.holds("bounded", most, AGX_GUARD_QUARANTINE=str(most), AGX_GUARD_QUARANTINE_MS="1000000")

    def test_the_quarantine_lets_go_by_age(self):
        self.holds("ages", AGX_GUARD_QUARANTINE_MS="50")

    def test_the_quarantine_waits_for_the_last_holder(self):
        self.holds("lastholder", AGX_GUARD_QUARANTINE_MS="20")

    def test_an_address_used_again_is_never_believed_ended(self):
        self.holds("reuse", AGX_GUARD_QUARANTINE="0")

    def test_an_init_may_fail_or_return_another_object(self):
        self.holds("inits", AGX_GUARD_QUARANTINE="0")

    def test_an_encoder_made_before_the_hooks_is_adopted(self):
        self.holds("late")

    def test_the_driver_may_coalesce_encoders(self):
        self.holds("coalescing")

    def test_with_coalescing_off_the_driver_begins_no_ended_encoder_again(self):
        for mode in ("off", "guard"):
            self.holds("coalesces", 1, AGX_GUARD=mode)
            self.holds("coalesces", 0, AGX_GUARD=mode, AGX_GUARD_COALESCING="off")

    def test_each_kind_of_encoder_is_ended_by_the_program_and_once_more_by_the_buffer_that_keeps_it(self):
        for mode in ("guard", "serialize"):
            self.holds("kinds", AGX_GUARD=mode)

    def test_the_driver_may_ask_an_ended_encoder(self):
        self.holds("asked")

    def test_an_encoder_class_of_no_list_is_hooked_on_sight(self):
        _, err = self.holds("unheard")
        self.assertIn("XYZUnheardOfCommandEncoder is an encoder class", err)

    def test_handlers_inside_commit_may_use_each_others_buffers(self):
        for mode in ("guard", "throttle=2", "serialize"):
            self.holds("handlers", AGX_GUARD=mode)

    def test_a_handler_inside_commit_may_use_its_own_buffer_and_commit_another(self):
        for mode in ("guard", "throttle=2", "serialize"):
            self.holds("ownbuffer", AGX_GUARD=mode)

    def test_a_commit_that_waits_for_room_in_the_queue_keeps_no_thread_waiting(self):
        for mode in ("guard", "throttle=2", "serialize"):
            self.holds("fullqueue", AGX_GUARD=mode)

    def test_encoders_from_factories_on_eight_threads_leave_nothing_behind(self):
        for mode in ("guard", "throttle=2", "serialize"):
            out, _ = self.holds("buffers", 8, 500, AGX_GUARD=mode, AGX_GUARD_QUARANTINE_MS="1")
            self.assertRegex(out, r"^\d+ encoders")

    def test_eight_busy_threads_do_not_leave_the_guards_thread_behind(self):
        out, _ = self.holds("buffers", 8, 2000, AGX_GUARD_QUARANTINE="64", AGX_GUARD_QUARANTINE_MS="1")
        self.assertLess(int(re.search(r"at most (\d+) objects alive", out)[1]), 4000, out)

    def test_nested_and_super_calls_and_calls_to_other_encoders_go_through(self):
        self.holds("nested")

    def test_threads_that_wait_for_each_other_are_let_go(self):
        self.holds("circle", AGX_GUARD_QUIET="1")

    def test_a_wrapped_command_buffer_has_one_lock_with_its_encoders(self):
        self.holds("wrapped")

    def test_sub_encoders_of_a_parallel_encoder_have_locks_of_their_own(self):
        self.holds("parallel")

    def test_a_metal_4_encoder_has_the_lock_of_the_buffer_that_made_it(self):
        self.holds("metal4")

    def test_a_tail_call_from_a_guarded_method_counts_as_the_drivers(self):
        self.holds("tailcall")

    def test_a_long_wait_is_said_once(self):
        _, err = self.holds("longwait", AGX_GUARD_WAIT_WARN_MS="100")
        self.assertEqual(len(re.findall(r"^agx-guard: waited \d+ ms for encoder or command buffer 0x", err, re.M)), 1, err)

    def test_a_long_wait_is_not_said_when_asked_to_be_quiet(self):
        _, err = self.holds("longwait", AGX_GUARD_WAIT_WARN_MS="100", AGX_GUARD_QUIET="1")
        self.assertEqual(err, "")

    def test_a_jump_out_of_a_method_leaves_no_lock_behind(self):
        self.holds("jump")

    def test_a_thread_that_ends_inside_a_call_leaves_no_lock_behind(self):
        self.holds("exits")

    def test_an_exception_passes_through_guarded_methods_and_closes_their_calls(self):
        for scenario in (0, 1):
            for mode in ("off", "guard", "serialize", "observe"):
                self.holds("throws", scenario, AGX_GUARD=mode)

    def test_a_c_plus_plus_exception_passes_too_and_leaves_the_encoders_usable(self):
        for nested in (0, 1):
            for mode in ("off", "guard", "serialize", "observe"):
                self.holds("throws-c++", nested, AGX_GUARD=mode)

    def test_an_exception_through_a_method_with_arguments_on_the_stack_ends_the_process_as_documented(self):
        self.holds("throws", 2, AGX_GUARD="off")
        self.assertEqual(run("throws", 2)[0], SIGABRT)

    def test_a_backtrace_inside_a_guarded_method_keeps_the_caller(self):
        for mode in ("off", "guard"):
            self.holds("backtrace", AGX_GUARD=mode)

    def test_an_impl_that_is_not_a_pointer_may_be_zero(self):
        self.holds("embedded")

    def test_an_encoder_whose_class_is_exchanged_is_guarded_once(self):
        self.holds("exchanged")

    def test_a_forked_child_waits_for_no_thread_of_its_parent(self):
        self.holds("forks")
        self.holds("forks", AGX_GUARD="throttle=2")

    def test_an_encoder_is_not_let_go_by_the_thread_that_is_inside_of_it(self):
        self.holds("inside", AGX_GUARD_QUARANTINE="1")

    def test_throttle_and_serialize_bound_the_open_encoders(self):
        self.holds("throttle", 2, 0, AGX_GUARD="throttle=2")
        self.holds("throttle", 1, 0, AGX_GUARD="serialize")

    def test_a_thread_with_an_open_encoder_may_open_another(self):
        self.holds("throttle", 2, 1, AGX_GUARD="throttle=2")
        self.holds("throttle", 1, 1, AGX_GUARD="serialize")

    def test_observing_counts_and_changes_nothing(self):
        self.holds("observe", AGX_GUARD="observe")

    def test_what_is_not_understood_is_said_once_each_and_the_library_guards(self):
        _, err = self.holds("bounded", 2, AGX_GUARD="gaurd", AGX_GUARD_QUARANTINE_MS="lots", AGX_GUARD_QUARANTINE="2")
        says = "agx-guard: {} is \"{}\", which is not understood; its default is used\n"
        self.assertEqual(err, says.format("AGX_GUARD_QUARANTINE_MS", "lots") + says.format("AGX_GUARD", "gaurd"))

    @unittest.skipIf(IS_NATIVE, "no Mac runs one program with pointer authentication on and off; the emulated processor does")
    def test_authenticated_pointers_are_noticed(self):
        self.assertEqual(run("keys", cpu="max,pauth=on")[0], 1)
        self.assertEqual(run("keys", cpu="max,pauth=off")[0], 0)


class Report(unittest.TestCase):
    def test_the_report_is_json_and_adds_up(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "report.json")
            status, out, err = run("report", AGX_GUARD="throttle=3", AGX_GUARD_REPORT=path)
            self.assertEqual(status, 0, out + err)
            with open(path, encoding="utf-8") as file:
                report = json.load(file)
        self.assertEqual(report["schema"], "agxpatch.guard/1")
        self.assertEqual((report["mode"], report["limit"]), ("throttle", 3))
        self.assertEqual(report["hooked_classes"], NATIVE_CLASSES if IS_NATIVE else 7)
        self.assertEqual(report["methods_without_room"], 0)
        self.assertEqual(report["methods_not_understood"], 1)
        self.assertEqual(report["counters"]["encoders_tracked"], 2)
        self.assertEqual(report["counters"]["encoders_ended"], 2)
        self.assertEqual(report["encoders"]["open"], 0)
        self.assertEqual(report["encoders"]["quarantined"], 2)

    def test_the_report_is_written_on_sigusr1(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "report.json")
            status, out, err = run("signal", AGX_GUARD_REPORT=path)
            self.assertIn(status, FAULTS, out + err)
            with open(path, encoding="utf-8") as file:
                self.assertEqual(json.load(file)["counters"]["encoders_tracked"], 1)

    def test_the_report_names_the_methods_that_were_refused(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "report.json")
            status, out, err = run("ended", AGX_GUARD_REPORT=path)
            self.assertEqual(status, 0, out + err)
            with open(path, encoding="utf-8") as file:
                refused = json.load(file)["refused_methods"]
        compute = "-[AGXFakeFamilyComputeContext {}]"
        names = ["setBuffer:offset:atIndex:", "insertDebugSignpost:", "endEncoding", "deferredEndEncoding", "destroyImpl"]
        self.assertEqual(refused, {compute.format(name): 1 for name in names})

    def test_the_report_tells_who_asked_whether_coalescing_is_off(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "report.json")
            for mode in ("off", "guard"):
                run("coalesces", 0, AGX_GUARD=mode, AGX_GUARD_COALESCING="off", AGX_GUARD_REPORT=path)
                with open(path, encoding="utf-8") as file:
                    asked = json.load(file)["coalescing_off"]
                self.assertEqual(asked, {"preferences_asked": 0, "buffers_asked": 2, "devices_asked": 1})
            run("coalesces", 1, AGX_GUARD_REPORT=path)
            with open(path, encoding="utf-8") as file:
                self.assertNotIn("coalescing_off", json.load(file))

    def test_an_encoder_class_of_no_list_is_reported_until_it_is_hooked(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "report.json")
            for is_left_alone, named in ((1, ["XYZUnheardOfCommandEncoder"]), (0, [])):
                status, out, err = run("unheard", is_left_alone, AGX_GUARD_REPORT=path)
                self.assertEqual(status, 0, out + err)
                with open(path, encoding="utf-8") as file:
                    report = json.load(file)
                self.assertEqual([name for name in report["encoder_classes_not_hooked"] if "XYZ" in name], named)
                self.assertEqual(report["classes_hooked_on_sight"], 1 - is_left_alone)

    def test_encoders_let_go_of_without_an_end_are_counted_and_said_once(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "report.json")
            status, out, err = run("abandoned", AGX_GUARD_REPORT=path)
            self.assertEqual(status, 0, out + err)
            self.assertRegex(err, r"\Aagx-guard: 38 encoders were let go of without endEncoding; [^\n]*\n\Z")
            with open(path, encoding="utf-8") as file:
                self.assertEqual(json.load(file)["encoders"]["abandoned"], 38)

    def test_a_process_that_runs_answers_a_question_with_its_report_and_takes_it_away(self):
        with tempfile.TemporaryDirectory() as folder:
            command, inserted = command_of(["questioned"])
            environment = environment_of(inserted, {"AGX_GUARD_REPORTS": folder})
            child = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
            pid = int(child.stdout.readline())
            with open(os.path.join(folder, f"{pid}.ask"), "x", encoding="utf-8"):
                pass
            self.assertEqual(child.wait(60), -signal.SIGKILL)
            child.stdout.close()
            self.assertEqual(os.listdir(folder), [f"{pid}.json"])
            with open(os.path.join(folder, f"{pid}.json"), encoding="utf-8") as file:
                self.assertEqual(json.load(file)["counters"]["encoders_tracked"], 1)

    def test_a_forked_child_writes_no_report(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "report.json")
            status, out, err = run("forks", AGX_GUARD_REPORT=path)
            self.assertEqual(status, 0, out + err)
            with open(path, encoding="utf-8") as file:
                self.assertEqual(json.load(file)["counters"]["encoders_ended"], 2)

    def test_a_report_is_written_with_the_guard_off_too(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "report.json")
            run("report", AGX_GUARD="off", AGX_GUARD_REPORT=path)
            with open(path, encoding="utf-8") as file:
                report = json.load(file)
        self.assertEqual((report["mode"], report["hooked_methods"], report["counters"]["calls"]), ("off", 0, 0))

    def test_a_process_without_a_driver_does_not_overwrite_a_report(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "report.json")
            run("report", AGX_GUARD_REPORT=path)
            run("unhooked", AGX_GUARD_REPORT=path)
            with open(path, encoding="utf-8") as file:
                self.assertGreater(json.load(file)["hooked_classes"], 0)

    def test_each_process_leaves_a_report_of_its_own_in_a_folder(self):
        with tempfile.TemporaryDirectory() as folder:
            for _ in range(2):
                run("report", AGX_GUARD="off", AGX_GUARD_REPORTS=folder)
            run("unhooked", AGX_GUARD_REPORTS=folder)
            names = os.listdir(folder)
            self.assertEqual(len(names), 3)
            for name in names:
                with open(os.path.join(folder, name), encoding="utf-8") as file:
                    self.assertEqual(f"{json.load(file)['pid']}.json", name)


def races(folder):
    """The findings in the mapped files of a folder, as (times, finding)."""
    found = []
    for name in sorted(os.listdir(folder)):
        if name.endswith(".races"):
            with open(os.path.join(folder, name), "rb") as file:
                content = file.read()
            assert content.startswith(b"agxpatch.races/1"), content[:16]
            for at in range(8192, len(content), 8192):
                times, length = struct.unpack_from("<QQ", content, at)
                if length:
                    found.append((times, json.loads(content[at + 16:at + 16 + length])))
    return found


class Races(unittest.TestCase):
    """Two threads in one encoder or command buffer: named, in both modes that look."""

    def find(self, scenario, mode, status=0):
        with tempfile.TemporaryDirectory() as folder:
            ended, out, err = run("races", scenario, AGX_GUARD=mode, AGX_GUARD_REPORTS=folder, AGX_GUARD_QUIET="1")
            self.assertEqual(ended, status, out + err)
            return races(folder)

    def each_mode(self, scenario, status=0):
        for mode in ("guard", "observe"):
            with self.subTest(mode):
                found = self.find(scenario, mode, status)
                self.assertEqual(len(found), 1, found)
            yield found[0]

    def names(self, side, thread, method, function):
        self.assertEqual(side["thread"]["name"], thread)
        self.assertEqual(side["thread"]["queue"], "test.queue")
        self.assertGreater(side["thread"]["id"], 0)
        if method:
            self.assertEqual(side["method"], f"-[AGXFakeFamilyComputeContext {method}]")
        self.assertRegex(side["stack"][0], rf"^program\+0x[0-9a-f]+ {function}\+\d+$")

    def test_two_threads_inside_one_encoder_overlap(self):
        for times, found in self.each_mode(0):
            self.assertEqual((times, found["kind"]), (1, "overlap"))
            self.names(found["later"], "user", "setBuffer:offset:atIndex:", "race_use")
            self.names(found["earlier"], "holder", "holdFor:", "race_hold")

    def test_a_use_after_the_end_names_both_threads_and_the_whole_way_to_the_end(self):
        for times, found in self.each_mode(1):
            self.assertEqual((times, found["kind"]), (3, "use-after-end"))
            self.names(found["later"], "user", "setBuffer:offset:atIndex:", "race_use")
            self.names(found["earlier"], "ender", None, "race_end")
            self.assertGreater(len(found["earlier"]["stack"]), 1)
            self.assertTrue(any("main" in frame for frame in found["created"]["stack"]), found["created"])

    def test_a_finding_outlives_the_process(self):
        for _, found in self.each_mode(2, SIGABRT):
            self.assertEqual(found["kind"], "use-after-commit")
            self.names(found["later"], "committer", None, "race_commit")
            self.assertEqual(found["later"]["method"], "-[AGXFakeFamilyCommandBuffer commit]")

    def test_a_dispatch_with_another_threads_state_is_torn_and_counted_once(self):
        for times, found in self.each_mode(3):
            self.assertEqual((times, found["kind"]), (1, "torn-sequence"))
            self.names(found["later"], "worker", "dispatchThreads:threadsPerThreadgroup:", "race_dispatch")
            self.names(found["earlier"], "setter", "setComputePipelineState:", "race_set")

    def test_a_dispatch_after_another_thread_changed_the_state_is_torn(self):
        for times, found in self.each_mode(4):
            self.assertEqual((times, found["kind"]), (1, "torn-sequence"))
            self.names(found["earlier"], "setter", "setComputePipelineState:", "race_set")

    def test_a_command_buffer_used_while_another_threads_encoder_is_open_is_named_before_metal_asserts(self):
        second_uses = {
            6: ("second", "race_make_another", "blitCommandEncoder"),
            7: ("signaller", "race_signal", "encodeSignalEvent:value:"),
            8: ("committer", "race_commit", "commit"),
        }
        for scenario, (thread, function, method) in second_uses.items():
            for times, found in self.each_mode(scenario, SIGABRT):
                self.assertEqual((times, found["kind"]), (1, "open-encoder"))
                self.names(found["later"], thread, None, function)
                self.assertEqual(found["later"]["method"], f"-[AGXFakeFamilyCommandBuffer {method}]")
                self.assertEqual(found["earlier"]["thread"]["name"], "maker")
                # The factory's own frames come first where its code is not known as the driver's.
                self.assertTrue(any(" race_make+" in frame for frame in found["earlier"]["stack"]), found)

    def test_a_handler_added_after_the_commit_is_named_before_metal_asserts(self):
        for _, found in self.each_mode(9, SIGABRT):
            self.assertEqual(found["kind"], "use-after-commit")
            self.names(found["later"], "adder", None, "race_add_handler")
            self.names(found["earlier"], "committer", None, "race_commit")

    def test_encoders_made_ended_and_committed_by_different_threads_in_turn_are_not_findings(self):
        for mode in ("guard", "observe"):
            self.assertEqual(self.find(10, mode), [])

    def test_a_serial_queue_with_eight_threads_has_no_findings(self):
        for mode in ("guard", "observe"):
            self.assertEqual(self.find(5, mode), [])

    def test_the_report_has_the_findings_too(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "report.json")
            run("races", 1, AGX_GUARD_REPORT=path, AGX_GUARD_QUIET="1")
            with open(path, encoding="utf-8") as file:
                report = json.load(file)
        self.assertEqual([(found["times"], found["kind"]) for found in report["findings"]], [(3, "use-after-end")])
        self.assertEqual((report["findings_dropped"], report["counters"]["races_use_after_end"]), (0, 3))


class Readme(unittest.TestCase):
    def test_each_test_that_the_readme_names_is_there(self):
        with open(os.path.join(HERE, "..", "README.md"), encoding="utf-8") as file:
            named = set(re.findall(r"`(test_\w+)`", file.read()))
        there = set()
        for name in ("scenarios.py", "macos_build.py", "native_build.py"):
            with open(os.path.join(HERE, name), encoding="utf-8") as file:
                there |= set(re.findall(r"def (test_\w+)", file.read()))
        self.assertGreater(len(named), 30)
        self.assertEqual(named - there, set())


@unittest.skipUnless(IS_NATIVE, "takes dyld and Apple's runtime: awaited")
class Inserted(unittest.TestCase):
    """The library as dyld inserts it, and a driver that is loaded later, as Metal does it."""

    PLUGIN = {
        "AGX_GUARD_PLUGIN": "../../.." + os.path.realpath(os.path.join(TARGET, "native", "AGXMetalFake")),
        "AGX_GUARD_PLUGIN_FOR": "AGXMetalFake",
    }

    def driver(self, scenario, **settings):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "report.json")
            status, out, err = run(scenario, AGX_GUARD_REPORT=path, **settings)
            self.assertEqual(status, 0, out + err)
            with open(path, encoding="utf-8") as file:
                return json.load(file)["driver"]

    def test_dyld_interposes_the_lookup_and_the_hooks_are_in_place_when_it_answers(self):
        driver = self.driver("lookup", **self.PLUGIN)
        self.assertTrue(driver["lookup_there"] and driver["lookup_answered"] and driver["hooked_in_time"], driver)
        self.assertEqual((driver["way"], driver["images"]), ("lookup", 1))

    def test_a_driver_that_no_lookup_announced_is_hooked_within_the_tick(self):
        self.assertFalse(self.driver("late")["hooked_in_time"])

    def test_core_foundations_preferences_say_that_coalescing_is_off(self):
        self.driver("no-coalescing", AGX_GUARD_COALESCING="off")


class Crashes(unittest.TestCase):
    """The published crashes: there without the guard, gone with it."""

    HAZARDS = {
        1: ("prepareForEnqueue on a NULL _impl", FAULTS, "fault at 0x98"),
        2: ("allocateUSCSpillBuffer on a NULL _impl", FAULTS, "fault at 0x184"),
        3: ("setComputePipelineState: on a NULL _impl", FAULTS, "fault at 0x5c8"),
        4: ("dispatchThreads: on a NULL _impl", FAULTS, "fault at 0x5f4"),
        5: ("a message to a freed encoder", FAULTS, "fault at "),
        7: ("setBuffer:offset:atIndex: on a NULL _impl", FAULTS, "fault at 0x5c8"),
        6: ("a second endEncoding", (SIGABRT,), "failed assertion"),
    }

    def test_each_crash_happens_without_the_guard(self):
        for hazard, (what, status, text) in self.HAZARDS.items():
            with self.subTest(what):
                died, out, err = run("stress", 8, 20000, hazard, AGX_GUARD="off")
                self.assertIn(died, status, out + err)
                self.assertIn(text, out + err)

    def test_no_crash_happens_with_the_guard(self):
        for hazard, (what, _, _) in self.HAZARDS.items():
            with self.subTest(what):
                status, out, err = run("stress", 8, 500, hazard)
                self.assertEqual(status, 0, out + err)
                self.assertGreater(int(re.search(r"(\d+) refused", out)[1]), 0, out)

    # What Metal asserts, with two threads or one; under the guard each is named (class Races) or survived.
    ASSERTIONS = {
        ("races", 6): "A command encoder is already encoding to this command buffer",
        ("races", 7): "encodeSignalEvent:value: with uncommitted encoder",
        ("races", 8): "validate]: a command encoder was not ended",
        ("races", 9): "Completed handler provided after commit call",
        ("races", 2): "commit an already committed command buffer",
        ("abandoned",): "Command encoder released without endEncoding",
    }

    def test_each_assertion_of_metal_happens_without_the_guard(self):
        for scenario, text in self.ASSERTIONS.items():
            with self.subTest(text):
                died, out, err = run(*scenario, AGX_GUARD="off")
                self.assertEqual(died, SIGABRT, out + err)
                self.assertRegex(err, "failed assertion: .*" + re.escape(text))

    STOPPED = {
        0: ("two threads in commitEncoder end one encoder twice", "fault at "),
        1: ("a factory coalesces with an encoder that another thread ends", "fault at 0x760"),
        2: ("an event method and a factory of one command buffer", "fault at "),
        4: ("two threads in commitEncoder end one blit encoder twice", "fault at "),
        5: ("two threads in commitEncoder end one render encoder twice", "fault at "),
        3: ("a thread encodes while another ends the kept encoder", "fault at 0x5c8"),
    }

    def test_each_race_of_a_command_buffer_crashes_without_the_guard_and_is_survived_with_it(self):
        for scenario, (what, text) in self.STOPPED.items():
            with self.subTest(what):
                died, out, err = run("meet", scenario, AGX_GUARD="off")
                self.assertIn(died, (*FAULTS, SIGABRT), out + err)
                self.assertIn(text, out + err)
                status, out, err = run("meet", scenario)
                self.assertEqual(status, 0, out + err)

    def test_with_coalescing_off_no_ended_encoders_block_is_read_and_the_other_races_stay(self):
        status, out, err = run("meet", 1, AGX_GUARD="off", AGX_GUARD_COALESCING="off")
        self.assertEqual(status, 0, out + err)
        self.assertIn(run("meet", 0, AGX_GUARD="off", AGX_GUARD_COALESCING="off")[0], (*FAULTS, SIGABRT))

    def test_the_quarantine_is_what_keeps_a_late_message_from_freed_memory(self):
        status, out, err = run("stress", 8, 20000, 5, AGX_GUARD_QUARANTINE="0")
        self.assertIn(status, FAULTS, out + err)

    def test_more_than_ten_million_calls_from_many_threads_pass(self):
        calls = 0
        for threads, thousands in LONG_RUNS.items():
            status, out, err = run("stress", threads, thousands, 0)
            self.assertEqual(status, 0, f"{threads} threads: {out}{err}")
            calls += int(re.match(r"(\d+) calls", out)[1])
            print(f"{threads:3} threads: {out.strip()}", file=sys.stderr)
        self.assertGreater(calls, 10_000_000)


if __name__ == "__main__":
    # Who started this may ignore it, and the programs would inherit that.
    signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    unittest.main()
