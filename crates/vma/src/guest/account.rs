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
    let [passwd, group, shadow, gshadow] =
        ["passwd", "group", "shadow", "gshadow"].map(|name| etc.join(name));
    let old = |path: &Path| file::read(path).unwrap_or_default();
    let shell = if executable(Path::new("/bin/bash")) { "/bin/bash" } else { "/bin/sh" };
    // Both are decided before anything is written: a clash changes nothing.
    let new_passwd = account_files::passwd(&old(&passwd), user, shell)?;
    let new_group = account_files::group(&old(&group), user)?;
    // The account's line comes last, so that who sees it finds the rest.
    files.replace(&group, &new_group, 0o644)?;
    if gshadow.exists() {
        files.replace(&gshadow, &account_files::gshadow(&old(&gshadow), &user.name), 0o600)?;
    }
    files.replace(&shadow, &account_files::shadow(&old(&shadow), &user.name), 0o600)?;
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
    use std::{fs, os::unix::fs::PermissionsExt};

    const FILES: Files = Files { lasting: true };

    #[test]
    fn a_clash_changes_no_file_and_a_second_time_nothing_changes() {
        let etc = tempfile::tempdir().unwrap();
        let path = |name: &str| etc.path().join(name);
        let user =
            GuestUser { name: "ann".into(), uid: 10000, gid: 10000, home: "/home/ann".into() };
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
}
