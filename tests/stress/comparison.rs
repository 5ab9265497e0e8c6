//! From trials to accounts, comparisons and back from a file.

use agxpatch::stress::comparison::Account;
use agxpatch::stress::{
    Configuration, Ended, Environments, Guarded, Options, Plan, StressReport, Swept, Variant,
    Verdict, before_after, run,
};

use crate::children::{Bench, options_for, shell};

fn plan(names: &str, trials: u32, baselines: u32) -> Plan {
    let configurations = names.split(',').map(|name| name.parse().unwrap()).collect();
    Plan { configurations, variants: Vec::new(), trials, baselines }
}

/// A workload that is killed under `off`, works under `guard`, and hung under `serialize`.
/// The hangs are entered into the report: a time-out that is short enough for a test ends
/// what works as well, on a loaded machine. That a hang is found is tested with the
/// children.
fn example() -> StressReport {
    let script = "case $AGX_GUARD in '') ulimit -c 0; kill -11 $$;; esac";
    let options =
        Options { plan: plan("off,guard,serialize", 8, 0), ..options_for(shell(script), 1) };
    let mut report = Bench::new().run(&options);
    let serialize: Configuration = "serialize".parse().unwrap();
    for trial in report.trials.iter_mut().filter(|trial| trial.configuration == serialize) {
        assert_eq!(trial.verdict, Verdict::Completed);
        (trial.ended, trial.verdict) = (Ended::TimedOut, Verdict::TimedOut);
        trial.measured = None;
    }
    report
}

#[test]
fn configurations_take_turns_and_none_is_always_first() {
    let plan = plan("off,guard,serialize", 6, 2);
    let turns = plan.turns();
    assert_eq!(turns.len(), 3 * (6 + 2));
    for round in 0..6 {
        let of_round: Vec<_> = turns.iter().filter(|turn| turn.round == round).collect();
        assert_eq!(of_round[0].configuration, plan.configurations[round as usize % 3]);
        for configuration in &plan.configurations {
            let mine = of_round.iter().filter(|turn| turn.configuration == *configuration);
            assert_eq!(mine.count(), if round < 2 { 2 } else { 1 });
        }
    }
}

#[test]
fn crashes_are_fewer_and_hangs_are_not_hidden() {
    let report = example();
    let accounts = report.accounts();
    let count = |index: usize| (accounts[index].crashes.count, accounts[index].failures.count);
    assert_eq!([count(0), count(1), count(2)], [(8, 8), (0, 0), (0, 8)]);
    assert_eq!(accounts[0].signals["SIGSEGV"], 8);
    assert_eq!(accounts[2].timed_out, 8);

    let comparisons = report.comparisons();
    let [guard, serialize] = comparisons.as_slice() else { panic!("{comparisons:?}") };
    assert!(guard.crashes.significant && guard.crashes.value < 0.0);
    assert!(guard.failures.significant);
    // It no longer crashes, and it is not better for it.
    assert!(serialize.crashes.significant);
    assert!(!serialize.failures.significant);
    assert!(!report.is_clean());
}

#[test]
fn a_report_is_read_back_as_it_was_and_computed_again() {
    let report = example();
    let text = report.to_json().unwrap();
    assert_eq!(StressReport::from_json(&text).unwrap(), report);

    let forged = text.replacen("\"significant\": true", "\"significant\": false", 9);
    assert_ne!(text, forged);
    let read = StressReport::from_json(&forged).unwrap();
    assert_eq!(read.comparisons(), report.comparisons());
}

#[test]
fn a_file_of_another_kind_is_refused() {
    for text in ["", "{}", "{\"schema\":\"agxpatch.crashes/1\"}"] {
        assert_eq!(StressReport::from_json(text).unwrap_err().code().as_str(), "AGX-0905");
    }
}

#[test]
fn before_and_after_are_compared_by_configuration() {
    let run_with = |script: &str| {
        let options = Options { plan: plan("off", 10, 0), ..options_for(shell(script), 1) };
        Bench::new().run(&options)
    };
    let before = run_with("ulimit -c 0; kill -5 $$");
    let after = run_with("exit 0");
    let both = before_after(&before, &after);
    assert_eq!(both.comparisons.len(), 1);
    assert!(both.comparisons[0].crashes.significant);
    assert!(both.caveats[0].contains("different commands"));
    let same = before_after(&after, &after);
    assert!(!same.comparisons[0].crashes.significant);
    assert!(!same.caveats.iter().any(|caveat| caveat.contains("different")));
}

fn sweep(of: Swept, values: &[u32]) -> Vec<Variant> {
    values.iter().map(|value| Variant { of, value: *value }).collect()
}

