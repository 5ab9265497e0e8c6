//! System Integrity Protection as a question to a host.
//!
//! The kernel's bits decide. `csrutil` is a second opinion, and the only one where
//! there is no system call. It may be missing: with several installations of macOS
//! on the disk, `csrutil` asks on standard input which of them is meant. Where the
//! two contradict each other that is reported, because one of them must be
//! misunderstood.
//!
//! The text has several forms. Its first line is one sentence; a custom
//! configuration goes on with one line per protection. On those lines
//! `enabled` means that the protection is on, except `Apple Internal`, where
//! `disabled` is what every customer's machine says. Nothing is searched for
//! in the text as a whole: a custom configuration contains every word.

use serde::Serialize;

use super::{Command, CsrConfig, Host, Output, Tool, unknown_answer};
use agxpatch_core::error::{Code, Error, Result};

/// The word of the first line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Word {
    /// Protected.
    Enabled,
    /// Not protected.
    Disabled,
    /// Some of it, as modern Macs put it.
    Unknown,
}

/// One protection of a custom configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Item {
    /// Such as `Filesystem Protections`.
    pub name: String,
    /// The word after it, `enabled` or not.
    pub enabled: bool,
}

/// What `csrutil status` said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CsrutilStatus {
    /// The word of the first line.
    pub word: Word,
    /// What stood in brackets after it.
    pub qualifier: Option<String>,
    /// The protections of a custom configuration.
    pub items: Vec<Item>,
}

/// What a text tells of the bits: some are set, some clear, of the rest it does
/// not speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Opinion {
    speaks_of: CsrConfig,
    set: CsrConfig,
}

/// A bit on which the kernel and `csrutil` contradict each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Disagreement {
    /// The bit's name in the kernel.
    pub bit: &'static str,
    /// Whether the kernel says it is set, that is, the protection off.
    pub kernel_allows: bool,
    /// Whether `csrutil` says so.
    pub csrutil_allows: bool,
}

/// The state of System Integrity Protection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sip {
    /// The bits that count: the kernel's, or what the text tells where the
    /// kernel could not be asked.
    pub bits: CsrConfig,
    /// Whether the bits are the kernel's.
    pub from_kernel: bool,
    /// What `csrutil status` said, where it answered.
    pub csrutil: Option<CsrutilStatus>,
    /// Whether the authenticated root is on, by the bits.
    pub authenticated_root: bool,
    /// Where the kernel and `csrutil` contradict each other.
    pub disagreements: Vec<Disagreement>,
    /// The second opinions that are missing, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unanswered: Vec<String>,
}

impl Sip {
    /// Asks the kernel, and `csrutil` for a second opinion.
    ///
    /// # Errors
    /// Where the kernel has no such call, `csrutil` must answer in a known form.
    pub fn ask(host: &dyn Host) -> Result<Sip> {
        let kernel = host.csr_active_config()?;
        let mut unanswered = Vec::new();
        let mut heard = |error: Error| match kernel {
            Some(_) => {
                unanswered.push(first_line_of(&error));
                Ok(())
            }
            None if error.code() == Code::NotRecorded => Err(error),
            None => Err(error.next("run csrutil by hand, and answer its question if it asks one")),
        };
        let status = Command::question(Tool::Csrutil, ["status"]);
        let answer = host.ask(&status).and_then(|output| csrutil_status(&status, &output));
        let csrutil = heard_or_missing(answer, &mut heard)?;
        let status = Command::question(Tool::Csrutil, ["authenticated-root", "status"]);
        let answer = host.ask(&status).and_then(|output| authenticated_root(&status, &output));
        let root = heard_or_missing(answer, &mut heard)?;
        let opinion = csrutil.as_ref().map_or(Opinion::NONE, CsrutilStatus::opinion);
        let opinion = root.map_or(opinion, |enabled| opinion.and_root(enabled));
        let bits = kernel.unwrap_or(opinion.set);
        Ok(Sip {
            bits,
            from_kernel: kernel.is_some(),
            csrutil,
            authenticated_root: !bits.allows(CsrConfig::UNAUTHENTICATED_ROOT),
            disagreements: kernel.map(|bits| opinion.contradicted_by(bits)).unwrap_or_default(),
            unanswered,
        })
    }

    /// The bits a change of the system volume needs and that are not set.
    pub fn missing(&self) -> CsrConfig {
        self.bits.missing(CsrConfig::NEEDED_FOR_SYSTEM)
    }
}

impl CsrutilStatus {
    fn opinion(&self) -> Opinion {
        let customer = CsrConfig::DISABLED;
        match self.word {
            Word::Enabled if self.items.is_empty() => {
                Opinion { speaks_of: customer, set: CsrConfig::PROTECTED }
            }
            Word::Disabled if self.items.is_empty() => {
                Opinion { speaks_of: customer, set: customer }
            }
            _ => self.items.iter().filter_map(Item::opinion).fold(Opinion::NONE, Opinion::and),
        }
    }
}

impl Item {
    fn opinion(&self) -> Option<Opinion> {
        let named = |bit: &&super::csr::Bit| bit.protection == Some(self.name.as_str());
        let bit = CsrConfig(CsrConfig::BITS.iter().find(named)?.mask);
        // The one line that tells of the bit itself and not of a protection.
        let allows = self.enabled == (bit == CsrConfig::APPLE_INTERNAL);
        Some(Opinion { speaks_of: bit, set: if allows { bit } else { CsrConfig::PROTECTED } })
    }
}

