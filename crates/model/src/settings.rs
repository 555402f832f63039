//! Every setting there is, declared once.
//!
//! `docs/settings.md`, the completion and validation of `qa config`, and the values the daemons read
//! come from [`ALL`]. A value is looked up in this order, later wins: default, file (`node.conf`),
//! cluster, tenant, host. `${other.key}` in a value stands for that key's value.

use std::{collections::HashMap, net::Ipv4Addr};

use ipnet::Ipv4Net;

/// Who may set a setting, and for what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// In the node's file only: it can make root execute or write where it should not.
    File,
    /// For the installation, a tenant or a host.
    Cluster,
}

/// What a value must look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Any line of text.
    Text,
    /// An absolute path.
    Path,
    /// 0 or 1 (also false/true, no/yes, off/on).
    Bool,
    /// A whole number within bounds, inclusive.
    Number(i64, i64),
    /// An IPv4 address.
    Ipv4,
    /// IPv4 addresses separated by commas; may be empty.
    Ipv4List,
    /// IPv4 addresses and networks (`ADDRESS/LENGTH`) separated by commas; may be empty.
    Ipv4Networks,
    /// The first half of a hardware address, not one of a group's.
    MacPrefix,
    /// One of a few words.
    Word(&'static [&'static str]),
}

/// A setting.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Its key; the original's where it had one.
    pub key: &'static str,
    /// What a value must look like.
    pub kind: Kind,
    /// The value when nobody set one; may refer to others with `${key}`.
    pub default: &'static str,
    /// Who may set it.
    pub scope: Scope,
    /// What it does, in one sentence.
    pub about: &'static str,
    /// Which daemon reads it, and when.
    pub reader: &'static str,
}

const fn setting(
    key: &'static str,
    kind: Kind,
    default: &'static str,
    scope: Scope,
    about: &'static str,
    reader: &'static str,
) -> Setting {
    Setting { key, kind, default, scope, about, reader }
}