#[test]
fn values_take_turns_within_a_configuration() {
    let plan = Plan { variants: sweep(Swept::Threads, &[1, 2, 4]), ..plan("off,guard", 4, 0) };
    let turns = plan.turns();
    assert_eq!(turns.len(), 4 * 2 * 3);
    let of_round = |round| {
        let mine = turns.iter().filter(move |turn| turn.round == round);
        let value = |turn: &agxpatch::stress::Turn| turn.variant.unwrap().value;
        mine.map(|turn| format!("{} {}", turn.configuration, value(turn))).collect::<Vec<_>>()
    };
    assert_eq!(of_round(0), ["off 1", "off 2", "off 4", "guard 1", "guard 2", "guard 4"]);
    assert_eq!(of_round(1), ["guard 2", "guard 4", "guard 1", "off 2", "off 4", "off 1"]);
}

#[test]
fn each_number_of_threads_has_an_account_and_a_comparison_of_its_own() {
    // Sixteen threads die unguarded; each thread more adds half of the first.
    let script = "t=$2; test \"$t$AGX_GUARD\" = 16 && { ulimit -c 0; kill -11 $$; }; \
                  echo \"{\\\"agxpatch_workload\\\":1,\\\"workload\\\":\\\"t\\\",\\\"device\\\":\\\"cpu\\\",\
                  \\\"threads\\\":$t,\\\"operations\\\":$((50 + 50 * t)),\\\"expected\\\":null,\
                  \\\"seconds\\\":1.0,\\\"errors\\\":[],\\\"max_difference\\\":null,\
                  \\\"tolerance\\\":null}\"";
    let mut command = shell(script);
    command.arguments.push("sh".into());
    command.measures = true;
    let variants = sweep(Swept::Threads, &[1, 4, 16]);
    let plan = Plan { variants, ..plan("off,guard", 8, 0) };
    let report = Bench::new().run(&Options { plan, ..options_for(command, 1) });
    let seen: Vec<_> =
        report.accounts().iter().map(|each| (each.label(), each.crashes.count)).collect();
    let expected = [
        ("off, 1 thread", 0),
        ("off, 4 threads", 0),
        ("off, 16 threads", 8),
        ("guard, 1 thread", 0),
        ("guard, 4 threads", 0),
        ("guard, 16 threads", 0),
    ];
    assert_eq!(seen, expected.map(|(name, count)| (name.to_owned(), count)));
    let efficiency = |index: usize| report.accounts()[index].efficiency.map(|each| each.value);
    assert_eq!([efficiency(3), efficiency(4), efficiency(5)], [None, Some(0.625), Some(0.53125)]);
    let comparisons = report.comparisons();
    assert_eq!(comparisons.len(), 3);
    let worst = &comparisons[2];
    assert_eq!(
        (worst.reference.as_str(), worst.configuration.as_str()),
        ("off, 16 threads", "guard, 16 threads")
    );
    assert!(worst.crashes.significant && !comparisons[0].crashes.significant);
    assert_eq!(before_after(&report, &report).comparisons.len(), 6);
    let text = report.to_json().unwrap();
    assert_eq!(StressReport::from_json(&text).unwrap(), report);
}

#[test]
fn efficiency_is_throughput_a_thread_against_one_thread() {
    // One thread makes 100 operations a second, eight make 200: a quarter each.
    let script = "if [ \"$1\" = --threads ]; then t=1 o=100; else t=8 o=200; fi; \
                  echo \"{\\\"agxpatch_workload\\\":1,\\\"workload\\\":\\\"t\\\",\\\"device\\\":\\\"cpu\\\",\
                  \\\"threads\\\":$t,\\\"operations\\\":$o,\\\"expected\\\":null,\\\"seconds\\\":1.0,\
                  \\\"errors\\\":[],\\\"max_difference\\\":null,\\\"tolerance\\\":null}\"";
    let mut command = shell(script);
    command.arguments.push("sh".into());
    command.one_thread = Some(vec!["--threads".into(), "1".into()]);
    command.measures = true;
    let options = Options { plan: plan("off", 3, 2), ..options_for(command, 1) };
    let report = Bench::new().run(&options);
    let account = Account::of(&Configuration::Off, None, &report.trials);
    assert_eq!(account.crashes.of, 3, "baselines are counted apart");
    let efficiency = account.efficiency.unwrap();
    assert_eq!((efficiency.threads, efficiency.value), (8, 0.25));
    assert!(report.is_clean());
}

#[test]
fn a_configuration_that_cannot_be_had_ends_the_run_before_it_begins() {
    let mac = Guarded { library: None, macos: true };
    assert!(mac.environment(&Configuration::Off).is_ok());
    let options = Options { plan: plan("off,guard", 1, 0), ..options_for(shell("exit 0"), 1) };
    let mut made = 0;
    assert!(run(&options, &mac, &mut |_, _| made += 1).is_err());
    assert_eq!(made, 0);
}
