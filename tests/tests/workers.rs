//! Programs that work for hkd, when they or it are killed in the middle: what they hold tells the next
//! hkd of them.

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf, time::Duration};

use rustix::process::{Pid, Signal, kill_process};
use tests::{
    Database, World,
    program::{Running, command, found, shell},
    until,
};

/// How long anything here may take on a busy machine.
const WITHIN: Duration = Duration::from_mins(1);

fn kill(pid: i32) {
    kill_process(Pid::from_raw(pid).expect("a number"), Signal::KILL).expect("it is there");
}

/// Kills hkd, and waits until another runs.
fn kill_hkd(world: &World) {
    let old = world.daemon_pid("hkd");
    let works = || world.log().matches("hkd works").count();
    let before = works();
    kill(old);
    until("the next hkd", WITHIN, || match works() {
        now if now > before => Ok(()),
        now => Err(now),
    });
}

/// The descriptors of a process, a line each.
fn descriptors(pid: i32) -> String {
    // It works meanwhile, and closes some.
    found(&format!("find /proc/{pid}/fd -ignore_readdir_race -type l -printf '%l\\n'"))
}

/// hkd is killed while tar works: tar holds the lock of what it unpacks, and ends with hkd; the next
/// hkd begins anew, and nothing half made is left. While any program holds that lock, hkd waits.
#[test]
fn a_death_in_the_middle_of_unpacking() {
    let mut world = World::start(Database::Sqlite);
    world.add_user("ada");
    world.add_vm("desk", "ada");
    let hkd = world.daemon_pid("hkd");
    world.qa("vm start -f name=desk");
    let tar: i32 = until("tar", WITHIN, || {
        found(&format!("pgrep -x tar -P {hkd}")).parse().map_err(|_| world.log())
    });
    let held = descriptors(tar);
    assert!(held.contains("/storage/basefs/lock.1-"), "{held}");
    kill_hkd(&world);
    world.reaches("desk", "running");
    assert!(!fs::exists(format!("/proc/{tar}")).expect("/proc is there"), "tar lives on");
    let log = world.log();
    let times = |line: &str| log.matches(line).count();
    assert_eq!((times("unpacking an image"), times("the image is unpacked")), (2, 1));
    let subvolumes = world.subvolumes();
    assert_eq!(subvolumes.len(), 2, "{subvolumes:?}");

    world.add_quick_osf();
    world.add_quick_vm("other", "ada");
    world.add_vm("third", "ada");
    let lock = world.storage().join("basefs/lock.2-quick.tar");
    let worker = command("flock")
        .args(["--no-fork", &lock.display().to_string(), "sleep", "1000"])
        .spawn()
        .expect("flock starts");
    let mut worker = Running(worker);
    let pid = i32::try_from(worker.0.id()).expect("a number");
    until("the worker to hold its lock", WITHIN, || {
        let held = descriptors(pid);
        if held.contains("lock.2-quick.tar") { Ok(()) } else { Err(held) }
    });
    world.qa("vm start -f name=other");
    kill_hkd(&world);
    // What concerns nobody else goes on meanwhile.
    world.qa("vm start -f name=third --wait");
    let why = world.qa("vm why -f name=other");
    assert!(why.contains("Unpacking the image"), "{why}");
    assert_eq!(world.log().matches("unpacking an image").count(), 2);
    assert!(worker.runs(), "another's program was ended");
    worker.end();
    world.reaches("other", "running");
    world.expect_log("INFO", "it was ended; it is started again");
    world.end();
}

/// `lxc-start` as this world has it: it is held up before it does anything as long as a file is there.
struct Held {
    file: PathBuf,
    calls: PathBuf,
}

impl Held {
    fn new(world: &World) -> Self {
        let at = world.folder();
        let (real, file, calls) = (at.join("lxc"), at.join("hold"), at.join("calls"));
        let (real, script) = (real.join("lxc-start"), at.join("held-lxc-start"));
        fs::create_dir(at.join("lxc")).expect("a folder");
        fs::copy("/usr/bin/lxc-start", &real).expect("lxc-start is there");
        let text = format!(
            "#!/bin/sh\n[ \"$1\" = --version ] && exec /bin/false\necho $$ >>{}\nwhile test -e {}; do sleep 0.02; done\nexec {} \"$@\"\n",
            calls.display(),
            file.display(),
            real.display()
        );
        fs::write(&script, text).expect("a script");
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("it is ours");
        // In this world's own view of the machine.
        shell(&format!("mount --bind {} /usr/bin/lxc-start", script.display()));
        Self { file, calls }
    }

    fn hold(&self) {
        fs::write(&self.file, "").expect("a file");
    }

    fn go_on(&self) {
        fs::remove_file(&self.file).expect("it was held");
    }

