//! The account that l7r and api run as.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result};

/// The account's name.
pub(crate) const NAME: &str = "qvd";

/// The account, as the machine's own list has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Where libraries look for files of its own, such as `.pgpass`.
    pub(crate) home: PathBuf,
}

impl Account {
    /// Looks it up.
    pub(crate) fn of_this_machine() -> Result<Self> {
        let list = fs::read_to_string("/etc/passwd").context("cannot read /etc/passwd")?;
        Self::in_list(&list).with_context(|| {
            format!(
                "there is no user `{NAME}` on this machine: make it with `adduser --system --group --home /var/lib/qvd --no-create-home {NAME}`"
            )
        })
    }

    fn in_list(list: &str) -> Option<Self> {
        list.lines().find_map(|line| {
            let mut fields = line.split(':');
            (fields.next() == Some(NAME)).then_some(())?;
            let uid = fields.nth(1)?.parse().ok()?;
            let gid = fields.next()?.parse().ok()?;
            let home = fields.nth(1)?.into();
            Some(Self { uid, gid, home })
        })
    }

    /// User and group number.
    pub(crate) fn ids(&self) -> (u32, u32) {
        (self.uid, self.gid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_account_is_found_by_its_whole_name() {
        let list = "root:x:0:0:root:/root:/bin/bash\nqvdx:x:1:1::/:/x\nqvd:x:998:997::/var/lib/qvd:/usr/sbin/nologin\n";
        let account = Account { uid: 998, gid: 997, home: "/var/lib/qvd".into() };
        assert_eq!(Account::in_list(list), Some(account));
        assert_eq!(Account::in_list("root:x:0:0\nqvd:x:1\n"), None);
    }
}
