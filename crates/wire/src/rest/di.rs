//! `/dis`.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A disk image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Di {
    /// Never given twice.
    pub id: i64,
    /// Its OSF's id.
    pub osf_id: i64,
    /// Its OSF's name.
    pub osf: String,
    /// Its version.
    pub version: String,
    /// Its file below `images/`.
    pub path: String,
    /// Its tags: the version first, then the others sorted.
    pub tags: Vec<String>,
    /// sha-256 of the file in lower-case hexadecimal.
    pub sha256: String,
    /// Size of the file in bytes.
    pub bytes: i64,
    /// When it was registered.
    pub added_at: i64,
    /// What it holds; null for one registered by a version that looked at other things.
    pub kind: Option<ImageKind>,
}

/// An image just registered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewDi {
    /// The image.
    #[serde(flatten)]
    pub di: Di,
    /// What is missing in it and for what, one sentence each.
    pub warnings: Vec<String>,
}

/// What an archive holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageKind {
    /// `systemd`, `sysvinit`, `openrc`, `other`, or [`ImageKind::NO_INIT`].
    pub init: String,
    /// The file that `/sbin/init` leads to; empty where there is none.
    pub init_path: String,
    /// `x86_64` or `i386`.
    pub architecture: String,
    /// What the image calls itself.
    pub distribution: Option<String>,
    /// Files, folders and links in it.
    pub entries: u64,
    /// Bytes of its files when unpacked.
    pub unpacked_bytes: u64,
    /// How people can come in.
    pub ways: WaysIn,
}

impl ImageKind {
    /// The word for an image that has no init.
    pub const NO_INIT: &'static str = "none";
}

/// What an image has for people to come in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "four independent findings")]
pub struct WaysIn {
    /// `nxagent`, for the client.
    pub nx: bool,
    /// `Xvnc`, for a browser.
    pub browser: bool,
    /// Something to show: an X session or a desktop environment.
    pub session: bool,
    /// PAM and logind, for the user's D-Bus and `XDG_RUNTIME_DIR`.
    pub logind: bool,
}

impl fmt::Display for ImageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.distribution.as_deref().unwrap_or("unnamed system");
        write!(f, "{name}, {}, ", self.architecture)?;
        if self.init == Self::NO_INIT {
            write!(f, "no init of its own")?;
        } else {
            write!(f, "init {}", self.init)?;
        }
        if self.init == "other" {
            write!(f, " ({})", self.init_path)?;
        }
        let ways = [
            (self.ways.nx, "NX"),
            (self.ways.browser, "browser"),
            (self.ways.session, "X session"),
            (self.ways.logind, "logind"),
        ];
        let has: Vec<&str> = ways.iter().filter(|(has, _)| *has).map(|(_, way)| *way).collect();
        if !has.is_empty() {
            write!(f, "; has {}", has.join(", "))?;
        }
        Ok(())
    }
}
