//! btrfs by its system calls: subvolumes, snapshots, and what is written on them.
//!
//! The structures and numbers are those of the kernel's `include/uapi/linux/btrfs.h`.

#![expect(unsafe_code, reason = "ioctls of btrfs have no safe wrapper")]

pub mod quota;

use std::{
    ffi::OsStr,
    fs::File,
    io,
    os::{fd::AsRawFd, unix::ffi::OsStrExt, unix::fs::MetadataExt},
    path::Path,
};

use super::error::{Doing, Error, Result, show};

/// The inode of a subvolume's root folder.
const SUBVOLUME_INODE: u64 = 256;
/// `f_type` of statfs(2) on btrfs.
const BTRFS_MAGIC: i64 = 0x9123_683E;
/// Where the run of an overlay is written: only root of the host's own user namespace can see it.
const TAG: &str = "trusted.qvd.run";
/// `BTRFS_SUBVOL_RDONLY`.
const READ_ONLY: u64 = 1 << 1;

const SUBVOL_CREATE_V2: libc::c_ulong = iow(24, size_of::<VolArgsV2>());
const SNAP_CREATE_V2: libc::c_ulong = iow(23, size_of::<VolArgsV2>());
const SNAP_DESTROY: libc::c_ulong = iow(15, size_of::<VolArgs>());
const SUBVOL_GETFLAGS: libc::c_ulong = ior(25, size_of::<u64>());
const SUBVOL_SETFLAGS: libc::c_ulong = iow(26, size_of::<u64>());
const SET_RECEIVED_SUBVOL: libc::c_ulong = iowr(37, size_of::<ReceivedArgs>());
const FS_INFO: libc::c_ulong = ior(31, size_of::<FsInfo>());
const GET_SUBVOL_INFO: libc::c_ulong = ior(60, size_of::<SubvolInfo>());

const fn ioc(direction: libc::c_ulong, number: libc::c_ulong, size: usize) -> libc::c_ulong {
    (direction << 30) | ((size as libc::c_ulong) << 16) | (0x94 << 8) | number
}
const fn iow(number: libc::c_ulong, size: usize) -> libc::c_ulong {
    ioc(1, number, size)
}
const fn ior(number: libc::c_ulong, size: usize) -> libc::c_ulong {
    ioc(2, number, size)
}
const fn iowr(number: libc::c_ulong, size: usize) -> libc::c_ulong {
    ioc(3, number, size)
}

#[repr(C)]
struct VolArgs {
    fd: i64,
    name: [u8; 4088],
}

#[repr(C)]
struct VolArgsV2 {
    fd: i64,
    transid: u64,
    flags: u64,
    unused: [u64; 4],
    name: [u8; 4040],
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Time {
    seconds: u64,
    nanoseconds: u32,
}

#[repr(C)]
struct ReceivedArgs {
    uuid: [u8; 16],
    sent_transid: u64,
    received_transid: u64,
    sent_time: Time,
    received_time: Time,
    flags: u64,
    reserved: [u64; 16],
}

#[repr(C)]
struct SubvolInfo {
    id: u64,
    name: [u8; 256],
    parent_id: u64,
    folder_id: u64,
    generation: u64,
    flags: u64,
    uuid: [u8; 16],
    parent_uuid: [u8; 16],
    received_uuid: [u8; 16],
    transids: [u64; 4],
    times: [Time; 4],
    reserved: [u64; 8],
}

#[repr(C)]
struct FsInfo {
    max_id: u64,
    devices: u64,
    uuid: [u8; 16],
    reserved: [u64; 124],
}

/// What must be free on a volume for a desktop to begin its work: 32 MiB.
const ROOM: u64 = 32 << 20;

/// A subvolume as it is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subvolume {
    /// Its number in the volume.
    pub id: u64,
    /// Nothing can be written to it.
    pub read_only: bool,
    /// What it was received from, or stands for; zero when nothing.
    pub received: [u8; 16],
}

