//! The lives of VMs, from their start to whatever ends them.

use std::path::Path;

use model::{
    Timestamp,
    reason::Code,
    vm::{EndKind, Observed, Seen},
};

use crate::world::{World, until, until_ready};

/// A VM that is wanted comes up, its guest is made ready for its user, and its home is the user's.
#[tokio::test]
async fn a_start_reaches_running() {
    let world = World::new().await;
    let (vm, desk) = (world.vm.id, world.desk());
    let daemon = world.daemon(None).await;
    let run = world.start(vm, world.di.id).await;
    let row = world.until_up(vm, run).await;
    assert_eq!((row.attempts, row.reason, row.ended), (0, None, None));
    until_ready(&daemon.node, vm, run).await;
    let guest = world.machine.guest(&desk).unwrap();
    assert_eq!((guest.hostname.as_str(), guest.address.0), ("desk", world.vm.ip));
    assert_eq!((guest.user.uid, guest.user.home.as_str()), (world.user.uid, "/home/ada"));
    let home = world.layout.home(vm).join("ada");
    assert_eq!(world.machine.owner(&home), Some((world.user.uid, world.user.gid)));
    daemon.stop().await;
}

/// A stop leaves no container, mount, link, rule, group, slot or run directory; what the VM wrote goes
/// too, and the base stays.
#[tokio::test]
async fn a_stop_leaves_nothing() {
    let world = World::new().await;
    let vm = world.vm.id;
    let daemon = world.daemon(None).await;
    let run = world.start(vm, world.di.id).await;
    world.until_up(vm, run).await;
    let overlay = world.layout.overlay(world.di.id, vm);
    assert!(overlay.is_dir());
    world.stop(vm).await;
    let row = world.until_down(vm).await;
    assert_eq!((row.run, row.ended, row.reason), (run, None, None));
    assert!(!overlay.exists());
    assert_eq!(world.machine.inventory().len(), 1, "the base");
    world.assert_nothing_left();
    assert_eq!(world.machine.counts().killed, 0, "it was asked, and obeyed");
    assert!(!daemon.node.is_ready(vm, run));
    daemon.stop().await;
}

/// A VM that does not hear that it is to stop is ended when its time is over.
#[tokio::test]
async fn a_deaf_vm_is_ended_when_its_time_is_over() {
    let world = World::new().await;
    let vm = world.vm.id;
    let daemon = world.daemon(None).await;
    let run = world.start(vm, world.di.id).await;
    world.until_up(vm, run).await;
    world.machine.turn_deaf(&world.desk());
    world.stop(vm).await;
    world.until_asked().await;
    world.until(vm, "the VM to be stopping", |row| row.seen == Seen::Stopping).await;
    assert_eq!(world.machine.counts().killed, 0);
    world.pass(vm, 30_000).await;
    world.until_down(vm).await;
    assert_eq!(world.machine.counts().killed, 1);
    world.assert_nothing_left();
    daemon.stop().await;
}

/// An image is unpacked once for all VMs, even when they are wanted at the same moment.
#[tokio::test]
async fn an_image_is_unpacked_once() {
    let world = World::new().await;
    let other = world.another_vm("other").await;
    let third = world.another_vm("third").await;
    let daemon = world.daemon(None).await;
    let run = world.start(world.vm.id, world.di.id).await;
    let run_of_other = world.start(other.id, world.di.id).await;
    world.until_up(world.vm.id, run).await;
    world.until_up(other.id, run_of_other).await;
    let run_of_third = world.start(third.id, world.di.id).await;
    world.until_up(third.id, run_of_third).await;
    assert_eq!((world.machine.counts().unpacked, world.machine.counts().started), (1, 3));
    daemon.stop().await;
}

/// Another run that is wanted of a running VM ends the old one and starts on an overlay of its own.
#[tokio::test]
async fn another_run_replaces_the_overlay() {
    let world = World::new().await;
    let vm = world.vm.id;
    let daemon = world.daemon(None).await;
    let first = world.start(vm, world.di.id).await;
    world.until_up(vm, first).await;
    let second = world.start(vm, world.di.id).await;
    let row = world.until_up(vm, second).await;
    assert_eq!((row.ended, row.reason), (None, None));
    let overlay = overlay_line(&world);
    assert!(overlay.contains(&format!("Some({second})")), "{overlay}");
    assert_eq!(world.machine.counts().started, 2);
    daemon.stop().await;
}

