//! What a machine lacks for desktops, and how to mend it.
//!
//! `qvd doctor` prints all of it; hkd looks at its start and from time to time, and what is wrong then
//! stands in `qa host list`.

use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use ipnet::Ipv4Net;
use rustix::{
    fs::{CWD, Mode, OFlags, fsync, openat, statvfs},
    io::write,
    process::{Resource, getrlimit},
};
use serde_json::Value;

use super::{
    apparmor, btrfs, cgroup,
    command::{Command, find},
    shared,
};

/// The oldest kernel on which a btrfs volume can be id-mapped.
const KERNEL_MIN: (u32, u32) = (5, 15);
/// The oldest LXC that has been tried.
const LXC_MIN: u32 = 4;
/// What each program is for, its name, and Debian's package.
const PROGRAMS: [(&str, &str, &str); 6] = [
    ("LXC, which runs the containers", "lxc-start", "lxc"),
    ("LXC's way into a container", "lxc-attach", "lxc"),
    ("LXC's way to end a container", "lxc-stop", "lxc"),
    ("util-linux, for each start", "nsenter", "util-linux"),
    ("nftables, the firewall", "nft", "nftables"),
    ("GNU tar, which unpacks images", "tar", "tar"),
];
/// Open files of this process: some for each desktop.
const FILES_MIN: u64 = 16_384;
/// Below this, in MiB, the next image may not fit.
const FREE_MIN: u64 = 2048;
/// How much is written to see how quick storage is.
const SAMPLE_SIZE: usize = 8 << 20;
/// Slower than this (16 MiB/s), it is felt by everybody.
const SAMPLE_WITHIN: Duration = Duration::from_millis(500);
/// Storage that has not answered after this long hangs.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// One that takes this long is slow.
const SLOW: Duration = Duration::from_secs(1);

/// Where to look.
#[derive(Clone, Debug)]
pub struct Asked {
    /// What the setting `path.storage.btrfs.root` says.
    pub btrfs_root: PathBuf,
    /// Where images are unpacked.
    pub basefs: PathBuf,
    /// Folders of the shared storage, with what is in them.
    pub shared: Vec<(&'static str, PathBuf)>,
    /// The agent's program.
    pub vma: PathBuf,
    /// The bridge's name.
    pub bridge: String,
    /// The VMs' network.
    pub network: Ipv4Net,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What.
    pub what: &'static str,
    /// What is wrong with it, if anything is.
    pub wrong: Option<Wrong>,
}

/// What is wrong with a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// In a sentence.
    pub why: String,
    /// What helps.
    pub remedy: String,
}

impl Wrong {
    /// From a sentence and what helps.
    pub fn new(why: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { why: why.into(), remedy: remedy.into() }
    }
}

/// Looks at everything. Takes as long as the slowest storage, and no longer than some seconds.
pub fn look(asked: &Asked) -> Vec<Finding> {
    let finding = |what, wrong| Finding { what, wrong };
    let mut findings = vec![
        finding("the kernel", kernel()),
        finding("ranges of ids for containers", ids()),
        finding("the agent", agent(&asked.vma)),
        finding("the volume for overlays", volume(&asked.btrfs_root, &asked.basefs)),
        finding("free space", space(&asked.basefs)),
        finding("the volume's speed", speed(&asked.basefs)),
        finding("control groups", groups()),
        finding("user namespaces", namespaces()),
        finding("AppArmor", confinement()),
        finding("what the kernel counts for all desktops", limits()),
        finding("open files", files()),
        finding("the bridge", bridge(&asked.bridge)),
        finding("the VMs' addresses", addresses(&asked.bridge, asked.network)),
        finding("the way out of VMs", forwarding(&asked.bridge)),
    ];
    for (what, folder) in &asked.shared {
        findings.push(finding(what, answers(folder)));
    }
    for (what, program, package) in PROGRAMS {
        findings.push(finding(what, missing(program, package)));
    }
    findings.push(finding("LXC's version", lxc()));
    findings
}

fn confinement() -> Option<Wrong> {
    (apparmor::is_on() && !apparmor::is_loaded()).then(|| {
        Wrong::new(
            "the profile of desktops is not loaded: they have LXC's, under which services of many \
             images fail",
            "apt install apparmor, then `qvd migrate`",
        )
    })
}

