//! The whole state space of the planner, and mutations of it that must be caught.

use std::collections::HashSet;

use super::*;

type Mutant = Box<dyn Fn(Goal, &Seen, bool, &[Step]) -> Next>;
type Planner<'a> = &'a dyn Fn(Goal, &Seen, bool, &[Step]) -> Next;

const RUNS: [Run; 2] = [Run(1), Run(2)];
const IMAGES: [DiId; 2] = [DiId(1), DiId(2)];
const EMPTY: Seen = Seen {
    record: None,
    base: None,
    overlay: None,
    other_overlays: false,
    other_lasting: false,
    root: false,
    home: false,
    rules: false,
    link: false,
    groups: false,
    container: None,
};

fn records() -> Vec<Option<Record>> {
    let mut all = vec![None, Some(Record::Empty)];
    for run in RUNS {
        for di in IMAGES {
            for (started, noted) in [(false, false), (true, false), (true, true)] {
                all.push(Some(Record::Whole { run, di, started, noted }));
            }
        }
    }
    all
}

fn containers() -> Vec<Option<Container>> {
    let mut all = vec![None];
    for agent in [Agent::Absent, Agent::Present, Agent::Ready] {
        for stopping in [Stopping::No, Stopping::Asked, Stopping::Overdue] {
            all.push(Some(Container { agent, stopping }));
        }
    }
    all
}

fn goals() -> Vec<Goal> {
    let mut all: Vec<Goal> =
        [After::Keep, After::AsMade, After::Discard].map(|overlay| Goal::Down { overlay }).into();
    for (home, persistent) in [(true, false), (true, true), (false, false), (false, true)] {
        all.push(Goal::Up { run: Run(2), di: DiId(1), home, persistent });
    }
    all
}

/// Every state there is, sane or not.
fn every_seen(mut visit: impl FnMut(Seen)) {
    let bases = [None, Some(Base::Partial), Some(Base::Whole), Some(Base::Stale)];
    let overlays = [
        None,
        Some(Overlay::Partial),
        Some(Overlay::Of(Run(1))),
        Some(Overlay::Of(Run(2))),
        Some(Overlay::Lasting),
    ];
    for record in records() {
        for base in bases {
            for overlay in overlays {
                for container in containers() {
                    for bits in 0..128_u8 {
                        let bit = |n: u8| bits & (1 << n) != 0;
                        visit(Seen {
                            record,
                            base,
                            overlay,
                            other_overlays: bit(0),
                            root: bit(1),
                            home: bit(2),
                            rules: bit(3),
                            link: bit(4),
                            groups: bit(5),
                            other_lasting: bit(6),
                            container,
                        });
                    }
                }
            }
        }
    }
}

/// What a step leaves behind when it is done, and when it is cut short in the middle.
fn outcomes(step: Step, goal: Goal, seen: Seen) -> (Seen, Vec<Seen>) {
    let mut done = seen;
    let mut halves = vec![seen];
    let (run, di, persistent) = match goal {
        Goal::Up { run, di, persistent, .. } => (run, di, persistent),
        Goal::Down { .. } => (Run(0), DiId(0), false),
    };
    match step {
        Step::DiscardBase => done.base = None,
        Step::Unpack => {
            halves.push(Seen { base: Some(Base::Partial), ..seen });
            done.base = Some(Base::Whole);
        }
        Step::Record => {
            halves.push(Seen { record: Some(Record::Empty), ..seen });
            done.record = Some(Record::Whole { run, di, started: false, noted: false });
        }
        Step::DiscardOverlay => done.overlay = None,
        Step::DiscardOthers => done.other_overlays = false,
        Step::DiscardLasting => done.other_lasting = false,
        Step::Snapshot => {
            halves.push(Seen { overlay: Some(Overlay::Partial), ..seen });
            done.overlay = Some(if persistent { Overlay::Lasting } else { Overlay::Of(run) });
        }
        Step::MountRoot => done.root = true,
        Step::MountHome => done.home = true,
        Step::AllowNetwork => done.rules = true,
        Step::Start => {
            if let Some(Record::Whole { started, .. }) = &mut done.record {
                *started = true;
            }
            halves.push(done);
            done.groups = true;
            halves.push(done);
            done.link = true;
            halves.push(done);
            done.container = Some(Container { agent: Agent::Absent, stopping: Stopping::No });
        }
        Step::Inject => {
            done.container = seen.container.map(|c| Container { agent: Agent::Present, ..c });
        }
        Step::Prepare => {
            done.container = seen.container.map(|c| Container { agent: Agent::Ready, ..c });
        }
        Step::AskToStop => {
            done.container = seen.container.map(|c| Container { stopping: Stopping::Asked, ..c });
        }
        Step::Kill => done.container = None,
        Step::RemoveLink => done.link = false,
        Step::ForbidNetwork => done.rules = false,
        Step::RemoveGroups => done.groups = false,
        Step::UnmountHome => done.home = false,
        Step::UnmountRoot => done.root = false,
        Step::NoteEnd => {
            if let Some(Record::Whole { noted, .. }) = &mut done.record {
                *noted = true;
            }
        }
        Step::Forget => {
            halves.push(Seen { record: Some(Record::Empty), ..seen });
            done.record = None;
        }
    }
    (done, halves)
}

