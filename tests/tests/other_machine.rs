//! What not every kernel has: control groups of version 2 alone, `AppArmor`, NFS, disks that fail, lines
//! that lose what is sent. `cargo xtask soak vm` runs these on a machine that has all of it.

use std::{fs, path::Path, time::Duration};

use tests::{
    Database, World,
    attempt::Who,
    machine::has,
    program::{Running, command, shell, try_shell},
    until,
    wire_client::WireClient,
    world::{PORT, program},
};
use wire::head::{Event, Login};

fn has_unified_groups() -> bool {
    let there = ["/sys/fs/cgroup/cgroup.controllers", "/run/systemd/system"];
    has(
        there.iter().all(|path| Path::new(path).exists()),
        "systemd with control groups of version 2 alone",
    )
}

fn has_apparmor() -> bool {
    let enabled = fs::read_to_string("/sys/module/apparmor/parameters/enabled");
    has(enabled.is_ok_and(|said| said.trim() == "Y"), "AppArmor")
}

fn has_nfs() -> bool {
    has(try_shell("command -v rpc.nfsd && modprobe nfsd && modprobe nfsv4").is_ok(), "NFS")
}

fn has_targets() -> bool {
    let found = "command -v dmsetup && modprobe -a dm-flakey dm-delay && \
                 dmsetup targets | grep -q flakey && dmsetup targets | grep -q delay";
    has(try_shell(found).is_ok(), "dm-flakey and dm-delay")
}

fn has_netem() -> bool {
    has(try_shell("unshare -n tc qdisc add dev lo root netem delay 1ms").is_ok(), "netem")
}

/// A world whose VMs, of the OSF `small`, are up in no time on any machine.
fn small(vms: &[&str]) -> World {
    let world = World::start_bare(Database::Sqlite);
    world.add_user("ada");
    world.add_small_osf();
    for vm in vms {
        world.qa(&format!("vm add name={vm} user=ada osf=small"));
    }
    world
}

/// Starts a VM. What holds it up on its way, on a machine that is slow, is no failure.
#[track_caller]
fn up(world: &World, vm: &str) {
    world.qa(&format!("vm start -f name={vm}"));
    world.reaches(vm, "running");
}

/// With control groups of version 2 alone a VM's memory, swap, processes, processors, reads and writes
/// are limited as set, also after systemd has set its own groups anew. One that takes more memory is
/// ended, and the VM says so with its limit.
#[test]
fn limits_of_the_unified_hierarchy_are_set() {
    if !has_unified_groups() {
        return;
    }
    let world = small(&["desk"]);
    world.qa("config set vm.processes.max=128");
    world.qa("config set vm.cpu.weight=200");
    world.qa("config set vm.cpu.max=400");
    world.qa("config set vm.io.bandwidth.max=16");
    world.qa("osf edit -f name=small memory=128");
    up(&world, "desk");
    let group = format!("/sys/fs/cgroup/lxc.payload.{}", world.container("desk"));
    let limited = |when: &str| {
        for (file, wanted) in [
            ("memory.max", "134217728"),
            ("memory.swap.max", "0"),
            ("pids.max", "128"),
            ("cpu.weight", "200"),
            ("cpu.max", "400000 100000"),
            ("io.max", "rbps=16777216 wbps=16777216"),
        ] {
            let found = fs::read_to_string(format!("{group}/{file}"));
            assert!(
                found.as_ref().is_ok_and(|found| found.contains(wanted)),
                "{when}: {file} is {found:?}"
            );
        }
    };
    limited("at its start");
    shell(
        "systemctl daemon-reload && systemd-run --quiet --wait -p CPUWeight=50 -p IOWeight=50 true",
    );
    shell("systemctl daemon-reload");
    limited("after systemd has set its own");
    let took =
        world.try_inside("desk", "head -c 300000000 /dev/zero | tail -c 290000000 >/dev/null");
    assert!(took.is_err(), "{took:?}");
    until("it to be told", Duration::from_secs(20), || match world.qa("vm why -f name=desk") {
        why if why.contains("memory of 128 MiB was used up") => Ok(()),
        why => Err(why),
    });
    assert_eq!(world.state("desk"), "running");
    world.end();
}

/// What confines a process.
fn profile(world: &World, vm: &str) -> String {
    shell(&format!("cat /proc/{}/attr/current", world.init_of(&world.container(vm))))
}

