//! Walks the members of a tar, with a bound on everything.
//!
//! The `tar` crate reads the fields of a header; its own iterator would hold a long name of any
//! length in memory, so the records are followed here: GNU long names and links, pax headers, GNU
//! sparse files of both kinds.

use std::io::{self, Read};

use tar::{EntryType, GnuExtSparseHeader, Header};

use super::{
    Limits, Refusal,
    compression::{is_memory, is_truncation},
    elf::Machine,
};

const BLOCK: usize = 512;
/// The longest path the kernel takes.
const PATH_MAX: u64 = 4096;
/// The longest name in a folder.
const NAME_MAX: usize = 255;
/// The longest pax header: it holds extended attributes, which file systems bound to 64 KiB each.
const PAX_MAX: u64 = 1 << 20;
/// How much of an os-release file is read.
const TEXT_MAX: u64 = 16 * 1024;

/// A member of the archive.
#[derive(Debug)]
pub(crate) struct Member {
    /// Its path without `.` and empty parts; empty for the top.
    pub(crate) path: String,
    /// What it is.
    pub(crate) kind: Kind,
    /// The first bytes of a file: enough for the purpose here.
    pub(crate) head: Vec<u8>,
}

/// What a member is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A file; whether someone may execute it.
    File { executable: bool },
    /// Another name of a file before it in the archive.
    HardLink { to: String },
    /// A symbolic link.
    Link { to: String },
    /// A folder.
    Folder,
    /// A device, a pipe.
    Other,
}

/// What records before a member say of it.
#[derive(Debug, Default)]
struct Ahead {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
}

/// An archive being read.
pub(crate) struct Archive<R> {
    reader: R,
    limits: Limits,
    /// Headers so far: members, and records that describe one.
    records: u64,
    entries: u64,
    /// The compression ended before its own end.
    cut: bool,
    /// Bytes of the tar read so far.
    read: u64,
    /// Bytes of the files seen so far.
    unpacked: u64,
}

impl<R: Read> Archive<R> {
    pub(crate) fn new(reader: R, limits: Limits) -> Self {
        Self { reader, limits, records: 0, entries: 0, cut: false, read: 0, unpacked: 0 }
    }

    /// Members so far.
    pub(crate) fn entries(&self) -> u64 {
        self.entries
    }

    /// Bytes of the files so far.
    pub(crate) fn unpacked(&self) -> u64 {
        self.unpacked
    }

    /// The next member; none at the mark that ends the archive.
    pub(crate) fn next(&mut self) -> Result<Option<Member>, Refusal> {
        let mut ahead = Ahead::default();
        loop {
            let Some(header) = self.header()? else {
                return Ok(None);
            };
            self.records += 1;
            if self.records > self.limits.entries {
                return Err(Refusal::TooMuch { limit: self.limits.entries, what: "members" });
            }
            let kind = header.entry_type();
            let stored = header.entry_size().map_err(|_| self.bad("a size is no number"))?;
            match kind {
                EntryType::GNULongName => ahead.path = Some(self.text(stored, PATH_MAX)?),
                EntryType::GNULongLink => ahead.link = Some(self.text(stored, PATH_MAX)?),
                EntryType::XHeader => {
                    let records = self.text(stored, PAX_MAX)?;
                    read_pax(&records, &mut ahead).ok_or_else(|| self.bad("a pax header"))?;
                }
                EntryType::XGlobalHeader => drop(self.text(stored, PAX_MAX)?),
                _ => return self.member(&header, ahead, stored).map(Some),
            }
        }
    }

    /// Reads what is left, so that the compression's checksums are checked.
    pub(crate) fn finish(&mut self) -> Result<(), Refusal> {
        let mut buffer = [0; 8192];
        while self.some(&mut buffer)? > 0 {}
        Ok(())
    }

