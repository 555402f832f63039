//! The control groups that LXC makes for a container, on version 1, hybrid and version 2.

use std::{
    collections::{BTreeSet, HashSet},
    fs::{self, File},
    io::{self, Write as _},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};

use super::{
    Gauge,
    command::timespec,
    counter::{Counter, is_gone},
    error::{Doing, Result, show},
};

const ROOT: &str = "/sys/fs/cgroup";

/// How long processes that were killed may take to be gone.
const GONE_WITHIN: Duration = Duration::from_secs(1);
/// How soon a group is tried again whose last process is gone from sight but not from the kernel.
const AGAIN: Duration = Duration::from_millis(5);

/// The folders of a container's groups that are there, whether anything runs in them or not.
pub fn of_container(container: &str) -> Result<Vec<PathBuf>> {
    let look = || of_container_below(Path::new(ROOT), of_first()?, container);
    look().doing(|| format!("look for the control groups of {container}"))
}

fn of_container_below(
    root: &Path,
    bases: &BTreeSet<String>,
    container: &str,
) -> io::Result<Vec<PathBuf>> {
    let names = [format!("lxc.payload.{container}"), format!("lxc.monitor.{container}")];
    let mut found = Vec::new();
    for place in places(root, bases)? {
        for name in &names {
            let group = place.join(name);
            if group.try_exists()? {
                found.push(group);
            }
        }
    }
    Ok(found)
}

/// Where LXC makes the groups of containers: below each of these groups, in each hierarchy.
fn places(root: &Path, bases: &BTreeSet<String>) -> io::Result<Vec<PathBuf>> {
    let mut hierarchies = inner(root)?;
    hierarchies.push(root.to_owned());
    Ok(hierarchies.iter().flat_map(|folder| bases.iter().map(|base| folder.join(base))).collect())
}

/// The containers that have groups, whoever they belong to. One may come more than once.
pub fn containers() -> Result<Vec<String>> {
    let look = || -> io::Result<Vec<String>> {
        let mut found = Vec::new();
        for place in places(Path::new(ROOT), of_first()?)? {
            found.extend(inner(&place)?.iter().filter_map(|group| container_of(group)));
        }
        Ok(found)
    };
    look().doing(|| "look for control groups of containers".to_owned())
}

/// The container whose group this is.
pub(super) fn container_of(group: &Path) -> Option<String> {
    let name = group.file_name()?.to_str()?;
    let parts = ["lxc.payload.", "lxc.monitor."];
    parts.iter().find_map(|part| name.strip_prefix(part)).map(str::to_owned)
}

/// Where a container's groups for memory will be, on every version.
pub(super) fn memory_of(container: &str) -> Result<Vec<String>> {
    let bases = of_first().doing(|| "find the control groups".to_owned())?;
    let folders = ["", "memory/", "unified/"];
    let of = |base: &String| {
        folders.map(|folder| format!("{ROOT}/{folder}{base}/lxc.payload.{container}"))
    };
    Ok(bases.iter().flat_map(of).collect())
}

/// Below which groups LXC makes those of containers. The first process stays where it is.
fn of_first() -> io::Result<&'static BTreeSet<String>> {
    static BASES: OnceLock<BTreeSet<String>> = OnceLock::new();
    if let Some(bases) = BASES.get() {
        return Ok(bases);
    }
    let found = bases(&fs::read_to_string("/proc/1/cgroup")?);
    Ok(BASES.get_or_init(|| found))
}

/// They are, as `/proc/1/cgroup` says, those of the first process, which systemd puts aside in
/// `init.scope`. Without the slash at their beginning.
fn bases(of_first: &str) -> BTreeSet<String> {
    let paths = of_first.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    paths
        .map(|path| path.strip_suffix("/init.scope").unwrap_or(path))
        .map(|path| path.trim_start_matches('/').to_owned())
        .chain([String::new()])
        .collect()
}

/// The file of version 2 that counts the processes killed because a group's memory was used up, in the group
/// and below.
pub(super) const KILLED: &str = "memory.events";
/// That of version 1, which counts those of the group alone.
pub(super) const KILLED_HERE: &str = "memory.oom_control";
/// How often memory was short in a group of version 1 or below.
const SHORT: &str = "memory.failcnt";

/// Tells how many processes of a container the kernel has killed because its memory was used up: of a
/// container whose groups are there.
pub fn killed_for_memory(container: &str) -> Result<Gauge<u64>> {
    let doing = format!("read what was killed in {container}");
    let (mut all, mut trees) = (Vec::new(), Vec::new());
    for group in memory_of(container)? {
        let group = PathBuf::from(group);
        let open = |file: &str| Counter::open(&group.join(file)).doing(|| doing.clone());
        all.extend(open(KILLED)?);
        trees.extend(open(SHORT)?.map(|short| (short, group.clone())));
    }
    Ok(Box::new(move || {
        let look = || -> io::Result<u64> {
            let mut killed = 0;
            for counter in &all {
                killed += memory_kills(&counter.read()?);
            }
            for (short, group) in &trees {
                // Mostly it never was, and there is nothing to search for.
                if short.read()?.trim() != "0" {
                    killed += killed_below(group)?;
                }
            }
            Ok(killed)
        };
        look().doing(|| doing.clone())
    }))
}

