//! The units of systemd, on real ones: that of a desktop, and that of a machine made for it.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use tests::{
    Database, World,
    machine::has,
    program::{shell, try_shell},
    quick::small_tree,
    until,
    world::{program, target},
};

/// What an installation is made of, and where it goes.
fn programs() -> [(PathBuf, &'static str); 3] {
    let agent = target().join("x86_64-unknown-linux-musl/agent/qvd-vma");
    [(program("qvd"), "usr/bin/qvd"), (program("qa"), "usr/bin/qa"), (agent, "usr/lib/qvd/qvd-vma")]
}

/// Makes the account of router and api.
const ADD_ACCOUNT: &str = "useradd --system --user-group --home-dir /var/lib/qvd --no-create-home \
     --shell /usr/sbin/nologin qvd";

fn units() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("the tests are in the tree").join("packaging/systemd")
}

/// `packaging/systemd`: systemd finds nothing wrong with the units; router and api start in their
/// sandboxes, answer at the sockets that systemd made for them, and again after a restart, during which
/// nobody is refused; what systemd makes of their exposure is good, their system calls are filtered, and
/// neither sees a file that is not its matter.
#[test]
fn router_and_api_run_under_systemd_in_sandboxes() {
    let world = World::start(Database::Sqlite);
    world.add_user("ada");
    world.add_vm("server", "ada");
    world.qa("vm start -f name=server --wait");
    let root = world.overlay("server");
    fs::create_dir_all(root.join("usr/lib/qvd")).expect("a folder");
    for (from, to) in programs() {
        fs::copy(from, root.join(to)).expect("a program");
    }
    // In a desktop /run/qvd is the agent's.
    let (units, root) = (units(), root.display());
    let units = units.display();
    shell(&format!(
        "cp {units}/* {root}/etc/systemd/system/ && \
         sed -i s,/run/qvd,/run/server, {root}/etc/systemd/system/qvd-*.socket && \
         mkdir {root}/etc/qvd && echo 'path.run = /run/server' >{root}/etc/qvd/node.conf"
    ));
    let inside = |line: &str| world.inside("server", line);
    inside(&format!("{ADD_ACCOUNT} && systemctl daemon-reload"));
    // What is in these folders on a node that works.
    inside(
        "qvd migrate && cd /var/lib/qvd/storage && mkdir -p -m 700 overlayfs homefs && \
         touch overlayfs/x homefs/x /var/log/x",
    );
    assert_eq!(inside("systemd-analyze verify /etc/systemd/system/qvd-* 2>&1"), "");
    // Desktops in a desktop are nothing that is promised.
    inside("systemctl mask --runtime qvd-hkd 2>&1");
    inside(
        "systemctl start qvd-api qvd-l7r || \
         { journalctl --no-pager -o cat -u qvd-api -u qvd-l7r >&2; exit 1; }",
    );
    let answers = || {
        let said = inside(
            "QVD_API_SOCKET=/run/server/api/admin.sock qa host list && systemctl is-active qvd-api qvd-l7r",
        );
        assert!(said.ends_with("active\nactive"), "{said}");
    };
    answers();
    inside("systemctl restart --no-block qvd-api");
    answers();
    until("the router to answer", Duration::from_secs(20), || {
        world.try_inside(
            "server",
            "python3 -c 'import ssl, urllib.request as r; \
             c = ssl._create_unverified_context(); \
             print(r.urlopen(\"https://127.0.0.1:8443/qvd/ping\", context=c).status)' | grep -x 200",
        )
    });
    // 0 is no exposure at all, 100 that of a service without any sandbox.
    inside("systemd-analyze security --threshold=15 qvd-api qvd-l7r");
    let process = |unit: &str| inside(&format!("systemctl show -P MainPID {unit}"));
    for (unit, shut) in [
        ("qvd-api", ["storage/overlayfs", "storage/homefs", "ssl"]),
        ("qvd-l7r", ["storage", "db", "../../log"]),
    ] {
        let pid = process(unit);
        let status = inside(&format!("cat /proc/{pid}/status"));
        for line in [
            "CapEff:\t0000000000000000",
            "CapBnd:\t0000000000000000",
            "NoNewPrivs:\t1",
            "Seccomp:\t2",
        ] {
            assert!(status.contains(line), "{unit}: {line} in {status}");
        }
        for folder in shut.map(|folder| format!("/var/lib/qvd/{folder}")) {
            inside(&format!("test -n \"$(ls -A {folder})\""));
            // Even root would find nothing where it is.
            let found = inside(&format!("nsenter -t {pid} -m ls -A {folder}"));
            assert_eq!(found, "", "{unit} in {folder}");
        }
        let written = format!("nsenter -t {pid} -m sh -c 'echo x >/etc/qvd/mine'");
        let refused = world.try_inside("server", &written).expect_err("it has no file to write");
        assert!(refused.contains("Read-only file system"), "{unit}: {refused}");
    }
    world.end();
}

/// Whether this machine may be installed on: it was made for these tests, and goes with them.
fn may_install() -> bool {
    let there = ["/qvd/list", "/run/systemd/system"].iter().all(|path| Path::new(path).exists());
    has(there, "room for an installation: it was not made for that")
}

