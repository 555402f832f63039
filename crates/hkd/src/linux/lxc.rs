//! Containers, through LXC's commands and a configuration file we write.
//!
//! `lxc-start -F` is started by us and stays as the container's *monitor*: it outlives this daemon.
//! A monitor that lives is found by its command socket, an abstract unix socket whose name holds the
//! run directory's path: whoever listens there is it.

mod confine;
mod log;

use std::{
    fmt::Write as _,
    fs::{self, File},
    io::{self, Write as _},
    net::Ipv4Addr,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixListener,
    },
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::{
    io::Errno,
    net::{
        AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with,
        sockopt::socket_peercred,
    },
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};

pub use confine::{Cpu, Io};
pub use log::end;

use super::{
    Gauge, apparmor, cgroup,
    command::{Command, PATH, find, reap},
    disk,
    error::{Doing, Error, Result, show},
    mac::Mac,
};

/// What a container is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Its name, and that of its run directory.
    pub name: String,
    /// Where run directories are.
    pub path: PathBuf,
    /// The host name inside.
    pub hostname: String,
    /// Its machine-id, which systemd takes over when the image's is empty.
    pub machine_id: String,
    /// Its root, mounted with the ids of its slot.
    pub root: PathBuf,
    /// Our own init, shown where only the container's root gets at it; none: the image's.
    pub own_init: Option<PathBuf>,
    /// The home, mounted with the owner's ids, and where it appears inside.
    pub home: Option<(PathBuf, String)>,
    /// The first of its 65,536 ids.
    pub base_id: u32,
    /// Memory limit in MiB.
    pub memory: i64,
    /// How many processes and threads it may have.
    pub processes: i64,
    /// How much of the processors it may use.
    pub cpu: Cpu,
    /// How much it may read and write.
    pub io: Io,
    /// Whether programs inside may make user name spaces, as the sandboxes of browsers do.
    pub nesting: bool,
    /// Its network.
    pub network: Network,
}

/// A container's network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// The bridge it hangs on.
    pub bridge: String,
    /// The host's end of its link.
    pub link: String,
    /// Hardware address.
    pub mac: Mac,
    /// Its address.
    pub address: Ipv4Addr,
    /// Prefix length of the network.
    pub prefix: u8,
    /// The gateway.
    pub gateway: Ipv4Addr,
}

/// The process that watches over a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Monitor {
    /// Its process id.
    pub pid: i32,
}

/// How a container came to its end, by its log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It was shut down from inside.
    ShutDown,
    /// Its init died of this.
    Died(String),
    /// It never came up, because of this.
    NeverStarted(String),
    /// LXC was never called.
    NotBegun,
}

/// How long a monitor may take to answer, and how soon it is asked again.
const ANSWERS_WITHIN: Duration = Duration::from_secs(1);
const ANSWERS_AGAIN: Duration = Duration::from_millis(10);

/// Our own init, in the `/dev` of a container.
const INIT: &str = ".qvd-init";
/// The script of the run directory that keeps what the container's groups counted, and where.
const END_SCRIPT: &str = "at-end";
const KEPT_COUNTS: &str = "counts";

/// Whether a value can stand in LXC's configuration without meaning more than itself.
fn plain(value: &str) -> bool {
    !value.is_empty() && !value.contains(|c: char| c.is_control() || c.is_whitespace() || c == '#')
}

impl Container {
    /// The run directory.
    pub fn directory(&self) -> PathBuf {
        self.path.join(&self.name)
    }

