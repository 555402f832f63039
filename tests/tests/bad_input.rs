//! What is broken, full, missing or silent on a machine: each says why, leaves nothing half-made, and is
//! gone on from without a person where that is possible.

use std::time::{Duration, Instant};

use tests::{
    Database, World,
    fuse::{Mood, Storage},
    program::shell,
    soak::{self, Round, Rounds},
    until,
};

/// Registers the image of `quick` again: image `number`, whose base is not here yet.
fn again(world: &World) {
    let at = world.folder().display();
    shell(&format!("cp {at}/storage/images/2-quick.tar {at}/again.tar"));
    world.qa(&format!("di add path={at}/again.tar osf=quick"));
}

/// A full volume: an image that does not fit is not unpacked, a VM is not started, what runs goes on;
/// each says so, and starts by itself when there is room again. A bomb is stopped at the room there is.
#[test]
fn a_full_volume_is_said_and_gone_on_from() {
    let mut world = World::quick(Database::Sqlite);
    let at = world.folder().display().to_string();
    let storage = format!("{at}/storage");
    for vm in ["runs", "starts"] {
        world.add_quick_vm(vm, "ada");
    }
    world.qa("vm start -f name=runs --wait");
    // Bombs: little as files, more than there is room for when they are unpacked, and their first frames
    // do not say so: a program, and then again and again the same 64 MiB of nothing.
    let packings =
        [("gzip -1c", "gz"), ("bzip2 -1c", "bz2"), ("xz -0c", "xz"), ("zstd -qc -1", "zst")];
    shell(&format!(
        "cd {at} && mkdir -p bomb/sbin && cp /bin/true bomb/sbin/init && \
         truncate -s 512M bomb/zeros && size=$(stat -c %s bomb/sbin/init) && \
         tar -C bomb -c sbin zeros | head -c $((1536 + (size + 511) / 512 * 512)) >bomb.tar && \
         truncate -s 64M zeros && rm -r bomb"
    ));
    for (pack, end) in packings {
        shell(&format!(
            "cd {at} && {pack} zeros >part && {pack} bomb.tar >bomb.tar.{end} && \
             cat part part part part part part part part part >>bomb.tar.{end}"
        ));
        world.qa(&format!("osf add name=bomb-{end}"));
        world.qa(&format!("di add path={at}/bomb.tar.{end} osf=bomb-{end}"));
        world.qa(&format!("vm add name=bomb-{end} user=ada osf=bomb-{end}"));
    }
    let free = shell(&format!("df --output=avail -B1M {storage} | tail -1"));
    let free: u64 = free.trim().parse().expect("megabytes");
    // Two thousand of these are left to the desktops.
    shell(&format!("fallocate -l {}M {storage}/filler", free - 2200));
    world.qa("vm start -f name=bomb-*");
    let names = packings.map(|(_, end)| format!("bomb-{end}"));
    let full = "there is no space left at";
    world.all_say("bomb-*", &names.each_ref().map(|name| (name.as_str(), "storage-full", full)));
    world.qa("vm stop -f name=bomb-* --wait");
    assert_eq!(shell(&format!("ls {storage}/basefs | grep -c partial; true")), "0");

    shell(&format!(
        "for size in 256 16 1; do i=0; \
           while fallocate -l ${{size}}M {storage}/filler-$size-$i 2>/dev/null; do i=$((i + 1)); done; \
         done"
    ));
    world.qa("vm start -f name=starts");
    world.says("starts", "storage-full", "there is no space left at");
    assert_eq!(world.state("runs"), "running");
    assert_eq!(world.inside("runs", "echo here"), "here");
    let overlays = shell(&format!("ls {storage}/overlayfs | wc -l"));
    assert_eq!(overlays, "1", "no overlay is half-made");
    shell(&format!("rm {storage}/filler*"));
    world.reaches("starts", "running");
    world.expect_log("WARN", "a step failed");
    world.end();
}

