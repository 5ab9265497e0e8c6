//! What follows from what a child did and from what the guard told from inside it.
//!
//! Nothing is tried here, so that what would be said on a Mac can be seen where
//! there is none.

use serde_json::Value;

use crate::launch::CoalescingOff;
use crate::launch::environment::Driver;
use crate::launch::guard_report;
use agxpatch_core::check::Check;
use agxpatch_core::error::Result;

use super::child::Done;

/// A child that made a device, or tried to.
pub(super) struct ChildRun {
    /// What it did.
    pub(super) done: std::io::Result<Done>,
    /// What the guard told from inside; none where it told nothing.
    pub(super) inside: Result<Option<Value>>,
}

/// Whether a device was made.
pub(super) fn device(name: &'static str, tried: &ChildRun) -> Check {
    match &tried.done {
        Err(reason) => Check::skipped(name, format!("no child process: {reason}")),
        Ok(done) => {
            let detail = if done.well() { "a device was made".to_owned() } else { done.sentence() };
            Check::from(name, done.well(), detail)
        }
    }
}

/// The guard must be in the process, and have hooked what it found.
pub(super) fn guard(name: &'static str, tried: &ChildRun) -> Check {
    let report = match ended_well(name, tried) {
        Ok(report) => report,
        Err(check) => return check,
    };
    let number = |key: &str| report.get(key).and_then(Value::as_u64).unwrap_or_default();
    let (methods, left) = (number("hooked_methods"), number("methods_without_room"));
    let detail = format!(
        "{methods} methods of {} classes hooked, {left} without room; {} encoders, {} coalesced",
        number("hooked_classes"),
        report["counters"]["encoders_tracked"],
        report["counters"]["encoders_reopened"],
    );
    Check::from(name, methods > 0 && left == 0, detail)
}

/// Which classes of the driver look like encoders and are not known by name. That there are some is
/// not a fault: the library hooks such a class when a factory first returns an object of it. The
/// next version of the library should know the name.
pub(super) fn encoder_classes(name: &'static str, tried: &ChildRun) -> Check {
    let report = match ended_well(name, tried) {
        Ok(report) => report,
        Err(check) => return check,
    };
    let Some(unknown) = report["encoder_classes_not_hooked"].as_array() else {
        return Check::skipped(name, "the library is of a version that does not report them");
    };
    let names: Vec<&str> = unknown.iter().filter_map(Value::as_str).collect();
    let met = report["classes_hooked_on_sight"].as_u64().unwrap_or_default();
    let detail = match names.len() {
        0 => "every class of the driver that responds to endEncoding is hooked".to_owned(),
        count => {
            let names = names.join(", ");
            format!("{count} unknown, to be hooked when a factory returns one: {names}")
        }
    };
    Check::pass(name, format!("{detail}; {met} hooked on sight"))
}

/// Whether the driver coalesced encoders that follow each other: only then are its races over an
/// ended encoder's block possible here.
pub(super) fn coalescing_seen(name: &'static str, tried: &ChildRun) -> Check {
    let report = match ended_well(name, tried) {
        Ok(report) => report,
        Err(check) => return check,
    };
    let counter = |key: &str| report["counters"][key].as_u64().unwrap_or_default();
    match (counter("encoders_tracked"), counter("encoders_reopened")) {
        (0, _) => Check::fail(name, "the guard saw no encoder"),
        (encoders, 0) => {
            Check::pass(name, format!("not seen: {encoders} encoders, each begun once"))
        }
        (encoders, again) => {
            Check::pass(name, format!("seen: {encoders} encoders, begun again {again} times"))
        }
    }
}

/// The driver must have asked whether coalescing is off, and have coalesced nothing.
pub(super) fn coalescing_off(name: &'static str, tried: &ChildRun) -> Check {
    let report = match ended_well(name, tried) {
        Ok(report) => report,
        Err(check) => return check,
    };
    match CoalescingOff::of(std::slice::from_ref(report)) {
        None => Check::fail(name, "the library did not switch it off"),
        Some(seen) => match seen.complaint() {
            Some(complaint) => Check::fail(name, complaint),
            None => Check::pass(
                name,
                format!("the driver asked {} times and coalesced nothing", seen.asked),
            ),
        },
    }
}

