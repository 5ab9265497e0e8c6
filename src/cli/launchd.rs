//! `agxpatch launchd`: a property list for a service that runs with the guard.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;

use serde::Serialize;

use super::{Session, guarded, recipe};
use crate::launch::Mode;
use crate::recipes::Service;
use crate::report::Report;
use agxpatch_core::error::{Code, Error, Result};
use agxpatch_core::exit::Exit;

/// Print a launchd agent that runs a command with the guard
///
/// With --write the property list goes to ~/Library/LaunchAgents. agxpatch does not
/// start the service: it prints the commands that do.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The service's name, such as com.example.train
    #[arg(long, value_name = "LABEL")]
    label: String,

    /// The guard's mode, as for `agxpatch run`
    #[arg(long, value_name = "MODE", value_parser = recipe::parse_mode)]
    guard: Option<Mode>,

    /// The working directory [default: this one]
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,

    /// Set a variable; PATH is taken from this environment unless set here
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = parse_variable)]
    variables: Vec<(String, String)>,

    /// The file for standard output and standard error [default: ~/Library/Logs/LABEL.log]
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,

    /// Start the command again whenever it ends
    #[arg(long)]
    keep_alive: bool,

    /// Write the property list for launchd to find instead of printing it
    #[arg(long)]
    write: bool,

    /// The command and its arguments
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "CMD"
    )]
    command: Vec<OsString>,
}

#[derive(Serialize)]
struct Agent {
    plist: String,
    path: PathBuf,
    written: bool,
    commands: [String; 3],
}

/// Runs the command.
pub fn run(args: Args, session: &Session) -> Result<Exit> {
    Service::check_label(&args.label)?;
    let home = recipe::home()?;
    let here = guarded::directory()?;
    let mut variables: BTreeMap<String, String> = args.variables.into_iter().collect();
    if let Ok(path) = std::env::var("PATH") {
        variables.entry("PATH".to_owned()).or_insert(path);
    }
    let log =
        args.log.unwrap_or_else(|| home.join("Library/Logs").join(format!("{}.log", args.label)));
    let service = Service {
        label: args.label,
        agxpatch: recipe::own_path()?,
        mode: args.guard,
        command: recipe::command(&here, &args.command)?,
        directory: here.join(args.directory.unwrap_or_default()),
        variables,
        log: here.join(log),
        keep_alive: args.keep_alive,
    };
    let (plist, path) = (service.property_list()?, service.place(&home));
    if args.write {
        recipe::write_new(session, &path, &plist)?;
    }
    let user = rustix::process::getuid().as_raw();
    let commands = service.commands(&path, user);
    session.show(&Agent { plist, path, written: args.write, commands })
}

impl Report for Agent {
    const SCHEMA: &'static str = "agxpatch.launchd/1";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        if !self.written {
            return out.write_all(self.plist.as_bytes());
        }
        let [start, state, stop] = &self.commands;
        writeln!(out, "wrote {}", self.path.display())?;
        writeln!(out, "start it:   {start}")?;
        writeln!(out, "its state:  {state}")?;
        writeln!(out, "stop it:    {stop}")
    }
}

fn parse_variable(text: &str) -> Result<(String, String)> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(Error::new(Code::BadArgument, "expected NAME=VALUE")),
    }
}
