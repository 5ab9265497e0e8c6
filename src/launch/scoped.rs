//! The patched copy of the driver that one process loads.
//!
//! The copy is of the whole bundle, because Metal finds libraries and tables
//! beside the image, and it lies in the user's Library under the digest of the
//! system's own driver: after an update of macOS it is another one. The image in
//! it is planned, proven and sealed from the system's file on **every** use, and
//! the copy must be that to the byte, with the rest of the bundle unchanged; a
//! copy that differs is thrown away and made again. So nothing on disk has to be
//! believed.
//!
//! Nothing here needs a right the user does not have, and as root nothing is
//! done at all: root's copy in a user's folder would be the wrong way round.

use std::path::{Path, PathBuf};

use agxpatch_core::address::{SliceOffset, Word};
use agxpatch_core::edit::{self, Edit, sha256};
use agxpatch_core::error::{Code, Error, Result};
use agxpatch_core::macho::Universal;
use agxpatch_core::patch::{
    EARLIER_CLEAR, Engine, FilePlan, MeaningOutcome, Outcome, Plan, Selection,
};
use agxpatch_core::proof;
use agxpatch_core::proof::rewrite::ByRefinement;
use agxpatch_host::driver::DriverBundle;
use agxpatch_host::{Host, machine};

use super::environment::{Driver, Way};
use super::{bundle, private_dir};

/// Where Metal looks for the bundle a GPU's driver names.
pub const EXTENSIONS: &str = "/System/Library/Extensions";

/// Below the user's home.
const FOLDERS: [&str; 2] = ["Library", "Application Support"];
const OWN: [&str; 2] = ["agxpatch", "drivers"];

/// The folder of all copies that were made below `home`.
pub fn place_of_copies(home: &Path) -> PathBuf {
    FOLDERS.iter().chain(&OWN).fold(home.to_owned(), |folder, name| folder.join(name))
}

/// A copy that is as it must be.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Copy {
    /// The bundle.
    pub bundle: PathBuf,
    /// SHA-256 of the system's driver it was made from.
    pub source_sha256: String,
    /// SHA-256 of the patched driver.
    pub patched_sha256: String,
    /// The patch in it.
    pub patch: String,
    /// What became of an earlier copy, where it had to be replaced.
    pub replaced: Option<String>,
    /// What the guard library is told.
    pub driver: Driver,
}

/// Makes the copy below `home`, or finds it as it must be.
///
/// # Errors
/// `RunAsRoot`; `NoDriverToCopy` where the system's driver is of another family
/// or patched already; those of the patch and of the proof, which refuse before
/// anything is written; `PlaceNotOurs` and the host's.
pub fn prepare(host: &dyn Host, home: &Path, engine: &Engine, way: Way) -> Result<Copy> {
    if host.effective_user() == 0 {
        return Err(Error::new(Code::RunAsRoot, "the driver is never copied as root")
            .next("run this as the user whose program it is for, without sudo"));
    }
    let plugin = plugin(host)?;
    let source = Path::new(EXTENSIONS).join(format!("{plugin}.bundle"));
    let program = Path::new("Contents/MacOS").join(&plugin);
    if host.shared_cache_contains(&source.join(&program))? == Some(true) {
        let message = "this macOS has the driver in its dyld shared cache and not in a file";
        return Err(refused(message).with("bundle", source.display()));
    }
    let mut contents = bundle::read(host, &source)?;
    let image = contents.get_mut(&program).ok_or_else(|| {
        // So it was before the M4, up to macOS 13 at least.
        refused("the driver is not a file here; it may lie in dyld's shared cache")
            .with("bundle", source.display())
    })?;
    let source_sha256 = sha256(image);
    let (patch, words) = patched(engine, image)?;
    let patched_sha256 = sha256(image);

    let base = private_dir::folder(host, home, &FOLDERS, 0o700)?;
    let drivers = private_dir::folder(host, &base, &OWN, 0o755)?;
    let own = private_dir::folder(host, &drivers, &[&source_sha256], 0o755)?;
    let name = format!("{plugin}.bundle");
    let replaced = place(host, &own, &name, &contents, &program)?;
    let bundle = own.join(&name);
    let driver = Driver {
        plugin: relative(&own.join(&plugin))?,
        instead_of: plugin.clone(),
        folder: bundle.join("Contents/MacOS"),
        patched: words.patched,
        original: words.original,
        way,
    };
    Ok(Copy { bundle, source_sha256, patched_sha256, patch, replaced, driver })
}

