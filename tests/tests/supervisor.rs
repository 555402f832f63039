//! `qvd all`: what it prepares, what it gives its daemons, and what becomes of them when it dies.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    time::Duration,
};

use tests::{
    Database, World,
    program::{Running, command, said, shell, try_shell},
    until,
    world::program,
};

/// The daemons, by the words that start them.
const DAEMONS: [&str; 3] = ["hkd", "api", "l7r"];

/// Starts `qvd all` with variables of its own, and waits until its daemons work.
fn run_daemons_with(world: &World, variables: &[(&str, String)]) -> Running {
    let log = world.folder().join("started.log");
    let said = fs::File::create(&log).expect("a log");
    let daemon = command(program("qvd"))
        .arg("all")
        .env("QVD_CONFIG", world.folder().join("node.conf"))
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .stderr(said)
        .spawn()
        .expect("qvd starts");
    let daemon = Running(daemon);
    until("the daemons", Duration::from_mins(1), || {
        let said = fs::read_to_string(&log).unwrap_or_default();
        if said.contains("all daemons work") { Ok(()) } else { Err(said) }
    });
    daemon
}

/// A supervisor that is killed takes its daemons with it, in good order; the next one starts, and
/// desktops live through both.
#[test]
fn the_death_of_the_supervisor_ends_the_daemons_and_no_desktop() {
    let mut world = World::start(Database::Sqlite);
    world.add_user("ada");
    world.add_vm("desk", "ada");
    world.qa("vm start -f name=desk --wait");
    let init = world.inside("desk", "cut -d ' ' -f 22 /proc/1/stat");
    let pids = DAEMONS.map(|daemon| world.daemon_pid(daemon));
    assert!(pids.iter().all(|pid| *pid > 0), "{pids:?}");
    let [hkd, ..] = pids;
    let supervisor = shell(&format!("ps -o ppid= -p {hkd}"));
    shell(&format!("kill -KILL {supervisor}"));
    until("the daemons to be gone", Duration::from_secs(20), || {
        let left: Vec<_> =
            pids.iter().filter(|pid| fs::exists(format!("/proc/{pid}")).unwrap_or(true)).collect();
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
    assert!(world.log().contains("hkd ends; the desktops go on"), "{}", world.log());
    world.stop_daemons();
    world.run_daemons();
    world.reaches("desk", "running");
    assert_eq!(world.inside("desk", "cut -d ' ' -f 22 /proc/1/stat"), init, "the desktop ran on");
    world.end();
}

/// hkd, and what it starts, has of root's rights those that its work takes.
#[test]
fn hkd_has_no_more_rights_than_it_needs() {
    let world = World::start(Database::Sqlite);
    world.add_user("ada");
    world.add_vm("desk", "ada");
    world.qa("vm start -f name=desk --wait");
    let given = |pid: i32| {
        let status = shell(&format!("cat /proc/{pid}/status"));
        let line = status.lines().find_map(|line| line.strip_prefix("CapBnd:\t"));
        u64::from_str_radix(line.expect("a bounding set"), 16).expect("a number")
    };
    let own = given(world.daemon_pid("hkd"));
    let monitor = *world.monitors().first().expect("the container has a monitor");
    assert_eq!(given(monitor), own);
    // Modules, raw devices, the clock, the log of the kernel, other security modules, programs in
    // the kernel.
    for (name, number) in [
        ("SYS_MODULE", 16),
        ("SYS_RAWIO", 17),
        ("SYS_BOOT", 22),
        ("SYS_TIME", 25),
        ("MAC_OVERRIDE", 32),
        ("MAC_ADMIN", 33),
        ("SYSLOG", 34),
        ("PERFMON", 38),
        ("BPF", 39),
        ("NET_RAW", 13),
        ("AUDIT_CONTROL", 30),
        ("IPC_OWNER", 15),
        ("LINUX_IMMUTABLE", 9),
    ] {
        assert_eq!(own >> number & 1, 0, "hkd has CAP_{name}");
    }
    world.end();
}

/// Who takes the router over has neither root's environment nor the api's, cannot replace the
/// sockets of others, and can get no new rights.
#[test]
fn the_router_is_given_little() {
    let mut world = World::start(Database::Sqlite);
    world.stop_daemons();
    let mut daemon = run_daemons_with(&world, &[("PGPASSWORD", "of-the-database".to_owned())]);
    let environ = |daemon| {
        let path = format!("/proc/{}/environ", world.daemon_pid(daemon));
        fs::read_to_string(path).expect("root reads it").replace('\0', "\n")
    };
    assert!(environ("api").contains("PGPASSWORD=of-the-database"));
    let router = environ("l7r");
    for line in router.lines() {
        let (name, _) = line.split_once('=').expect("a variable");
        let known = ["PATH", "TZ", "HOME", "NOTIFY_SOCKET"].contains(&name)
            || name.starts_with("QVD_LOG")
            || name.starts_with("RUST_");
        assert!(known, "the router has {name}");
    }
    let status = shell(&format!("cat /proc/{}/status", world.daemon_pid("l7r")));
    assert!(status.contains("NoNewPrivs:\t1"), "{status}");
    for daemon in ["l7r", "api"] {
        let status = shell(&format!("cat /proc/{}/status", world.daemon_pid(daemon)));
        assert!(status.contains("Seccomp:\t2"), "{daemon}: {status}");
    }
    let run = world.folder().join("run");
    let as_router = |line: &str| {
        try_shell(&format!("setpriv --reuid qvd --regid qvd --clear-groups sh -c '{line}'"))
    };
    as_router(&format!("test -S {}/api/internal.sock", run.display())).expect("it can be reached");
    let seen = as_router(&format!("cat /proc/{}/environ", world.daemon_pid("api")));
    assert!(seen.is_err(), "another process of the user sees the api's environment");
    let replaced = as_router(&format!("mv {0}/api/internal.sock {0}/api/other", run.display()));
    assert!(replaced.is_err(), "another process of the user moves the api's socket");
    let notices = fs::metadata(run.join("notify.sock")).expect("it is there");
    let group = fs::metadata(world.folder().join("ssl")).expect("it is there").gid();
    let found = (notices.uid(), notices.gid(), notices.permissions().mode() & 0o777);
    assert_eq!(found, (0, group, 0o660));
    daemon.end();
    world.run_daemons();
    world.end();
}

/// With a database that asks for a password, root's `.pgpass` serves hkd, and that in the account's
/// home the api.
#[test]
fn passwords_of_the_database_stand_in_pgpass() {
    let mut world = World::start(Database::Postgres);
    world.stop_daemons();
    let at = world.folder().display().to_string();
    shell(&format!(
        "echo \"ALTER USER postgres PASSWORD '{}'\" | psql -q -h {at}/pg -U postgres && \
         sed -i 's/^host .*trust$/host all all 127.0.0.1\\/32 scram-sha-256/' {at}/pg/data/pg_hba.conf && \
         psql -q -h {at}/pg -U postgres -c 'SELECT pg_reload_conf()' >/dev/null",
        world.password()
    ));
    let migrate = |home: &str| {
        let mut migrate = command(program("qvd"));
        migrate.arg("migrate").env("QVD_CONFIG", format!("{at}/node.conf")).env("HOME", home);
        said("migrate", migrate.output())
    };
    let (root, account) = (format!("{at}/of-root"), format!("{at}/of-qvd"));
    migrate(&root).expect_err("the server asks for a password");
    for (home, owner) in [(&root, "root"), (&account, "qvd")] {
        shell(&format!(
            "mkdir {home} && printf '127.0.0.1:*:*:postgres:%s\\n' {} >{home}/.pgpass && \
             chmod 600 {home}/.pgpass && chown -R {owner} {home}",
            world.password()
        ));
    }
    migrate(&root).expect("root's file holds it");
    // In this test's own view of the machine, the account lives there.
    shell(&format!(
        "sed 's#^\\(qvd:.*\\):/[^:]*:\\([^:]*\\)$#\\1:{account}:\\2#' /etc/passwd >{at}/passwd && \
         mount --bind {at}/passwd /etc/passwd"
    ));
    let mut daemon = run_daemons_with(&world, &[("HOME", root)]);
    world.add_user("ada");
    until("the host", Duration::from_secs(20), || {
        let hosts = world.qa_json("host list").to_string();
        if hosts.contains("running") { Ok(()) } else { Err(hosts) }
    });
    daemon.end();
    shell("umount /etc/passwd");
    shell(&format!(
        "rm -r {at}/of-root {at}/of-qvd && \
         sed -i 's/ scram-sha-256$/ trust/' {at}/pg/data/pg_hba.conf && \
         psql -q -h {at}/pg -U postgres -c 'SELECT pg_reload_conf()' >/dev/null"
    ));
    world.run_daemons();
    world.end();
}

/// Storage that an administrator moves with `qa` is prepared, used and looked at there.
#[test]
fn storage_is_where_qa_says() {
    let mut world = World::start(Database::Sqlite);
    let doctor = || {
        let config = world.folder().join("node.conf");
        said("doctor", command(program("qvd")).arg("doctor").env("QVD_CONFIG", config).output())
    };
    let plain = world.folder().join("plain");
    world.qa(&format!("config set path.storage.root={}", plain.display()));
    let wrong = doctor().expect_err("it is not on btrfs");
    assert!(wrong.contains(&format!("mount a btrfs volume at {}", plain.display())), "{wrong}");
    let moved = world.storage().join("moved");
    world.qa(&format!("config set path.storage.root={}", moved.display()));
    doctor().expect("it is on btrfs");
    world.stop_daemons();
    // What is registered moves with it.
    let images = world.storage().join("images");
    shell(&format!("mkdir {0} && cp -a {1} {0}/images", moved.display(), images.display()));
    world.run_daemons();
    world.qa("osf add name=other");
    world.qa(&format!("di add path={} osf=other", tests::world::image_file("test").display()));
    let images = shell(&format!("ls {}/images", moved.display()));
    assert_eq!(images.lines().count(), 2, "{images}");
    assert!(!plain.exists());
    world.qa("config del path.storage.root");
    world.stop_daemons();
    world.run_daemons();
    world.end();
}
