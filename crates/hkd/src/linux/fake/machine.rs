//! The machine for tests: what is on it, and what can happen to it without hkd's doing.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use wire::agent::Guest;

use super::guest::Agent;
use crate::linux::{
    Error, Lock, Result,
    btrfs::Subvolume,
    doctor::Finding,
    firewall::{self, Source},
    lxc::{Container, End, Monitor},
    mount::Bind,
    slots::SLOTS,
    unpack::Archive,
};

/// A machine. It outlives the daemons that work on it.
///
/// Files and folders are real, below a folder of the test, because sockets are; what root alone could
/// make (subvolumes, mounts, containers, links, rules) is only noted here.
#[derive(Debug, Default)]
pub struct Machine {
    state: Mutex<State>,
}

/// How often some things were done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Images that were begun to be unpacked.
    pub unpacked: usize,
    /// Containers that were started.
    pub started: usize,
    /// Agents that were put into containers.
    pub injected: usize,
    /// Containers that were asked to stop.
    pub asked: usize,
    /// Containers that were ended.
    pub killed: usize,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) volumes: BTreeMap<PathBuf, Volume>,
    pub(super) owners: BTreeMap<PathBuf, (u32, u32)>,
    pub(super) mounts: Vec<Bind>,
    pub(super) slots: BTreeMap<u32, PathBuf>,
    pub(super) containers: BTreeMap<PathBuf, Running>,
    pub(super) ends: BTreeMap<PathBuf, End>,
    pub(super) groups: BTreeSet<PathBuf>,
    /// How many processes of containers were killed for memory, by run directory.
    pub(super) starved: BTreeMap<PathBuf, u64>,
    /// Containers with a process that is killed but not gone: their groups are busy once more.
    leaving: BTreeSet<String>,
    pub(super) links: BTreeSet<String>,
    pub(super) sources: Vec<Source>,
    pub(super) network: Option<firewall::Network>,
    pub(super) counts: Counts,
    images: BTreeMap<PathBuf, String>,
    refused: Option<String>,
    ailments: Vec<Finding>,
    harm: Vec<String>,
    numbers: i32,
}

#[derive(Clone, Debug)]
pub(super) struct Volume {
    pub(super) found: Subvolume,
    pub(super) tag: Option<i64>,
    /// The digest of the image that is in it; none while it is empty or half filled.
    pub(super) image: Option<String>,
    /// How many bytes may be written to it, and were; zero for no limit.
    pub(super) limit: u64,
    pub(super) written: u64,
}

impl Volume {
    pub(super) fn is_full(&self) -> bool {
        self.limit > 0 && self.written >= self.limit
    }
}

/// A container with its monitor.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) monitor: Monitor,
    pub(super) init: i32,
    pub(super) agents: Vec<Agent>,
    /// How often is looked in vain for its monitor, which is only coming up.
    pub(super) coming: u32,
    deaf: bool,
    link: String,
    /// The two ends of a pipe: the second closes when the monitor ends.
    end: (io::PipeReader, io::PipeWriter),
    _lock: Lock,
}

/// The kernel's refusal of what was being done.
pub(super) fn refuse<T>(doing: impl Into<String>, code: i32) -> Result<T> {
    Err(Error::System { doing: doing.into(), source: io::Error::from_raw_os_error(code) })
}

/// A container's groups.
pub(super) fn groups(name: &str) -> [PathBuf; 2] {
    let group = |part| Path::new("/sys/fs/cgroup").join(format!("lxc.{part}.{name}"));
    [group("payload"), group("monitor")]
}

impl Machine {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts an image's file on the machine, with the sha-256 it has.
    pub fn put_image(&self, file: &Path, sha256: &str) {
        self.state().images.insert(file.to_owned(), sha256.to_owned());
    }

    /// Takes an image's file away.
    pub fn forget_image(&self, file: &Path) {
        self.state().images.remove(file);
    }

    /// The kernel kills processes of a container because its memory is used up.
    pub fn starve(&self, directory: &Path, processes: u64) {
        *self.state().starved.entry(directory.to_owned()).or_default() += processes;
    }