impl Opinion {
    const NONE: Opinion = Opinion { speaks_of: CsrConfig(0), set: CsrConfig(0) };

    fn and(self, other: Opinion) -> Opinion {
        Opinion { speaks_of: self.speaks_of | other.speaks_of, set: self.set | other.set }
    }

    /// The authenticated root has a status of its own, which goes before its
    /// line in the list.
    fn and_root(self, enabled: bool) -> Opinion {
        let root = CsrConfig::UNAUTHENTICATED_ROOT;
        let set = CsrConfig(self.set.0 & !root.0);
        let set = if enabled { set } else { set | root };
        Opinion { speaks_of: self.speaks_of | root, set }
    }

    /// The kernel grants the debugging of itself to a process that may load kexts, so a
    /// missing 0x8 beside 0x1 contradicts nothing.
    fn contradicted_by(self, kernel: CsrConfig) -> Vec<Disagreement> {
        let kernel = match kernel.allows(CsrConfig::UNTRUSTED_KEXTS) {
            true => kernel | CsrConfig::KERNEL_DEBUGGER,
            false => kernel,
        };
        let differs = CsrConfig((self.set.0 ^ kernel.0) & self.speaks_of.0);
        let disagreement = |bit: super::csr::Bit| Disagreement {
            bit: bit.name,
            kernel_allows: kernel.0 & bit.mask != 0,
            csrutil_allows: self.set.0 & bit.mask != 0,
        };
        differs.bits().map(disagreement).collect()
    }
}

/// An opinion, or none where `missing` has taken note of why.
fn heard_or_missing<T>(
    answer: Result<T>,
    missing: &mut dyn FnMut(Error) -> Result<()>,
) -> Result<Option<T>> {
    match answer {
        Ok(opinion) => Ok(Some(opinion)),
        Err(error) => missing(error).map(|()| None),
    }
}

/// An error with what came instead of an answer, in one line.
fn first_line_of(error: &Error) -> String {
    let said = error.context().iter().find(|(name, _)| matches!(*name, "answer" | "stdout"));
    let said = said.and_then(|(_, text)| text.lines().map(str::trim).find(|line| !line.is_empty()));
    said.map_or_else(|| error.to_string(), |said| format!("{error}: \"{said}\""))
}

const STATUS: &str = "System Integrity Protection status:";
const ROOT_STATUS: &str = "Authenticated Root status:";

/// Reads the answer to `csrutil status`, or says that it is of no known form.
pub fn csrutil_status(command: &Command, output: &Output) -> Result<CsrutilStatus> {
    let unknown = |expected: &str| unknown_answer(command, expected, output);
    let text = output.text();
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.next().and_then(|line| line.strip_prefix(STATUS));
    let first = first.ok_or_else(|| unknown("a first line that names the status"))?.trim();
    let (word, qualifier) = first_line(first)
        .ok_or_else(|| unknown("enabled, disabled or unknown, and a known qualifier"))?;
    let custom = qualifier.as_deref() == Some("Custom Configuration");
    let mut items = Vec::new();
    for line in lines {
        if line == "Configuration:" || line.starts_with("This is an unsupported configuration") {
            continue;
        }
        let item = item(line).filter(|_| custom || !items.is_empty() || word != Word::Unknown);
        items.push(item.ok_or_else(|| unknown("one protection a line, enabled or disabled"))?);
    }
    if items.is_empty() && (custom || word == Word::Unknown) {
        return Err(unknown("the protections of the custom configuration"));
    }
    Ok(CsrutilStatus { word, qualifier, items })
}

fn first_line(text: &str) -> Option<(Word, Option<String>)> {
    let text = text.strip_suffix('.').unwrap_or(text);
    let (word, qualifier) = match text.split_once(' ') {
        Some((word, rest)) => {
            let inner = rest.strip_prefix('(')?.strip_suffix(')')?;
            let known = inner == "Custom Configuration" || inner.starts_with("Apple Internal");
            (word, Some(inner).filter(|_| known).map(Some)?.map(str::to_owned))
        }
        None => (text, None),
    };
    let word = match word {
        "enabled" => Word::Enabled,
        "disabled" => Word::Disabled,
        "unknown" => Word::Unknown,
        _ => return None,
    };
    Some((word, qualifier))
}

fn item(line: &str) -> Option<Item> {
    let (name, word) = line.split_once(':')?;
    let enabled = match word.trim() {
        "enabled" => true,
        "disabled" => false,
        _ => return None,
    };
    Some(Item { name: name.to_owned(), enabled })
}

/// Reads the answer to `csrutil authenticated-root status`. Some versions may
/// end it with a full stop.
pub fn authenticated_root(command: &Command, output: &Output) -> Result<bool> {
    let text = output.text();
    let word = text.trim().strip_prefix(ROOT_STATUS).map(str::trim);
    match word.map(|word| word.strip_suffix('.').unwrap_or(word)) {
        Some("enabled") => Ok(true),
        Some("disabled") => Ok(false),
        _ => Err(unknown_answer(command, "Authenticated Root status: enabled or disabled", output)),
    }
}
