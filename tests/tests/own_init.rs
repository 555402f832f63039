//! Images that need no services: process 1 is a tiny init of ours.

use std::{fs, time::Duration};

use rand::Rng as _;
use tests::{Database, Display, World, program::shell, tree, until};

/// What process 1 of a VM is.
fn first(world: &World, vm: &str) -> String {
    world.inside(vm, "tr '\\0' ' ' </proc/1/cmdline").trim().to_owned()
}

/// Sends a signal to process 1, which may end the sender before it can say that it did.
fn tell_init(world: &World, signal: &str) {
    let _ = world.try_inside("desk", &format!("kill -{signal} 1"));
}

/// Under our own init a desktop is as under any other: the picture is on the client's display, what has
/// ended is reaped, a shutdown and a reboot from inside are understood, and a stop is quick.
#[test]
fn a_desktop_needs_no_services() {
    let mut world = World::start(Database::Sqlite);
    world.qa("osf edit -f name=test init=own");
    world.add_user("ada");
    world.add_vm("desk", "ada");
    let display = Display::start(world.folder(), 57);
    let client = world.client(&display, "ada", "desk");
    world.reaches("desk", "running");
    let seed: u64 = rand::rng().random();
    world.paint("desk", "ada", seed);
    display.shows(seed);
    drop(client);
    assert_eq!(first(&world, "desk"), "/dev/.qvd-init init");
    assert_eq!(world.inside("desk", "pgrep -c systemd || true"), "0");

    // Far less than an init with services has.
    let rights = world.inside("desk", "capsh --print | sed -n 's/^Bounding set =//p'");
    assert!(rights.contains("cap_setuid"), "{rights}");
    for more in ["cap_sys_admin", "cap_sys_ptrace", "cap_mknod", "cap_sys_resource"] {
        assert!(!rights.contains(more), "{rights}");
    }
    // It can be neither written nor replaced.
    let changed =
        world.try_inside("desk", "echo x >>/dev/.qvd-init || mv /bin/true /dev/.qvd-init");
    assert!(changed.is_err(), "{changed:?}");

    // Orphans that end are noticed.
    world.inside("desk", "for i in 1 2 3 4 5; do (setsid true &) ; done");
    until("orphans to be reaped", Duration::from_secs(10), || {
        match world.inside("desk", "grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null | wc -l") {
            none if none == "0" => Ok(()),
            left => Err(left),
        }
    });

    let begun = world.begun("desk");
    world.inside("desk", "echo kept >/etc/kept");
    tell_init(&world, "INT");
    until("the reboot", Duration::from_secs(30), || match world.try_begun("desk")? {
        now if now == begun => Err(now),
        _ => Ok(()),
    });
    world.reaches("desk", "running");
    assert_eq!(world.inside("desk", "cat /etc/kept"), "kept");
    // The agent is there again, and with it a desktop.
    let client = world.client(&display, "ada", "desk");
    world.paint("desk", "ada", seed);
    display.shows(seed);
    drop(client);

    tell_init(&world, "PWR");
    world.reaches("desk", "stopped");
    assert!(world.qa("vm why -f name=desk").contains("shut down from inside"));
    world.qa("vm start -f name=desk --wait");
    world.expect_log("INFO", "a run ended by itself");
    world.end();
}

