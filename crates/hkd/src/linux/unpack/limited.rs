//! What an image may take: room that the running desktops can spare, and a bounded number of entries.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use model::di::ENTRIES_MAX;

use super::entries::Entries;
use crate::linux::error::{Doing, Result, show};

/// How many bytes are written until the volume is asked again: others write to it too.
const ASK_EVERY: u64 = 64 * 1024 * 1024;
/// What is left free of a volume: this, or a twentieth of it if that is more, but never more than a
/// quarter. The desktops that run on it write there.
const SPARED: u64 = 2 * 1024 * 1024 * 1024;

fn spared(size: u64) -> u64 {
    SPARED.max(size / 20).min(size / 4)
}

/// How many bytes an image may take on the volume at a path.
pub(super) fn room(at: &Path) -> Result<u64> {
    let stat =
        rustix::fs::statvfs(at).doing(|| format!("ask for the free space of {}", show(at)))?;
    let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
    Ok(bytes(stat.f_bavail).saturating_sub(spared(bytes(stat.f_blocks))))
}

/// The volume has no room for it.
pub(super) fn full() -> io::Error {
    io::Error::from_raw_os_error(libc::ENOSPC)
}

/// Refuses what the volume has no room for, long before it is full, and what has too many entries.
pub(super) struct Limited<W> {
    inner: W,
    volume: PathBuf,
    left: u64,
    /// Bytes until the volume is asked again.
    ask_in: u64,
    entries: Entries,
    entries_max: u64,
}

impl<W> Limited<W> {
    /// Lets an archive through to `inner`, which unpacks it on the volume at a path. `left` is how many
    /// bytes there is room for.
    pub(super) fn new(inner: W, volume: &Path, left: u64) -> Self {
        Self {
            inner,
            volume: volume.to_owned(),
            left,
            ask_in: ASK_EVERY,
            entries: Entries::default(),
            entries_max: ENTRIES_MAX,
        }
    }
}

impl<W: Write> Write for Limited<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = bytes.len() as u64;
        if self.entries.feed(bytes) > self.entries_max {
            let why = format!("it has more than {} entries", self.entries_max);
            return Err(io::Error::other(why));
        }
        if self.ask_in < length {
            self.left = self.left.min(room(&self.volume).map_err(io::Error::other)?);
            self.ask_in = ASK_EVERY;
        }
        self.left = self.left.checked_sub(length).ok_or_else(full)?;
        self.ask_in = self.ask_in.saturating_sub(length);
        self.inner.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1024 * 1024 * 1024;

    #[test]
    fn a_volume_is_never_filled() {
        assert_eq!(spared(100 * GIB), 5 * GIB);
        assert_eq!(spared(20 * GIB), 2 * GIB);
        assert_eq!(spared(GIB), GIB / 4, "of a small volume most is for images");
        let here = Path::new("/");
        let stat = rustix::fs::statvfs(here).unwrap();
        assert!(room(here).unwrap() < stat.f_bavail * stat.f_frsize);
        let mut small = Limited::new(Vec::new(), here, 1000);
        small.write_all(&[b'x'; 1000]).unwrap();
        let over = small.write_all(b"x").unwrap_err();
        assert_eq!(over.raw_os_error(), Some(libc::ENOSPC));
        assert_eq!(small.inner.len(), 1000, "nothing of it reaches the volume");
    }

    #[test]
    fn an_image_of_nothing_but_entries_is_refused() {
        let mut sink = Limited::new(io::sink(), Path::new("/"), u64::MAX);
        assert_eq!(sink.entries_max, ENTRIES_MAX);
        sink.entries_max = 1000;
        let entry = super::super::entries::header(0);
        sink.write_all(&entry.repeat(1000)).unwrap();
        let refused = sink.write_all(&entry).unwrap_err();
        assert_eq!(refused.to_string(), "it has more than 1000 entries");
    }
}
