//! `agxpatch synth FILE`: write a synthetic driver.

use std::io::{self, Write};
use std::path::PathBuf;

use serde::Serialize;

use crate::report::style::{FAINT, RESET, STRONG};
use crate::report::{Report, printable};
use crate::storage;
use agxpatch_core::error::{Code, Error, Result};
use agxpatch_core::exit::Exit;
use agxpatch_simulate::driver::{self, Variant};

use super::Session;

/// Write a synthetic driver to try things on
///
/// It has the published words at the published addresses; everything else is made up.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Where to write it.
    #[arg(required_unless_present = "list")]
    file: Option<PathBuf>,

    /// Which of the variants to write.
    #[arg(long, value_name = "NAME", default_value = Variant::PUBLISHED.name)]
    variant: String,

    /// List the variants and write nothing.
    #[arg(long)]
    list: bool,

    /// Replace the file if it exists.
    #[arg(long)]
    force: bool,
}

#[derive(Serialize)]
struct Synthesis {
    file: Option<String>,
    size: Option<u64>,
    variants: Vec<Listed>,
}

#[derive(Serialize)]
struct Listed {
    name: &'static str,
    about: &'static str,
}

/// Runs the command.
pub fn run(args: Args, session: &Session) -> Result<Exit> {
    let Some(file) = args.file.filter(|_| !args.list) else {
        let variants = Variant::ALL.iter().map(listed).collect();
        return session.show(&Synthesis { file: None, size: None, variants });
    };
    let variant = Variant::named(&args.variant).ok_or_else(|| {
        Error::new(Code::BadArgument, "there is no variant with that name")
            .with("name", &args.variant)
            .next("list them with: agxpatch synth --list")
    })?;
    storage::check_output(&file, None, args.force)?;
    let bytes = driver::build(variant)?;
    storage::write(&file, &bytes, args.force)?;
    session.show(&Synthesis {
        file: Some(file.display().to_string()),
        size: Some(bytes.len() as u64),
        variants: vec![listed(variant)],
    })
}

fn listed(variant: &Variant) -> Listed {
    Listed { name: variant.name, about: variant.about }
}

impl Report for Synthesis {
    const SCHEMA: &'static str = "agxpatch.synth/1";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        match (&self.file, self.size) {
            (Some(file), Some(size)) => {
                let variant = &self.variants[0];
                writeln!(out, "{}: {size} bytes, {}", printable(file), variant.about)?;
                writeln!(out, "{FAINT}synthetic: published words, everything else made up{RESET}")
            }
            _ => {
                let width = self.variants.iter().map(|v| v.name.len()).max().unwrap_or(0);
                self.variants.iter().try_for_each(|variant| {
                    writeln!(out, "{STRONG}{:<width$}{RESET}  {}", variant.name, variant.about)
                })
            }
        }
    }
}
