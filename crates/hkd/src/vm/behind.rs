//! Steps at storage that may hang: a worker does them. When nothing is heard of it for some time it is
//! left behind, the VM says why it waits, and there is one such worker of a VM at most.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use model::Timestamp;
use store::Work;
use tokio::{
    sync::watch,
    task::{JoinHandle, spawn_blocking},
    time::timeout,
};

use super::{Failure, VmLoop};
use crate::{
    execute::{self, StepError},
    linux,
    node::{Node, Problem},
    observe::Observation,
    plan::Step,
};

/// How long nothing may be heard of a worker.
const SILENT: Duration = Duration::from_secs(5);
/// How often it is told how far a worker is.
const TELL: Duration = Duration::from_secs(1);

/// A worker that storage holds up, or that is at work.
#[derive(Debug)]
pub(super) struct Behind {
    step: Step,
    worker: JoinHandle<Result<(), StepError>>,
    /// Bytes done, and all bytes.
    progress: watch::Receiver<(u64, u64)>,
    heard: Instant,
}

/// The storage that a step works at, and the problem that it does not answer.
pub(super) fn storage_of(step: Step, node: &Node) -> (&Path, Problem) {
    match step {
        Step::MountHome => (&node.layout.homefs, Problem::Homes),
        _ => (&node.layout.images, Problem::Images),
    }
}

impl VmLoop {
    /// Whether a step needs storage that may hang, or has to wait for the worker that was left behind.
    pub(super) fn may_hang(&self, step: Step) -> bool {
        match step {
            Step::Unpack | Step::MountHome => true,
            Step::DiscardBase | Step::Forget => self.behind.is_some(),
            _ => false,
        }
    }

    /// Whether a step that another is busy with is held up by storage.
    pub(super) fn waits_for_silent(&self, step: Step) -> bool {
        matches!(step, Step::Unpack | Step::DiscardBase) && self.node.has_problem(Problem::Images)
    }

    /// Does a step that [`Self::may_hang`], and tells how far it is once a second.
    pub(super) async fn at_storage(
        &mut self,
        step: Step,
        work: Option<Work>,
        seen: Observation,
        now: Timestamp,
    ) -> Result<(), Failure> {
        let old = self.behind.take();
        let own = old.is_none();
        let mut behind = old.unwrap_or_else(|| self.worker(step, work, seen, now));
        loop {
            if let Ok(ended) = timeout(TELL, &mut behind.worker).await {
                answers(&behind, &self.node);
                // What one did that was left behind is found by the next look.
                let ended = ended.unwrap_or_else(|_| Err(panicked()));
                return if own { ended } else { Err(StepError::Changed) }.map_err(Failure::Step);
            }
            self.write_row().await;
            if behind.progress.has_changed().unwrap_or(false) {
                behind.heard = Instant::now();
                let progress = *behind.progress.borrow_and_update();
                self.tell(progress).await;
            }
            if behind.heard.elapsed() >= SILENT {
                let (path, problem) = storage_of(behind.step, &self.node);
                let sentence = format!("the storage {} does not answer", path.display());
                self.node.set_problem(problem, Some(sentence));
                let failure = Failure::Silent(behind.step);
                self.behind = Some(behind);
                return Err(failure);
            }
        }
    }

    fn worker(&self, step: Step, work: Option<Work>, seen: Observation, now: Timestamp) -> Behind {
        let (told, progress) = watch::channel((0, 0));
        let (vm, node) = (self.vm, Arc::clone(&self.node));
        let worker = spawn_blocking(move || {
            let mut tell = |done, all| {
                told.send_replace((done, all));
            };
            execute::execute(&node, step, vm, work.as_ref(), &seen, now, &mut tell)
        });
        Behind { step, worker, progress, heard: Instant::now() }
    }

    async fn tell(&mut self, (done, all): (u64, u64)) {
        if let (Some(row), Some(percent)) = (&mut self.row, (done * 100).checked_div(all)) {
            row.waiting_for = Some(format!("unpack {percent}%"));
            row.seen_at = self.node.now();
        }
        self.write_row().await;
    }
}

/// Resolves when a worker that was left behind has come back; never, when there is none.
pub(super) async fn finished(behind: &mut Option<Behind>, node: &Node) {
    match behind {
        Some(held_up) => {
            // What it did is found by the next look.
            let _ = (&mut held_up.worker).await;
            answers(held_up, node);
            *behind = None;
        }
        None => std::future::pending().await,
    }
}

fn answers(behind: &Behind, node: &Node) {
    node.set_problem(storage_of(behind.step, node).1, None);
}

fn panicked() -> StepError {
    let (what, why) = ("a step".to_owned(), "it panicked; see the log".to_owned());
    linux::Error::Unexpected { what, why }.into()
}