/// Where the kernel has `AppArmor`, containers run under our profile, in force; all units of a system's own
/// init start under it, and a desktop does.
#[test]
fn containers_are_confined_by_apparmor() {
    if !has_apparmor() {
        return;
    }
    let world = World::start(Database::Sqlite);
    world.add_user("ada");
    world.add_vm("desk", "ada");
    up(&world, "desk");
    let found = profile(&world, "desk");
    assert!(found.starts_with("lxc-container-qvd") && found.ends_with("(enforce)"), "{found}");
    // What no filter of calls sees: the families of sockets that programs of 32 bits ask for.
    let rare = "call32(102, 1, struct.pack('III', 40, 1, 0))";
    world.refused("desk", Who::Root, &[(rare, "EACCES")]);
    until("a running system", Duration::from_secs(30), || {
        let running = world.try_inside("desk", "systemctl is-system-running");
        running.map_err(|why| (why, world.try_inside("desk", "systemctl --failed --no-legend")))
    });
    let _client = connects(&world, "desk");
    world.end();
}

/// Asks for a VM's desktop as a client does, and gets it.
fn connects(world: &World, vm: &str) -> WireClient {
    let login = Login { login: "ada".into(), password: world.password().into() };
    let mut client = WireClient::connect(PORT);
    let id = world.id(vm).to_string();
    let events = client.ask("/qvd/connect_to_vm", &[("id", &id)], &login, true);
    assert!(matches!(events.last(), Some(Event::Switched { .. })), "{events:?}");
    client
}

/// A server of NFS in this world, and what it serves.
struct Server {
    folder: String,
    _mountd: Running,
}

impl Server {
    /// Serves a folder, to be mounted from 127.0.0.1.
    fn of(world: &World, options: &str) -> Self {
        let folder = format!("{}/export", world.folder().display());
        shell(&format!(
            "mkdir {folder} && mount -t tmpfs tmpfs /var/lib/nfs && mkdir -p /var/lib/nfs/v4recovery && \
             touch /var/lib/nfs/etab /var/lib/nfs/rmtab && \
             mount -t nfsd nfsd /proc/fs/nfsd && \
             exportfs -o rw,no_subtree_check,fsid=0,{options} '*:{folder}'"
        ));
        let mountd = command("rpc.mountd").args(["--foreground", "-N", "3"]).spawn();
        let mountd = Running(mountd.expect("rpc.mountd starts"));
        shell("rpc.nfsd --no-udp --no-nfs-version 3 --grace-time 10 --lease-time 10 2");
        Self { folder, _mountd: mountd }
    }

    /// Mounts what it serves over a folder, and waits until files can be made and opened.
    fn mount(&self, to: &Path) {
        let to = to.display();
        until("the server", Duration::from_secs(30), || {
            try_shell(&format!("mount -t nfs4 -o nosuid,nodev 127.0.0.1:/ {to}"))
        });
        let file = format!("{}/there", self.folder);
        fs::write(&file, "").expect("a file");
        shell(&format!("cat {to}/there"));
        fs::remove_file(&file).expect("it is there");
    }

    /// From now on nothing reaches it.
    fn hangs() {
        shell(
            "nft 'add table inet hangs; add chain inet hangs in { type filter hook input priority 0; }; \
             add rule inet hangs in tcp dport 2049 drop'",
        );
    }

    /// All reaches it again.
    fn answers() {
        shell("nft delete table inet hangs");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ =
            try_shell("nft delete table inet hangs 2>/dev/null; umount -f -t nfs4 -a; rpc.nfsd 0");
    }
}

