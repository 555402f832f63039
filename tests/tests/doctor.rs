//! What `qvd doctor` says of machines that lack something.

use std::{
    fs,
    process::{Command, Stdio},
    time::Duration,
};

use tests::{
    Database, World,
    fuse::{Mood, Storage},
    program::{Running, command, said},
    until,
    world::program,
};

/// One thing that is wrong with a machine.
struct Lack {
    /// What doctor calls it.
    what: &'static str,
    /// Lines of the host's file instead of those there.
    config: &'static str,
    /// What makes it so, in shell, in name spaces of its own; `$run` goes before `qvd doctor`.
    make: &'static str,
    /// What must be said of it, and what must help.
    says: (&'static str, &'static str),
}

const fn lack(
    what: &'static str,
    make: &'static str,
    why: &'static str,
    remedy: &'static str,
) -> Lack {
    Lack { what, config: "", make, says: (why, remedy) }
}

/// `hide PROGRAM` takes a program away, `fake PROGRAM LINES` puts another in its place, `cover FILE TEXT`
/// changes what is in a file.
const PRELUDE: &str = r#"
set -e
mount --make-rprivate /
# As hkd leaves it: a new network has what the first one of the machine has.
echo 1 >/proc/sys/net/ipv4/ip_forward
over() {
    mkdir -p "$here/up" "$here/work"
    mount -t overlay overlay -o "lowerdir=$1,upperdir=$here/up,workdir=$here/work" "$1"
}
place() { dirname "$(readlink -f "$(command -v "$1")")"; }
hide() { at=$(place "$1"); over "$at"; rm "$at/$1"; }
fake() { at=$(place "$1"); over "$at"; printf '%s\n' '#!/bin/sh' "$2" >"$at/$1"; chmod 755 "$at/$1"; }
cover() { printf '%s\n' "$2" >"$here/cover"; mount --bind "$here/cover" "$1"; mount -o remount,bind,ro "$1"; }
"#;

const LACKS: &[Lack] = &[
    lack(
        "root's rights",
        "run='setpriv --reuid 65534 --regid 65534 --clear-groups'",
        "this is not root",
        "run `sudo qvd doctor`",
    ),
    lack(
        "the account of router and api",
        "grep -v ^qvd: /etc/passwd >$here/passwd; mount --bind $here/passwd /etc/passwd",
        "there is no user `qvd`",
        "make the account",
    ),
    Lack {
        what: "the database",
        config: "database.url = sqlite:/etc/hostname",
        make: "",
        says: ("/etc/hostname", "look at database.url"),
    },
    lack(
        "the kernel",
        "run='setarch --uname-2.6'",
        "cannot map the ids of a btrfs volume",
        "install Linux 5.15",
    ),
    lack(
        "ranges of ids for containers",
        "cover /etc/subuid root:100000:65536",
        "/etc/subuid do not give root the ids",
        "add the line `root:1000000:1000000000` to /etc/subuid",
    ),
    Lack {
        what: "the agent",
        config: "path.vma = /nowhere/qvd-vma",
        make: "",
        says: ("/nowhere/qvd-vma is not there", "install qvd-vma, or set path.vma"),
    },
    Lack {
        what: "the volume for overlays",
        config: "path.storage.root = /proc",
        make: "",
        says: ("/proc is not on btrfs", "mount a btrfs volume at /proc"),
    },
    lack(
        "free space",
        "truncate -s 300M $here/disk; mkfs.btrfs -q $here/disk; mount -o loop $here/disk $storage",
        "MiB are left at",
        "make the volume larger",
    ),
    lack(
        "control groups",
        "mount -t tmpfs none /sys/fs/cgroup",
        "no controllers for memory and processes",
        "mount cgroup2",
    ),
    lack(
        "user namespaces",
        "cover /proc/sys/user/max_user_namespaces 0",
        "the kernel allows none",
        "sysctl -w user.max_user_namespaces=",
    ),
    lack(
        "what the kernel counts for all desktops",
        "cover /proc/sys/fs/inotify/max_user_instances 128",
        "fs.inotify.max_user_instances is 128",
        "sysctl -w fs.inotify.max_user_instances=65536",
    ),
    lack("open files", "ulimit -n 1024", "a process may have 1024", "LimitNOFILE="),
    lack(
        "the bridge",
        "ip link add $bridge type veth peer name other; mount -t sysfs none /sys",
        "is there, and is no bridge",
        "set vm.network.bridge",
    ),
    lack(
        "the VMs' addresses",
        "ip link add one type veth peer name two; ip addr add 10.99.0.1/16 dev one; \
         ip link set two up; ip link set one up",
        "the VMs' network 10.99.0.0/24 overlaps 10.99.0.0/16, which is behind one",
        "set vm.network.ip.start",
    ),
    lack(
        "the way out of VMs",
        "ip link add $bridge type bridge; mount -t sysfs none /sys; \
         echo 0 >/proc/sys/net/ipv4/ip_forward",
        "this machine forwards nothing",
        "sysctl -w net.ipv4.ip_forward=1",
    ),
    lack(
        "the way out of VMs",
        "nft 'add table ip strict; add chain ip strict drops { type filter hook forward priority 0; \
         policy drop; }'",
        "the chain ip strict drops drops",
        "nft insert rule ip strict drops",
    ),
    lack("LXC, which runs the containers", "hide lxc-start", "`lxc-start` is", "apt install lxc"),
    lack("LXC's way into a container", "hide lxc-attach", "`lxc-attach` is", "apt install lxc"),
    lack("LXC's way to end a container", "hide lxc-stop", "`lxc-stop` is", "apt install lxc"),
    lack("util-linux, for each start", "hide nsenter", "`nsenter` is", "apt install util-linux"),
    lack("nftables, the firewall", "hide nft", "`nft` is", "apt install nftables"),
    lack("GNU tar, which unpacks images", "hide tar", "`tar` is", "apt install tar"),
    lack("LXC's version", "fake lxc-start 'echo 3.1.0'", "this is LXC 3.1.0", "install LXC 4.0"),
];

