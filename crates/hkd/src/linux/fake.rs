//! A machine for tests, seen through the same door as the real one.
//!
//! [`Machine`] is the machine: it lasts. [`Fake`] is the door as one daemon has it: its calls are
//! counted, and one of them can be interrupted by a [`Fault`]; a daemon that died of it is followed by
//! another `Fake` on the same machine. Only the world outside is imitated, with its errors.

mod fault;
mod guest;
mod machine;

use std::{
    fs,
    os::{fd::OwnedFd, unix::net::UnixListener},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use super::{
    Gauge, Linux, Lock,
    btrfs::Subvolume,
    cgroup, doctor,
    error::{Doing, Error, Result, show},
    file::{self, Hold, Volume},
    firewall::{Network, Source},
    lxc::{Container, End, Monitor},
    mount::Bind,
    unpack::Archive,
};

pub use fault::{Call, Fault, How, Kind, When};
pub use machine::{Counts, Machine};

use fault::Life;
use guest::Agent;
use machine::{State, groups, refuse};

/// How often a monitor is looked for in vain that was started in the moment its daemon died.
const COMING: u32 = 3;

/// The door to a [`Machine`], for one daemon.
#[derive(Debug)]
pub struct Fake {
    machine: Arc<Machine>,
    life: Life,
}

/// The half of a change; none for changes that happen whole or not at all.
type Half<'a> = Option<&'a mut dyn FnMut(&mut State)>;

impl Fake {
    /// A door that is interrupted where `fault` says.
    pub fn new(machine: Arc<Machine>, fault: Option<Fault>) -> Self {
        Self { machine, life: Life::new(fault) }
    }

    /// The calls made until now.
    pub fn calls(&self) -> Vec<Call> {
        self.life.calls()
    }

    /// How many calls were interrupted until now.
    pub fn interrupted(&self) -> usize {
        self.life.interrupted()
    }

    /// Resolves when the daemon has died of its fault.
    pub async fn death(&self) {
        self.life.death().await;
    }

    /// Ends the life of a daemon whose tasks are gone: calls that were held return, with an error that
    /// nobody hears, and none has an effect any more.
    pub fn bury(&self) {
        self.life.bury();
    }

    fn call<T>(
        &self,
        call: Call,
        half: Half<'_>,
        whole: impl FnOnce(&mut State) -> Result<T>,
    ) -> Result<T> {
        let Some(fault) = self.life.begin(call)? else { return whole(&mut self.machine.state()) };
        match (fault.when, half) {
            (When::Inside, Some(half)) => half(&mut self.machine.state()),
            (When::After, _) => drop(whole(&mut self.machine.state())),
            (When::Before, _) | (When::Inside, None) => {}
        }
        Err(self.life.interrupt(fault))
    }

    fn look<T>(
        &self,
        name: &'static str,
        whole: impl FnOnce(&mut State) -> Result<T>,
    ) -> Result<T> {
        self.call(Call { name, kind: Kind::Look, halves: false }, None, whole)
    }

    fn change<T>(
        &self,
        name: &'static str,
        half: Half<'_>,
        whole: impl FnOnce(&mut State) -> Result<T>,
    ) -> Result<T> {
        self.call(Call { name, kind: Kind::Change, halves: half.is_some() }, half, whole)
    }
}

impl Linux for Fake {
    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>> {
        self.look("read", |_| file::read(path))
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let doing = || format!("write {}", show(path));
        let fresh = path.with_extension("new");
        let half = bytes.get(..bytes.len() / 2).unwrap_or_default();
        self.change("write", Some(&mut |_| drop(fs::write(&fresh, half))), |_| {
            fs::write(&fresh, bytes).doing(doing)?;
            fs::rename(&fresh, path).doing(doing)
        })
    }

    fn make_folder(&self, path: &Path, _mode: u32) -> Result<()> {
        // Tests that are not run by root enter every folder.
        self.change("make_folder", None, |_| file::make_folder(path, 0o700))
    }

    fn make_owned_folder(&self, path: &Path, uid: u32, gid: u32, _mode: u32) -> Result<()> {
        self.change("make_owned_folder", None, |state| {
            if !path.is_dir() {
                fs::create_dir(path).doing(|| format!("make the folder {}", show(path)))?;
                state.owners.insert(path.to_owned(), (uid, gid));
            }
            Ok(())
        })
    }

    fn keep_to_root(&self, path: &Path) -> Result<()> {
        self.change("keep_to_root", None, |state| {
            state.owners.insert(path.to_owned(), (0, 0));
            Ok(())
        })
    }

    fn real_path(&self, path: &Path) -> Result<PathBuf> {
        self.look("real_path", |_| file::real_path(path))
    }

    fn volume(&self, path: &Path) -> Result<Volume> {
        self.look("volume", |_| file::volume(path))
    }

    fn let_in(&self, path: &Path, base_id: u32) -> Result<()> {
        self.change("let_in", None, |state| {
            if !path.is_dir() {
                return refuse(format!("open {} to its container", show(path)), libc::ENOENT);
            }
            state.owners.insert(path.to_owned(), (0, base_id));
            Ok(())
        })
    }

    fn remove_folder(&self, path: &Path) -> Result<()> {
        let mut half = |_: &mut State| {
            let first = file::names(path).unwrap_or_default().into_iter().min();
            drop(first.map(|name| fs::remove_file(path.join(name))));
        };
        self.change("remove_folder", Some(&mut half), |state| {
            if state.mounts.iter().any(|each| each.to.starts_with(path)) {
                return refuse(format!("remove {}", show(path)), libc::EBUSY);
            }
            state.take("the run directory", path);
            state.ends.remove(path);
            state.owners.remove(path);
            file::remove_folder(path)
        })
    }

    fn exists(&self, path: &Path) -> Result<bool> {
        self.look("exists", |_| file::exists(path))
    }

    fn names(&self, path: &Path) -> Result<Vec<String>> {
        self.look("names", |_| file::names(path))
    }

    fn lock(&self, path: &Path, hold: Hold) -> Result<Option<Lock>> {
        self.look("lock", |_| Ok(file::lock(path, hold)?.map(|held| Lock(Some(held)))))
    }

    fn is_btrfs(&self, path: &Path) -> Result<bool> {
        self.look("is_btrfs", |_| {
            if path.exists() {
                Ok(true)
            } else {
                refuse(format!("look at {}", show(path)), libc::ENOENT)
            }
        })
    }

    fn subvolume(&self, path: &Path) -> Result<Option<Subvolume>> {
        self.look("subvolume", |state| match state.volumes.get(path) {
            Some(volume) => Ok(Some(volume.found)),
            None if path.exists() => Err(Error::Unexpected {
                what: path.display().to_string(),
                why: "it is no btrfs subvolume".to_owned(),
            }),
            None => Ok(None),
        })
    }

    fn create_subvolume(&self, path: &Path) -> Result<()> {
        self.change("create_subvolume", None, |state| state.add_volume(path, None))
    }

    fn snapshot(&self, from: &Path, to: &Path) -> Result<()> {
        self.change("snapshot", None, |state| {
            let image = state.volume(from, "snapshot")?.image.clone();
            state.add_volume(to, image)
        })
    }

    fn delete_subvolume(&self, path: &Path) -> Result<()> {
        self.change("delete_subvolume", None, |state| state.delete_volume(path))
    }

    fn seal(&self, partial: &Path, received: [u8; 16], whole: &Path) -> Result<()> {
        let seal = |state: &mut State| {
            let volume = state.volume(partial, "seal the subvolume")?;
            volume.found.received = received;
            volume.found.read_only = true;
            Ok(volume.clone())
        };
        self.change("seal", Some(&mut |state| drop(seal(state))), |state| {
            let volume = seal(state)?;
            fs::rename(partial, whole)
                .doing(|| format!("rename {} to {}", show(partial), show(whole)))?;
            state.volumes.remove(partial);
            state.volumes.insert(whole.to_owned(), volume);
            Ok(())
        })
    }

    fn set_tag(&self, path: &Path, run: i64) -> Result<()> {
        self.change("set_tag", None, |state| {
            state.volume(path, "mark the overlay")?.tag = Some(run);
            Ok(())
        })
    }

    fn tag(&self, path: &Path) -> Result<Option<i64>> {
        self.look("tag", |state| Ok(state.volume(path, "read the mark of")?.tag))
    }

    fn limit_subvolume(&self, path: &Path, bytes: u64) -> Result<()> {
        self.change("limit_subvolume", None, |state| {
            state.volume(path, "limit what may be written to")?.limit = bytes;
            Ok(())
        })
    }

    fn forget_limits(&self, _: &Path) -> Result<()> {
        self.change("forget_limits", None, |_| Ok(()))
    }

    fn limit_reached(&self, path: &Path) -> Result<Gauge<bool>> {
        let (machine, path) = (Arc::clone(&self.machine), path.to_owned());
        let reached =
            move || Ok(machine.state().volumes.get(&path).is_some_and(machine::Volume::is_full));
        self.look("limit_reached", |_| Ok(Box::new(reached) as Gauge<bool>))
    }

    fn unpack(
        &self,
        archive: &Archive,
        into: &Path,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Duration> {
        let mut half = |_: &mut State| drop(fs::write(into.join("half"), ""));
        self.change("unpack", Some(&mut half), |state| {
            progress(1, 2);
            state.unpack(archive, into)?;
            progress(2, 2);
            Ok(Duration::ZERO)
        })
    }

    fn bind(&self, bind: &Bind) -> Result<()> {
        self.change("bind", None, |state| {
            if !bind.from.is_dir() || !bind.to.is_dir() {
                let doing = format!("mount {} on {}", show(&bind.from), show(&bind.to));
                return refuse(doing, libc::ENOENT);
            }
            state.mounts.push(bind.clone());
            Ok(())
        })
    }

    fn show_program(&self, program: &Path, to: &Path) -> Result<()> {
        self.change("show_program", None, |state| {
            let (from, to) = (program.to_owned(), to.to_owned());
            state.mounts.push(Bind { from, to, map: None, suid: false });
            Ok(())
        })
    }

    fn detach(&self, path: &Path) -> Result<()> {
        self.change("detach", None, |state| {
            state.detach(path);
            Ok(())
        })
    }

    fn is_mounted(&self, path: &Path) -> Result<bool> {
        self.look("is_mounted", |state| Ok(state.is_mounted(path)))
    }

    fn claim_slot(&self, run_directory: &Path) -> Result<Option<u32>> {
        self.change("claim_slot", None, |state| Ok(state.claim_slot(run_directory)))
    }

    fn release_slot(&self, slot: u32, run_directory: &Path) -> Result<()> {
        self.change("release_slot", None, |state| {
            if state.slots.get(&slot).is_some_and(|holder| holder == run_directory) {
                state.take("the slot", run_directory);
                state.slots.remove(&slot);
            }
            Ok(())
        })
    }

    fn start(&self, container: &Container, lock: Lock) -> Result<Monitor> {
        // Whichever part is done takes the lock; what is left of it goes with this call.
        let lock = std::cell::Cell::new(Some(lock));
        let take = || lock.take().unwrap_or(Lock(None));
        let mut half = |state: &mut State| drop(state.start(container, take(), COMING));
        self.change("start", Some(&mut half), |state| state.start(container, take(), 0))
    }

    fn monitor(&self, path: &Path, name: &str) -> Result<Option<Monitor>> {
        let directory = path.join(name);
        self.look("monitor", |state| Ok(state.up(&directory).map(|running| running.monitor)))
    }

    fn watch(&self, monitor: Monitor) -> Option<OwnedFd> {
        self.machine.state().watch(monitor)
    }

    fn ask_to_stop(&self, path: &Path, name: &str) -> Result<()> {
        self.change("ask_to_stop", None, |state| {
            state.ask_to_stop(&path.join(name));
            Ok(())
        })
    }

    fn kill(&self, path: &Path, name: &str) -> Result<()> {
        self.change("kill", None, |state| {
            state.counts.killed += 1;
            let how = End::Died("its init ended on signal Killed(9)".to_owned());
            state.end(&path.join(name), &how, false);
            Ok(())
        })
    }

    fn inject(&self, path: &Path, name: &str, program: &Path, socket: &UnixListener) -> Result<()> {
        self.change("inject", None, |state| {
            let Some(running) = state.up(&path.join(name)) else {
                return Err(Error::Program {
                    program: "lxc-attach".to_owned(),
                    status: "exit status: 1".to_owned(),
                    said: format!("{name} does not run"),
                });
            };
            let doing = || format!("put {} into {name}", show(program));
            running.agents.push(Agent::new(socket).doing(doing)?);
            state.counts.injected += 1;
            Ok(())
        })
    }

    fn end(&self, run_directory: &Path) -> Result<End> {
        let look = |state: &mut State| state.ends.get(run_directory).cloned();
        self.look("end", |state| Ok(look(state).unwrap_or(End::NotBegun)))
    }

    fn cgroups(&self, container: &str) -> Result<Vec<PathBuf>> {
        self.look("cgroups", |state| {
            Ok(groups(container).into_iter().filter(|group| state.groups.contains(group)).collect())
        })
    }

    fn remove_cgroups(&self, container: &str) -> Result<()> {
        let mut half = |state: &mut State| drop(state.remove_groups(container, 1));
        self.change("remove_cgroups", Some(&mut half), |state| state.remove_groups(container, 2))
    }

    fn grouped(&self) -> Result<Vec<String>> {
        self.look("grouped", |state| {
            Ok(state.groups.iter().filter_map(|group| cgroup::container_of(group)).collect())
        })
    }

    fn killed_for_memory(&self, path: &Path, name: &str) -> Result<Gauge<u64>> {
        let (machine, path) = (Arc::clone(&self.machine), path.join(name));
        let killed = move || Ok(machine.state().starved.get(&path).copied().unwrap_or(0));
        self.look("killed_for_memory", |_| Ok(Box::new(killed) as Gauge<u64>))
    }

    fn links(&self) -> Result<Vec<String>> {
        self.look("links", |state| Ok(state.links.iter().cloned().collect()))
    }

    fn link_exists(&self, name: &str) -> Result<bool> {
        self.look("link_exists", |state| Ok(state.links.contains(name)))
    }

    fn remove_link(&self, name: &str) -> Result<()> {
        self.change("remove_link", None, |state| {
            state.links.remove(name);
            Ok(())
        })
    }

    fn ensure_network(&self, network: &Network) -> Result<()> {
        self.change("ensure_network", None, |state| {
            state.network = Some(network.clone());
            Ok(())
        })
    }

    fn raise_limits(&self) -> Result<()> {
        self.change("raise_limits", None, |_| Ok(()))
    }

    fn examine(&self, _: &doctor::Asked) -> Vec<doctor::Finding> {
        self.machine.ailments()
    }

    fn allow(&self, source: &Source) -> Result<()> {
        self.change("allow", None, |state| {
            if !state.sources.contains(source) {
                state.sources.push(*source);
            }
            Ok(())
        })
    }

    fn forbid(&self, source: &Source) -> Result<()> {
        self.change("forbid", None, |state| {
            state.sources.retain(|each| each != source);
            Ok(())
        })
    }

    fn allowed(&self) -> Result<Vec<Source>> {
        self.look("allowed", |state| Ok(state.sources.clone()))
    }
}
