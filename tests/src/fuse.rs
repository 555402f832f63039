//! Shared storage that can be slow, hang and fail: a read-only view of a folder through FUSE.

use std::{
    collections::HashMap,
    ffi::OsStr,
    fs::{self, File},
    io,
    os::{
        fd::AsRawFd as _,
        unix::fs::{FileExt as _, MetadataExt as _},
    },
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory,
    ReplyEntry, ReplyOpen, Request, SessionACL,
};

/// Nothing is remembered by the kernel: each look asks.
const TTL: Duration = Duration::ZERO;

/// How the storage is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// It answers.
    Well,
    /// It answers after this long.
    Slow(Duration),
    /// It does not answer.
    Hung,
    /// It answers everything with this error number.
    Broken(i32),
}

/// A folder that is seen through it.
#[derive(Debug)]
pub struct Storage {
    control: Arc<Control>,
    session: Option<BackgroundSession>,
}

#[derive(Debug)]
struct Control {
    state: Mutex<(Mood, u64)>,
    changed: Condvar,
}

impl Control {
    fn state(&self) -> MutexGuard<'_, (Mood, u64)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Each request passes here.
    fn pass(&self) -> Result<(), Errno> {
        let mut state = self.state();
        state.1 += 1;
        while state.0 == Mood::Hung {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        match state.0 {
            // Until then, or until it is in another mood.
            Mood::Slow(time) => drop(self.changed.wait_timeout(state, time)),
            Mood::Broken(code) => return Err(Errno::from_i32(code)),
            Mood::Well | Mood::Hung => {}
        }
        Ok(())
    }
}

impl Storage {
    /// Mounts it over a folder, whose files are seen through it.
    pub fn over(folder: &Path) -> Self {
        let control = Control { state: Mutex::new((Mood::Well, 0)), changed: Condvar::new() };
        let control = Arc::new(control);
        // What is below the mount stays in reach by its descriptor.
        let below = File::open(folder).expect("a folder to be seen");
        let view = View {
            root: PathBuf::from(format!("/proc/self/fd/{}", below.as_raw_fd())),
            _below: below,
            control: Arc::clone(&control),
            names: Mutex::new(Names { paths: vec![PathBuf::new()], numbers: HashMap::new() }),
        };
        let mut config = Config::default();
        config.mount_options = vec![MountOption::RO, MountOption::NoSuid, MountOption::NoDev];
        config.acl = SessionACL::All;
        let session = fuser::spawn_mount(view, folder, &config).expect("FUSE mounts");
        Self { control, session: Some(session) }
    }

    /// From now on it is like this.
    pub fn becomes(&self, mood: Mood) {
        self.control.state().0 = mood;
        self.control.changed.notify_all();
    }

    /// How many requests it had.
    pub fn requests(&self) -> u64 {
        self.control.state().1
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        self.becomes(Mood::Well);
        if let Some(session) = self.session.take() {
            let _ = session.umount_and_join();
        }
    }
}

/// The view. A file's number is its place in the list of paths.
struct View {
    root: PathBuf,
    _below: File,
    control: Arc<Control>,
    names: Mutex<Names>,
}

struct Names {
    paths: Vec<PathBuf>,
    numbers: HashMap<PathBuf, u64>,
}

impl View {
    fn names(&self) -> MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, file: INodeNo) -> PathBuf {
        let at = usize::try_from(u64::from(file) - 1).unwrap_or(usize::MAX);
        self.root.join(self.names().paths.get(at).cloned().unwrap_or_default())
    }

    fn number(&self, path: &Path) -> u64 {
        let name = path.strip_prefix(&self.root).unwrap_or(path).to_owned();
        if name.as_os_str().is_empty() {
            return 1;
        }
        let mut names = self.names();
        if let Some(number) = names.numbers.get(&name) {
            return *number;
        }
        names.paths.push(name.clone());
        let number = names.paths.len() as u64;
        names.numbers.insert(name, number);
        number
    }

    fn look(&self, path: &Path) -> Result<FileAttr, Errno> {
        self.control.pass()?;
        let found = if path == self.root { fs::metadata(path)? } else { path.symlink_metadata()? };
        let time = |at: io::Result<SystemTime>| at.unwrap_or(SystemTime::UNIX_EPOCH);
        Ok(FileAttr {
            ino: INodeNo(self.number(path)),
            size: found.len(),
            blocks: found.blocks(),
            atime: time(found.accessed()),
            mtime: time(found.modified()),
            ctime: time(found.modified()),
            crtime: time(found.modified()),
            kind: if found.is_dir() { FileType::Directory } else { FileType::RegularFile },
            perm: u16::try_from(found.mode() & 0o7777).unwrap_or(0),
            nlink: 1,
            uid: found.uid(),
            gid: found.gid(),
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }
}

impl Filesystem for View {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.look(&self.path(parent).join(name)) {
            Ok(found) => reply.entry(&TTL, &found, Generation(0)),
            Err(error) => reply.error(error),
        }
    }

    fn getattr(&self, _: &Request, file: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.look(&self.path(file)) {
            Ok(found) => reply.attr(&TTL, &found),
            Err(error) => reply.error(error),
        }
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.control.pass() {
            Ok(()) => reply.opened(FileHandle(0), FopenFlags::empty()),
            Err(error) => reply.error(error),
        }
    }

    fn read(
        &self,
        _: &Request,
        file: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let read = || -> Result<Vec<u8>, Errno> {
            self.control.pass()?;
            let mut bytes = vec![0; size as usize];
            let read = File::open(self.path(file))?.read_at(&mut bytes, offset)?;
            bytes.truncate(read);
            Ok(bytes)
        };
        match read() {
            Ok(bytes) => reply.data(&bytes),
            Err(error) => reply.error(error),
        }
    }

    fn readdir(
        &self,
        _: &Request,
        folder: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let folder = self.path(folder);
        let list = || -> Result<Vec<PathBuf>, Errno> {
            self.control.pass()?;
            let mut paths = Vec::new();
            for entry in fs::read_dir(&folder)? {
                paths.push(entry?.path());
            }
            paths.sort();
            Ok(paths)
        };
        match list() {
            Err(error) => reply.error(error),
            Ok(paths) => {
                let skipped = usize::try_from(offset).unwrap_or(usize::MAX);
                for (at, path) in paths.iter().enumerate().skip(skipped) {
                    let number = INodeNo(self.number(path));
                    let name = path.file_name().unwrap_or_default();
                    if reply.add(number, at as u64 + 1, FileType::RegularFile, name) {
                        break;
                    }
                }
                reply.ok();
            }
        }
    }
}
