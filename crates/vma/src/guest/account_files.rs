//! Reads and edits the account files as bytes: `passwd`, `group`, `shadow`, `gshadow`.
//!
//! No name service is asked: the agent is static, and the account it adds must be in these files.
//! Lines that are not understood are kept as they are.

use wire::agent::GuestUser;

/// An account of the image in the way.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Clash {
    /// The login exists with other numbers.
    #[error(
        "the image has a user {name} with number {found} (group {group}), not {uid} (group {gid})"
    )]
    Name {
        /// The login.
        name: String,
        /// The image's user number.
        found: u32,
        /// The image's group number.
        group: u32,
        /// Wanted.
        uid: u32,
        /// Wanted.
        gid: u32,
    },
    /// The user number is someone else's.
    #[error("the image's user {found} has the number {uid} that belongs to {name}")]
    Number {
        /// The image's user.
        found: String,
        /// The number.
        uid: u32,
        /// Whose it should be.
        name: String,
    },
    /// The group exists with another number.
    #[error("the image has a group {name} with number {found}, not {gid}")]
    GroupName {
        /// The group.
        name: String,
        /// The image's.
        found: u32,
        /// Wanted.
        gid: u32,
    },
    /// The group number is another group's.
    #[error("the image's group {found} has the number {gid} that belongs to {name}")]
    GroupNumber {
        /// The image's group.
        found: String,
        /// The number.
        gid: u32,
        /// Whose it should be.
        name: String,
    },
}

/// `passwd` with the user in it.
pub(crate) fn passwd(old: &[u8], user: &GuestUser, shell: &str) -> Result<Vec<u8>, Clash> {
    let GuestUser { name, uid, gid, home } = user;
    for line in lines(old) {
        let found = field(line, 0);
        let (Some(found_number), Some(group)) = (number(line, 2), number(line, 3)) else {
            continue;
        };
        if found == name.as_bytes() && (found_number, group) != (*uid, *gid) {
            return Err(Clash::Name {
                name: name.clone(),
                found: found_number,
                group,
                uid: *uid,
                gid: *gid,
            });
        }
        if found != name.as_bytes() && found_number == *uid {
            return Err(Clash::Number { found: text(found), uid: *uid, name: name.clone() });
        }
    }
    if has(old, name) {
        return Ok(with_home(old, name, home));
    }
    Ok(append(old, &format!("{name}:x:{uid}:{gid}::{home}:{shell}")))
}

/// `group` with the user's own group in it.
pub(crate) fn group(old: &[u8], user: &GuestUser) -> Result<Vec<u8>, Clash> {
    let GuestUser { name, gid, .. } = user;
    for line in lines(old) {
        let (found, Some(found_gid)) = (field(line, 0), number(line, 2)) else { continue };
        if found == name.as_bytes() && found_gid != *gid {
            return Err(Clash::GroupName { name: name.clone(), found: found_gid, gid: *gid });
        }
        if found != name.as_bytes() && found_gid == *gid {
            return Err(Clash::GroupNumber { found: text(found), gid: *gid, name: name.clone() });
        }
    }
    Ok(if has(old, name) { old.to_vec() } else { append(old, &format!("{name}:x:{gid}:")) })
}

/// `shadow` with the user in it, without a password that any word would match.
pub(crate) fn shadow(old: &[u8], name: &str) -> Vec<u8> {
    if has(old, name) { old.to_vec() } else { append(old, &format!("{name}:!*:::::::")) }
}

/// `gshadow` with the user's group in it.
pub(crate) fn gshadow(old: &[u8], name: &str) -> Vec<u8> {
    if has(old, name) { old.to_vec() } else { append(old, &format!("{name}:!::")) }
}

fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|byte| *byte == b'\n')
}

fn field(line: &[u8], index: usize) -> &[u8] {
    line.split(|byte| *byte == b':').nth(index).unwrap_or_default()
}

