//! Decides the next step for one VM.
//!
//! [`next`] is a pure function of what is wanted, what this host sees on its own disk and kernel, and
//! whether its lease is good. It keeps no memory: a daemon that restarts looks again and goes on. The
//! other halves are `observe` (which makes [`Seen`]) and `execute` (which does [`Step`]s).
//!
//! ```text
//!   nothing ─ base ─ record ─ overlay ─ root ─ home ─ rules ─ Start ─ agent ─ prepared   up
//!      └──────── record ◄─ end noted ◄─ home, root ◄─ link, rules, groups ◄─ Stop ◄─┘    down
//! ```
//!
//! The record (the run directory) is made first and removed last: everything between belongs to the
//! run it names.

use model::{DiId, Run};

/// What should be true of a VM on this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Goal {
    /// Up: this run, from this image.
    Up {
        /// Which start.
        run: Run,
        /// From which image.
        di: DiId,
        /// Whether the VM has a home that lasts.
        home: bool,
        /// Whether what it writes lasts from run to run.
        persistent: bool,
    },
    /// Down.
    Down {
        /// What becomes of the overlay.
        overlay: After,
    },
}

/// What becomes of what a VM wrote when it is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum After {
    /// Kept, for the next try of the same run.
    Keep,
    /// As it was made, to last or not: a setting that has changed since takes nothing away.
    AsMade,
    /// Deleted, as the VM was.
    Discard,
}

/// The run directory's record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Record {
    /// A run directory in which nothing was recorded yet.
    Empty,
    /// What was recorded.
    Whole {
        /// Which run this host made or makes.
        run: Run,
        /// From which image.
        di: DiId,
        /// A start of the container was begun.
        started: bool,
        /// Its end was written to the database.
        noted: bool,
    },
}

/// A base or an overlay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Base {
    /// Being filled, or left half filled.
    Partial,
    /// Whole, read-only, of the registered image.
    Whole,
    /// Whole, but not of the registered image.
    Stale,
}

/// An overlay of the image in question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Overlay {
    /// Made, but not marked: what made it was cut short.
    Partial,
    /// Made for one run.
    Of(Run),
    /// Made to outlive its runs.
    Lasting,
}

impl Overlay {
    /// Whether a run may go on with it.
    fn fits(self, run: Run, persistent: bool) -> bool {
        match self {
            Self::Partial => false,
            Self::Of(of) => of == run,
            Self::Lasting => persistent,
        }
    }
}

/// The agent in a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Agent {
    /// Does not answer.
    Absent,
    /// Answers; the guest is not prepared.
    Present,
    /// Answers, and the guest is ready for its user.
    Ready,
}

/// How far the stopping of a container is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stopping {
    /// Not asked.
    No,
    /// Asked, and still within its time.
    Asked,
    /// Its time is over.
    Overdue,
}

/// A living container. It belongs to the run of the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Container {
    /// Its agent.
    pub agent: Agent,
    /// Whether it was asked to stop.
    pub stopping: Stopping,
}

/// What this host sees of a VM, read afresh on every pass. As long as a container lives, only it, the record
/// and the rules are looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(clippy::struct_excessive_bools, reason = "each is a thing that is there or not")]
pub struct Seen {
    /// The record.
    pub record: Option<Record>,
    /// The base of the goal's image.
    pub base: Option<Base>,
    /// The overlay of the goal's image; going down, of the record's.
    pub overlay: Option<Overlay>,
    /// There are overlays of other images that were not made to last.
    pub other_overlays: bool,
    /// There are lasting overlays of other images.
    pub other_lasting: bool,
    /// The root is mounted.
    pub root: bool,
    /// The home is mounted.
    pub home: bool,
    /// The firewall lets the VM's addresses through.
    pub rules: bool,
    /// The link is there.
    pub link: bool,
    /// Control groups are there.
    pub groups: bool,
    /// The container.
    pub container: Option<Container>,
}

/// One idempotent change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Delete the base: it is half made or of another image.
    DiscardBase,
    /// Unpack the image into its base.
    Unpack,
    /// Take a slot and record the run, before anything else is made for it.
    Record,
    /// Delete the overlay of the image in question.
    DiscardOverlay,
    /// Delete the overlays of other images that were not made to last.
    DiscardOthers,
    /// Delete the lasting overlays of other images.
    DiscardLasting,
    /// Snapshot the base and mark the snapshot with the run.
    Snapshot,
    /// Mount the overlay as the root.
    MountRoot,
    /// Mount the home.
    MountHome,
    /// Let the VM's addresses through.
    AllowNetwork,
    /// Start the container.
    Start,
    /// Put the agent into the container.
    Inject,
    /// Have the agent make the guest ready for its user.
    Prepare,
    /// Ask the container to shut down.
    AskToStop,
    /// End the container.
    Kill,
    /// Remove the link.
    RemoveLink,
    /// Take the firewall's leave back.
    ForbidNetwork,
    /// Remove the control groups.
    RemoveGroups,
    /// Unmount the home.
    UnmountHome,
    /// Unmount the root.
    UnmountRoot,
    /// Write how the run ended.
    NoteEnd,
    /// Remove the record and give the slot back.
    Forget,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// This.
    Do(Step),
    /// Nothing until the container has ended, or its time is over.
    Wait,
    /// Nothing: it is as wanted.
    Settled,
}