/// A plain tree without systemd works under our own init, which is taken by itself.
#[test]
fn a_tree_without_an_init_works() {
    let world = World::start(Database::Sqlite);
    world.add_user("ada");
    // The image of the tests, unpacked and packed again without what makes a system of it.
    world.qa("vm add name=first user=ada osf=test");
    world.qa("vm start -f name=first --wait");
    world.qa("vm stop -f name=first --wait");
    let base = shell(&format!("ls -d {}/basefs/1-*.zst", world.storage().display()));
    let tree = world.folder().join("plain.tar.zst");
    shell(&format!(
        "tar -C {base} --xattrs --acls --numeric-owner --exclude=./usr/sbin/init \
         --exclude=./sbin/init --exclude='./usr/lib/systemd/*' --exclude=./usr/bin/systemd-run \
         -c . | zstd -q -1 -T0 -o {}",
        tree.display()
    ));
    world.qa("osf add name=plain");
    let said = world.qa(&format!("di add path={} osf=plain", tree.display()));
    assert!(said.contains("no init of its own"), "{said}");
    world.qa("vm add name=desk user=ada osf=plain");
    let display = Display::start(world.folder(), 58);
    let client = world.client(&display, "ada", "desk");
    world.reaches("desk", "running");
    let seed: u64 = rand::rng().random();
    world.paint("desk", "ada", seed);
    display.shows(seed);
    assert_eq!(first(&world, "desk"), "/dev/.qvd-init init");
    drop(client);
    world.end();
}

/// A tree like Alpine's, of one program and its links, with no system of Debian's, works; who connects
/// is told what is missing for a desktop.
#[test]
fn a_tree_like_alpines_works_or_says_what_is_missing() {
    let mut world = World::start(Database::Sqlite);
    world.add_user("ada");
    for init in [false, true] {
        let name = if init { "own" } else { "plain" };
        let folder = world.folder().join(name);
        tree::small(&folder, init);
        let file = world.folder().join(format!("{name}.tar"));
        shell(&format!(
            "tar -C {} --numeric-owner --owner=0 --group=0 -cf {} .",
            folder.display(),
            file.display()
        ));
        world.qa(&format!("osf add name={name}"));
        let said = world.qa(&format!("di add path={} osf={name}", file.display()));
        assert!(said.contains("Alpine-like"), "{said}");
        world.qa(&format!("vm add name={name} user=ada osf={name}"));
        world.qa(&format!("vm start -f name={name} --wait"));
        let own = first(&world, name);
        assert_eq!(own == "/dev/.qvd-init init", !init, "{own}");
        assert_eq!(world.inside(name, "id -u ada && cat /etc/hostname"), format!("10000\n{name}"));
        let display = Display::start(world.folder(), 59);
        let mut client = world.client(&display, "ada", name);
        until("the client to be told", Duration::from_secs(20), || {
            let said = world.client_said(&display);
            if said.contains("the image has no nxagent") { Ok(()) } else { Err(said) }
        });
        client.end();
        world.qa(&format!("vm stop -f name={name} --wait"));
    }
    world.expect_log("INFO", "no nxagent");
    world.end();
}

/// A tree of 32 bits works: our init and agent need nothing of it, and its own programs run.
#[test]
fn a_tree_of_32_bits_works() {
    let world = World::start(Database::Sqlite);
    world.add_user("ada");
    let folder = world.folder().join("small");
    tree::small(&folder, false);
    // In place of its one program another, for i386, that ends with 42.
    let (at, program) = (world.folder().display(), folder.join("bin/busybox"));
    let source = "void _start(void) {\n\
         __asm__ volatile(\"movl $1,%eax; movl $42,%ebx; int $0x80\"); }\n";
    fs::write(world.folder().join("answer.c"), source).expect("a source");
    shell(&format!("gcc -m32 -nostdlib -static -o {} {at}/answer.c", program.display()));
    shell(&format!("tar -C {at}/small --numeric-owner --owner=0 --group=0 -cf {at}/small.tar ."));
    world.qa("osf add name=small");
    let said = world.qa(&format!("di add path={at}/small.tar osf=small"));
    assert!(said.contains("i386"), "{said}");
    world.qa("vm add name=desk user=ada osf=small");
    world.qa("vm start -f name=desk --wait");
    let container = world.container("desk");
    shell(&format!(
        "timeout 20 lxc-attach -n {container} -P {at}/run/vms -- /bin/sh </dev/null; test $? -eq 42"
    ));
    world.qa("vm stop -f name=desk --wait");
    world.end();
}
