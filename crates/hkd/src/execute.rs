//! Does the planner's steps. Each is idempotent: done twice, or again after a crash in its middle, it
//! ends in the same state.

use std::{
    fs, io,
    os::unix::net::UnixListener,
    path::Path,
    time::{Duration, Instant},
};

use model::{Timestamp, di::Di, network::VmNetwork};
use store::Work;
use wire::rest::ImageKind;

use crate::{
    guest,
    linux::{
        self, Error,
        file::Hold,
        lxc::{Container, Network},
        mount::{Bind, IdMap},
        slots,
    },
    node::{Node, Problem},
    observe::{self, Observation},
    plan::{Base, Step},
    record::Record,
    storage,
};

/// Why a step was not done.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// The machine said no.
    #[error(transparent)]
    Machine(#[from] linux::Error),
    /// Another holds what it takes: try again soon. Nothing is wrong.
    #[error("another is busy with it")]
    Busy,
    /// Every slot of the machine is taken.
    #[error("every range of ids is taken")]
    NoSlot,
    /// What the step was for has changed meanwhile: look again.
    #[error("things changed meanwhile")]
    Changed,
}

/// Does a step that only needs the machine. `progress` hears bytes done and all bytes of an unpacking.
pub fn execute(
    node: &Node,
    step: Step,
    vm: model::VmId,
    work: Option<&Work>,
    seen: &Observation,
    now: Timestamp,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(), StepError> {
    let linux = node.linux.as_ref();
    let name = node.names.container(vm);
    let directory = node.directory(vm);
    match step {
        Step::Unpack | Step::DiscardBase => make_base(node, step, image(work)?, progress)?,
        Step::Record => record(node, work.ok_or(StepError::Changed)?)?,
        Step::DiscardOverlay => {
            let di = seen.image.ok_or(StepError::Changed)?;
            node.driver.discard_overlay(&node.layout, di, vm)?;
        }
        Step::DiscardOthers | Step::DiscardLasting => {
            for (di, lasting) in observe::others(node, vm, seen.image)? {
                if lasting == (step == Step::DiscardLasting) {
                    node.driver.discard_overlay(&node.layout, di, vm)?;
                }
            }
        }
        Step::Snapshot => {
            let di = image(work)?;
            let run = known(seen)?.run();
            let run = (!node.settings().persistent).then_some(run);
            let lock = node.layout.base_lock(di);
            let _held = linux.lock(&lock, Hold::Shared)?.ok_or(StepError::Busy)?;
            node.driver.make_overlay(&node.layout, di, vm, run)?;
        }
        Step::MountRoot => mount_root(node, work.ok_or(StepError::Changed)?, known(seen)?)?,
        Step::MountHome => mount_home(node, work.ok_or(StepError::Changed)?, known(seen)?)?,
        Step::AllowNetwork => {
            if node.has_problem(Problem::Network) {
                node.make_network()?;
            }
            let source = known(seen)?.source();
            linux.allow(&source)?;
            node.allowed().insert(node.names.link(source.vm));
        }
        Step::Start => start(node, work.ok_or(StepError::Changed)?, known(seen)?)?,
        Step::Inject => inject(node, vm)?,
        Step::AskToStop => {
            let mut record = known(seen)?.clone();
            record.stop_asked_at.get_or_insert(now.0);
            record.write(linux, &directory)?;
            linux.ask_to_stop(&node.layout.vms, &name)?;
        }
        Step::Kill => linux.kill(&node.layout.vms, &name)?,
        Step::RemoveLink => linux.remove_link(&node.names.link(vm))?,
        Step::ForbidNetwork => {
            match &seen.record {
                Some(record) => linux.forbid(&record.source())?,
                // Of what nobody knows any more the firewall itself says what it lets through.
                None => {
                    for source in linux.allowed()?.iter().filter(|source| source.vm == vm) {
                        linux.forbid(source)?;
                    }
                }
            }
            node.allowed().remove(&node.names.link(vm));
        }
        Step::RemoveGroups => linux.remove_cgroups(&name)?,
        Step::UnmountHome => linux.detach(&directory.join("home"))?,
        Step::UnmountRoot => {
            linux.detach(&node.layout.mounted_root(vm))?;
            linux.remove_folder(&node.layout.mounted_root(vm))?;
            linux.detach(&directory.join("init"))?;
            // Last: as long as it is there, the rest is done again.
            linux.detach(&directory.join("root"))?;
        }
        Step::Forget => {
            if let Some(record) = &seen.record {
                linux.release_slot(record.slot, &directory)?;
            }
            linux.remove_folder(&directory)?;
        }
        // These speak with the agent or the database: see `reconcile`.
        Step::Prepare | Step::NoteEnd => return Err(StepError::Changed),
    }
    Ok(())
}

fn image(work: Option<&Work>) -> Result<&Di, StepError> {
    work.and_then(|work| work.di.as_ref()).ok_or(StepError::Changed)
}

fn known(seen: &Observation) -> Result<&Record, StepError> {
    seen.record.as_ref().ok_or(StepError::Changed)
}

/// Makes or deletes a base, alone: of several VMs that want it, one does and the others wait.
fn make_base(
    node: &Node,
    step: Step,
    di: &Di,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(), StepError> {
    let lock = node.layout.base_lock(di);
    let held = node.linux.lock(&lock, Hold::Alone)?.ok_or(StepError::Busy)?;
    // Who waited for the lock may find it made.
    let base = node.driver.base(&node.layout, di)?;
    if step == Step::DiscardBase {
        if base != Some(Base::Whole) {
            node.driver.discard_base(&node.layout, di)?;
        }
        return Ok(());
    }
    if base.is_none() {
        tracing::info!(image = %di.path, "unpacking an image");
        let made = node.driver.make_base(&node.layout, di, held, progress);
        let waited =
            made.map_err(|error| if is_unmounted(node, &error) { no_images(node) } else { error })?;
        node.set_problem(Problem::SlowImages, slowness(node, di, waited));
        tracing::info!(image = %di.path, "the image is unpacked");
    }
    Ok(())
}

/// Shorter than this nobody minds to wait for an image's file.
const SLOW_WAIT: Duration = Duration::from_secs(2);
/// Storage that gives fewer bytes in a second is slow: a desktop of some GiB takes many minutes from it.
const SLOW_BYTES: f64 = 4.0 * 1024.0 * 1024.0;

/// That the storage of the images was slow, if it was.
fn slowness(node: &Node, di: &Di, waited: Duration) -> Option<String> {
    #[expect(clippy::cast_precision_loss, reason = "it is told as so many MiB")]
    let rate = di.bytes as f64 / waited.as_secs_f64();
    (waited > SLOW_WAIT && rate < SLOW_BYTES).then(|| {
        format!(
            "the storage {} is slow: the image {} came at {:.1} MiB a second: look at its server and \
             the network to it",
            node.layout.images.display(),
            di.path,
            rate / 1024.0 / 1024.0
        )
    })
}

/// Whether an image lacks because all do: an empty folder, or none, is there in place of the storage.
fn is_unmounted(node: &Node, error: &Error) -> bool {
    if !matches!(error, Error::Image { .. }) || !error.is_missing() {
        return false;
    }
    match node.linux.names(&node.layout.images) {
        Ok(names) => !names.iter().any(|name| name.starts_with(|c: char| c.is_ascii_digit())),
        Err(error) => error.is_missing(),
    }
}

fn no_images(node: &Node) -> Error {
    Error::NoImages { path: node.layout.images.display().to_string() }
}

fn record(node: &Node, work: &Work) -> Result<(), StepError> {
    let linux = node.linux.as_ref();
    let vm = work.vm.id;
    let directory = node.directory(vm);
    linux.make_folder(&directory, 0o700)?;
    let slot = linux.claim_slot(&directory)?.ok_or(StepError::NoSlot)?;
    let record = Record {
        vm: vm.0,
        run: work.desired.run.0,
        di: image(Some(work))?.id.0,
        slot,
        owner: (work.user.uid, work.user.gid),
        link: node.names.link(vm),
        mac: VmNetwork::mac(&node.settings().mac_prefix, work.vm.ip).parse()?,
        address: work.vm.ip,
        started: false,
        stop_asked_at: None,
        noted: false,
    };
    Ok(record.write(linux, &directory)?)
}

/// Mounts the overlay twice: where people look for it, below a folder that only root may enter, and
/// in the run directory, where the container's own root may fetch it. There, too, our own init.
fn mount_root(node: &Node, work: &Work, record: &Record) -> Result<(), StepError> {
    let linux = node.linux.as_ref();
    let vm = record.vm();
    let directory = node.directory(vm);
    let base = slots::base_of(record.slot);
    let tree = node.driver.tree(&node.layout, record.di(), vm);
    linux.let_in(&directory, base)?;
    let root = directory.join("root");
    let mounts = [
        (tree, root.clone(), Some(IdMap::container(base))),
        (root, node.layout.mounted_root(vm), None),
    ];
    for (from, to, map) in mounts {
        linux.make_folder(&to, 0o700)?;
        if !linux.is_mounted(&to)? {
            linux.bind(&Bind { from, to, map, suid: true })?;
        }
    }
    let init = directory.join("init");
    if runs_own_init(work) && !linux.is_mounted(&init)? {
        linux.show_program(&node.vma, &init)?;
    }
    Ok(())
}

/// Whether a VM's process 1 is our own init: where the OSF says so, or the image has none.
fn runs_own_init(work: &Work) -> bool {
    let kind = work.di.as_ref().and_then(|di| serde_json::from_str::<ImageKind>(&di.kind).ok());
    work.osf.init.is_ours(kind.is_none_or(|kind| kind.init != ImageKind::NO_INIT))
}

fn mount_home(node: &Node, work: &Work, record: &Record) -> Result<(), StepError> {
    let linux = node.linux.as_ref();
    let vm = record.vm();
    let home = node.layout.home(vm);
    let (uid, gid) = record.owner;
    let map = IdMap::one(slots::base_of(record.slot), uid, gid)?;
    storage::homes::ready(linux, &node.layout.homefs, &node.installation, node.are_homes_used())?;
    node.homes_are_used();
    linux.make_owned_folder(&home, 0, 0, 0o755)?;
    linux.make_owned_folder(&home.join(&work.user.login), uid, gid, 0o700)?;
    let to = node.directory(vm).join("home");
    linux.make_folder(&to, 0o700)?;
    if !linux.is_mounted(&to)? {
        linux.bind(&Bind { from: home, to, map: Some(map), suid: false })?;
    }
    Ok(())
}

fn start(node: &Node, work: &Work, record: &Record) -> Result<(), StepError> {
    let linux = node.linux.as_ref();
    let vm = record.vm();
    let directory = node.directory(vm);
    mount_root(node, work, record)?;
    let settings = node.settings();
    let container = Container {
        name: node.names.container(vm),
        path: node.layout.vms.clone(),
        hostname: hostname(&work.vm.name),
        machine_id: guest::machine_id(&node.installation, vm),
        root: directory.join("root"),
        own_init: runs_own_init(work).then(|| directory.join("init")),
        home: work.osf.has_home().then(|| (directory.join("home"), "/home".to_owned())),
        base_id: slots::base_of(record.slot),
        memory: work.osf.memory,
        processes: settings.processes,
        cpu: settings.cpu,
        io: settings.io,
        nesting: work.osf.nesting,
        network: Network {
            bridge: node.names.bridge.clone(),
            link: record.link.clone(),
            mac: record.mac,
            address: record.address,
            prefix: node.network.prefix,
            gateway: node.network.gateway,
        },
    };
    if let Some(bytes) = settings.overlay_max {
        node.driver.limit_overlay(&node.layout, record.di(), vm, bytes)?;
    }
    let lock = linux.lock(&directory.join("lock"), Hold::Alone)?.ok_or(StepError::Busy)?;
    Record { started: true, ..record.clone() }.write(linux, &directory)?;
    tracing::info!(%vm, run = record.run, "starting a container");
    linux.start(&container, lock)?;
    Ok(())
}

/// A VM's name as a host name: letters, digits and dashes.
pub fn hostname(name: &str) -> String {
    let good = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let name: String = name.chars().map(good).take(63).collect();
    let name = name.trim_matches('-');
    if name.is_empty() { "desktop".to_owned() } else { name.to_owned() }
}

/// How long a container may take until a program can be put into it.
const INJECT_WITHIN: Duration = Duration::from_secs(10);
/// How soon it is tried again: an eighth of what it has taken, within these.
const INJECT_AGAIN: (Duration, Duration) = (Duration::from_millis(3), Duration::from_millis(250));

fn inject(node: &Node, vm: model::VmId) -> Result<(), StepError> {
    let name = node.names.container(vm);
    let listener = listen(&node.agent_socket(vm)).map_err(|source| Error::System {
        doing: format!("listen on {}", node.agent_socket(vm).display()),
        source,
    })?;
    let begun = Instant::now();
    let vms = &node.layout.vms;
    loop {
        let failed = match node.linux.inject(vms, &name, &node.vma, &listener) {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        // A container that is only just being made cannot be entered yet.
        let gone = node.linux.monitor(vms, &name)?.is_none()
            && node.linux.lock(&node.directory(vm).join("lock"), Hold::Alone)?.is_some();
        if gone {
            // It ended meanwhile: that is seen on the next look, and is no failure of this step.
            return Err(StepError::Changed);
        }
        if begun.elapsed() > INJECT_WITHIN || failed.is_missing() {
            return Err(failed.into());
        }
        let (soon, late) = INJECT_AGAIN;
        std::thread::sleep((begun.elapsed() / 8).clamp(soon, late));
    }
}

/// A fresh listening socket at a path that only root can reach.
fn listen(path: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    UnixListener::bind(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_name_is_made_of_any_name() {
        assert_eq!(hostname("Ada's desk"), "ada-s-desk");
        assert_eq!(hostname("ñ"), "desktop");
        assert_eq!(hostname(&"x".repeat(80)).len(), 63);
        assert_eq!(hostname("--a--"), "a");
    }
}
