//! Unpacks an image into a folder: our decompressor feeds GNU `tar`, which is locked in.
//!
//! GNU tar is the only unpacker that loses nothing (extended attributes, capabilities, ACLs, hard
//! links, sparse files). It runs in [`locked_in`]: it sees the folder and the programs of the host,
//! read-only, and nothing else, has no network, and only the capabilities that unpacking takes.

mod entries;
mod limited;

use std::{
    fs::File,
    io::{self, BufReader, Read, Write as _},
    path::{Path, PathBuf},
    process::ExitStatus,
    time::{Duration, Instant},
};

use sha2::{Digest, Sha256};

use limited::{Limited, full, room};

use super::{
    Lock,
    command::{self, Command},
    error::{Doing, Error, Result},
};

/// The hidden first argument that makes the daemon's binary call [`locked_in::main`].
pub const SUBCOMMAND: &str = "unpack-here";

/// What a decoder of xz may take, in KiB: a dictionary of 128 MiB, as the registration takes it.
const XZ_MEMORY: u32 = 160 * 1024;

/// How long `tar` has for what it was given, once it was given all.
const LAST_WRITES: Duration = Duration::from_mins(10);

/// An image to unpack.
#[derive(Debug)]
pub struct Archive {
    /// Its file; the end of the name tells the compression.
    pub file: PathBuf,
    /// The sha-256 it must have, in lower-case hexadecimal.
    pub sha256: String,
    /// Held until `tar` has ended too, whatever becomes of this process.
    pub lock: Lock,
}

/// Unpacks an archive into an existing folder, and checks its digest on the way. `progress` is called
/// with bytes read and the file's size. Returns how long was waited for the file.
pub fn unpack(
    archive: &Archive,
    into: &Path,
    mut progress: impl FnMut(u64, u64),
) -> Result<Duration> {
    let path = archive.file.display().to_string();
    let broken = |source: io::Error| Error::Image { path: path.clone(), source };
    let file = File::open(&archive.file).map_err(broken)?;
    let size = file.metadata().map_err(broken)?.len();
    let room = room(into)?;
    if least(&archive.file, size).map_err(broken)? > room {
        return Err(broken(full()));
    }
    let (feed, pipe_end) = io::pipe().doing(|| format!("feed tar with {path}"))?;
    let (mut said, said_at) = io::pipe().doing(|| format!("hear tar on {path}"))?;
    let mut command = Command::new("/proc/self/exe")
        .arg(SUBCOMMAND)
        .arg(into)
        .stdin(feed.into())
        .stdout(said_at.into());
    if let Some(lock) = &archive.lock.0 {
        command.inherit(lock.try_clone().doing(|| format!("lock {path}"))?.into());
    }
    let child = command.spawn()?;
    let listener = std::thread::spawn(move || {
        let mut text = Vec::new();
        // What does not fit is dropped, so that tar is never held up by its own warnings.
        let _ = (&mut said).take(64 * 1024).read_to_end(&mut text);
        let _ = io::copy(&mut said, &mut io::sink());
        String::from_utf8_lossy(&text).into_owned()
    });
    let mut reader = Hashing { inner: file, hash: Sha256::new(), read: 0, waited: Duration::ZERO };
    let mut sink = Limited::new(pipe_end, into, room);
    let copied = decompress(&archive.file, &mut reader, |decoder, reader_read| {
        let mut buffer = vec![0; 256 * 1024];
        loop {
            let read = decoder.read(&mut buffer)?;
            if read == 0 {
                return Ok(());
            }
            sink.write_all(buffer.get(..read).unwrap_or_default()).map_err(Stopped::Writing)?;
            progress(reader_read.get(), size);
        }
    });
    drop(sink);
    let status = command::wait(child, LAST_WRITES).doing(|| format!("wait for tar on {path}"))?;
    let said = listener.join().unwrap_or_default();
    let failed = match copied {
        Ok(()) => None,
        // tar left first: it said why, or the archive ends here and this is what it is filled up with.
        Err(Stopped::Writing(error)) if error.kind() == io::ErrorKind::BrokenPipe => None,
        Err(Stopped::Writing(error)) => return Err(broken(error)),
        Err(Stopped::Reading(error)) => Some(broken(error)),
    };
    // A file that is not the one that was registered is the reason for whatever else came of it.
    if let Err(error) = io::copy(&mut reader, &mut io::sink()) {
        return Err(failed.unwrap_or_else(|| broken(error)));
    }
    let found = hex::encode(reader.hash.finalize());
    if found != archive.sha256 {
        return Err(Error::Digest { path, wanted: archive.sha256.clone(), found });
    }
    if let Some(failed) = failed {
        return Err(failed);
    }
    let status = status
        .ok_or(Error::Timeout { program: "tar".to_owned(), seconds: LAST_WRITES.as_secs() })?;
    judge(status, said)?;
    Ok(reader.waited)
}