/// What must hold before a step, whatever the state.
fn safe(step: Step, goal: Goal, seen: &Seen, lease: bool) -> Result<(), String> {
    let check = |good: bool, what: &str| {
        if good { Ok(()) } else { Err(format!("{step:?}: {what} ({goal:?}, {seen:?})")) }
    };
    let whole = match seen.record {
        Some(Record::Whole { run, di, started, noted }) => Some((run, di, started, noted)),
        _ => None,
    };
    match step {
        Step::Start => {
            let Goal::Up { run, di, home, persistent } = goal else {
                return check(false, "not wanted");
            };
            check(lease, "without a lease")?;
            check(whole == Some((run, di, false, false)), "not what was recorded")?;
            let fits = match seen.overlay {
                Some(Overlay::Of(of)) => of == run,
                Some(Overlay::Lasting) => persistent,
                _ => false,
            };
            check(fits, "on the wrong overlay")?;
            check(seen.root && seen.home >= home && seen.rules, "before all is there")?;
            check(!seen.link && !seen.groups, "onto what another left")?;
        }
        Step::AskToStop | Step::Kill => {
            check(seen.container.is_some(), "nothing to end")?;
            let ours = matches!(goal, Goal::Up { run, .. } if whole.is_some_and(|w| w.0 == run));
            let asked = seen.container.is_some_and(|c| c.stopping != Stopping::No);
            check(!(ours && lease) || asked, "a run that is wanted")?;
            let overdue = seen.container.is_some_and(|c| c.stopping == Stopping::Overdue);
            check(step == Step::AskToStop || overdue || whole.is_none(), "without asking")?;
        }
        Step::Snapshot => {
            check(seen.base == Some(Base::Whole), "of half an image")?;
            check(seen.overlay.is_none() && !seen.root, "over an old overlay")?;
            check(whole.is_some_and(|w| !w.2), "without a record")?;
        }
        Step::MountRoot => {
            check(seen.overlay.is_some_and(|o| o != Overlay::Partial), "of no overlay")?;
        }
        Step::DiscardOverlay | Step::DiscardOthers | Step::DiscardLasting => {
            check(!seen.root, "under a mount")?;
            match goal {
                Goal::Down { overlay } => {
                    let lasts = match step {
                        Step::DiscardOverlay => seen.overlay == Some(Overlay::Lasting),
                        step => step == Step::DiscardLasting,
                    };
                    check(
                        overlay == After::Discard || (overlay == After::AsMade && !lasts),
                        "that was to be kept",
                    )?;
                }
                Goal::Up { run, persistent, .. } => {
                    let wanted = match seen.overlay {
                        Some(Overlay::Of(of)) => of == run,
                        Some(Overlay::Lasting) => persistent,
                        _ => false,
                    };
                    check(lease, "without a lease")?;
                    check(step != Step::DiscardOverlay || !wanted, "that was to be kept")?;
                    check(step != Step::DiscardLasting || !persistent, "that was to be kept")?;
                }
            }
        }
        Step::Forget => {
            check(!leftovers(seen), "with things left")?;
            check(!owed(goal, seen), "before its overlay is gone")?;
            check(whole.is_none_or(|w| !w.2 || w.3), "before its end was noted")?;
        }
        Step::NoteEnd => check(whole.is_some_and(|w| w.2 && !w.3), "of nothing")?,
        Step::Record => check(seen.record.is_none() && !leftovers(seen), "over another")?,
        Step::Unpack | Step::DiscardBase => check(seen.base != Some(Base::Whole), "a whole base")?,
        _ => {}
    }
    let living = matches!(
        step,
        Step::AskToStop | Step::Kill | Step::Inject | Step::Prepare | Step::AllowNetwork
    );
    check(living || seen.container.is_none(), "under a living container")
}