    fn member(&mut self, header: &Header, ahead: Ahead, stored: u64) -> Result<Member, Refusal> {
        let path = clean(&ahead.path.unwrap_or_else(|| header.path_bytes().into_owned()))?;
        let target = ahead.link.or_else(|| header.link_name_bytes().map(Into::into));
        let target = target.unwrap_or_default();
        let stored = ahead.size.unwrap_or(stored);
        let mode = header.mode().map_err(|_| self.bad("a mode is no number"))?;
        self.sparse_map(header)?;
        let mut head = Vec::new();
        let (kind, stored) = match header.entry_type() {
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let most =
                    if path.ends_with("os-release") { TEXT_MAX } else { Machine::HEAD as u64 };
                head = self.bytes(stored.min(most))?;
                (Kind::File { executable: mode & 0o111 != 0 }, stored)
            }
            EntryType::Link => (Kind::HardLink { to: clean(&target)? }, stored),
            EntryType::Symlink => (Kind::Link { to: target_of(&target, &path)? }, 0),
            EntryType::Directory => (Kind::Folder, 0),
            EntryType::Char | EntryType::Block | EntryType::Fifo => (Kind::Other, 0),
            _ => (Kind::Other, stored),
        };
        let skipped = stored - head.len() as u64;
        self.entries += 1;
        self.unpacked = self.unpacked.saturating_add(stored);
        self.skip(skipped)?;
        self.skip(padding(stored))?;
        Ok(Member { path, kind, head })
    }

    /// The blocks after the header of a GNU sparse file that say where its holes are. They are not
    /// counted in its size.
    fn sparse_map(&mut self, header: &Header) -> Result<(), Refusal> {
        let sparse = header.entry_type().is_gnu_sparse();
        let mut more = sparse && header.as_gnu().is_some_and(tar::GnuHeader::is_extended);
        while more {
            let mut block = GnuExtSparseHeader::new();
            self.exact(block.as_mut_bytes())?;
            more = block.is_extended();
        }
        Ok(())
    }

    fn header(&mut self) -> Result<Option<Header>, Refusal> {
        let mut header = Header::new_old();
        let first = self.read == 0;
        match self.exact(header.as_mut_bytes()) {
            Err(Refusal::Truncated { .. }) if first && !self.cut => return Err(Refusal::NotATar),
            result => result?,
        }
        if header.as_bytes().iter().all(|byte| *byte == 0) {
            return if first { Err(Refusal::NotATar) } else { Ok(None) };
        }
        let sum = header
            .as_bytes()
            .iter()
            .enumerate()
            // The sum's own eight bytes count as spaces.
            .map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) })
            .sum::<u32>();
        match header.cksum() {
            Ok(said) if said == sum => Ok(Some(header)),
            Ok(_) | Err(_) if first => Err(Refusal::NotATar),
            Ok(_) | Err(_) => Err(self.bad("a header's sum is wrong")),
        }
    }

    /// The contents of a record that describes the next member, with their padding.
    fn text(&mut self, size: u64, most: u64) -> Result<Vec<u8>, Refusal> {
        if size > most {
            return Err(Refusal::Hostile {
                name: format!("{size} bytes"),
                why: "or attributes are longer than any file system takes",
            });
        }
        let mut text = self.bytes(size)?;
        self.skip(padding(size))?;
        while text.last() == Some(&0) {
            text.pop();
        }
        Ok(text)
    }

    fn bytes(&mut self, size: u64) -> Result<Vec<u8>, Refusal> {
        let size = usize::try_from(size).map_err(|_| self.bad("a size is out of bounds"))?;
        let mut bytes = vec![0; size];
        self.exact(&mut bytes)?;
        Ok(bytes)
    }

    fn skip(&mut self, mut size: u64) -> Result<(), Refusal> {
        let mut buffer = [0; 16 * 1024];
        while size > 0 {
            let part = buffer.len().min(usize::try_from(size).unwrap_or(usize::MAX));
            let read = self.some(buffer.get_mut(..part).unwrap_or_default())?;
            if read == 0 {
                return Err(Refusal::Truncated { unpacked: self.read });
            }
            size -= read as u64;
        }
        Ok(())
    }

    fn exact(&mut self, mut buffer: &mut [u8]) -> Result<(), Refusal> {
        while !buffer.is_empty() {
            let read = self.some(buffer)?;
            if read == 0 {
                return Err(Refusal::Truncated { unpacked: self.read });
            }
            buffer = buffer.get_mut(read..).unwrap_or_default();
        }
        Ok(())
    }

    /// The one place that reads.
    fn some(&mut self, buffer: &mut [u8]) -> Result<usize, Refusal> {
        let read = loop {
            match self.reader.read(buffer) {
                Ok(read) => break read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_truncation(&error) => {
                    self.cut = true;
                    return Err(Refusal::Truncated { unpacked: self.read });
                }
                Err(error) if is_memory(&error) => return Err(Refusal::Memory),
                Err(error) => return Err(Refusal::Damaged { unpacked: self.read, error }),
            }
        };
        self.read += read as u64;
        if self.read > self.limits.unpacked {
            return Err(Refusal::TooMuch { limit: self.limits.unpacked, what: "bytes" });
        }
        Ok(read)
    }

    fn bad(&self, what: &'static str) -> Refusal {
        Refusal::BadHeader { unpacked: self.read, what }
    }
}