/// What ended the way of an archive to `tar` early.
enum Stopped {
    /// The file: it cannot be read or makes no sense.
    Reading(io::Error),
    /// `tar`, or what is let through to it.
    Writing(io::Error),
}

impl From<io::Error> for Stopped {
    fn from(error: io::Error) -> Self {
        Self::Reading(error)
    }
}

/// What the box around tar came to.
fn judge(status: ExitStatus, said: String) -> Result<()> {
    if status.code() == Some(locked_in::NO_TAR) {
        return Err(Error::NotInstalled { program: "tar".to_owned() });
    }
    command::judge("tar", status, said).map(drop)
}

/// How many bytes an image takes at least when it is unpacked, as far as can be told before: its size,
/// or that which its first frame says.
fn least(file: &Path, size: u64) -> io::Result<u64> {
    let mut head = [0; 32];
    let mut read = 0;
    let mut opened = File::open(file)?;
    while let Some(free) = head.get_mut(read..).filter(|free| !free.is_empty()) {
        match opened.read(free)? {
            0 => break,
            more => read += more,
        }
    }
    let head = head.get(..read).unwrap_or_default();
    let told = zstd::zstd_safe::get_frame_content_size(head).ok().flatten();
    Ok(told.unwrap_or(0).max(size))
}

/// Hands the decompressed bytes of a file to `take`.
fn decompress(
    name: &Path,
    reader: &mut Hashing,
    take: impl FnOnce(&mut dyn Read, &std::cell::Cell<u64>) -> Result<(), Stopped>,
) -> Result<(), Stopped> {
    let name = name.to_string_lossy().to_ascii_lowercase();
    let ends = |ends: [&str; 2]| ends.iter().any(|end| name.ends_with(end));
    let count = std::cell::Cell::new(0);
    let counting = Counting { inner: reader, count: &count };
    let buffered = BufReader::with_capacity(256 * 1024, counting);
    if ends([".gz", ".tgz"]) {
        take(&mut flate2::bufread::MultiGzDecoder::new(buffered), &count)
    } else if ends([".bz2", ".tbz2"]) {
        take(&mut bzip2::bufread::MultiBzDecoder::new(buffered), &count)
    } else if ends([".xz", ".txz"]) {
        take(&mut lzma_rust2::XzReader::new_mem_limit(buffered, true, XZ_MEMORY), &count)
    } else if ends([".zst", ".tzst"]) {
        take(&mut zstd::Decoder::with_buffer(buffered)?, &count)
    } else {
        let mut buffered = buffered;
        take(&mut buffered, &count)
    }
}

struct Hashing {
    inner: File,
    hash: Sha256,
    read: u64,
    /// How long reading has taken.
    waited: Duration,
}

impl Read for Hashing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let begun = Instant::now();
        let read = self.inner.read(buffer)?;
        self.waited += begun.elapsed();
        self.hash.update(buffer.get(..read).unwrap_or_default());
        self.read += read as u64;
        Ok(read)
    }
}

struct Counting<'a, 'c> {
    inner: &'a mut Hashing,
    count: &'c std::cell::Cell<u64>,
}

impl Read for Counting<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.count.set(self.inner.read);
        Ok(read)
    }
}

/// The inside of the box in which `tar` runs.
pub mod locked_in {
    use std::{
        fs, io,
        os::unix::{fs::symlink, process::CommandExt},
        path::Path,
    };

    use rustix::{
        fs::{CWD, Mode},
        mount::{
            FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags,
            MoveMountFlags, OpenTreeFlags, UnmountFlags, fsconfig_create, fsconfig_set_string,
            fsmount, fsopen, mount_change, mount_remount, move_mount, open_tree, unmount,
        },
        thread::{CapabilitySet, CapabilitySets, UnshareFlags},
    };