/// LXC, its way into a container, nftables or tar missing: the program is named, nothing half-made
/// stays, and all goes on by itself once it is installed. What runs is not touched.
#[test]
fn a_missing_program_is_named_and_waited_for() {
    let mut world = World::quick(Database::Sqlite);
    let at = world.folder().display().to_string();
    world.add_quick_vm("runs", "ada");
    world.qa("vm start -f name=runs --wait");
    let begun = world.init_of(&world.container("runs"));
    let missing = |path: &str| {
        shell(&format!(
            "rm -rf {at}/hide && mkdir -p {at}/hide/work {at}/hide/upper/$(dirname {path}) && \
             mknod {at}/hide/upper/{path} c 0 0 && \
             mount -t overlay overlay -o lowerdir=/usr,upperdir={at}/hide/upper,workdir={at}/hide/work /usr"
        ));
    };
    for (number, (path, program)) in [
        ("bin/tar", "tar"),
        ("sbin/nft", "nft"),
        ("bin/lxc-start", "lxc-start"),
        ("bin/lxc-attach", "lxc-attach"),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("desk{number}");
        world.add_quick_vm(&name, "ada");
        if program == "tar" {
            // Only unpacking needs it.
            again(&world);
            world.qa(&format!("vm edit -f name={name} di_tag=head"));
        }
        missing(path);
        world.qa(&format!("vm start -f name={name}"));
        world.says(&name, "tool-missing", &format!("`{program}` is not installed on host node1"));
        assert_eq!(world.state("runs"), "running");
        if program == "nft" {
            world.host_says("`nft` is not installed", true);
        }
        shell("umount -l /usr");
        world.reaches(&name, "running");
        world.qa(&format!("vm stop -f name={name} --wait"));
    }
    assert_eq!(world.init_of(&world.container("runs")), begun);
    world.expect_log("WARN", "a step failed");
    world.expect_log("ERROR", "`nft` is not installed");
    world.end();
}

/// A bridge name in use by others: it is not taken over; hkd works, says so, what is to start waits, and
/// goes on by itself when the name is free.
#[test]
fn a_bridge_of_others_is_left_alone() {
    let mut world = World::quick(Database::Sqlite);
    world.add_quick_vm("desk", "ada");
    world.stop_daemons();
    let bridge = format!("{}br", world.prefix());
    shell(&format!(
        "ip link del {bridge} && ip link add {bridge} type bridge && ip link add other type veth peer name far && \
         ip link set other master {bridge}"
    ));
    let before = shell(&format!("ip address show dev {bridge}"));
    world.run_daemons();
    world.qa("vm start -f name=desk");
    world.says("desk", "name-in-use", "other hangs on it");
    world.host_says("other hangs on it", true);
    assert_eq!(shell(&format!("ip address show dev {bridge}")), before, "it is not touched");
    assert_eq!(world.subvolumes().len(), 2, "its base and its overlay");
    shell(&format!("ip link del {bridge} && ip link del other"));
    world.reaches("desk", "running");
    world.host_says("other hangs on it", false);
    world.expect_log("ERROR", "there is no network");
    world.expect_log("WARN", "a step failed");
    world.end();
}

/// Addresses used up: no further VM is made, which says so and what helps; those there are start together;
/// an address that becomes free is given again, and a larger network has more of them.
#[test]
fn addresses_that_are_used_up_are_said() {
    let mut world = World::quick(Database::Sqlite);
    world.qa("config set vm.network.ip.start=10.99.0.253");
    for vm in ["one", "two"] {
        world.add_quick_vm(vm, "ada");
    }
    let add =
        |world: &World, vm: &str| world.try_qa(&format!("vm add name={vm} user=ada osf=quick"));
    let refused = add(&world, "three").expect_err("there is none");
    for part in ["every address for VMs from 10.99.0.253", "is taken: delete VMs, or enlarge"] {
        assert!(refused.contains(part), "{refused}");
    }
    assert_eq!(world.qa_json("vm list").as_array().map(Vec::len), Some(2));
    world.qa("vm start -f name=* --wait");
    world.qa("vm stop -f name=two --wait");
    world.qa("vm del -f name=two");
    add(&world, "three").expect("its address is free");
    world.qa("vm start -f name=three --wait");
    assert!(add(&world, "four").is_err());
    // What runs keeps its address; the host takes the larger network when it is started again.
    world.qa("config set vm.network.netmask=23");
    world.stop_daemons();
    world.run_daemons();
    add(&world, "four").expect("the network is larger");
    world.qa("vm start -f name=four --wait");
    assert_eq!(world.vm("four").get("ip").and_then(|ip| ip.as_str()), Some("10.99.1.254"));
    for vm in ["one", "three", "four"] {
        assert_eq!(world.inside(vm, "echo here"), "here");
    }
    world.end();
}

