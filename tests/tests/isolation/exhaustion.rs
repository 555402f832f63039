//! What one desktop takes without end, and what another has meanwhile.

use std::{
    fs,
    time::{Duration, Instant},
};

use tests::{
    Database, World,
    attempt::{Who, indented},
    machine::{self, has},
    program::shell,
    until,
};

use crate::add_two_vms;

/// What is taken, how one of it is taken, by how many processes, and what says that there is no more.
const TAKEN: [(&str, &str, u32, &str); 4] = [
    ("processes", "if os.fork() == 0: time.sleep(600)", 1, "EAGAIN"),
    ("inotify", "call(294, 0)", 1, "EMFILE"),
    ("descriptors", "os.open('/dev/null', os.O_RDONLY)", 8, "EMFILE"),
    ("terminals", "os.open('/dev/ptmx', os.O_RDWR | os.O_NOCTTY)", 1, "ENOSPC"),
];

/// Takes without end: each process notes what it heard when there was no more, and goes on.
const TAKE: &str = r"
import resource, signal
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
took = os.open('/tmp/took', os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
most = min(16384, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
own = os.getpid()
for _ in range(processes - 1):
    if os.getpid() == own: os.fork()
told_all = False
while True:
    try: take()
    except OSError as error:
        if not told_all: os.write(took, (told(error) + ' ').encode())
        told_all = True
";

/// From inside a desktop nobody, be it root or its user, exhausts memory, processes, descriptors, inotify
/// or terminals to another VM's harm: while one takes without end, the other has all it needs.
#[test]
fn what_one_takes_another_has() {
    let world = World::start(Database::Sqlite);
    world.qa("config set vm.processes.max=256");
    world.qa("osf edit -f name=test memory=512");
    add_two_vms(&world);
    world.qa("vm start -f name=de* --wait");
    let well = |what: &str| {
        let found = world.attempt(
            "den",
            Who::Root,
            "import subprocess\n\
             block = bytearray(64 << 20)\n\
             instances = [call(294, 0) for _ in range(256)]\n\
             files = [os.open('/etc/passwd', os.O_RDONLY) for _ in range(256)]\n\
             terminals = [os.open('/dev/ptmx', os.O_RDWR | os.O_NOCTTY) for _ in range(16)]\n\
             children = [subprocess.Popen(['sleep', '0.3']) for _ in range(64)]\n\
             for child in children: child.wait()",
        );
        assert_eq!(found, "done", "{what} of another VM is exhausted");
    };
    well("nothing");
    let all = fs::read_to_string("/proc/sys/fs/file-max").expect("a limit");
    assert_eq!(all.trim(), i64::MAX.to_string(), "a number of files for all desktops together");
    for (what, take, processes, limit) in TAKEN {
        for who in Who::ALL {
            let body = indented(take, 4);
            let lines = format!("processes = {processes}\ndef take():\n{body}{TAKE}");
            world.inside("desk", "rm -f /tmp/took");
            world.script("desk", "take", &lines);
            let line = "setsid python3 /var/take.py >/dev/null 2>&1 </dev/null &";
            let began = match who {
                Who::Root => world.try_inside("desk", line),
                Who::Ada | Who::Nested => world.try_in_session("desk", "ada", line),
            };
            began.expect("it begins");
            let wanted = vec![limit; usize::try_from(processes).expect("a few")];
            until(&format!("{what} to be taken"), Duration::from_mins(1), || {
                let said = fs::read_to_string(world.overlay("desk").join("tmp/took"));
                let said = said.unwrap_or_default();
                if said.split_whitespace().eq(wanted.iter().copied()) { Ok(()) } else { Err(said) }
            });
            well(what);
            // From outside: nothing can begin inside.
            shell("pkill -KILL -f '[p]ython3 /var/take.py'");
            until("it to be given back", Duration::from_secs(20), || {
                world.try_inside("desk", "! pgrep -f '[p]ython3 /var/take.py'")
            });
        }
    }
    // Memory: who takes too much is ended, and nobody else.
    let begun = world.begun("den");
    let took = world.try_inside("desk", "python3 -c 'x = bytearray(2 << 30)'");
    assert!(took.is_err(), "{took:?}");
    let line = "setsid sh -c 'while :; do python3 -c \"x = bytearray(2 << 30)\"; done' \
                >/dev/null 2>&1 </dev/null & echo $! >/tmp/eater";
    world.try_in_session("desk", "ada", line).expect("it begins");
    well("memory");
    assert_eq!(world.begun("den"), begun);
    world.inside("desk", "kill -KILL -$(cat /tmp/eater)");
    let why =
        until("it to be told", Duration::from_secs(20), || match world.qa("vm why -f name=desk") {
            why if why.contains("memory of 512 MiB was used up") => Ok(why),
            why => Err(why),
        });
    assert!(why.contains("qa osf edit -f name=test memory=1024"), "{why}");
    assert_eq!(world.state("desk"), "running");
    world.end();
}

/// A VM whose init was killed because its memory was used up says so, with its limit and the command that
/// raises it, below the list of VMs and where one asks why; it is started again.
#[test]
fn an_init_killed_for_memory_is_told_with_the_remedy() {
    let world = World::start(Database::Sqlite);
    world.qa("osf edit -f name=test memory=512");
    world.add_user("ada");
    world.add_vm("desk", "ada");
    world.qa("vm start -f name=desk --wait");
    let begun = world.begun("desk");
    // Of all that run in it the kernel takes its init.
    let line = "echo 1000 >/proc/1/oom_score_adj && python3 -c 'x = bytearray(2 << 30)'";
    world.try_inside("desk", line).expect_err("it ends with its init");
    until("it to be told", Duration::from_secs(20), || {
        let said = (world.remarks("vm list -f name=desk"), world.qa("vm why -f name=desk"));
        let (limit, remedy) =
            ("its memory of 512 MiB was used up", "qa osf edit -f name=test memory=1024");
        let told = said.0.contains(limit) && said.1.contains(limit) && said.1.contains(remedy);
        // Before its end is seen it is told as something that happened in it.
        if told && said.1.starts_with("desk is failed") { Ok(()) } else { Err(said) }
    });
    until("another init", Duration::from_secs(30), || match world.try_begun("desk")? {
        now if now == begun => Err(now),
        _ => Ok(()),
    });
    world.reaches("desk", "running");
    world.end();
}

/// From inside a desktop nobody takes the disk or the processors from another VM: each reads and writes so
/// much a second, and computes so much, and the other is as fast as ever.
#[test]
fn who_writes_without_end_is_held_back() {
    let world = World::start(Database::Sqlite);
    add_two_vms(&world);
    world.qa("config set vm.io.bandwidth.max=4");
    world.qa("config set vm.cpu.max=40");
    world.qa("vm start -f name=desk --wait");
    world.qa("config del vm.io.bandwidth.max");
    world.qa("config del vm.cpu.max");
    world.qa("vm start -f name=den --wait");
    // How many of a thousand parts of a second a program computes that does nothing else.
    let computes = |vm: &str| -> u32 {
        let said = world.inside(
            vm,
            "python3 -c 'import time\nend = time.time() + 1\nwhile time.time() < end: pass\n\
             print(int(time.process_time() * 1000))'",
        );
        said.parse().expect("a number")
    };
    let limited = computes("desk");
    assert!(limited < 550, "{limited}");
    let throttled = |vm: &str| {
        let group = format!("*/lxc.payload.{}/cpu.stat", world.container(vm));
        let stat = format!("find /sys/fs/cgroup -maxdepth 4 -path '{group}' -exec cat '{{}}' +");
        let said = shell(&format!("{stat} | sed -n 's/^nr_throttled //p'"));
        said.parse::<u64>().expect("a number")
    };
    until("one that computes without end to be held back", Duration::from_secs(30), || {
        computes("desk");
        if throttled("desk") > 0 { Ok(()) } else { Err("it is not") }
    });
    computes("den");
    assert_eq!(throttled("den"), 0, "another computes as much as it likes");
    let write = |vm: &str, mib: u32| {
        let begun = Instant::now();
        world.inside(vm, &format!("dd if=/dev/zero of=/big bs=1M count={mib} oflag=direct 2>&1"));
        begun.elapsed()
    };
    let read = |vm: &str, mib: u32| {
        let begun = Instant::now();
        world.inside(vm, &format!("dd if=/big of=/dev/null bs=1M count={mib} iflag=direct 2>&1"));
        begun.elapsed()
    };
    // Less than this time is not possible, however fast the machine is.
    assert!(write("desk", 8) >= Duration::from_secs(1));
    assert!(read("desk", 8) >= Duration::from_secs(1));
    // One writes without end, as root and as its user in her home: the other, of the same disk, is
    // through first.
    let endless = "setsid dd if=/dev/zero of=big bs=64k count=1024 oflag=direct \
                   >/dev/null 2>&1 </dev/null &";
    world.inside("desk", &format!("cd / && {endless}"));
    world.try_in_session("desk", "ada", endless).expect("it begins");
    write("den", 32);
    read("den", 32);
    world.inside("desk", "pkill -x dd");
    world.end();
}

/// From inside a desktop, even as its root, nobody takes the room on the disk from another VM: each has its
/// share, says when it is used up, and has all of it again at its next start.
#[test]
fn who_fills_the_disk_fills_its_own_share() {
    if !has(machine::kernel() >= (6, 7), "simple quotas, which Linux has since 6.7") {
        return;
    }
    let world = World::start(Database::Sqlite);
    world.qa("osf edit -f name=test init=own");
    add_two_vms(&world);
    world.qa("config set vm.overlay.size.max=64");
    world.qa("vm start -f name=desk --wait");
    world.qa("vm start -f name=den --wait");
    let write = |vm: &str, name: &str, mib: u32| {
        let line = format!("dd if=/dev/urandom of=/var/{name} bs=1M count={mib} conv=fsync 2>&1");
        world.try_inside(vm, &line)
    };
    for name in ["big", "more", "tmp/again"] {
        let refused = write("desk", name, 128).expect_err("it is more than its share");
        assert!(refused.contains("Disk quota exceeded"), "{refused}");
    }
    write("den", "big", 40).expect("another has its own share");
    until("the reason", Duration::from_secs(30), || {
        let said = world.qa("vm why -f name=desk");
        let all = ["as much as it may: 64 MiB beside its home", "vm.overlay.size.max=128"];
        if all.iter().all(|part| said.contains(part)) { Ok(()) } else { Err(said) }
    });
    assert_eq!(world.state("desk"), "running");
    // What is deleted is its own again, and so is all of it after a start, whatever btrfs has yet to free.
    world.inside("desk", "rm /var/big /var/more /var/tmp/again; sync");
    until("room again", Duration::from_secs(30), || write("desk", "small", 8).map(drop));
    write("desk", "big", 128).expect_err("it is more than its share");
    world.qa("vm stop -f name=desk --wait");
    world.qa("vm start -f name=desk --wait");
    write("desk", "big", 40).expect("a new share");
    world.qa("config set vm.overlay.size.max=0");
    world.qa("vm stop -f name=desk --wait");
    world.qa("vm start -f name=desk --wait");
    write("desk", "big", 128).expect("no limit");
    world.end();
}