/// The copy must be what was loaded, and its code the patched one.
pub(super) fn copy(name: &'static str, tried: &ChildRun, asked: &Driver) -> Check {
    match ended_well(name, tried) {
        Err(check) => check,
        Ok(report) => match guard_report::complaint(report, asked) {
            None => Check::pass(name, "a device was made, and its driver is the patched copy"),
            Some(complaint) => Check::fail(name, complaint),
        },
    }
}

/// The guard's report, if the child ended well and left one.
fn ended_well<'t>(
    name: &'static str,
    tried: &'t ChildRun,
) -> std::result::Result<&'t Value, Check> {
    let done = match &tried.done {
        Ok(done) => done,
        Err(reason) => return Err(Check::skipped(name, format!("no child process: {reason}"))),
    };
    match &tried.inside {
        _ if !done.well() => Err(Check::fail(name, done.sentence())),
        Ok(Some(report)) => Ok(report),
        Ok(None) => Err(Check::fail(name, "the child ran, and the library was not in it")),
        Err(error) => Err(Check::fail(name, error.to_string())),
    }
}

/// Whether an inserted library met the predicted fate.
pub(super) fn insertion(name: &'static str, done: &Done, expected: Insertion) -> Check {
    let seen = Insertion::of(done);
    let how =
        if seen == Insertion::Refused { format!(" ({})", done.sentence()) } else { String::new() };
    let detail = format!("{}{how}; predicted: {}", seen.words(), expected.words());
    Check::from(name, seen == expected, detail)
}

/// What can become of an inserted library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Insertion {
    /// The variable was ignored.
    Dropped,
    /// It was loaded.
    Inserted,
    /// The program was ended for it.
    Refused,
}

