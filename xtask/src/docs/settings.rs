//! The page of all settings, from their one declaration.

use std::fmt::Write as _;

use model::settings::{ALL, Kind, Scope, Setting};

const HEAD: &str = "\
# Settings

Made by `cargo xtask docs` from `crates/model/src/settings.rs`.

A value is looked up in this order, later wins: the default, the file `node.conf` of the host, the
installation (`qa config set KEY=VALUE`). `${other.key}` in a value stands for that key's value.
*file* means that a setting can stand in the file alone, because it can make root do things.

The file is `/etc/qvd/node.conf`, or the one named by `--config` or `QVD_CONFIG`: lines `key = value`,
`#` begins a comment.
";

/// The page.
pub(super) fn page() -> String {
    let mut page = HEAD.to_owned();
    let mut group = "";
    for setting in ALL {
        let of = group_of(setting.key);
        if of != group {
            group = of;
            let _ = write!(page, "\n## {group}\n\n{ROW_HEAD}");
        }
        row(&mut page, setting);
    }
    page
}

const ROW_HEAD: &str = "| key | value | default | set in | what it does | read by |\n\
    |---|---|---|---|---|---|\n";

/// What a key begins with.
fn group_of(key: &str) -> &str {
    key.split('.').next().unwrap_or(key)
}

fn row(page: &mut String, setting: &Setting) {
    let Setting { key, kind, default, scope, about, reader } = setting;
    let default = if default.is_empty() { String::new() } else { format!("`{default}`") };
    let kind = value_of(kind);
    let scope = match scope {
        Scope::File => "file",
        Scope::Cluster => "file, `qa`",
    };
    let about = about.replace('|', "\\|");
    let _ = writeln!(page, "| `{key}` | {kind} | {default} | {scope} | {about} | {reader} |");
}

fn value_of(kind: &Kind) -> String {
    match kind {
        Kind::Text => "text".to_owned(),
        Kind::Path => "absolute path".to_owned(),
        Kind::Bool => "0 or 1".to_owned(),
        Kind::Number(low, high) => format!("{low} to {high}"),
        Kind::Ipv4 => "IPv4 address".to_owned(),
        Kind::Ipv4List => "IPv4 addresses".to_owned(),
        Kind::Ipv4Networks => "IPv4 networks".to_owned(),
        Kind::MacPrefix => "half a MAC address".to_owned(),
        Kind::Word(words) => {
            words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_every_setting_and_each_group_once() {
        let page = page();
        for setting in ALL {
            assert!(page.contains(&format!("| `{}` |", setting.key)), "{}", setting.key);
        }
        assert_eq!(page.matches("\n## path\n").count(), 1);
        assert_eq!(page.matches("\n## vm\n").count(), 1);
    }
}
