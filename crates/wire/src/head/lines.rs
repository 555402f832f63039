//! Cuts what arrives into heads: lines up to an empty one.
//!
//! Whether a head is too long depends on its bytes alone, never on how they arrived, and nothing is
//! looked at before the head is whole. So any cutting of a stream gives the same result.

use super::HEAD_MAX;

/// Collects bytes until a head is whole.
#[derive(Default)]
pub(super) struct Lines {
    buffer: Vec<u8>,
    /// Where in `buffer` the line begins whose end has not been found.
    line: usize,
    /// How much of `buffer` has been searched for that end.
    scanned: usize,
}

/// The head goes beyond [`HEAD_MAX`].
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLong;

impl Lines {
    /// Goes on from bytes read earlier.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole head: its lines without their ends, at least one, none of them empty.
    pub(super) fn next(&mut self) -> Result<Option<Vec<Vec<u8>>>, TooLong> {
        self.skip_blank();
        while let Some(at) = self.find_line_feed() {
            let end = self.scanned + at + 1;
            let ends_head =
                self.buffer.get(self.line..end).is_some_and(|it| trim_end(it).is_empty());
            self.scanned = end;
            self.line = end;
            if ends_head {
                return self.take(end).map(Some);
            }
        }
        self.scanned = self.buffer.len();
        if self.buffer.len() > HEAD_MAX { Err(TooLong) } else { Ok(None) }
    }

    /// Drops blank lines before a head.
    pub(super) fn skip_blank(&mut self) {
        if self.line == 0 {
            let blank = self.buffer.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
            self.buffer.drain(..blank);
            self.scanned = self.scanned.saturating_sub(blank);
        }
    }

    /// What arrived and is not part of a head taken.
    pub(super) fn rest(&self) -> &[u8] {
        &self.buffer
    }

    /// Takes up to `most` bytes that arrived behind the last head.
    pub(super) fn take_bytes(&mut self, most: usize) -> Vec<u8> {
        let rest = self.buffer.split_off(most.min(self.buffer.len()));
        self.line = 0;
        self.scanned = 0;
        std::mem::replace(&mut self.buffer, rest)
    }

    fn find_line_feed(&self) -> Option<usize> {
        self.buffer.get(self.scanned..)?.iter().position(|byte| *byte == b'\n')
    }

    fn take(&mut self, end: usize) -> Result<Vec<Vec<u8>>, TooLong> {
        if end > HEAD_MAX {
            return Err(TooLong);
        }
        let head = self.take_bytes(end);
        let lines = head.split(|byte| *byte == b'\n').map(trim_end);
        Ok(lines.filter(|line| !line.is_empty()).map(<[u8]>::to_vec).collect())
    }
}

/// The line without its LF and the CR before it.
fn trim_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}