fn padding(size: u64) -> u64 {
    let block = BLOCK as u64;
    (block - size % block) % block
}

/// Reads `LENGTH KEY=VALUE\n` records; none when they are malformed. Values may hold any byte.
fn read_pax(mut records: &[u8], ahead: &mut Ahead) -> Option<()> {
    while !records.is_empty() {
        let space = records.iter().position(|byte| *byte == b' ')?;
        let length: usize = std::str::from_utf8(records.get(..space)?).ok()?.parse().ok()?;
        let record = records.get(space + 1..length)?;
        records = records.get(length..)?;
        let record = record.strip_suffix(b"\n").unwrap_or(record);
        let equals = record.iter().position(|byte| *byte == b'=')?;
        let (key, value) = (record.get(..equals)?, record.get(equals + 1..)?);
        match key {
            b"path" | b"GNU.sparse.name" => ahead.path = Some(value.to_vec()),
            b"linkpath" => ahead.link = Some(value.to_vec()),
            b"size" => ahead.size = Some(std::str::from_utf8(value).ok()?.parse().ok()?),
            _ => {}
        }
    }
    Some(())
}

/// A member's path without `.` and empty parts. Names that are no UTF-8 are shown as well as can be:
/// nothing looked for here has one.
fn clean(path: &[u8]) -> Result<String, Refusal> {
    let text = String::from_utf8_lossy(path);
    let hostile = |why| Refusal::Hostile { name: text.escape_debug().take(200).collect(), why };
    if text.starts_with('/') {
        return Err(hostile("is absolute"));
    }
    if path.len() as u64 >= PATH_MAX {
        return Err(hostile("is longer than any file system takes"));
    }
    let mut parts = Vec::new();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => return Err(hostile("leads out of the image")),
            part if part.contains('\0') => return Err(hostile("holds a zero byte")),
            part if part.len() > NAME_MAX && path.len() > NAME_MAX => {
                return Err(hostile("is longer than any file system takes"));
            }
            part => parts.push(part),
        }
    }
    Ok(parts.join("/"))
}

/// What a symbolic link says: anything that a kernel takes. It is followed inside the image only.
fn target_of(target: &[u8], path: &str) -> Result<String, Refusal> {
    if target.len() as u64 >= PATH_MAX || target.contains(&0) {
        let name = path.escape_debug().take(200).collect();
        return Err(Refusal::Hostile { name, why: "is that of a link no file system takes" });
    }
    Ok(String::from_utf8_lossy(target).into_owned())
}

impl<R> std::fmt::Debug for Archive<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Archive")
            .field("entries", &self.entries)
            .field("read", &self.read)
            .finish_non_exhaustive()
    }
}
