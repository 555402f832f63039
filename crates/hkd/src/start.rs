//! The daemon from its start to its end.

use std::{
    path::{Component, Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use ipnet::Ipv4Net;
use model::{
    Timestamp,
    network::{BadNetwork, VmNetwork},
    settings::{BadSetting, Settings},
};
use store::Store;
use tokio_util::sync::CancellationToken;

use crate::{
    attach, examine,
    layout::Layout,
    linux::{self, Linux, firewall::Network, names::Names, real::Real},
    node::{Clock, Node, Parts, PerStart, Problem},
    reconcile::{self, Reconciler},
    storage::{self, Driver, btrfs::Btrfs},
};

/// How long a daemon of before may be on its way out, and how soon is looked again.
const ALONE_WITHIN: Duration = Duration::from_secs(1);
const ALONE_AGAIN: Duration = Duration::from_millis(10);

/// What the daemon is started with.
#[derive(Clone, Debug)]
pub struct Config {
    /// The settings of this host's file.
    pub file: Settings,
    /// This host's name.
    pub host: String,
    /// The agent's program.
    pub vma: PathBuf,
    /// User and group of the router, who may ask for desktops.
    pub router: (u32, u32),
}

/// Why the daemon cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database does not answer, or is not ours.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A setting has no usable value.
    #[error(transparent)]
    Setting(#[from] BadSetting),
    /// The network's settings do not describe one.
    #[error(transparent)]
    Network(#[from] BadNetwork),
    /// The machine is not as it must be.
    #[error(transparent)]
    Machine(#[from] linux::Error),
    /// The host is not registered.
    #[error("this host, {0}, is not registered: run `qa host add name={0} address=ADDRESS`")]
    Unregistered(String),
    /// A path leads out of where storage may be.
    #[error(
        "{key} is {path}, which is not below path.storage.allowed {allowed}: change one of them"
    )]
    Outside {
        /// The setting.
        key: &'static str,
        /// Its value.
        path: String,
        /// Where storage may be.
        allowed: String,
    },
    /// The storage belongs to another installation.
    #[error(
        "the storage {path} belongs to the installation {found}, and the database to {wanted}: nothing was started and nothing removed; connect this host to its own database, or give it storage of its own"
    )]
    Foreign {
        /// Where.
        path: String,
        /// Whose storage it is.
        found: String,
        /// Whose database it is.
        wanted: String,
    },
    /// Another daemon runs.
    #[error("another hkd of this installation runs already: it holds {0}")]
    Running(String),
    /// The socket for routers cannot be made.
    #[error("cannot listen on {path}: {source}")]
    Socket {
        /// Its path.
        path: String,
        /// Why.
        source: std::io::Error,
    },
}

/// Runs the daemon until `stop`. `ready` is called once it works. Stopping ends no VM.
pub async fn run(
    config: Config,
    ready: impl FnOnce(),
    stop: CancellationToken,
) -> Result<(), StartError> {
    let store = Store::open_for_host(&config.file.get("database.url")?).await?;
    let mut settings = config.file.clone();
    settings.layer_rows(store.configs().await?);
    let names = Names::from_settings(&settings)?;
    let linux: Arc<dyn Linux> = Arc::new(Real::new(names.clone()));
    let layout = Layout::from_settings(&settings)?;
    let network = network(&settings)?;
    let bridge = bridge(&settings)?;
    let installation = store.installation().await?;
    let host = store.host_by_name(&config.host).await?;
    let host = host.ok_or_else(|| StartError::Unregistered(config.host.clone()))?;
    let driver: Arc<dyn Driver> = Arc::new(Btrfs::new(Arc::clone(&linux)));
    let heavy = usize::try_from(settings.number("hkd.starting.max")?).unwrap_or(1);
    let parts = Parts {
        host: host.id,
        name: host.name,
        installation,
        linux,
        driver,
        layout,
        names,
        network,
        bridge,
        vma: config.vma,
        heavy,
        settings: PerStart::from_settings(&settings)?,
        store,
    };
    let asked = examine::asked(&settings, &parts.layout, parts.vma.clone())?;
    let node = Arc::new(Node::new(parts, clock()));
    let _alone = prepare(&node).await?;
    let socket = node.layout.sockets.join("attach.sock");
    let (router, group) = config.router;
    let listener = attach::listen(&socket, group)
        .map_err(|source| StartError::Socket { path: socket.display().to_string(), source })?;
    let wake = node.store.wake();
    let reconciler = Reconciler::new(Arc::clone(&node), config.file);
    ready();
    tracing::info!(host = %node.name, "hkd works");
    tokio::join!(
        reconciler.run(wake, stop.clone()),
        attach::serve(Arc::clone(&node), listener, router, stop.clone()),
        reconcile::renew(Arc::clone(&node), usable(), stop.clone()),
        examine::run(Arc::clone(&node), asked, stop),
    );
    tracing::info!("hkd ends; the desktops go on");
    Ok(())
}

