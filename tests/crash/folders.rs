//! Folders of reports: incidents, marks, watching.

use std::fs;
use std::path::PathBuf;

use agxpatch::crash::{Class, Summary};
use agxpatch::diagnostics::{CrashWatch, Limits, Mark, Watcher, collect, gather, usual_folders};
use agxpatch_simulate::crash_report::CrashReport;
use jiff::Timestamp;

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn put(folder: &tempfile::TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.path().join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, bytes).unwrap();
    path
}

fn paths(folder: &tempfile::TempDir) -> Vec<PathBuf> {
    vec![folder.path().to_owned()]
}

#[test]
fn the_same_report_captured_many_times_is_one_incident() {
    let reports = folder();
    let report = CrashReport::set_pipeline(1);
    for copy in 0..25 {
        put(&reports, &format!("2025_{copy:02}_Python-2025-12-23-104640.ips"), &report.ips());
    }
    put(&reports, "Retired/Python.crash", &report.text());
    put(&reports, "other.ips", &CrashReport::set_pipeline(2).ips());

    let found = collect(&paths(&reports), &Limits::default()).unwrap();
    assert_eq!((found.incidents.len(), found.files, found.copies), (2, 27, 25));
    assert_eq!(found.incidents[0].files, 26);
}

#[test]
fn reports_without_an_identifier_are_copies_when_their_contents_are() {
    let reports = folder();
    let text = String::from_utf8(CrashReport::dispatch(1).text()).unwrap();
    let anonymous = text.replace("Incident Identifier", "Nothing");
    put(&reports, "a.crash", anonymous.as_bytes());
    put(&reports, "b.crash", anonymous.as_bytes());
    put(&reports, "c.crash", anonymous.replace("4001", "4002").as_bytes());
    let found = collect(&paths(&reports), &Limits::default()).unwrap();
    assert_eq!((found.incidents.len(), found.copies), (2, 1));
}

#[test]
fn reports_without_an_identifier_are_one_when_the_same_death_was_written_again() {
    let reports = folder();
    let anonymous = |bytes: Vec<u8>| {
        let text = String::from_utf8(bytes).unwrap();
        text.replace("Incident Identifier", "Nothing")
            .replace("\"incident\"", "\"i\"")
            .replace("\"incident_id\"", "\"j\"")
    };
    let report = CrashReport::spill(1);
    let compact = anonymous(report.ips());
    let laid_out: String = serde_json::Deserializer::from_str(&compact)
        .into_iter::<serde_json::Value>()
        .map(|object| serde_json::to_string_pretty(&object.unwrap()).unwrap() + "\r\n")
        .collect();
    put(&reports, "a.ips", compact.as_bytes());
    put(&reports, "b.ips", laid_out.as_bytes());
    put(&reports, "c.ips", anonymous(report.single_object()).as_bytes());
    put(&reports, "d.crash", anonymous(report.text()).as_bytes());
    put(&reports, "e.crash", anonymous(report.text()).replace('\n', "\r\n").as_bytes());
    put(&reports, "f.ips", anonymous(CrashReport::spill(2).ips()).as_bytes());
    let found = collect(&paths(&reports), &Limits::default()).unwrap();
    assert_eq!((found.incidents.len(), found.files, found.copies), (2, 6, 4));
}

#[test]
fn an_all_zero_identifier_makes_no_copies() {
    let reports = folder();
    for number in [1, 2] {
        let report = CrashReport::trap(number);
        let text = String::from_utf8(report.ips()).unwrap();
        let redacted = text.replace(report.incident(), "00000000-0000-0000-0000-000000000000");
        put(&reports, &format!("{number}.ips"), redacted.as_bytes());
    }
    let found = collect(&paths(&reports), &Limits::default()).unwrap();
    assert_eq!((found.incidents.len(), found.copies), (2, 0));
}