/// Whether a path lies on btrfs.
pub fn is_btrfs(path: &Path) -> Result<bool> {
    let stat = rustix::fs::statfs(path).doing(|| format!("look at {}", show(path)))?;
    Ok(stat.f_type as i64 == BTRFS_MAGIC)
}

/// The UUID of the volume that a path lies on, as `/sys/fs/btrfs` has it.
pub fn volume(path: &Path) -> Result<String> {
    let doing = || format!("look at the volume of {}", show(path));
    let folder = File::open(path).doing(doing)?;
    let mut info = FsInfo { max_id: 0, devices: 0, uuid: [0; 16], reserved: [0; 124] };
    ioctl(&folder, FS_INFO, &mut info).doing(doing)?;
    // In groups of 8, 4, 4, 4 and 12 digits.
    let digits = hex::encode(info.uuid);
    let groups =
        [0..8, 8..12, 12..16, 16..20, 20..32].map(|group| digits.get(group).unwrap_or_default());
    Ok(groups.join("-"))
}

/// The subvolume at a path; `None` when nothing is there, an error when something else is.
pub fn subvolume(path: &Path) -> Result<Option<Subvolume>> {
    let doing = || format!("look at the subvolume {}", show(path));
    let found = match std::fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).doing(doing),
    };
    if !found.is_dir() || found.ino() != SUBVOLUME_INODE || !is_btrfs(path)? {
        return Err(Error::Unexpected {
            what: path.display().to_string(),
            why: "it is no btrfs subvolume".to_owned(),
        });
    }
    let folder = File::open(path).doing(doing)?;
    // SAFETY: all-zero bytes are a valid SubvolInfo, which has only integers.
    let mut info: SubvolInfo = unsafe { std::mem::zeroed() };
    ioctl(&folder, GET_SUBVOL_INFO, &mut info).doing(doing)?;
    let mut flags = 0_u64;
    ioctl(&folder, SUBVOL_GETFLAGS, &mut flags).doing(doing)?;
    Ok(Some(Subvolume {
        id: info.id,
        read_only: flags & READ_ONLY != 0,
        received: info.received_uuid,
    }))
}

/// Makes an empty subvolume.
pub fn create(path: &Path) -> Result<()> {
    let doing = || format!("make the subvolume {}", show(path));
    let (folder, name) = place(path).doing(doing)?;
    ioctl(&folder, SUBVOL_CREATE_V2, &mut args_v2(0, name).doing(doing)?).doing(doing)
}

/// Makes `to` a writable snapshot of the subvolume `from`. `to` must not be there.
pub fn snapshot(from: &Path, to: &Path) -> Result<()> {
    let doing = || format!("snapshot {} as {}", show(from), show(to));
    let source = File::open(from).doing(doing)?;
    let (folder, name) = place(to).doing(doing)?;
    // On a full volume it could still be made, and nothing in it could be written.
    let stat = rustix::fs::fstatvfs(&folder).doing(doing)?;
    if stat.f_bavail.saturating_mul(stat.f_frsize) < ROOM {
        return Err(io::Error::from_raw_os_error(libc::ENOSPC)).doing(doing);
    }
    let mut args = args_v2(i64::from(source.as_raw_fd()), name).doing(doing)?;
    ioctl(&folder, SNAP_CREATE_V2, &mut args).doing(doing)
}

/// Deletes a subvolume with every subvolume inside it; gone already is fine. The caller has made sure
/// that nothing uses it: the kernel would not say.
pub fn delete(path: &Path) -> Result<()> {
    let doing = || format!("delete the subvolume {}", show(path));
    if subvolume(path)?.is_none() {
        return Ok(());
    }
    let (folder, name) = place(path).doing(doing)?;
    let mut args = VolArgs { fd: 0, name: [0; 4088] };
    fill(&mut args.name, name).doing(doing)?;
    match ioctl(&folder, SNAP_DESTROY, &mut args) {
        Err(error) if error.raw_os_error() == Some(libc::ENOTEMPTY) => {}
        other => return other.doing(doing),
    }
    // A program in the guest made subvolumes of its own inside.
    for inner in nested(path).doing(doing)? {
        delete(&inner)?;
    }
    ioctl(&folder, SNAP_DESTROY, &mut args).doing(doing)
}

