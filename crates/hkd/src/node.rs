//! What all VMs of a host share: its machine, its folders, its database, its clock.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    net::Ipv4Addr,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use model::{
    HostId, Run, Timestamp, VmId,
    network::VmNetwork,
    settings::{BadSetting, Settings},
};
use store::Store;
use tokio::sync::{Notify, Semaphore};

use crate::{
    layout::Layout,
    linux::{
        self, Linux,
        firewall::Network,
        lxc::{Cpu, Io},
        names::Names,
    },
    storage::Driver,
};

/// What is said of a database that was put back.
const OLDER: &str = "the database is older than what is on this host";
/// And what helps.
const OLDER_REMEDY: &str = "put back the newest backup, or run `qvd migrate --restored`";

/// Where time comes from, so that a test can bring its own.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What can be wrong with a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Problem {
    /// The database is an old one: it has given fewer addresses than this host knows of.
    OlderDatabase,
    /// The same: it knows only earlier runs of some VMs than this host made.
    OlderRuns,
    /// How new the database is cannot be read or noted on this machine.
    Given,
    /// Rows of the database make no sense.
    Rows,
    /// The bridge and the firewall could not be made.
    Network,
    /// The firewall is not as it was set.
    Firewall,
    /// The machine lacks something, as `qvd doctor` says.
    Machine,
    /// This host's clock is not the database's.
    Clock,
    /// A setting has no usable value.
    Settings,
    /// The storage is less protected than it could be.
    Storage,
    /// The storage of the images does not answer.
    Images,
    /// It was slow when it was last read.
    SlowImages,
    /// The storage of the homes does not answer, or is not there.
    Homes,
}

/// A host.
pub struct Node {
    /// Its number.
    pub host: HostId,
    /// Its name.
    pub name: String,
    /// The installation it belongs to.
    pub installation: String,
    /// The machine.
    pub linux: Arc<dyn Linux>,
    /// How roots are made.
    pub driver: Arc<dyn Driver>,
    /// Where things are.
    pub layout: Layout,
    /// What they are called.
    pub names: Names,
    /// The VMs' network.
    pub network: VmNetwork,
    /// The same, as the machine is told.
    pub bridge: Network,
    /// The agent's program.
    pub vma: PathBuf,
    /// The database.
    pub store: Store,
    /// The clock.
    pub clock: Clock,
    /// How many heavy steps may go on at once.
    pub heavy: Semaphore,
    /// Settings that hold from the next start or stop of a VM.
    settings: Mutex<Arc<PerStart>>,
    /// The links whose addresses the firewall lets through.
    allowed: Mutex<HashSet<String>>,
    /// The VMs of which this host made later runs than the database knows.
    ahead: Mutex<BTreeSet<VmId>>,
    /// What is wrong with this host, by kind.
    problems: Mutex<BTreeMap<Problem, String>>,
    /// Told when one of them is no more.
    solved: Notify,
    /// The VMs whose agent is ready, for those who want to attach.
    ready: Mutex<HashMap<VmId, Run>>,
    /// Homes were made before, or their folder was marked.
    homes_used: AtomicBool,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node")
            .field("host", &self.host)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Settings read at each start or stop of a VM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PerStart {
    /// First half of MAC addresses.
    pub mac_prefix: String,
    /// Name servers of the guests; empty for the host's own.
    pub dns: Vec<Ipv4Addr>,
    /// How long a VM has to shut down.
    pub stop_timeout: Duration,
    /// How many processes a VM may have.
    pub processes: i64,
    /// How much of the processors a VM may use.
    pub cpu: Cpu,
    /// How much a VM may read and write in a second.
    pub io: Io,
    /// How many bytes a VM may write to its overlay; nothing where quotas are not wanted.
    pub overlay_max: Option<u64>,
    /// What VMs write outlives their stop.
    pub persistent: bool,
}

impl PerStart {
    /// From the settings in force.
    pub fn from_settings(settings: &Settings) -> Result<Self, BadSetting> {
        let dns = settings.get("vm.network.dns")?;
        Ok(Self {
            mac_prefix: settings.get("vm.network.mac.prefix")?,
            dns: dns.split(',').filter_map(|server| server.trim().parse().ok()).collect(),
            stop_timeout: Duration::from_secs(
                settings.number("vm.stop.timeout")?.try_into().unwrap_or(0),
            ),
            processes: settings.number("vm.processes.max")?,
            cpu: Cpu {
                weight: settings.number("vm.cpu.weight")?.unsigned_abs(),
                most: settings.number("vm.cpu.max")?.unsigned_abs(),
            },
            io: Io {
                bandwidth: settings.number("vm.io.bandwidth.max")?.unsigned_abs(),
                operations: settings.number("vm.io.operations.max")?.unsigned_abs(),
            },
            overlay_max: settings
                .bool("storage.quota")?
                .then(|| settings.number("vm.overlay.size.max"))
                .transpose()?
                .map(|mib| mib.unsigned_abs() << 20),
            persistent: settings.bool("vm.overlay.persistent")?,
        })
    }
}

/// What a [`Node`] is made of.
#[derive(Debug)]
pub struct Parts {
    /// Its number.
    pub host: HostId,
    /// Its name.
    pub name: String,
    /// The installation it belongs to.
    pub installation: String,
    /// The machine.
    pub linux: Arc<dyn Linux>,
    /// How roots are made.
    pub driver: Arc<dyn Driver>,
    /// Where things are.
    pub layout: Layout,
    /// What they are called.
    pub names: Names,
    /// The VMs' network.
    pub network: VmNetwork,
    /// The same, as the machine is told.
    pub bridge: Network,
    /// The agent's program.
    pub vma: PathBuf,
    /// The database.
    pub store: Store,
    /// How many heavy steps may go on at once.
    pub heavy: usize,
    /// Settings that hold from the next start or stop.
    pub settings: PerStart,
}

impl Node {
    /// A host with its parts and a clock.
    pub fn new(parts: Parts, clock: Clock) -> Self {
        Self {
            host: parts.host,
            name: parts.name,
            installation: parts.installation,
            linux: parts.linux,
            driver: parts.driver,
            layout: parts.layout,
            names: parts.names,
            network: parts.network,
            bridge: parts.bridge,
            vma: parts.vma,
            store: parts.store,
            clock,
            heavy: Semaphore::new(parts.heavy),
            settings: Mutex::new(Arc::new(parts.settings)),
            allowed: Mutex::default(),
            ahead: Mutex::default(),
            problems: Mutex::default(),
            solved: Notify::new(),
            ready: Mutex::default(),
            homes_used: AtomicBool::new(false),
        }
    }

