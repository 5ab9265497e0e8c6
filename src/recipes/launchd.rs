//! A launchd agent that runs a command with the guard. The keys are those of
//! launchd.plist(5).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use agxpatch_core::error::{Code, Error, Result};

use super::guarded;
use crate::launch::Mode;

/// A service of the user.
#[derive(Clone, Debug)]
pub struct Service {
    /// Its name, in reverse domain form.
    pub label: String,
    /// The path of this program.
    pub agxpatch: String,
    /// The guard's mode; the default if none.
    pub mode: Option<Mode>,
    /// The command, its program by absolute path.
    pub command: Vec<String>,
    /// The working directory.
    pub directory: PathBuf,
    /// Variables, `PATH` among them: launchd's own is short.
    pub variables: BTreeMap<String, String>,
    /// Where both outputs go.
    pub log: PathBuf,
    /// Whether launchd starts it again when it ends.
    pub keep_alive: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Agent<'a> {
    label: &'a str,
    program_arguments: Vec<String>,
    working_directory: &'a Path,
    environment_variables: &'a BTreeMap<String, String>,
    standard_out_path: &'a Path,
    standard_error_path: &'a Path,
    run_at_load: bool,
    keep_alive: bool,
}

impl Service {
    /// Checks that `label` can be the name of a service and of its file.
    ///
    /// # Errors
    /// `BadArgument`.
    pub fn check_label(label: &str) -> Result<()> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if !label.is_empty() && label.chars().all(allowed) && !label.starts_with('.') {
            return Ok(());
        }
        Err(Error::new(Code::BadArgument, "the label is not valid for a launchd service")
            .with("label", label)
            .next("use letters, digits, dots and hyphens, such as com.example.train"))
    }

    /// The property list.
    ///
    /// # Errors
    /// `Bug`, if the list cannot be written as XML.
    pub fn property_list(&self) -> Result<String> {
        let agent = Agent {
            label: &self.label,
            program_arguments: guarded(&self.agxpatch, self.mode, &self.command),
            working_directory: &self.directory,
            environment_variables: &self.variables,
            standard_out_path: &self.log,
            standard_error_path: &self.log,
            run_at_load: true,
            keep_alive: self.keep_alive,
        };
        let mut text = Vec::new();
        plist::to_writer_xml(&mut text, &agent).map_err(|error| {
            Error::new(Code::Bug, "the property list cannot be written").with("reason", error)
        })?;
        let mut text = String::from_utf8_lossy(&text).into_owned();
        if !text.ends_with('\n') {
            text.push('\n');
        }
        Ok(text)
    }

    /// Where launchd looks for the list, in the home of the user.
    pub fn place(&self, home: &Path) -> PathBuf {
        home.join("Library/LaunchAgents").join(format!("{}.plist", self.label))
    }

    /// What the user types to start the service from the list at `place`, to see its
    /// state, and to stop it.
    pub fn commands(&self, place: &Path, user: u32) -> [String; 3] {
        let place = agxpatch_host::command::quoted(&place.to_string_lossy());
        let label = &self.label;
        [
            format!("launchctl bootstrap gui/{user} {place}"),
            format!("launchctl print gui/{user}/{label}"),
            format!("launchctl bootout gui/{user}/{label}"),
        ]
    }
}