/// Seals a subvolume: notes what it stands for, and makes it read-only. What is in it must have been
/// synced.
pub fn seal(path: &Path, received: [u8; 16]) -> Result<()> {
    let doing = || format!("seal the subvolume {}", show(path));
    let folder = File::open(path).doing(doing)?;
    // SAFETY: all-zero bytes are a valid ReceivedArgs, which has only integers.
    let mut args: ReceivedArgs = unsafe { std::mem::zeroed() };
    args.uuid = received;
    ioctl(&folder, SET_RECEIVED_SUBVOL, &mut args).doing(doing)?;
    let mut flags = READ_ONLY;
    ioctl(&folder, SUBVOL_SETFLAGS, &mut flags).doing(doing)
}

/// Writes everything of a subvolume's volume to the disk.
pub fn sync(path: &Path) -> Result<()> {
    let doing = || format!("write {} to the disk", show(path));
    let folder = File::open(path).doing(doing)?;
    rustix::fs::syncfs(&folder).doing(doing)
}

/// Writes on a subvolume which run it belongs to.
pub fn set_tag(path: &Path, run: i64) -> Result<()> {
    let value = run.to_string();
    rustix::fs::lsetxattr(path, TAG, value.as_bytes(), rustix::fs::XattrFlags::empty())
        .doing(|| format!("mark the overlay {}", show(path)))
}

/// The run written on a subvolume; `None` when it was never finished.
pub fn tag(path: &Path) -> Result<Option<i64>> {
    let mut value = [0_u8; 24];
    match rustix::fs::lgetxattr(path, TAG, &mut value[..]) {
        Ok(length) => {
            let text = value.get(..length).and_then(|bytes| std::str::from_utf8(bytes).ok());
            Ok(text.and_then(|text| text.parse().ok()))
        }
        Err(rustix::io::Errno::NODATA) => Ok(None),
        Err(error) => Err(error).doing(|| format!("read the mark of {}", show(path))),
    }
}

fn place(path: &Path) -> io::Result<(File, &OsStr)> {
    let bad = || io::Error::new(io::ErrorKind::InvalidInput, "not a path with a name");
    let folder = File::open(path.parent().ok_or_else(bad)?)?;
    Ok((folder, path.file_name().ok_or_else(bad)?))
}

fn args_v2(fd: i64, name: &OsStr) -> io::Result<VolArgsV2> {
    let mut args = VolArgsV2 { fd, transid: 0, flags: 0, unused: [0; 4], name: [0; 4040] };
    fill(&mut args.name, name)?;
    Ok(args)
}

fn fill(field: &mut [u8], name: &OsStr) -> io::Result<()> {
    let bytes = name.as_bytes();
    let space = field.get_mut(..bytes.len()).filter(|_| bytes.len() < 256);
    let space = space.ok_or_else(|| io::Error::from_raw_os_error(libc::ENAMETOOLONG))?;
    space.copy_from_slice(bytes);
    Ok(())
}

/// The subvolumes directly or deeply inside one, outermost first.
fn nested(path: &Path) -> io::Result<Vec<std::path::PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            let data = entry.metadata()?;
            if !data.is_dir() {
                continue;
            }
            if data.ino() == SUBVOLUME_INODE {
                found.push(entry.path());
            } else {
                folders.push(entry.path());
            }
        }
    }
    Ok(found)
}

fn ioctl<T>(file: &File, request: libc::c_ulong, args: &mut T) -> io::Result<()> {
    // SAFETY: `request` encodes the size of T, which the kernel reads and writes and no more.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), request as _, std::ptr::from_mut(args)) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_have_the_kernels_sizes() {
        assert_eq!(size_of::<VolArgs>(), 4096);
        assert_eq!(size_of::<VolArgsV2>(), 4096);
        assert_eq!(size_of::<ReceivedArgs>(), 200);
        assert_eq!(size_of::<SubvolInfo>(), 504);
    }
}