/// The storage of the images is not mounted: an empty folder is there in its place, or none. Who needs an
/// image that is not here yet says so, an image is not registered and nothing made in its place, what runs
/// goes on, and what waits goes on by itself when it is mounted.
#[test]
fn images_that_are_not_mounted_are_waited_for() {
    let mut world = World::quick(Database::Sqlite);
    let images = world.storage().join("images");
    let images = images.display();
    world.add_quick_vm("runs", "ada");
    world.qa("vm start -f name=runs --wait");
    for (vm, away, back) in [
        ("empty", format!("mount -t tmpfs empty {images}"), format!("umount {images}")),
        ("none", format!("mv {images} {images}.away"), format!("mv {images}.away {images}")),
    ] {
        again(&world);
        world.qa(&format!("vm add name={vm} user=ada osf=quick di_tag=head"));
        shell(&away);
        world.qa(&format!("vm start -f name={vm}"));
        world.says(vm, "images-away", "images holds none of the registered images");
        let at = world.folder().display();
        let refused = world.try_qa(&format!("di add path={at}/again.tar osf=quick"));
        let refused = refused.expect_err("it is not mounted");
        assert!(refused.contains("it is not mounted"), "{refused}");
        assert_eq!(shell(&format!("ls -A {images} 2>/dev/null; true")), "", "nothing is made");
        assert_eq!(world.inside("runs", "echo here"), "here");
        shell(&back);
        world.reaches(vm, "running");
    }
    world.expect_log("WARN", "a step failed");
    world.end();
}

/// A volume mounted without protection is reported; folders that others could enter are closed; a homefs
/// that is not mounted is not written to, says so, and is gone on from when it is mounted; one whose files
/// cannot be shown to a container says that.
#[test]
fn storage_is_protected_or_told_about_and_homes_are_made_where_homes_are() {
    let mut world = World::quick(Database::Sqlite);
    world.add_quick_vm("desk", "ada");
    world.qa("vm start -f name=desk --wait");
    world.qa("vm stop -f name=desk --wait");
    world.stop_daemons();
    let storage = world.storage().display().to_string();
    let owned = format!("{storage}/basefs {storage}/overlayfs {storage}/rootfs");
    shell(&format!("chmod 755 {owned} && mount -o remount,suid,dev,bind {storage}"));
    world.run_daemons();
    assert_eq!(shell(&format!("stat -c %a {owned} | sort -u")), "700");
    world.host_says("is mounted without nosuid,nodev", true);
    world.stop_daemons();
    shell(&format!("mount -o remount,nosuid,nodev,bind {storage}"));
    world.run_daemons();
    world.host_says("is mounted without", false);

    shell(&format!("mount -t tmpfs empty {storage}/homefs"));
    world.qa("vm start -f name=desk");
    world.says("desk", "storage-missing", "is not the storage it was");
    assert_eq!(shell(&format!("ls -A {storage}/homefs")), "", "nothing is made in it");
    shell(&format!("umount {storage}/homefs"));
    world.reaches("desk", "running");
    world.qa("vm stop -f name=desk --wait");
    shell(&format!(
        "mark=$(cat {storage}/homefs/.qvd-storage) && mount -t ramfs -o mode=700 plain {storage}/homefs && \
         printf %s $mark > {storage}/homefs/.qvd-storage"
    ));
    world.qa("vm start -f name=desk");
    world.says("desk", "home-unmappable", "cannot show its files under the ids of a container");
    shell(&format!("umount {storage}/homefs"));
    world.reaches("desk", "running");
    world.expect_log("ERROR", "is mounted without nosuid,nodev");
    world.expect_log("WARN", "a step failed");
    world.end();
}

