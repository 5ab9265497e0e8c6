//! What a deployment did for a workload: the runs kept beside the manifest.
//!
//! Whether a run is the one before or the one after follows from the machine's
//! state, never from the person: while Apple's driver runs it is the first, and
//! once the deployed driver runs the second, which is compared with the first.
//! Running anything is not the part of this module.

use std::path::PathBuf;

use jiff::Timestamp;

use agxpatch_core::error::Result;
use agxpatch_deploy::{Facts, State, Verification, files, layout, require_root, wrong_state};
use agxpatch_host::Host;

use super::{Moment, Recorded, StressReport};

/// The comparison for scripts, and the same for people.
const COMPARISON: [&str; 2] = ["stress-comparison.json", "stress-comparison.txt"];

/// Where a run stands: before a deployment or after it.
pub struct Standing {
    /// Which of the two.
    pub moment: Moment,
    /// When the deployment was made that it comes after.
    pub deployed: Option<Timestamp>,
    driver_sha256: Option<String>,
    original_sha256: Option<String>,
    before: Option<StressReport>,
}

impl Standing {
    /// Judges a machine, and reads the run before the deployment where there is
    /// one, so that one that cannot be read is known before an hour is spent.
    pub fn of(host: &dyn Host, found: &Verification) -> Result<Standing> {
        require_root(host, "verify --stress")?;
        let Verification { state, facts, .. } = found;
        let moment = moment(facts, *state)?;
        let manifest = facts.manifest.as_ref().filter(|_| moment == Moment::After);
        let before = match moment {
            Moment::Before => None,
            Moment::After => read(host)?,
        };
        Ok(Standing {
            moment,
            deployed: manifest.and_then(|manifest| manifest.time.parse().ok()),
            driver_sha256: facts.driver.as_ref().map(|driver| driver.sha256.clone()),
            original_sha256: manifest.map(|manifest| manifest.original_sha256.clone()),
            before,
        })
    }

    /// Puts `report` where it stands.
    pub fn record(&self, mut report: StressReport) -> Recorded {
        report.driver_sha256.clone_from(&self.driver_sha256);
        let mut recorded = Recorded::new(self.moment, report, self.before.as_ref());
        let compared = self.before.as_ref().and_then(|before| before.driver_sha256.as_ref());
        if let Some(comparison) = &mut recorded.comparison
            && compared != self.original_sha256.as_ref()
        {
            comparison
                .caveats
                .insert(0, "the run before was made with another driver than was replaced".into());
        }
        recorded
    }
}

/// Before or after, for the states in which one known driver runs.
fn moment(facts: &Facts, state: State) -> Result<Moment> {
    match state {
        State::Clean | State::PendingReboot | State::UpdatedAway => Ok(Moment::Before),
        State::Active => Ok(Moment::After),
        State::ActiveOther | State::RevertPending | State::Foreign | State::Unknown => {
            Err(wrong_state(facts, state))
        }
    }
}

fn read(host: &dyn Host) -> Result<Option<StressReport>> {
    let path = layout::beside_manifest(Moment::Before.file_name());
    let Some(file) = host.read_if_present(&path)? else { return Ok(None) };
    files::check_file(&path, &file.metadata)?;
    StressReport::from_json(&String::from_utf8_lossy(&file.bytes))
        .map(Some)
        .map_err(|error| error.with("path", path.display()))
}

/// Keeps a run, and its comparison in the two forms given; returns where. A new
/// run before a deployment takes what compared an older one with it.
pub fn keep(
    host: &dyn Host,
    recorded: &Recorded,
    comparison: Option<[&str; 2]>,
) -> Result<Vec<PathBuf>> {
    let folder = layout::beside_manifest("");
    files::make_directory(host, &folder, 0o755)?;
    let run = (recorded.moment.file_name(), recorded.report.to_json()?);
    let forms = comparison.into_iter().flatten().map(str::to_owned);
    let mut kept = Vec::new();
    for (name, text) in std::iter::once(run).chain(COMPARISON.into_iter().zip(forms)) {
        let path = layout::beside_manifest(name);
        files::check_writable(host, &path)?;
        files::write_whole(host, &path, text.as_bytes(), 0o644)?;
        kept.push(path);
    }
    if recorded.moment == Moment::Before {
        for name in COMPARISON.into_iter().chain([Moment::After.file_name()]) {
            files::remove_if_present(host, &layout::beside_manifest(name))?;
        }
    }
    Ok(kept)
}
