//! The door to the machine.
//!
//! Nothing outside this module touches a disk, a mount, a link, a container or a program. [`Linux`] is
//! what the rest of hkd sees of it; [`real::Real`] is the machine, and [`fake::Fake`] one for tests.

pub mod apparmor;
pub mod btrfs;
pub mod cgroup;
pub mod command;
mod counter;
pub mod disk;
pub mod doctor;
mod error;

pub mod fake;
pub mod file;
pub mod firewall;
pub mod link;
pub mod lxc;
pub mod mac;
pub mod mount;
pub mod names;
pub mod process;
pub mod real;
pub mod shared;
pub mod slots;
pub mod unpack;

use std::{
    fmt::Debug,
    os::{fd::OwnedFd, unix::net::UnixListener},
    path::{Path, PathBuf},
    time::Duration,
};

pub use error::{Error, Result};

use btrfs::Subvolume;
use file::{Hold, Volume};
use firewall::{Network, Source};
use lxc::{Container, End, Monitor};
use mount::Bind;
use unpack::Archive;

/// A lock that is held until this is dropped, here and in every program that inherited it.
#[derive(Debug)]
pub struct Lock(pub Option<std::fs::File>);

/// Looks at one thing again and again, for next to nothing: it neither waits nor searches.
pub type Gauge<T> = Box<dyn Fn() -> Result<T> + Send + Sync>;

/// What hkd can see and do on its machine. Every call blocks; every change is idempotent: doing it
/// twice, or again after a crash in the middle, ends in the same state.
pub trait Linux: Debug + Send + Sync {
    /// The content of a small file; `None` when it is not there.
    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>>;
    /// Writes a small file whole or not at all, on the disk when it returns.
    fn write(&self, path: &Path, bytes: &[u8]) -> Result<()>;
    /// Makes a folder and its parents.
    fn make_folder(&self, path: &Path, mode: u32) -> Result<()>;
    /// Makes a folder that belongs to a user; one that is there is left alone.
    fn make_owned_folder(&self, path: &Path, uid: u32, gid: u32, mode: u32) -> Result<()>;
    /// Makes a folder root's alone. A link to one is refused.
    fn keep_to_root(&self, path: &Path) -> Result<()>;
    /// Where a path leads when every link in it is followed, as far as it is there.
    fn real_path(&self, path: &Path) -> Result<PathBuf>;
    /// What the volume that holds a path lets files do.
    fn volume(&self, path: &Path) -> Result<Volume>;
    /// Lets the root of a container, and nobody else but root, pass through a folder: its group
    /// becomes the first id of the container's slot, which no account of the host has.
    fn let_in(&self, path: &Path, base_id: u32) -> Result<()>;
    /// Removes a folder of ours with its files, without ever descending into another.
    fn remove_folder(&self, path: &Path) -> Result<()>;
    /// Whether there is anything at a path.
    fn exists(&self, path: &Path) -> Result<bool>;
    /// The names in a folder. One that is not there is an error.
    fn names(&self, path: &Path) -> Result<Vec<String>>;
    /// Takes a lock without waiting; `None` when another holds it.
    fn lock(&self, path: &Path, hold: Hold) -> Result<Option<Lock>>;

