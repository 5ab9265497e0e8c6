//! Whether coalescing was off in the processes of a run that asked for it.
//!
//! The library answers the driver's questions, but a version of the driver may ask in another way, or not at all. What can be seen is
//! whether it asked, and whether an encoder was begun again all the same.

use serde::Serialize;
use serde_json::Value;

/// What was seen, over the processes that loaded a driver with coalescing switched off.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CoalescingOff {
    /// How many such processes there were.
    pub processes: u64,
    /// How often the driver asked whether it is off.
    pub asked: u64,
    /// How often an ended encoder was begun again.
    pub coalesced: u64,
}

impl CoalescingOff {
    /// Adds up the library's reports; none where no process loaded a driver, or where coalescing was left on.
    pub fn of(reports: &[Value]) -> Option<CoalescingOff> {
        let mut sum = CoalescingOff::default();
        for report in reports.iter().filter(|report| report["driver"]["loaded"] == true) {
            let Some(asked) = report["coalescing_off"].as_object() else { continue };
            sum.processes += 1;
            sum.asked += asked.values().filter_map(Value::as_u64).sum::<u64>();
            sum.coalesced += report["counters"]["encoders_reopened"].as_u64().unwrap_or(0);
        }
        (sum.processes > 0).then_some(sum)
    }

    /// Why it may not have been off.
    pub fn complaint(&self) -> Option<String> {
        match (self.coalesced, self.asked) {
            (1.., _) => Some(format!(
                "--no-coalescing had no effect: an ended encoder was begun again {} times",
                self.coalesced
            )),
            (0, 0) => Some(
                "the driver never asked whether coalescing is off, so it is not known whether --no-coalescing \
                 had an effect"
                    .to_owned(),
            ),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::CoalescingOff;

    fn report(asked: u64, coalesced: u64) -> serde_json::Value {
        json!({
            "driver": {"loaded": true}, "counters": {"encoders_reopened": coalesced},
            "coalescing_off": {"preferences_asked": 0, "buffers_asked": asked, "devices_asked": 0},
        })
    }

    #[test]
    fn a_driver_that_asked_and_coalesced_nothing_gives_no_complaint() {
        let seen = CoalescingOff::of(&[report(0, 0), report(3, 0)]).unwrap();
        assert_eq!((seen.processes, seen.asked), (2, 3));
        assert_eq!(seen.complaint(), None);
    }

    #[test]
    fn a_driver_that_never_asked_or_coalesced_all_the_same_is_named() {
        let never = CoalescingOff::of(&[report(0, 0)]).unwrap().complaint().unwrap();
        assert!(never.starts_with("the driver never asked"), "{never}");
        let all_the_same = CoalescingOff::of(&[report(3, 2)]).unwrap().complaint().unwrap();
        assert!(all_the_same.contains("begun again 2 times"), "{all_the_same}");
    }

    #[test]
    fn a_process_without_a_driver_and_one_that_left_coalescing_on_say_nothing() {
        let on = json!({"driver": {"loaded": true}, "counters": {"encoders_reopened": 9}});
        let mut launcher = report(0, 0);
        launcher["driver"]["loaded"] = json!(false);
        assert_eq!(CoalescingOff::of(&[on, launcher]), None);
    }
}
