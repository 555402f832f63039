//! Archives that are to become images.

use std::io::{self, Read};

use image::{Limits, inspect, warnings};

/// Enough for every part of the code, and small enough to be tried often.
const LIMITS: Limits = Limits { entries: 1000, names: 1 << 16, unpacked: 1 << 22 };

/// How an archive may be packed, and a name that says so.
const NAMES: [&str; 5] = ["i.tar", "i.tar.gz", "i.tar.bz2", "i.tar.xz", "i.tar.zst"];

/// Looks through the bytes as an archive of the kind that they begin like. However slowly they come, the
/// same is found.
pub fn image(bytes: &[u8]) {
    let name = match bytes {
        [0x28, 0xb5, ..] => NAMES[4],
        [0x1f, ..] => NAMES[1],
        [0xfd, ..] => NAMES[3],
        [b'B', b'Z', ..] => NAMES[2],
        _ => NAMES[0],
    };
    let look = |file: &mut dyn Read| match inspect(file, name, LIMITS, "x86_64") {
        Ok(kind) => format!("{kind:?} {:?}", warnings(&kind)),
        // Its sentence may say after how many bytes, which decoders count in pieces.
        Err(refusal) => {
            let _ = (refusal.to_string(), refusal.remedy());
            refusal.code().to_owned()
        }
    };
    let (mut whole, mut slow) = (bytes, Slow(bytes));
    assert_eq!(look(&mut whole), look(&mut slow));
}

/// Some bytes at a time.
struct Slow<'a>(&'a [u8]);

impl Read for Slow<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let some = buffer.len().min(97);
        self.0.read(buffer.get_mut(..some).unwrap_or_default())
    }
}