/// An installation as the documents say, on this very machine.
struct Installed;

impl Installed {
    fn new() -> Self {
        for (from, to) in programs() {
            let to = Path::new("/").join(to);
            fs::create_dir_all(to.parent().expect("it is in a folder")).expect("a folder");
            fs::copy(from, to).expect("a program");
        }
        let storage = "/var/lib/qvd/storage";
        shell(&format!(
            "{{ id qvd || {ADD_ACCOUNT}; }} && cp {}/* /etc/systemd/system/ && \
             mkdir -p /etc/qvd {storage} && echo 'nodename = node1' >/etc/qvd/node.conf && \
             truncate -s 4G /var/tmp/volume && mkfs.btrfs -q /var/tmp/volume && \
             mount -o loop,nosuid,nodev /var/tmp/volume {storage} && systemctl daemon-reload",
            units().display()
        ));
        Self
    }
}

/// Starts the three daemons.
fn start() {
    shell(
        "systemctl start qvd-hkd qvd-api qvd-l7r || \
         { journalctl --no-pager -o cat -u qvd-hkd -u qvd-api -u qvd-l7r >&2; exit 1; }",
    );
}

fn pid_of_hkd() -> String {
    shell("systemctl show -P MainPID qvd-hkd")
}

/// The init of the one desktop there is.
fn init_of_desk() -> String {
    shell("lxc-info -P /run/qvd/vms -n qvd-1 -pH")
}

impl Drop for Installed {
    fn drop(&mut self) {
        let _ = try_shell(
            "systemctl stop qvd-hkd qvd-api.socket qvd-api-internal.socket qvd-api qvd-l7r; \
             cd /etc/systemd/system && rm -f qvd-hkd* qvd-api* qvd-l7r*; systemctl daemon-reload; \
             rm -rf /etc/qvd /usr/bin/qvd /usr/bin/qa /usr/lib/qvd; umount /var/lib/qvd/storage; \
             rm -rf /var/lib/qvd /var/tmp/volume /var/tmp/small*",
        );
    }
}

/// hkd itself under systemd, as a machine's own service: restarted, killed, stopped and started again, it
/// leaves its desktops alone and finds them again; its mounts are the machine's, so that they outlive it,
/// and it has no more rights than its unit says. What is stopped then leaves nothing.
#[test]
fn desktops_outlive_hkd_under_systemd() {
    if !may_install() {
        return;
    }
    let _installed = Installed::new();
    start();
    let small = Path::new("/var/tmp/small");
    small_tree(small);
    shell(
        "tar -cf /var/tmp/small.tar -C /var/tmp/small . && qa osf add name=small && \
         qa di add path=/var/tmp/small.tar osf=small && umask 077 && \
         tr -dc a-z </dev/urandom | head -c 20 >/var/tmp/small.password && \
         qa user add login=ada --password-file /var/tmp/small.password && \
         qa vm add name=desk user=ada osf=small && qa vm start -f name=desk --wait",
    );
    let init = init_of_desk();
    let unharmed = |after: &str| {
        let alive = "systemctl is-active qvd-hkd && qa host list | grep running";
        until("the host to be alive", Duration::from_mins(1), || try_shell(alive));
        assert_eq!(init_of_desk(), init, "after {after}");
        until("the desktop to be known as running", Duration::from_secs(30), || {
            try_shell("qa vm list -f name=desk | grep running")
        });
    };
    unharmed("its start");
    shell("systemctl restart qvd-hkd");
    unharmed("a restart");
    let killed = pid_of_hkd();
    shell(&format!("kill -KILL {killed}"));
    until("another hkd", Duration::from_secs(30), || match pid_of_hkd() {
        pid if pid == "0" || pid == killed => Err(pid),
        pid => Ok(pid),
    });
    unharmed("kill -9");
    shell("systemctl stop qvd-hkd qvd-api qvd-l7r");
    assert_eq!(init_of_desk(), init, "without any daemon");
    start();
    unharmed("a stop");

    let pid = pid_of_hkd();
    let same = shell(&format!("readlink /proc/1/ns/mnt /proc/{pid}/ns/mnt | uniq | wc -l"));
    assert_eq!(same, "1", "what it mounts is the machine's");
    let status = shell(&format!("cat /proc/{pid}/status"));
    let rights = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        u64::from_str_radix(line.expect(name).trim(), 16).expect("a number in hexadecimal")
    };
    // CAP_SYS_MODULE, CAP_SYS_RAWIO, CAP_SYS_BOOT, CAP_SYS_TIME, CAP_SYSLOG, CAP_BPF
    for right in [16, 17, 22, 25, 34, 39] {
        assert_eq!(rights("CapBnd:") & (1 << right), 0, "it may have right {right}");
    }
    shell("qa vm stop -f name=desk --wait");
    let left = "cd /var/lib/qvd/storage && \
        find /run/qvd/vms overlayfs rootfs -mindepth 1 -maxdepth 1 -name '*[0-9]*'";
    until("nothing to be left", Duration::from_secs(30), || match shell(left) {
        nothing if nothing.is_empty() => Ok(()),
        left => Err(left),
    });
}
