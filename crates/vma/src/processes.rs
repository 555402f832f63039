//! The guest's processes, as `/proc` shows them.

use std::fs;

/// One process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    /// Its number.
    pub(crate) number: u32,
    /// Its short name (at most 15 bytes).
    pub(crate) name: String,
    /// Its parent's number.
    pub(crate) parent: u32,
    /// Whether it has ended and waits to be noticed.
    pub(crate) ended: bool,
    /// When it started, in clock ticks since boot: with the number, a name that is never used twice.
    pub(crate) started: u64,
}

impl Process {
    /// The process `number`, if there is one.
    pub(crate) fn of(number: u32) -> Option<Self> {
        parse(&fs::read_to_string(format!("/proc/{number}/stat")).ok()?)
    }

    /// The owner's user number.
    pub(crate) fn owner(&self) -> Option<u32> {
        use std::os::unix::fs::MetadataExt;
        Some(fs::metadata(format!("/proc/{}", self.number)).ok()?.uid())
    }
}

/// Every process that can be seen.
pub(crate) fn all() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(Process::of)
        .collect()
}

/// The children of process `parent`.
pub(crate) fn children(parent: u32) -> Vec<Process> {
    all().into_iter().filter(|process| process.parent == parent).collect()
}

/// `number (name) state parent …`; the name may hold anything, so it ends at the last parenthesis.
fn parse(stat: &str) -> Option<Process> {
    let (number, rest) = stat.split_once(" (")?;
    let (name, rest) = rest.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    Some(Process {
        number: number.parse().ok()?,
        name: name.to_owned(),
        parent: fields.get(1)?.parse().ok()?,
        ended: *fields.first()? == "Z",
        started: fields.get(19)?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_name_with_parentheses_is_no_obstacle() {
        let stat = "7 (a) S 1 (b) Z 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 99 1";
        let process = parse(stat).unwrap();
        assert_eq!((process.number, process.parent, process.ended), (7, 3, true));
        assert_eq!((process.name.as_str(), process.started), ("a) S 1 (b", 99));
    }

    #[test]
    fn this_process_is_seen() {
        let own = Process::of(std::process::id()).unwrap();
        assert!(all().contains(&own));
        assert!(own.started > 0 && !own.ended);
        assert_eq!(own.owner(), Some(rustix::process::getuid().as_raw()));
    }

    proptest! {
        #[test]
        fn foreign_text_never_panics(stat in ".*") {
            let _ = parse(&stat);
        }
    }
}
