//! Mounts by the new mount API: trees are cloned, mapped and only then attached, so that nothing is
//! ever visible half made.

#![expect(unsafe_code, reason = "mount_setattr(2) and fork(2) have no safe wrapper")]

use std::{
    fs::File,
    io::{self, Read, Write},
    os::fd::{AsRawFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::CWD,
    mount::{MoveMountFlags, OpenTreeFlags, UnmountFlags, move_mount, open_tree, unmount},
};

use super::error::{Doing, Error, Result, show};

/// The highest id that a user can have in a container.
const LAST_ID: u32 = 65_533;

/// One line of a user namespace's maps: `count` ids from `inside` are those from `outside`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdRange {
    /// As on disk.
    pub inside: u32,
    /// As the kernel sees them through the mount.
    pub outside: u32,
    /// How many.
    pub count: u32,
}

/// How users and groups on disk are seen through a mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdMap {
    /// Users.
    pub users: Vec<IdRange>,
    /// Groups.
    pub groups: Vec<IdRange>,
}

impl IdMap {
    /// The whole range of a container: 65,536 ids from `base`.
    pub fn container(base: u32) -> Self {
        let range = vec![IdRange { inside: 0, outside: base, count: 65_536 }];
        Self { users: range.clone(), groups: range }
    }

    /// One user and one group, and nobody else. Ids below 1000 are those of the host's own services,
    /// and the highest of a container are nobody's.
    pub fn one(base: u32, uid: u32, gid: u32) -> Result<Self> {
        let only = |id: u32| match base.checked_add(id) {
            Some(outside) if (1000..=LAST_ID).contains(&id) => {
                Ok(vec![IdRange { inside: id, outside, count: 1 }])
            }
            _ => Err(Error::Unexpected {
                what: format!("the number {id} of a user or group"),
                why: format!("it must be from 1000 to {LAST_ID}"),
            }),
        };
        Ok(Self { users: only(uid)?, groups: only(gid)? })
    }
}

/// What is mounted where, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    /// The folder to be seen.
    pub from: std::path::PathBuf,
    /// Where; must be a folder.
    pub to: std::path::PathBuf,
    /// Whose ids; none: as they are seen where it is taken from.
    pub map: Option<IdMap>,
    /// Whether set-user-id programs work: only in the root of a container.
    pub suid: bool,
}

/// Mounts a folder, with its ids mapped if it is to be. Devices never work through it.
pub fn bind(bind: &Bind) -> Result<()> {
    let doing = || format!("mount {} on {}", show(&bind.from), show(&bind.to));
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = open_tree(CWD, &bind.from, flags).doing(doing)?;
    let namespace = bind.map.as_ref().map(user_namespace).transpose().doing(doing)?;
    let (set, clear) = if bind.suid {
        (libc::MOUNT_ATTR_NODEV, libc::MOUNT_ATTR_NOSUID)
    } else {
        (libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOSUID, 0)
    };
    let attributes = libc::mount_attr {
        attr_set: set | if namespace.is_some() { libc::MOUNT_ATTR_IDMAP } else { 0 },
        attr_clr: clear,
        propagation: libc::MS_PRIVATE,
        userns_fd: namespace.as_ref().map_or(0, |held| u64::from(held.as_raw_fd().unsigned_abs())),
    };
    match set_attributes(&tree, &attributes) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            return Err(Error::Unmappable { path: show(&bind.from).to_string() });
        }
        set => set.doing(doing)?,
    }
    move_mount(&tree, "", CWD, &bind.to, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).doing(doing)
}

/// Shows a program at another place, where it can be neither changed nor gain rights. The file `to` is
/// made if it is not there.
pub fn show_program(program: &Path, to: &Path) -> Result<()> {
    let doing = || format!("show {} at {}", show(program), show(to));
    File::create(to).doing(doing)?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = open_tree(CWD, program, flags).doing(doing)?;
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV,
        attr_clr: libc::MOUNT_ATTR_NOEXEC,
        propagation: libc::MS_PRIVATE,
        userns_fd: 0,
    };
    set_attributes(&tree, &attributes).doing(doing)?;
    move_mount(&tree, "", CWD, to, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).doing(doing)
}

