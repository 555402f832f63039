//! From inside a desktop, as its user and as its root: what is tried, and fails.

mod calls;
mod exhaustion;
mod sockets;
mod volume;

use std::{
    net::{TcpListener, TcpStream},
    path::Path,
    time::Duration,
};

use rand::Rng as _;
use tests::{
    Database, World,
    attempt::Who,
    program::{Running, command, shell, try_shell},
    until,
};

/// An installation with two desktops, `desk` of ada and `den` of bob, which run.
fn two_desktops() -> World {
    let world = World::start(Database::Sqlite);
    add_two_vms(&world);
    world.qa("vm start -f name=de* --wait");
    world
}

/// Adds `desk` of ada and `den` of bob.
fn add_two_vms(world: &World) {
    for (user, vm) in [("ada", "desk"), ("bob", "den")] {
        world.add_user(user);
        world.add_vm(vm, user);
    }
}

/// From inside a desktop nobody writes outside root and home: not `/proc/sys`, not sysrq, not the host's
/// control groups; nobody loads a module, mounts the base, opens a device, turns the btrfs read-only,
/// or reads another VM's overlay through the shared volume.
#[test]
fn nothing_outside_root_and_home_is_written() {
    let world = two_desktops();
    let no = "EACCES EPERM EROFS";
    // With version 2 a container's own group has limits that are the host's, and below it what it likes.
    let groups: &[(&str, &str)] = if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        &[
            ("write('/sys/fs/cgroup/memory.max', 'max')", "EACCES EPERM EROFS ENOENT"),
            ("write('/sys/fs/cgroup/pids.max', 'max')", "EACCES EPERM EROFS ENOENT"),
            ("write('/sys/fs/cgroup/../memory.max', 'max')", "EACCES EPERM EROFS ENOENT"),
        ]
    } else {
        &[
            ("write('/sys/fs/cgroup/memory/memory.limit_in_bytes', '-1')", no),
            ("write('/sys/fs/cgroup/pids/pids.max', 'max')", no),
            ("write('/sys/fs/cgroup/memory/release_agent', '/tmp/x')", no),
        ]
    };
    for who in Who::AND_NESTED {
        world.refused(
            "desk",
            who,
            &[
                ("write('/proc/sys/kernel/core_pattern', '|/tmp/x')", no),
                ("write('/proc/sys/vm/drop_caches', '3')", no),
                ("write('/proc/sys/user/max_inotify_instances', '1000000')", no),
                ("write('/proc/sysrq-trigger', 'h')", "EACCES EPERM EROFS ENOENT"),
                ("write('/sys/kernel/uevent_helper', '/tmp/x')", "EACCES EPERM EROFS ENOENT"),
                ("call(175, b'x', 1, '')", "EPERM"),
                ("call(313, 0, '', 0)", "EPERM"),
                ("call(246, 0, 0, 0, None, 0)", "EPERM"),
                ("call(298, bytes(120), 0, -1, -1, 0)", "EPERM"),
                ("call(321, 5, bytes(120), 120)", "EPERM"),
                ("call(304, 3, bytes(64), 0)", "EPERM"),
                ("call(323, 0)", "EPERM"),
                ("call(250, 11, 0, 0, 0, 0)", "ENOSYS"),
                ("call(425, 8, bytes(120))", "ENOSYS"),
                ("socket.socket(40, socket.SOCK_STREAM)", "EAFNOSUPPORT"),
                ("socket.socket(38, socket.SOCK_SEQPACKET)", "EAFNOSUPPORT"),
                ("mount('/dev/loop0', '/mnt', 'btrfs', 0)", "EPERM ENOENT EACCES"),
                ("mount('none', '/', None, 32 | 1)", "EPERM EACCES"),
                ("mount('none', '/home', None, 32 | 1)", "EPERM EACCES"),
                ("ioctl('/', 0x5000940e)", "EPERM"),
                ("ioctl('/', 0x50009417)", "EPERM"),
                ("ioctl('/', 0x50009418)", "EPERM"),
                ("ioctl('/', 0xd0009411)", "EPERM"),
                ("ioctl('/', 0xc0389424)", "EPERM"),
                ("os.listdir('/proc/1/root/../../..' + '/var/lib/qvd')", "ENOENT EACCES"),
                ("open('/proc/kmsg')", "EPERM EACCES"),
                ("call(103, 3, bytes(100), 100)", "EPERM ENOSYS"),
            ],
        );
        calls::of_32_bits_are_refused(&world, "desk", who);
        world.refused("desk", who, groups);
        let devices = [
            ("mem", "c", 1, 1),
            ("kmsg", "c", 1, 11),
            ("loop", "b", 7, 0),
            ("loop-control", "c", 10, 237),
            ("kvm", "c", 10, 232),
            ("fuse", "c", 10, 229),
            ("tun", "c", 10, 200),
        ];
        let lines: Vec<String> = devices
            .iter()
            .map(|(name, kind, major, minor)| {
                let mode = if *kind == "c" { "0o020666" } else { "0o060666" };
                format!("mknod('/tmp/{name}', {mode}, {major}, {minor})")
            })
            .collect();
        let attempts: Vec<(&str, &str)> =
            lines.iter().map(|line| (line.as_str(), "EPERM EACCES")).collect();
        world.refused("desk", who, &attempts);
    }
    // Nor does a node help that is there already, made by whoever made the image.
    shell(&format!("mknod -m 666 {}/var/mem c 1 1", world.overlay("desk").display()));
    world.refused("desk", Who::Root, &[("os.open('/var/mem', os.O_RDONLY)", "EACCES EPERM")]);
    // A fresh /proc of its own is no way round.
    let fresh = "os.makedirs('/tmp/proc', exist_ok=True)\nmount('p', '/tmp/proc', 'proc', 0)\n";
    for file in ["kernel/core_pattern", "user/max_inotify_instances", "vm/drop_caches"] {
        let line = format!("{fresh}write('/tmp/proc/sys/{file}', '5')");
        world.refused("desk", Who::Root, &[(&line, no)]);
    }
    assert!(world.volume_is_writable());
    // The other's file is not found by any name, and by no handle.
    world.inside("den", "echo secret > /var/secret");
    world.refused("desk", Who::Root, &[("open('/var/secret')", "ENOENT")]);
    world.end();
}

