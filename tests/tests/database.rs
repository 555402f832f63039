//! A database that goes away, is slow, full, damaged, and comes back: what runs goes on, each command and
//! the log say what it is and what to do, and all goes on without a person where that is possible.

use std::{io::Write as _, process::Stdio, time::Duration};

use serde_json::Value;
use tests::{
    Database, World, postgres,
    program::{Running, command, shell},
    until,
};

/// A database that is slow, goes away and comes back, or becomes that of another installation: what runs
/// goes on, the error says what it is, daemons that are started meanwhile are started again, and a start
/// that was wanted is made.
#[test]
fn a_database_goes_away_and_comes_back() {
    let mut world = World::quick(Database::Postgres);
    world.add_quick_vm("desk", "ada");
    world.add_quick_vm("later", "ada");
    world.qa("vm start -f name=desk --wait");
    let container = world.container("desk");
    let begun = world.init_of(&container);
    let server = world.folder().join("pg/data/postmaster.pid");
    let postgres = || shell(&format!("head -1 {}", server.display()));
    let all = |signal: &str| {
        let pid = postgres();
        shell(&format!("kill -{signal} {pid} $(pgrep -P {pid})"));
    };

    // A row that none of our programs wrote: what belongs to it is left alone, and the rest goes on.
    let desk = world.id("desk");
    let address =
        world.vm("desk").get("ip").and_then(Value::as_str).expect("an address").to_owned();
    world.sql(&format!("UPDATE vms SET ip = 'here' WHERE id = {desk}; NOTIFY qvd"));
    let told = format!("VM {desk} is left as it is: row {desk} of table vms has an unusable ip");
    until("the row to be told of", Duration::from_secs(20), || {
        if world.log().contains(&told) { Ok(()) } else { Err("not told") }
    });
    assert_eq!(world.in_container(&container, "echo here"), "here");
    world.sql(&format!("UPDATE vms SET ip = '{address}' WHERE id = {desk}; NOTIFY qvd"));
    world.host_says("is left as it is", false);

    // Another installation's comes in its place, in which this VM is wanted off, and goes again.
    let own = world.sql("SELECT id FROM installation");
    let put = |id: &str, power: &str| {
        world.sql(&format!(
            "UPDATE installation SET id = '{id}'; \
             UPDATE vm_desired SET power = '{power}', revision = revision + 1 WHERE vm = {desk}; \
             NOTIFY qvd"
        ));
    };
    put("another", "off");
    let told = format!("is of another installation (another, not {own}): put back this one's");
    until("the other database to be told of", Duration::from_secs(20), || {
        if world.log().contains(&told) { Ok(()) } else { Err("not told") }
    });
    put(&own, "on");
    until("its own database to be used", Duration::from_secs(20), || {
        if world.log().contains("the database answers again") { Ok(()) } else { Err("it is not") }
    });
    assert_eq!(world.init_of(&container), begun, "the container is the same");

    // Slow: nobody answers for three seconds, and nothing is lost by it.
    world.qa("vm start -f name=later");
    all("STOP");
    assert_eq!(world.in_container(&container, "sleep 3; echo here"), "here");
    all("CONT");
    world.reaches("later", "running");

    shell(&format!("kill -INT {}", postgres()));
    until("the error to be told", Duration::from_secs(30), || {
        let log = world.log();
        let told = |line: &&str| {
            line.contains("the database cannot be used: what runs goes on")
                && line.contains("127.0.0.1:5432/qvd does not answer: ")
                && line.contains("start its server")
        };
        if log.lines().any(|line| told(&line)) { Ok(()) } else { Err("not told") }
    });
    let hkd = world.daemon_pid("hkd");
    shell(&format!("kill -KILL {hkd}"));
    until("another hkd to fail for want of the database", Duration::from_secs(30), || {
        let log = world.log();
        let failed =
            log.contains("cannot open the database postgres://postgres@127.0.0.1:5432/qvd: ");
        if failed { Ok(()) } else { Err("no word of it") }
    });
    assert_eq!(world.in_container(&container, "echo here"), "here");
    let _server = postgres::serve(world.folder());
    until("the host to be back", Duration::from_mins(1), || {
        world
            .try_qa("host list -o json")
            .and_then(|hosts| if hosts.contains("running") { Ok(()) } else { Err(hosts) })
    });
    world.qa("vm stop -f name=later --wait");
    world.reaches("desk", "running");
    assert_eq!(world.init_of(&container), begun, "the container is the same");
    world.expect_log("WARN", "database");
    world.expect_log("WARN", "exceeded");
    world.expect_log("ERROR", "is left as it is");
    world.expect_log("ERROR", "it ended; it is started again");
    world.end();
}

/// What must hold while the database in a file does not work, and when it does again.
struct Spared {
    container: String,
    begun: String,
    hkd: i32,
}

impl Spared {
    /// Of the desktop `desk`, which runs.
    fn of(world: &World) -> Self {
        let container = world.container("desk");
        let begun = world.init_of(&container);
        Self { container, begun, hkd: world.daemon_pid("hkd") }
    }