/// Shared storage that is read-only, then full: a home that is not there yet is not made, an image is not
/// registered, and each says so; a home's VM goes on by itself when there is room, and nothing half-made
/// stays. So does one for which there is no room among the run directories, which are named then.
#[test]
fn storage_that_takes_nothing_more_is_said() {
    let mut world = World::quick(Database::Sqlite);
    let at = world.folder().display().to_string();
    let storage = world.storage().display().to_string();
    for vm in ["early", "late"] {
        world.add_quick_vm(vm, "ada");
    }
    shell(&format!("cp {storage}/images/2-quick.tar {at}/again.tar"));
    let read_only = |folder: &str| {
        let folder = format!("{storage}/{folder}");
        shell(&format!("mount --bind {folder} {folder} && mount -o remount,ro,bind {folder}"));
    };
    let refused = || {
        let refused = world.try_qa(&format!("di add path={at}/again.tar osf=quick"));
        assert_eq!(world.qa_json("di list").as_array().map(Vec::len), Some(2));
        refused.unwrap_err()
    };

    read_only("homefs");
    world.qa("vm start -f name=early");
    world.says("early", "storage-unusable", "homefs cannot be used");
    shell(&format!("umount {storage}/homefs"));
    world.reaches("early", "running");
    read_only("images");
    read_only("staging");
    let said = refused();
    assert!(said.contains("cannot be written") && said.contains("Read-only"), "{said}");
    shell(&format!("umount {storage}/images {storage}/staging"));

    // Room for a part of the image.
    shell(&format!(
        "mount -t tmpfs -o size=1m small {storage}/staging && \
         chown --reference={storage}/images {storage}/staging && test $(stat -c %s {at}/again.tar) -gt 1500000"
    ));
    let said = refused();
    let full = format!("there is no space left at {storage}/staging");
    assert!(said.contains(&full) && said.contains("delete unused images"), "{said}");
    assert_eq!(shell(&format!("ls -A {storage}/staging")), "", "nothing half-made");
    shell(&format!("umount {storage}/staging"));

    // Room for the folder and its mark, and for no home.
    shell(&format!(
        "mark=$(cat {storage}/homefs/.qvd-storage) && \
         mount -t tmpfs -o nr_inodes=2,mode=700 full {storage}/homefs && \
         printf %s $mark > {storage}/homefs/.qvd-storage"
    ));
    world.qa("vm start -f name=late");
    world.says("late", "storage-full", "there is no space left at");
    shell(&format!("umount {storage}/homefs"));
    world.reaches("late", "running");
    world.qa("vm stop -f name=* --wait");
    world.add_quick_vm("later", "ada");
    shell(&format!("mount -t tmpfs -o nr_inodes=1,mode=711 full {at}/run/vms"));
    world.qa("vm start -f name=later");
    world.says("later", "storage-full", &format!("there is no space left at {at}/run/vms"));
    shell(&format!("umount {at}/run/vms"));
    world.reaches("later", "running");
    world.expect_log("ERROR", "the storage cannot be written");
    world.expect_log("WARN", "a step failed");
    world.end();
}

/// Homes that hang hold up who needs one, which says why; what runs goes on, and all that waits goes on by
/// itself.
#[test]
fn homes_that_hang_hold_up_only_who_needs_one() {
    let mut world = World::quick(Database::Sqlite);
    for vm in ["runs", "waits"] {
        world.add_quick_vm(vm, "ada");
    }
    world.qa("vm start -f name=runs --wait");
    let monitors = world.monitors();
    let shared = Storage::over(&world.storage().join("homefs"));
    shared.becomes(Mood::Hung);
    world.qa("vm start -f name=waits");
    world.says("waits", "storage-silent", "homefs does not answer");
    world.host_says("homefs does not answer", true);
    assert_eq!((world.state("runs").as_str(), world.monitors()), ("running", monitors.clone()));
    assert_eq!(world.inside("runs", "echo here"), "here");
    shared.becomes(Mood::Well);
    // As it is mounted in tests it takes no homes; what is below does.
    world.says("waits", "storage-unusable", "homefs cannot be used");
    drop(shared);
    world.reaches("waits", "running");
    world.host_says("homefs does not answer", false);
    assert!(monitors.iter().all(|monitor| world.monitors().contains(monitor)));
    world.expect_log("ERROR", "homefs does not answer");
    world.expect_log("WARN", "a step failed");
    world.end();
}

/// How long shared storage hangs, for each VM that runs or waits: a minute with ten.
const HUNG_EACH: Duration = Duration::from_secs(6);