/// Whether an overlay is there that is to go when this is the goal.
fn owed(goal: Goal, seen: &Seen) -> bool {
    let passing = matches!(seen.overlay, Some(Overlay::Partial | Overlay::Of(_)));
    match goal {
        Goal::Up { .. } | Goal::Down { overlay: After::Keep } => false,
        Goal::Down { overlay: After::AsMade } => passing || seen.other_overlays,
        Goal::Down { overlay: After::Discard } => {
            seen.overlay.is_some() || seen.other_overlays || seen.other_lasting
        }
    }
}

/// From every state, every goal is reached in a bounded number of safe steps.
fn converges(plan: Planner<'_>) -> Result<usize, String> {
    let mut longest = 0;
    let mut wrong = None;
    every_seen(|start| {
        for goal in goals() {
            for lease in [true, false] {
                if wrong.is_none() {
                    match reach(plan, start, goal, lease) {
                        Ok(steps) => longest = longest.max(steps),
                        Err(why) => wrong = Some(why),
                    }
                }
            }
        }
    });
    wrong.map_or(Ok(longest), Err)
}

fn reach(plan: Planner<'_>, start: Seen, goal: Goal, lease: bool) -> Result<usize, String> {
    let mut seen = start;
    for steps in 0..40 {
        match plan(goal, &seen, lease, &[]) {
            Next::Settled => return settled(goal, &seen, lease).map(|()| steps),
            Next::Wait => {
                let container = seen.container.as_mut().ok_or("waits for nothing")?;
                container.stopping = Stopping::Overdue;
            }
            Next::Do(step) => {
                safe(step, goal, &seen, lease)?;
                seen = outcomes(step, goal, seen).0;
            }
        }
    }
    Err(format!("{goal:?} from {start:?} loops at {seen:?}"))
}

fn settled(goal: Goal, seen: &Seen, lease: bool) -> Result<(), String> {
    let good = match goal {
        Goal::Up { run, .. } if lease => {
            let ours = matches!(seen.record, Some(Record::Whole { run: r, .. }) if r == run);
            let up = Container { agent: Agent::Ready, stopping: Stopping::No };
            ours && seen.container == Some(up) && seen.rules
        }
        Goal::Up { .. } | Goal::Down { .. } => {
            let gone = seen.container.is_none() && seen.record.is_none() && !leftovers(seen);
            gone && !owed(goal, seen)
        }
    };
    if good { Ok(()) } else { Err(format!("{goal:?} settles at {seen:?}")) }
}

