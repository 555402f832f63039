//! An X authority file: who has its cookie may use the display.
//!
//! The format is that of libXau: a family, then address, display number, name and data, each with its
//! length in front; numbers are 16 bits, big end first.

use std::{
    fs::File,
    io::{self, Read},
};

/// The family of this machine, by its host name: some libraries know no other.
const FAMILY_LOCAL: u16 = 256;
/// The family that means any host: the cookie counts, however the guest is called.
const FAMILY_WILD: u16 = 0xffff;

/// A cookie that nobody can guess.
pub(crate) fn cookie() -> io::Result<[u8; 16]> {
    let mut cookie = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut cookie)?;
    Ok(cookie)
}

/// The file's content for one display: an entry for this host's name, and one for any.
pub(crate) fn content(host: &str, display: u16, cookie: &[u8; 16]) -> Vec<u8> {
    let mut bytes = entry(FAMILY_LOCAL, host, display, cookie);
    bytes.extend(entry(FAMILY_WILD, "", display, cookie));
    bytes
}

fn entry(family: u16, address: &str, display: u16, cookie: &[u8; 16]) -> Vec<u8> {
    let mut bytes = family.to_be_bytes().to_vec();
    let display = display.to_string();
    for part in [address.as_bytes(), display.as_bytes(), b"MIT-MAGIC-COOKIE-1", cookie] {
        let length = u16::try_from(part.len()).expect("no part is longer than a host name");
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(part);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_those_of_the_format() {
        let mut expected = b"\x01\0\0\x04desk\0\x03100\0\x12MIT-MAGIC-COOKIE-1\0\x10".to_vec();
        expected.extend([7; 16]);
        expected.extend(b"\xff\xff\0\0\0\x03100\0\x12MIT-MAGIC-COOKIE-1\0\x10");
        expected.extend([7; 16]);
        assert_eq!(content("desk", 100, &[7; 16]), expected);
    }

    #[test]
    fn cookies_differ() {
        assert_ne!(cookie().unwrap(), cookie().unwrap());
    }
}