#[test]
fn a_folder_named_twice_or_inside_another_counts_once() {
    let reports = folder();
    put(&reports, "a.ips", &CrashReport::trap(1).ips());
    put(&reports, "Retired/b.ips", &CrashReport::trap(2).ips());
    std::os::unix::fs::symlink(reports.path(), reports.path().join("again")).unwrap();
    let root = reports.path().to_owned();
    let several =
        [root.clone(), root.join("Retired"), root.clone(), root.join("again"), root.join("a.ips")];
    let found = collect(&several, &Limits::default()).unwrap();
    assert_eq!((found.incidents.len(), found.files, found.copies), (2, 2, 0));
}

#[test]
fn watching_survives_what_happens_to_files_and_folders() {
    let reports = folder();
    let later = reports.path().join("later");
    let mut watcher = Watcher::new(vec![later.clone()], Limits::default());
    assert_eq!(watcher.missing().count(), 1);
    let mut look = || -> Vec<Class> {
        watcher.look().unwrap().into_iter().map(|incident| incident.report.class).collect()
    };
    assert_eq!(look(), []);

    // Half of it is there at the first look; as text it even tells the signal.
    let (ips, text) = (CrashReport::spill(1).ips(), CrashReport::prepare(2).text());
    put(&reports, "later/a.ips", &ips[..ips.len() / 2]);
    put(&reports, "later/b.crash", &text[..text.len() / 2]);
    assert_eq!(look(), []);
    put(&reports, "later/a.ips", &ips);
    put(&reports, "later/b.crash", &text);
    assert_eq!(look(), [Class::NullAtSpill, Class::NullAtPrepare]);

    fs::rename(later.join("a.ips"), later.join("renamed.ips")).unwrap();
    fs::copy(later.join("b.crash"), later.join("copy.crash")).unwrap();
    assert_eq!(look(), []);
    fs::remove_dir_all(&later).unwrap();
    assert_eq!(look(), []);
    put(&reports, "later/c.ips", &CrashReport::trap(3).ips());
    assert_eq!(look(), [Class::Trap]);
}

#[test]
fn a_whole_copy_stands_in_for_one_that_broke_off() {
    let reports = folder();
    let report = CrashReport::spill(1).ips();
    put(&reports, "a.ips", &report[..report.len() - 40]);
    put(&reports, "b.ips", &report);
    let found = collect(&paths(&reports), &Limits::default()).unwrap();
    assert_eq!(found.incidents.len(), 1);
    assert_eq!(found.incidents[0].report.class, Class::NullAtSpill);
    assert!(found.incidents[0].path.ends_with("b.ips"));
    assert_eq!((found.copies, found.unreadable.len()), (1, 0));
}

#[test]
fn one_worker_and_many_workers_find_the_same_incidents() {
    let reports = folder();
    for number in 0..200 {
        put(&reports, &format!("{number}.ips"), &CrashReport::prepare(number % 120).ips());
        put(&reports, &format!("{number}-broken.ips"), b"{");
    }
    let with =
        |workers| collect(&paths(&reports), &Limits { workers, ..Limits::default() }).unwrap();
    let alone = with(1);
    assert_eq!(alone.incidents.len(), 120);
    assert_eq!(alone, with(7));
}

#[test]
fn incidents_come_oldest_first() {
    let reports = folder();
    for number in [5, 1, 3] {
        put(&reports, &format!("{}.ips", 9 - number), &CrashReport::trap(number).ips());
    }
    let found = collect(&paths(&reports), &Limits::default()).unwrap();
    let pids: Vec<_> = found.incidents.iter().filter_map(|each| each.report.pid).collect();
    assert_eq!(pids, [4001, 4003, 4005]);
}

#[test]
fn a_mark_tells_what_came_after_it() {
    let reports = folder();
    put(&reports, "before.ips", &CrashReport::set_pipeline(1).ips());
    let before = collect(&paths(&reports), &Limits::default()).unwrap();
    let mark = Mark::of(&before, Timestamp::UNIX_EPOCH);
    let mark = Mark::from_json(&mark.to_json()).unwrap();
    assert_eq!(mark.known(), 1);

    // The old one again under another name is not news.
    put(&reports, "copy.ips", &CrashReport::set_pipeline(1).ips());
    put(&reports, "after.ips", &CrashReport::spill(2).ips());
    let after = collect(&paths(&reports), &Limits::default()).unwrap();
    let new: Vec<Class> = mark.new_in(&after).map(|each| each.report.class).collect();
    assert_eq!(new, [Class::NullAtSpill]);
}

