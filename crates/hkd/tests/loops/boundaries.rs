//! A daemon that dies at any of its calls leaves what the next one goes on from.

use futures::{StreamExt, stream};
use hkd::linux::fake::{Call, Fault, How, Kind, When};
use model::vm::{Observed, Seen};

use crate::world::{Daemon, Template, World};

/// How many hosts are worked on at once.
const AT_ONCE: usize = 16;
/// Of the calls that only look, one in so many: between two changes they all leave the same.
const LOOKS: usize = 12;

/// A start and a stop without any fault: what is called.
async fn calls(template: &Template) -> Vec<Call> {
    let world = World::of(template).await;
    let daemon = world.daemon(None).await;
    let run = world.start(world.vm.id, world.di.id).await;
    world.until_up(world.vm.id, run).await;
    world.stop(world.vm.id).await;
    world.until_down(world.vm.id).await;
    world.assert_nothing_left();
    let calls = daemon.fake.calls();
    daemon.stop().await;
    calls
}

/// Every place at which a daemon may die while it makes these calls.
fn faults(calls: &[Call], how: How) -> Vec<(&'static str, Fault)> {
    let of = |kind| calls.iter().filter(move |call| call.kind == kind).enumerate();
    let mut faults = Vec::new();
    for (index, call) in of(Kind::Change) {
        for when in [When::Before, When::Inside, When::After] {
            if when != When::Inside || call.halves {
                faults.push((call.name, Fault { kind: Kind::Change, index, when, how }));
            }
        }
    }
    for (index, call) in of(Kind::Look).step_by(LOOKS) {
        let when = When::Before;
        faults.push((call.name, Fault { kind: Kind::Look, index, when, how }));
    }
    faults
}

/// What fails for good is tried ever more slowly, whichever change it is: a start and a stop that cannot
/// succeed never loop hot.
#[tokio::test]
async fn what_cannot_succeed_is_tried_ever_more_slowly() {
    let template = Template::new().await;
    let mut faults = faults(&calls(&template).await, How::Break);
    faults.retain(|(_, fault)| fault.kind == Kind::Change && fault.when == When::Before);
    // A daemon that cannot prepare its machine ends: how soon it is there again is its supervisor's.
    let rounds = faults.into_iter().skip_while(|(name, _)| *name != "create_subvolume");
    let template = &template;
    let rounds = stream::iter(rounds).map(|(name, fault)| slowed(template, name, fault));
    rounds.buffer_unordered(4 * AT_ONCE).collect::<Vec<()>>().await;
}

/// A start and a stop on a machine on which one change fails for good.
async fn slowed(template: &Template, name: &str, fault: Fault) {
    // Putting the agent in waits by itself for what is only just coming up.
    let (passes, most) = match name {
        "inject" => (1, 140),
        // Who was asked in vain is asked again after a while, and ended when the time is over.
        "ask_to_stop" => (1, 1),
        _ => (2, 3),
    };
    let world = World::of(template).await;
    let vm = world.vm.id;
    let daemon = world.daemon(Some(fault)).await;
    let run = world.start(vm, world.di.id).await;
    let tried = |row: &Observed| row.attempts >= passes;
    let up = |row: &Observed| (row.run, row.seen) == (run, Seen::Running);
    let row = world.until(vm, "a failure, or none", |row| tried(row) || up(row)).await;
    if !tried(&row) {
        world.stop(vm).await;
        world.until(vm, "a failure on the way down", tried).await;
    }
    let interrupted = daemon.fake.interrupted();
    let most = most * usize::try_from(passes).unwrap();
    assert!((1..=most).contains(&interrupted), "{name} was tried {interrupted} times: {fault:?}");
    daemon.stop().await;
}

/// Waits until what is wanted is so, or until the daemon has died; then another goes on. Returns the
/// one that lives, and whether one died.
async fn reach(world: &World, daemon: Daemon, goal: impl AsyncFn()) -> (Daemon, bool) {
    let died = tokio::select! {
        biased;
        () = daemon.fake.death() => true,
        () = goal() => false,
    };
    if !died {
        return (daemon, false);
    }
    daemon.kill().await;
    let next = world.daemon(None).await;
    goal().await;
    (next, true)
}

/// Starts and stops a VM with one fault on the way. Whether it came to pass.
async fn round(template: &Template, fault: Fault) -> bool {
    let world = World::of(template).await;
    let vm = world.vm.id;
    let daemon = world.daemon(Some(fault)).await;
    let run = world.start(vm, world.di.id).await;
    let up = async || drop(world.until_up(vm, run).await);
    let (daemon, died_up) = reach(&world, daemon, up).await;
    // Whatever came between, the guest and the home are their user's.
    let guest = world.machine.guest(&world.desk()).map(|guest| guest.user.uid);
    assert_eq!(guest, Some(world.user.uid));
    let home = world.layout.home(vm).join(&world.user.login);
    assert_eq!(world.machine.owner(&home), Some((world.user.uid, world.user.gid)));
    assert_eq!(world.machine.harm(), [""; 0]);
    world.stop(vm).await;
    let down = async || drop(world.until_down(vm).await);
    let (daemon, died_down) = reach(&world, daemon, down).await;
    world.assert_nothing_left();
    let row = world.row(vm).await.unwrap();
    assert_eq!((row.ended, row.reason, row.attempts), (None, None, 0), "{fault:?}");
    daemon.stop().await;
    died_up || died_down
}

/// A daemon dies before, inside or after any of the calls of a start and a stop; the next one brings the
/// VM up, or leaves nothing of it, and nobody is told of a failure.
#[tokio::test]
async fn a_daemon_may_die_at_any_call() {
    let template = Template::new().await;
    let calls = calls(&template).await;
    let faults = faults(&calls, How::Die);
    println!("{} calls, {} rounds", calls.len(), faults.len());
    let template = &template;
    let mut rounds = stream::iter(faults)
        .map(async |(name, fault)| (name, fault, round(template, fault).await))
        .buffer_unordered(AT_ONCE);
    while let Some((name, fault, died)) = rounds.next().await {
        // How often is looked depends on time; the changes come in the same order always.
        assert!(died || fault.kind == Kind::Look, "{name} was not reached: {fault:?}");
    }
}

/// A change that fails once, with no effect or with its whole effect, is tried again; in the end nobody
/// is told of a failure any more.
#[tokio::test]
async fn any_change_may_fail_once() {
    let template = Template::new().await;
    let mut faults = faults(&calls(&template).await, How::Fail);
    faults.retain(|(_, fault)| fault.kind == Kind::Change && fault.when != When::Inside);
    let template = &template;
    let mut rounds =
        stream::iter(faults).map(|(_, fault)| round(template, fault)).buffer_unordered(4 * AT_ONCE);
    while let Some(died) = rounds.next().await {
        assert!(!died);
    }
}