/// Every setting, sorted by key.
pub const ALL: &[Setting] = &[
    setting(
        "database.url",
        Kind::Text,
        "sqlite:/var/lib/qvd/db/qvd.db",
        Scope::File,
        "The database: `sqlite:PATH` for one host, `postgres://USER@HOST/NAME` for a cluster; a password is better kept in `.pgpass` (mode 0600), one in root's home, and one in `/var/lib/qvd` that belongs to `qvd`, for the api.",
        "hkd and api at start",
    ),
    setting(
        "hkd.starting.max",
        Kind::Number(1, 1000),
        "10",
        Scope::Cluster,
        "How many VMs of a host may be in a heavy step of their start at once.",
        "hkd at start",
    ),
    setting(
        "internal.names.prefix",
        Kind::Text,
        "qvd",
        Scope::File,
        "What the names of containers, links and firewall tables on the machine begin with (at most 6 letters and digits): two installations on one kernel need different ones.",
        "hkd at start",
    ),
    setting(
        "l7r.address",
        Kind::Text,
        "*",
        Scope::File,
        "The address the router listens on; `*` for all.",
        "l7r at start",
    ),
    setting(
        "l7r.port",
        Kind::Number(1, 65535),
        "8443",
        Scope::File,
        "The port the router listens on.",
        "l7r at start",
    ),
    setting(
        "nodename",
        Kind::Text,
        "",
        Scope::File,
        "The name of this host in the installation; empty for the machine's host name.",
        "hkd and api at start",
    ),
    setting(
        "osf.default.memory",
        Kind::Number(64, 1_048_576),
        "2048",
        Scope::Cluster,
        "Memory of a VM in MiB, for an OSF added without `memory=`.",
        "api when an OSF is added",
    ),
    setting(
        "path.run",
        Kind::Path,
        "/run/qvd",
        Scope::File,
        "Sockets and the run directories of VMs.",
        "all daemons at start",
    ),
    setting(
        "path.ssl",
        Kind::Path,
        "/var/lib/qvd/ssl",
        Scope::File,
        "The folder with the router's certificate, the one it made for itself or yours; the router sees no file outside, so no link there may lead out.",
        "l7r at start",
    ),
    setting(
        "path.storage.allowed",
        Kind::Path,
        "/var/lib/qvd",
        Scope::File,
        "Storage paths must lie below this folder.",
        "hkd and api at start",
    ),
    setting(
        "path.storage.basefs",
        Kind::Path,
        "${path.storage.btrfs.root}/basefs",
        Scope::Cluster,
        "Unpacked images, one read-only subvolume each.",
        "hkd at start",
    ),
    setting(
        "path.storage.btrfs.root",
        Kind::Path,
        "${path.storage.root}",
        Scope::Cluster,
        "The btrfs volume of this node.",
        "hkd at start",
    ),
    setting(
        "path.storage.homefs",
        Kind::Path,
        "${path.storage.root}/homefs",
        Scope::Cluster,
        "The users' homes, on shared storage in a cluster.",
        "hkd at start",
    ),
    setting(
        "path.storage.images",
        Kind::Path,
        "${path.storage.root}/images",
        Scope::Cluster,
        "Registered images, on shared storage in a cluster.",
        "api and hkd at start",
    ),
    setting(
        "path.storage.overlayfs",
        Kind::Path,
        "${path.storage.btrfs.root}/overlayfs",
        Scope::Cluster,
        "What each VM writes: a snapshot of its base.",
        "hkd at start",
    ),
    setting(
        "path.storage.root",
        Kind::Path,
        "/var/lib/qvd/storage",
        Scope::Cluster,
        "The folder that holds all others of the storage.",
        "api and hkd at start",
    ),
    setting(
        "path.storage.rootfs",
        Kind::Path,
        "${path.storage.btrfs.root}/rootfs",
        Scope::Cluster,
        "Where the roots of running VMs are mounted.",
        "hkd at start",
    ),
    setting(
        "path.storage.staging",
        Kind::Path,
        "${path.storage.root}/staging",
        Scope::Cluster,
        "Images on their way in.",
        "api at start",
    ),
    setting(
        "path.vma",
        Kind::Text,
        "",
        Scope::File,
        "The agent that is put into VMs; empty for `qvd-vma` beside this daemon's program, or /usr/lib/qvd/qvd-vma.",
        "hkd at start",
    ),
    setting(
        "storage.quota",
        Kind::Bool,
        "0",
        Scope::Cluster,
        "Whether `vm.overlay.size.max` holds. It turns on simple quotas on the btrfs volume, which Linux before 6.7 and btrfs-progs before 6.7 refuse to mount and check from then on.",
        "hkd at each start of a VM",
    ),
    setting(
        "user.uid.min",
        Kind::Number(1000, 60_000),
        "10000",
        Scope::Cluster,
        "The first number given to users; below it are those of the images.",
        "api when a user is added",
    ),
    setting(
        "vm.cpu.max",
        Kind::Number(0, 1_000_000),
        "0",
        Scope::Cluster,
        "How much of the processors a VM may use, in hundredths of one: 150 is one and a half; 0 for no limit.",
        "hkd at each start of a VM",
    ),
    setting(
        "vm.cpu.weight",
        Kind::Number(1, 10_000),
        "100",
        Scope::Cluster,
        "How much of the processors a VM gets, beside others that want them: one of weight 200 gets twice as much as one of 100, which is what services of the host have.",
        "hkd at each start of a VM",
    ),
    setting(
        "vm.io.bandwidth.max",
        Kind::Number(0, 1_000_000),
        "400",
        Scope::Cluster,
        "How many MiB a second a VM may read from the disks of its node, and write as many; 0 for no limit.",
        "hkd at each start of a VM",
    ),
    setting(
        "vm.io.operations.max",
        Kind::Number(0, 10_000_000),
        "10000",
        Scope::Cluster,
        "How many times a second a VM may read from the disks of its node, and write as often; 0 for no limit.",
        "hkd at each start of a VM",
    ),
    setting(
        "vm.lxc.unionfs.type",
        Kind::Word(&["btrfs"]),
        "btrfs",
        Scope::Cluster,
        "How the root of a VM is made from its image.",
        "hkd at start",
    ),
    setting(
        "vm.network.blocked",
        Kind::Ipv4Networks,
        "169.254.0.0/16,100.100.100.200,168.63.129.16",
        Scope::Cluster,
        "Where VMs may not go, but for names (port 53): by default the addresses at which clouds tell their machines secrets.",
        "hkd at start",
    ),
    setting(
        "vm.network.bridge",
        Kind::Text,
        "qvdnet",
        Scope::Cluster,
        "The node's own bridge for its VMs; made when it is not there.",
        "hkd at start",
    ),
    setting(
        "vm.network.dns",
        Kind::Ipv4List,
        "",
        Scope::Cluster,
        "Name servers written to the guests; empty for those the host itself uses.",
        "hkd at each start of a VM",
    ),
    setting(
        "vm.network.gateway",
        Kind::Text,
        "",
        Scope::Cluster,
        "The bridge's own address; empty for the first of the network.",
        "hkd at start",
    ),
    setting(
        "vm.network.ip.start",
        Kind::Ipv4,
        "10.0.0.100",
        Scope::Cluster,
        "The first address a VM may have.",
        "api when a VM is added, hkd at start",
    ),
    setting(
        "vm.network.mac.prefix",
        Kind::MacPrefix,
        "54:52:00",
        Scope::Cluster,
        "The first half of the VMs' MAC addresses.",
        "hkd at each start of a VM",
    ),
    setting(
        "vm.network.netmask",
        Kind::Text,
        "255.255.0.0",
        Scope::Cluster,
        "The VMs' network: a dotted mask or a prefix length.",
        "api when a VM is added, hkd at start",
    ),
    setting(
        "vm.overlay.persistent",
        Kind::Bool,
        "0",
        Scope::Cluster,
        "Whether what a VM wrote outside its home is kept from one start to the next.",
        "hkd at each start of a VM",
    ),
    setting(
        "vm.overlay.size.max",
        Kind::Number(0, 1_000_000_000),
        "10240",
        Scope::Cluster,
        "How many MiB a VM may write beside its home, with `storage.quota`; 0 for no limit.",
        "hkd at each start of a VM",
    ),
    setting(
        "vm.processes.max",
        Kind::Number(64, 1_000_000),
        "4096",
        Scope::Cluster,
        "How many processes and threads a VM may have.",
        "hkd at each start of a VM",
    ),
    setting(
        "vm.start.timeout",
        Kind::Number(5, 3600),
        "270",
        Scope::Cluster,
        "How many seconds a connecting user waits for a VM to start.",
        "api",
    ),
    setting(
        "vm.stop.timeout",
        Kind::Number(0, 600),
        "30",
        Scope::Cluster,
        "How many seconds a VM has to shut down before it is ended.",
        "hkd at each stop of a VM",
    ),
];

