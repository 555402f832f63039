//! What hkd may do of all that root may.

use anyhow::{Context, Result};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities,
};

/// What the work takes. The unit `qvd-hkd.service` has the same.
///
/// * mounts, namespaces, subvolumes, control groups: `SYS_ADMIN`, `SYS_CHROOT`
/// * the bridge and the firewall: `NET_ADMIN`
/// * images unpacked as they are, homes given to their owners: `CHOWN`, `DAC_OVERRIDE`,
///   `DAC_READ_SEARCH`, `FOWNER`, `FSETID`, `MKNOD`, `SETFCAP`
/// * ids of containers: `SETUID`, `SETGID`, `SETPCAP`, `SETFCAP`
/// * looking into containers and ending them: `KILL`, `SYS_PTRACE`
/// * limits of containers: `SYS_RESOURCE`
const NEEDED: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::DAC_READ_SEARCH)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::NET_ADMIN)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SYS_ADMIN)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::SYS_PTRACE)
    .union(CapabilitySet::SYS_RESOURCE);

/// Takes from this thread, from those it starts from now on, and from every program they start, what is
/// not needed. Containers are not touched: theirs are of their own user namespace.
pub(crate) fn keep_needed() -> Result<()> {
    let doing = "cannot give up the rights that are not needed";
    clear_ambient_capability_set().context(doing)?;
    let all = (0..u64::BITS).map(|number| CapabilitySet::from_bits_retain(1 << number));
    for right in all.filter(|right| !NEEDED.contains(*right)) {
        match remove_capability_from_bounding_set(right) {
            // A kernel that does not know it does not give it.
            Ok(()) | Err(rustix::io::Errno::INVAL) => {}
            Err(error) => return Err(error).context(doing),
        }
    }
    // Where root itself has not all of them, in a container, it goes on with what there is.
    let kept = capabilities(None).context(doing)?.permitted.intersection(NEEDED);
    let sets =
        CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets).context(doing)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;

    /// hkd's unit.
    fn unit() -> String {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        fs::read_to_string(root.join("packaging/systemd/qvd-hkd.service")).unwrap()
    }

    /// The unit gives what the program keeps.
    #[test]
    fn the_unit_says_the_same() {
        let unit = unit();
        let line = unit.lines().find_map(|line| line.strip_prefix("CapabilityBoundingSet="));
        let given: BTreeSet<String> = line.unwrap().split(' ').map(str::to_owned).collect();
        let kept = NEEDED.iter_names().map(|(name, _)| format!("CAP_{name}")).collect();
        assert_eq!(given, kept);
    }

    /// What hkd mounts is the host's, and what it starts inherits nothing.
    #[test]
    fn the_unit_gives_no_mounts_of_its_own() {
        const OPTIONS: [&str; 16] = [
            "Private",
            "Protect",
            "ReadWritePaths",
            "ReadOnlyPaths",
            "InaccessiblePaths",
            "ExecPaths",
            "NoExecPaths",
            "BindPaths",
            "BindReadOnlyPaths",
            "TemporaryFileSystem",
            "RootDirectory",
            "RootImage",
            "MountFlags",
            "DynamicUser",
            "NoNewPrivileges",
            "SystemCallFilter",
        ];
        let unit = unit();
        let unshares = |line: &&str| OPTIONS.iter().any(|option| line.starts_with(option));
        assert_eq!(unit.lines().find(unshares), None);
        assert!(unit.contains("\nKillMode=process\n"), "desktops outlive the daemon");
    }

    /// A thread that gave up the rest has that, and cannot get more by a program that root starts.
    #[test]
    fn what_is_given_up_is_gone() {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: only root has something to give up");
            return;
        }
        let kept = capabilities(None).unwrap().permitted.intersection(NEEDED);
        let status = std::thread::spawn(|| {
            keep_needed().unwrap();
            #[expect(clippy::disallowed_methods, reason = "what a program that it starts has")]
            let output = std::process::Command::new("cat").arg("/proc/self/status").output();
            String::from_utf8(output.unwrap().stdout).unwrap()
        });
        let status = status.join().unwrap();
        for set in ["CapPrm", "CapEff", "CapBnd"] {
            let line = format!("{set}:\t{:016x}", kept.bits());
            assert!(status.contains(&line), "{line} in {status}");
        }
    }
}