/// The driver bundle that this machine's GPU asks for.
fn plugin(host: &dyn Host) -> Result<String> {
    let plugins = machine::metal_plugins(host)?;
    DriverBundle::the_one(&plugins).map(|bundle| bundle.name().to_owned()).map_err(|_| {
        let names: Vec<&str> = plugins.iter().map(|plugin| plugin.name.as_str()).collect();
        refused("this Mac's GPU uses a different driver").with("MetalPluginName", names.join(", "))
    })
}

fn refused(message: &str) -> Error {
    Error::new(Code::NoDriverToCopy, message).next("use the guard: agxpatch run -- COMMAND")
}

struct Words {
    patched: String,
    original: String,
}

/// What is written into the copy.
struct Rewrite {
    patch: String,
    edits: Vec<Edit>,
    words: Words,
}

/// Plans, proves, patches and seals the image in place; the patch and its words.
fn patched(engine: &Engine, image: &mut [u8]) -> Result<(String, Words)> {
    let file = Universal::parse(image)?;
    agxpatch_core::patch::refuse_broken(&file)?;
    let Rewrite { patch, edits, words } = match engine.plan(&file, None) {
        Ok(Outcome::Plan(plan)) => of_catalogue(engine, &file, *plan)?,
        Ok(Outcome::Already(sites)) => {
            let states = sites.sites.iter().map(|site| &site.state);
            return Err(
                refused("the system's driver is already patched").with_each("state", states)
            );
        }
        Err(absent) if absent.code() == Code::NoMatch => by_meaning(engine, &file, absent)?,
        Err(error) => return Err(error),
    };
    edit::apply(image, &edits)?;
    let (checks, _) = agxpatch_core::patch::verify(engine, image, &Selection::ByMethod)?;
    match checks.into_iter().find(|check| check.status == agxpatch_core::check::Status::Fail) {
        None => Ok((patch, words)),
        Some(check) => Err(Error::new(Code::VerifyFailed, "the patched driver is not correct")
            .with(check.name, check.detail)),
    }
}

/// The rewrite of a signature's sites, if the proof accepts it.
fn of_catalogue(engine: &Engine, file: &Universal<'_>, plan: FilePlan) -> Result<Rewrite> {
    proof::require(engine, file, &plan, false)?;
    // All sites are written together, so one of them tells the copy from the original.
    let first =
        plan.rewrites.first().ok_or_else(|| Error::new(Code::Bug, "a plan rewrites nothing"))?;
    let words = words(file, first)?;
    Ok(Rewrite { patch: plan.patch, edits: plan.edits, words })
}

/// The proven rewrite of what the driver's methods do, where no signature describes it.
/// The system's own file is what brings the original back, so the copy need not keep it.
fn by_meaning(engine: &Engine, file: &Universal<'_>, absent: Error) -> Result<Rewrite> {
    let plan = match engine.plan_by_meaning(file, &ByRefinement) {
        Ok(MeaningOutcome::Plan(plan)) => *plan,
        Ok(MeaningOutcome::Already(_)) => {
            return Err(refused("the system's driver clears under the lock: nothing to patch"));
        }
        Err(error) if error.code() == Code::NoMatch => return Err(absent),
        Err(error) => return Err(error),
    };
    let words = first_word(file, &plan.edits)?;
    Ok(Rewrite { patch: EARLIER_CLEAR.to_owned(), edits: plan.edits, words })
}