#[test]
fn a_mark_of_another_kind_is_refused() {
    for text in ["", "{}", r#"{"schema":"x/1","taken":"2025-01-01T00:00:00Z","incidents":[]}"#] {
        assert_eq!(Mark::from_json(text).unwrap_err().code().as_str(), "AGX-0902");
    }
}

#[test]
fn watching_reports_an_incident_once_and_a_growing_file_when_it_is_whole() {
    let reports = folder();
    let mut watcher = Watcher::new(paths(&reports), Limits::default());
    assert!(watcher.look().unwrap().is_empty());

    let report = CrashReport::set_pipeline(1).ips();
    put(&reports, "a.ips", &report[..200]);
    assert!(watcher.look().unwrap().is_empty());
    put(&reports, "a.ips", &report);
    assert_eq!(watcher.look().unwrap().len(), 1);
    put(&reports, "b.ips", &report);
    assert!(watcher.look().unwrap().is_empty());
}

#[test]
fn kept_reports_are_named_by_incident_and_kept_once() {
    let (reports, kept) = (folder(), folder());
    let hostile = CrashReport::trap(1).ips();
    let hostile = String::from_utf8(hostile).unwrap();
    let hostile = hostile.replace(CrashReport::trap(1).incident(), "../../outside");
    put(&reports, "a.ips", hostile.as_bytes());
    put(&reports, "b.ips", &CrashReport::trap(2).ips());
    let found = collect(&paths(&reports), &Limits::default()).unwrap();

    let inside = kept.path().join("reports");
    assert_eq!(gather(&found.incidents, &inside, &Limits::default()).unwrap().len(), 2);
    assert_eq!(fs::read_dir(&inside).unwrap().count(), 2);
    assert_eq!(fs::read_dir(kept.path()).unwrap().count(), 1);
    assert!(gather(&found.incidents, &inside, &Limits::default()).unwrap().is_empty());
}

#[test]
fn a_watch_finds_what_a_command_left_even_in_a_folder_made_by_the_first_report() {
    let home = folder();
    let folders = usual_folders(Some(home.path()));
    let watch = CrashWatch::begin_counting(folders[..1].to_vec()).unwrap();
    put(&home, "Library/Logs/DiagnosticReports/a.ips", &CrashReport::prepare(1).ips());
    let aftermath = watch.end().unwrap();
    assert_eq!((aftermath.before, aftermath.after, aftermath.new.len()), (0, 1, 1));
}

#[test]
fn counts_add_up_over_classes_processes_drivers_and_days() {
    let reports = folder();
    for number in 0..30 {
        let report = match number % 3 {
            0 => CrashReport::set_pipeline(number * 600),
            1 => CrashReport::unrelated(number * 600).process("sqlite", 5, 1),
            _ => CrashReport::launch_abort(number * 600),
        };
        put(&reports, &format!("{number}.ips"), &report.ips());
    }
    let found = collect(&paths(&reports), &Limits::default()).unwrap();
    let summary = Summary::of(found.incidents.iter().map(|each| (&each.report, false)));
    let sum = |counts: &[u64]| counts.iter().sum::<u64>();
    assert_eq!(sum(&summary.classes.iter().map(|row| row.incidents).collect::<Vec<_>>()), 30);
    assert_eq!(sum(&summary.processes.iter().map(|row| row.incidents).collect::<Vec<_>>()), 30);
    assert_eq!(sum(&summary.drivers.iter().map(|row| row.gpu).collect::<Vec<_>>()), 10);
    assert_eq!(summary.days.iter().map(|day| sum(&day.families)).sum::<u64>(), 30);
    assert!(summary.days.len() > 10);
}

#[test]
fn the_usual_folders_are_the_users_and_the_systems() {
    let folders = usual_folders(Some("/Users/me".as_ref()));
    assert_eq!(
        folders,
        [
            PathBuf::from("/Users/me/Library/Logs/DiagnosticReports"),
            PathBuf::from("/Library/Logs/DiagnosticReports")
        ]
    );
    assert_eq!(usual_folders(None).len(), 1);
}