/// The VMs' network, from the settings.
fn network(settings: &Settings) -> Result<VmNetwork, StartError> {
    let gateway = settings.get("vm.network.gateway")?;
    let gateway = match gateway.as_str() {
        "" => None,
        text => Some(text.parse().map_err(|_| BadSetting::Value {
            key: "vm.network.gateway",
            value: text.to_owned(),
            wanted: "an IPv4 address, or nothing".to_owned(),
        })?),
    };
    let start = settings.ipv4("vm.network.ip.start")?;
    Ok(VmNetwork::new(start, &settings.get("vm.network.netmask")?, gateway)?)
}

/// The same, as the machine is told.
pub(crate) fn bridge(settings: &Settings) -> Result<Network, StartError> {
    let network = network(settings)?;
    let gateway = Ipv4Net::new(network.gateway, network.prefix);
    let gateway = gateway.map_err(|_| BadNetwork::Netmask(network.prefix.to_string()))?;
    Ok(Network { gateway, blocked: settings.networks("vm.network.blocked")? })
}

/// Makes the machine ready for the daemon of a host, and notes what is wrong with it. The lock returned
/// is this daemon's: no other runs as long as it is held.
pub async fn prepare(node: &Arc<Node>) -> Result<linux::Lock, StartError> {
    let host = Arc::clone(node);
    let prepared = tokio::task::spawn_blocking(move || -> Result<Prepared, StartError> {
        let (linux, layout) = (host.linux.as_ref(), &host.layout);
        let alone = own(linux, host.driver.as_ref(), layout, &host.installation)?;
        // Without these what runs goes on, and what is to start says why it does not.
        let network = linux.ensure_network(&host.bridge).err();
        if let Err(error) = linux.raise_limits() {
            // What it is too low for stands among what the machine lacks.
            tracing::info!(%error, "a limit of this machine stays as it is");
        }
        Ok(Prepared { alone, network, weaknesses: weaknesses(linux, layout)? })
    })
    .await
    .map_err(|panicked| linux::Error::Unexpected {
        what: "preparing the host".to_owned(),
        why: panicked.to_string(),
    })??;
    let Prepared { alone, network, weaknesses } = prepared;
    let unmade = network.map(|error| format!("there is no network: {error}"));
    node.set_problem(Problem::Network, unmade);
    let weak = (!weaknesses.is_empty()).then(|| weaknesses.join("; "));
    node.set_problem(Problem::Storage, weak);
    storage::homes::look(node, node.store.any_started().await?).await;
    Ok(alone)
}