/// A run is up when its own agent has made its guest ready, however shortly before the agent of the
/// last run was there.
#[tokio::test]
async fn the_agent_of_the_last_run_makes_nothing_ready() {
    let world = World::new().await;
    let vm = world.vm.id;
    let daemon = world.daemon(None).await;
    for _ in 0..20 {
        let run = world.start(vm, world.di.id).await;
        world.until_up(vm, run).await;
        assert!(world.machine.guest(&world.desk()).is_some(), "run {run} is not ready");
    }
    daemon.stop().await;
}

/// The line of the VM's overlay.
fn overlay_line(world: &World) -> String {
    let path = world.layout.overlay(world.di.id, world.vm.id);
    let line = format!("subvolume {} ", path.display());
    world.machine.inventory().into_iter().find(|each| each.starts_with(&line)).unwrap()
}

/// With lasting overlays a stop keeps what the VM wrote, and its next run goes on with it.
#[tokio::test]
async fn a_lasting_overlay_goes_on() {
    let world = World::new().await;
    let vm = world.vm.id;
    world.store.set_config("vm.overlay.persistent", "1").await.unwrap();
    let daemon = world.daemon(None).await;
    let first = world.start(vm, world.di.id).await;
    world.until_up(vm, first).await;
    let overlay = overlay_line(&world);
    world.stop(vm).await;
    world.until_down(vm).await;
    let second = world.start(vm, world.di.id).await;
    world.until_up(vm, second).await;
    assert_eq!(overlay_line(&world), overlay);
    daemon.stop().await;
}

/// A setting that is taken back takes away nothing of what was to last; it is for the next start.
#[tokio::test]
async fn what_was_made_to_last_lasts_until_the_next_start() {
    let world = World::new().await;
    let vm = world.vm.id;
    world.store.set_config("vm.overlay.persistent", "1").await.unwrap();
    let daemon = world.daemon(None).await;
    let first = world.start(vm, world.di.id).await;
    world.until_up(vm, first).await;
    world.stop(vm).await;
    world.until_down(vm).await;
    let lasting = overlay_line(&world);
    world.store.set_config("vm.overlay.persistent", "0").await.unwrap();
    daemon.stop().await;
    let daemon = world.daemon(None).await;
    until("the next daemon to look at the VM", async || {
        let looked = daemon.fake.calls().iter().any(|call| call.name == "monitor");
        looked.then_some(()).ok_or("not yet")
    })
    .await;
    daemon.stop().await;
    assert_eq!(overlay_line(&world), lasting);
    let daemon = world.daemon(None).await;
    let second = world.start(vm, world.di.id).await;
    world.until_up(vm, second).await;
    assert_ne!(overlay_line(&world), lasting);
    world.stop(vm).await;
    world.until_down(vm).await;
    world.assert_nothing_left();
    daemon.stop().await;
}

/// What a VM wrote goes with it, however long it was to last.
#[tokio::test]
async fn a_deleted_vm_takes_its_lasting_overlay_along() {
    let world = World::new().await;
    let vm = world.vm.id;
    world.store.set_config("vm.overlay.persistent", "1").await.unwrap();
    let daemon = world.daemon(None).await;
    let run = world.start(vm, world.di.id).await;
    world.until_up(vm, run).await;
    world.stop(vm).await;
    world.until_down(vm).await;
    world.store.delete_vm(vm).await.unwrap();
    until_nothing_left(&world).await;
    daemon.stop().await;
}

/// What a run that crashed wrote is kept for its next try, not longer.
#[tokio::test]
async fn what_a_crashed_run_wrote_goes_when_it_is_stopped() {
    let world = World::new().await;
    let vm = world.vm.id;
    let daemon = world.daemon(None).await;
    let run = world.start(vm, world.di.id).await;
    world.until_up(vm, run).await;
    world.machine.crash_inside(&world.desk());
    world.until_ended(vm, Code::Crashed).await;
    assert!(overlay_line(&world).contains(&format!("Some({run})")));
    world.stop(vm).await;
    until_nothing_left(&world).await;
    daemon.stop().await;
}

