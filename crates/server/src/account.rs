//! The account that l7r and api run as.

use std::fs;

use anyhow::{Context, Result};

/// The account's name.
pub(crate) const NAME: &str = "qvd";

/// User and group number of the account, from the machine's own list.
pub(crate) fn ids() -> Result<(u32, u32)> {
    let list = fs::read_to_string("/etc/passwd").context("cannot read /etc/passwd")?;
    find(&list).with_context(|| {
        format!(
            "there is no user `{NAME}` on this machine: make it with `adduser --system --group --home /var/lib/qvd --no-create-home {NAME}`"
        )
    })
}

fn find(list: &str) -> Option<(u32, u32)> {
    list.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(NAME)).then_some(())?;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some((uid, gid))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_account_is_found_by_its_whole_name() {
        let list = "root:x:0:0:root:/root:/bin/bash\nqvdx:x:1:1::/:/x\nqvd:x:998:997::/var/lib/qvd:/usr/sbin/nologin\n";
        assert_eq!(find(list), Some((998, 997)));
        assert_eq!(find("root:x:0:0\n"), None);
    }
}
