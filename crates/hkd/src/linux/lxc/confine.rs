//! What a container may not do: capabilities, system calls, devices, files of the kernel, and how much
//! it may take of what all containers of a machine share.
//!
//! A container's root is nobody on the host, so the kernel refuses most of this anyway; each line here
//! holds where that would fail. `docs/decisions/0009-what-a-desktop-may-not-do.md` says why each.

use std::fmt::Write as _;

use crate::linux::{
    cgroup::{KILLED, KILLED_HERE},
    command::PATH,
};

/// What a guest's root must not have.
///
/// Without `sys_resource` it cannot raise what [`LIMITS`] gives it.
pub(super) const DROPPED: &str = "audit_control block_suspend bpf checkpoint_restore mac_admin \
    mac_override mknod perfmon sys_module sys_pacct sys_rawio sys_resource sys_time syslog wake_alarm";

/// All that a guest's root has where our own init runs: enough to give accounts, files and a network
/// to its user, and to end what runs.
const KEPT: &str = "audit_write chown dac_override fowner fsetid kill net_admin net_bind_service \
    net_raw setfcap setgid setpcap setuid sys_boot sys_chroot";

/// The numbers of errors.
const EPERM: i32 = 1;
const ENOSYS: i32 = 38;
const EAFNOSUPPORT: i32 = 97;

/// System calls that are refused as something that one must not do.
const FORBIDDEN: [&str; 25] = [
    "acct",
    "bpf",
    "clock_adjtime",
    "clock_settime",
    "delete_module",
    "finit_module",
    "init_module",
    "ioperm",
    "iopl",
    "kexec_file_load",
    "kexec_load",
    "lookup_dcookie",
    "nfsservctl",
    "open_by_handle_at",
    "perf_event_open",
    "quotactl",
    "quotactl_fd",
    "settimeofday",
    "stime",
    "swapoff",
    "swapon",
    "syslog",
    "uselib",
    "userfaultfd",
    "ustat",
];

/// System calls that are refused as something that this kernel does not have: programs then do
/// without.
const MISSING: [&str; 6] =
    ["add_key", "io_uring_enter", "io_uring_register", "io_uring_setup", "keyctl", "request_key"];

/// Requests of btrfs that make subvolumes or change their flags (`SNAP_CREATE`, `SUBVOL_CREATE`, their
/// second versions, `SUBVOL_SETFLAGS`): what is made inside would be missing from snapshots of the
/// overlay.
const BTRFS_REQUESTS: [u32; 5] = [0x5000_9401, 0x5000_940e, 0x5000_9417, 0x5000_9418, 0x4008_941a];

/// Families of sockets that no desktop needs: those that lead past the network's name space (vsock,
/// QRTR), and those whose code in the kernel is old or rare (AX.25, IPX, `AppleTalk`, X.25, `PF_KEY`,
/// RDS, CAN, TIPC, `RxRPC`, the kernel's ciphers).
const FAMILIES: [u32; 12] = [3, 4, 5, 9, 15, 21, 29, 30, 33, 38, 40, 42];

/// The flag that asks `clone` and `unshare` for a user name space.
const CLONE_NEWUSER: u32 = 0x1000_0000;

/// What LXC's seccomp policy looks like. Without `nesting` nobody inside makes user name spaces.
pub(super) fn seccomp(nesting: bool) -> String {
    let mut text = "2\ndenylist\nreject_force_umount\n[all]\n".to_owned();
    let mut line = |call: &str, error: i32, when: String| {
        let _ = writeln!(text, "{call} errno {error}{when}");
    };
    for call in FORBIDDEN {
        line(call, EPERM, String::new());
    }
    for call in MISSING {
        line(call, ENOSYS, String::new());
    }
    for request in BTRFS_REQUESTS {
        line("ioctl", EPERM, format!(" [1,{request:#x},SCMP_CMP_MASKED_EQ,0xffffffff]"));
    }
    for family in FAMILIES {
        line("socket", EAFNOSUPPORT, format!(" [0,{family},SCMP_CMP_EQ]"));
    }
    if !nesting {
        for call in ["clone", "unshare"] {
            let flag = format!(" [0,{CLONE_NEWUSER:#x},SCMP_CMP_MASKED_EQ,{CLONE_NEWUSER:#x}]");
            line(call, EPERM, flag);
        }
        // Its flags are in memory, where no filter can look; without it the C library takes `clone`.
        line("clone3", ENOSYS, String::new());
    }
    text
}

/// Devices that a guest may open, as control groups name them: null, zero, full, random, urandom, tty,
/// console, ptmx and terminals. Others it may make (systemd tries), not open.
const DEVICES: [&str; 11] = [
    "b *:* m",
    "c *:* m",
    "c 1:3 rwm",
    "c 1:5 rwm",
    "c 1:7 rwm",
    "c 1:8 rwm",
    "c 1:9 rwm",
    "c 5:0 rwm",
    "c 5:1 rwm",
    "c 5:2 rwm",
    "c 136:* rwm",
];