fn number(line: &[u8], index: usize) -> Option<u32> {
    std::str::from_utf8(field(line, index)).ok()?.parse().ok()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn has(bytes: &[u8], name: &str) -> bool {
    lines(bytes).any(|line| field(line, 0) == name.as_bytes())
}

/// With one more line, before NIS's `+` lines: what stands behind those is not always read.
fn append(old: &[u8], line: &str) -> Vec<u8> {
    let mut at = 0;
    for each in old.split_inclusive(|byte| *byte == b'\n') {
        if each.starts_with(b"+") {
            break;
        }
        at += each.len();
    }
    let (before, behind) = old.split_at(at);
    let mut new = before.to_vec();
    if !before.is_empty() && !before.ends_with(b"\n") {
        new.push(b'\n');
    }
    new.extend_from_slice(line.as_bytes());
    new.push(b'\n');
    new.extend_from_slice(behind);
    new
}

/// The user's line with this home: it is where hkd mounts the lasting one.
fn with_home(old: &[u8], name: &str, home: &str) -> Vec<u8> {
    let edited: Vec<Vec<u8>> = lines(old)
        .map(|line| {
            let mut fields: Vec<&[u8]> = line.split(|byte| *byte == b':').collect();
            if field(line, 0) == name.as_bytes()
                && let Some(old_home) = fields.get_mut(5)
            {
                *old_home = home.as_bytes();
            }
            fields.join(&b':')
        })
        .collect();
    edited.join(&b'\n')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/bash\nbob:x:1000:1000::/home/bob:/bin/sh\n";

    fn ann() -> GuestUser {
        GuestUser { name: "ann".into(), uid: 10000, gid: 10000, home: "/home/ann".into() }
    }

    #[test]
    fn a_user_is_added_once() {
        let once = passwd(PASSWD, &ann(), "/bin/bash").unwrap();
        assert!(once.starts_with(PASSWD));
        assert!(once.ends_with(b"\nann:x:10000:10000::/home/ann:/bin/bash\n"));
        assert_eq!(passwd(&once, &ann(), "/bin/sh").unwrap(), once);
        assert_eq!(
            passwd(b"x:1", &ann(), "/bin/sh").unwrap(),
            b"x:1\nann:x:10000:10000::/home/ann:/bin/sh\n"
        );
        let group_once = group(b"root:x:0:\n", &ann()).unwrap();
        assert_eq!(group_once, b"root:x:0:\nann:x:10000:\n");
        assert_eq!(group(&group_once, &ann()).unwrap(), group_once);
        assert_eq!(shadow(b"", "ann"), b"ann:!*:::::::\n");
        assert_eq!(gshadow(b"a:!::\n", "a"), b"a:!::\n");
    }

    #[test]
    fn a_home_that_differs_is_corrected_and_nothing_else() {
        let old = b"ann:x:10000:10000:Ann,,,:/tmp/ann:/bin/zsh\nbob:x:1:1::/b:/c\n";
        let new = passwd(old, &ann(), "/bin/bash").unwrap();
        assert_eq!(new, b"ann:x:10000:10000:Ann,,,:/home/ann:/bin/zsh\nbob:x:1:1::/b:/c\n");
    }

    #[test]
    fn both_sides_of_a_clash_are_named() {
        let clash = |file: &[u8]| passwd(file, &ann(), "/bin/sh").unwrap_err().to_string();
        assert_eq!(
            clash(b"ann:x:1005:1005::/a:/b\n"),
            "the image has a user ann with number 1005 (group 1005), not 10000 (group 10000)"
        );
        assert_eq!(
            clash(b"eve:x:10000:7::/a:/b\n"),
            "the image's user eve has the number 10000 that belongs to ann"
        );
        assert_eq!(
            group(b"ann:x:7:\n", &ann()).unwrap_err().to_string(),
            "the image has a group ann with number 7, not 10000"
        );
        assert_eq!(
            group(b"staff:x:10000:\n", &ann()).unwrap_err().to_string(),
            "the image's group staff has the number 10000 that belongs to ann"
        );
    }

    #[test]
    fn network_accounts_stay_last() {
        assert_eq!(shadow(b"a:x\n+::::\n", "b"), b"a:x\nb:!*:::::::\n+::::\n");
    }

    proptest! {
        #[test]
        fn any_file_keeps_its_lines_and_gains_at_most_one(old: Vec<u8>) {
            if let Ok(new) = passwd(&old, &ann(), "/bin/sh") {
                prop_assert!(has(&new, "ann"));
                prop_assert_eq!(passwd(&new, &ann(), "/bin/sh").unwrap(), new.clone());
                let kept = lines(&old).filter(|line| !line.is_empty() && field(line, 0) != b"ann");
                for line in kept {
                    prop_assert!(lines(&new).any(|other| other == line));
                }
            }
        }
    }
}