/// Makes the folders, and makes sure that they are ours. The lock returned is this daemon's.
fn own(
    linux: &dyn Linux,
    driver: &dyn Driver,
    layout: &Layout,
    installation: &str,
) -> Result<linux::Lock, StartError> {
    let allowed = linux.real_path(&layout.allowed)?;
    for (key, path) in layout.storage() {
        let upwards = path.components().any(|part| part == Component::ParentDir);
        let inside = path.starts_with(&layout.allowed) && !upwards;
        // Who writes rows, or the folder of images, must not lead root elsewhere by a link.
        if !inside || !linux.real_path(path)?.starts_with(&allowed) {
            return Err(StartError::Outside {
                key,
                path: path.display().to_string(),
                allowed: layout.allowed.display().to_string(),
            });
        }
    }
    // The container's child passes through it, to what is its own.
    linux.make_folder(&layout.vms, 0o711)?;
    linux.make_folder(&layout.sockets, 0o711)?;
    linux.make_folder(&layout.ended, 0o700)?;
    let lock = layout.sockets.join("lock");
    let alone = alone(linux, &lock)?;
    linux.make_folder(&layout.root, 0o755)?;
    for path in layout.owned() {
        linux.make_folder(path, 0o700)?;
    }
    driver.usable(layout)?;
    ours(linux, &layout.owner(), installation)?;
    Ok(alone)
}

/// Takes the lock of this host's daemon. One that was killed may have left a child that is not its own
/// program yet, and holds what it held: it is waited for.
fn alone(linux: &dyn Linux, lock: &Path) -> Result<linux::Lock, StartError> {
    let began = Instant::now();
    loop {
        match linux.lock(lock, linux::file::Hold::Alone)? {
            Some(alone) => return Ok(alone),
            None if began.elapsed() < ALONE_WITHIN => thread::sleep(ALONE_AGAIN),
            None => return Err(StartError::Running(lock.display().to_string())),
        }
    }
}

/// In what the storage of this host is less protected than it could be.
fn weaknesses(linux: &dyn Linux, layout: &Layout) -> Result<Vec<String>, StartError> {
    let mut found = Vec::new();
    for path in layout.owned() {
        if let Err(error) = linux.keep_to_root(path) {
            found.push(format!("{error}: programs of images can be reached there"));
        }
        let volume = linux.volume(path)?;
        let lacks: Vec<&str> = [(volume.set_user_id, "nosuid"), (volume.devices, "nodev")]
            .into_iter()
            .filter_map(|(lacks, word)| lacks.then_some(word))
            .collect();
        if !lacks.is_empty() {
            let (path, lacks) = (path.display(), lacks.join(","));
            found.push(format!(
                "the volume of {path} is mounted without {lacks}: mount it with these"
            ));
        }
    }
    Ok(found)
}

/// What came of preparing the machine.
struct Prepared {
    /// Held as long as this daemon runs.
    alone: linux::Lock,
    /// Why there is no network.
    network: Option<linux::Error>,
    weaknesses: Vec<String>,
}

fn ours(linux: &dyn Linux, owner: &Path, installation: &str) -> Result<(), StartError> {
    match linux.read(owner)? {
        None => Ok(linux.write(owner, installation.as_bytes())?),
        Some(found) if found == installation.as_bytes() => Ok(()),
        Some(found) => Err(StartError::Foreign {
            path: owner.parent().unwrap_or(owner).display().to_string(),
            found: String::from_utf8_lossy(&found).trim().to_owned(),
            wanted: installation.to_owned(),
        }),
    }
}

/// This machine's clock.
pub fn clock() -> Clock {
    Arc::new(|| {
        #[expect(clippy::disallowed_methods, reason = "this is the one clock of hkd")]
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(now.as_millis()).unwrap_or(i64::MAX))
    })
}

/// What VMs can have of this machine: processors in units of one core, and memory in MiB.
fn usable() -> (f64, f64) {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = memory
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|kib| kib.parse::<f64>().ok())
        .unwrap_or(0.0);
    (f64::from(u32::try_from(cores).unwrap_or(1)), total / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::fake::{Fake, Machine};

    /// Of two daemons one works; one that was only just killed is waited for.
    #[test]
    fn one_that_is_on_its_way_out_is_waited_for() {
        let place = tempfile::tempdir().unwrap();
        let lock = place.path().join("lock");
        let fake = Fake::new(Arc::new(Machine::default()), None);
        let first = alone(&fake, &lock).unwrap();
        let refused = alone(&fake, &lock).map(drop).unwrap_err().to_string();
        assert!(refused.contains("runs already: it holds"), "{refused}");
        let leaves = thread::spawn(move || drop(first));
        alone(&fake, &lock).unwrap();
        leaves.join().unwrap();
    }
}