    /// So much was written to a subvolume by now.
    pub fn write(&self, subvolume: &Path, bytes: u64) {
        if let Some(volume) = self.state().volumes.get_mut(subvolume) {
            volume.written = bytes;
        }
    }

    /// Shuts a container down from inside. The name is that of its run directory.
    pub fn shut_down_inside(&self, name: &str) {
        self.state().end_named(name, &End::ShutDown, false);
    }

    /// Lets the init of a container die.
    pub fn crash_inside(&self, name: &str) {
        let how = End::Died("its init ended on signal Killed(9)".to_owned());
        self.state().end_named(name, &how, false);
    }

    /// Leaves a link, groups, a mounted root and a leave of the firewall behind, of which nothing else tells.
    pub fn leave_behind(&self, source: Source, name: &str, root: Bind) {
        let mut state = self.state();
        state.links.insert(name.to_owned());
        state.groups.extend(groups(name));
        state.mounts.push(root);
        state.sources.push(source);
    }

    /// Lets the monitor of a container die, and the container with it: its groups stay behind, and a
    /// process in them takes its time to be gone.
    pub fn lose_monitor(&self, name: &str) {
        let how = End::Died("its monitor was ended".to_owned());
        let mut state = self.state();
        state.end_named(name, &how, true);
        state.leaving.insert(name.to_owned());
    }

    /// Reboots a container from inside: another init under the same monitor, and no agent.
    pub fn reboot_inside(&self, name: &str) {
        let mut state = self.state();
        let init = state.number();
        if let Some(running) = state.named(name) {
            running.init = init;
            running.agents.clear();
        }
    }

    /// Lets a container no longer hear that it is to stop.
    pub fn turn_deaf(&self, name: &str) {
        if let Some(running) = self.state().named(name) {
            running.deaf = true;
        }
    }

    /// Another installation takes every slot, as long as its run directory is there.
    pub fn take_all_slots(&self, directory: &Path) {
        let mut state = self.state();
        for slot in 0..SLOTS {
            state.slots.entry(slot).or_insert_with(|| directory.to_owned());
        }
    }

    /// Somebody else empties the firewall.
    pub fn flush_rules(&self) {
        self.state().sources.clear();
    }

    /// Lets every start fail from now on, with what LXC says; or, with none, succeed again.
    pub fn refuse_starts(&self, why: Option<&str>) {
        self.state().refused = why.map(str::to_owned);
    }

    /// What is found when the machine is examined, from now on.
    pub fn ail(&self, findings: Vec<Finding>) {
        self.state().ailments = findings;
    }

    pub(super) fn ailments(&self) -> Vec<Finding> {
        self.state().ailments.clone()
    }

    /// How often things were done.
    pub fn counts(&self) -> Counts {
        self.state().counts
    }

    /// How the newest agent of a container made its guest ready, if it did.
    pub fn guest(&self, name: &str) -> Option<Guest> {
        self.state().named(name)?.agents.last()?.guest()
    }

    /// The user and group that a folder was given to.
    pub fn owner(&self, folder: &Path) -> Option<(u32, u32)> {
        self.state().owners.get(folder).copied()
    }

    /// The numbers of a container's monitor and init.
    pub fn processes(&self, name: &str) -> Option<(i32, i32)> {
        self.state().named(name).map(|running| (running.monitor.pid, running.init))
    }

    /// What is on the machine, a line each: subvolumes, mounts, containers, slots, groups, links and
    /// rules.
    pub fn inventory(&self) -> Vec<String> {
        let state = self.state();
        let mut lines = Vec::new();
        for (path, volume) in &state.volumes {
            let Volume { found, tag, image, .. } = volume;
            let sealed = if found.read_only { "sealed" } else { "writable" };
            lines.push(format!("subvolume {} {sealed} {tag:?} {image:?}", path.display()));
        }
        let mounts = state.mounts.iter();
        lines.extend(mounts.map(|each| format!("mount {} {}", each.to.display(), each.suid)));
        let containers = state.containers.keys();
        lines.extend(containers.map(|path| format!("container {}", path.display())));
        let slots = state.slots.iter();
        lines.extend(slots.map(|(slot, holder)| format!("slot {slot} of {}", holder.display())));
        lines.extend(state.groups.iter().map(|group| format!("group {}", group.display())));
        lines.extend(state.links.iter().map(|link| format!("link {link}")));
        lines.extend(state.sources.iter().map(|source| format!("rule {source:?}")));
        lines
    }

