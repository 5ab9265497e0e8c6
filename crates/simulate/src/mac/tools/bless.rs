//! `bless` as its source tells it on Apple Silicon.
//!
//! `--create-snapshot` makes a snapshot and tags it, and asks for nothing.
//! `--last-sealed-snapshot` clears the tag first and asks for the owner's
//! password afterwards, so that a wrong password leaves the tag cleared.

use super::super::effects::Extent;
use super::super::machine::{Machine, Mode, Mount, Place, Snapshot, Terminal};
use super::super::volume::Volume;
use super::{answer, password, usage};
use agxpatch_host::{CsrConfig, Input, Output, Status, Tool};

pub(super) fn run(machine: &mut Machine, words: &[&str], input: &Input, extent: Extent) -> Output {
    let after = |name: &str| {
        words.iter().position(|word| *word == name).and_then(|at| words.get(at + 1)).copied()
    };
    let has = |name: &str| words.contains(&name);
    // The version that comes with macOS 15.7; with a fraction, by bless's source.
    if words == ["--version"] {
        return answer(0, "321.1\n", "");
    }
    if has("--folder") {
        let text =
            "For Apple Silicon Macs, the 'folder' option is only supported for external devices\n";
        return answer(1, "", text);
    }
    if has("--create-snapshot") && has("--last-sealed-snapshot") {
        return answer(22, "", "Only one of the snapshot options is allowed\n");
    }
    let Some(at) = after("--mount") else { return usage(Tool::Bless) };
    let volume = machine.mounts.iter().find(|mount| mount.at == at).cloned();
    let Some(volume) = volume else {
        return answer(1, "", format!("Can't determine mount point of '{at}'\n"));
    };
    if !matches!(volume.place, Place::Live | Place::Snapshot(_)) {
        return answer(45, "", "Snapshot options are only available for system volumes\n");
    }
    if has("--create-snapshot") {
        create(machine, &volume, has("--verbose"), extent)
    } else if has("--last-sealed-snapshot") {
        let user = after("--user");
        last_sealed(machine, &volume, user, has("--stdinpass"), input, extent)
    } else {
        usage(Tool::Bless)
    }
}

/// What `bless` says to a wrong password, and to that of a user who is not an owner.
const NOT_OWNER: &str = "Bootability failed Error Domain=BYErrorDomain Code=103 \"Owner \
                         authentication is required\" \
                         UserInfo={BYErrorHint=LocalAuthenticationRequired, \
                         NSLocalizedDescription=Owner authentication is required}\n";

fn failed(code: i32, first: String, at: &str) -> Output {
    let text = format!(
        "{first}\nSnapshot manipulation failed\nCouldn't set bless data in preboot volume for \
         mount point {at}\n"
    );
    answer(code, "", text)
}

fn create(machine: &mut Machine, volume: &Mount, verbose: bool, extent: Extent) -> Output {
    let at = &volume.at;
    let allowed = CsrConfig(machine.active_csr).allows(CsrConfig::UNAUTHENTICATED_ROOT);
    if machine.user != 0 || !allowed {
        let first = format!("Couldn't create snapshot on volume {at}: Operation not permitted");
        return failed(1, first, at);
    }
    if volume.read_only || volume.place != Place::Live {
        let first = format!("Couldn't create snapshot on volume {at}: Read-only file system");
        return failed(30, first, at);
    }
    Volume::sync_shared(&mut machine.live);
    let uuid = machine.fresh_uuid();
    machine.next_xid += 3;
    let name = format!("com.apple.bless.{uuid}");
    machine.snapshots.push(Snapshot {
        name: name.clone(),
        uuid,
        xid: machine.next_xid,
        sealed: false,
        volume: machine.live.clone(),
    });
    if extent == Extent::Midway {
        let first = format!("Couldn't root snapshot on volume {at}: Input/output error");
        return failed(5, first, at);
    }
    machine.tagged = Some(name.clone());
    // On standard error, and without a newline.
    let said =
        if verbose { format!("Volume {at} will boot from snapshot {name}") } else { String::new() };
    answer(0, "", said)
}

fn last_sealed(
    machine: &mut Machine,
    volume: &Mount,
    user: Option<&str>,
    from_input: bool,
    input: &Input,
    extent: Extent,
) -> Output {
    if machine.user != 0 {
        let first =
            format!("Couldn't root snapshot on volume {}: Operation not permitted", volume.at);
        return failed(1, first, &volume.at);
    }
    if volume.read_only {
        let first =
            format!("Couldn't root snapshot on volume {}: Read-only file system", volume.at);
        return failed(30, first, &volume.at);
    }
    machine.tagged = None;
    if extent == Extent::Midway {
        return answer(1, "", "Failed to authenticate owner\n");
    }
    let typed = match input {
        Input::Secret(bytes) if from_input => {
            Some(String::from_utf8_lossy(bytes).trim().to_owned())
        }
        Input::Terminal => match machine.terminal {
            Terminal::RightPassword => Some(machine.password.clone()),
            Terminal::WrongPassword => Some(format!("not {}", machine.password)),
            Terminal::Here => match password::ask(user.unwrap_or(&machine.login)) {
                Some(password) => Some(password),
                None => return Output { status: Status::Signal(2), ..answer(0, "", "") },
            },
            Terminal::None => None,
        },
        _ => None,
    };
    let owner = user.unwrap_or(&machine.login) == machine.login;
    match typed {
        None if user.is_none() && machine.mode != Mode::Recovery => {
            answer(1, "", "getlogin() failed: Inappropriate ioctl for device\n")
        }
        None => answer(1, "", "Failed to authenticate owner\n"),
        Some(password) if owner && password == machine.password => answer(0, "", ""),
        Some(_) => answer(103, "", NOT_OWNER),
    }
}
