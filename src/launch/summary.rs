//! What the guard did in a run, over all its processes.
//!
//! A refused call is GPU work that was not done, so it must not go unnoticed: a run ends with a line of what was guarded, and another
//! where calls were refused.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

/// Methods named in the line about refused calls.
const MAX_NAMED: usize = 3;

/// The sums over the processes in which the guard hooked anything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct GuardSummary {
    /// How many such processes there were.
    pub processes: u64,
    /// Methods that were hooked, in the process that had most.
    pub methods: u64,
    /// Their classes.
    pub classes: u64,
    /// Encoders that were guarded.
    pub encoders: u64,
    /// Calls that were not dispatched.
    pub refused: u64,
    /// Which methods they called, the most refused first.
    pub refused_methods: Vec<(String, u64)>,
    /// In mode `observe`: calls that the guard would have refused.
    pub would_refuse: u64,
    /// In mode `observe`: calls that met another thread inside.
    pub overlaps: u64,
    /// Encoders that the program let go of without ending them.
    pub abandoned: u64,
    /// Processes that loaded a driver in which the guard hooked nothing.
    pub unguarded: u64,
}

impl GuardSummary {
    /// Adds up the reports of the library; none where no process loaded a driver.
    pub fn of(reports: &[Value]) -> Option<GuardSummary> {
        let mut summary = GuardSummary::default();
        let mut methods: BTreeMap<&str, u64> = BTreeMap::new();
        for report in reports.iter().filter(|report| report["mode"] != "off") {
            let number = |value: &Value| value.as_u64().unwrap_or(0);
            let counter = |name: &str| number(&report["counters"][name]);
            match report["hooked_methods"].as_u64() {
                Some(0) if report["driver"]["loaded"] == true => summary.unguarded += 1,
                Some(0) | None => continue,
                Some(hooked) => {
                    summary.processes += 1;
                    summary.methods = summary.methods.max(hooked);
                }
            }
            summary.classes = summary.classes.max(number(&report["hooked_classes"]));
            summary.encoders += counter("encoders_tracked") + counter("encoders_adopted");
            summary.would_refuse += counter("would_refuse");
            summary.overlaps += counter("overlaps");
            summary.abandoned += number(&report["encoders"]["abandoned"]);
            summary.refused += REFUSALS.iter().map(|name| counter(name)).sum::<u64>();
            for (name, times) in report["refused_methods"].as_object().into_iter().flatten() {
                *methods.entry(name).or_default() += number(times);
            }
        }
        summary.refused_methods =
            methods.into_iter().map(|(name, times)| (name.to_owned(), times)).collect();
        summary.refused_methods.sort_by_key(|(_, times)| std::cmp::Reverse(*times));
        (summary.processes + summary.unguarded > 0).then_some(summary)
    }

    /// What to say at the end of a run, the warnings first. `quiet` leaves out the line that says only that all went well.
    pub fn lines(&self, quiet: bool) -> Vec<String> {
        let mut lines = Vec::new();
        if self.unguarded > 0 {
            lines.push(format!(
                "{} loaded the driver, but the guard hooked no method there: nothing was guarded",
                counted(self.unguarded, "process", "processes")
            ));
        }
        if self.refused > 0 {
            lines.push(format!("{}; results may be wrong", self.refusals()));
        }
        if self.abandoned > 0 {
            lines.push(format!(
                "{} let go of without endEncoding; each keeps its command buffer, and a queue that runs out of those waits for ever",
                counted(self.abandoned, "encoder was", "encoders were"),
            ));
        }
        if self.would_refuse + self.overlaps > 0 {
            lines.push(format!(
                "observed {} on an encoder or command buffer that another thread was inside of, and {} to an ended encoder",
                counted(self.overlaps, "call", "calls"),
                counted(self.would_refuse, "call", "calls"),
            ));
        }
        if self.processes > 0 && !(quiet && self.refused == 0) {
            lines.push(format!(
                "guarded {} of {}; {}; {} refused",
                counted(self.methods, "method", "methods"),
                counted(self.classes, "class", "classes"),
                counted(self.encoders, "encoder", "encoders"),
                grouped(self.refused)
            ));
        }
        lines
    }

    /// How many calls were refused, and which.
    pub fn refusals(&self) -> String {
        let mut named: Vec<String> = self
            .refused_methods
            .iter()
            .take(MAX_NAMED)
            .map(|(name, times)| format!("{name} {}", counted(*times, "time", "times")))
            .collect();
        if self.refused_methods.len() > MAX_NAMED {
            named.push("others".to_owned());
        }
        let calls = counted(self.refused, "GPU call was refused", "GPU calls were refused");
        if named.is_empty() { calls } else { format!("{calls}: {}", named.join(", ")) }
    }
}

/// The counters of calls that were not dispatched.
const REFUSALS: [&str; 4] =
    ["refused_ended", "refused_double_end", "refused_gone", "refused_null_impl"];

fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", grouped(count), if count == 1 { one } else { many })
}

/// A number with a comma before each group of three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::GuardSummary;

    fn report(hooked: u64, refused: u64) -> serde_json::Value {
        json!({
            "mode": "guard", "hooked_methods": hooked, "hooked_classes": 9,
            "driver": {"loaded": true},
            "refused_methods": {"-[A b]": refused},
            "counters": {"encoders_tracked": 15_199, "encoders_adopted": 1, "refused_ended": refused},
        })
    }

    #[test]
    fn a_run_without_refusals_has_one_line_and_none_when_quiet() {
        let summary = GuardSummary::of(&[report(812, 0)]).unwrap();
        assert_eq!(
            summary.lines(false),
            ["guarded 812 methods of 9 classes; 15,200 encoders; 0 refused"]
        );
        assert_eq!(summary.lines(true), [""; 0]);
    }

    #[test]
    fn refused_calls_are_counted_over_all_processes_and_named_even_when_quiet() {
        let summary = GuardSummary::of(&[report(812, 1_000), report(812, 234)]).unwrap();
        assert_eq!(summary.refused, 1_234);
        assert_eq!(
            summary.lines(true)[0],
            "1,234 GPU calls were refused: -[A b] 1,234 times; results may be wrong"
        );
    }

    #[test]
    fn encoders_that_were_never_ended_are_a_warning_even_when_quiet() {
        let mut inside = report(812, 0);
        inside["encoders"] = json!({"abandoned": 40});
        let lines = GuardSummary::of(&[inside]).unwrap().lines(true);
        assert!(
            lines[0].starts_with("40 encoders were let go of without endEncoding"),
            "{lines:?}"
        );
    }

    #[test]
    fn a_driver_without_hooks_is_a_warning_and_no_driver_is_nothing() {
        let unguarded = GuardSummary::of(&[report(0, 0)]).unwrap().lines(true);
        assert!(unguarded[0].contains("1 process loaded the driver"), "{unguarded:?}");
        let launcher = json!({"mode": "guard", "hooked_methods": 0, "driver": {"loaded": false}});
        assert_eq!(GuardSummary::of(&[launcher]), None);
        assert_eq!(GuardSummary::of(&[]), None);
    }
}
