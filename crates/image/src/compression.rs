//! Takes the compression off an archive.

use std::io::{self, BufRead, BufReader, Read};

use bzip2::bufread::MultiBzDecoder;
use flate2::bufread::MultiGzDecoder;
use lzma_rust2::XzReader;

use super::Refusal;

/// What a decoder of xz may take, in KiB: enough for a dictionary of 128 MiB, which is also the
/// largest that zstd's decoder takes unasked.
const XZ_MEMORY: u32 = 160 * 1024;

/// The bytes of the tar inside. The kind of compression is told by the first bytes, and must be what
/// the name says: the host that unpacks it goes by the name.
pub(crate) fn open<'a>(file: impl Read + 'a, name: &str) -> Result<Box<dyn Read + 'a>, Refusal> {
    let suffix = suffix(name)?;
    let mut file = BufReader::with_capacity(128 * 1024, file);
    let damaged = |error| Refusal::Damaged { unpacked: 0, error };
    let start = file.fill_buf().map_err(damaged)?;
    let (found, matches) = match start {
        [] => return Err(Refusal::Truncated { unpacked: 0 }),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => ("zstd", suffix.ends_with("zst")),
        [0x1f, 0x8b, ..] => ("gzip", suffix.ends_with("gz")),
        [0xfd, b'7', b'z', b'X', b'Z', ..] => ("xz", suffix.ends_with("xz")),
        [b'B', b'Z', b'h', ..] => ("bzip2", suffix.ends_with("bz2")),
        [..] => ("not compressed", suffix == ".tar"),
    };
    if !matches {
        return Err(Refusal::Mislabelled { name: name.to_owned(), found });
    }
    Ok(match found {
        "zstd" => Box::new(zstd::Decoder::with_buffer(file).map_err(damaged)?),
        "gzip" => Box::new(MultiGzDecoder::new(file)),
        "bzip2" => Box::new(MultiBzDecoder::new(file)),
        "xz" => Box::new(XzReader::new_mem_limit(file, true, XZ_MEMORY)),
        _ => Box::new(file),
    })
}

/// The end of a name that says how the file is packed.
pub(crate) fn suffix(name: &str) -> Result<&'static str, Refusal> {
    model::di::ARCHIVES
        .iter()
        .copied()
        .find(|suffix| name.ends_with(suffix))
        .ok_or_else(|| Refusal::Suffix { name: name.to_owned() })
}

/// Whether an error of a decoder means that its input ended too early.
pub(crate) fn is_truncation(error: &io::Error) -> bool {
    // The zstd binding reports it with this kind too.
    error.kind() == io::ErrorKind::UnexpectedEof
}

/// Whether an error of a decoder means that it would take too much memory.
pub(crate) fn is_memory(error: &io::Error) -> bool {
    // The zstd binding has no kind for it.
    error.kind() == io::ErrorKind::OutOfMemory || error.to_string().contains("too much memory")
}
