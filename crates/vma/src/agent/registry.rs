//! Which agent is in charge: the newest. `/run/qvd/agent` names it.
//!
//! An agent that comes ends the one it finds there; the session is not the agent's and goes on. An
//! agent that finds another's name there has been succeeded and ends by itself.

use std::{fs, io::ErrorKind, os::unix::fs::DirBuilderExt, path::Path, thread, time::Duration};

use rustix::process::Signal;

use crate::{command, log, processes::Process, session::options};

const FOLDER: &str = "/run/qvd";
const FILE: &str = "/run/qvd/agent";
/// How often we look whether we are still the one.
const LOOK: Duration = Duration::from_secs(5);

/// Makes the folder of what the agent keeps in the guest.
pub(super) fn prepare_folder() {
    match fs::DirBuilder::new().mode(0o711).create(FOLDER) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            log::line(format_args!("cannot make {FOLDER}: {error}"));
        }
        _ => {}
    }
}

/// Ends the agent before us, and us when another comes after us. Does not return.
pub(super) fn stay_in_charge() {
    let own = name(std::process::id());
    if let Some(older) = in_charge().filter(|found| Some(found) != own.as_ref()) {
        log::line(format_args!("agent {} goes, we come", older.0));
        command::signal(older.0, Signal::TERM, || name(older.0) == Some(older));
    }
    write(own);
    loop {
        thread::sleep(LOOK);
        match in_charge() {
            Some(found) if Some(found) == own => {}
            Some(found) if name(found.0) == Some(found) => {
                log::line(format_args!("agent {} has come", found.0));
                std::process::exit(0);
            }
            _ => {
                prepare_folder();
                write(own);
            }
        }
    }
}

/// Number and start time: a name that no two processes share.
type Name = (u32, u64);

fn name(number: u32) -> Option<Name> {
    Process::of(number).filter(|process| !process.ended).map(|process| (number, process.started))
}

fn in_charge() -> Option<Name> {
    parse(&fs::read_to_string(FILE).ok()?)
}

fn parse(text: &str) -> Option<Name> {
    let (number, started) = text.trim().split_once(' ')?;
    Some((number.parse().ok()?, started.parse().ok()?))
}

fn write(name: Option<Name>) {
    let Some((number, started)) = name else { return };
    if let Err(error) = options::write(Path::new(FILE), format!("{number} {started}\n").as_bytes())
    {
        log::line(format_args!("cannot write {FILE}: {error}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_back_and_nonsense_is_none() {
        assert_eq!(parse("12 345\n"), Some((12, 345)));
        for nonsense in ["", "12", "-1 2", "a b", "1 2 3"] {
            assert_eq!(parse(nonsense), None, "{nonsense}");
        }
        let own = name(std::process::id()).unwrap();
        assert_eq!(name(own.0), Some(own));
    }
}