    /// Now.
    pub fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// The settings in force.
    pub fn settings(&self) -> Arc<PerStart> {
        Arc::clone(&held(&self.settings))
    }

    /// Puts new settings in force.
    pub fn set_settings(&self, settings: PerStart) {
        *held(&self.settings) = Arc::new(settings);
    }

    /// The run directory of a VM.
    pub fn directory(&self, vm: VmId) -> PathBuf {
        self.layout.vms.join(self.names.container(vm))
    }

    /// The socket of a VM's agent.
    pub fn agent_socket(&self, vm: VmId) -> PathBuf {
        self.directory(vm).join("agent.sock")
    }

    /// The links that the firewall lets through, as this process knows them.
    pub fn allowed(&self) -> MutexGuard<'_, HashSet<String>> {
        held(&self.allowed)
    }

    /// Notes, and logs, that something is wrong with this host; `None`: no more.
    pub fn set_problem(&self, problem: Problem, sentence: Option<String>) {
        let mut problems = held(&self.problems);
        let Some(sentence) = sentence else {
            if problems.remove(&problem).is_some() {
                tracing::info!(?problem, "a problem of this host is solved");
                self.solved.notify_waiters();
            }
            return;
        };
        if problems.get(&problem) != Some(&sentence) {
            tracing::error!("{sentence}");
            problems.insert(problem, sentence);
        }
    }

    /// Makes the bridge and the firewall's tables, and notes whether they are there.
    pub fn make_network(&self) -> linux::Result<()> {
        let made = self.linux.ensure_network(&self.bridge);
        let problem = made.as_ref().err().map(|error| format!("there is no network: {error}"));
        self.set_problem(Problem::Network, problem);
        made
    }

    /// Resolves when a problem of this host is solved.
    pub async fn solved(&self) {
        self.solved.notified().await;
    }

    /// Whether something is wrong.
    pub fn has_problem(&self, problem: Problem) -> bool {
        held(&self.problems).contains_key(&problem)
    }

    /// What is wrong with this host, one sentence each.
    pub fn problems(&self) -> Vec<String> {
        held(&self.problems).values().cloned().collect()
    }

    /// Notes whether the database has given fewer addresses than this host knows of: then it was put
    /// back to an earlier state.
    pub fn set_older(&self, older: bool) {
        let sentence = older
            .then(|| format!("{OLDER}: nothing is started and nothing removed; {OLDER_REMEDY}"));
        self.set_problem(Problem::OlderDatabase, sentence);
    }

    /// Notes whether this host made a later run of a VM than the database knows of.
    pub fn set_ahead(&self, vm: VmId, ahead: bool) {
        let mut all = held(&self.ahead);
        let changed = if ahead { all.insert(vm) } else { all.remove(&vm) };
        if changed {
            let sentence = (!all.is_empty()).then(|| {
                let vms: Vec<String> = all.iter().map(ToString::to_string).collect();
                let vms = vms.join(", ");
                format!("{OLDER}, which has later runs of VM {vms}: left as is; {OLDER_REMEDY}")
            });
            self.set_problem(Problem::OlderRuns, sentence);
        }
    }

    /// Whether the folder of homes must be marked as such.
    pub fn are_homes_used(&self) -> bool {
        self.homes_used.load(Ordering::Relaxed)
    }

    /// From now on the folder of homes is marked, or is not the one.
    pub fn homes_are_used(&self) {
        self.homes_used.store(true, Ordering::Relaxed);
    }

    /// Whether a run of a VM has a ready agent.
    pub fn is_ready(&self, vm: VmId, run: Run) -> bool {
        held(&self.ready).get(&vm) == Some(&run)
    }

    /// Notes whether a run of a VM has a ready agent.
    pub fn set_ready(&self, vm: VmId, run: Option<Run>) {
        let mut ready = held(&self.ready);
        match run {
            Some(run) => ready.insert(vm, run),
            None => ready.remove(&vm),
        };
    }
}

/// A lock whose holder panicked still guards whole values: each change here is one assignment.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