impl Insertion {
    /// The guard says on standard error that it can do nothing in such a program.
    fn of(done: &Done) -> Insertion {
        match (done.well(), done.complained.contains("agx-guard:")) {
            (true, true) => Insertion::Inserted,
            (true, false) => Insertion::Dropped,
            (false, _) => Insertion::Refused,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Insertion::Dropped => "dropped",
            Insertion::Inserted => "inserted",
            Insertion::Refused => "refused",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    use serde_json::json;

    use super::*;
    use crate::launch::environment::Way;
    use agxpatch_core::check::Status;

    fn done(wait_status: i32, complained: &str) -> Done {
        Done {
            ended: Some(ExitStatus::from_raw(wait_status)),
            said: String::new(),
            complained: complained.to_owned(),
        }
    }

    fn tried(wait_status: i32, inside: Option<Value>) -> ChildRun {
        ChildRun { done: Ok(done(wait_status, "")), inside: Ok(inside) }
    }

    fn report(way: &str, code: &str) -> Value {
        json!({
            "schema": "agxpatch.guard/1", "hooked_classes": 6, "hooked_methods": 812,
            "methods_without_room": 0,
            "counters": { "encoders_tracked": 4, "encoders_reopened": 2 },
            "driver": { "loaded": true, "path": "/System/x", "way": way, "code": code,
                        "lookup_answered": true },
        })
    }

    fn asked(way: Way) -> Driver {
        Driver {
            plugin: "../../../tmp/AGXMetalG16X".into(),
            instead_of: "AGXMetalG16X".into(),
            folder: "/tmp/AGXMetalG16X.bundle/Contents/MacOS".into(),
            patched: "0:0".into(),
            original: "0:0".into(),
            way,
        }
    }

    #[test]
    fn a_guard_that_hooked_something_passes_and_one_that_was_left_out_does_not() {
        let check = guard("g", &tried(0, Some(report("system", "not-compared"))));
        assert_eq!(check.status, Status::Pass);
        assert_eq!(
            check.detail,
            "812 methods of 6 classes hooked, 0 without room; 4 encoders, 2 coalesced"
        );
        assert_eq!(guard("g", &tried(0, None)).status, Status::Fail);
        assert_eq!(guard("g", &tried(11, Some(report("system", "other")))).status, Status::Fail);
        let mut full = report("system", "not-compared");
        full["methods_without_room"] = json!(3);
        assert_eq!(guard("g", &tried(0, Some(full))).status, Status::Fail);
    }

    #[test]
    fn unknown_encoder_classes_are_named_and_do_not_fail() {
        let mut inside = report("system", "not-compared");
        let check = encoder_classes("e", &tried(0, Some(inside.clone())));
        assert_eq!(check.status, Status::Skipped, "{}", check.detail);
        inside["encoder_classes_not_hooked"] = json!([]);
        let check = encoder_classes("e", &tried(0, Some(inside.clone())));
        let all = "every class of the driver that responds to endEncoding is hooked";
        assert_eq!(
            (check.status, check.detail),
            (Status::Pass, format!("{all}; 0 hooked on sight"))
        );
        inside["encoder_classes_not_hooked"] =
            json!(["AGXG16XFamilyTensorContext", "AGXG16XOther"]);
        inside["classes_hooked_on_sight"] = json!(1);
        let check = encoder_classes("e", &tried(0, Some(inside)));
        let unknown = "2 unknown, to be hooked when a factory returns one: AGXG16XFamilyTensorContext, AGXG16XOther; 1 hooked on sight";
        assert_eq!((check.status, check.detail.as_str()), (Status::Pass, unknown));
        assert_eq!(encoder_classes("e", &tried(0, None)).status, Status::Fail);
    }

    #[test]
    fn coalescing_is_told_seen_or_not_and_needs_an_encoder() {
        let mut inside = report("system", "not-compared");
        let check = coalescing_seen("s", &tried(0, Some(inside.clone())));
        let seen = "seen: 4 encoders, begun again 2 times";
        assert_eq!((check.status, check.detail.as_str()), (Status::Pass, seen));
        inside["counters"]["encoders_reopened"] = json!(0);
        let check = coalescing_seen("s", &tried(0, Some(inside.clone())));
        let not_seen = "not seen: 4 encoders, each begun once";
        assert_eq!((check.status, check.detail.as_str()), (Status::Pass, not_seen));
        inside["counters"]["encoders_tracked"] = json!(0);
        assert_eq!(coalescing_seen("s", &tried(0, Some(inside))).status, Status::Fail);
        assert_eq!(coalescing_seen("s", &tried(11, None)).status, Status::Fail);
    }

    #[test]
    fn coalescing_is_off_where_the_driver_asked_and_began_no_encoder_again() {
        let mut inside = report("system", "not-compared");
        assert_eq!(coalescing_off("c", &tried(0, Some(inside.clone()))).status, Status::Fail);
        inside["coalescing_off"] = json!({"buffers_asked": 2});
        assert_eq!(coalescing_off("c", &tried(0, Some(inside.clone()))).status, Status::Fail);
        inside["counters"]["encoders_reopened"] = json!(0);
        let check = coalescing_off("c", &tried(0, Some(inside.clone())));
        assert_eq!(check.status, Status::Pass, "{}", check.detail);
        inside["coalescing_off"] = json!({"buffers_asked": 0});
        assert_eq!(coalescing_off("c", &tried(0, Some(inside))).status, Status::Fail);
    }

    #[test]
    fn only_the_patched_copy_passes_for_the_copy() {
        let by_lookup = asked(Way::Lookup);
        let check = copy("c", &tried(0, Some(report("lookup", "patched"))), &by_lookup);
        assert_eq!(check.status, Status::Pass);
        for (way, code) in [("system", "original"), ("lookup", "original")] {
            let check = copy("c", &tried(0, Some(report(way, code))), &by_lookup);
            assert_eq!(check.status, Status::Fail, "{way} {code}");
        }
        assert_eq!(copy("c", &tried(9, None), &by_lookup).detail, "signal 9 ended it");
    }

    #[test]
    fn a_library_in_a_program_of_apples_is_dropped_inserted_or_refused() {
        let inserted = "agx-guard: this process authenticates pointers";
        let refused = "dyld[1]: Library not loaded: not valid for use in process";
        for (wait_status, said, seen) in [
            (0, "", Insertion::Dropped),
            (0, inserted, Insertion::Inserted),
            (6, refused, Insertion::Refused),
        ] {
            for predicted in [Insertion::Dropped, Insertion::Inserted, Insertion::Refused] {
                let check = insertion("f", &done(wait_status, said), predicted);
                let right = if seen == predicted { Status::Pass } else { Status::Fail };
                assert_eq!(check.status, right, "{}", check.detail);
                assert!(check.detail.starts_with(seen.words()));
            }
        }
    }
}
