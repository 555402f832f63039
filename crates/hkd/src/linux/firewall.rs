//! The firewall: two tables of nftables, one set of addresses for each VM.
//!
//! Out of a VM goes what bears its own addresses, through NAT. Nothing opens a connection into a VM,
//! not even this host; VMs do not reach each other, nor services of this host. `nft` takes each
//! change as one transaction.

use std::{io::Write, net::Ipv4Addr, time::Duration};

use super::{
    command::Command,
    error::{Doing, Result},
    names::Names,
};

/// What a VM may send from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The host's end of its link.
    pub link: String,
    /// Hardware address.
    pub mac: String,
    /// IPv4 address.
    pub address: Ipv4Addr,
}

/// The tables without any VM. Making them again replaces the rules and keeps the VMs' sets.
pub fn base(names: &Names, network: Ipv4Addr, prefix: u8) -> String {
    let (table, bridge) = (names.table(), &names.bridge);
    format!(
        "add table bridge {table}
add set bridge {table} links {{ type ifname; }}
add set bridge {table} sources {{ type ifname . ether_addr . ipv4_addr; }}
add chain bridge {table} from {{ type filter hook prerouting priority -200; policy accept; }}
add chain bridge {table} across {{ type filter hook forward priority 0; policy accept; }}
flush chain bridge {table} from
flush chain bridge {table} across
add rule bridge {table} from iifname != @links accept
add rule bridge {table} from ether type ip iifname . ether saddr . ip saddr @sources accept
add rule bridge {table} from ether type arp iifname . ether saddr . arp saddr ip @sources accept
add rule bridge {table} from drop
add rule bridge {table} across iifname @links oifname @links drop
add table inet {table}
add chain inet {table} input {{ type filter hook input priority 0; policy accept; }}
add chain inet {table} output {{ type filter hook output priority 0; policy accept; }}
add chain inet {table} forward {{ type filter hook forward priority 0; policy accept; }}
add chain inet {table} nat {{ type nat hook postrouting priority 100; policy accept; }}
flush chain inet {table} input
flush chain inet {table} output
flush chain inet {table} forward
flush chain inet {table} nat
add rule inet {table} input iifname {bridge} icmp type echo-request accept
add rule inet {table} input iifname {bridge} drop
add rule inet {table} output oifname {bridge} meta l4proto {{ tcp, udp }} ct state new drop
add rule inet {table} forward iifname {bridge} oifname {bridge} drop
add rule inet {table} forward oifname {bridge} ct state established,related accept
add rule inet {table} forward oifname {bridge} drop
add rule inet {table} nat ip saddr {network}/{prefix} oifname != {bridge} masquerade
"
    )
}

/// Takes the tables away with everything in them.
pub fn gone(names: &Names) -> String {
    let table = names.table();
    format!(
        "add table bridge {table}\ndelete table bridge {table}\n\
         add table inet {table}\ndelete table inet {table}\n"
    )
}

/// Lets a VM send from its addresses. Doing it twice is doing it once.
pub fn allow(names: &Names, source: &Source) -> String {
    let Source { link, mac, address } = source;
    let table = names.table();
    format!(
        "add element bridge {table} sources {{ {link} . {mac} . {address} }}\n\
         add element bridge {table} links {{ {link} }}\n"
    )
}

/// Takes back what [`allow`] gave; not given is fine.
pub fn forbid(names: &Names, source: &Source) -> String {
    let Source { link, mac, address } = source;
    let table = names.table();
    // Added first, so that the deletion finds it; one transaction.
    format!(
        "{}delete element bridge {table} sources {{ {link} . {mac} . {address} }}\n\
         delete element bridge {table} links {{ {link} }}\n",
        allow(names, source)
    )
}

/// The VMs' addresses that are let through now.
pub fn allowed(names: &Names) -> Result<Vec<Source>> {
    let said = Command::new("nft")
        .args(["-j", "list", "set", "bridge", names.table(), "sources"])
        .run(Duration::from_secs(20))?;
    Ok(sources_of(&said))
}

fn sources_of(said: &str) -> Vec<Source> {
    let Ok(json) = serde_json::from_str::<serde_json::Value>(said) else { return Vec::new() };
    let objects = json.get("nftables").and_then(|objects| objects.as_array());
    let elements = objects
        .into_iter()
        .flatten()
        .filter_map(|object| object.pointer("/set/elem").and_then(|elements| elements.as_array()));
    elements
        .flatten()
        .filter_map(|element| {
            let parts = element.get("concat")?.as_array()?;
            let part = |at: usize| parts.get(at).and_then(|part| part.as_str());
            Some(Source {
                link: part(0)?.to_owned(),
                mac: part(1)?.to_owned(),
                address: part(2)?.parse().ok()?,
            })
        })
        .collect()
}

/// Applies a text of rules as one transaction.
pub fn apply(rules: &str) -> Result<()> {
    let doing = || "hand rules to nft".to_owned();
    let file = rustix::fs::memfd_create("rules", rustix::fs::MemfdFlags::CLOEXEC).doing(doing)?;
    let mut file = std::fs::File::from(file);
    file.write_all(rules.as_bytes()).doing(doing)?;
    rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(0)).doing(doing)?;
    Command::new("nft").args(["-f", "-"]).stdin(file.into()).run(Duration::from_secs(20)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nft_lists_is_understood() {
        let said = r#"{"nftables": [{"metainfo": {"version": "1.0.6"}}, {"set": {"family": "bridge", "name": "sources", "table": "qvd", "type": ["ifname", "ether_addr", "ipv4_addr"], "handle": 3, "elem": [{"concat": ["qvd7", "54:52:00:00:00:07", "10.9.0.7"]}]}}]}"#;
        let source = Source {
            link: "qvd7".into(),
            mac: "54:52:00:00:00:07".into(),
            address: Ipv4Addr::new(10, 9, 0, 7),
        };
        assert_eq!(sources_of(said), [source]);
        assert_eq!(sources_of("{}"), []);
        assert_eq!(sources_of("not json"), []);
    }
}
