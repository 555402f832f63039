//! LXC's log of a container: what its end is told by. It never grows without bound, whatever a guest
//! does, and only its end is read.

use std::{
    fs::{self, File},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use super::End;
use crate::linux::error::{Doing, Result, show};

/// The level at which LXC says when a container's init has ended, and how.
pub(super) const LEVEL: &str = "DEBUG";
/// A log that is longer is cut: each reboot from inside adds some kilobytes.
const LONGEST: u64 = 1024 * 1024;
/// How much of its end is read.
const READ: u64 = 64 * 1024;
/// Where the beginning was cut away; there it was said that the container had started.
const CUT: &str = "\nolder lines were cut: - Started \"init\" before\n";

/// The log of a run directory.
pub(super) fn of(directory: &Path) -> PathBuf {
    directory.join("lxc.log")
}

/// Makes the log anew and empty: that it is there tells that LXC was called.
pub(super) fn begin(directory: &Path) -> Result<()> {
    File::create(of(directory)).map(drop).doing(|| format!("write lxc.log in {}", show(directory)))
}

/// Cuts a log that has become too long. LXC goes on at its end.
pub(super) fn keep_short(directory: &Path) {
    let cut = || -> io::Result<()> {
        let log = of(directory);
        match fs::metadata(&log) {
            Ok(found) if found.len() > LONGEST => {
                let mut file = File::options().append(true).open(&log)?;
                file.set_len(0)?;
                file.write_all(CUT.as_bytes())
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    };
    if let Err(error) = cut() {
        tracing::debug!(directory = %show(directory), %error, "cannot shorten a container's log");
    }
}

/// How the container of a run directory ended, by the last lines of its log.
pub fn end(directory: &Path) -> Result<End> {
    let doing = || format!("read lxc.log in {}", show(directory));
    let mut file = match File::open(of(directory)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(End::NotBegun),
        file => file.doing(doing)?,
    };
    let length = file.metadata().doing(doing)?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(READ))).doing(doing)?;
    let mut tail = Vec::new();
    file.take(READ).read_to_end(&mut tail).doing(doing)?;
    Ok(told(&String::from_utf8_lossy(&tail)))
}

fn told(log: &str) -> End {
    // An init that ended well is only said to have exited; of any other LXC adds how.
    let mut exited = false;
    for line in log.lines().rev() {
        if let Some((_, how)) = line.split_once("> ended on signal ") {
            return match how.trim() {
                how if how.contains("(2)") => End::ShutDown,
                how => End::Died(format!("its init ended on signal {how}")),
            };
        }
        if let Some((_, how)) = line.split_once("> ended on error ") {
            return End::Died(format!("its init ended with status {}", how.trim()));
        }
        exited |= line.contains(" - Container init process ") && line.ends_with(" exited");
        if line.contains(" - Started \"") {
            let how = if exited { "its init ended with status 0" } else { "its monitor was ended" };
            return End::Died(how.to_owned());
        }
    }
    let errors: Vec<&str> = log
        .lines()
        .filter(|line| line.contains(" ERROR "))
        .filter_map(|line| line.split_once(" - ").map(|(_, said)| said))
        .filter_map(|said| said.split_once(" - ").map(|(_, said)| said))
        .take(2)
        .collect();
    let said = errors.join("; ");
    End::NeverStarted(if said.is_empty() { "LXC said nothing".to_owned() } else { said })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const STARTED: &str = "lxc-start qvd-7 20260101000000.000 NOTICE   start - ../src/lxc/start.c:post_start:2205 - Started \"/sbin/init\" with pid \"41\"\n";
    const EXITED: &str = "lxc-start qvd-7 20260101000000.000 DEBUG    start - ../src/lxc/start.c:signal_handler:464 - Container init process 41 exited\n";

    fn child(how: &str) -> String {
        format!(
            "{STARTED}{EXITED}lxc-start qvd-7 20260101000000.000 INFO     error - ../src/lxc/error.c:lxc_error_set_and_log:34 - Child <41> ended on {how}\n"
        )
    }

    #[test]
    fn a_start_that_did_not_come_to_lxc_is_no_end() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(end(directory.path()).unwrap(), End::NotBegun);
        begin(directory.path()).unwrap();
        let silent = End::NeverStarted("LXC said nothing".into());
        assert_eq!(end(directory.path()).unwrap(), silent);
        fs::write(of(directory.path()), b"lxc-start ERROR    start - f - no \xff\n").unwrap();
        let said = End::NeverStarted("no \u{fffd}".into());
        assert_eq!(end(directory.path()).unwrap(), said);
    }

    #[test]
    fn the_end_is_told_from_the_log() {
        assert_eq!(told(&child("signal Interrupt(2)")), End::ShutDown);
        let killed = told(&child("signal Killed(9)"));
        assert_eq!(killed, End::Died("its init ended on signal Killed(9)".into()));
        let left = told(&child("error (3)"));
        assert_eq!(left, End::Died("its init ended with status (3)".into()));
        let well = told(&format!("{STARTED}{EXITED}"));
        assert_eq!(well, End::Died("its init ended with status 0".into()));
        assert_eq!(told(STARTED), End::Died("its monitor was ended".into()));
        let again = format!("{STARTED}{EXITED}{STARTED}");
        assert_eq!(told(&again), End::Died("its monitor was ended".into()), "after a reboot");
        let never = "lxc-start qvd-7 20260101000000.000 ERROR    network - ../src/lxc/network.c:f:711 - No such file or directory - bridge interface doesn't exist\n";
        let why = "No such file or directory - bridge interface doesn't exist";
        assert_eq!(told(never), End::NeverStarted(why.into()));
    }

    #[test]
    fn a_log_that_grows_is_cut_and_the_end_still_told() {
        let directory = tempfile::tempdir().unwrap();
        let log = of(directory.path());
        begin(directory.path()).unwrap();
        // LXC's own descriptor, which goes on at the end.
        let mut lxc = File::options().append(true).open(&log).unwrap();
        let cycle = child("signal Hangup(1)").repeat(100);
        while fs::metadata(&log).unwrap().len() <= LONGEST {
            keep_short(directory.path());
            lxc.write_all(cycle.as_bytes()).unwrap();
        }
        let killed = End::Died("its init ended on signal Hangup(1)".into());
        assert_eq!(end(directory.path()).unwrap(), killed);
        keep_short(directory.path());
        assert!(fs::metadata(&log).unwrap().len() < 4096);
        assert_eq!(end(directory.path()).unwrap(), End::Died("its monitor was ended".into()));
        lxc.write_all(EXITED.as_bytes()).unwrap();
        let well = End::Died("its init ended with status 0".into());
        assert_eq!(end(directory.path()).unwrap(), well);
    }

    proptest! {
        #[test]
        fn no_log_is_too_odd(log in "(\\PC{0,40}\n| - Started \"| ERROR  - | - |> ended on signal \\PC{0,5}){0,20}") {
            let _ = told(&log);
        }
    }
}
