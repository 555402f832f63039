//! What a host does not do, however its database or its firewall looks.

use std::fs;

use hkd::{
    examine,
    linux::{
        Linux as _,
        doctor::{Finding, Wrong},
        file::Hold,
    },
};
use model::{Run, VmId, reason::Code, settings::Settings, vm::Desired};

use crate::world::{Daemon, World, until};

async fn until_older(daemon: &Daemon) {
    let problem = async || match daemon.node.problems() {
        problems if problems.iter().any(|each| each.contains("the database is older")) => Ok(()),
        problems => Err(problems),
    };
    until("the host to find its database older", problem).await;
}

/// With a database older than what is on the disk nothing is started and nothing removed: the VMs it
/// does not know are not deleted ones. With the newest one again all goes on.
#[tokio::test]
async fn an_older_database_takes_nothing_down() {
    let world = World::new().await;
    let vm = world.vm.id;
    let daemon = world.daemon(None).await;
    let run = world.start(vm, world.di.id).await;
    world.until_up(vm, run).await;
    daemon.stop().await;
    let before = world.machine.inventory();
    let other = world.another_vm("other").await;
    world.stop(vm).await;
    world.store.delete_observed(vm, world.host).await.unwrap();
    world.store.delete_vm(vm).await.unwrap();
    let given = world.layout.given();
    let installation = world.store.installation().await.unwrap();
    let number = world.store.vms_given(&installation).await.unwrap();
    fs::write(&given, (number + 1).to_string()).unwrap();
    let daemon = world.daemon(None).await;
    world.start(other.id, world.di.id).await;
    until_older(&daemon).await;
    assert_eq!((world.machine.inventory(), world.machine.counts().asked), (before, 0));
    assert_eq!(world.row(other.id).await, None, "nothing is started");
    daemon.stop().await;
    fs::write(&given, number.to_string()).unwrap();
    let daemon = world.daemon(None).await;
    world.until_up(other.id, Run(1)).await;
    world.until_asked().await;
    daemon.stop().await;
}

/// A run that is later than the one the database knows is not ended for it.
#[tokio::test]
async fn a_run_the_database_does_not_know_goes_on() {
    let world = World::new().await;
    let vm = world.vm.id;
    let daemon = world.daemon(None).await;
    world.start(vm, world.di.id).await;
    let run = world.start(vm, world.di.id).await;
    world.until_up(vm, run).await;
    let asked = world.machine.counts().asked;
    let now = world.store.desired(vm).await.unwrap().unwrap();
    let old = Desired { run: Run(1), ..now.clone() };
    assert!(world.store.set_desired(&old, now.revision).await.unwrap());
    until_older(&daemon).await;
    assert_eq!(world.machine.counts().asked, asked);
    assert!(world.machine.guest(&world.desk()).is_some());
    daemon.stop().await;
}

/// A home that another host writes is not mounted here; once it is free the VM comes up.
#[tokio::test]
async fn a_home_has_one_host() {
    let world = World::new().await;
    let vm = world.vm.id;
    let other = world.store.add_host("node2", "192.0.2.2").await.unwrap();
    assert!(world.store.claim_home("1-fs", vm, other.id, Run(1)).await.unwrap());
    let daemon = world.daemon(None).await;
    let run = world.start(vm, world.di.id).await;
    let busy = |row: &model::vm::Observed| {
        row.reason.as_ref().is_some_and(|reason| reason.code == Code::HomeBusy)
    };
    world.until(vm, "the VM to wait for its home", busy).await;
    assert_eq!(world.machine.counts().started, 0);
    world.store.release_home("1-fs", vm, other.id).await.unwrap();
    world.until_up(vm, run).await;
    let claims = world.store.home_claims(world.host).await.unwrap();
    assert_eq!(claims.len(), 1);
    world.stop(vm).await;
    world.until_down(vm).await;
    until("the home to be given back", async || {
        match world.store.home_claims(world.host).await.unwrap() {
            none if none.is_empty() => Ok(()),
            held => Err(held),
        }
    })
    .await;
    daemon.stop().await;
}

/// What the firewall forgot, because somebody else emptied it, is set again under a running VM.
#[tokio::test]
async fn an_emptied_firewall_is_set_again() {
    let world = World::new().await;
    let vm = world.vm.id;
    let daemon = world.daemon(None).await;
    let run = world.start(vm, world.di.id).await;
    world.until_up(vm, run).await;
    let before = world.machine.inventory();
    world.machine.flush_rules();
    assert_ne!(world.machine.inventory(), before);
    until("the rules to be there again", async || match world.machine.inventory() {
        now if now == before => Ok(()),
        now => Err(now),
    })
    .await;
    assert_eq!(world.machine.counts().started, 1);
    daemon.stop().await;
}

/// What is nobody's any more goes, whatever told of it: a link, control groups, a mounted root, a leave of
/// the firewall, a base that was only begun. Not while somebody fills that, and not what is another's.
#[tokio::test]
async fn what_is_nobodys_is_collected() {
    let world = World::new().await;
    let gone = VmId(999);
    let before = world.machine.inventory();
    world.leave_behind(gone);
    let door = world.door();
    let begun = |name: &str| {
        let base = world.layout.basefs.join(name);
        fs::create_dir_all(&world.layout.basefs).unwrap();
        door.create_subvolume(&base).unwrap();
        base
    };
    let (left, filled) = (begun("1-gone.tar.partial"), begun("2-other.tar.partial"));
    let lock = world.layout.basefs.join("lock.2-other.tar");
    let held = door.lock(&lock, Hold::Alone).unwrap().unwrap();
    let daemon = world.daemon(None).await;
    let expected = |line: &String| line.contains(&*filled.to_string_lossy());
    until("only what is filled to be left", async || {
        let now = world.machine.inventory();
        let rest: Vec<String> = now.into_iter().filter(|line| !expected(line)).collect();
        if rest == before { Ok(()) } else { Err(rest) }
    })
    .await;
    assert!(!left.exists() && filled.exists());
    assert_eq!(fs::read_dir(&world.layout.rootfs).unwrap().count(), 0);
    daemon.stop().await;
    drop(held);
    let daemon = world.daemon(None).await;
    until("the other to go", async || if filled.exists() { Err(()) } else { Ok(()) }).await;
    daemon.stop().await;
    world.assert_nothing_left();
}

/// What is wrong with the machine, as doctor finds it, is a problem of the host for as long as it is so.
#[tokio::test]
async fn what_the_machine_lacks_is_said_while_it_lacks_it() {
    let world = World::new().await;
    let daemon = world.daemon(None).await;
    let settings = Settings::default();
    let asked = examine::asked(&settings, &world.layout, "/vma".into()).unwrap();
    let said = || daemon.node.problems().join("\n");
    let wrong = Wrong::new("there are 3 MiB left", "make the volume larger");
    world.machine.ail(vec![
        Finding { what: "free space", wrong: Some(wrong) },
        Finding { what: "the kernel", wrong: None },
    ]);
    examine::look(&daemon.node, &asked).await;
    assert!(said().contains("free space: there are 3 MiB left: make the volume larger"));
    assert!(!said().contains("the kernel"));
    world.machine.ail(Vec::new());
    examine::look(&daemon.node, &asked).await;
    assert!(!said().contains("free space"));
    daemon.stop().await;
}