/// The first instruction that the edits change, as the guard library looks for it.
fn first_word(file: &Universal<'_>, edits: &[Edit]) -> Result<Words> {
    for slice in file.slices.iter().filter(|slice| slice.architecture.is_aarch64()) {
        let image = slice.image()?;
        let text = image.text()?.range();
        for edit in edits.iter().filter(|edit| slice.range().contains(&edit.at)) {
            let at = image.address_of(SliceOffset(edit.at.0 - slice.offset.0));
            let Some(at) = at.filter(|at| text.contains(at)) else { continue };
            let from = at.distance_from(image.base());
            return Ok(Words {
                patched: words_at(from, Word::all(&edit.new)),
                original: words_at(from, Word::all(&edit.old)),
            });
        }
    }
    Err(Error::new(Code::Bug, "a plan rewrites nothing"))
}

/// The window as the guard library looks for it: from the start of the image.
fn words(file: &Universal<'_>, plan: &Plan) -> Result<Words> {
    let slice = file
        .slices
        .get(plan.site.place.slice)
        .ok_or_else(|| Error::new(Code::Bug, "a plan names a slice that the file does not have"))?;
    let from = plan.site.place.window.start.distance_from(slice.image()?.base());
    Ok(Words {
        patched: words_at(from, plan.words.iter().map(|word| word.new)),
        original: words_at(from, plan.words.iter().map(|word| word.old)),
    })
}

/// Words so far from the start of the image, in the guard library's form.
fn words_at(from: i64, words: impl Iterator<Item = Word>) -> String {
    let words: Vec<String> = words.map(|word| format!("{:08x}", word.0)).collect();
    format!("{from:x}:{}", words.join(","))
}

/// What there is of a bundle.
enum State {
    Missing,
    AsItMustBe,
    Differs(String),
}

impl State {
    fn of(host: &dyn Host, bundle: &Path, contents: &bundle::Contents) -> Result<State> {
        if host.metadata(bundle)?.is_none() {
            return Ok(State::Missing);
        }
        let difference = bundle::difference(host, bundle, contents)?;
        Ok(difference.map_or(State::AsItMustBe, State::Differs))
    }
}

/// Puts the bundle in place unless it is there; says why one had to go.
fn place(
    host: &dyn Host,
    own: &Path,
    name: &str,
    contents: &bundle::Contents,
    program: &Path,
) -> Result<Option<String>> {
    let bundle = own.join(name);
    if let State::AsItMustBe = State::of(host, &bundle, contents)? {
        return Ok(None);
    }
    let _lock = private_dir::lock_wait(host, &own.join("lock"))?;
    // Another run may have been as fast.
    let (exists, difference) = match State::of(host, &bundle, contents)? {
        State::AsItMustBe => return Ok(None),
        State::Missing => (false, None),
        State::Differs(difference) => (true, Some(difference)),
    };
    let (stage, old) = (own.join("stage"), own.join("old"));
    private_dir::remove(host, &stage)?;
    private_dir::remove(host, &old)?;
    bundle::write(host, &stage, contents, program)?;
    if exists {
        host.rename(&bundle, &old)?;
    }
    host.rename(&stage, &bundle)?;
    host.sync_directory(own)?;
    private_dir::remove(host, &old)?;
    match bundle::difference(host, &bundle, contents)? {
        None => Ok(difference),
        Some(left) => Err(Error::new(
            Code::PlaceNotOurs,
            "the copy of the driver changed after it was written",
        )
        .with("difference", left)),
    }
}

/// `path` from where Metal looks for bundles.
fn relative(path: &Path) -> Result<String> {
    /// Longer answers the guard library does not give.
    const MAX_TEXT: usize = 500;
    let up = "../".repeat(agxpatch_host::plain(Path::new(EXTENSIONS))?.len());
    let name = format!("{up}{}", agxpatch_host::plain(path)?.join("/"));
    if name.len() > MAX_TEXT || name.contains(':') {
        return Err(refused("Metal cannot be given the path of the driver's copy")
            .with("path", path.display()));
    }
    Ok(name)
}
