//! Gives the guest its user's account.

use std::{
    fs::File,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use rustix::{
    fs::{FlockOperation, OFlags, fcntl_lock},
    io::Errno,
};
use wire::agent::GuestUser;

use super::{
    GuestError, account_files,
    file::{self, Files},
};
use crate::command::executable;

/// Adds the user where missing.
pub(super) fn provide(user: &GuestUser, files: Files) -> Result<(), GuestError> {
    provide_in(Path::new("/etc"), user, files)
}

fn provide_in(etc: &Path, user: &GuestUser, files: Files) -> Result<(), GuestError> {
    let _lock = lock(&etc.join(".pwd.lock"))?;
    // Where the image keeps them: some have links here.
    let find = |name: &str| file::resolve(&etc.join(name));
    let (passwd, group) = (find("passwd")?, find("group")?);
    let (shadow, gshadow) = (find("shadow")?, find("gshadow")?);
    let old = |path: &Path| file::read(path).map(Option::unwrap_or_default);
    let shell = if executable(Path::new("/bin/bash")) { "/bin/bash" } else { "/bin/sh" };
    // All is read and decided before anything is written: a clash changes nothing.
    let new_passwd = account_files::passwd(&old(&passwd)?, user, shell)?;
    let new_group = account_files::group(&old(&group)?, user)?;
    let new_shadow = account_files::shadow(&old(&shadow)?, &user.name);
    let of_group = file::read(&gshadow)?.map(|old| account_files::gshadow(&old, &user.name));
    // The account's line comes last, so that who sees it finds the rest.
    files.replace(&group, &new_group, 0o644)?;
    if let Some(new) = of_group {
        files.replace(&gshadow, &new, 0o600)?;
    }
    files.replace(&shadow, &new_shadow, 0o600)?;
    files.replace(&passwd, &new_passwd, 0o644)
}

/// The lock that `lckpwdf` takes, and with it every tool that edits accounts: held until dropped.
fn lock(path: &Path) -> Result<File, GuestError> {
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(path)
        .map_err(GuestError::file("open", path))?;
    let end = Instant::now() + Duration::from_secs(15);
    loop {
        match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(Errno::AGAIN | Errno::ACCESS) if Instant::now() < end => {
                thread::sleep(Duration::from_millis(20));
            }
            Err(Errno::AGAIN | Errno::ACCESS) => return Err(GuestError::Locked),
            Err(error) => return Err(GuestError::file("lock", path)(error.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        fs,
        os::unix::fs::{PermissionsExt, symlink},
    };

    const FILES: Files = Files { lasting: true };

    fn ann() -> GuestUser {
        GuestUser { name: "ann".into(), uid: 10000, gid: 10000, home: "/home/ann".into() }
    }

    #[test]
    fn a_clash_changes_no_file_and_a_second_time_nothing_changes() {
        let etc = tempfile::tempdir().unwrap();
        let path = |name: &str| etc.path().join(name);
        let user = ann();
        fs::write(path("passwd"), "root:x:0:0::/root:/bin/sh\n").unwrap();
        fs::write(path("group"), "staff:x:10000:\n").unwrap();
        assert!(matches!(provide_in(etc.path(), &user, FILES), Err(GuestError::Clash(_))));
        assert_eq!(fs::read_to_string(path("passwd")).unwrap(), "root:x:0:0::/root:/bin/sh\n");
        assert!(!path("shadow").exists());

        fs::write(path("group"), "root:x:0:\n").unwrap();
        provide_in(etc.path(), &user, FILES).unwrap();
        let all =
            || ["passwd", "group", "shadow"].map(|name| fs::read_to_string(path(name)).unwrap());
        let first = all();
        assert!(first.iter().all(|text| text.lines().any(|line| line.starts_with("ann:"))));
        assert_eq!(fs::metadata(path("shadow")).unwrap().permissions().mode() & 0o777, 0o600);
        provide_in(etc.path(), &user, FILES).unwrap();
        assert_eq!(all(), first);
    }
    #[test]
    fn accounts_that_are_kept_elsewhere_stay_there_and_none_is_lost() {
        let (etc, kept) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for name in ["passwd", "group", "shadow", "gshadow"] {
            fs::write(kept.path().join(name), "root:x:0:0::/root:/bin/sh\n").unwrap();
            symlink(kept.path().join(name), etc.path().join(name)).unwrap();
        }
        provide_in(etc.path(), &ann(), FILES).unwrap();
        for name in ["passwd", "group", "shadow", "gshadow"] {
            assert!(fs::symlink_metadata(etc.path().join(name)).unwrap().is_symlink(), "{name}");
            let text = fs::read_to_string(kept.path().join(name)).unwrap();
            assert!(text.starts_with("root:x:0:0::/root:/bin/sh\nann:"), "{name}: {text}");
        }
    }

    #[test]
    fn accounts_that_cannot_be_read_are_not_written_over() {
        let path = |etc: &tempfile::TempDir, name: &str| etc.path().join(name);
        for spoilt in ["passwd", "group", "shadow", "gshadow"] {
            let etc = tempfile::tempdir().unwrap();
            for name in ["passwd", "group", "shadow", "gshadow"] {
                fs::write(path(&etc, name), "root:x:0:0::/root:/bin/sh\n").unwrap();
            }
            fs::remove_file(path(&etc, spoilt)).unwrap();
            symlink("nowhere", path(&etc, spoilt)).unwrap();
            let refused = provide_in(etc.path(), &ann(), FILES);
            assert!(matches!(refused, Err(GuestError::File { .. })), "{spoilt}: {refused:?}");
            assert!(fs::symlink_metadata(path(&etc, spoilt)).unwrap().is_symlink(), "{spoilt}");
            for name in ["passwd", "group", "shadow", "gshadow"].iter().filter(|n| **n != spoilt) {
                let text = fs::read_to_string(path(&etc, name)).unwrap();
                assert_eq!(text, "root:x:0:0::/root:/bin/sh\n", "{name} beside {spoilt}");
            }
        }
    }
}
