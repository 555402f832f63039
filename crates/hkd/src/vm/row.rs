//! What a host says of a VM: its row.

use model::{
    Run, Timestamp,
    reason::{Code, Reason},
    vm::{Observed, Seen},
};
use store::Work;

use super::VmLoop;
use crate::{
    observe::{Observation, UsedUp},
    plan::{self, Agent, Goal, Step, Stopping},
    reasons,
};

impl VmLoop {
    /// Takes down what is seen.
    pub(super) fn note(
        &mut self,
        seen: &Observation,
        goal: Goal,
        step: Option<Step>,
        work: Option<&Work>,
        now: Timestamp,
    ) {
        let run = match goal {
            Goal::Up { run, .. } => run,
            Goal::Down { .. } => seen
                .record
                .as_ref()
                .map(crate::record::Record::run)
                .or_else(|| self.row.as_ref().map(|row| row.run))
                .unwrap_or(Run::NONE),
        };
        if work.is_none() {
            return;
        }
        let level = level(&seen.seen, step);
        let up = matches!(goal, Goal::Up { .. });
        let old = self.row.clone().filter(|row| row.run == run);
        let ended = old.as_ref().and_then(|row| row.ended).filter(|_| !up);
        let hindered = !self.failed.is_empty() || self.attempts > 0;
        let keeps = ended.is_some() || hindered;
        let reason = old.as_ref().and_then(|row| row.reason.clone()).filter(|_| keeps);
        let reason = if hindered { reason } else { reason.map(|end| end.with_left(None)) };
        let fresh = Observed {
            vm: self.vm,
            host: self.node.host,
            run,
            seen: level,
            seen_at: now,
            waiting_for: step.map(|step| reasons::word(step).to_owned()),
            reason: reason.or_else(|| {
                used_up(seen, work, old.as_ref(), self.node.settings().overlay_max, now)
            }),
            attempts: match ended {
                Some(_) => old.as_ref().map_or(0, |row| row.attempts),
                None => self.attempts,
            },
            next_try: old.as_ref().and_then(|row| row.next_try).filter(|_| keeps),
            ended,
        };
        let same = self
            .row
            .as_ref()
            .is_some_and(|row| Observed { seen_at: row.seen_at, ..fresh.clone() } == *row);
        if !same {
            self.row = Some(fresh);
        }
    }

    /// Writes the row, if it differs from what was written.
    pub(super) async fn write_row(&mut self) {
        if self.row == self.told {
            return;
        }
        let Some(row) = self.row.clone() else { return };
        match self.node.store.put_observed(&row).await {
            Ok(()) => self.told = Some(row),
            Err(error) => {
                tracing::debug!(vm = %self.vm, %error, "cannot write what is seen; it is written again");
            }
        }
    }

    pub(super) async fn forget_row(&mut self, work: Option<&Work>) {
        if work.is_some() && self.row.is_some() {
            // Another host has it now: what this one saw of it says nothing any more.
            if let Err(error) = self.node.store.delete_observed(self.vm, self.node.host).await {
                tracing::debug!(vm = %self.vm, %error, "cannot delete an old row");
            }
        }
    }
}

/// How far up a VM is, in the words of its row.
fn level(seen: &plan::Seen, step: Option<Step>) -> Seen {
    match seen.container {
        Some(container) => match (container.stopping, container.agent) {
            (Stopping::Asked | Stopping::Overdue, _) => Seen::Stopping,
            (Stopping::No, _) if step == Some(Step::AskToStop) => Seen::Stopping,
            (Stopping::No, Agent::Ready) => Seen::Running,
            (Stopping::No, Agent::Absent | Agent::Present) => Seen::Starting,
        },
        None if step.is_some() || seen.record.is_some() => Seen::Preparing,
        None => Seen::Nothing,
    }
}

/// What a VM that runs has used up, if it has; since when it was first seen. Memory first: programs are
/// gone.
fn used_up(
    seen: &Observation,
    work: Option<&Work>,
    old: Option<&Observed>,
    overlay_max: Option<u64>,
    now: Timestamp,
) -> Option<Reason> {
    let osf = &work.filter(|_| seen.seen.container.is_some())?.osf;
    let old = old.and_then(|row| row.reason.as_ref());
    let since = |code| old.filter(|old| old.code == code).map_or(now, |old| old.since);
    let UsedUp { killed, disk } = seen.used_up;
    if killed > 0 {
        return Some(reasons::of_memory(killed, osf, since(Code::MemoryUsedUp)));
    }
    let most = overlay_max.filter(|_| disk)?;
    Some(reasons::of_disk(most, since(Code::DiskUsedUp)))
}