/// A VM that its user shut down is stopped, and stays so until somebody wants another run.
#[tokio::test]
async fn what_is_shut_down_inside_stays_down() {
    let world = World::new().await;
    let vm = world.vm.id;
    let daemon = world.daemon(None).await;
    let run = world.start(vm, world.di.id).await;
    world.until_up(vm, run).await;
    world.machine.shut_down_inside(&world.desk());
    let row = world.until_ended(vm, Code::ShutDown).await;
    let ended = row.ended.unwrap();
    assert_eq!((ended.run, ended.kind, row.next_try), (run, EndKind::ShutDown, None));
    world.assert_nothing_left();
    // Time passes, and another daemon comes: it is told of the end by the row alone.
    world.pass(vm, 3_600_000).await;
    daemon.stop().await;
    let daemon = world.daemon(None).await;
    until("the next daemon to look at the VM", async || {
        let looked = daemon.fake.calls().iter().any(|call| call.name == "monitor");
        looked.then_some(()).ok_or("not yet")
    })
    .await;
    daemon.stop().await;
    assert_eq!(world.machine.counts().started, 1);
    world.assert_nothing_left();
    let daemon = world.daemon(None).await;
    let again = world.start(vm, world.di.id).await;
    let row = world.until_up(vm, again).await;
    assert_eq!((row.ended, row.reason), (None, None));
    daemon.stop().await;
}

/// A VM whose init dies is started again after a while, on what it wrote, and after the fourth time in
/// ten minutes no more until somebody wants another run.
#[tokio::test]
async fn what_crashes_too_often_is_given_up() {
    let world = World::new().await;
    let vm = world.vm.id;
    let daemon = world.daemon(None).await;
    let run = world.start(vm, world.di.id).await;
    world.until_up(vm, run).await;
    for (times, wait) in [(1, 2000), (2, 4000), (3, 8000)] {
        world.machine.crash_inside(&world.desk());
        let row = world.until_ended(vm, Code::Crashed).await;
        let at = row.ended.unwrap().at;
        assert_eq!((row.attempts, row.next_try), (times, Some(at.plus_millis(wait))));
        assert!(overlay_line(&world).contains(&format!("Some({run})")));
        world.pass(vm, wait).await;
        world.until_up(vm, run).await;
    }
    world.machine.crash_inside(&world.desk());
    let row = world.until_ended(vm, Code::CrashedTooOften).await;
    assert_eq!((row.attempts, row.next_try, row.run), (4, None, run));
    assert_eq!(world.machine.counts().started, 4);
    until_nothing_left(&world).await;
    let again = world.start(vm, world.di.id).await;
    world.until_up(vm, again).await;
    daemon.stop().await;
}

/// Crashes that are more than ten minutes apart are no reason to give up.
#[tokio::test]
async fn what_crashes_now_and_then_is_started_again() {
    let world = World::new().await;
    let vm = world.vm.id;
    let daemon = world.daemon(None).await;
    let run = world.start(vm, world.di.id).await;
    world.until_up(vm, run).await;
    for _ in 0..4 {
        world.machine.crash_inside(&world.desk());
        let row = world.until_ended(vm, Code::Crashed).await;
        assert_eq!(row.attempts, 1);
        world.pass(vm, 2000).await;
        world.until_up(vm, run).await;
        world.pass(vm, 600_000).await;
    }
    daemon.stop().await;
}

/// A monitor that dies takes its container with it; the groups that stay behind are removed, and the VM
/// is started again.
#[tokio::test]
async fn a_lost_monitor_is_a_crash() {
    let world = World::new().await;
    let vm = world.vm.id;
    let daemon = world.daemon(None).await;
    let run = world.start(vm, world.di.id).await;
    world.until_up(vm, run).await;
    world.machine.lose_monitor(&world.desk());
    world.until_ended(vm, Code::Crashed).await;
    let groups = |line: &String| line.starts_with("group ");
    assert!(!world.machine.inventory().iter().any(groups));
    world.pass(vm, 2000).await;
    world.until_up(vm, run).await;
    daemon.stop().await;
}