/// What tells of the host in `/proc` and `/sys` is empty or shut, and nobody in a desktop gets rid of what
/// covers it, not even in name spaces of his own.
#[test]
fn what_tells_of_the_host_is_covered() {
    let world = two_desktops();
    for who in Who::AND_NESTED {
        // What tells of the host is empty, or not to be opened.
        let told = world.attempt(
            "desk",
            who,
            "def first(path, look):\n    \
                 try:\n        \
                     found = look(path)\n    \
                 except OSError:\n        \
                     return\n    \
                 if found: print(path)\n\
             for name in 'interrupts kallsyms kcore keys sched_debug timer_list'.split():\n    \
                 first('/proc/' + name, lambda path: open(path, 'rb').read(1))\n\
             for name in 'proc/acpi proc/asound proc/scsi sys/devices/virtual/powercap sys/firmware \
             sys/fs/bpf sys/fs/btrfs sys/kernel/debug \
             sys/kernel/slab sys/kernel/tracing'.split():\n    \
                 first('/' + name, os.listdir)",
        );
        assert_eq!(told, "done", "{who:?} is told of the host");
    }
    // Nobody gets rid of what covers these, and what is new is as little.
    world.refused(
        "desk",
        Who::Nested,
        &[
            ("call(166, '/proc/interrupts', 2)", "EINVAL EPERM"),
            ("call(166, '/proc/sys', 2)", "EINVAL EPERM"),
            ("call(166, '/sys/firmware', 2)", "EINVAL EPERM"),
            ("mount('p', '/tmp', 'proc', 0)", "EPERM"),
            ("mount('s', '/tmp', 'sysfs', 0)", "EPERM"),
            ("mount('none', '/proc/sys', None, 32 | 4096)", "EPERM"),
        ],
    );
    world.end();
}

/// From inside a desktop nobody sees or signals processes of others or of the host, or connects to the
/// agent's socket of another VM, or to any other of the host.
#[test]
fn processes_of_others_are_out_of_reach() {
    let world = two_desktops();
    let seconds = rand::rng().random_range(100_000..1_000_000);
    let here = Running(command("sleep").arg(seconds.to_string()).spawn().expect("a process"));
    world.inside("den", &format!("setsid sleep {seconds} >/dev/null 2>&1 </dev/null &"));
    let pid = here.0.id();
    for who in Who::AND_NESTED {
        let all = world.attempt(
            "desk",
            who,
            "for pid in os.listdir('/proc'):\n    \
                 if pid.isdigit(): print(open(f'/proc/{pid}/cmdline').read())",
        );
        assert!(all.contains("/sbin/init"), "its own are there: {all}");
        assert!(!all.contains(&seconds.to_string()), "{who:?} sees {all}");
        // The number may be that of a process of its own: it is a small system.
        let found = world.attempt("desk", who, &format!("os.kill({pid}, 9)"));
        assert!(["ESRCH", "done", "EPERM"].contains(&found.as_str()), "{found}");
        let sockets = world.attempt("desk", who, "print(open('/proc/net/unix').read())");
        for other in ["admin.sock", "agent.sock", "attach.sock", "/command"] {
            assert!(!sockets.contains(other), "{who:?} sees {sockets}");
        }
    }
    sockets::of_the_host_are_not_connected(&world, "desk");
    world.attempt("desk", Who::Root, "os.kill(-1, 19)\ntime.sleep(0.2)\nos.kill(-1, 18)");
    let mut here = here;
    assert!(here.runs(), "a process of the host");
    world.inside("den", &format!("pgrep -f '[s]leep {seconds}'"));
    let state = shell(&format!("cut -d' ' -f3 /proc/{pid}/stat"));
    assert_eq!(state, "S", "it was not stopped");
    world.end();
}