    /// LXC's configuration, line by line.
    pub fn config(&self) -> Result<String> {
        let root = self.root.display().to_string();
        let directory = self.directory().display().to_string();
        let Network { bridge, link, mac, address, prefix, gateway } = &self.network;
        for value in [&self.name, &self.hostname, &self.machine_id, &root, &directory, bridge, link]
        {
            if !plain(value) {
                return Err(Error::Unexpected {
                    what: format!("`{value}`"),
                    why: "it cannot stand in a container's configuration".to_owned(),
                });
            }
        }
        let base = self.base_id;
        let mut text = format!(
            "lxc.uts.name = {}\n\
             lxc.rootfs.path = dir:{root}\n\
             lxc.idmap = u 0 {base} 65536\n\
             lxc.idmap = g 0 {base} 65536\n\
             lxc.seccomp.profile = {directory}/seccomp\n\
             lxc.mount.auto = proc:mixed sys:mixed cgroup:mixed\n\
             lxc.environment = container_uuid={}\n\
             lxc.environment = PATH={PATH}\n\
             lxc.autodev = 1\n\
             lxc.tty.max = 0\n\
             lxc.pty.max = 1024\n\
             lxc.console.path = none\n\
             lxc.net.0.type = veth\n\
             lxc.net.0.name = eth0\n\
             lxc.net.0.flags = up\n\
             lxc.net.0.link = {bridge}\n\
             lxc.net.0.veth.pair = {link}\n\
             lxc.net.0.hwaddr = {mac}\n\
             lxc.net.0.ipv4.address = {address}/{prefix}\n\
             lxc.net.0.ipv4.gateway = {gateway}\n",
            self.hostname, self.machine_id
        );
        if let Some(init) = &self.own_init {
            let init = init.display().to_string();
            if !plain(&init) {
                return Err(Error::Unexpected {
                    what: format!("the init {init}"),
                    why: "it cannot stand in a container's configuration".to_owned(),
                });
            }
            let _ = write!(
                text,
                "lxc.mount.entry = {init} dev/{INIT} none bind,ro,create=file 0 0\n\
                 lxc.init.cmd = /dev/{INIT} init\n"
            );
        }
        if let Some((from, to)) = &self.home {
            let from = from.display().to_string();
            let inside = to.trim_start_matches('/');
            if !plain(&from) || !plain(inside) || inside.split('/').any(|part| part == "..") {
                return Err(Error::Unexpected {
                    what: format!("the home {from} at {to}"),
                    why: "it cannot stand in a container's configuration".to_owned(),
                });
            }
            let _ = writeln!(
                text,
                "lxc.mount.entry = {from} {inside} none bind,nosuid,nodev,create=dir 0 0"
            );
        }
        let nsenter =
            find("nsenter").ok_or_else(|| Error::NotInstalled { program: "nsenter".to_owned() })?;
        let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default();
        let piped = confine::piped_cores(&pattern);
        text.push_str(&confine::config(
            unified(),
            piped,
            self.own_init.is_some(),
            &nsenter.display().to_string(),
            &format!("{directory}/{END_SCRIPT}"),
        ));
        if let Some(profile) = apparmor::of_containers() {
            let _ = writeln!(text, "lxc.apparmor.profile = {profile}");
        }
        let bytes = self.memory.saturating_mul(1024 * 1024);
        let processes = self.processes;
        let limits = if unified() {
            format!(
                "lxc.cgroup2.memory.max = {bytes}\n\
                 lxc.cgroup2.memory.swap.max = 0\n\
                 lxc.cgroup2.pids.max = {processes}\n"
            )
        } else {
            format!(
                "lxc.cgroup.memory.limit_in_bytes = {bytes}\n\
                 lxc.cgroup.pids.max = {processes}\n"
            )
        };
        text.push_str(&limits);
        text.push_str(&self.cpu.lines(unified()));
        Ok(text)
    }

    /// The lines of LXC's configuration that limit what it reads and writes, on each disk below it.
    fn io_limits(&self) -> Result<String> {
        let unified = unified();
        if self.io.is_unlimited() || !cgroup::limits_io() {
            return Ok(String::new());
        }
        let mut disks = disk::below(&self.root)?;
        if let Some((home, _)) = &self.home {
            disks.append(&mut disk::below(home)?);
        }
        Ok(disks.iter().map(|disk| self.io.lines(unified, disk)).collect())
    }
}