/// What version 1 counts in a group and in those below, where the guest puts its services.
fn killed_below(group: &Path) -> io::Result<u64> {
    let mut killed = 0;
    let mut groups = vec![group.to_owned()];
    while let Some(group) = groups.pop() {
        if let Some(counter) = Counter::open(&group.join(KILLED_HERE))? {
            killed += memory_kills(&counter.read()?);
        }
        groups.extend(inner(&group)?);
    }
    Ok(killed)
}

/// Whether groups can limit what is read and written.
pub fn limits_io() -> bool {
    let root = Path::new(ROOT);
    match fs::read_to_string(root.join("cgroup.controllers")) {
        Ok(controllers) => controllers.split_whitespace().any(|name| name == "io"),
        Err(_) => root.join("blkio/blkio.throttle.read_bps_device").exists(),
    }
}

/// The count in one of these files.
pub(super) fn memory_kills(events: &str) -> u64 {
    let counts = events.lines().filter_map(|line| line.strip_prefix("oom_kill "));
    counts.filter_map(|count| count.trim().parse::<u64>().ok()).sum()
}

/// The folders in a folder; none when it is not there.
fn inner(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let look = || -> io::Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                found.push(entry.path());
            }
        }
        Ok(found)
    };
    match look() {
        Err(error) if is_gone(&error) => Ok(Vec::new()),
        found => found,
    }
}

/// Kills what is in these groups and removes them, once all of it is gone.
pub fn remove(groups: &[PathBuf]) -> Result<()> {
    let until = Instant::now() + GONE_WITHIN;
    for group in groups {
        let doing = || format!("remove the control group {}", show(group));
        loop {
            await_ends(&kill(group).doing(doing)?, until).doing(doing)?;
            match remove_tree(group) {
                Err(error)
                    if error.raw_os_error() == Some(libc::EBUSY) && Instant::now() < until =>
                {
                    thread::sleep(AGAIN);
                }
                other => break other.doing(doing)?,
            }
        }
    }
    Ok(())
}

/// Kills every process in a group and below, and returns what becomes readable as they end.
fn kill(group: &Path) -> io::Result<Vec<OwnedFd>> {
    // With version 2 the kernel does it, and none can be born meanwhile. Elsewhere this file is not
    // there, and a group that is gone has no processes.
    let switch = File::options().write(true).open(group.join("cgroup.kill"));
    match switch.and_then(|mut switch| switch.write_all(b"1")) {
        Err(error) if !is_gone(&error) => return Err(error),
        _ => {}
    }
    let mut ends = Vec::new();
    for pid in processes(group)? {
        let opened = Pid::from_raw(pid).map(|pid| pidfd_open(pid, PidfdFlags::empty()));
        match opened {
            Some(Ok(pidfd)) => ends.push((pid, pidfd)),
            Some(Err(Errno::SRCH)) | None => {}
            Some(Err(error)) => return Err(error.into()),
        }
    }
    // A number may have become another's: it is the one that was meant if it is still in here.
    let still: HashSet<i32> = processes(group)?.into_iter().collect();
    ends.retain(|(pid, _)| still.contains(pid));
    for (_, pidfd) in &ends {
        match pidfd_send_signal(pidfd, Signal::KILL) {
            Ok(()) | Err(Errno::SRCH) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(ends.into_iter().map(|(_, pidfd)| pidfd).collect())
}

fn await_ends(ends: &[OwnedFd], until: Instant) -> io::Result<()> {
    for end in ends {
        let left = until.saturating_duration_since(Instant::now());
        match poll(&mut [PollFd::new(end, PollFlags::IN)], Some(&timespec(left))) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn processes(group: &Path) -> io::Result<Vec<i32>> {
    let mut found = Vec::new();
    let mut folders = vec![group.to_owned()];
    while let Some(folder) = folders.pop() {
        match fs::read_to_string(folder.join("cgroup.procs")) {
            Ok(text) => found.extend(text.lines().filter_map(|line| line.parse::<i32>().ok())),
            // A threaded group: its processes are listed above it.
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {}
            Err(error) if is_gone(&error) => {}
            Err(error) => return Err(error),
        }
        folders.extend(inner(&folder)?);
    }
    Ok(found)
}

fn remove_tree(group: &Path) -> io::Result<()> {
    for inner in inner(group)? {
        remove_tree(&inner)?;
    }
    match fs::remove_dir(group) {
        Err(error) if !is_gone(&error) => Err(error),
        _ => Ok(()),
    }
}
