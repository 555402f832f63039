//! `qvd doctor`: says in plain words what this machine lacks, and how to mend it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Result, bail};
use hkd::{layout::Layout, linux};
use model::settings::Settings;
use store::Store;

use crate::{account::Account, config::Config, daemon};

/// One thing that was looked at.
struct Finding {
    what: &'static str,
    /// What is wrong and how to mend it, if anything is.
    wrong: Option<(String, String)>,
}

/// Looks at everything, says what was found, and fails when something is wrong.
#[expect(clippy::print_stdout, reason = "a command's answer")]
pub(crate) fn run(config: &Config) -> Result<()> {
    let findings = look(config)?;
    let mut wrong = 0;
    for finding in &findings {
        match &finding.wrong {
            None => println!("good   {}", finding.what),
            Some((why, remedy)) => {
                wrong += 1;
                println!("WRONG  {}: {why}\n       remedy: {remedy}", finding.what);
            }
        }
    }
    match wrong {
        0 => {
            println!("This machine can run desktops.");
            Ok(())
        }
        1 => bail!("one thing is wrong"),
        many => bail!("{many} things are wrong"),
    }
}

fn look(config: &Config) -> Result<Vec<Finding>> {
    let (settings, database) = daemon::runtime()?.block_on(in_force(config))?;
    let layout = Layout::from_settings(&settings)?;
    let btrfs_root = PathBuf::from(settings.get("path.storage.btrfs.root")?);
    let mut findings = vec![
        finding(
            "root's rights",
            (!rustix::process::geteuid().is_root()).then(|| {
                (
                    "this is not root: some things cannot be seen".to_owned(),
                    "run `sudo qvd doctor`".to_owned(),
                )
            }),
        ),
        finding(
            "the account of router and api",
            Account::of_this_machine()
                .err()
                .map(|error| (error.to_string(), "make the account".to_owned())),
        ),
        finding("the database", database),
        finding("ranges of ids for containers", ids()),
        finding("the agent", agent(config)?),
        finding("the volume for overlays", volume(&btrfs_root, &layout.basefs)),
        finding("free space", space(&layout.basefs)),
        finding("control groups", groups()),
        finding("user namespaces", namespaces()),
        finding("what the kernel counts for all desktops", limits()),
    ];
    for (what, program, package) in PROGRAMS {
        findings.push(finding(what, missing(program, package)));
    }
    Ok(findings)
}

/// The settings of this host's file with those of the installation over them, and what is wrong with
/// the database that these come from. One that is not made yet is as good as an empty one.
async fn in_force(config: &Config) -> Result<(Settings, Option<(String, String)>)> {
    let mut settings = config.settings.clone();
    let url = settings.get("database.url")?;
    let made = url.strip_prefix("sqlite:").is_none_or(|file| Path::new(file).exists());
    if !made {
        return Ok((settings, None));
    }
    let rows = async {
        let store = Store::open(&url).await?;
        let rows = store.configs().await;
        store.close().await;
        rows
    };
    let wrong = match rows.await {
        Ok(rows) => {
            settings.layer_rows(rows);
            None
        }
        Err(error) => Some((
            format!("{:#}", anyhow::Error::new(error)),
            format!("look at database.url in {}; `qvd check` says more", config.path.display()),
        )),
    };
    Ok((settings, wrong))
}

/// What each program is for, its name, and Debian's package.
const PROGRAMS: [(&str, &str, &str); 4] = [
    ("LXC, which runs the containers", "lxc-start", "lxc"),
    ("LXC's way into a container", "lxc-attach", "lxc"),
    ("nftables, the firewall", "nft", "nftables"),
    ("GNU tar, which unpacks images", "tar", "tar"),
];

fn finding(what: &'static str, wrong: Option<(String, String)>) -> Finding {
    Finding { what, wrong }
}

fn missing(program: &str, package: &str) -> Option<(String, String)> {
    let folders = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
    let there = folders.iter().any(|folder| Path::new(folder).join(program).exists());
    (!there).then(|| (format!("`{program}` is not installed"), format!("apt install {package}")))
}

/// LXC asks these files when `newuidmap` is installed.
fn ids() -> Option<(String, String)> {
    if missing("newuidmap", "").is_some() {
        return None;
    }
    let (first, count) = (1_000_000_u64, 15_000 * 65_536_u64);
    let lacks = |file: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        !text.lines().any(|line| {
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
        (
            format!("{files} do not give root the ids from 1000000 on"),
            format!("add the line `root:1000000:1000000000` to {files}"),
        )
    })
}

fn agent(config: &Config) -> Result<Option<(String, String)>> {
    let path = config.vma()?;
    Ok((!path.exists()).then(|| {
        (format!("{} is not there", path.display()), "install qvd-vma, or set path.vma".to_owned())
    }))
}

/// The nearest folder of a path that is there.
fn standing(path: &Path) -> &Path {
    path.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(Path::new("/"))
}

/// `root` is what the setting says, `basefs` where images are unpacked below it.
fn volume(root: &Path, basefs: &Path) -> Option<(String, String)> {
    let place = standing(basefs);
    let root = root.display();
    match linux::btrfs::is_btrfs(place) {
        Ok(true) => None,
        Ok(false) => Some((
            format!("{} is not on btrfs, and path.storage.btrfs.root is {root}", place.display()),
            format!("mount a btrfs volume at {root}, or point path.storage.btrfs.root at one"),
        )),
        Err(error) => Some((error.to_string(), format!("look at the volume of {root}"))),
    }
}

fn space(basefs: &Path) -> Option<(String, String)> {
    let place = standing(basefs);
    let stat = rustix::fs::statvfs(place).ok()?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize) / (1 << 20);
    (free < 2048).then(|| {
        (
            format!("{free} MiB are left at {}", place.display()),
            "delete unused images, or make the volume larger".to_owned(),
        )
    })
}

fn groups() -> Option<(String, String)> {
    let root = Path::new("/sys/fs/cgroup");
    let unified = root.join("cgroup.controllers").exists();
    let legacy = root.join("memory").exists() && root.join("pids").exists();
    (!unified && !legacy).then(|| {
        (
            "no controllers for memory and processes are mounted below /sys/fs/cgroup".to_owned(),
            "mount cgroup2 on /sys/fs/cgroup".to_owned(),
        )
    })
}

fn namespaces() -> Option<(String, String)> {
    let count = fs::read_to_string("/proc/sys/user/max_user_namespaces").unwrap_or_default();
    (count.trim() == "0").then(|| {
        ("the kernel allows none".to_owned(), "sysctl -w user.max_user_namespaces=65536".to_owned())
    })
}

/// hkd raises them at its start, if it can.
fn limits() -> Option<(String, String)> {
    let low = linux::shared::stuck();
    let say = |sentence: &dyn Fn(&linux::shared::TooLow) -> String| {
        low.iter().map(sentence).collect::<Vec<_>>()
    };
    (!low.is_empty()).then(|| {
        (
            say(&|low| format!("{} is {}, and root cannot raise it here", low.name, low.found))
                .join(", "),
            format!("sysctl -w {}", say(&|low| format!("{}={}", low.name, low.least)).join(" ")),
        )
    })
}