/// The next step towards `goal`, given what is `seen`. Steps in `failed` were tried in this pass: what
/// does not depend on them is tried meanwhile.
///
/// Without a lease nothing may run here: another host may have been given the VM.
pub fn next(goal: Goal, seen: &Seen, lease: bool, failed: &[Step]) -> Next {
    match goal {
        Goal::Up { run, di, home, persistent } if lease => {
            up(run, di, home, persistent, seen, failed)
        }
        Goal::Up { .. } => down(After::Keep, seen, failed),
        Goal::Down { overlay } => down(overlay, seen, failed),
    }
}

fn up(run: Run, di: DiId, home: bool, persistent: bool, seen: &Seen, failed: &[Step]) -> Next {
    if let Some(container) = seen.container {
        let ours = matches!(seen.record, Some(Record::Whole { run: r, .. }) if r == run);
        return match container {
            // One that was asked to stop is on its way out, whoever changed his mind since.
            Container { stopping: Stopping::Asked | Stopping::Overdue, .. } => end(seen, container),
            _ if !ours => end(seen, container),
            // Somebody else emptied the firewall: until then the VM hears nobody.
            _ if !seen.rules => Next::Do(Step::AllowNetwork),
            Container { agent: Agent::Absent, .. } => Next::Do(Step::Inject),
            Container { agent: Agent::Present, .. } => Next::Do(Step::Prepare),
            Container { agent: Agent::Ready, .. } => Next::Settled,
        };
    }
    match seen.record {
        Some(Record::Whole { run: r, di: d, started: false, .. }) if (r, d) == (run, di) => {}
        None if !leftovers(seen) => {}
        // Of another run, of one that came to its end, or of nobody.
        _ => return down(After::Keep, seen, failed),
    }
    let step = match seen.base {
        // Snapshots of a base that goes stay as they are.
        Some(Base::Partial | Base::Stale) => Step::DiscardBase,
        None => Step::Unpack,
        Some(Base::Whole) if seen.record.is_none() => Step::Record,
        Some(Base::Whole) => match seen.overlay {
            _ if seen.other_overlays && !seen.root => Step::DiscardOthers,
            _ if seen.other_lasting && !persistent && !seen.root => Step::DiscardLasting,
            Some(overlay) if overlay.fits(run, persistent) => mounts(home, seen),
            _ if seen.root => Step::UnmountRoot,
            Some(_) => Step::DiscardOverlay,
            None => Step::Snapshot,
        },
    };
    Next::Do(step)
}

fn mounts(home: bool, seen: &Seen) -> Step {
    if !seen.root {
        Step::MountRoot
    } else if home && !seen.home {
        Step::MountHome
    } else if !seen.rules {
        Step::AllowNetwork
    } else if seen.link {
        Step::RemoveLink
    } else if seen.groups {
        Step::RemoveGroups
    } else {
        Step::Start
    }
}

/// Whether anything of a run is there without a record.
fn leftovers(seen: &Seen) -> bool {
    seen.root || seen.home || seen.rules || seen.link || seen.groups
}

/// Ends a container: politely when it is known since when, at once when nobody knows whose it is.
fn end(seen: &Seen, container: Container) -> Next {
    match (seen.record, container.stopping) {
        (None | Some(Record::Empty), _) | (_, Stopping::Overdue) => Next::Do(Step::Kill),
        (_, Stopping::No) => Next::Do(Step::AskToStop),
        (_, Stopping::Asked) => Next::Wait,
    }
}

/// The way down, last made first undone. What fails does not hold up what does not depend on it; the
/// record goes only when all else is gone.
fn down(overlay: After, seen: &Seen, failed: &[Step]) -> Next {
    if let Some(container) = seen.container {
        return end(seen, container);
    }
    let lasts = seen.overlay == Some(Overlay::Lasting);
    let own = seen.overlay.is_some() && (overlay == After::Discard || !lasts);
    let discard = |step, there| (there && !seen.root && overlay != After::Keep, step);
    let overlays = [
        discard(Step::DiscardOverlay, own),
        discard(Step::DiscardOthers, seen.other_overlays),
        discard(Step::DiscardLasting, seen.other_lasting && overlay == After::Discard),
    ];
    let overlays_left = overlays.iter().any(|(there, _)| *there);
    let unnoted = matches!(seen.record, Some(Record::Whole { started: true, noted: false, .. }));
    let undo = [
        (seen.link, Step::RemoveLink),
        (seen.rules, Step::ForbidNetwork),
        (seen.groups, Step::RemoveGroups),
        (seen.home, Step::UnmountHome),
        (seen.root, Step::UnmountRoot),
        (unnoted, Step::NoteEnd),
    ];
    let forget = seen.record.is_some() && !leftovers(seen) && !unnoted && !overlays_left;
    let undo = undo.into_iter().chain(overlays).chain([(forget, Step::Forget)]);
    let todo = undo.filter(|(there, _)| *there).map(|(_, step)| step);
    let mut todo = todo.filter(|step| !failed.contains(step));
    todo.next().map_or(Next::Settled, Next::Do)
}

#[cfg(test)]
mod tests;