/// Files of the kernel that tell of the host or of other containers.
const MASKED_FILES: [&str; 8] = [
    "proc/interrupts",
    "proc/kallsyms",
    "proc/kcore",
    "proc/keys",
    "proc/latency_stats",
    "proc/sched_debug",
    "proc/timer_list",
    "proc/timer_stats",
];

/// The same, folders.
const MASKED_FOLDERS: [&str; 10] = [
    "proc/acpi",
    "proc/asound",
    "proc/scsi",
    "sys/devices/virtual/powercap",
    "sys/firmware",
    "sys/fs/bpf",
    "sys/fs/btrfs",
    "sys/kernel/debug",
    "sys/kernel/slab",
    "sys/kernel/tracing",
];

/// How much of what the kernel counts for all containers together one may take, as the files of
/// `/proc/sys/user` name it. A desktop with a browser takes some dozens of each.
pub(super) const LIMITS: [(&str, u32); 11] = [
    ("max_cgroup_namespaces", 1024),
    ("max_fanotify_groups", 16),
    ("max_fanotify_marks", 16),
    ("max_inotify_instances", 1024),
    ("max_inotify_watches", 262_144),
    ("max_ipc_namespaces", 1024),
    ("max_mnt_namespaces", 1024),
    ("max_net_namespaces", 256),
    ("max_pid_namespaces", 1024),
    ("max_user_namespaces", 1024),
    ("max_uts_namespaces", 1024),
];

/// How much of the processors a container may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpu {
    /// Its share beside others, 1 to 10,000: all have 100 that were given no other.
    pub weight: u64,
    /// The most it gets, in hundredths of a processor; 0 for no limit.
    pub most: u64,
}

impl Cpu {
    /// In each period of so many microseconds it may use so many times its limit.
    const PERIOD: u64 = 100_000;

    /// The lines that limit it.
    pub(super) fn lines(self, unified: bool) -> String {
        let Self { weight, most } = self;
        let (period, quota) = (Self::PERIOD, most.saturating_mul(Self::PERIOD / 100));
        let mut text = if unified {
            format!("lxc.cgroup2.cpu.weight = {weight}\n")
        } else {
            // There 1024 is what others have.
            format!("lxc.cgroup.cpu.shares = {}\n", (weight * 1024 / 100).max(2))
        };
        match (most, unified) {
            (0, _) => {}
            (_, true) => {
                let _ = writeln!(text, "lxc.cgroup2.cpu.max = {quota} {period}");
            }
            (_, false) => {
                let _ = writeln!(text, "lxc.cgroup.cpu.cfs_period_us = {period}");
                let _ = writeln!(text, "lxc.cgroup.cpu.cfs_quota_us = {quota}");
            }
        }
        text
    }
}

/// How much a container may read from each disk, and write to it; 0 for no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Io {
    /// MiB a second.
    pub bandwidth: u64,
    /// Operations a second.
    pub operations: u64,
}

impl Io {
    pub(super) fn is_unlimited(self) -> bool {
        self.bandwidth == 0 && self.operations == 0
    }

    /// The lines that limit it on a disk, `MAJOR:MINOR`.
    pub(super) fn lines(self, unified: bool, disk: &str) -> String {
        let bytes = self.bandwidth.saturating_mul(1 << 20);
        let limits = [
            ("rbps", "read_bps", bytes),
            ("wbps", "write_bps", bytes),
            ("riops", "read_iops", self.operations),
            ("wiops", "write_iops", self.operations),
        ];
        let limits = limits.iter().filter(|(_, _, most)| *most > 0);
        if unified {
            let all: Vec<String> = limits.map(|(name, _, most)| format!("{name}={most}")).collect();
            return format!("lxc.cgroup2.io.max = {disk} {}\n", all.join(" "));
        }
        let line = |name: &str, most: &u64| {
            format!("lxc.cgroup.blkio.throttle.{name}_device = {disk} {most}\n")
        };
        limits.map(|(_, name, most)| line(name, most)).collect()
    }
}

/// The script that LXC runs on the host when a container has ended and its groups, found by `groups`
/// (each a pattern of the shell), are still there: it keeps what they counted in `kept`.
pub(super) fn at_end(groups: &[String], kept: &str) -> String {
    // One program at most for a hierarchy: who stops a desktop waits for it.
    format!(
        "PATH={PATH}\nfor group in {}; do\n\
         if [ -e $group/{KILLED} ]; then cat $group/{KILLED}; fi\n\
         if [ -e $group/{KILLED_HERE} ]; then grep -rhs '^oom_kill ' --include={KILLED_HERE} $group; fi\n\
         done >{kept} 2>/dev/null\nexit 0\n",
        groups.join(" ")
    )
}

