//! Keeps a loop going for each VM that concerns this host, and wakes it when its rows change.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use model::{Timestamp, VmId, host::HostStatus, host::RENEW_EVERY_MILLIS, settings::Settings};
use store::{HostWork, Wake, Work};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{
    layout::{Layout, overlay_of},
    linux::{self, file::Hold},
    node::{Node, PerStart, Problem},
    vm::VmLoop,
};

/// How long after a reading of the database the next may be: so many times what it took, but not longer
/// than that. A first change is seen at once, and several that follow make one reading.
const BETWEEN: (u32, Duration) = (4, Duration::from_millis(20));
/// How long after a first look at the firewall it is believed that something is missing there.
const RULES_AGAIN: Duration = Duration::from_millis(500);
/// How often is looked whether the firewall is as it was set.
const LOOK_AT_RULES: Duration = Duration::from_secs(10);
/// How soon the machine is looked through again when that failed.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// A net under the wake-ups.
const SLOW_TICK: Duration = Duration::from_secs(30);

/// How far this machine has been looked through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Looked {
    /// Not yet.
    NotYet,
    /// It was, and what was only half unpacked is yet to be deleted.
    Through,
    /// That is done, too.
    Tidied,
}

/// The loops of a host.
#[derive(Debug)]
pub struct Reconciler {
    node: Arc<Node>,
    file: Settings,
    loops: JoinSet<VmId>,
    feeds: HashMap<VmId, watch::Sender<Option<Arc<Work>>>>,
    reached: bool,
    /// VMs of which something was found on this machine, until they are handed over.
    found: Option<Vec<VmId>>,
    /// How far this machine has been looked through.
    looked: Looked,
    /// What the firewall let through when this daemon began is known.
    adopted: bool,
    /// How many VMs the database had given an address when it was last read.
    given: Option<i64>,
}

impl Reconciler {
    /// The loops of a host whose settings in its file are `file`.
    pub fn new(node: Arc<Node>, file: Settings) -> Self {
        Self {
            node,
            file,
            loops: JoinSet::new(),
            feeds: HashMap::new(),
            reached: true,
            found: None,
            looked: Looked::NotYet,
            adopted: false,
            given: None,
        }
    }

