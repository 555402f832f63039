//! Takes from a daemon what it has no use for, so that who takes the daemon over gains little.

mod calls;
mod rights;

use std::{fs, io, path::Path};

use anyhow::{Context, Result, ensure};
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetStatus, Scope, make_bitflags, path_beneath_rules,
};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};

pub(crate) use calls::refuse as refuse_calls;
pub(crate) use rights::keep_needed;

/// The newest rights that the router was tried without.
const KNOWN: ABI = ABI::V6;

/// Other processes of the same user cannot look into this one, and it leaves no core file: passwords
/// pass through it.
pub(crate) fn hide() -> Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable).context("cannot hide this process")
}

/// Leaves this thread, and those it starts from now on, no files but those below `folder`, no new
/// TCP connection or port, and no signal to others. Sockets that are open stay, and unix sockets
/// can be connected to as their modes allow. A kernel that can do only part of it does that.
pub(crate) fn to_folder(folder: &Path) -> Result<()> {
    let is_there = fs::metadata(folder).is_ok_and(|folder| folder.is_dir());
    ensure!(
        is_there,
        "the folder {} is not there: `qvd migrate`, run once as root, makes it",
        folder.display()
    );
    let status = restrict(folder).map_err(io::Error::other).context("cannot confine the router")?;
    if status == RulesetStatus::FullyEnforced {
        tracing::debug!(folder = %folder.display(), "confined");
    } else {
        tracing::debug!(?status, "this kernel cannot confine the router as much as others");
    }
    Ok(())
}

fn restrict(folder: &Path) -> Result<RulesetStatus, landlock::RulesetError> {
    let here: BitFlags<AccessFs> = make_bitflags!(AccessFs::{
        ReadFile | ReadDir | WriteFile | Truncate | MakeReg | RemoveFile
    });
    let status = Ruleset::default()
        .handle_access(AccessFs::from_all(KNOWN))?
        .handle_access(AccessNet::from_all(KNOWN))?
        .scope(Scope::from_all(KNOWN))?
        .create()?
        .add_rules(path_beneath_rules([folder], here))?
        .restrict_self()?;
    Ok(status.ruleset)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_confined_thread_has_its_folder_and_nothing_else() {
        let all = tempfile::tempdir().unwrap();
        let (own, other) = (all.path().join("own"), all.path().join("other"));
        for folder in [&own, &other] {
            fs::create_dir(folder).unwrap();
            fs::write(folder.join("file"), "old").unwrap();
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let confined = std::thread::spawn(move || {
            to_folder(&own).unwrap();
            fs::write(own.join("new"), "new").unwrap();
            fs::rename(own.join("new"), own.join("file")).unwrap();
            assert_eq!(fs::read_to_string(own.join("file")).unwrap(), "new");
            assert_eq!(fs::read_dir(&own).unwrap().count(), 1);
            let denied = |result: io::Result<()>, what: &str| {
                let kind = result.map_err(|error| error.kind());
                assert_eq!(kind, Err(io::ErrorKind::PermissionDenied), "{what}");
            };
            denied(fs::read(other.join("file")).map(drop), "reads another file");
            denied(fs::write(other.join("new"), ""), "makes a file elsewhere");
            denied(fs::remove_file(other.join("file")), "removes a file elsewhere");
            denied(fs::read("/etc/passwd").map(drop), "reads the accounts");
            denied(std::net::TcpStream::connect(address).map(drop), "opens a connection");
            denied(TcpListener::bind("127.0.0.1:0").map(drop), "listens");
        });
        confined.join().unwrap();
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let error = to_folder(Path::new("/no/such/folder")).unwrap_err().to_string();
        assert!(error.contains("/no/such/folder is not there"), "{error}");
    }
}