/// Where the OSF says so, nobody inside makes user name spaces; the desktop runs all the same.
#[test]
fn user_name_spaces_are_a_setting() {
    let world = World::start(Database::Sqlite);
    world.add_user("ada");
    world.add_vm("desk", "ada");
    world.qa("vm start -f name=desk --wait");
    let new = "unshare(0x10000000)";
    assert_eq!(world.attempt("desk", Who::Ada, new), "done");
    world.qa("osf edit -f name=test nesting=0");
    world.qa("vm stop -f name=desk --wait");
    world.qa("vm start -f name=desk --wait");
    for who in Who::ALL {
        world.refused("desk", who, &[(new, "EPERM"), ("call(435, bytes(88), 88)", "ENOSYS")]);
        world.refused("desk", who, &calls::NAME_SPACES_OF_32_BITS);
    }
    until("a running system", Duration::from_secs(30), || {
        world.try_inside("desk", "systemctl is-system-running")
    });
    world.end();
}

/// A place outside: a network behind a link of the host, with an address like those at which clouds
/// tell their machines secrets.
fn outside() -> Running {
    let place = Running(
        command("unshare")
            .args(["-n", "--pid", "--fork", "--kill-child", "perl", "-e", OUTSIDE_SERVERS])
            .spawn()
            .expect("a place outside"),
    );
    let pid = place.0.id();
    until("a network outside", Duration::from_secs(10), || {
        try_shell(&format!("test $(readlink /proc/{pid}/ns/net) != $(readlink /proc/self/ns/net)"))
    });
    shell(&format!(
        "ip link add up0 type veth peer name down0 netns {pid} && \
         ip address add 192.0.2.1/24 dev up0 && ip link set up0 up && \
         nsenter -t {pid} -n sh -c 'ip address add 192.0.2.2/24 dev down0 && \
             ip address add 169.254.169.254/32 dev down0 && ip link set down0 up' && \
         ip route add 169.254.0.0/16 via 192.0.2.2"
    ));
    place
}

/// Accepts and closes connections at the ports 53 and 80, for ever.
const OUTSIDE_SERVERS: &str = r"
use Socket;
for my $port (53, 80) {
    next if fork;
    socket(my $server, PF_INET, SOCK_STREAM, 0) or die;
    setsockopt($server, SOL_SOCKET, SO_REUSEADDR, 1);
    bind($server, sockaddr_in($port, INADDR_ANY)) or die;
    listen($server, 5) or die;
    while (accept(my $client, $server)) { close $client }
}
sleep 600;
";

/// From inside a desktop nobody reaches another VM, the host's services, or addresses at which clouds
/// tell their machines secrets, though the rest of the world is there.
#[test]
fn only_the_world_outside_is_reached() {
    let world = two_desktops();
    let place = outside();
    let listener = TcpListener::bind("0.0.0.0:0").expect("a service of the host");
    let port = listener.local_addr().expect("an address").port();
    TcpStream::connect(("127.0.0.1", port)).expect("it is there");
    world.inside("den", "setsid python3 -m http.server 8000 >/dev/null 2>&1 </dev/null &");
    until("a service in the other VM", Duration::from_secs(20), || {
        match world.attempt("den", Who::Root, "connect('127.0.0.1', 8000)").as_str() {
            "done" => Ok(()),
            found => Err(found.to_owned()),
        }
    });
    let other = world.vm("den")["ip"].as_str().expect("an address").to_owned();
    let no = "ETIMEDOUT EHOSTUNREACH ENETUNREACH";
    for who in Who::ALL {
        assert_eq!(world.attempt("desk", who, "connect('192.0.2.2', 80)"), "done");
        assert_eq!(world.attempt("desk", who, "connect('169.254.169.254', 53)"), "done", "names");
        world.refused(
            "desk",
            who,
            &[
                (&format!("connect('{other}', 8000)"), no),
                (&format!("connect('{other}', 22)"), no),
                (&format!("connect('10.99.0.1', {port})"), no),
                (&format!("connect('192.0.2.1', {port})"), no),
                ("connect('10.99.0.1', 8443)", no),
                ("connect('169.254.169.254', 80)", no),
            ],
        );
    }
    // Nobody comes in, not even from the host.
    assert!(
        TcpStream::connect_timeout(
            &format!("{other}:8000").parse().expect("an address"),
            Duration::from_secs(1)
        )
        .is_err()
    );
    drop(place);
    let _ = try_shell("ip link del up0");
    world.end();
}