/// Whether the machine has the unified hierarchy alone.
fn unified() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// Starts a container. Its monitor holds `lock`, so that who comes later can tell that a start is
/// under way; it is returned before the container's init runs.
pub fn start(container: &Container, lock: Option<OwnedFd>) -> Result<Monitor> {
    let directory = container.directory();
    let doing = |what: &str| format!("write {what} in {}", show(&directory));
    let seccomp = confine::seccomp(container.nesting);
    fs::write(directory.join("seccomp"), seccomp).doing(|| doing("seccomp"))?;
    let config = container.config()? + &container.io_limits()?;
    fs::write(directory.join("config"), config).doing(|| doing("config"))?;
    let kept = directory.join(KEPT_COUNTS).display().to_string();
    let end = confine::at_end(&cgroup::memory_of(&container.name)?, &kept);
    fs::write(directory.join(END_SCRIPT), end).doing(|| doing(END_SCRIPT))?;
    log::begin(&directory)?;
    // Its init inherits what LXC writes to, so that is a place where nothing can be filled.
    let mut command = Command::new("lxc-start")
        .args(["-F", "-n", &container.name, "-P"])
        .arg(&container.path)
        .arg("-o")
        .arg(log::of(&directory))
        .args(["-l", log::LEVEL])
        // Root may write the maps of ids itself; where LXC finds `newuidmap` it asks that instead, and
        // waits for two programs more.
        .finds_nothing()
        .own_session();
    if let Some(lock) = lock {
        command.inherit(lock);
    }
    // Without LXC there is no end of which its log would tell.
    let unlog = |_: &Error| drop(fs::remove_file(log::of(&directory)));
    let child = command.spawn().inspect_err(unlog)?;
    let pid = i32::try_from(child.id()).unwrap_or_default();
    reap(Some(child));
    Ok(Monitor { pid })
}

/// Tells how many processes of a container were killed because its memory was used up, in its present run
/// or, when that is over, in its last.
pub fn killed_for_memory(path: &Path, name: &str) -> Result<Gauge<u64>> {
    let kept = path.join(name).join(KEPT_COUNTS);
    let killed = cgroup::killed_for_memory(name)?;
    Ok(Box::new(move || {
        // What its groups counted is kept before they go, so it is looked for after them.
        let killed = killed()?;
        let ended = super::file::read(&kept)?.unwrap_or_default();
        Ok(killed.max(cgroup::memory_kills(&String::from_utf8_lossy(&ended))))
    }))
}

/// The monitor of a container, if one lives. The names of such sockets are free for all: who is not
/// root is no monitor.
pub fn monitor(path: &Path, name: &str) -> Result<Option<Monitor>> {
    let doing = || format!("ask for the monitor of {name}");
    let socket = format!("{}/{name}/command", path.display());
    let address = SocketAddrUnix::new_abstract_name(socket.as_bytes()).doing(doing)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let stream = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).doing(doing)?;
    let until = Instant::now() + ANSWERS_WITHIN;
    loop {
        match connect(&stream, &address) {
            Ok(()) => break,
            Err(Errno::CONNREFUSED) => {
                reap(None);
                return Ok(None);
            }
            // Too many wait to be heard.
            Err(Errno::AGAIN) if Instant::now() < until => std::thread::sleep(ANSWERS_AGAIN),
            Err(error) => return Err(error).doing(doing),
        }
    }
    let peer = socket_peercred(&stream).doing(doing)?;
    Ok(peer.uid.is_root().then(|| Monitor { pid: peer.pid.as_raw_nonzero().get() }))
}