/// Homes on NFS: where the server takes root for nobody, no home can be made, and where it does not, no
/// home can be shown under the ids of a container. Either is said in the VM's reason, nothing half-made
/// stays, VMs without homes are not held up, and the VM starts by itself when its homes are elsewhere.
#[test]
fn homes_on_nfs_are_refused_with_a_reason() {
    if !has_nfs() {
        return;
    }
    for (options, code, part) in
        [("root_squash", "step-failed", "ermission"), ("no_root_squash", "home-unmappable", "ids")]
    {
        let mut world = small(&["desk", "bare"]);
        let homes = world.storage().join("homefs");
        let server = Server::of(&world, options);
        shell(&format!(
            "cp -a {}/.qvd-storage {1} && chmod 755 {1}",
            homes.display(),
            server.folder
        ));
        shell(&format!("chmod 644 {}/.qvd-storage", server.folder));
        server.mount(&homes);
        world.qa("vm start -f name=desk");
        world.says("desk", code, "mounting the home failed");
        world.says("desk", code, part);
        assert_eq!(world.monitors(), [0; 0], "nothing runs without its home");
        let mounts = shell("cut -d' ' -f5 /proc/self/mountinfo");
        assert!(
            !mounts.lines().any(|to| to.contains("/run/vms/") && to.ends_with("/home")),
            "{mounts}"
        );
        shell(&format!("umount {}", homes.display()));
        world.reaches("desk", "running");
        drop(server);
        world.expect_log("WARN", "a step failed");
        world.end();
    }
}

/// A server of NFS that hangs under running and starting VMs: a running desktop feels nothing, what needs
/// the image says why it waits, what has its base here starts, and what waits goes on by itself when the
/// server answers.
#[test]
fn a_server_that_hangs_holds_up_only_what_needs_it() {
    if !has_nfs() {
        return;
    }
    let mut world = small(&["runs", "local"]);
    up(&world, "runs");
    let images = world.storage().join("images");
    let server = Server::of(&world, "no_root_squash");
    let at = images.display();
    // Another image, whose base is not here yet.
    let again = world.folder().join("again.tar");
    shell(&format!("cp {at}/*-small.tar {}", again.display()));
    world.qa(&format!("di add path={} osf=small", again.display()));
    world.qa("vm add name=waits user=ada osf=small di_tag=head");
    shell(&format!("cp -a {at}/. {}/", server.folder));
    server.mount(&images);
    world.inside(
        "runs",
        "setsid sh -c 'while :; do cut -d. -f1 /proc/uptime >>/beats; sleep 1; done' >/dev/null 2>&1 </dev/null &",
    );
    Server::hangs();
    world.qa("vm start -f name=waits");
    world.says("waits", "storage-silent", "images does not answer");
    world.host_says("images does not answer", true);
    up(&world, "local");
    assert_eq!(world.inside("runs", "echo here"), "here");
    Server::answers();
    world.reaches("waits", "running");
    world.host_says("images does not answer", false);
    let beats = world.inside("runs", "cat /beats");
    let beats: Vec<u64> = beats.lines().filter_map(|beat| beat.parse().ok()).collect();
    let gap = beats.windows(2).map(|pair| pair[1] - pair[0]).max();
    assert!(gap.is_some_and(|gap| gap < 5), "the desktop's heart stood still: {beats:?}");
    until("nobody to read it", Duration::from_secs(10), || try_shell(&format!("umount {at}")));
    drop(server);
    world.expect_log("ERROR", "images does not answer");
    world.expect_log("WARN", "a step failed");
    world.end();
}

/// How a disk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Health {
    Good,
    /// Each write takes a second longer.
    Slow,
    /// No write is done.
    Failing,
}

/// A world's volume on a disk that can be made slow, or to fail.
struct Disk {
    name: String,
    below: String,
    sectors: String,
}

impl Disk {
    /// Puts the volume of a world on it, whose daemons do not run.
    fn below(world: &World) -> Self {
        let (storage, at) = (world.storage(), world.folder().display());
        let name = format!("{}-volume", world.prefix());
        shell(&format!("umount {}", storage.display()));
        let below = until("the loop device", Duration::from_secs(10), || {
            try_shell(&format!("losetup --find --show {at}/volume"))
        });
        let sectors = shell(&format!("blockdev --getsz {below}"));
        let disk = Self { name, below, sectors };
        shell(&format!("dmsetup create {} --table '{}'", disk.name, disk.table(Health::Good)));
        disk.mount(&storage);
        disk
    }

    fn mount(&self, to: &Path) {
        let (name, to) = (&self.name, to.display());
        shell(&format!("dmsetup mknodes {name} && mount -o nosuid,nodev /dev/mapper/{name} {to}"));
    }

    fn table(&self, health: Health) -> String {
        let Self { below, sectors, .. } = self;
        match health {
            Health::Good => format!("0 {sectors} linear {below} 0"),
            Health::Slow => format!("0 {sectors} delay {below} 0 0 {below} 0 1000"),
            Health::Failing => format!("0 {sectors} flakey {below} 0 0 3600 1 error_writes"),
        }
    }