fn set_attributes(tree: &OwnedFd, attributes: &libc::mount_attr) -> io::Result<()> {
    // SAFETY: the path is a C string, and `attributes` lives through the call with its size given.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            std::ptr::from_ref(attributes),
            size_of_val(attributes),
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Takes a mount away, with all that is mounted below it. Not mounted is fine. It goes at once from
/// sight; what still has files open there keeps them until it ends.
pub fn detach(path: &Path) -> Result<()> {
    while is_mounted(path)? {
        unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
            .doing(|| format!("unmount {}", show(path)))?;
    }
    Ok(())
}

/// Whether a path is the root of a mount. The file system that is mounted there is not asked: it may be
/// one that does not answer.
pub fn is_mounted(path: &Path) -> Result<bool> {
    use rustix::{
        fs::{Mode, OFlags, ResolveFlags, openat, openat2},
        io::Errno,
    };
    let doing = || format!("look at {}", show(path));
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return Ok(true) };
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let folder = match openat(CWD, folder, flags | OFlags::DIRECTORY, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(false),
        folder => folder.doing(doing)?,
    };
    let inner = flags | OFlags::NOFOLLOW;
    match openat2(&folder, name, inner, Mode::empty(), ResolveFlags::NO_XDEV) {
        Ok(_) | Err(Errno::NOENT) => Ok(false),
        Err(Errno::XDEV) => Ok(true),
        Err(error) => Err(error).doing(doing),
    }
}

/// A user namespace with these maps, held by its descriptor alone.
///
/// A child enters it and waits to be killed. Nothing here relies on the end of a pipe: children that
/// other threads fork at the same time hold copies of it.
fn user_namespace(map: &IdMap) -> io::Result<OwnedFd> {
    let (mut entered, entered_at) = io::pipe()?;
    let parent = i32::try_from(std::process::id()).unwrap_or_default();
    // SAFETY: the child calls only prctl, getppid, unshare, write, pause and _exit, which are
    // async-signal-safe, on a descriptor it inherited.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: as above.
        unsafe {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            // Of a death before that it hears nothing: it would stay for ever, and hold this host's lock.
            if libc::getppid() != parent {
                libc::_exit(1);
            }
            let answer = if libc::unshare(libc::CLONE_NEWUSER) == 0 { c"y" } else { c"n" };
            libc::write(entered_at.as_raw_fd(), answer.as_ptr().cast(), 1);
            loop {
                libc::pause();
            }
        }
    }
    if child < 0 {
        return Err(io::Error::last_os_error());
    }
    let made = (|| {
        let mut answer = [0];
        entered.read_exact(&mut answer)?;
        if &answer != b"y" {
            return Err(io::Error::other("the kernel gives no user namespace"));
        }
        let write = |file: &str, ranges: &[IdRange]| {
            let line =
                |range: &IdRange| format!("{} {} {}\n", range.inside, range.outside, range.count);
            let lines: String = ranges.iter().map(line).collect();
            let mut file = File::options().write(true).open(format!("/proc/{child}/{file}"))?;
            file.write_all(lines.as_bytes())
        };
        write("uid_map", &map.users)?;
        write("gid_map", &map.groups)?;
        File::open(format!("/proc/{child}/ns/user")).map(OwnedFd::from)
    })();
    // SAFETY: `child` is ours and not yet waited for.
    unsafe {
        libc::kill(child, libc::SIGKILL);
        libc::waitpid(child, std::ptr::null_mut(), 0);
    }
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_is_mapped_to_a_user_of_the_container_and_no_other() {
        let map = IdMap::one(1_065_536, 10_000, 10_001).unwrap();
        let range = |inside| IdRange { inside, outside: 1_065_536 + inside, count: 1 };
        assert_eq!(map, IdMap { users: vec![range(10_000)], groups: vec![range(10_001)] });
        assert!(IdMap::one(1_065_536, 1000, LAST_ID).is_ok());
        for foreign in [0, 999, 65_534, 65_536, u32::MAX] {
            assert!(IdMap::one(1_065_536, foreign, 10_000).is_err(), "user {foreign}");
            assert!(IdMap::one(1_065_536, 10_000, foreign).is_err(), "group {foreign}");
        }
        assert!(IdMap::one(u32::MAX - 10_000, 10_001, 10_000).is_err(), "it does not overflow");
    }
}
