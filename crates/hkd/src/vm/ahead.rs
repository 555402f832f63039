//! What is done before its turn, while something else takes its time. And what must be in the database
//! before a container runs, or another host could start one too: that this host has it, and the home.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use model::{Run, Timestamp, VmId, vm::Observed};
use store::Work;
use tokio::task::{JoinHandle, spawn_blocking};

use super::{Failure, VmLoop};
use crate::{
    execute::{self, StepError},
    layout::folder_name,
    node::Node,
    observe::Observation,
    plan::Step,
};

/// How long what was written ahead is believed: after more, the VM may have been given to another host.
const BELIEVED: Duration = Duration::from_millis(500);

/// What is in the database.
#[derive(Debug)]
pub(super) struct Claimed {
    run: Run,
    /// The row that says that this host has the VM.
    row: Option<Observed>,
    /// It has the home, if the VM has one.
    home: bool,
}

impl VmLoop {
    /// Makes sure that it is in the database.
    pub(super) async fn claim(&mut self, work: Option<&Work>) -> Result<(), Failure> {
        let work = work.ok_or(StepError::Changed)?;
        let fresh = |(run, at): (Run, Instant)| run == work.desired.run && at.elapsed() < BELIEVED;
        if self.claimed.take().is_some_and(fresh) {
            return Ok(());
        }
        let claimed = claim(&self.node, self.vm, self.row.clone(), work).await?;
        self.know(claimed);
        Ok(())
    }

    /// Does what does not need the root, while that is made: what must be in the database, and the
    /// firewall's leave. What fails here is done again in its turn, and told then.
    pub(super) fn ahead(
        &self,
        work: Option<&Work>,
        seen: &Observation,
        now: Timestamp,
    ) -> impl Future<Output = Option<Claimed>> + use<> {
        let (node, vm) = (Arc::clone(&self.node), self.vm);
        let needed = work.filter(|_| self.claimed.is_none());
        let needed = needed.map(|work| (work.clone(), self.row.clone()));
        let shut = needed.is_some() && !seen.seen.rules;
        let allow =
            shut.then(|| aside(Arc::clone(&node), vm, Step::AllowNetwork, seen.clone(), now));
        async move {
            let (work, row) = needed?;
            let claimed = claim(&node, vm, row, &work).await;
            if let Some(allow) = allow {
                let _ = allow.await;
            }
            claimed.ok()
        }
    }

    /// Takes down what was written ahead, for the start that follows.
    pub(super) fn hold(&mut self, claimed: Option<Claimed>) {
        let Some(claimed) = claimed else { return };
        self.claimed = Some((claimed.run, Instant::now()));
        self.know(claimed);
    }

    fn know(&mut self, claimed: Claimed) {
        if claimed.home {
            self.holds_home = Some(true);
        }
        if claimed.row.is_some() {
            self.told = claimed.row;
        }
    }
}

async fn claim(
    node: &Node,
    vm: VmId,
    row: Option<Observed>,
    work: &Work,
) -> Result<Claimed, Failure> {
    let (store, run, home) = (&node.store, work.desired.run, work.osf.has_home());
    if let Some(row) = &row {
        store.put_observed(row).await.map_err(Failure::Store)?;
    }
    if home {
        let name = folder_name(vm);
        let claimed = store.claim_home(&name, vm, node.host, run).await.map_err(Failure::Store)?;
        if !claimed {
            return Err(Failure::HomeBusy(name));
        }
    }
    Ok(Claimed { run, row, home })
}

/// Does a step before its turn. When that fails it is done again in its turn, and told then.
pub(super) fn aside(
    node: Arc<Node>,
    vm: VmId,
    step: Step,
    seen: Observation,
    now: Timestamp,
) -> JoinHandle<()> {
    spawn_blocking(move || {
        let done = execute::execute(&node, step, vm, None, &seen, now, &mut |_, _| {});
        if let Err(error) = done {
            tracing::debug!(%vm, ?step, %error, "a step before its turn failed");
        }
    })
}