    /// Whether a path is on btrfs.
    fn is_btrfs(&self, path: &Path) -> Result<bool>;
    /// The subvolume at a path.
    fn subvolume(&self, path: &Path) -> Result<Option<Subvolume>>;
    /// Makes an empty subvolume.
    fn create_subvolume(&self, path: &Path) -> Result<()>;
    /// Makes a writable snapshot.
    fn snapshot(&self, from: &Path, to: &Path) -> Result<()>;
    /// Deletes a subvolume with those inside it.
    fn delete_subvolume(&self, path: &Path) -> Result<()>;
    /// Puts a subvolume on the disk, notes what it stands for, makes it read-only, and gives it its
    /// final name: the rename is the commit.
    fn seal(&self, partial: &Path, received: [u8; 16], whole: &Path) -> Result<()>;
    /// Marks a subvolume with the run it belongs to.
    fn set_tag(&self, path: &Path, run: i64) -> Result<()>;
    /// The run a subvolume is marked with.
    fn tag(&self, path: &Path) -> Result<Option<i64>>;
    /// See [`btrfs::quota::limit`].
    fn limit_subvolume(&self, path: &Path, bytes: u64) -> Result<()>;
    /// See [`btrfs::quota::forget`].
    fn forget_limits(&self, folder: &Path) -> Result<()>;
    /// See [`btrfs::quota::reached`].
    fn limit_reached(&self, path: &Path) -> Result<Gauge<bool>>;
    /// Unpacks an image into a folder. `progress` hears bytes read and all bytes. Returns how long was waited
    /// for the file.
    fn unpack(
        &self,
        archive: &Archive,
        into: &Path,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Duration>;

    /// Mounts a folder with mapped ids.
    fn bind(&self, bind: &Bind) -> Result<()>;
    /// Shows a program at another place, read-only.
    fn show_program(&self, program: &Path, to: &Path) -> Result<()>;
    /// Takes a mount away.
    fn detach(&self, path: &Path) -> Result<()>;
    /// Whether a path is the root of a mount.
    fn is_mounted(&self, path: &Path) -> Result<bool>;

    /// Takes the lowest free slot for a run directory; `None` when all are taken.
    fn claim_slot(&self, run_directory: &Path) -> Result<Option<u32>>;
    /// Gives a slot back.
    fn release_slot(&self, slot: u32, run_directory: &Path) -> Result<()>;

    /// Starts a container; its monitor inherits the lock.
    fn start(&self, container: &Container, lock: Lock) -> Result<Monitor>;
    /// The monitor of a container.
    fn monitor(&self, path: &Path, name: &str) -> Result<Option<Monitor>>;
    /// A descriptor that becomes readable when a monitor ends; `None` when it has ended. Never blocks.
    fn watch(&self, monitor: Monitor) -> Option<OwnedFd>;
    /// Asks a container to shut down.
    fn ask_to_stop(&self, path: &Path, name: &str) -> Result<()>;
    /// Ends a container.
    fn kill(&self, path: &Path, name: &str) -> Result<()>;
    /// Puts the agent into a container, with the socket it is to listen on.
    fn inject(&self, path: &Path, name: &str, program: &Path, socket: &UnixListener) -> Result<()>;
    /// How the container of a run directory ended.
    fn end(&self, run_directory: &Path) -> Result<End>;

    /// The control groups of a container that are there.
    fn cgroups(&self, container: &str) -> Result<Vec<PathBuf>>;
    /// Kills what is in a container's groups and removes them.
    fn remove_cgroups(&self, container: &str) -> Result<()>;

    /// The containers that have control groups, whoever they belong to.
    fn grouped(&self) -> Result<Vec<String>>;
    /// Tells how many of a container's processes were killed because its memory was used up.
    fn killed_for_memory(&self, path: &Path, name: &str) -> Result<Gauge<u64>>;

    /// The names of all links, whoever they belong to.
    fn links(&self) -> Result<Vec<String>>;
    /// Whether a link is there.
    fn link_exists(&self, name: &str) -> Result<bool>;
    /// Takes a link away.
    fn remove_link(&self, name: &str) -> Result<()>;
    /// Makes the bridge and the firewall's tables.
    fn ensure_network(&self, network: &Network) -> Result<()>;
    /// Raises what the kernel counts for all containers together, where it is too low.
    fn raise_limits(&self) -> Result<()>;
    /// What is right and wrong with the machine as a whole.
    fn examine(&self, asked: &doctor::Asked) -> Vec<doctor::Finding>;
    /// Lets a VM send from its addresses.
    fn allow(&self, source: &Source) -> Result<()>;
    /// Takes that back.
    fn forbid(&self, source: &Source) -> Result<()>;
    /// What is let through now.
    fn allowed(&self) -> Result<Vec<Source>>;
}