    /// What was done to a running container that no daemon may do: taking away what it stands on.
    pub fn harm(&self) -> Vec<String> {
        self.state().harm.clone()
    }
}

impl State {
    /// A number that nothing on this machine, nor on the real one, has.
    fn number(&mut self) -> i32 {
        self.numbers += 1;
        1_000_000_000 + self.numbers
    }

    fn named(&mut self, name: &str) -> Option<&mut Running> {
        self.containers.iter_mut().find(|(path, _)| path.ends_with(name)).map(|(_, found)| found)
    }

    fn end_named(&mut self, name: &str, how: &End, groups_stay: bool) {
        let found = self.containers.keys().find(|path| path.ends_with(name)).cloned();
        if let Some(directory) = found {
            self.end(&directory, how, groups_stay);
        }
    }

    /// Ends a container: its processes, its lock and its link go, and its groups, if LXC can.
    pub(super) fn end(&mut self, directory: &Path, how: &End, groups_stay: bool) {
        let Some(running) = self.containers.remove(directory) else { return };
        self.links.remove(&running.link);
        if !groups_stay {
            for group in groups(&name_of(directory)) {
                self.groups.remove(&group);
            }
        }
        self.ends.insert(directory.to_owned(), how.clone());
    }

    /// Notes that something was taken from under a container, if one stands on it.
    pub(super) fn take(&mut self, what: &str, directory: &Path) {
        if self.containers.contains_key(directory) {
            self.harm.push(format!("{what} of {}, which runs", directory.display()));
        }
    }

    pub(super) fn volume(&mut self, path: &Path, doing: &str) -> Result<&mut Volume> {
        match self.volumes.get_mut(path) {
            Some(volume) => Ok(volume),
            None => refuse(format!("{doing} {}", path.display()), libc::ENOENT),
        }
    }

    /// Makes a subvolume, empty or of another's content.
    pub(super) fn add_volume(&mut self, path: &Path, image: Option<String>) -> Result<()> {
        let made = fs::create_dir(path);
        made.map_err(|source| Error::System {
            doing: format!("make the subvolume {}", path.display()),
            source,
        })?;
        let id = u64::try_from(self.number()).unwrap_or_default();
        let found = Subvolume { id, read_only: false, received: [0; 16] };
        self.volumes
            .insert(path.to_owned(), Volume { found, tag: None, image, limit: 0, written: 0 });
        Ok(())
    }

    pub(super) fn delete_volume(&mut self, path: &Path) -> Result<()> {
        if self.volumes.remove(path).is_none() {
            return Ok(());
        }
        let on_it: Vec<PathBuf> = self
            .mounts
            .iter()
            .filter(|each| each.from == path)
            .map(|each| each.to.clone())
            .collect();
        for mount in on_it {
            self.harm.push(format!("{} was deleted under {}", path.display(), mount.display()));
        }
        fs::remove_dir_all(path).map_err(|source| Error::System {
            doing: format!("delete the subvolume {}", path.display()),
            source,
        })
    }

    pub(super) fn unpack(&mut self, archive: &Archive, into: &Path) -> Result<()> {
        self.counts.unpacked += 1;
        let path = archive.file.display().to_string();
        let Some(found) = self.images.get(&archive.file).cloned() else {
            return Err(Error::Image { path, source: io::ErrorKind::NotFound.into() });
        };
        let volume = self.volume(into, "unpack into")?;
        if volume.found.read_only {
            return refuse(format!("unpack into {}", into.display()), libc::EROFS);
        }
        if found != archive.sha256 {
            return Err(Error::Digest { path, wanted: archive.sha256.clone(), found });
        }
        volume.image = Some(found);
        Ok(())
    }

    pub(super) fn is_mounted(&self, path: &Path) -> bool {
        self.mounts.iter().any(|each| each.to == path)
    }