    /// Waits until it was called so often, and returns the last one's process.
    fn called(&self, times: usize) -> i32 {
        let calls = until("lxc-start to be called", WITHIN, || {
            let calls = fs::read_to_string(&self.calls).unwrap_or_default();
            if calls.lines().count() >= times { Ok(calls) } else { Err(calls) }
        });
        assert_eq!(calls.lines().count(), times, "{calls}");
        calls.lines().last().and_then(|pid| pid.parse().ok()).expect("a process")
    }
}

/// hkd is killed in the middle of `lxc-start`: the next one finds it by the lock of its run directory,
/// waits, and starts no second one. Killed itself, or with hkd, its VM is started again. A monitor that
/// is killed leaves control groups and a link: they are cleaned, whether the VM is still wanted or not.
#[test]
fn a_death_in_the_middle_of_a_start() {
    let mut world = World::start(Database::Sqlite);
    world.add_user("ada");
    world.add_quick_osf();
    world.add_quick_vm("desk", "ada");
    let lxc = Held::new(&world);

    lxc.hold();
    world.qa("vm start -f name=desk");
    let start = lxc.called(1);
    let held = descriptors(start);
    assert!(held.contains(&format!("{}/lock", world.container("desk"))), "{held}");
    kill_hkd(&world);
    world.reaches("desk", "starting");
    lxc.go_on();
    world.reaches("desk", "running");
    assert_eq!((lxc.called(1), world.monitors()), (start, vec![start]));
    assert_eq!(world.log().matches("starting a container").count(), 1);
    world.qa("vm stop -f name=desk --wait");

    // The start itself dies, with and without hkd.
    for (calls, with_hkd) in [(2, false), (4, true)] {
        lxc.hold();
        world.qa("vm start -f name=desk");
        let start = lxc.called(calls);
        if with_hkd {
            kill(world.daemon_pid("hkd"));
        }
        kill(start);
        lxc.go_on();
        until("another start", WITHIN, || match world.monitors().as_slice() {
            [other] if *other != start => Ok(()),
            found => Err(found.to_vec()),
        });
        world.reaches("desk", "running");
        lxc.called(calls + 1);
        world.qa("vm stop -f name=desk --wait");
    }

    // The monitor of a running container dies: it is a crash, and started again.
    world.qa("vm start -f name=desk --wait");
    let monitor = lxc.called(6);
    kill(monitor);
    until("another monitor", WITHIN, || match world.monitors().as_slice() {
        [other] if *other != monitor => Ok(()),
        found => Err(found.to_vec()),
    });
    world.reaches("desk", "running");
    // The same while nobody looks, of a VM that is not wanted any more.
    world.qa("vm stop -f name=desk");
    kill(world.daemon_pid("hkd"));
    for monitor in world.monitors() {
        kill(monitor);
    }
    world.reaches("desk", "stopped");
    until("nothing to be left", WITHIN, || match world.leftovers() {
        left if left.is_empty() => Ok(()),
        left => Err(left),
    });
    shell("umount /usr/bin/lxc-start");
    world.expect_log("INFO", "it was ended; it is started again");
    world.expect_log("INFO", "a run ended by itself");
    world.end();
}

/// What hkd finds that is nobody's goes: a link, control groups with a process in them, a mounted root, a leave
/// of the firewall, a base that was only begun; what bears other names stays.
#[test]
fn what_is_nobodys_goes_with_the_next_hkd() {
    let mut world = World::start_bare(Database::Sqlite);
    let (prefix, storage) = (world.prefix().to_owned(), world.storage());
    let (name, storage) = (format!("{prefix}-999"), storage.display());
    let groups =
        shell("ls -d /sys/fs/cgroup/pids /sys/fs/cgroup/unified 2>/dev/null | head -1 || true");
    let groups = if groups.is_empty() { "/sys/fs/cgroup".to_owned() } else { groups };
    let stray = command("sleep").arg("1000").spawn().expect("sleep starts");
    let mut stray = Running(stray);
    shell(&format!(
        "ip link add {name} type bridge; ip link add {prefix}-other type bridge
         mkdir {groups}/lxc.payload.{name}; echo {} >{groups}/lxc.payload.{name}/cgroup.procs
         mkdir {storage}/rootfs/999-fs; mount -t tmpfs root {storage}/rootfs/999-fs
         nft add element bridge {prefix} sources '{{ {name} . 54:52:00:00:03:e7 . 10.99.0.99 }}'
         btrfs subvolume create {storage}/basefs/1-gone.tar.partial >/dev/null",
        stray.0.id()
    ));
    assert_eq!(world.leftovers().len(), 5, "{:?}", world.leftovers());
    kill_hkd(&world);
    until("nothing to be left", WITHIN, || match world.leftovers() {
        left if left.is_empty() && world.subvolumes().is_empty() => Ok(()),
        left => Err((left, world.subvolumes())),
    });
    assert!(!stray.runs(), "what ran in its groups runs on");
    shell(&format!("ip link del {prefix}-other"));
    world.expect_log("INFO", "it was ended; it is started again");
    world.end();
}
