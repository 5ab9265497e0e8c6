//! What the unwinder reads about the functions, and that a rewrite keeps it true.

use agxpatch_core::address::VmAddr;
use agxpatch_core::finder::{Program, rewrite};
use agxpatch_core::macho::{Image, Universal};
use agxpatch_core::proof::rewrite::refine_images;

use super::verdicts::{judged, proven};
use agxpatch_oracles::shapes::{self, Compiled, Job};

/// The C++ shapes, compiled in some of the ways.
fn guards(flags: &[&[&'static str]]) -> Vec<Job> {
    let wanted = |job: &Job| {
        job.source.ends_with("guard.cpp") && flags.iter().any(|flags| job.flags == *flags)
    };
    shapes::jobs().into_iter().filter(wanted).collect()
}

fn functions(image: &Image<'_>) -> Vec<std::ops::Range<VmAddr>> {
    let program = Program::new(image).unwrap();
    let starts = judged(&program).into_iter().map(|(start, _)| program.function(start).unwrap());
    starts.map(|range| VmAddr(range.start)..VmAddr(range.end)).collect()
}

/// With signed return addresses functions are unwound by DWARF rules.
#[test]
fn functions_unwound_by_dwarf_have_their_landing_pads_and_rules() {
    let signed: &[&str] = &["-O2", "-mbranch-protection=standard"];
    shapes::each(guards(&[&["-O2"], signed]), |Compiled { job, image }| {
        let file = Universal::parse(&image).unwrap();
        let image = file.slices[0].image().unwrap();
        let mut pads = 0;
        for function in functions(&image) {
            let sites = image.call_sites(&function).unwrap();
            pads += sites.iter().filter(|site| site.pad.is_some()).count();
            let steps = image.unwind_steps(&function).unwrap();
            assert_eq!(steps.is_empty(), job.flags != signed, "{job:?}: {steps:?}");
            // The return address is signed, then the frame is set up.
            let early = |at: &VmAddr| *at > function.start && *at < function.start.instruction(12);
            assert!(steps.iter().all(early), "{job:?}: {steps:?}");
        }
        assert!(pads > 0, "{job:?}");
    });
}

/// An exception table that leads the exceptions of a call elsewhere is wrong, whatever
/// the code does, and the proof says so.
#[test]
fn a_rewrite_that_leads_exceptions_elsewhere_is_refused() {
    shapes::each(guards(&[&["-O1"], &["-O2"], &["-Os"]]), |Compiled { job, image }| {
        let file = Universal::parse(&image).unwrap();
        let image = file.slices[0].image().unwrap();
        let program = Program::new(&image).unwrap();
        let throws = |entry| program.symbol(entry).unwrap().contains("late_guard8throwing");
        let (entry, _) = judged(&program).into_iter().find(|(entry, _)| throws(*entry)).unwrap();
        let mut prove = |before: &Image<'_>, after: &Image<'_>| proven(before, after, entry);
        let done = rewrite(&image, entry, &mut prove).unwrap().unwrap();
        let mut bytes = image.bytes().to_vec();
        for change in &done.changes {
            let at = change.at.0 as usize;
            bytes[at..at + change.new.len()].copy_from_slice(&change.new);
        }
        let function = program.function(entry).unwrap();
        let call = elsewhere(&program, function.clone());
        let sites = image.call_sites(&(VmAddr(function.start)..VmAddr(function.end))).unwrap();
        let site = sites.iter().find(|site| site.calls.contains(&call)).unwrap();
        let pad = site.fields[2].start.0 as usize;
        for other in [0, bytes[pad] + 4, bytes[pad] - 4] {
            let mut wrong = bytes.clone();
            wrong[pad] = other;
            let after = Image::parse(&wrong).unwrap();
            let found = refine_images(&image, &after, VmAddr(entry));
            assert!(!found.is_ok_and(|found| found.holds()), "{job:?} {other:#x}");
        }
    });
}

/// The call of a function that may throw.
fn elsewhere(program: &Program<'_>, mut function: std::ops::Range<u64>) -> VmAddr {
    let calls = |at: u64| {
        let word = program.word(at).unwrap().0;
        let target = at.wrapping_add_signed(i64::from((word << 6) as i32 >> 6) * 4);
        word >> 26 == 0x25 && program.stub(target) == Some("_elsewhere")
    };
    VmAddr(function.by_ref().step_by(4).find(|at| calls(*at)).unwrap())
}