    /// A command says this of the file and what helps, and the log says it; the desktop feels nothing.
    #[track_caller]
    fn refused(&self, world: &World, commands: &[&str], does: &str, remedy: &str) {
        let file = format!("sqlite:{}/db/qvd.db {does}", world.folder().display());
        for asked in commands {
            until(&format!("`{asked}` to be refused"), Duration::from_secs(40), || {
                match world.try_qa(asked) {
                    Err(said) if said.contains(&file) && said.contains(remedy) => Ok(()),
                    other => Err(other),
                }
            });
        }
        assert!(world.log().contains(&file), "{file} in the log");
        assert_eq!(world.in_container(&self.container, "echo here"), "here");
    }

    /// All works again, by itself: what is wanted is heard of, and the desktop and hkd are the same.
    #[track_caller]
    fn recovered(&self, world: &World, round: &str) {
        until("commands to be obeyed", Duration::from_secs(30), || {
            world.try_qa(&format!("osf add name={round}"))
        });
        until("the host to work", Duration::from_secs(30), || {
            let hosts = world.try_qa("host list -o json")?;
            if hosts.contains("running") { Ok(()) } else { Err(hosts) }
        });
        world.qa("vm start -f name=later --wait");
        world.qa("vm stop -f name=later --wait");
        assert_eq!(world.init_of(&self.container), self.begun, "the container is the same");
        assert_eq!(world.state("desk"), "running");
        assert_eq!(world.daemon_pid("hkd"), self.hkd, "hkd did not end");
    }
}

/// The database in a file is moved away and comes back, with its folder too; is held by another program;
/// is put back from a backup onto a disk that gets full; is replaced by garbage, and has garbage in its
/// midst: what runs goes on, each command names the file and what helps, daemons go on by themselves when
/// it is right again, and none of them ends.
#[test]
fn a_database_in_a_file_goes_away_and_comes_back() {
    let mut world = World::quick(Database::Sqlite);
    world.add_quick_vm("desk", "ada");
    world.add_quick_vm("later", "ada");
    world.qa("vm start -f name=desk --wait");
    let spared = Spared::of(&world);
    let at = world.folder().display().to_string();
    let (read, write) = ("vm list", "osf add name=none");

    shell(&format!("mv {at}/db/qvd.db {at}/db/away"));
    spared.refused(&world, &[read, write], "cannot be opened", "put it back where it was");
    shell(&format!("mv {at}/db/away {at}/db/qvd.db"));
    spared.recovered(&world, "moved");
    shell(&format!("mv {at}/db {at}/gone"));
    spared.refused(&world, &[read, write], "cannot be opened", "put it back where it was");
    shell(&format!("mv {at}/gone {at}/db"));
    spared.recovered(&world, "folder");

    // Held: it can be read, and who would write waits and is told.
    let mut holder = command("sqlite3")
        .arg(format!("{at}/db/qvd.db"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("sqlite3 starts");
    let line = b".timeout 10000\nBEGIN IMMEDIATE;\n.print held\n";
    holder.stdin.as_mut().expect("a pipe").write_all(line).expect("a line");
    let mut said = std::io::BufReader::new(holder.stdout.take().expect("a pipe"));
    std::io::BufRead::read_line(&mut said, &mut String::new()).expect("it is held");
    let holder = Running(holder);
    assert!(world.qa("vm list").contains("desk"));
    spared.refused(&world, &[write], "is held by another program", "end what holds it");
    drop(holder);
    spared.recovered(&world, "held");

    // Put back on a small disk, which others fill.
    shell(&format!(
        "sqlite3 {at}/db/qvd.db '.timeout 10000' \".backup {at}/backup\" && \
         mv {at}/db {at}/large && cp -a --attributes-only {at}/large/qvd.db {at}/empty && \
         mkdir {at}/db && mount -t tmpfs -o size=6m small {at}/db && \
         chown --reference={at}/large {at}/db && chmod 2770 {at}/db && \
         cat {at}/backup >{at}/empty && cp -a {at}/empty {at}/db/qvd.db"
    ));
    spared.recovered(&world, "put-back");
    shell(&format!("cat /dev/zero >{at}/db/filler 2>/dev/null; test -s {at}/db/filler"));
    let many: Vec<String> = (0..400).map(|number| format!("osf add name=full{number}")).collect();
    let full = many.iter().find_map(|add| world.try_qa(add).err());
    let full = full.expect("the disk is full at some time");
    assert!(full.contains("has no room left on its disk"), "{full}");
    spared.refused(&world, &[write], "has no room left on its disk", "make room on the disk");
    shell(&format!("rm {at}/db/filler"));
    spared.recovered(&world, "room");

    // Garbage: all of it, and then a page in its midst.
    let replace = |how: &str| {
        shell(&format!(
            "cp -a {at}/empty {at}/new && {how} && rm -f {at}/db/qvd.db-wal {at}/db/qvd.db-shm && \
             cp -a {at}/new {at}/db/new && mv {at}/db/new {at}/db/qvd.db"
        ));
    };
    let stop_and = "stop qvd, and put back a backup";
    replace(&format!("head -c 99999 /dev/urandom >{at}/new"));
    spared.refused(&world, &[read, write], "is damaged", stop_and);
    replace(&format!("dd if=/dev/urandom of={at}/new bs=4096 seek=3 count=40 conv=notrunc 2>&1"));
    spared.refused(&world, &["user list"], "is damaged", stop_and);
    replace("true");
    spared.recovered(&world, "whole");
    for level in ["WARN", "ERROR"] {
        world.expect_log(level, "database");
    }
    // Some may have waited for a connection, or not.
    if world.log().contains("exceeded") {
        world.expect_log("WARN", "exceeded");
    }
    world.end();
}