    pub(super) fn detach(&mut self, path: &Path) {
        if self.is_mounted(path)
            && let Some(directory) = path.parent()
        {
            self.take("the mount of the root or home", directory);
        }
        self.mounts.retain(|each| !each.to.starts_with(path));
    }

    pub(super) fn claim_slot(&mut self, directory: &Path) -> Option<u32> {
        let held = self.slots.iter().find(|(_, holder)| *holder == directory);
        if let Some((slot, _)) = held {
            return Some(*slot);
        }
        self.slots.retain(|_, holder| holder.is_dir());
        let free = (0..SLOTS).find(|slot| !self.slots.contains_key(slot))?;
        self.slots.insert(free, directory.to_owned());
        Some(free)
    }

    /// Starts a container. `coming` is how often its monitor will be looked for in vain.
    pub(super) fn start(
        &mut self,
        container: &Container,
        lock: Lock,
        coming: u32,
    ) -> Result<Monitor> {
        container.config()?;
        let directory = container.directory();
        self.counts.started += 1;
        self.ends.remove(&directory);
        let pid = self.number();
        let said = self.why_not(container);
        if let Some(said) = said {
            self.ends.insert(directory, End::NeverStarted(said));
            return Ok(Monitor { pid });
        }
        let end = io::pipe().map_err(|source| Error::System {
            doing: format!("start {}", container.name),
            source,
        })?;
        let link = container.network.link.clone();
        self.links.insert(link.clone());
        self.groups.extend(groups(&container.name));
        let running = Running {
            monitor: Monitor { pid },
            init: self.number(),
            agents: Vec::new(),
            coming,
            deaf: false,
            link,
            end,
            _lock: lock,
        };
        self.containers.insert(directory, running);
        Ok(Monitor { pid })
    }

    /// Why a container cannot come up here.
    fn why_not(&self, container: &Container) -> Option<String> {
        let mounted = |path: &Path| self.mounts.iter().rfind(|each| each.to == path);
        let root = mounted(&container.root).filter(|each| each.suid);
        let image = root.and_then(|root| self.volumes.get(&root.from));
        let base =
            root.and_then(|root| root.map.as_ref()?.users.first()).map(|range| range.outside);
        let home = container.home.as_ref().is_none_or(|(home, _)| mounted(home).is_some());
        let running = self.containers.contains_key(&container.directory());
        [
            (self.refused.is_some(), self.refused.as_deref().unwrap_or_default()),
            (running, "it runs already"),
            (image.is_none_or(|volume| volume.image.is_none()), "its root is not mounted"),
            (base != Some(container.base_id), "its root has the ids of another"),
            (!home, "its home is not mounted"),
            (self.links.contains(&container.network.link), "the link is there already"),
        ]
        .into_iter()
        .find_map(|(bad, why)| bad.then(|| why.to_owned()))
    }

    /// The container of a run directory, when its monitor answers.
    pub(super) fn up(&mut self, directory: &Path) -> Option<&mut Running> {
        let running = self.containers.get_mut(directory)?;
        if running.coming > 0 {
            running.coming -= 1;
            return None;
        }
        Some(running)
    }

    pub(super) fn ask_to_stop(&mut self, directory: &Path) {
        self.counts.asked += 1;
        if self.up(directory).is_some_and(|running| !running.deaf) {
            self.end(directory, &End::ShutDown, false);
        }
    }

    pub(super) fn watch(&self, monitor: Monitor) -> Option<OwnedFd> {
        let mut all = self.containers.values();
        let running = all.find(|running| running.monitor == monitor)?;
        running.end.0.try_clone().ok().map(OwnedFd::from)
    }

    pub(super) fn remove_groups(&mut self, name: &str, how_many: usize) -> Result<()> {
        let found = self.containers.keys().find(|path| path.ends_with(name)).cloned();
        if let Some(directory) = found {
            self.take("the control groups", &directory);
            self.end(&directory, &End::Died("its monitor was ended".to_owned()), true);
        }
        if self.leaving.remove(name) {
            return refuse(format!("remove the control groups of {name}"), libc::EBUSY);
        }
        for group in groups(name).iter().take(how_many) {
            self.groups.remove(group);
        }
        Ok(())
    }
}

fn name_of(directory: &Path) -> String {
    directory.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
