//! The table in docs/shapes.md: for every late function what became of it over all
//! compilations. `AGXPATCH_WRITE_TABLE=1 cargo test --test finder table` writes it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::sync::Mutex;

use agxpatch_core::finder::{Program, Way, examine, rewrite};
use agxpatch_core::macho::{Image, Universal};

use super::verdicts::{BUDGET, late, proven};
use agxpatch_oracles::shapes::{self, Compiled};
use agxpatch_oracles::tools::is_full;

/// What became of one function.
#[derive(Default)]
struct Row {
    compiled: usize,
    found: usize,
    in_place: usize,
    in_padding: usize,
    refused: BTreeMap<String, usize>,
}

#[test]
fn the_table_of_shapes_is_what_the_compilations_give() {
    if is_full() {
        return;
    }
    let rows: Mutex<BTreeMap<String, Row>> = Mutex::default();
    shapes::each(shapes::jobs(), |Compiled { image, .. }| {
        let file = Universal::parse(&image).unwrap();
        let image = file.slices[0].image().unwrap();
        let program = Program::new(&image).unwrap();
        for entry in late(&program) {
            let name = program.symbol(entry).unwrap_or_default().to_owned();
            let found = examine(&program, entry, BUDGET).verdict.name() == "clears-late";
            let mut prove = |before: &Image<'_>, after: &Image<'_>| proven(before, after, entry);
            let rewritten = rewrite(&image, entry, &mut prove).unwrap();
            let mut rows = rows.lock().unwrap();
            let row = rows.entry(name).or_default();
            row.compiled += 1;
            row.found += usize::from(found);
            match rewritten {
                Ok(done) if is_in_padding(&done.ways) => row.in_padding += 1,
                Ok(_) => row.in_place += 1,
                Err(why) => *row.refused.entry(why.to_string()).or_default() += 1,
            }
        }
    });
    let rows = rows.into_inner().unwrap();
    if rows.is_empty() {
        return;
    }
    let table = table(&rows);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/shapes.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (head, _) = text.split_once("| function |").unwrap();
    let wanted = format!("{head}{table}");
    if std::env::var_os("AGXPATCH_WRITE_TABLE").is_some() {
        std::fs::write(&path, &wanted).unwrap();
    }
    assert!(text == wanted, "docs/shapes.md is not what the compilers give:\n{table}");
}

fn table(rows: &BTreeMap<String, Row>) -> String {
    let mut text = "| function | compiled | found | in place | in padding | refused |\n\
                    |---|---|---|---|---|---|\n"
        .to_owned();
    let mut sums = [0; 5];
    for (name, row) in rows {
        let refused: Vec<String> =
            row.refused.iter().map(|(why, count)| format!("{count}: {why}")).collect();
        let Row { compiled, found, in_place, in_padding, .. } = row;
        let refused = refused.join("; ");
        writeln!(
            text,
            "| `{name}` | {compiled} | {found} | {in_place} | {in_padding} | {refused} |"
        )
        .unwrap();
        let left = row.refused.values().sum();
        for (sum, one) in sums.iter_mut().zip([*compiled, *found, *in_place, *in_padding, left]) {
            *sum += one;
        }
    }
    let [compiled, found, in_place, in_padding, left] = sums;
    writeln!(text, "| all | {compiled} | {found} | {in_place} | {in_padding} | {left} |").unwrap();
    text
}

fn is_in_padding(ways: &[Way]) -> bool {
    ways.iter().any(|way| matches!(way, Way::Padding | Way::PathsApart | Way::BlockKept))
}