    /// From now on it is like this.
    fn becomes(&self, health: Health) {
        let (name, table) = (&self.name, self.table(health));
        shell(&format!(
            "dmsetup suspend --nolockfs {name} && dmsetup load {name} --table '{table}' && dmsetup resume {name}"
        ));
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let Self { name, below, .. } = self;
        let _ = try_shell(&format!("dmsetup remove --retry --force {name}; losetup -d {below}"));
    }
}

/// The volume's disk fails to write: what is to start says so in its VM's reason, what runs is not ended,
/// and after the disk works again and the volume was mounted anew all is as wanted.
#[test]
fn a_disk_that_fails_to_write_is_said_and_recovered_from() {
    if !has_targets() {
        return;
    }
    let mut world = small(&["runs", "starts"]);
    world.stop_daemons();
    let disk = Disk::below(&world);
    world.run_daemons();
    up(&world, "runs");
    let monitors = world.monitors();
    disk.becomes(Health::Failing);
    world.qa("vm start -f name=starts");
    world.says("starts", "storage-unusable", "cannot be used");
    // It goes on, and its agent with it. What it has yet to read from such a volume is the kernel's matter.
    assert_eq!((world.state("runs").as_str(), world.monitors()), ("running", monitors));

    // The kernel writes no more to a volume that has failed, until it is mounted anew.
    disk.becomes(Health::Good);
    world.qa("vm stop -f name=runs --force");
    until("its container to end", Duration::from_secs(30), || match world.monitors() {
        none if none.is_empty() => Ok(()),
        some => Err(some),
    });
    world.stop_daemons();
    let storage = world.storage();
    until("the volume to be left", Duration::from_secs(30), || {
        try_shell(&format!(
            "grep -o ' {}/[^ ]*' /proc/self/mountinfo | sort -r | xargs -r -n1 umount",
            world.folder().display()
        ))
    });
    disk.mount(&storage);
    world.run_daemons();
    world.reaches("starts", "running");
    world.reaches("runs", "stopped");
    up(&world, "runs");
    world.expect_log("WARN", "cannot be used");
    world.end();
    drop(disk);
}

/// A volume whose disk is slow is told of by doctor, with what helps, and desktops start and stop on it.
#[test]
fn a_slow_disk_is_said() {
    if !has_targets() {
        return;
    }
    let mut world = small(&["desk"]);
    world.stop_daemons();
    let disk = Disk::below(&world);
    world.run_daemons();
    disk.becomes(Health::Slow);
    let doctor = command(program("qvd"))
        .arg("doctor")
        .env("QVD_CONFIG", world.folder().join("node.conf"))
        .output()
        .expect("doctor starts");
    let said = String::from_utf8_lossy(&doctor.stdout);
    let mut lines = said.lines().skip_while(|line| !line.starts_with("WRONG  the volume's speed"));
    assert!(lines.next().is_some_and(|line| line.ends_with(" ms for 8 MiB")), "{said}");
    let remedy = lines.next();
    assert!(remedy.is_some_and(|line| line.contains("on a quicker disk")), "{said}");
    up(&world, "desk");
    world.qa("vm stop -f name=desk --wait");
    disk.becomes(Health::Good);
    world.end();
    drop(disk);
}

/// A line between clients and their router that delays all and loses some of what is sent: requests are
/// answered, a desktop is reached, and one whose client was cut off is reached again.
#[test]
fn a_bad_line_delays_and_loses_nothing_of_a_desktop() {
    if !has_netem() {
        return;
    }
    let world = World::start(Database::Sqlite);
    world.qa("osf edit -f name=test init=own");
    world.add_user("ada");
    world.add_vm("desk", "ada");
    up(&world, "desk");
    shell("tc qdisc add dev lo root netem delay 60ms 20ms loss 5%");
    let first = connects(&world, "desk");
    let agent = world.inside("desk", "pgrep -o nxagent");
    shell("tc qdisc change dev lo root netem loss 100%");
    drop(first);
    shell("tc qdisc change dev lo root netem delay 60ms 20ms loss 5%");
    let second = connects(&world, "desk");
    assert_eq!(world.inside("desk", "pgrep -o nxagent"), agent, "the session is the same");
    shell("tc qdisc del dev lo root");
    drop(second);
    world.end();
}
