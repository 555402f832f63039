//! Keeps a loop going for each VM that concerns this host, and wakes it when its rows change.

use std::{collections::HashMap, sync::Arc, time::Duration};

use model::{Timestamp, VmId, host::HostStatus, host::RENEW_EVERY_MILLIS, settings::Settings};
use store::{Wake, Work};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep},
};
use tokio_util::sync::CancellationToken;

use crate::{
    layout::overlay_of,
    linux,
    node::{Node, PerStart},
    vm::VmLoop,
};

/// How long after a wake-up the database is read: several changes make one reading.
const GATHER: Duration = Duration::from_millis(5);
/// A net under the wake-ups.
const SLOW_TICK: Duration = Duration::from_secs(10);

/// The loops of a host.
#[derive(Debug)]
pub struct Reconciler {
    node: Arc<Node>,
    file: Settings,
    loops: JoinSet<VmId>,
    feeds: HashMap<VmId, watch::Sender<Option<Arc<Work>>>>,
    reached: bool,
}

impl Reconciler {
    /// The loops of a host whose settings in its file are `file`.
    pub fn new(node: Arc<Node>, file: Settings) -> Self {
        Self { node, file, loops: JoinSet::new(), feeds: HashMap::new(), reached: true }
    }

    /// Runs until stopped. Stopping ends no VM.
    pub async fn run(mut self, mut wake: Wake, stop: CancellationToken) {
        let mut tick = interval(SLOW_TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut found = self.found().await;
        loop {
            self.feed(&mut found).await;
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(ended) = self.loops.join_next(), if !self.loops.is_empty() => {
                    self.ended(ended);
                }
                () = wake.changed() => sleep(GATHER).await,
                _ = tick.tick() => {}
            }
        }
        // Each loop is between two steps, or its step is finished by its thread: all are idempotent.
        self.loops.shutdown().await;
    }

    /// VMs of which something is on this machine, whatever the database says.
    async fn found(&self) -> Vec<VmId> {
        let node = Arc::clone(&self.node);
        let look = move || -> linux::Result<Vec<VmId>> {
            let mut found: Vec<VmId> = Vec::new();
            for name in node.linux.names(&node.layout.vms)? {
                found.extend(node.names.vm_of_container(&name));
            }
            for name in node.linux.names(&node.layout.overlayfs)? {
                found.extend(overlay_of(&name).map(|(_, vm)| vm));
            }
            for source in node.linux.allowed()? {
                node.allowed().insert(node.names.link(source.vm));
            }
            Ok(found)
        };
        match tokio::task::spawn_blocking(look).await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => {
                tracing::error!(%error, "cannot look at what is on this machine");
                Vec::new()
            }
            Err(_) => Vec::new(),
        }
    }

    /// Hands the rows to the loops. What was found on the machine without any row is handed over
    /// once, as wanted by nobody.
    async fn feed(&mut self, found: &mut Vec<VmId>) {
        self.refresh_settings().await;
        let rows = match self.node.store.host_work(self.node.host).await {
            Ok(rows) => rows,
            Err(error) => {
                if std::mem::take(&mut self.reached) {
                    tracing::warn!(%error, "the database does not answer: what runs goes on");
                }
                return;
            }
        };
        if !std::mem::replace(&mut self.reached, true) {
            tracing::info!("the database answers again");
        }
        let mut orphans: Vec<VmId> = std::mem::take(found);
        let mut unseen: Vec<VmId> = self.feeds.keys().copied().collect();
        for work in rows {
            let vm = work.vm.id;
            orphans.retain(|orphan| *orphan != vm);
            unseen.retain(|other| *other != vm);
            self.hand(vm, Some(Arc::new(work)));
        }
        for vm in unseen {
            // Its rows are gone: the VM was deleted.
            self.hand(vm, None);
        }
        orphans.sort_unstable();
        orphans.dedup();
        for vm in orphans {
            self.hand(vm, None);
        }
    }

    fn hand(&mut self, vm: VmId, work: Option<Arc<Work>>) {
        if let Some(feed) = self.feeds.get(&vm) {
            feed.send_if_modified(|old| {
                let changed = wanted(old.as_deref()) != wanted(work.as_deref());
                *old = work;
                changed
            });
            return;
        }
        let (feed, rows) = watch::channel(work);
        self.feeds.insert(vm, feed);
        let vm_loop = VmLoop::new(Arc::clone(&self.node), vm, rows);
        self.loops.spawn(async move {
            vm_loop.run().await;
            vm
        });
    }

    fn ended(&mut self, ended: Result<VmId, tokio::task::JoinError>) {
        match ended {
            Ok(vm) => {
                self.feeds.remove(&vm);
            }
            Err(error) => {
                tracing::error!(%error, "the loop of a VM broke; it is begun anew");
                self.feeds.retain(|_, feed| feed.receiver_count() > 0);
            }
        }
    }

    async fn refresh_settings(&self) {
        let Ok(configs) = self.node.store.configs().await else { return };
        let mut settings = self.file.clone();
        settings.layer_rows(configs);
        match PerStart::from_settings(&settings) {
            Ok(fresh) => self.node.set_settings(fresh),
            Err(error) => {
                tracing::debug!(%error, "a setting has no usable value; the old ones hold");
            }
        }
    }
}

/// What of a VM's rows a loop is woken for: not what this host wrote itself.
fn wanted(work: Option<&Work>) -> Option<Work> {
    work.map(|work| Work { observed: None, ..work.clone() })
}

/// Says from time to time that this host is alive, and how it is.
pub async fn renew(
    node: Arc<Node>,
    usable: (f64, f64),
    problems: Vec<String>,
    stop: CancellationToken,
) {
    let status = |state: &str, now: Timestamp| HostStatus {
        host: node.host,
        renewed_at: now,
        state: state.to_owned(),
        usable_cpu: usable.0,
        usable_ram: usable.1,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        problems: problems.clone(),
    };
    let every = Duration::from_millis(RENEW_EVERY_MILLIS.unsigned_abs());
    let mut tick = interval(every);
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            _ = tick.tick() => {}
        }
        if let Err(error) = node.store.put_host_status(&status("running", node.now())).await {
            tracing::debug!(%error, "cannot say that this host is alive");
        }
    }
    if let Err(error) = node.store.put_host_status(&status("stopping", node.now())).await {
        tracing::debug!(%error, "cannot say that this daemon stops");
    }
}
