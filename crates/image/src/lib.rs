//! Says what kind of image an archive holds, and refuses what cannot start.
//!
//! The archive is read once from its beginning to its end and never unpacked. What it says is not
//! believed: every name, size and count has a bound ([`Limits`]).
//!
//! ```text
//! compression: bytes of the file -> bytes of the tar
//! archive:     bytes of the tar  -> members (name, kind, first bytes)
//! tree:        members           -> what is at a path, links followed as inside the image
//! here:        tree              -> ImageKind, or why not
//! ```

mod archive;
mod compression;
mod elf;
mod refusal;
mod tree;

use std::io::Read;

use wire::rest::{ImageKind, WaysIn};

pub use refusal::Refusal;

use archive::Archive;
use elf::Machine;
use tree::{Node, Tree};

/// How much an archive may hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Members, and records that describe one.
    pub entries: u64,
    /// Bytes of the names and link targets that are kept while looking.
    pub names: usize,
    /// Bytes when unpacked.
    pub unpacked: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { entries: model::di::ENTRIES_MAX, names: 256 << 20, unpacked: 256 << 30 }
    }
}

/// Looks through the archive `file`, named `name`, for a host of this architecture (as in
/// [`std::env::consts::ARCH`]).
pub fn inspect(
    file: impl Read,
    name: &str,
    limits: Limits,
    host: &str,
) -> Result<ImageKind, Refusal> {
    let mut archive = Archive::new(compression::open(file, name)?, limits);
    let mut tree = Tree::new(limits);
    while let Some(member) = archive.next()? {
        tree.add(member)?;
    }
    archive.finish()?;
    judge(&tree, archive.entries(), archive.unpacked(), host)
}

/// Whether the name of a file says how it is packed.
pub fn check_name(name: &str) -> Result<(), Refusal> {
    compression::suffix(name).map(drop)
}

/// What an image lacks, and for what: one sentence each.
pub fn warnings(kind: &ImageKind) -> Vec<String> {
    let ways = kind.ways;
    [
        (
            kind.init != ImageKind::NO_INIT,
            "it has no init: a tiny one of QVD runs in its VMs, and no services (install \
             systemd-sysv in the image if it needs some)",
        ),
        (
            ways.nx,
            "it has no nxagent: nobody can connect with a client (install nxagent in the image)",
        ),
        (
            ways.browser,
            "it has no Xvnc: nobody can connect with a browser (install \
             tigervnc-standalone-server in the image)",
        ),
        (
            ways.session,
            "it has no X session: the desktop would be empty (install a desktop environment, such \
             as xfce4, in the image)",
        ),
        (
            ways.logind,
            "it has no logind with PAM: sessions get no XDG_RUNTIME_DIR and no D-Bus of the user \
             (install libpam-systemd and dbus-user-session in the image)",
        ),
    ]
    .into_iter()
    .filter(|(has, _)| !has)
    .map(|(_, lacks)| lacks.to_owned())
    .collect()
}

fn judge(tree: &Tree, entries: u64, unpacked: u64, host: &str) -> Result<ImageKind, Refusal> {
    if tree.has("rootfs/sbin") && !tree.has("sbin") {
        return Err(Refusal::Extended);
    }
    let at = |path: &str| tree.resolve(path);
    let shell = || match at("bin/sh") {
        Ok((_, Node::Program(machine))) => *machine,
        Ok(_) | Err(_) => None,
    };
    let (init, machine) = match at("sbin/init") {
        Ok((path, Node::Program(Some(machine)))) => (Some(path), *machine),
        // An init that is a script is as good as the shell that runs it.
        Ok((path, Node::Program(None))) => (Some(path), shell().unwrap_or(Machine::NONE)),
        Ok((path, Node::Link(_) | Node::Text(_) | Node::File)) => {
            return Err(Refusal::NoInit { missing: format!("/{path} is no program") });
        }
        // Ours does, for whoever can log in at all.
        Err(missing) => (None, shell().ok_or(Refusal::NoInit { missing })?),
    };
    let architecture = machine.runs_on(host).ok_or_else(|| Refusal::Architecture {
        found: machine.to_string(),
        host: host.to_owned(),
    })?;
    let distribution =
        ["etc/os-release", "usr/lib/os-release"].into_iter().find_map(|path| match at(path) {
            Ok((_, Node::Text(text))) => pretty_name(text),
            Ok(_) | Err(_) => None,
        });
    Ok(ImageKind {
        init: match &init {
            Some(path) => init_word(path, |path| matches!(at(path), Ok((_, Node::Program(_))))),
            None => ImageKind::NO_INIT,
        }
        .to_owned(),
        init_path: init.map_or_else(String::new, |path| format!("/{path}")),
        architecture: architecture.to_owned(),
        distribution,
        entries,
        unpacked_bytes: unpacked,
        ways: ways(|path| at(path).ok().map(|(_, node)| node)),
    })
}

fn init_word(init: &str, has_program: impl Fn(&str) -> bool) -> &'static str {
    let name = init.rsplit('/').next().unwrap_or_default();
    if name == "systemd" {
        "systemd"
    } else if name == "openrc-init" || has_program("sbin/openrc") {
        "openrc"
    } else if name == "init" && has_program("sbin/telinit") {
        "sysvinit"
    } else {
        "other"
    }
}

fn ways<'a>(at: impl Fn(&str) -> Option<&'a Node>) -> WaysIn {
    const SESSIONS: &[&str] = &[
        "startxfce4",
        "startlxde",
        "startlxqt",
        "startplasma-x11",
        "gnome-session",
        "mate-session",
        "cinnamon-session",
        "icewm-session",
        "openbox-session",
        "x-session-manager",
    ];
    let program = |name: &str| {
        ["usr/bin", "usr/local/bin", "bin"]
            .iter()
            .any(|folder| matches!(at(&format!("{folder}/{name}")), Some(Node::Program(_))))
    };
    let logind = ["lib/systemd/systemd-logind", "usr/lib/systemd/systemd-logind"];
    WaysIn {
        nx: program("nxagent"),
        browser: program("Xvnc") || program("Xtigervnc"),
        session: at("etc/X11/Xsession").is_some() || SESSIONS.iter().any(|name| program(name)),
        logind: logind.iter().any(|path| matches!(at(path), Some(Node::Program(_))))
            && at("etc/pam.d/login").is_some(),
    }
}

/// `PRETTY_NAME` of an os-release file, at most 100 characters of it, none of which moves a cursor.
fn pretty_name(text: &str) -> Option<String> {
    let value = text.lines().find_map(|line| line.trim().strip_prefix("PRETTY_NAME="))?;
    let name: String =
        value.trim_matches(['"', '\'']).chars().filter(|c| !c.is_control()).take(100).collect();
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests;
