//! A full storage tree, and a database that is not the one it was filled with.

use std::{fs, time::Duration};

use tests::{
    Database, World,
    program::{Running, command, shell, try_shell},
    until,
    world::program,
};

/// How long anything here may take on a busy machine.
const WITHIN: Duration = Duration::from_mins(1);
/// What hkd says of storage that another database's installation has filled.
const FOREIGN: &str = "nothing was started and nothing removed";

/// Every name below the storage with its kind, mode, owners, size, time and links, and every subvolume.
fn listing(world: &World) -> Vec<String> {
    let at = world.storage();
    let found = shell(&format!(
        "find {} ! -type d -printf '%P %y %m %U %G %s %T@ %n %l\\n' -o -printf '%P %y %m %U %G\\n'",
        at.display()
    ));
    let mut lines: Vec<String> = found.lines().map(str::to_owned).collect();
    lines.extend(world.subvolumes());
    lines.sort();
    lines
}

/// Nothing that was there is gone or changed.
#[track_caller]
fn assert_kept(before: &[String], world: &World) {
    let now = listing(world);
    let gone: Vec<&String> =
        before.iter().filter(|line| now.binary_search(line).is_err()).take(20).collect();
    assert!(gone.is_empty(), "gone or changed: {gone:#?}");
}

/// Copies a database, or gives it another name, while no daemon has it open. The one in use is `db`.
fn database(world: &World, kind: Database, copy: bool, from: &str, to: &str) {
    let at = world.folder().display();
    if kind == Database::Sqlite {
        let how = if copy { "cp -a" } else { "mv" };
        shell(&format!("{how} {at}/{from} {at}/{to}"));
        return;
    }
    let name = |name: &str| if name == "db" { "qvd".to_owned() } else { name.to_owned() };
    let (from, to) = (name(from), name(to));
    let statement = if copy {
        format!("CREATE DATABASE {to} TEMPLATE {from}")
    } else {
        format!("ALTER DATABASE {from} RENAME TO {to}")
    };
    // A server notices a little later that a client has gone.
    until(&statement, WITHIN, || {
        try_shell(&format!("psql -qX -h {at}/pg -U postgres postgres -c '{statement}'"))
    });
}

/// Removes the database in use; where it is one of a server's, an empty one comes in its place.
fn remove_database(world: &World, kind: Database) {
    let at = world.folder().display();
    if kind == Database::Sqlite {
        shell(&format!("rm -rf {at}/db"));
        return;
    }
    for statement in ["DROP DATABASE IF EXISTS qvd", "CREATE DATABASE qvd"] {
        until(statement, WITHIN, || {
            try_shell(&format!("psql -qX -h {at}/pg -U postgres postgres -c '{statement}'"))
        });
    }
}

/// Starts `qvd all`, and waits until hkd has refused the storage so often.
fn refused(world: &World, times: usize) -> Running {
    let path = world.folder().join("refused.log");
    let log = fs::File::create(&path).expect("a log");
    let daemons = command(program("qvd"))
        .arg("all")
        .env("QVD_CONFIG", world.folder().join("node.conf"))
        .stderr(log)
        .spawn()
        .expect("qvd starts");
    let daemons = Running(daemons);
    until("hkd to refuse the storage", WITHIN, || {
        let said = fs::read_to_string(&path).unwrap_or_default();
        if said.matches(FOREIGN).count() >= times { Ok(()) } else { Err(said) }
    });
    daemons
}

/// hkd on a full storage tree with an empty, a foreign and a restored database in a file: not one file is
/// removed or changed, what runs goes on, and with its own database all is as it was.
#[test]
fn not_one_file_goes_for_another_database() {
    another_database(Database::Sqlite);
}

/// The same with databases of a PostgreSQL server.
#[test]
fn not_one_file_goes_for_another_database_of_a_server() {
    another_database(Database::Postgres);
}

fn another_database(kind: Database) {
    let mut world = World::start(kind);
    let at = world.folder().display().to_string();
    world.add_user("ada");
    world.add_quick_osf();
    world.qa("config set vm.overlay.persistent=1");
    world.add_vm("desk", "ada");
    world.add_quick_vm("runner", "ada");
    world.qa("vm start -f name=desk --wait");
    world.inside("desk", "echo mine > /var/mine");
    world.qa("vm stop -f name=desk --wait");
    world.qa("vm start -f name=runner --wait");
    world.stop_daemons();
    database(&world, kind, true, "db", "yesterday");
    world.run_daemons();
    // Of these yesterday's database knows nothing.
    world.add_quick_vm("late", "ada");
    world.qa("vm start -f name=late --wait");
    world.inside("late", "echo mine > /var/mine");
    world.qa("vm stop -f name=late --wait");
    shell(&format!(
        "echo stray > {at}/storage/images/9-stray.tar; echo stray > {at}/storage/staging/stray; \
         mkdir {at}/storage/homefs/stray; echo stray > {at}/storage/homefs/stray/letter; \
         for home in {at}/storage/homefs/*-fs/ada; do cp {at}/node.conf $home/letter; \
         chown --reference=$home $home/letter; done"
    ));
    let running = world.monitors();
    world.stop_daemons();
    database(&world, kind, false, "db", "own");
    remove_database(&world, kind);
    let before = listing(&world);
    assert!(before.len() > 10_000, "{} names", before.len());

    // Empty: it is made anew, and is another installation's.
    let mut daemons = refused(&world, 3);
    assert_kept(&before, &world);
    // Foreign: it has a VM of the same number, which is wanted, and then not, and then deleted.
    world.add_user("eve");
    world.qa("osf add name=test");
    let image = tests::world::image_file("test");
    let add = format!("di add path={} osf=test", image.display());
    let taken = world.try_qa(&add).expect_err("the storage has a file of that name");
    assert!(taken.contains("is there already"), "{taken}");
    assert_kept(&before, &world);
    world.qa(&add);
    world.add_vm("other", "eve");
    for wish in ["vm start -f name=other", "vm stop -f name=other", "vm del -f name=other --force"]
    {
        // A host that does not work starts nothing, as it is told.
        let _ = world.try_qa(wish);
        daemons.end();
        daemons = refused(&world, 2);
        assert_kept(&before, &world);
    }
    daemons.end();
    assert_kept(&before, &world);

    // Restored from yesterday: what it does not know was not deleted.
    database(&world, kind, false, "db", "another");
    database(&world, kind, true, "yesterday", "db");
    world.run_daemons();
    until("the host to say what is wrong", WITHIN, || {
        let hosts = world.qa_json("host list").to_string();
        if hosts.contains("the database is older") { Ok(()) } else { Err(hosts) }
    });
    for wish in ["vm start -f name=desk", "vm stop -f name=runner", "vm del -f name=desk --force"] {
        let _ = world.try_qa(wish);
    }
    world.stop_daemons();
    assert_kept(&before, &world);
    world.run_daemons();
    assert_kept(&before, &world);
    world.stop_daemons();

    database(&world, kind, false, "db", "restored");
    database(&world, kind, false, "own", "db");
    world.run_daemons();
    assert_eq!((world.monitors(), running.len()), (running, 1), "what ran went on");
    for vm in ["desk", "late"] {
        world.qa(&format!("vm start -f name={vm} --wait"));
        assert_eq!(world.inside(vm, "read x </var/mine; echo $x"), "mine");
        world.inside(vm, "test -s /home/ada/letter");
    }
    world.expect_log("ERROR", "the database is older than what is on this host");
    world.qa("config set vm.overlay.persistent=0");
    world.qa("vm stop --force --wait");
    world.qa("vm del --force");
    world.end();
}