/// How many bytes a value may have, references replaced.
pub const LENGTH_MAX: usize = 4096;
/// How many references to other keys a value may have, and those that it leads to, all together.
const REFERENCES_MAX: usize = 64;

/// The setting with a key.
pub fn find(key: &str) -> Option<&'static Setting> {
    ALL.iter().find(|setting| setting.key == key)
}

/// What is wrong with a key or a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSetting {
    /// No such key.
    #[error("there is no setting `{key}`{}", .suggestion.as_ref().map_or(String::new(), |s| format!(": did you mean `{s}`?")))]
    Unknown {
        /// As it was written.
        key: String,
        /// The nearest key there is.
        suggestion: Option<&'static str>,
    },
    /// The value does not fit.
    #[error("`{value}` is no value for {key}: {wanted}")]
    Value {
        /// The key.
        key: &'static str,
        /// As it was written.
        value: String,
        /// What would fit.
        wanted: String,
    },
    /// Set in the file only.
    #[error("{0} can be set only in the file node.conf of each host")]
    FileOnly(&'static str),
    /// `${…}` that leads back to itself, or to too many others.
    #[error("the value of {0} refers to itself, or to more than {REFERENCES_MAX} others")]
    Circular(String),
}

/// Checks a key and a value that someone wants to set.
pub fn check(key: &str, value: &str) -> Result<&'static Setting, BadSetting> {
    let setting = find(key)
        .ok_or_else(|| BadSetting::Unknown { key: key.to_owned(), suggestion: nearest(key) })?;
    if value.len() > LENGTH_MAX {
        return Err(too_long(setting));
    }
    match refers(value) {
        // What comes of it is checked where it is resolved.
        Some(true) => Ok(setting),
        Some(false) => fits(setting, value).map(|()| setting),
        None => Err(BadSetting::Value {
            key: setting.key,
            value: value.to_owned(),
            wanted: "a value in which each `${` has its `}`".to_owned(),
        }),
    }
}

