//! A daemon that dies at any of its calls leaves what the next one goes on from.

use std::collections::HashSet;

use futures::{StreamExt, stream};
use hkd::linux::fake::{Call, Fault, How, Kind, When};
use model::vm::{Observed, Seen};

use crate::{
    courses::Course,
    world::{Template, World},
};

/// How many hosts are worked on at once.
const AT_ONCE: usize = 16;

/// Of the calls that only look, one in so many fails; a daemon dies at fewer: between two changes they all
/// leave the same.
const LOOKS: (usize, usize) = (3, 12);
/// How many changes before a call say where in a life it is made: what is between the same changes is the
/// same place, whatever the course.
const SURROUNDINGS: usize = 3;

/// Every place at which a daemon may be interrupted while it makes these calls, but those in `known`.
fn faults(calls: &[Call], how: How, known: &mut HashSet<Place>) -> Vec<(&'static str, Fault)> {
    let mut faults = Vec::new();
    let (mut changes, mut looks) = (Vec::new(), 0);
    let sparse = if how == How::Die { LOOKS.1 } else { LOOKS.0 };
    for call in calls {
        let before: Vec<&str> = changes.iter().rev().take(SURROUNDINGS).copied().collect();
        let index = match call.kind {
            Kind::Change => changes.len(),
            Kind::Look => looks,
        };
        let at: &[When] = match (call.kind, call.halves) {
            (Kind::Look, _) if looks % sparse != 0 => &[],
            // What only looks leaves the same whether it was interrupted before or after.
            (Kind::Look, _) => &[When::Before],
            (Kind::Change, false) => &[When::Before, When::After],
            (Kind::Change, true) => &[When::Before, When::Inside, When::After],
        };
        for &when in at.iter().filter(|when| known.insert((before.clone(), call.name, **when))) {
            faults.push((call.name, Fault { kind: call.kind, index, when, how }));
        }
        match call.kind {
            Kind::Change => changes.push(call.name),
            Kind::Look => looks += 1,
        }
    }
    faults
}

/// A call, where in it, and the changes before.
type Place = (Vec<&'static str>, &'static str, When);

/// What fails for good is tried ever more slowly, whichever change it is: a start and a stop that cannot
/// succeed never loop hot.
#[tokio::test]
async fn what_cannot_succeed_is_tried_ever_more_slowly() {
    let template = Template::new().await;
    let calls = Course::StartAndStop.take(&template, None).await.calls;
    let mut faults = faults(&calls, How::Break, &mut HashSet::new());
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

/// Every course, with every place at which a daemon may be interrupted in it.
async fn rounds(template: &Template, how: How) -> Vec<(Course, &'static str, Fault)> {
    let (mut rounds, mut known) = (Vec::new(), HashSet::new());
    for course in Course::ALL {
        let calls = course.take(template, None).await.calls;
        if course == Course::Deleted {
            // The same calls, but of a VM that has no row.
            known.clear();
        }
        let faults = faults(&calls, how, &mut known);
        println!("{course:?}: {} calls, {} rounds", calls.len(), faults.len());
        rounds.extend(faults.into_iter().map(|(name, fault)| (course, name, fault)));
    }
    rounds
}

/// A daemon dies before, inside or after any of its calls: of a start and a stop, of ending what does not
/// hear, of adopting, of clearing up after a lost monitor, a deleted VM, other images, and what is
/// nobody's. The next one goes on; nothing is left, and nobody is told of a failure.
#[tokio::test]
async fn a_daemon_may_die_at_any_call() {
    let template = Template::new().await;
    let rounds = rounds(&template, How::Die).await;
    let template = &template;
    let mut rounds = stream::iter(rounds)
        .map(async |(course, name, fault)| {
            (course, name, fault, course.take(template, Some(fault)).await.interrupted)
        })
        .buffer_unordered(AT_ONCE);
    while let Some((course, name, fault, interrupted)) = rounds.next().await {
        // How often is looked depends on time; the changes come in the same order always.
        let reached = interrupted > 0 || fault.kind == Kind::Look;
        assert!(reached, "{course:?}: {name} was not reached: {fault:?}");
    }
}

/// A call that fails once, a change with no effect or with its whole effect, or a look, is made again; in
/// the end nobody is told of a failure any more.
#[tokio::test]
async fn any_call_may_fail_once() {
    let template = Template::new().await;
    let mut rounds = rounds(&template, How::Fail).await;
    rounds.retain(|(_, _, fault)| fault.when != When::Inside);
    let template = &template;
    let rounds = stream::iter(rounds)
        .map(async |(course, _, fault)| drop(course.take(template, Some(fault)).await));
    rounds.buffer_unordered(4 * AT_ONCE).collect::<Vec<()>>().await;
}
