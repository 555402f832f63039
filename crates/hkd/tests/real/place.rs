//! A place of its own for each test: a folder, names, mounts, a network.

use std::{
    fmt::Debug,
    fs,
    path::PathBuf,
    process::Child,
    thread,
    time::{Duration, Instant},
};

use hkd::linux::{Linux as _, command::Command, names::Names, real::Real};
use model::VmId;

/// How long anything here may take on a busy machine.
pub(crate) const WITHIN: Duration = Duration::from_secs(20);
/// The VM of a place.
pub(crate) const VM: VmId = VmId(1);

/// Looks again and again until `look` says `Ok`. When time is over the test fails with the last `Err`.
#[track_caller]
pub(crate) fn until<T, E: Debug>(what: &str, mut look: impl FnMut() -> Result<T, E>) -> T {
    let begun = Instant::now();
    loop {
        match look() {
            Ok(found) => return found,
            Err(state) => {
                assert!(begun.elapsed() < WITHIN, "waited for {what}; at last: {state:?}");
            }
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Runs a line of the shell, which must succeed.
#[track_caller]
pub(crate) fn shell(line: &str) -> String {
    try_shell(line).unwrap_or_else(|why| panic!("{line}: {why}"))
}

pub(crate) fn try_shell(line: &str) -> Result<String, String> {
    let said = Command::new("sh").args(["-c", line]).run(WITHIN);
    said.map_err(|error| error.to_string())
}

/// A program that is ended with the test.
pub(crate) struct Program(pub(crate) Child);

impl Program {
    /// Starts a line of the shell.
    pub(crate) fn start(line: &str) -> Self {
        Self(Command::new("sh").args(["-c", line]).spawn().unwrap())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A place. The thread that makes it is in it from then on, with all that it starts.
pub(crate) struct Place {
    pub(crate) folder: PathBuf,
    pub(crate) names: Names,
    pub(crate) real: Real,
}

impl Place {
    pub(crate) fn enter() -> Self {
        assert!(rustix::process::geteuid().is_root(), "tests of the machine run as root");
        // What a dead run left is found by `cargo xtask sweep` through these files.
        let id = format!("{:05x}", std::process::id() & 0xF_FFFF);
        let folder = PathBuf::from(format!("/tmp/qvd-test-{id}"));
        let prefix = format!("t{id}");
        fs::create_dir(&folder).unwrap();
        let stat = fs::read_to_string("/proc/self/stat").unwrap();
        let begun = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(19).unwrap();
        fs::write(folder.join("owner"), format!("{} {begun}\n", std::process::id())).unwrap();
        fs::write(folder.join("prefix"), format!("{prefix}\n")).unwrap();
        namespaces();
        let at = folder.display();
        shell(&format!(
            "mount --make-rprivate / && ip link set lo up && \
             mkdir {at}/groups && mount --rbind /sys/fs/cgroup {at}/groups && \
             mount -t sysfs sysfs /sys && mount --rbind {at}/groups /sys/fs/cgroup && \
             umount -l {at}/groups"
        ));
        let names = Names::new(&prefix, &format!("{prefix}br")).unwrap();
        Self { folder, real: Real::new(names.clone()), names }
    }

    /// The run directories' folder.
    pub(crate) fn vms(&self) -> PathBuf {
        self.folder.join("vms")
    }

    /// The container's name.
    pub(crate) fn container(&self) -> String {
        self.names.container(VM)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = self.real.remove_cgroups(&self.container());
        let at = self.folder.display();
        let _ = try_shell(&format!(
            "grep -o ' {at}/[^ ]*' /proc/self/mountinfo | sort -r | xargs -r -n1 umount -l"
        ));
        let _ = fs::remove_dir_all(&self.folder);
    }
}

#[expect(unsafe_code, reason = "unshare(2) of this thread's namespaces")]
fn namespaces() {
    use rustix::thread::UnshareFlags;
    // SAFETY: no file descriptor table is unshared; only this thread's view of mounts and network
    // changes, and what it starts.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS | UnshareFlags::NEWNET) }.unwrap();
}