fn too_long(setting: &'static Setting) -> BadSetting {
    let wanted = format!("no more than {LENGTH_MAX} bytes");
    BadSetting::Value { key: setting.key, value: "…".to_owned(), wanted }
}

/// Whether a value refers to other keys; `None` when a reference has no end.
fn refers(value: &str) -> Option<bool> {
    let mut parts = value.split("${").skip(1).peekable();
    let some = parts.peek().is_some();
    parts.all(|part| part.contains('}')).then_some(some)
}

/// Whether a value without references is one of its kind.
fn fits(setting: &'static Setting, value: &str) -> Result<(), BadSetting> {
    let wanted = match setting.kind {
        Kind::Text => value.contains(['\n', '\r', '\0']).then(|| "one line of text".to_owned()),
        Kind::Path => {
            let good = value.starts_with('/') && !value.split('/').any(|part| part == "..");
            (!good || value.contains(['\n', '\0']))
                .then(|| "an absolute path without `..`".to_owned())
        }
        Kind::Bool => bool_of(value).is_none().then(|| "0 or 1".to_owned()),
        Kind::Number(low, high) => {
            let fits = value.parse::<i64>().is_ok_and(|n| (low..=high).contains(&n));
            (!fits).then(|| format!("a whole number from {low} to {high}"))
        }
        Kind::Ipv4 => value.parse::<Ipv4Addr>().is_err().then(|| "an IPv4 address".to_owned()),
        Kind::Ipv4List => {
            let fits = value.is_empty()
                || value.split(',').all(|part| part.trim().parse::<Ipv4Addr>().is_ok());
            (!fits).then(|| "IPv4 addresses separated by commas".to_owned())
        }
        Kind::Ipv4Networks => networks_of(value).is_none().then(|| {
            "IPv4 addresses or networks, such as 10.1.0.0/16, separated by commas".to_owned()
        }),
        Kind::MacPrefix => (!is_mac_prefix(value))
            .then(|| "the first half of a MAC address, such as 54:52:00".to_owned()),
        Kind::Word(words) => {
            (!words.contains(&value)).then(|| format!("one of {}", words.join(", ")))
        }
    };
    match wanted {
        None => Ok(()),
        Some(wanted) => {
            Err(BadSetting::Value { key: setting.key, value: value.to_owned(), wanted })
        }
    }
}

/// Three octets in hexadecimal, of which the first is even: odd ones are addresses of groups.
fn is_mac_prefix(value: &str) -> bool {
    let octet = |part: &str| {
        let hex = part.len() == 2 && part.bytes().all(|c| c.is_ascii_hexdigit());
        u8::from_str_radix(part, 16).ok().filter(|_| hex)
    };
    let octets: Vec<Option<u8>> = value.split(':').map(octet).collect();
    matches!(octets.as_slice(), [Some(first), Some(_), Some(_)] if first % 2 == 0)
}

