//! The finder's verdicts about a file: of the methods that signatures name, and of
//! every function that has the shape where the whole file is looked at.

use serde::Serialize;

use crate::address::VmAddr;
use crate::error::Result;
use crate::finder::{self, Budget, Program, Remaining, Verdict};
use crate::macho::{Architecture, Slice, Universal};

use super::engine::Engine;
use super::methods::Methods;

/// What a function that a signature names may cost.
const NAMED: Budget = Budget { states: 5_000, steps: 60_000 };

/// What any other function may cost, and all of them together: some 100 ms.
const OTHER: Budget = Budget { states: 4_000, steps: 40_000 };
const MAX_STEPS: usize = 120_000;

/// Whether other threads can use the object while the function runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// They can.
    Shared,
    /// They cannot: the object is being deallocated.
    Exclusive,
}

/// A function that was examined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Examined {
    /// Number of the slice in the file.
    pub slice: usize,
    /// The slice's architecture.
    pub architecture: Architecture,
    /// Its first instruction.
    pub function: VmAddr,
    /// The method's name or the symbol, if the file has one.
    pub name: Option<String>,
    /// Whether a signature names it.
    pub named: bool,
    /// The field that the verdict is about, if the file names it.
    pub field: Option<String>,
    /// The verdict.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// What can still go wrong.
    pub remaining: Remaining,
    /// Who can be there.
    pub severity: Severity,
}

impl Examined {
    /// Whether it clears late where another thread can use the object.
    pub fn clears_late_for_others(&self) -> bool {
        matches!(self.verdict, Verdict::ClearsLate { .. }) && self.severity == Severity::Shared
    }

    /// Whether it clears in time: as it was compiled, or because a rewrite by meaning did that.
    pub fn clears_in_time(&self) -> bool {
        self.verdict == Verdict::ClearsUnderLock
    }
}

/// The verdicts about a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Examination {
    /// The functions that were examined.
    pub functions: Vec<Examined>,
    /// How many more have the shape; they were too many to examine.
    pub not_examined: usize,
}

/// How much of a file to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// The methods that signatures name.
    Named,
    /// Those; in a slice that has none, the functions that have the shape.
    Shaped,
}

impl Engine {
    /// Examines the functions of every slice that the finder can read.
    ///
    /// # Errors
    /// If a slice cannot be read.
    pub fn examine(&self, file: &Universal<'_>, extent: Extent) -> Result<Examination> {
        let mut found = Examination::default();
        for slice in file.slices.iter().filter(|slice| slice.architecture.is_aarch64()) {
            self.examine_slice(slice, extent, &mut found)?;
        }
        Ok(found)
    }

    fn examine_slice(
        &self,
        slice: &Slice<'_>,
        extent: Extent,
        found: &mut Examination,
    ) -> Result<()> {
        let image = slice.image()?;
        if image.text().is_err() {
            return Ok(());
        }
        let methods = Methods::of(&image);
        let wanted: Vec<String> =
            self.catalogue().signatures.iter().flat_map(|s| s.methods.clone()).collect();
        let named = methods.functions_named(&image, &wanted)?;
        if named.is_empty() && extent == Extent::Named {
            return Ok(());
        }
        let program = Program::new(&image)?;
        let mut functions: Vec<(u64, bool)> = named.iter().map(|f| (f.start.0, true)).collect();
        if extent == Extent::Shaped && named.is_empty() {
            functions.extend(finder::candidates(&program).into_iter().map(|at| (at, false)));
        }
        let mut left = MAX_STEPS;
        for (at, named) in functions {
            let budget = match named {
                true => NAMED,
                false if left == 0 => {
                    found.not_examined += 1;
                    continue;
                }
                false => Budget { steps: OTHER.steps.min(left), ..OTHER },
            };
            let findings = finder::examine(&program, at, budget);
            left = left.saturating_sub(if named { 0 } else { findings.steps });
            let name = program.function(at).and_then(|function| {
                methods.beginning_in(&(VmAddr(function.start)..VmAddr(function.end)))
            });
            let name = name.or_else(|| program.symbol(at).map(str::to_owned));
            found.functions.push(Examined {
                slice: slice.index,
                architecture: slice.architecture,
                function: VmAddr(at),
                severity: severity(name.as_deref()),
                name,
                named,
                field: findings.fields.first().and_then(|field| field.name.clone()),
                verdict: findings.verdict,
                remaining: findings.remaining,
            });
        }
        Ok(())
    }
}

/// In `dealloc` no other thread may hold the object any more.
fn severity(name: Option<&str>) -> Severity {
    let exclusive =
        name.is_some_and(|name| name.ends_with(" dealloc]") || name.ends_with(" .cxx_destruct]"));
    if exclusive { Severity::Exclusive } else { Severity::Shared }
}

/// The verdict about a file: the worst about one of its functions, those of
/// signatures' names first, and those before others where no other thread can be.
pub fn worst(examined: &[Examined]) -> Option<&Examined> {
    let rank = |one: &&Examined| (one.named, one.clears_late_for_others(), one.verdict.weight());
    // Of equals the first.
    examined.iter().rev().max_by_key(rank)
}