/// `doctor` says in plain words that a machine on which desktops run can run them, and of each thing that
/// is wrong with a machine what it is, with its remedy.
#[test]
fn doctor_says_what_a_machine_lacks() {
    let world = World::start_bare(Database::Sqlite);
    let good = doctor(&world, "", "").expect("all is well");
    assert!(good.ends_with("This machine can run desktops."), "{good}");
    for Lack { what, config, make, says: (why, remedy) } in LACKS {
        assert!(good.contains(&format!("good   {what}\n")), "{what} in {good}");
        let bad = doctor(&world, config, make).expect_err(what);
        assert!(is_wrong(&bad, what, (why, remedy)), "{what}: {bad}");
    }
    world.end();
}

/// Shared storage that is slow, fails or hangs is found, with where to look.
#[test]
fn doctor_says_how_shared_storage_is() {
    let world = World::start_bare(Database::Sqlite);
    let folder = world.folder().join("shared");
    fs::create_dir(&folder).expect("a folder for images");
    let storage = Storage::over(&folder);
    let config = format!("path.storage.images = {}", folder.display());
    let said = doctor(&world, &config, "").unwrap_or_else(|why| why);
    assert!(said.contains("good   the storage of images\n"), "{said}");
    let moods = [
        (Mood::Slow(Duration::from_millis(1100)), "ms to answer"),
        (Mood::Broken(libc::EIO), "cannot be read: "),
        (Mood::Hung, "does not answer within 5 s"),
    ];
    for (mood, why) in moods {
        storage.becomes(mood);
        let what = format!("the storage of images: {}", folder.display());
        let told = world.folder().join("told");
        let out = fs::File::create(&told).expect("a file for what it says");
        let mut doctor = spoiled(&world, &config, "");
        let doctor = doctor.stdout(out).stderr(Stdio::null()).spawn();
        let mut doctor = Running(doctor.expect("doctor starts"));
        // It says so while the storage is like that, but does not end while FUSE holds one of its threads.
        until("what it says of the storage", Duration::from_secs(30), || {
            let said = fs::read_to_string(&told).expect("what it says");
            if is_wrong(&said, &what, (why, "look at the server")) { Ok(()) } else { Err(said) }
        });
        storage.becomes(Mood::Well);
        doctor.0.wait().expect("it was ours");
    }
    drop(storage);
    world.end();
}

/// Whether doctor says that something is wrong, why, and on the next line what helps.
fn is_wrong(said: &str, what: &str, (why, remedy): (&str, &str)) -> bool {
    let wrong = format!("WRONG  {what}");
    let mut lines = said.lines().skip_while(|line| !line.starts_with(&wrong));
    let is_so = lines.next().is_some_and(|line| line.contains(why));
    is_so && lines.next().is_some_and(|line| line.contains("remedy: ") && line.contains(remedy))
}

/// What doctor says on a machine that was spoiled, with lines of the host's file instead of those there.
fn doctor(world: &World, lines: &str, make: &str) -> Result<String, String> {
    said("doctor", spoiled(world, lines, make).output())
}

fn spoiled(world: &World, lines: &str, make: &str) -> Command {
    let here = world.folder().join("spoiled");
    // What was mounted there went with its name space.
    let _ = fs::remove_dir_all(&here);
    fs::create_dir(&here).expect("a folder for what is spoiled");
    let key = |line: &str| line.split('=').next().unwrap_or_default().trim().to_owned();
    let config = fs::read_to_string(world.folder().join("node.conf")).expect("node.conf");
    let other = config.lines().filter(|line| lines.is_empty() || key(line) != key(lines));
    let config: Vec<&str> = other.chain([lines]).collect();
    let file = here.join("node.conf");
    fs::write(&file, config.join("\n")).expect("another node.conf");
    let script = format!("{PRELUDE}{make}\nexec $run {} doctor", program("qvd").display());
    let mut unshare = command("unshare");
    unshare
        .args(["--mount", "--net", "sh", "-c", &script])
        .env("QVD_CONFIG", &file)
        .env("here", &here)
        .env("storage", world.storage())
        .env("bridge", format!("{}br", world.prefix()));
    unshare
}