/// Crashes anywhere, containers that end at any time, and changes of mind: from nothing, no state is
/// reached in which a step is unsafe.
fn survives(plan: Planner<'_>) -> Result<usize, String> {
    let mut reached = HashSet::new();
    let mut todo = vec![EMPTY];
    let mut goals = goals();
    goals.push(Goal::Up { run: Run(1), di: DiId(1), home: true, persistent: false });
    while let Some(seen) = todo.pop() {
        if !reached.insert(seen) {
            continue;
        }
        for goal in &goals {
            for lease in [true, false] {
                match plan(*goal, &seen, lease, &[]) {
                    Next::Settled => {}
                    Next::Wait => {
                        let overdue =
                            seen.container.map(|c| Container { stopping: Stopping::Overdue, ..c });
                        todo.push(Seen { container: overdue, ..seen });
                    }
                    Next::Do(step) => {
                        safe(step, *goal, &seen, lease)?;
                        let (done, halves) = outcomes(step, *goal, seen);
                        todo.push(done);
                        todo.extend(halves);
                    }
                }
            }
        }
        if seen.container.is_some() {
            // It ends by itself, taking its link along or not.
            todo.push(Seen { container: None, ..seen });
            todo.push(Seen { container: None, link: false, groups: false, ..seen });
            // A reboot from inside: the agent is gone.
            let rebooted = seen.container.map(|c| Container { agent: Agent::Absent, ..c });
            todo.push(Seen { container: rebooted, ..seen });
        }
    }
    Ok(reached.len())
}

/// The planner's whole state space enumerated: every start converges.
#[test]
fn every_state_converges_on_every_goal() {
    let longest = converges(&next).unwrap();
    assert!(longest < 25, "{longest} steps");
}

/// Every crash point is safe.
#[test]
fn no_crash_leads_to_an_unsafe_step() {
    let reached = survives(&next).unwrap();
    assert!(reached > 100, "only {reached} states reached: the model does not crash");
}

/// Nothing but another run, power down (which hard expiry is, too) or a lost lease leads to a stop.
#[test]
fn a_wanted_run_is_never_stopped() {
    every_seen(|seen| {
        let Some(Container { stopping: Stopping::No, .. }) = seen.container else { return };
        let Some(Record::Whole { run, .. }) = seen.record else { return };
        for (home, persistent) in [(true, false), (true, true), (false, false), (false, true)] {
            for di in IMAGES {
                let goal = Goal::Up { run, di, home, persistent };
                let step = next(goal, &seen, true, &[]);
                assert!(
                    matches!(
                        step,
                        Next::Settled | Next::Do(Step::AllowNetwork | Step::Inject | Step::Prepare)
                    ),
                    "{step:?} of {seen:?}"
                );
            }
        }
    });
}

/// A step that fails on the way down does not hold up the others, and the record stays until all is
/// gone.
#[test]
fn a_failing_step_holds_up_only_what_depends_on_it() {
    let seen = Seen {
        record: Some(Record::Whole { run: Run(1), di: DiId(1), started: true, noted: true }),
        root: true,
        home: true,
        link: true,
        overlay: Some(Overlay::Of(Run(1))),
        ..EMPTY
    };
    let goal = Goal::Down { overlay: After::AsMade };
    let after = next(goal, &seen, true, &[Step::RemoveLink, Step::UnmountHome]);
    assert_eq!(after, Next::Do(Step::UnmountRoot));
    let stuck = Seen { root: false, ..seen };
    let after = next(goal, &stuck, true, &[Step::RemoveLink, Step::UnmountHome]);
    assert_eq!(after, Next::Do(Step::DiscardOverlay));
    let after =
        next(goal, &Seen { link: false, home: false, ..stuck }, true, &[Step::DiscardOverlay]);
    assert_eq!(after, Next::Settled, "the record tells that the overlay is to go");
    let rest = Seen { overlay: None, ..stuck };
    let after = next(goal, &rest, true, &[Step::RemoveLink, Step::UnmountHome]);
    assert_eq!(after, Next::Settled, "the record outlives what could not be removed");
}

