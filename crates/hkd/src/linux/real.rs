//! The machine itself.

use std::{
    fs,
    os::{fd::OwnedFd, unix::net::UnixListener},
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    Gauge, Linux, Lock,
    btrfs::{self, Subvolume},
    cgroup, doctor,
    error::{Doing, Result, show},
    file::{self, Hold, Volume},
    firewall::{self, Network, Source},
    link,
    lxc::{self, Container, End, Monitor},
    mount::{self, Bind},
    names::Names,
    process, shared, slots,
    unpack::{self, Archive},
};

/// The machine that this process runs on.
#[derive(Clone, Debug)]
pub struct Real {
    names: Names,
    slots: PathBuf,
}

impl Real {
    /// The machine, with this installation's names on it.
    pub fn new(names: Names) -> Self {
        Self { names, slots: slots::folder() }
    }
}

impl Linux for Real {
    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>> {
        file::read(path)
    }
    fn write(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        file::write(path, bytes)
    }
    fn make_folder(&self, path: &Path, mode: u32) -> Result<()> {
        file::make_folder(path, mode)
    }
    fn make_owned_folder(&self, path: &Path, uid: u32, gid: u32, mode: u32) -> Result<()> {
        file::make_owned_folder(path, uid, gid, mode)
    }
    fn keep_to_root(&self, path: &Path) -> Result<()> {
        file::keep_to_root(path)
    }
    fn real_path(&self, path: &Path) -> Result<PathBuf> {
        file::real_path(path)
    }
    fn volume(&self, path: &Path) -> Result<Volume> {
        file::volume(path)
    }
    fn let_in(&self, path: &Path, base_id: u32) -> Result<()> {
        file::let_in(path, base_id)
    }
    fn remove_folder(&self, path: &Path) -> Result<()> {
        file::remove_folder(path)
    }
    fn exists(&self, path: &Path) -> Result<bool> {
        file::exists(path)
    }
    fn names(&self, path: &Path) -> Result<Vec<String>> {
        file::names(path)
    }
    fn lock(&self, path: &Path, hold: Hold) -> Result<Option<Lock>> {
        Ok(file::lock(path, hold)?.map(|held| Lock(Some(held))))
    }

    fn is_btrfs(&self, path: &Path) -> Result<bool> {
        btrfs::is_btrfs(path)
    }
    fn subvolume(&self, path: &Path) -> Result<Option<Subvolume>> {
        btrfs::subvolume(path)
    }
    fn create_subvolume(&self, path: &Path) -> Result<()> {
        btrfs::create(path)
    }
    fn snapshot(&self, from: &Path, to: &Path) -> Result<()> {
        btrfs::snapshot(from, to)
    }
    fn delete_subvolume(&self, path: &Path) -> Result<()> {
        btrfs::delete(path)
    }
    fn seal(&self, partial: &Path, received: [u8; 16], whole: &Path) -> Result<()> {
        btrfs::sync(partial)?;
        btrfs::seal(partial, received)?;
        fs::rename(partial, whole)
            .doing(|| format!("rename {} to {}", show(partial), show(whole)))?;
        btrfs::sync(whole)
    }
    fn set_tag(&self, path: &Path, run: i64) -> Result<()> {
        btrfs::set_tag(path, run)
    }
    fn tag(&self, path: &Path) -> Result<Option<i64>> {
        btrfs::tag(path)
    }
    fn limit_subvolume(&self, path: &Path, bytes: u64) -> Result<()> {
        btrfs::quota::limit(path, bytes)
    }
    fn forget_limits(&self, folder: &Path) -> Result<()> {
        btrfs::quota::forget(folder)
    }
    fn limit_reached(&self, path: &Path) -> Result<Gauge<bool>> {
        btrfs::quota::reached(path)
    }
    fn unpack(
        &self,
        archive: &Archive,
        into: &Path,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Duration> {
        unpack::unpack(archive, into, progress)
    }

    fn bind(&self, bind: &Bind) -> Result<()> {
        mount::bind(bind)
    }
    fn show_program(&self, program: &Path, to: &Path) -> Result<()> {
        mount::show_program(program, to)
    }
    fn detach(&self, path: &Path) -> Result<()> {
        mount::detach(path)
    }
    fn is_mounted(&self, path: &Path) -> Result<bool> {
        mount::is_mounted(path)
    }

    fn claim_slot(&self, run_directory: &Path) -> Result<Option<u32>> {
        slots::claim(&self.slots, run_directory)
    }
    fn release_slot(&self, slot: u32, run_directory: &Path) -> Result<()> {
        slots::release(&self.slots, slot, run_directory)
    }

    fn start(&self, container: &Container, lock: Lock) -> Result<Monitor> {
        lxc::start(container, lock.0.map(Into::into))
    }
    fn monitor(&self, path: &Path, name: &str) -> Result<Option<Monitor>> {
        lxc::monitor(path, name)
    }
    fn watch(&self, monitor: Monitor) -> Option<OwnedFd> {
        process::pidfd(monitor.pid)
    }
    fn ask_to_stop(&self, path: &Path, name: &str) -> Result<()> {
        lxc::ask_to_stop(path, name)
    }
    fn kill(&self, path: &Path, name: &str) -> Result<()> {
        lxc::kill(path, name)
    }
    fn inject(&self, path: &Path, name: &str, program: &Path, socket: &UnixListener) -> Result<()> {
        lxc::inject(path, name, program, socket)
    }
    fn end(&self, run_directory: &Path) -> Result<End> {
        lxc::end(run_directory)
    }

    fn cgroups(&self, container: &str) -> Result<Vec<PathBuf>> {
        cgroup::of_container(container)
    }
    fn remove_cgroups(&self, container: &str) -> Result<()> {
        cgroup::remove(&cgroup::of_container(container)?)
    }

    fn grouped(&self) -> Result<Vec<String>> {
        cgroup::containers()
    }
    fn killed_for_memory(&self, path: &Path, name: &str) -> Result<Gauge<u64>> {
        lxc::killed_for_memory(path, name)
    }

    fn links(&self) -> Result<Vec<String>> {
        link::all()
    }
    fn link_exists(&self, name: &str) -> Result<bool> {
        link::exists(name)
    }
    fn remove_link(&self, name: &str) -> Result<()> {
        link::remove(name)
    }
    fn ensure_network(&self, network: &Network) -> Result<()> {
        let gateway = network.gateway;
        link::ensure_bridge(&self.names.bridge, gateway.addr(), gateway.prefix_len(), |port| {
            self.names.vm_of_link(port).is_some()
        })?;
        firewall::apply(&firewall::base(&self.names, network))
    }
    fn raise_limits(&self) -> Result<()> {
        shared::raise()
    }
    fn examine(&self, asked: &doctor::Asked) -> Vec<doctor::Finding> {
        doctor::look(asked)
    }
    fn allow(&self, source: &Source) -> Result<()> {
        firewall::apply(&firewall::allow(&self.names, source))
    }
    fn forbid(&self, source: &Source) -> Result<()> {
        firewall::apply(&firewall::forbid(&self.names, source))
    }
    fn allowed(&self) -> Result<Vec<Source>> {
        firewall::allowed(&self.names)
    }
}