fn text(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn kernel() -> Option<Wrong> {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let old = version(&release).is_none_or(|found| found < KERNEL_MIN);
    if old {
        let (major, minor) = KERNEL_MIN;
        return Some(Wrong::new(
            format!("Linux {release} cannot map the ids of a btrfs volume"),
            format!("install Linux {major}.{minor} or newer"),
        ));
    }
    let known = text("/proc/filesystems").lines().any(|line| line.trim() == "btrfs");
    let module = PathBuf::from(format!("/lib/modules/{release}/modules.dep"));
    let loadable = fs::read_to_string(module).is_ok_and(|list| list.contains("/btrfs.ko"));
    (!known && !loadable).then(|| {
        Wrong::new("it has no btrfs", "install a kernel with btrfs, such as your distribution's")
    })
}

/// The first two numbers of a version.
fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn missing(program: &str, package: &str) -> Option<Wrong> {
    find(program).is_none().then(|| {
        Wrong::new(format!("`{program}` is not installed"), format!("apt install {package}"))
    })
}

fn lxc() -> Option<Wrong> {
    // One that is not there is told of already.
    let said = Command::new("lxc-start").arg("--version").run(ANSWER_WITHIN).ok()?;
    let old = version(said.trim()).is_none_or(|(major, _)| major < LXC_MIN);
    old.then(|| {
        let said = said.trim();
        Wrong::new(format!("this is LXC {said}"), format!("install LXC {LXC_MIN}.0 or newer"))
    })
}

/// Who adds users gives them, for containers of their own, ids that these files leave free: ours must not be.
fn ids() -> Option<Wrong> {
    let (first, count) = (1_000_000_u64, 15_000 * 65_536_u64);
    let lacks = |file: &str| {
        !text(file).lines().any(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let number = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok());
            let from = number(1).unwrap_or(u64::MAX);
            fields.first() == Some(&"root")
                && from <= first
                && from.saturating_add(number(2).unwrap_or(0)) >= first + count
        })
    };
    let lacking: Vec<&str> =
        ["/etc/subuid", "/etc/subgid"].into_iter().filter(|file| lacks(file)).collect();
    (!lacking.is_empty()).then(|| {
        let files = lacking.join(" and ");
        Wrong::new(
            format!("{files} do not give root the ids from 1000000 on"),
            format!("add the line `root:1000000:1000000000` to {files}"),
        )
    })
}

fn agent(path: &Path) -> Option<Wrong> {
    let path = (!path.exists()).then(|| path.display())?;
    Some(Wrong::new(format!("{path} is not there"), "install qvd-vma, or set path.vma"))
}

/// The nearest folder of a path that is there.
fn standing(path: &Path) -> &Path {
    // What cannot be looked at is there.
    let missing = |path: &Path| matches!(path.try_exists(), Ok(false));
    path.ancestors().find(|ancestor| !missing(ancestor)).unwrap_or(Path::new("/"))
}

/// `root` is what the setting says, `basefs` where images are unpacked below it.
fn volume(root: &Path, basefs: &Path) -> Option<Wrong> {
    let place = standing(basefs);
    let root = root.display();
    match btrfs::is_btrfs(place) {
        Ok(true) => None,
        Ok(false) => Some(Wrong::new(
            format!("{} is not on btrfs, and path.storage.btrfs.root is {root}", place.display()),
            format!("mount a btrfs volume at {root}, or point path.storage.btrfs.root at one"),
        )),
        Err(error) => Some(Wrong::new(error.to_string(), format!("look at the volume of {root}"))),
    }
}

fn space(basefs: &Path) -> Option<Wrong> {
    let place = standing(basefs);
    let stat = statvfs(place).ok()?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize) / (1 << 20);
    (free < FREE_MIN).then(|| {
        Wrong::new(
            format!("{free} MiB are left at {}", place.display()),
            "delete unused images, or make the volume larger",
        )
    })
}

/// The best of three: others may be busy with it.
fn speed(basefs: &Path) -> Option<Wrong> {
    let place = standing(basefs);
    // What cannot be written at all is told of elsewhere.
    let mut taken = sample(place).ok()?;
    for _ in 0..2 {
        if taken > SAMPLE_WITHIN {
            taken = taken.min(sample(place).ok()?);
        }
    }
    (taken > SAMPLE_WITHIN).then(|| {
        let (place, size, taken) = (place.display(), SAMPLE_SIZE >> 20, taken.as_millis());
        Wrong::new(
            format!("{place} takes {taken} ms for {size} MiB"),
            "put what VMs write on a quicker disk: every desktop of this host waits for it",
        )
    })
}