    /// Runs until stopped. Stopping ends no VM.
    pub async fn run(mut self, mut wake: Wake, stop: CancellationToken) {
        let every = |period| {
            let mut tick = interval(period);
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            tick
        };
        let (mut tick, mut rules) = (every(SLOW_TICK), every(LOOK_AT_RULES));
        while !stop.is_cancelled() {
            if self.looked == Looked::NotYet {
                self.look().await;
            }
            let began = Instant::now();
            self.feed().await;
            let again = Instant::now() + (began.elapsed() * BETWEEN.0).min(BETWEEN.1);
            loop {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => {}
                    Some(ended) = self.loops.join_next(), if !self.loops.is_empty() => {
                        self.ended(ended);
                    }
                    () = wake.changed() => sleep_until(again).await,
                    _ = tick.tick() => {}
                    () = sleep(LOOK_AGAIN), if self.looked != Looked::Tidied => {}
                    _ = rules.tick() => {
                        self.look_at_rules().await;
                        continue;
                    }
                }
                break;
            }
        }
        // Each loop is between two steps, or its step is finished by its thread: all are idempotent.
        self.loops.shutdown().await;
    }

    /// Looks for VMs of which something is on this machine, whatever the database says.
    async fn look(&mut self) {
        let node = Arc::clone(&self.node);
        let look = move || -> linux::Result<Vec<VmId>> {
            let mut found: Vec<VmId> = Vec::new();
            for name in node.linux.names(&node.layout.vms)? {
                found.extend(node.names.vm_of_container(&name));
            }
            for name in node.linux.names(&node.layout.overlayfs)? {
                found.extend(overlay_of(&name).map(|(_, vm)| vm));
            }
            for name in node.linux.names(&node.layout.rootfs)? {
                found.extend(Layout::vm_of_root(&name));
            }
            for container in node.linux.grouped()? {
                found.extend(node.names.vm_of_container(&container));
            }
            for link in node.linux.links()?.iter().chain(node.allowed().iter()) {
                found.extend(node.names.vm_of_link(link));
            }
            Ok(found)
        };
        self.look_at_rules().await;
        match blocking(look).await {
            Ok(found) => {
                self.found = Some(found);
                if self.adopted {
                    self.looked = Looked::Through;
                }
            }
            Err(error) => {
                tracing::error!(%error, "cannot look at what is on this machine; it is tried again");
            }
        }
    }

    /// Reads what the firewall lets through, and makes its tables again where somebody took them away.
    /// The loops are woken when a VM's leave is missing.
    async fn look_at_rules(&mut self) {
        if !self.adopted {
            if let Some(found) = self.rules().await {
                self.node.allowed().extend(found);
                self.adopted = true;
            }
            return;
        }
        let before = self.node.allowed().clone();
        let Some(found) = self.rules().await else { return };
        if before.is_subset(&found) {
            return;
        }
        // A VM may be on its way down, its leave taken back and not yet noted.
        sleep(RULES_AGAIN).await;
        let Some(found) = self.rules().await else { return };
        let lost = {
            let mut allowed = self.node.allowed();
            let all = allowed.len();
            allowed.retain(|link| !before.contains(link) || found.contains(link));
            all - allowed.len()
        };
        if lost > 0 {
            tracing::warn!(lost, "the firewall was emptied by another; it is set again");
            for feed in self.feeds.values() {
                feed.send_modify(|_| ());
            }
        }
    }

    /// The links that the firewall lets through.
    async fn rules(&self) -> Option<HashSet<String>> {
        let node = Arc::clone(&self.node);
        let look = move || {
            if node.has_problem(Problem::Network) {
                node.make_network()?;
            }
            node.linux.allowed().or_else(|_| {
                node.linux.ensure_network(&node.bridge)?;
                node.linux.allowed()
            })
        };
        let found = blocking(look).await;
        let problem = found.as_ref().err();
        let problem = problem.filter(|_| !self.node.has_problem(Problem::Network));
        let problem = problem.map(|error| format!("the firewall cannot be set: {error}"));
        self.node.set_problem(Problem::Firewall, problem);
        Some(found.ok()?.into_iter().map(|source| self.node.names.link(source.vm)).collect())
    }

    /// Whether the database is at least as new as what this host has acted on. One that was put back
    /// knows nothing of the VMs made since: they would look deleted. `None`: this machine cannot tell.
    async fn is_current(&mut self) -> store::Result<Option<bool>> {
        let given = self.node.store.vms_given(&self.node.installation).await?;
        if self.given == Some(given) {
            return Ok(Some(true));
        }
        let node = Arc::clone(&self.node);
        let compare = move || -> linux::Result<(bool, linux::Result<()>)> {
            let path = node.layout.given();
            let known = node.linux.read(&path)?;
            let known = known.and_then(|bytes| String::from_utf8(bytes).ok());
            let known = known.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
            let noted = if given > known {
                node.linux.write(&path, given.to_string().as_bytes())
            } else {
                Ok(())
            };
            Ok((given >= known, noted))
        };
        let (current, failed) = match blocking(compare).await {
            Ok((current, noted)) => (Some(current), noted.err()),
            Err(error) => (None, Some(error)),
        };
        // On a full volume it cannot be noted; what would make room must go on.
        self.given = (current == Some(true) && failed.is_none()).then_some(given);
        let problem = failed.map(|error| format!("{error}: how new the database is is not known"));
        self.node.set_problem(Problem::Given, problem);
        Ok(current)
    }

    /// Hands the rows to the loops. What was found on the machine without any row is handed over
    /// once, as wanted by nobody.
    async fn feed(&mut self) {
        if let Err(error) = self.refresh_settings().await {
            return self.unreachable(&error);
        }
        match self.is_current().await {
            Ok(Some(true)) => self.node.set_older(false),
            Ok(Some(false)) => return self.node.set_older(true),
            Ok(None) => return,
            Err(error) => return self.unreachable(&error),
        }
        let HostWork { work, unreadable } = match self.node.store.host_work(self.node.host).await {
            Ok(rows) => rows,
            Err(error) => return self.unreachable(&error),
        };
        self.tell_of(&unreadable);
        if !std::mem::replace(&mut self.reached, true) {
            tracing::info!("the database answers again");
        }
        let mut orphans = self.found.take().unwrap_or_default();
        let mut unseen: Vec<VmId> = self.feeds.keys().copied().collect();
        // Nobody knows what is wanted of these: they stay as they are.
        for (vm, _) in unreadable {
            orphans.retain(|orphan| *orphan != vm);
            unseen.retain(|other| *other != vm);
        }
        for work in work {
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
        if self.looked == Looked::Through && self.tidy().await {
            self.looked = Looked::Tidied;
        }
    }

    /// Deletes the bases that a daemon before this one began to fill, and that nothing fills any more: the
    /// VM that wanted them may be gone. Whether that went well.
    async fn tidy(&self) -> bool {
        let node = Arc::clone(&self.node);
        let tidy = move || -> linux::Result<()> {
            for name in node.linux.names(&node.layout.basefs)? {
                let Some((base, lock)) = node.layout.half_filled(&name) else { continue };
                if let Some(_held) = node.linux.lock(&lock, Hold::Alone)? {
                    tracing::info!(base = %base.display(), "deleting what was only half unpacked");
                    node.linux.delete_subvolume(&base)?;
                }
            }
            Ok(())
        };
        let tidied = blocking(tidy).await;
        if let Err(error) = &tidied {
            tracing::warn!(%error, "cannot delete what was only half unpacked; it is tried again");
        }
        tidied.is_ok()
    }

    /// Rows that make no sense are a problem of the host: what belongs to them is left alone.
    fn tell_of(&self, unreadable: &[(VmId, store::Error)]) {
        let sentence = |(vm, error): &(VmId, store::Error)| {
            format!("VM {vm} is left as it is: {error}; repair it, or put back a backup")
        };
        let sentences: Vec<String> = unreadable.iter().map(sentence).collect();
        let problem = (!sentences.is_empty()).then(|| sentences.join("; "));
        self.node.set_problem(Problem::Rows, problem);
    }

    fn unreachable(&mut self, error: &store::Error) {
        if std::mem::take(&mut self.reached) {
            let error = self.node.store.explain(error);
            tracing::warn!(error, "the database cannot be used: what runs goes on");
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
                self.looked = Looked::NotYet;
            }
        }
    }

    async fn refresh_settings(&self) -> store::Result<()> {
        let configs = self.node.store.configs().await?;
        let mut settings = self.file.clone();
        settings.layer_rows(configs);
        let problem = match PerStart::from_settings(&settings) {
            Ok(fresh) => {
                self.node.set_settings(fresh);
                None
            }
            Err(error) => Some(format!("{error}: the values of before hold")),
        };
        self.node.set_problem(Problem::Settings, problem);
        Ok(())
    }
}

/// Runs what blocks where blocking is allowed.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> linux::Result<T> + Send + 'static,
) -> linux::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|panicked| {
        Err(linux::Error::Unexpected {
            what: "a look at the machine".to_owned(),
            why: panicked.to_string(),
        })
    })
}

/// What of a VM's rows a loop is woken for: not what this host wrote itself.
fn wanted(work: Option<&Work>) -> Option<Work> {
    work.map(|work| Work { observed: None, ..work.clone() })
}

/// Says from time to time that this host is alive, and how it is.
pub async fn renew(node: Arc<Node>, usable: (f64, f64), stop: CancellationToken) {
    let status = |state: &str, now: Timestamp| HostStatus {
        host: node.host,
        renewed_at: now,
        state: state.to_owned(),
        usable_cpu: usable.0,
        usable_ram: usable.1,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        problems: node.problems(),
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
