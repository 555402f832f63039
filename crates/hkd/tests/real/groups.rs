//! Control groups that a lost monitor left behind.

use std::{fs, path::PathBuf};

use hkd::linux::Linux as _;

use crate::place::{Place, Program, until};

/// Folders in which a group can be made: of version 2, and of a hierarchy of version 1.
fn hierarchies() -> Vec<PathBuf> {
    let all = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/pids"];
    all.map(PathBuf::from).into_iter().filter(|path| path.join("cgroup.procs").exists()).collect()
}

/// Groups go in one call, with what runs in them and below, while its processes exit and more are born.
#[test]
fn groups_go_with_what_is_in_them_in_one_call() {
    let place = Place::enter();
    let name = format!("lxc.payload.{}", place.container());
    let groups: Vec<PathBuf> = hierarchies().iter().map(|path| path.join(&name)).collect();
    assert!(!groups.is_empty(), "the machine has control groups");
    let mut programs = Vec::new();
    for group in &groups {
        let inner = group.join("inner");
        fs::create_dir_all(&inner).unwrap();
        let procs = inner.join("cgroup.procs");
        for _ in 0..20 {
            let enter =
                format!("echo $$ > {}; while :; do sleep 600 & wait; done", procs.display());
            programs.push(Program::start(&enter));
        }
        until("the programs in their group", || {
            let inside = fs::read_to_string(&procs).unwrap().lines().count();
            if inside >= 40 { Ok(()) } else { Err(inside) }
        });
    }
    let mut found = place.real.cgroups(&place.container()).unwrap();
    found.sort();
    let mut wanted = groups.clone();
    wanted.sort();
    assert_eq!(found, wanted);
    place.real.remove_cgroups(&place.container()).unwrap();
    assert!(place.real.cgroups(&place.container()).unwrap().is_empty());
    place.real.remove_cgroups(&place.container()).unwrap();
    for program in &mut programs {
        assert!(program.0.try_wait().unwrap().is_some(), "a program lives on");
    }
}
