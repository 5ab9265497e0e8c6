//! Asking the guard in a process that runs for its report.
//!
//! Nothing is sent to the process: a signal would end one that has no guard, or that got the number of
//! one that is gone. A file `PID.ask` is put into the folder where the library of a run
//! reports; the library's own thread finds it, writes its report, and removes it.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use agxpatch_core::error::{Code, Error, Result};

use super::guard_report;

/// How the folder of a run begins, in the folder for temporary files.
pub const FOLDER: &str = "agxpatch-run-";
const PAUSE: Duration = Duration::from_millis(20);

/// The report of a process, from the run that it belongs to.
///
/// # Errors
/// `ReadFailed` where no guard answers for that number within `patience`, and `WriteFailed`
/// where nothing can be asked.
pub fn ask(temporary: &Path, pid: u32, patience: Duration) -> Result<Value> {
    let user = tempfile::tempfile_in(temporary).and_then(|file| file.metadata());
    let user = user.map_err(|error| {
        Error::new(Code::WriteFailed, "the folder for temporary files cannot be used")
            .with("path", temporary.display())
            .with("reason", error)
    });
    ask_as(temporary, pid, user?.uid(), patience)
}

fn ask_as(temporary: &Path, pid: u32, user: u32, patience: Duration) -> Result<Value> {
    let questions: Vec<Question> =
        folders(temporary, user).filter_map(|folder| Question::put(folder, pid)).collect();
    let until = Instant::now() + patience;
    while !questions.is_empty() && Instant::now() < until {
        if let Some(answered) = questions.iter().find(|question| question.is_answered()) {
            return guard_report::report(&answered.report);
        }
        std::thread::sleep(PAUSE);
    }
    Err(Error::new(Code::ReadFailed, "no guard answers in this process")
        .with("process", pid)
        .with("runs that were asked", questions.len())
        .next("name a process that `agxpatch run` started, as the same user; with --guard off it has none"))
}

/// The folders of the runs of this user.
fn folders(temporary: &Path, user: u32) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(temporary).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(move |path| {
        let is_run =
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(FOLDER));
        let ours = |metadata: fs::Metadata| metadata.is_dir() && metadata.uid() == user;
        is_run && fs::symlink_metadata(path).is_ok_and(ours)
    })
}

/// A question in one folder; taken back when it is dropped.
struct Question {
    file: PathBuf,
    report: PathBuf,
}

impl Question {
    fn put(folder: PathBuf, pid: u32) -> Option<Question> {
        let file = folder.join(format!("{pid}.ask"));
        File::create_new(&file).ok()?;
        Some(Question { file, report: folder.join(format!("{pid}.json")) })
    }

    /// The library removes the question after it has written the report.
    fn is_answered(&self) -> bool {
        !self.file.exists() && self.report.exists()
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        // It is gone if it was answered, or its run is over.
        drop(fs::remove_file(&self.file));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_run_that_has_the_process_answers_and_the_others_are_left_as_they_were() {
        let place = tempfile::tempdir().unwrap();
        let [one, two] = ["a", "b"].map(|name| place.path().join(format!("{FOLDER}{name}")));
        for folder in [&one, &two] {
            fs::create_dir(folder).unwrap();
        }
        let (question, report) = (two.join("7.ask"), two.join("7.json"));
        let library = std::thread::spawn(move || {
            while !question.exists() {
                std::thread::yield_now();
            }
            fs::write(report, r#"{"schema":"agxpatch.guard/1","pid":7}"#).unwrap();
            fs::remove_file(question).unwrap();
        });
        let answer = ask(place.path(), 7, Duration::from_secs(20)).unwrap();
        library.join().unwrap();
        assert_eq!(answer["pid"], 7);
        assert_eq!(fs::read_dir(&one).unwrap().count(), 0);
    }

    #[test]
    fn a_process_without_a_guard_is_an_error_and_no_question_stays() {
        let place = tempfile::tempdir().unwrap();
        let run = place.path().join(format!("{FOLDER}a"));
        fs::create_dir(&run).unwrap();
        // The final report of a process that is over is no answer.
        fs::write(run.join("7.json"), "{}").unwrap();
        fs::create_dir(place.path().join("another")).unwrap();
        let refused = ask(place.path(), 7, Duration::ZERO).unwrap_err();
        assert_eq!(refused.code(), Code::ReadFailed);
        assert!(!run.join("7.ask").exists());
        let user = fs::metadata(&run).unwrap().uid();
        let stranger = ask_as(place.path(), 7, user + 1, Duration::ZERO).unwrap_err();
        assert_eq!(stranger.code(), Code::ReadFailed);
    }
}