/// Asks a container's init to shut down, in the way it understands.
pub fn ask_to_stop(path: &Path, name: &str) -> Result<()> {
    log::keep_short(&path.join(name));
    if monitor(path, name)?.is_none() {
        return Ok(());
    }
    // LXC chooses the signal by the name of the init; the rest is left to us.
    let asked = Command::new("lxc-stop")
        .args(["-n", name, "--nokill", "--nowait", "-P"])
        .arg(path)
        .args(["-o", "/dev/null"])
        .run(Duration::from_secs(10));
    match asked {
        // Down already is fine.
        Ok(_) | Err(Error::Program { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Ends a container at once.
pub fn kill(path: &Path, name: &str) -> Result<()> {
    // LXC's programs believe whoever listens.
    if monitor(path, name)?.is_none() {
        return Ok(());
    }
    let ended = Command::new("lxc-stop")
        .args(["-n", name, "--kill", "-P"])
        .arg(path)
        .args(["-o", "/dev/null"])
        .run(Duration::from_secs(20));
    match (ended, monitor(path, name)?) {
        (_, None) | (Ok(_), Some(_)) => Ok(()),
        // A monitor that does not listen is ended itself; its container ends with it.
        (Err(_), Some(stuck)) => end_monitor(path, name, stuck),
    }
}

fn end_monitor(path: &Path, name: &str, stuck: Monitor) -> Result<()> {
    let doing = || format!("end the monitor of {name}");
    let Some(pid) = Pid::from_raw(stuck.pid) else { return Ok(()) };
    let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
        Err(Errno::SRCH) => return Ok(()),
        pidfd => pidfd.doing(doing)?,
    };
    // If it is still the monitor now, then it is what was opened, and not a later one of its number.
    if monitor(path, name)? != Some(stuck) {
        return Ok(());
    }
    match pidfd_send_signal(&pidfd, Signal::KILL) {
        Err(Errno::SRCH) => Ok(()),
        sent => sent.doing(doing),
    }
}

/// Puts the agent into a running container: the program, and the socket it is to listen on.
pub fn inject(path: &Path, name: &str, program: &Path, listener: &UnixListener) -> Result<()> {
    let doing = || format!("put {} into {name}", show(program));
    log::keep_short(&path.join(name));
    // `lxc-attach` believes whoever listens.
    if monitor(path, name)?.is_none() {
        return Err(Error::Unexpected {
            what: format!("the container {name}"),
            why: "it does not run".to_owned(),
        });
    }
    let image = sealed_copy(program).doing(doing)?;
    let socket = listener.as_fd().try_clone_to_owned().doing(doing)?;
    let mut command = Command::new("lxc-attach");
    let image = command.inherit(image);
    let socket = command.inherit(socket);
    command
        .args(["-n", name, "-P"])
        .arg(path)
        .args(["--clear-env", "-o", "/dev/null", "--"])
        .arg(format!("/proc/self/fd/{image}"))
        .args(["agent", "--listen-fd", &socket.to_string()])
        .run(Duration::from_secs(15))
        .map(drop)
}

/// A copy of a program that nobody can change, not even through the process that runs it.
fn sealed_copy(program: &Path) -> io::Result<OwnedFd> {
    use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
    let copy = memfd_create("qvd-vma", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut copy = File::from(copy);
    copy.write_all(&fs::read(program)?)?;
    fcntl_add_seals(
        &copy,
        SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE,
    )?;
    Ok(copy.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container() -> Container {
        Container {
            name: "qvd-7".into(),
            path: "/run/qvd/vms".into(),
            hostname: "desk".into(),
            machine_id: "0123456789abcdef0123456789abcdef".into(),
            root: "/srv/rootfs/7-fs".into(),
            own_init: None,
            home: Some(("/run/qvd/vms/qvd-7/home".into(), "/home".into())),
            base_id: 1_065_536,
            memory: 2048,
            processes: 4096,
            cpu: Cpu { weight: 100, most: 150 },
            io: Io { bandwidth: 400, operations: 0 },
            nesting: true,
            network: Network {
                bridge: "qvdnet".into(),
                link: "qvd-7".into(),
                mac: "54:52:00:00:00:07".parse().unwrap(),
                address: Ipv4Addr::new(10, 0, 0, 107),
                prefix: 16,
                gateway: Ipv4Addr::new(10, 0, 0, 1),
            },
        }
    }

    #[test]
    fn the_configuration_is_unprivileged_and_limited() {
        let config = container().config().unwrap();
        for line in [
            "lxc.idmap = u 0 1065536 65536",
            "lxc.idmap = g 0 1065536 65536",
            "lxc.net.0.ipv4.address = 10.0.0.107/16",
            "lxc.mount.entry = /run/qvd/vms/qvd-7/home home none bind,nosuid,nodev,create=dir 0 0",
        ] {
            assert!(config.lines().any(|each| each == line), "{line} is not in\n{config}");
        }
        assert!(config.contains("sys_module") && config.contains("pids.max = 4096"));
        let hook = config.lines().find_map(|line| line.strip_prefix("lxc.hook.start-host = "));
        let (nsenter, rest) = hook.unwrap().split_once(' ').unwrap();
        assert!(nsenter.ends_with("/nsenter") && rest.contains("=/proc/$LXC_PID/ns/user "));
    }

    #[test]
    fn a_name_cannot_add_a_line() {
        for bad in ["desk\nlxc.hook.start = /bin/sh", "", "a b", "x#y", "x\ty"] {
            let hostile = Container { hostname: bad.into(), ..container() };
            assert!(hostile.config().is_err(), "{bad:?}");
        }
        let climbing = Container { home: Some(("/x".into(), "/../etc".into())), ..container() };
        assert!(climbing.config().is_err());
    }
}
