//! Containers of LXC, with an init of a few lines.

use std::{
    fs,
    net::Ipv4Addr,
    os::unix::fs::{PermissionsExt as _, symlink},
};

use hkd::linux::{
    Linux as _, Lock, firewall,
    lxc::{Container, Cpu, End, Io, Monitor, Network},
    slots,
};
use rustix::process::{Pid, Signal, kill_process};

use crate::place::{Place, VM, shell, until};

/// A place with a network, and a root whose init is a script.
fn with_init(script: &str) -> (Place, Container) {
    let place = Place::enter();
    let gateway = Ipv4Addr::new(10, 99, 0, 1);
    let network =
        firewall::Network { gateway: "10.99.0.1/24".parse().unwrap(), blocked: Vec::new() };
    place.real.ensure_network(&network).unwrap();
    let root = place.folder.join("root");
    fs::create_dir(&root).unwrap();
    let at = root.display();
    shell(&format!("mount -t tmpfs -o mode=755 root {at}"));
    for name in ["dev", "etc", "home", "proc", "run", "sbin", "sys", "tmp", "usr"] {
        fs::create_dir(root.join(name)).unwrap();
    }
    shell(&format!("mount --bind /usr {at}/usr && chmod 1777 {at}/tmp"));
    for name in ["bin", "lib", "lib64"] {
        symlink(format!("usr/{name}"), root.join(name)).unwrap();
    }
    let init = root.join("sbin/init");
    fs::write(&init, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&init, fs::Permissions::from_mode(0o755)).unwrap();
    place.real.make_folder(&place.vms(), 0o711).unwrap();
    place.real.make_folder(&place.vms().join(place.container()), 0o711).unwrap();
    let container = Container {
        name: place.container(),
        path: place.vms(),
        hostname: "desk".into(),
        machine_id: "0123456789abcdef0123456789abcdef".into(),
        root,
        own_init: None,
        home: None,
        base_id: slots::base_of(slots::SLOTS - 1),
        memory: 256,
        processes: 100,
        cpu: Cpu { weight: 100, most: 0 },
        io: Io { bandwidth: 0, operations: 0 },
        nesting: true,
        network: Network {
            bridge: place.names.bridge.clone(),
            link: place.names.link(VM),
            mac: "54:52:00:63:00:0a".parse().unwrap(),
            address: Ipv4Addr::new(10, 99, 0, 10),
            prefix: 24,
            gateway,
        },
    };
    (place, container)
}

/// Waits until a container's monitor is gone, and returns how it ended.
fn end(place: &Place, started: Monitor) -> End {
    until("the monitor to end", || match place.real.watch(started) {
        None => Ok(()),
        Some(_) => Err(fs::read_to_string(place.vms().join(place.container()).join("lxc.log"))),
    });
    place.real.end(&place.vms().join(place.container())).unwrap()
}

/// The end of an init is told as it was: with which status, or that its monitor was ended.
#[test]
fn an_end_is_told_as_it_was() {
    let (place, container) = with_init("exec sh -c \"$(cat /tmp/what)\"");
    let what = container.root.join("tmp/what");
    let ends =
        [("exit 0", "its init ended with status 0"), ("exit 3", "its init ended with status (3)")];
    for (line, told) in ends {
        fs::write(&what, line).unwrap();
        let monitor = place.real.start(&container, Lock(None)).unwrap();
        assert_eq!(end(&place, monitor), End::Died(told.into()), "{line}");
    }
    fs::write(&what, "echo up > /tmp/up; while :; do sleep 1; done").unwrap();
    let monitor = place.real.start(&container, Lock(None)).unwrap();
    until("the container to be up", || fs::read(container.root.join("tmp/up")));
    let found = place.real.monitor(&place.vms(), &place.container()).unwrap();
    assert_eq!(found, Some(monitor));
    kill_process(Pid::from_raw(monitor.pid).unwrap(), Signal::KILL).unwrap();
    assert_eq!(end(&place, monitor), End::Died("its monitor was ended".into()));
    place.real.remove_cgroups(&place.container()).unwrap();
    assert_eq!(place.real.cgroups(&place.container()).unwrap().len(), 0);
}

/// A container that is ended by us ends by that signal, and nothing of it stays.
#[test]
fn a_container_is_ended_with_everything_in_it() {
    let (place, container) = with_init("echo up > /tmp/up; while :; do sleep 1; done");
    let monitor = place.real.start(&container, Lock(None)).unwrap();
    until("the container to be up", || fs::read(container.root.join("tmp/up")));
    place.real.kill(&place.vms(), &place.container()).unwrap();
    assert_eq!(end(&place, monitor), End::Died("its init ended on signal Killed(9)".into()));
    until("its groups to go", || match place.real.cgroups(&place.container()).unwrap() {
        groups if groups.is_empty() => Ok(()),
        groups => Err(groups),
    });
    assert!(!place.real.link_exists(&place.names.link(VM)).unwrap());
}

/// What an init writes to its standard streams fills nothing on the host.
#[test]
fn a_guest_has_nothing_of_the_host_to_write_to() {
    let script = "said=$(readlink /proc/1/fd/0 /proc/1/fd/1 /proc/1/fd/2)\n\
                  echo \"$said\" > /tmp/streams\n\
                  head -c 30000000 /dev/zero; head -c 30000000 /dev/zero >&2; exit 0";
    let (place, container) = with_init(script);
    let monitor = place.real.start(&container, Lock(None)).unwrap();
    let ended = end(&place, monitor);
    assert_eq!(ended, End::Died("its init ended with status 0".into()));
    let streams = fs::read_to_string(container.root.join("tmp/streams")).unwrap();
    assert_eq!(streams, "/dev/null\n/dev/null\n/dev/null\n");
    let directory = place.vms().join(place.container());
    let sizes = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().metadata().unwrap());
    let size: u64 = sizes.map(|found| found.len()).sum();
    assert!(size < 100_000, "{size} bytes in {}", directory.display());
}

/// LXC's own words are the reason when it cannot start a container.
#[test]
fn a_start_that_fails_says_why() {
    let (place, mut container) = with_init("exit 0");
    container.network.bridge = "nosuchbridge".into();
    let monitor = place.real.start(&container, Lock(None)).unwrap();
    match end(&place, monitor) {
        End::NeverStarted(why) => assert!(why.contains("bridge"), "{why}"),
        other => panic!("{other:?}"),
    }
}