/// How long it takes to have a sample on the disk, in a file without a name: nothing can be left of it.
fn sample(place: &Path) -> rustix::io::Result<Duration> {
    // Compression must not make it look quicker than it is; any numbers that do not repeat will do.
    let mut number = 1_u64;
    let bytes: Vec<u8> = std::iter::repeat_with(|| {
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        number.to_be_bytes()
    })
    .take(SAMPLE_SIZE / 8)
    .flatten()
    .collect();
    let file = openat(CWD, place, OFlags::TMPFILE | OFlags::WRONLY, Mode::RUSR)?;
    let began = Instant::now();
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        let written = write(&file, rest)?;
        rest = rest.get(written..).unwrap_or_default();
    }
    fsync(&file)?;
    Ok(began.elapsed())
}

/// Whether a folder of the shared storage answers, and how quickly.
fn answers(folder: &Path) -> Option<Wrong> {
    let place = folder.display().to_string();
    let began = Instant::now();
    let (done, looked) = mpsc::channel();
    let folder = folder.to_owned();
    // It may never come back: then this thread is left behind.
    thread::spawn(move || {
        let _ = done.send(fs::read_dir(standing(&folder)).map(|mut entries| entries.next()));
    });
    let remedy = "look at the server of the shared storage and the network to it";
    match looked.recv_timeout(ANSWER_WITHIN) {
        Err(_) => {
            let within = ANSWER_WITHIN.as_secs();
            Some(Wrong::new(format!("{place} does not answer within {within} s"), remedy))
        }
        Ok(Err(error)) => Some(Wrong::new(format!("{place} cannot be read: {error}"), remedy)),
        Ok(Ok(_)) if began.elapsed() > SLOW => {
            let taken = began.elapsed().as_millis();
            Some(Wrong::new(format!("{place} takes {taken} ms to answer"), remedy))
        }
        Ok(Ok(_)) => None,
    }
}

fn groups() -> Option<Wrong> {
    let root = Path::new("/sys/fs/cgroup");
    let unified = root.join("cgroup.controllers").exists();
    let legacy = root.join("memory").exists() && root.join("pids").exists();
    let missing = if !unified && !legacy {
        "memory and processes"
    } else if !cgroup::limits_io() {
        "reading and writing disks"
    } else {
        return None;
    };
    Some(Wrong::new(
        format!("no controllers for {missing} are below /sys/fs/cgroup"),
        "mount cgroup2 on /sys/fs/cgroup, and boot without cgroup_disable=",
    ))
}

fn namespaces() -> Option<Wrong> {
    (text("/proc/sys/user/max_user_namespaces").trim() == "0")
        .then(|| Wrong::new("the kernel allows none", "sysctl -w user.max_user_namespaces=65536"))
}

/// hkd raises them at its start, if it can.
fn limits() -> Option<Wrong> {
    let low = shared::stuck();
    let say =
        |sentence: &dyn Fn(&shared::TooLow) -> String| low.iter().map(sentence).collect::<Vec<_>>();
    (!low.is_empty()).then(|| {
        Wrong::new(
            say(&|low| format!("{} is {}, and root cannot raise it here", low.name, low.found))
                .join(", "),
            format!("sysctl -w {}", say(&|low| format!("{}={}", low.name, low.least)).join(" ")),
        )
    })
}

fn files() -> Option<Wrong> {
    let most = getrlimit(Resource::Nofile).maximum?;
    (most < FILES_MIN).then(|| {
        Wrong::new(
            format!("a process may have {most} at most"),
            format!("set LimitNOFILE= of the unit, or `ulimit -Hn`, to {FILES_MIN} or more"),
        )
    })
}

/// The name may be a card's, or something else's.
fn bridge(name: &str) -> Option<Wrong> {
    let link = Path::new("/sys/class/net").join(name);
    (link.exists() && !link.join("bridge").exists()).then(|| {
        Wrong::new(
            format!("{name} is there, and is no bridge"),
            "set vm.network.bridge to a name that is free",
        )
    })
}

/// Whether this machine reaches the VMs' network, or a part of it, elsewhere.
fn addresses(bridge: &str, network: Ipv4Net) -> Option<Wrong> {
    let routes = text("/proc/net/route");
    let (link, found) = clash(&routes, bridge, network)?;
    Some(Wrong::new(
        format!("the VMs' network {network} overlaps {found}, which is behind {link}"),
        "set vm.network.ip.start and vm.network.netmask to a range that is free here",
    ))
}

