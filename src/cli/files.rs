//! What the commands on files share: the catalogue a session asked for, and how
//! a window and a list of edits are shown.

use std::io::{self, Write};

use crate::report::printable;
use crate::report::style::{BAD, FAINT, GOOD, RESET, STRONG, WARN};
use crate::storage;
use agxpatch_core::address::VmAddr;
use agxpatch_core::edit::{Edit, EditKind, Hex};
use agxpatch_core::error::{Code, Error, Result};
use agxpatch_core::finder::{Answer, GivenTo, Verdict};
use agxpatch_core::patch::{
    Catalogue, Engine, Examined, Occurrence, PlannedWord, Selection, Severity,
};

use super::Session;

/// The built-in catalogue with the files of `--catalog` added.
pub fn catalogue(session: &Session) -> Result<Catalogue> {
    let mut catalogue = Catalogue::built_in()?;
    let Some(directory) = &session.catalog else { return Ok(catalogue) };
    let listed = |name| storage::toml_files(&directory.join(name));
    let (signatures, patches) = (listed("signatures")?, listed("patches")?);
    if signatures.is_empty() && patches.is_empty() {
        return Err(Error::new(Code::ReadFailed, "the directory is missing or holds no catalogue")
            .with("directory", directory.display())
            .next(
                "put signatures into DIR/signatures/*.toml and patches into DIR/patches/*.toml",
            ));
    }
    for path in signatures {
        catalogue.add_signature(storage::read_text(&path)?, &path.display().to_string())?;
    }
    for path in patches {
        catalogue.add_patch(storage::read_text(&path)?, &path.display().to_string())?;
    }
    catalogue.check()?;
    Ok(catalogue)
}

/// The engine for that catalogue.
pub fn engine(session: &Session) -> Result<Engine> {
    Engine::new(catalogue(session)?)
}

/// How sites are chosen where the user named these addresses, or none.
pub fn selection(addresses: &[VmAddr]) -> Selection {
    match addresses {
        [] => Selection::ByMethod,
        _ => Selection::At(addresses.to_vec()),
    }
}

/// Shows where else a sequence stands.
pub fn show_elsewhere(out: &mut dyn Write, elsewhere: &[Occurrence]) -> io::Result<()> {
    for place in elsewhere {
        writeln!(out, "  {FAINT}left alone:{RESET} {}", printable(&place.to_string()))?;
    }
    Ok(())
}

/// Shows a window before and after, old and new side by side.
pub fn show_window(out: &mut dyn Write, words: &[PlannedWord]) -> io::Result<()> {
    let width = words.iter().map(|word| word.old_text.len()).max().unwrap_or(0);
    for word in words {
        let old = format!("{}  {:<width$}", word.old, word.old_text);
        if word.old == word.new {
            writeln!(out, "  {FAINT}{}  {old}{RESET}", word.address)?;
        } else {
            writeln!(
                out,
                "  {}  {BAD}{old}{RESET}  {GOOD}{}  {}{RESET}",
                word.address, word.new, word.new_text
            )?;
        }
    }
    Ok(())
}

/// Shows every changed byte range with its reason. Neighbouring edits of one
/// kind share a line unless `all`.
pub fn show_edits(out: &mut dyn Write, edits: &[Edit]) -> io::Result<()> {
    let bytes: usize = edits.iter().map(|edit| edit.new.len()).sum();
    writeln!(
        out,
        "{STRONG}{} bytes in {} places change{RESET}, and nothing else:",
        bytes,
        edits.len()
    )?;
    for edit in edits {
        let size = edit.new.len();
        let range = format!("{}..{}", edit.range().start, edit.range().end);
        let value = match edit.kind {
            EditKind::Instruction => format!("  {} -> {}", Hex(&edit.old), Hex(&edit.new)),
            _ => String::new(),
        };
        writeln!(out, "  {range:<22} {size:>5} B  {}{FAINT}{value}{RESET}", edit.why)?;
    }
    Ok(())
}

/// Shows the finder's verdict about a function.
pub fn show_verdict(out: &mut dyn Write, one: &Examined) -> io::Result<()> {
    let colour = match one.verdict {
        _ if one.clears_late_for_others() => BAD,
        Verdict::ClearsUnderLock => GOOD,
        _ => STRONG,
    };
    let name = printable(one.name.as_deref().unwrap_or("a function without a name"));
    let (verdict, at) = (one.verdict.name(), one.function);
    write!(out, "verdict: {colour}{verdict}{RESET} in {}, {name} at {at}", one.architecture)?;
    if let Some(field) = &one.field {
        write!(out, ", field {}", printable(field))?;
    }
    writeln!(out)?;
    if one.severity == Severity::Exclusive {
        writeln!(out, "  no other thread can hold an object that is being deallocated")?;
    }
    match &one.verdict {
        Verdict::ClearsLate { witnesses } => {
            for path in witnesses {
                let (given, unlocked, cleared) = (path.given, path.unlocked, path.cleared);
                match path.given_to {
                    GivenTo::Pool => writeln!(
                        out,
                        "  gives the block back at {given}, unlocks at {unlocked}, clears at {cleared}"
                    ),
                    GivenTo::Allocator => writeln!(
                        out,
                        "  unlocks at {unlocked}, frees the block at {given}, clears at {cleared}"
                    ),
                }?;
            }
            let remaining = &one.remaining;
            writeln!(
                out,
                "  {FAINT}also possible: double push {}, double destructor {}, freed while set {}, \
                 unlocked readers {}{RESET}",
                answer(remaining.double_push),
                answer(remaining.double_destructor),
                answer(remaining.freed_while_set),
                answer(remaining.unlocked_readers)
            )
        }
        Verdict::NotUnderstood { at, why, .. } => writeln!(out, "  at {at}: {why}"),
        Verdict::ClearsUnderLock if one.remaining.freed_while_set == Answer::Yes => writeln!(
            out,
            "  {WARN}but{RESET} a block that is not pooled is freed while the field still points to it"
        ),
        Verdict::ClearsUnderLock | Verdict::NoPool => Ok(()),
    }
}

/// Says how many functions have no verdict for want of time.
pub fn show_not_examined(out: &mut dyn Write, count: usize) -> io::Result<()> {
    match count {
        0 => Ok(()),
        count => writeln!(
            out,
            "{WARN}not examined:{RESET} {count} more functions that take a lock and clear a field"
        ),
    }
}

fn answer(answer: Answer) -> &'static str {
    match answer {
        Answer::Yes => "yes",
        Answer::No => "no",
        Answer::Unknown => "unknown",
    }
}
