//! A disk image: one immutable version of an OSF, and the tags that point at it.

use std::{fmt, str::FromStr};

use crate::id::{DiId, OsfId, Timestamp};

/// The tag that always names the newest image of an OSF.
pub const HEAD: &str = "head";
/// The tag that new VMs follow.
pub const DEFAULT: &str = "default";
/// The most entries that an image may have, counting records that describe one. Each takes room that its
/// size does not show. Whoever looks through an image and whoever unpacks it go by this one number, so
/// that none is registered that no host takes.
pub const ENTRIES_MAX: u64 = 4_000_000;

/// A disk image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Di {
    /// Never given twice.
    pub id: DiId,
    /// The line it is a version of.
    pub osf: OsfId,
    /// Its version, which is also its fixed tag.
    pub version: String,
    /// Its file below `images/`, and the name of its base: `<di_id>-<file>`.
    pub path: String,
    /// sha-256 of the file, in lower-case hexadecimal.
    pub sha256: String,
    /// Size of the file in bytes.
    pub bytes: i64,
    /// What the archive holds, as found when it was registered.
    pub kind: String,
    /// When it was registered.
    pub added_at: Timestamp,
}

/// The base name of an image: its id, a dash and the name of the file it came from.
pub fn path_of(id: DiId, file: &str) -> String {
    format!("{id}-{file}")
}

/// A tag of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    /// The image it points at.
    pub di: DiId,
    /// Its OSF, within which the name is unique.
    pub osf: OsfId,
    /// `head`, `default`, a version, or a free word.
    pub name: String,
    /// A fixed tag can be neither moved nor removed: it is the version.
    pub fixed: bool,
}

/// A version in the form `YYYY-MM-DD-NNN`: the day it was registered and a number within the day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// Year, four digits.
    pub year: i16,
    /// Month, 1 to 12.
    pub month: i8,
    /// Day of the month.
    pub day: i8,
    /// 0 to 999.
    pub number: u16,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}-{:03}", self.year, self.month, self.day, self.number)
    }
}

/// The first free version of a day among the tags an OSF has, if one of its 1000 is free.
pub fn next_version<'a>(
    (year, month, day): (i16, i8, i8),
    taken: impl IntoIterator<Item = &'a str>,
) -> Option<Version> {
    let taken: std::collections::HashSet<&str> = taken.into_iter().collect();
    (0..1000)
        .map(|number| Version { year, month, day, number })
        .find(|version| !taken.contains(version.to_string().as_str()))
}

/// A name that is not fit to be a tag, a version or a file name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a usable name: use 1 to 64 letters, digits, `.`, `_`, `+` or `-`, not starting with `.` or `-`"
)]
pub struct BadName(pub String);

/// A name that is safe as a tag, in a path and on a command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(String);

impl Name {
    /// The name itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let good = |c: char| c.is_ascii_alphanumeric() || "._+-".contains(c);
        let fits = (1..=64).contains(&text.len())
            && text.chars().all(good)
            && !text.starts_with(['.', '-']);
        if fits { Ok(Self(text.to_owned())) } else { Err(BadName(text.to_owned())) }
    }
}

/// The ends of file names that an image may have.
pub const ARCHIVES: &[&str] =
    &[".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tzst"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_count_up_within_a_day() {
        let day = (2026, 3, 9);
        assert_eq!(next_version(day, []).map(|v| v.to_string()).as_deref(), Some("2026-03-09-000"));
        let next = next_version(day, ["2026-03-09-000", "head", "2026-03-09-002"]);
        assert_eq!(next.map(|v| v.to_string()).as_deref(), Some("2026-03-09-001"));
        let all: Vec<String> = (0..1000).map(|n| format!("2026-03-09-{n:03}")).collect();
        assert_eq!(next_version(day, all.iter().map(String::as_str)), None);
    }

    #[test]
    fn names_that_could_leave_a_folder_are_refused() {
        for bad in ["", ".", "..", "../x", "a/b", "-rf", "a b", "é", &"x".repeat(65)] {
            assert!(bad.parse::<Name>().is_err(), "{bad}");
        }
        for good in ["head", "2026-03-09-000", "debian_12+xfce.tar.zst"] {
            assert!(good.parse::<Name>().is_ok(), "{good}");
        }
    }
}