/// From inside a desktop nobody's packets pass with another MAC or IP address, nor ARP that claims
/// another's, nor router advertisements, nor anything of IPv6.
#[test]
fn nobody_speaks_for_another() {
    let world = two_desktops();
    // What passes the first look is counted.
    let link = world.container("desk");
    let table = format!("{link}-seen");
    shell(&format!(
        "nft -f - <<'END'
add table bridge {table}
add chain bridge {table} seen {{ type filter hook prerouting priority -100; }}
add rule bridge {table} seen iifname {link} ether saddr 02:00:00:00:00:66 counter comment \"mac\"
add rule bridge {table} seen iifname {link} ip saddr 203.0.113.9 counter comment \"address\"
add rule bridge {table} seen iifname {link} ip saddr 10.99.0.1 counter comment \"gateway\"
add rule bridge {table} seen iifname {link} arp saddr ip 10.99.0.1 counter comment \"arp\"
add rule bridge {table} seen iifname {link} arp saddr ether 02:00:00:00:00:66 counter comment \"body\"
add rule bridge {table} seen iifname {link} ether type ip6 counter comment \"ip6\"
add rule bridge {table} seen iifname {link} ether type 8021q counter comment \"vlan\"
add rule bridge {table} seen iifname {link} udp dport 4000 counter comment \"own\"
add rule bridge {table} seen iifname {link} arp saddr ip != 10.99.0.1 counter comment \"ownarp\"
END"
    ));
    let own = world.vm("desk")["ip"].as_str().expect("an address").to_owned();
    let prelude = format!(
        "mac = bytes.fromhex(open('/sys/class/net/eth0/address').read().strip().replace(':', ''))\n\
         other = bytes.fromhex('020000000066')\n\
         all = b'\\xff' * 6\n\
         own = socket.inet_aton('{own}')\n\
         gateway = socket.inet_aton('10.99.0.1')\n\
         def total(data): return (0xffff - sum(struct.unpack('!10H', data)) % 0xffff)\n\
         def ip(source):\n    \
             udp = struct.pack('!4H', 4000, 4000, 12, 0) + b'test'\n    \
             head = struct.pack('!BBHHHBBH4s4s', 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0, source, gateway)\n    \
             head = head[:10] + struct.pack('!H', total(head)) + head[12:]\n    \
             return head + udp\n\
         def arp(ether, address):\n    \
             return struct.pack('!HHBBH6s4s6s4s', 1, 0x800, 6, 4, 2, ether, address, all, gateway)\n\
         nd = struct.pack('!IHBB', 0x60000000, 16, 58, 255) + bytes.fromhex('fe80' + '00' * 13 + '66')\n\
         nd += bytes.fromhex('ff02' + '00' * 13 + '01') + bytes([134, 0, 0, 0, 64, 0, 7, 8]) + bytes(8)\n"
    );
    let frames = [
        "send(all + other + b'\\x08\\x00' + ip(own))",
        "send(all + mac + b'\\x08\\x00' + ip(socket.inet_aton('203.0.113.9')))",
        "send(all + mac + b'\\x08\\x00' + ip(gateway))",
        "send(all + mac + b'\\x08\\x06' + arp(mac, gateway))",
        "send(all + mac + b'\\x08\\x06' + arp(other, own))",
        "send(all + mac + b'\\x86\\xdd' + nd)",
        "send(all + mac + b'\\x81\\x00\\x00\\x05\\x08\\x00' + ip(own))",
        // Its own pass: it is counted rightly.
        "send(all + mac + b'\\x08\\x00' + ip(own))",
        "send(all + mac + b'\\x08\\x06' + arp(mac, own))",
    ];
    let counted = |name: &str| {
        let said = shell(&format!("nft list table bridge {table}"));
        let comment = format!("comment \"{name}\"");
        let rule = said.lines().find(|rule| rule.ends_with(&comment));
        let packets = rule.and_then(|rule| rule.split("packets ").nth(1)).expect("a counter");
        packets.split(' ').next().and_then(|count| count.parse::<u64>().ok()).expect("a count")
    };
    assert_eq!(
        world.attempt("desk", Who::Root, &format!("{prelude}{}", frames.join("\n"))),
        "done"
    );
    until("its own frames to pass", Duration::from_secs(5), || {
        match (counted("own"), counted("ownarp")) {
            (1.., 1..) => Ok(()),
            none => Err(none),
        }
    });
    for kind in ["mac", "address", "gateway", "arp", "body", "ip6", "vlan"] {
        assert_eq!(counted(kind), 0, "{kind}");
    }
    // Its user cannot make such frames at all.
    world.refused("desk", Who::Ada, &[("send(b'x' * 60)", "EPERM")]);
    shell(&format!("nft delete table bridge {table}"));
    world.end();
}