/// Shared storage hung under running and starting VMs (60 s under 10 and 10 in `soak hung`): running sessions
/// feel nothing, waiting ones say why and go on; what needs none of it starts as ever.
#[test]
fn storage_that_hangs_holds_up_only_what_needs_it() {
    let vms = soak::vms(1);
    let mut world = World::start(Database::Sqlite);
    world.add_user("ada");
    world.add_vm("local", "ada");
    for number in 0..vms {
        world.add_vm(&format!("runs{number}"), "ada");
    }
    world.qa("vm start -f name=runs* --wait");
    let runs = |number: usize| format!("runs{number}");
    // A heart that beats ten times a second, on what the desktop writes.
    for number in 0..vms {
        world.inside(
            &runs(number),
            "setsid sh -c 'while :; do date +%s%3N >> /beats; sleep 0.1; done' >/dev/null 2>&1 </dev/null &",
        );
    }
    let images = world.storage().join("images");
    let mut first = true;
    Rounds::of(1).run(|seed| {
        // An image that is not here yet, for who is to wait.
        if std::mem::take(&mut first) {
            world.add_quick_osf();
        } else {
            again(&world);
        }
        for number in 0..=vms {
            world.qa(&format!("vm add name=waits{seed}-{number} user=ada osf=quick di_tag=head"));
        }
        let unpacked = || world.log().matches("the image is unpacked").count();
        let before = unpacked();
        let shared = Storage::over(&images);
        shared.becomes(Mood::Hung);
        let begun = Instant::now();
        world.qa(&format!("vm start -f name=waits{seed}-*"));
        for number in 0..=vms {
            world.says(
                &format!("waits{seed}-{number}"),
                "storage-silent",
                "images does not answer",
            );
        }
        world.host_says("images does not answer", true);
        // What has its base here needs no shared storage.
        world.qa("vm start -f name=local --wait");
        let asked = Instant::now();
        let echoed = (0..vms).all(|number| world.inside(&runs(number), "echo here") == "here");
        let echo = asked.elapsed().as_secs_f64();
        assert!(echoed);
        let until_then = HUNG_EACH * u32::try_from(vms).expect("some VMs");
        until("the storage to have hung long enough", until_then * 2, || {
            if begun.elapsed() >= until_then { Ok(()) } else { Err(begun.elapsed()) }
        });
        shared.becomes(Mood::Well);
        let again = Instant::now();
        for number in 0..=vms {
            world.reaches(&format!("waits{seed}-{number}"), "running");
        }
        let gone_on = again.elapsed().as_secs_f64();
        assert!(shared.requests() > 0);
        world.host_says("images does not answer", false);
        assert_eq!(unpacked() - before, 1, "once for all");
        let gaps = (0..vms).map(|number| gap(&world, &runs(number)));
        let gap = gaps.max().expect("some run");
        assert!(gap < 2000, "a desktop's heart stood still for {gap} ms");
        world.qa(&format!("vm stop -f name=waits{seed}-* --wait"));
        world.qa("vm stop -f name=local --wait");
        Round {
            what: format!(
                "{} s under {vms} that run and {} that start",
                until_then.as_secs(),
                vms + 1
            ),
            figures: vec![
                ("longest gap between two beats (ms)", f64::from(gap)),
                ("all that run answer meanwhile (s)", echo),
                ("all that waited run (s)", gone_on),
            ],
        }
    });
    world.expect_log("ERROR", "images does not answer");
    world.expect_log("WARN", "a step failed");
    world.end();
}

/// The longest time between two beats of a desktop's heart, in milliseconds.
fn gap(world: &World, vm: &str) -> u32 {
    let gap = world.inside(
        vm,
        "awk 'NR > 1 && $1 - last > most { most = $1 - last } { last = $1 } END { print most }' /beats",
    );
    gap.parse().expect("milliseconds")
}

/// Shared storage that fails, and that is slow: who needs it says so, and goes on when it answers; the host
/// says how slow it was, until it is quick.
#[test]
fn storage_that_fails_or_is_slow_is_said() {
    let mut world = World::quick(Database::Sqlite);
    world.add_quick_vm("three", "ada");
    let shared = Storage::over(&world.storage().join("images"));
    shared.becomes(Mood::Broken(5));
    world.qa("vm start -f name=three");
    world.says("three", "storage-unusable", "images cannot be used");
    shared.becomes(Mood::Slow(Duration::from_millis(200)));
    world.reaches("three", "running");
    world.host_says("images is slow: the image 2-quick.tar came at", true);
    drop(shared);
    again(&world);
    world.qa("vm add name=four user=ada osf=quick di_tag=head");
    world.qa("vm start -f name=four --wait");
    world.host_says("images is slow", false);
    world.expect_log("ERROR", "images is slow");
    world.expect_log("WARN", "a step failed");
    world.end();
}
