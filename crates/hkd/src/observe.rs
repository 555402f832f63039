//! Looks at the machine: what is there of a VM, without believing anything written down elsewhere.

use model::{DiId, Timestamp, VmId, di::Di};

use crate::{
    layout::overlay_of,
    linux::{self, Gauge, file::Hold, lxc::Monitor},
    node::Node,
    plan::{self, Agent, Container, Seen, Stopping},
    record::Record,
};

/// What is there of a VM.
#[derive(Clone, Debug)]
pub struct Observation {
    /// For the planner.
    pub seen: Seen,
    /// The run directory's record.
    pub record: Option<Record>,
    /// Whose overlay is the one that is seen: the image that is wanted, else the record's. Overlays of
    /// any other are the others.
    pub image: Option<DiId>,
    /// Who watches over the container, when that can be told.
    pub monitor: Option<Monitor>,
    /// What it has used up.
    pub used_up: UsedUp,
}

/// What a VM has used up of what it was given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UsedUp {
    /// How many of its processes were killed because its memory was.
    pub killed: u64,
    /// Whether it has written as much as it may.
    pub disk: bool,
}

impl UsedUp {
    /// Looks once; where that cannot be told, nothing.
    fn now(node: &Node, vm: VmId, di: DiId) -> Self {
        Self::of(node, vm, di).and_then(|gauge| gauge()).unwrap_or_else(|error| {
            tracing::debug!(%vm, %error, "cannot tell what a VM has used up");
            Self::default()
        })
    }

    /// Tells it of a VM with this image, as far as it can be told, for as long as it runs.
    pub fn of(node: &Node, vm: VmId, di: DiId) -> linux::Result<Gauge<Self>> {
        let killed = node.linux.killed_for_memory(&node.layout.vms, &node.names.container(vm))?;
        let limited = node.settings().overlay_max.is_some();
        let full = limited.then(|| node.driver.overlay_full(&node.layout, di, vm)).transpose()?;
        Ok(Box::new(move || {
            let disk = full.as_ref().map_or(Ok(false), |full| full())?;
            Ok(Self { killed: killed()?, disk })
        }))
    }
}

/// Looks at a VM. `di` is the image that is wanted, if one is; `agent` is what its socket said.
pub fn observe(
    node: &Node,
    vm: VmId,
    di: Option<&Di>,
    agent: Agent,
    now: Timestamp,
) -> linux::Result<Observation> {
    let linux = node.linux.as_ref();
    let name = node.names.container(vm);
    let directory = node.directory(vm);
    let here = linux.exists(&directory)?;
    let record = if here { Record::read(linux, &directory)? } else { None };
    let monitor = linux.monitor(&node.layout.vms, &name)?;
    // A container that is being started has no monitor that answers yet, but its lock is held.
    let starting = here && linux.lock(&directory.join("lock"), Hold::Alone)?.is_none();
    let container = (monitor.is_some() || starting)
        .then(|| Container { agent, stopping: stopping(node, record.as_ref(), now) });
    let image = di.map(|di| di.id).or_else(|| record.as_ref().map(Record::di));
    let found = Seen {
        record: here.then(|| record.as_ref().map_or(plan::Record::Empty, summary)),
        rules: node.allowed().contains(&node.names.link(vm)),
        container,
        ..Seen::default()
    };
    // What a container stands on is no concern as long as it lives: storage that fails keeps nobody from
    // ending it.
    let seen = match container {
        Some(_) => found,
        None => foundations(node, vm, di, image, found)?,
    };
    // On its way up it has used nothing yet.
    let used_up = match &record {
        Some(record) if record.started => UsedUp::now(node, vm, record.di()),
        _ => UsedUp::default(),
    };
    Ok(Observation { seen, record, image, monitor, used_up })
}

/// Adds what a container stands on, or will.
fn foundations(
    node: &Node,
    vm: VmId,
    di: Option<&Di>,
    image: Option<DiId>,
    seen: Seen,
) -> linux::Result<Seen> {
    let linux = node.linux.as_ref();
    let directory = node.directory(vm);
    let overlay = image.map(|image| node.driver.overlay(&node.layout, image, vm)).transpose()?;
    let others = others(node, vm, image)?;
    let mounted_root = node.layout.mounted_root(vm);
    // A mount of which no record tells may be gone already, and its folder not.
    let told = seen.record.is_some();
    let root = if told { linux.is_mounted(&mounted_root)? } else { linux.exists(&mounted_root)? };
    Ok(Seen {
        base: di.map(|di| node.driver.base(&node.layout, di)).transpose()?.flatten(),
        overlay: overlay.flatten(),
        other_overlays: others.iter().any(|(_, lasting)| !lasting),
        other_lasting: others.iter().any(|(_, lasting)| *lasting),
        root: root
            || linux.is_mounted(&directory.join("root"))?
            || linux.is_mounted(&directory.join("init"))?,
        home: linux.is_mounted(&directory.join("home"))?,
        link: linux.link_exists(&node.names.link(vm))?,
        groups: !linux.cgroups(&node.names.container(vm))?.is_empty(),
        ..seen
    })
}

/// A VM's overlays of other images than one, and whether each was made to last.
pub fn others(node: &Node, vm: VmId, but: Option<DiId>) -> linux::Result<Vec<(DiId, bool)>> {
    let names = node.linux.names(&node.layout.overlayfs)?;
    let owned = names.iter().filter_map(|name| overlay_of(name)).filter(|(_, owner)| *owner == vm);
    owned
        .map(|(di, _)| di)
        .filter(|di| Some(*di) != but)
        .map(|di| {
            let overlay = node.driver.overlay(&node.layout, di, vm)?;
            Ok((di, overlay == Some(plan::Overlay::Lasting)))
        })
        .collect()
}

fn summary(record: &Record) -> plan::Record {
    plan::Record::Whole {
        run: record.run(),
        di: record.di(),
        started: record.started,
        noted: record.noted,
    }
}

fn stopping(node: &Node, record: Option<&Record>, now: Timestamp) -> Stopping {
    let Some(asked) = record.and_then(Record::stop_asked_at) else { return Stopping::No };
    let timeout = i64::try_from(node.settings().stop_timeout.as_millis()).unwrap_or(i64::MAX);
    if now.millis_since(asked) >= timeout { Stopping::Overdue } else { Stopping::Asked }
}