/// Hand-made mutations of the planner are caught.
#[test]
fn mutations_are_caught() {
    fn instead(step: Step, other: Next) -> impl Fn(Goal, &Seen, bool, &[Step]) -> Next {
        move |goal, seen, lease, failed| match next(goal, seen, lease, failed) {
            Next::Do(planned) if planned == step => other,
            planned => planned,
        }
    }
    let no_lease = |goal, seen: &Seen, _, failed: &[Step]| next(goal, seen, true, failed);
    let always_keep = |goal, seen: &Seen, lease, failed: &[Step]| match goal {
        Goal::Down { .. } => next(Goal::Down { overlay: After::Keep }, seen, lease, failed),
        up @ Goal::Up { .. } => next(up, seen, lease, failed),
    };
    let never_keep = |goal, seen: &Seen, lease, failed: &[Step]| match goal {
        Goal::Down { .. } => next(Goal::Down { overlay: After::Discard }, seen, lease, failed),
        up @ Goal::Up { .. } => next(up, seen, lease, failed),
    };
    let forgets_homes = |goal, seen: &Seen, lease, failed: &[Step]| match goal {
        Goal::Up { run, di, persistent, .. } => {
            next(Goal::Up { run, di, home: false, persistent }, seen, lease, failed)
        }
        down @ Goal::Down { .. } => next(down, seen, lease, failed),
    };
    let old_overlays = |goal, seen: &Seen, lease, failed: &[Step]| match goal {
        Goal::Up { run, di, home, .. } => {
            next(Goal::Up { run, di, home, persistent: true }, seen, lease, failed)
        }
        down @ Goal::Down { .. } => next(down, seen, lease, failed),
    };
    let blind = |blinded: fn(&mut Seen)| {
        move |goal, seen: &Seen, lease, failed: &[Step]| {
            let mut seen = *seen;
            blinded(&mut seen);
            next(goal, &seen, lease, failed)
        }
    };
    let mutants: Vec<(&str, Mutant)> = vec![
        ("starts without a lease", Box::new(no_lease)),
        ("keeps every overlay", Box::new(always_keep)),
        ("keeps no overlay", Box::new(never_keep)),
        ("forgets the home", Box::new(forgets_homes)),
        ("starts on an old overlay", Box::new(old_overlays)),
        ("kills at once", Box::new(instead(Step::AskToStop, Next::Do(Step::Kill)))),
        ("never kills", Box::new(instead(Step::Kill, Next::Wait))),
        ("never injects", Box::new(instead(Step::Inject, Next::Settled))),
        ("never notes an end", Box::new(instead(Step::NoteEnd, Next::Do(Step::Forget)))),
        (
            "discards under a mount",
            Box::new(instead(Step::UnmountRoot, Next::Do(Step::DiscardOverlay))),
        ),
        (
            "snapshots half a base",
            Box::new(blind(|seen| {
                if seen.base == Some(Base::Partial) {
                    seen.base = Some(Base::Whole);
                }
            })),
        ),
        (
            "snapshots another image's base",
            Box::new(blind(|seen| {
                if seen.base == Some(Base::Stale) {
                    seen.base = Some(Base::Whole);
                }
            })),
        ),
        (
            "starts on half an overlay",
            Box::new(blind(|seen| {
                if seen.overlay == Some(Overlay::Partial) {
                    seen.overlay = Some(Overlay::Of(Run(2)));
                }
            })),
        ),
        ("does not see the container", Box::new(blind(|seen| seen.container = None))),
        ("does not see the rules", Box::new(blind(|seen| seen.rules = false))),
        ("does not see the link", Box::new(blind(|seen| seen.link = false))),
        ("does not see the groups", Box::new(blind(|seen| seen.groups = false))),
        ("does not see the root", Box::new(blind(|seen| seen.root = false))),
        ("does not see other overlays", Box::new(blind(|seen| seen.other_overlays = false))),
        ("does not see lasting overlays", Box::new(blind(|seen| seen.other_lasting = false))),
        (
            "believes an ended run goes on",
            Box::new(blind(|seen| {
                if let Some(Record::Whole { started, .. }) = &mut seen.record {
                    *started = false;
                }
            })),
        ),
        (
            "takes any run for its own",
            Box::new(blind(|seen| {
                if let Some(Record::Whole { run, .. }) = &mut seen.record {
                    *run = Run(2);
                }
            })),
        ),
    ];
    for (name, mutant) in &mutants {
        let caught = converges(mutant.as_ref()).is_err() || survives(mutant.as_ref()).is_err();
        assert!(caught, "the planner that {name} passes");
    }
}