    /// What unpacking takes: owners, modes, devices, capabilities of files.
    const KEPT: CapabilitySet = CapabilitySet::CHOWN
        .union(CapabilitySet::DAC_OVERRIDE)
        .union(CapabilitySet::FOWNER)
        .union(CapabilitySet::FSETID)
        .union(CapabilitySet::MKNOD)
        .union(CapabilitySet::SETFCAP);

    /// The status that says that the host has no tar; tar itself ends with 0, 1 or 2.
    pub(super) const NO_TAR: i32 = 127;

    /// Locks this process in with `folder` and becomes `tar`, reading the archive from its standard
    /// input. Returns only with an error. To be called before the process has a second thread.
    pub fn main(folder: &Path) -> io::Error {
        match enter(folder) {
            Ok(()) => match become_tar() {
                error if error.kind() == io::ErrorKind::NotFound => std::process::exit(NO_TAR),
                error => error,
            },
            Err(error) => error,
        }
    }

    #[expect(unsafe_code, reason = "unshare(2) of one thread's namespaces")]
    fn enter(folder: &Path) -> io::Result<()> {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
        // SAFETY: this process has one thread and shares no descriptors; see the caller.
        unsafe {
            rustix::thread::unshare_unsafe(
                UnshareFlags::NEWNS
                    | UnshareFlags::NEWNET
                    | UnshareFlags::NEWIPC
                    | UnshareFlags::NEWUTS,
            )?;
        }
        mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)?;
        let target = open_tree(CWD, folder, flags)?;
        let programs = open_tree(CWD, "/usr", flags)?;
        let tmpfs = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_set_string(&tmpfs, "size", "1m")?;
        fsconfig_create(&tmpfs)?;
        let root = fsmount(&tmpfs, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
        let inside = Path::new("/tmp");
        move_mount(&root, "", CWD, inside, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
        rustix::process::chdir(inside)?;
        for name in ["usr", "unpack", "etc"] {
            rustix::fs::mkdir(name, Mode::from_raw_mode(0o755))?;
        }
        fs::copy("/etc/ld.so.cache", "etc/ld.so.cache")?;
        for name in ["bin", "lib", "lib64", "sbin"] {
            symlink(format!("usr/{name}"), name)?;
        }
        move_mount(&programs, "", CWD, "usr", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
        move_mount(&target, "", CWD, "unpack", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
        mount_remount("usr", MountFlags::BIND | MountFlags::RDONLY | MountFlags::NODEV, "")?;
        mount_remount(".", MountFlags::RDONLY, "")?;
        rustix::process::pivot_root(".", ".")?;
        unmount(".", UnmountFlags::DETACH)?;
        rustix::process::chdir("/unpack")?;
        for capability in (CapabilitySet::all() - KEPT).iter() {
            // Those that this kernel does not know cannot be there.
            let _ = rustix::thread::remove_capability_from_bounding_set(capability);
        }
        rustix::thread::set_capabilities(
            None,
            CapabilitySets {
                effective: KEPT,
                permitted: KEPT,
                inheritable: CapabilitySet::empty(),
            },
        )?;
        rustix::thread::set_no_new_privs(true)?;
        Ok(())
    }

    #[expect(clippy::disallowed_methods, reason = "this process becomes the program")]
    fn become_tar() -> io::Error {
        std::process::Command::new("tar")
            .args(["--extract", "--file=-", "--preserve-permissions", "--same-owner"])
            .args(["--numeric-owner", "--acls", "--xattrs"])
            .args(["--xattrs-include=user.*", "--xattrs-include=security.capability"])
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("LC_ALL", "C.UTF-8")
            .exec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_that_cannot_fit_is_known_before() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("image.tar.zst");
        let packed = zstd::bulk::compress(&vec![0; 3_000_000], 1).unwrap();
        std::fs::write(&file, &packed).unwrap();
        assert_eq!(least(&file, packed.len() as u64).unwrap(), 3_000_000);
        std::fs::write(&file, "x").unwrap();
        assert_eq!(least(&file, 1).unwrap(), 1);
        // Larger than any volume, and not a byte of it on the disk.
        let huge = place.path().join("huge.tar");
        File::create(&huge).unwrap().set_len(1 << 43).unwrap();
        let archive = Archive { file: huge, sha256: String::new(), lock: Lock(None) };
        let into = place.path().join("into");
        std::fs::create_dir(&into).unwrap();
        let refused = unpack(&archive, &into, |_, _| panic!("it was begun")).unwrap_err();
        assert!(refused.is_full(), "{refused}");
    }
}