/// A container that LXC cannot start is tried again, and the reason is what LXC said.
#[tokio::test]
async fn a_container_that_does_not_come_up_says_why() {
    let world = World::new().await;
    let vm = world.vm.id;
    let daemon = world.daemon(None).await;
    world.machine.refuse_starts(Some("no such bridge"));
    let run = world.start(vm, world.di.id).await;
    let row = world.until_ended(vm, Code::StartFailed).await;
    let reason = row.reason.unwrap();
    assert_eq!(reason.args.get("error").map(String::as_str), Some("no such bridge"));
    world.machine.refuse_starts(None);
    world.pass(vm, 2000).await;
    let row = world.until_up(vm, run).await;
    assert_eq!(row.reason, None);
    daemon.stop().await;
}

/// A VM that runs and has used up what it may write says so, and says so no more when it has room again;
/// that programs in it were killed for want of memory comes first, and stays.
#[tokio::test]
async fn what_a_running_vm_has_used_up_is_said() {
    let world = World::new().await;
    let vm = world.vm.id;
    let daemon = world.daemon(None).await;
    let run = world.start(vm, world.di.id).await;
    world.until_up(vm, run).await;
    let overlay = world.layout.overlay(world.di.id, vm);
    let says = async |code: Option<Code>| {
        let said = |row: &Observed| row.reason.as_ref().map(|reason| reason.code) == code;
        let row = world.until(vm, "what it has used up", said).await;
        assert_eq!((row.run, row.seen), (run, Seen::Running));
    };
    world.machine.write(&overlay, 20 << 30);
    says(Some(Code::DiskUsedUp)).await;
    world.machine.write(&overlay, 0);
    says(None).await;
    world.machine.starve(&daemon.node.directory(vm), 2);
    world.machine.write(&overlay, 20 << 30);
    says(Some(Code::MemoryUsedUp)).await;
    daemon.stop().await;
}

/// A reboot from inside is no end: the same run goes on under the same monitor, with a new agent.
#[tokio::test]
async fn a_reboot_inside_goes_on_with_the_same_run() {
    let world = World::new().await;
    let (vm, desk) = (world.vm.id, world.desk());
    let daemon = world.daemon(None).await;
    let run = world.start(vm, world.di.id).await;
    world.until_up(vm, run).await;
    let before = world.machine.processes(&desk).unwrap();
    world.machine.reboot_inside(&desk);
    until("an agent in the rebooted VM", async || {
        world.machine.guest(&desk).map(drop).ok_or("no agent")
    })
    .await;
    let row = world.until_up(vm, run).await;
    assert_eq!((row.ended, row.reason), (None, None));
    let after = world.machine.processes(&desk).unwrap();
    assert_eq!(after.0, before.0);
    assert_ne!(after.1, before.1);
    let counts = world.machine.counts();
    assert_eq!((counts.started, counts.injected), (1, 2));
    daemon.stop().await;
}

/// A daemon that stops or is killed ends nothing, and the next one goes on with what runs.
#[tokio::test]
async fn a_running_container_is_adopted() {
    let world = World::new().await;
    let (vm, desk) = (world.vm.id, world.desk());
    let daemon = world.daemon(None).await;
    let run = world.start(vm, world.di.id).await;
    world.until_up(vm, run).await;
    let before = (world.machine.processes(&desk), world.machine.counts());
    daemon.stop().await;
    let second = world.daemon(None).await;
    until_ready(&second.node, vm, run).await;
    second.kill().await;
    let third = world.daemon(None).await;
    until_ready(&third.node, vm, run).await;
    assert_eq!((world.machine.processes(&desk), world.machine.counts()), before);
    world.until_up(vm, run).await;
    // What it adopted it can also end.
    world.stop(vm).await;
    world.until_down(vm).await;
    world.assert_nothing_left();
    third.stop().await;
}

/// A VM that was deleted while no daemon ran is taken down by the next one, and its home stays.
#[tokio::test]
async fn a_deleted_vm_is_taken_down() {
    let world = World::new().await;
    let vm = world.vm.id;
    run_then_delete(&world).await;
    let daemon = world.daemon(None).await;
    until_nothing_left(&world).await;
    assert_eq!(world.machine.counts().asked, 1, "it was asked to shut down first");
    assert!(world.layout.home(vm).join("ada").is_dir());
    assert_eq!(world.row(vm).await, None);
    daemon.stop().await;
}

