//! `AppArmor`, where the kernel has it: the profile that confines containers.
//!
//! It is loaded when the host is prepared, by root; hkd, which may not change such rules, uses it from
//! then on. Where it is not loaded containers have LXC's own.

use std::{fs, path::Path, time::Duration};

use super::{
    command::{Command, text},
    error::Result,
};

/// Its name.
const PROFILE: &str = "lxc-container-qvd";
/// Its text.
const TEXT: &str = include_str!("apparmor/lxc-container-qvd");
/// Where the kernel shows what it has.
const FOLDER: &str = "/sys/kernel/security/apparmor";
/// How long it may take to be compiled.
const WITHIN: Duration = Duration::from_mins(1);

/// Whether the kernel confines with it.
pub fn is_on() -> bool {
    Path::new(FOLDER).exists()
}

/// Whether the profile is there.
pub fn is_loaded() -> bool {
    fs::read_to_string(Path::new(FOLDER).join("profiles")).is_ok_and(|list| lists(&list))
}

/// The profile that a container is given by name; none: it has LXC's own.
pub fn of_containers() -> Option<&'static str> {
    if !is_on() {
        return Some("unconfined");
    }
    is_loaded().then_some(PROFILE)
}

/// Whether the kernel's list, a line for each profile with its mode, has ours in force.
fn lists(list: &str) -> bool {
    list.lines().any(|line| line.strip_prefix(PROFILE) == Some(" (enforce)"))
}

/// Loads it, or what it is now in place of what it was. Nothing where the kernel has no `AppArmor`.
pub fn load() -> Result<()> {
    if !is_on() {
        return Ok(());
    }
    let command = Command::new("apparmor_parser").args(["--replace", "--skip-cache", "--quiet"]);
    command.stdin(text("profile", TEXT)?).run(WITHIN).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_loaded_when_it_is_in_force() {
        let others = "/usr/bin/man (enforce)\nlxc-container-default (enforce)\n";
        assert!(!lists(others));
        assert!(!lists(&format!("{others}{PROFILE} (complain)\n")));
        assert!(lists(&format!("{others}{PROFILE} (enforce)\n")));
    }

    #[test]
    fn lxc_may_change_to_it() {
        assert!(PROFILE.starts_with("lxc-"));
        assert!(TEXT.contains(&format!("profile {PROFILE} flags=")));
    }
}