/// The lines of LXC's configuration that confine a container. `unified` tells which hierarchy of
/// control groups the machine has; `piped_cores` that the machine hands dumps to a program of its own, `own_init`
/// that our own init runs; `nsenter` is where that program is, and `end` the script [`at_end`].
pub(super) fn config(
    unified: bool,
    piped_cores: bool,
    own_init: bool,
    nsenter: &str,
    end: &str,
) -> String {
    let mut text = if own_init {
        format!("lxc.cap.keep = {KEPT}\n")
    } else {
        format!("lxc.cap.drop = {DROPPED}\n")
    };
    let group = if unified { "lxc.cgroup2" } else { "lxc.cgroup" };
    let _ = writeln!(text, "{group}.devices.deny = a");
    for device in DEVICES {
        let _ = writeln!(text, "{group}.devices.allow = {device}");
    }
    for file in MASKED_FILES {
        let _ = writeln!(text, "lxc.mount.entry = /dev/null {file} none bind,optional 0 0");
    }
    for folder in MASKED_FOLDERS {
        let _ = writeln!(
            text,
            "lxc.mount.entry = tmpfs {folder} tmpfs ro,nosuid,nodev,noexec,size=4k,optional 0 0"
        );
    }
    if piped_cores {
        // The kernel starts no program, as root of the host, for a process with this limit.
        text.push_str("lxc.prlimit.core = 1\n");
    }
    let _ = writeln!(text, "lxc.hook.start-host = {}", limits(nsenter));
    let _ = writeln!(text, "lxc.hook.stop = /bin/sh {end}");
    text
}

/// What LXC has a shell run on the host before a container's init begins: it goes into the container's user
/// name space and sets [`LIMITS`] there. They count for that name space and all below it.
fn limits(nsenter: &str) -> String {
    let mut set = "cd /proc/sys/user".to_owned();
    for (name, most) in LIMITS {
        let _ = write!(set, "; if [ -e {name} ]; then echo {most} >{name} || exit 1; fi");
    }
    format!("{nsenter} --user=/proc/$LXC_PID/ns/user --setuid 0 --setgid 0 /bin/sh -c '{set}'")
}

/// Whether the machine hands dumps of crashed processes to a program, by its `core_pattern`.
pub(super) fn piped_cores(pattern: &str) -> bool {
    pattern.starts_with('|')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_name_spaces_are_refused_only_where_they_are_not_wanted() {
        let (with, without) = (seccomp(true), seccomp(false));
        assert!(without.starts_with(&with));
        let more: Vec<&str> = without.strip_prefix(&with).unwrap_or_default().lines().collect();
        assert_eq!(
            more,
            [
                "clone errno 1 [0,0x10000000,SCMP_CMP_MASKED_EQ,0x10000000]",
                "unshare errno 1 [0,0x10000000,SCMP_CMP_MASKED_EQ,0x10000000]",
                "clone3 errno 38",
            ]
        );
    }

    #[test]
    fn each_disk_is_limited_in_the_words_of_its_version() {
        let both = Io { bandwidth: 2, operations: 30 };
        assert_eq!(
            both.lines(true, "8:0"),
            "lxc.cgroup2.io.max = 8:0 rbps=2097152 wbps=2097152 riops=30 wiops=30\n"
        );
        let one = Io { bandwidth: 0, ..both };
        assert_eq!(
            one.lines(false, "8:0"),
            "lxc.cgroup.blkio.throttle.read_iops_device = 8:0 30\n\
             lxc.cgroup.blkio.throttle.write_iops_device = 8:0 30\n"
        );
        assert!(Io { operations: 0, ..one }.is_unlimited());
    }

    #[test]
    fn processors_are_shared_in_the_words_of_each_version() {
        let both = Cpu { weight: 200, most: 150 };
        assert_eq!(
            both.lines(true),
            "lxc.cgroup2.cpu.weight = 200\nlxc.cgroup2.cpu.max = 150000 100000\n"
        );
        assert_eq!(
            both.lines(false),
            "lxc.cgroup.cpu.shares = 2048\nlxc.cgroup.cpu.cfs_period_us = 100000\n\
             lxc.cgroup.cpu.cfs_quota_us = 150000\n"
        );
        let least = Cpu { weight: 1, most: 0 };
        assert_eq!(least.lines(true), "lxc.cgroup2.cpu.weight = 1\n");
        assert_eq!(least.lines(false), "lxc.cgroup.cpu.shares = 10\n");
    }

    #[test]
    fn dumps_go_to_no_program_of_the_host() {
        assert!(piped_cores("|/usr/lib/systemd/systemd-coredump %P") && !piped_cores("core"));
        assert!(config(true, true, false, "/x", "/y").contains("lxc.prlimit.core = 1\n"));
        assert!(!config(true, false, true, "/x", "/y").contains("prlimit"));
    }
}