/// A VM that was deleted, and that shut itself down meanwhile, is cleared away although its end can be
/// told to nobody.
#[tokio::test]
async fn a_deleted_vm_that_ended_is_cleared_away() {
    let world = World::new().await;
    run_then_delete(&world).await;
    world.machine.shut_down_inside(&world.desk());
    let daemon = world.daemon(None).await;
    until_nothing_left(&world).await;
    daemon.stop().await;
}

/// Runs a VM, and deletes it when no daemon is there to see it.
async fn run_then_delete(world: &World) {
    let vm = world.vm.id;
    let daemon = world.daemon(None).await;
    let run = world.start(vm, world.di.id).await;
    world.until_up(vm, run).await;
    daemon.kill().await;
    world.stop(vm).await;
    world.store.delete_observed(vm, world.host).await.unwrap();
    world.store.delete_vm(vm).await.unwrap();
}

/// Waits until of a VM nothing is left but the base it had.
async fn until_nothing_left(world: &World) {
    until("everything of the VM to be gone", async || {
        let left = world.machine.inventory();
        let gone = left.len() == 1 && !world.layout.vms.join(world.desk()).exists();
        if gone { Ok(()) } else { Err(left) }
    })
    .await;
    world.assert_nothing_left();
}

/// An image whose file is not the registered one is not started from; the reason says so, and it is
/// tried again ever more slowly. The right file makes it go on.
#[tokio::test]
async fn a_changed_image_is_refused_without_haste() {
    let world = World::new().await;
    let (vm, image) = (world.vm.id, world.layout.image(&world.di));
    world.machine.put_image(&image, "cd34");
    let daemon = world.daemon(None).await;
    let run = world.start(vm, world.di.id).await;
    let twice = world.until(vm, "the second failure", |row| row.attempts == 2).await;
    let reason = twice.reason.unwrap();
    assert_eq!((reason.code, twice.run, twice.ended), (Code::ImageChanged, run, None));
    assert_eq!(reason.args.get("found").map(String::as_str), Some("cd34"));
    assert_eq!(twice.next_try, Some(twice.seen_at.plus_millis(2000)));
    assert_eq!(world.machine.counts().unpacked, 2, "once for each failure");
    assert_eq!(world.machine.inventory(), [""; 0], "what was unpacked is gone");
    world.machine.put_image(&image, crate::world::SHA256);
    // A change of its row is heard at once.
    world.pass(vm, 1).await;
    let row = world.until_up(vm, run).await;
    assert_eq!((row.reason, row.attempts), (None, 0));
    daemon.stop().await;
}

/// An image whose file is missing is another reason, and the VM can still be stopped.
#[tokio::test]
async fn a_missing_image_does_not_keep_a_vm_from_stopping() {
    let world = World::new().await;
    let vm = world.vm.id;
    // Another is there: the storage is mounted.
    let other = world.layout.images.join("9-other.tar");
    std::fs::create_dir_all(&world.layout.images).unwrap();
    std::fs::write(&other, "").unwrap();
    world.machine.forget_image(&world.layout.image(&world.di));
    world.machine.put_image(Path::new(&other), "ef56");
    let daemon = world.daemon(None).await;
    world.start(vm, world.di.id).await;
    let missing = |row: &model::vm::Observed| {
        row.attempts > 0 && row.reason.as_ref().is_some_and(|why| why.code == Code::ImageMissing)
    };
    world.until(vm, "the reason", missing).await;
    world.stop(vm).await;
    world.until_down(vm).await;
    assert_eq!(world.machine.inventory(), [""; 0]);
    daemon.stop().await;
}

/// A VM whose time is up is stopped, although it is still wanted on.
#[tokio::test]
async fn a_vm_whose_time_is_up_is_stopped() {
    let world = World::new().await;
    let vm = world.vm.id;
    let daemon = world.daemon(None).await;
    let run = world.start(vm, world.di.id).await;
    world.until_up(vm, run).await;
    let now = world.store.desired(vm).await.unwrap().unwrap();
    let at = Timestamp(now.asked_at.0 + 1000);
    let expiring = model::vm::Desired { expires_hard: Some(at), ..now.clone() };
    assert!(world.store.set_desired(&expiring, now.revision).await.unwrap());
    world.pass(vm, 1000).await;
    world.until_down(vm).await;
    world.assert_nothing_left();
    daemon.stop().await;
}