/// A local account without rights cannot execute a setuid file of any image, base, overlay or home on
/// the host.
#[test]
fn a_setuid_file_of_a_desktop_is_nothing_on_the_host() {
    let world = two_desktops();
    world.inside("desk", "cp /bin/sh /usr/local/bin/mine && chmod 4755 /usr/local/bin/mine");
    world
        .try_in_session("desk", "ada", "chmod 755 . && cp /bin/sh mine && chmod 4755 mine")
        .expect("a setuid file in the home");
    let storage = world.storage();
    let all = shell(&format!(
        "find {} -name rootfs -prune -o -perm -4000 -type f \\( -name mine -o -name su \\) -print",
        storage.display()
    ));
    for place in ["basefs/", "overlayfs/", "homefs/"] {
        assert!(all.contains(&format!("/{place}")), "{place} in {all}");
    }
    // In the roots of containers the bit counts: only who they are for gets there.
    let roots = shell(&format!(
        "find {}/rootfs {}/run/vms/*/root -perm -4000 -type f \\( -name mine -o -name su \\)",
        storage.display(),
        world.folder().display()
    ));
    for place in ["/rootfs/", "/run/vms/"] {
        assert!(roots.contains(place), "{place} in {roots}");
    }
    // Whoever knows the paths does not get there; nor would the bit count elsewhere.
    for file in all.lines().chain(roots.lines()) {
        // The shell is between them because `setpriv` itself keeps its rights until it is gone.
        let nobody = "setpriv --reuid 65534 --regid 65534 --clear-groups";
        let run = format!("{nobody} sh -c 'exec {file} -c id'");
        let said = try_shell(&run);
        assert!(said.is_err(), "{file}: {said:?}");
    }
    for file in all.lines() {
        let mount = shell(&format!("findmnt -no OPTIONS -T {file}"));
        assert!(mount.split(',').any(|option| option == "nosuid"), "{file}: {mount}");
    }
    world.end();
}

/// A VM may start in another slot with its files intact, and two running VMs share no id.
#[test]
fn files_are_intact_in_another_slot() {
    let world = World::start(Database::Sqlite);
    world.qa("config set vm.overlay.persistent=1");
    for (user, vm) in [("ada", "desk"), ("bob", "den")] {
        world.add_user(user);
        world.add_vm(vm, user);
    }
    let slot = |vm: &str| world.inside(vm, "cut -c1-40 /proc/self/uid_map");
    let files = |vm: &str| {
        world.inside(
            vm,
            "stat -c '%n %U %G %u %a' /etc/mine /home/ada /home/ada/mine; cat /etc/mine",
        )
    };
    world.qa("vm start -f name=desk --wait");
    let first = slot("desk");
    world
        .inside("desk", "echo kept >/etc/mine && chown ada:mail /etc/mine && chmod 4711 /etc/mine");
    world.try_in_session("desk", "ada", "echo hers >mine").expect("a file in the home");
    let before = files("desk");
    world.qa("vm stop -f name=desk --wait");
    world.qa("vm start -f name=den --wait");
    assert_eq!(slot("den"), first, "the lowest free slot");
    world.qa("vm start -f name=desk --wait");
    assert_ne!(slot("desk"), first);
    assert_eq!(files("desk"), before);
    assert_eq!(world.try_in_session("desk", "ada", "cat mine").as_deref(), Ok("hers"));
    // What was made to last goes with its VM.
    world.qa("vm stop --wait --force");
    world.qa("vm del --force");
    world.end();
}