/// The first route of the kernel's table that overlaps a network and is not the bridge's own.
fn clash(routes: &str, bridge: &str, network: Ipv4Net) -> Option<(String, Ipv4Net)> {
    routes.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        // In the machine's own order of bytes.
        let word = |at: usize| u32::from_str_radix(fields.get(at)?, 16).ok();
        let (link, to, mask) = (fields.first()?, word(1)?, word(7)?);
        let to = Ipv4Addr::from(to.to_ne_bytes());
        let mask = Ipv4Addr::from(mask.to_ne_bytes());
        let route = Ipv4Net::with_netmask(to, mask).ok()?;
        let overlaps = route.contains(&network.network()) || network.contains(&route.network());
        (*link != bridge && route.prefix_len() > 0 && overlaps).then(|| ((*link).to_owned(), route))
    })
}

/// hkd switches forwarding on with the bridge; somebody may have switched it off since, or drop what is
/// forwarded. A chain of ours cannot let through what another's drops.
fn forwarding(bridge: &str) -> Option<Wrong> {
    let made = Path::new("/sys/class/net").join(bridge).exists();
    if made && text("/proc/sys/net/ipv4/ip_forward").trim() == "0" {
        return Some(Wrong::new(
            "this machine forwards nothing: net.ipv4.ip_forward is 0",
            "sysctl -w net.ipv4.ip_forward=1",
        ));
    }
    // Without `nft` there is nothing to look at, which is told of already.
    let said = Command::new("nft").args(["-j", "list", "chains"]).run(ANSWER_WITHIN).ok()?;
    droppers(&said).into_iter().find_map(|[family, table, chain]| {
        let listed = Command::new("nft")
            .args(["list", "chain", &family, &table, &chain])
            .run(ANSWER_WITHIN)
            .ok()?;
        (!listed.contains(&format!("\"{bridge}\""))).then(|| {
            Wrong::new(
                format!("the chain {family} {table} {chain} drops what VMs send and get"),
                format!(
                    "nft insert rule {family} {table} {chain} iifname {bridge} accept; nft insert \
                     rule {family} {table} {chain} oifname {bridge} ct state related,established \
                     accept"
                ),
            )
        })
    })
}

/// The chains, of those that `nft` lists, that drop what is forwarded unless a rule of theirs lets it.
fn droppers(listed: &str) -> Vec<[String; 3]> {
    let json: Value = serde_json::from_str(listed).unwrap_or_default();
    let objects = json.get("nftables").and_then(Value::as_array);
    let chains = objects.into_iter().flatten().filter_map(|object| object.get("chain"));
    chains
        .filter_map(|chain| {
            let field = |key: &str| chain.get(key)?.as_str();
            let forwards = field("hook")? == "forward" && field("policy")? == "drop";
            let ip = matches!(field("family")?, "ip" | "inet");
            (forwards && ip).then_some(())?;
            let own = |key| field(key).map(str::to_owned);
            Some([own("family")?, own("table")?, own("name")?])
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        assert_eq!(version("6.1.0-13-amd64"), Some((6, 1)));
        assert_eq!(version("5.0.2"), Some((5, 0)));
        assert_eq!(version("5"), None);
        assert_eq!(version("unknown"), None);
    }

    #[test]
    fn a_network_of_others_is_found_and_ones_own_is_not() {
        let routes = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
            eth0\t00000000\t0102A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
            eth0\t0002A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n\
            qvdnet\t0000630A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
        let net = |text: &str| text.parse::<Ipv4Net>().unwrap();
        assert_eq!(clash(routes, "qvdnet", net("10.99.0.0/24")), None);
        let lan = Some(("eth0".to_owned(), net("192.168.2.0/24")));
        assert_eq!(clash(routes, "qvdnet", net("192.168.2.128/25")), lan);
        assert_eq!(clash(routes, "qvdnet", net("192.168.0.0/16")), lan);
        let own = Some(("qvdnet".to_owned(), net("10.99.0.0/24")));
        assert_eq!(clash(routes, "another", net("10.99.0.0/24")), own);
    }

    #[test]
    fn chains_that_drop_are_found() {
        let chain = |family: &str, hook: &str, policy: &str| {
            format!(
                r#"{{"chain": {{"family": "{family}", "table": "filter", "name": "FORWARD", "hook": "{hook}", "prio": 0, "policy": "{policy}"}}}}"#
            )
        };
        let listed = format!(
            r#"{{"nftables": [{{"metainfo": {{}}}}, {}, {}, {}, {}, {{"chain": {{"name": "DOCKER"}}}}]}}"#,
            chain("ip", "forward", "drop"),
            chain("ip", "input", "drop"),
            chain("inet", "forward", "accept"),
            chain("ip6", "forward", "drop"),
        );
        assert_eq!(droppers(&listed), [["ip", "filter", "FORWARD"].map(str::to_owned)]);
        assert!(droppers("nonsense").is_empty());
    }
}
