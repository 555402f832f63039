//! The units of systemd, on a real one: that of a desktop.

use std::{fs, path::Path, time::Duration};

use tests::{
    Database, World,
    program::shell,
    until,
    world::{program, target},
};

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
    for (from, to) in [
        (program("qvd"), "usr/bin/qvd"),
        (program("qa"), "usr/bin/qa"),
        (target().join("x86_64-unknown-linux-musl/agent/qvd-vma"), "usr/lib/qvd/qvd-vma"),
    ] {
        fs::copy(from, root.join(to)).expect("a program");
    }
    let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/systemd");
    // In a desktop /run/qvd is the agent's.
    let (units, root) = (units.display(), root.display());
    shell(&format!(
        "cp {units}/* {root}/etc/systemd/system/ && \
         sed -i s,/run/qvd,/run/server, {root}/etc/systemd/system/qvd-*.socket && \
         mkdir {root}/etc/qvd && echo 'path.run = /run/server' >{root}/etc/qvd/node.conf"
    ));
    let inside = |line: &str| world.inside("server", line);
    inside(
        "useradd --system --user-group --home-dir /var/lib/qvd --no-create-home \
         --shell /usr/sbin/nologin qvd && systemctl daemon-reload",
    );
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
