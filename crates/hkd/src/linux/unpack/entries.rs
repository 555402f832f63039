//! Counts the entries of a tar archive as it goes by.
//!
//! Every block that `tar` could take for a header counts: one whose checksum is right. So nothing can
//! be hidden from the count, and what is counted too much are only archives that lie uncompressed in
//! the image.

/// Archives are made of blocks of this size.
const BLOCK: usize = 512;
/// Where in a header its checksum stands.
const CHECKSUM: std::ops::Range<usize> = 148..156;

/// The entries of an archive so far.
#[derive(Debug, Default)]
pub(super) struct Entries {
    count: u64,
    /// The beginning of a block whose end is yet to come.
    partial: Vec<u8>,
}

impl Entries {
    /// Takes the next bytes of the archive, and returns how many entries there were until now.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) -> u64 {
        if !self.partial.is_empty() {
            let lacking = BLOCK.saturating_sub(self.partial.len()).min(bytes.len());
            let (end, rest) = bytes.split_at(lacking);
            self.partial.extend_from_slice(end);
            bytes = rest;
            if self.partial.len() < BLOCK {
                return self.count;
            }
            self.count += u64::from(is_header(&self.partial));
            self.partial.clear();
        }
        let blocks = bytes.chunks_exact(BLOCK);
        self.partial.extend_from_slice(blocks.remainder());
        self.count += blocks.map(|block| u64::from(is_header(block))).sum::<u64>();
        self.count
    }
}

/// Whether a block bears the checksum of itself, with its bytes taken with or without sign.
fn is_header(block: &[u8]) -> bool {
    let field = block.get(CHECKSUM).unwrap_or_default();
    let Some(written) = octal(field) else { return false };
    let sums = block.iter().fold((0_i64, 0_i64), |(plain, signed), byte| {
        (plain + i64::from(*byte), signed + i64::from(byte.cast_signed()))
    });
    // The field itself counts as blanks.
    let blanks = 8 * i64::from(b' ');
    let (plain, signed) = field.iter().fold(sums, |(plain, signed), byte| {
        (plain - i64::from(*byte), signed - i64::from(byte.cast_signed()))
    });
    written == plain + blanks || written == signed + blanks
}

/// The octal number at the beginning of a field, after blanks.
fn octal(field: &[u8]) -> Option<i64> {
    let blank = |byte: &u8| byte.is_ascii_whitespace() || *byte == 0x0b;
    let digits = field.iter().skip_while(|byte| blank(byte));
    let digits = digits.map_while(|byte| char::from(*byte).to_digit(8));
    // Most blocks are none, which their first byte here tells.
    digits.map(i64::from).reduce(|number, digit| number * 8 + digit)
}

/// A header, for tests.
#[cfg(test)]
pub(super) fn header(fill: u8) -> Vec<u8> {
    let mut block = vec![fill; BLOCK];
    block[CHECKSUM].fill(b' ');
    let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
    block[CHECKSUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::command::Command;
    use proptest::prelude::*;
    use std::{fs, os::unix::fs::symlink, time::Duration};

    #[test]
    fn what_tar_writes_is_counted() {
        let place = tempfile::tempdir().unwrap();
        let tree = place.path().join("tree");
        fs::create_dir(&tree).unwrap();
        fs::write(tree.join("empty"), "").unwrap();
        fs::write(tree.join("ñ"), "x".repeat(5000)).unwrap();
        fs::hard_link(tree.join("empty"), tree.join("again")).unwrap();
        symlink("empty", tree.join("link")).unwrap();
        for format in ["gnu", "v7", "ustar"] {
            let archive = place.path().join(format);
            Command::new("tar")
                .args(["-C", tree.to_str().unwrap(), "--format", format, "-cf"])
                .arg(&archive)
                .arg(".")
                .run(Duration::from_secs(20))
                .unwrap();
            let bytes = fs::read(&archive).unwrap();
            assert_eq!(Entries::default().feed(&bytes), 5, "{format}");
        }
    }

    proptest! {
        #[test]
        fn the_count_does_not_depend_on_how_the_bytes_come(
            blocks in prop::collection::vec(any::<(bool, u8)>(), 0..20),
            sizes in prop::collection::vec(1..2000_usize, 1..20),
        ) {
            let data = |fill| vec![fill; BLOCK];
            let bytes: Vec<u8> = blocks
                .iter()
                .flat_map(|(is, fill)| if *is { header(*fill) } else { data(*fill) })
                .collect();
            let mut entries = Entries::default();
            let mut rest = bytes.as_slice();
            for size in sizes.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (now, later) = rest.split_at((*size).min(rest.len()));
                entries.feed(now);
                rest = later;
            }
            let headers = blocks.iter().filter(|(is, _)| *is).count() as u64;
            prop_assert_eq!(entries.feed(&[]), headers);
        }

        #[test]
        fn no_bytes_are_too_odd(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
            prop_assert!(Entries::default().feed(&bytes) <= bytes.len() as u64 / BLOCK as u64);
        }
    }
}