fn bool_of(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Some(true),
        "0" | "false" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// The networks in a list, an address alone being one of a single host.
fn networks_of(value: &str) -> Option<Vec<Ipv4Net>> {
    let network = |part: &str| {
        let part = part.trim();
        part.parse::<Ipv4Addr>().map(Ipv4Net::from).or_else(|_| part.parse()).ok()
    };
    if value.trim().is_empty() { Some(Vec::new()) } else { value.split(',').map(network).collect() }
}

/// The key that is fewest changes of a letter away, if it is near at all.
fn nearest(key: &str) -> Option<&'static str> {
    ALL.iter()
        .map(|setting| (distance(key, setting.key), setting.key))
        .min()
        .filter(|(far, _)| *far <= 3.max(key.len() / 4))
        .map(|(_, near)| near)
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut left = i + 1;
        let mut diagonal = i;
        for (cell, y) in row.iter_mut().skip(1).zip(&b) {
            let above = *cell;
            *cell = (diagonal + usize::from(x != *y)).min(above + 1).min(left + 1);
            diagonal = above;
            left = *cell;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

/// The values in force: what is set, over the defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    set: HashMap<String, String>,
}

impl Settings {
    /// Puts a layer on top: later layers win.
    pub fn layer(&mut self, values: impl IntoIterator<Item = (String, String)>) {
        self.set.extend(values);
    }

    /// Puts the rows of the database on top. Rows are not trusted with what only the file may say.
    pub fn layer_rows(&mut self, rows: impl IntoIterator<Item = (String, String)>) {
        let allowed = |key: &str| find(key).is_some_and(|setting| setting.scope != Scope::File);
        self.set.extend(rows.into_iter().filter(|(key, _)| allowed(key)));
    }

    /// Whether a layer sets this key.
    pub fn is_set(&self, key: &str) -> bool {
        self.set.contains_key(key)
    }

    /// The value of a key with every `${key}` replaced. An unknown key is a mistake of the program's
    /// reader, and of the person who wrote `${…}`: both get an error.
    pub fn get(&self, key: &str) -> Result<String, BadSetting> {
        let (setting, value) = self.resolve(key, &mut 0)?;
        fits(setting, &value)?;
        Ok(value)
    }

    /// `references` counts those that were followed: a few lines could lead to billions.
    fn resolve(
        &self,
        key: &str,
        references: &mut usize,
    ) -> Result<(&'static Setting, String), BadSetting> {
        *references += 1;
        if *references > REFERENCES_MAX {
            return Err(BadSetting::Circular(key.to_owned()));
        }
        let setting = find(key)
            .ok_or_else(|| BadSetting::Unknown { key: key.to_owned(), suggestion: nearest(key) })?;
        let mut rest = self.set.get(key).map_or(setting.default, String::as_str);
        let mut value = String::new();
        while let Some((before, after)) = rest.split_once("${") {
            let Some((inner, tail)) = after.split_once('}') else { break };
            value.push_str(before);
            value.push_str(&self.resolve(inner, references)?.1);
            rest = tail;
        }
        value.push_str(rest);
        if value.len() > LENGTH_MAX {
            return Err(too_long(setting));
        }
        Ok((setting, value))
    }

    /// A whole number.
    pub fn number(&self, key: &str) -> Result<i64, BadSetting> {
        let value = self.get(key)?;
        value.parse().map_err(|_| Self::unfit(key, value, "a whole number"))
    }

    /// Yes or no.
    pub fn bool(&self, key: &str) -> Result<bool, BadSetting> {
        let value = self.get(key)?;
        bool_of(&value).ok_or_else(|| Self::unfit(key, value, "0 or 1"))
    }

    /// An IPv4 address.
    pub fn ipv4(&self, key: &str) -> Result<Ipv4Addr, BadSetting> {
        let value = self.get(key)?;
        value.parse().map_err(|_| Self::unfit(key, value, "an IPv4 address"))
    }

    /// IPv4 networks; those within or next to each other are made one.
    pub fn networks(&self, key: &str) -> Result<Vec<Ipv4Net>, BadSetting> {
        let value = self.get(key)?;
        let networks = networks_of(&value);
        let networks = networks.ok_or_else(|| Self::unfit(key, value, "IPv4 networks"))?;
        Ok(Ipv4Net::aggregate(&networks))
    }

    fn unfit(key: &str, value: String, wanted: &str) -> BadSetting {
        let key = find(key).map_or("", |setting| setting.key);
        BadSetting::Value { key, value, wanted: wanted.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_a_value_of_its_kind_and_keys_are_sorted() {
        for setting in ALL {
            assert!(Settings::default().get(setting.key).is_ok(), "{}", setting.key);
        }
        assert!(ALL.windows(2).all(|pair| pair[0].key < pair[1].key));
    }

    #[test]
    fn a_few_lines_do_not_grow_without_end() {
        let mut settings = Settings::default();
        let keys: Vec<&str> = ALL.iter().map(|setting| setting.key).collect();
        let lead =
            keys.windows(2).map(|pair| (pair[0].to_owned(), format!("${{{}}}", pair[1]).repeat(9)));
        settings.layer(lead);
        let found = settings.get(keys[0]).unwrap_err();
        assert!(matches!(found, BadSetting::Circular(_)), "{found}");
        assert!(check("path.storage.root", &"/x".repeat(LENGTH_MAX)).is_err());
    }

    #[test]
    fn the_two_printed_set_ups_of_btrfs_resolve() {
        let mut settings = Settings::default();
        settings.layer([("path.storage.btrfs.root".into(), "${path.storage.root}".into())]);
        assert_eq!(
            settings.get("path.storage.overlayfs").unwrap(),
            "/var/lib/qvd/storage/overlayfs"
        );
        settings.layer([("path.storage.btrfs.root".into(), "/srv/btrfs".into())]);
        assert_eq!(settings.get("path.storage.basefs").unwrap(), "/srv/btrfs/basefs");
        assert_eq!(settings.get("path.storage.homefs").unwrap(), "/var/lib/qvd/storage/homefs");
    }

    #[test]
    fn a_wrong_key_is_refused_with_a_suggestion() {
        let error = check("vm.overlay.persistant", "1").unwrap_err();
        assert_eq!(
            error.to_string(),
            "there is no setting `vm.overlay.persistant`: did you mean `vm.overlay.persistent`?"
        );
        let error = check("vm.overlay.persistent", "maybe").unwrap_err();
        assert_eq!(error.to_string(), "`maybe` is no value for vm.overlay.persistent: 0 or 1");
    }

    #[test]
    fn networks_are_addresses_with_or_without_a_length() {
        let mut settings = Settings::default();
        let key = "vm.network.blocked";
        settings.layer([(key.into(), "10.1.0.0/16, 10.1.2.3,192.0.2.7".into())]);
        let found: Vec<String> =
            settings.networks(key).unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(found, ["10.1.0.0/16", "192.0.2.7/32"]);
        assert!(check(key, "").is_ok());
        for bad in ["10.1", "10.0.0.0/33", "1.2.3.4,,", "::1", "1.2.3.4 } drop"] {
            assert!(check(key, bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_reference_without_an_end_hides_nothing() {
        for bad in ["/srv/${", "${path.storage.root}/${x", "/a/../${"] {
            assert!(check("path.storage.homefs", bad).is_err(), "{bad}");
        }
        let mut settings = Settings::default();
        settings.layer_rows([("path.storage.homefs".into(), "/../etc/${".into())]);
        assert!(settings.get("path.storage.homefs").is_err());
    }

    #[test]
    fn the_first_half_of_a_hardware_address_is_nothing_else() {
        for good in ["54:52:00", "02:aB:ff"] {
            assert!(check("vm.network.mac.prefix", good).is_ok(), "{good}");
        }
        let rule = "54:52:00 } ; flush ruleset ; add table bridge x {";
        for bad in ["", "54:52", "54:52:00:01", "54:52:0", "+4:52:00", "55:52:00", "54:52:0g", rule]
        {
            assert!(check("vm.network.mac.prefix", bad).is_err(), "{bad}");
        }
        // What a row says is checked where it is read.
        let mut settings = Settings::default();
        settings.layer_rows([("vm.network.mac.prefix".into(), rule.into())]);
        assert!(settings.get("vm.network.mac.prefix").is_err());
    }

    #[test]
    fn a_row_cannot_say_what_only_the_file_may() {
        let mut settings = Settings::default();
        settings.layer_rows([
            ("path.vma".into(), "/tmp/evil".into()),
            ("path.storage.allowed".into(), "/".into()),
            ("vm.processes.max".into(), "99".into()),
        ]);
        assert_eq!(settings.get("path.vma").unwrap(), "");
        assert_eq!(settings.get("path.storage.allowed").unwrap(), "/var/lib/qvd");
        assert_eq!(settings.get("vm.processes.max").unwrap(), "99");
    }

    #[test]
    fn a_value_that_refers_to_itself_is_an_error_not_a_loop() {
        let mut settings = Settings::default();
        settings.layer([("path.storage.root".into(), "${path.storage.images}".into())]);
        assert!(matches!(settings.get("path.storage.root"), Err(BadSetting::Circular(_))));
    }
}
