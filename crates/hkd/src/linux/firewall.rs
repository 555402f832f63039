//! The firewall: two tables of nftables, one set of addresses for each VM.
//!
//! Out of a VM goes what bears its own addresses, through NAT. Nothing opens a connection into a VM,
//! not even this host; VMs do not reach each other, nor services of this host. `nft` takes each
//! change as one transaction.

use std::{net::Ipv4Addr, time::Duration};

use ipnet::Ipv4Net;
use model::VmId;
use serde_json::Value;

use super::{
    command::{Command, text},
    error::{Error, Result},
    mac::Mac,
    names::Names,
};

/// What a VM may send from, through its link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// The VM.
    pub vm: VmId,
    /// Hardware address.
    pub mac: Mac,
    /// IPv4 address.
    pub address: Ipv4Addr,
}

/// The network of a node's VMs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// The bridge's own address, with the length of the network's prefix.
    pub gateway: Ipv4Net,
    /// Where VMs may not go, names apart.
    pub blocked: Vec<Ipv4Net>,
}

/// The tables without any VM. Making them again replaces the rules and keeps the VMs' set. A VM's link
/// is told by its name alone, so one that nobody let through is shut.
pub fn base(names: &Names, network: &Network) -> String {
    let (table, bridge, links) = (names.table(), &names.bridge, names.links());
    let inside = network.gateway.trunc();
    let blocked = blocked(table, bridge, &network.blocked);
    format!(
        "add table bridge {table}
add set bridge {table} sources {{ type ifname . ether_addr . ipv4_addr; }}
add chain bridge {table} from {{ type filter hook prerouting priority -200; policy accept; }}
add chain bridge {table} across {{ type filter hook forward priority 0; policy accept; }}
flush chain bridge {table} from
flush chain bridge {table} across
add rule bridge {table} from iifname != \"{links}\" accept
add rule bridge {table} from ether type ip iifname . ether saddr . ip saddr @sources accept
add rule bridge {table} from ether type arp iifname . ether saddr . arp saddr ip @sources \
iifname . arp saddr ether . arp saddr ip @sources accept
add rule bridge {table} from drop
add rule bridge {table} across iifname \"{links}\" oifname \"{links}\" drop
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
{blocked}add rule inet {table} forward iifname {bridge} oifname {bridge} drop
add rule inet {table} forward oifname {bridge} ct state established,related accept
add rule inet {table} forward oifname {bridge} drop
add rule inet {table} nat ip saddr {inside} oifname != {bridge} masquerade
"
    )
}

fn blocked(table: &str, bridge: &str, networks: &[Ipv4Net]) -> String {
    if networks.is_empty() {
        return String::new();
    }
    let networks: Vec<String> = networks.iter().map(Ipv4Net::to_string).collect();
    let to = format!("iifname {bridge} ip daddr {{ {} }}", networks.join(", "));
    format!(
        "add rule inet {table} forward {to} meta l4proto {{ tcp, udp }} th dport 53 accept
add rule inet {table} forward {to} drop
"
    )
}

/// Lets a VM send from its addresses. Doing it twice is doing it once.
pub fn allow(names: &Names, source: &Source) -> String {
    change("add", names, source)
}

/// Takes back what [`allow`] gave; not given is fine.
pub fn forbid(names: &Names, source: &Source) -> String {
    // Added first, so that the deletion finds it; one transaction.
    allow(names, source) + &change("delete", names, source)
}

fn change(verb: &str, names: &Names, source: &Source) -> String {
    let Source { vm, mac, address } = source;
    let (table, link) = (names.table(), names.link(*vm));
    format!("{verb} element bridge {table} sources {{ {link} . {mac} . {address} }}\n")
}

/// The VMs' addresses that are let through now.
pub fn allowed(names: &Names) -> Result<Vec<Source>> {
    let said = Command::new("nft")
        .args(["-j", "list", "set", "bridge", names.table(), "sources"])
        .run(Duration::from_secs(20))?;
    sources_of(names, &said)
}

/// The elements of the set in what nft lists. Anything that is not understood is an error: who took it
/// for nothing would leave a VM's addresses open.
fn sources_of(names: &Names, said: &str) -> Result<Vec<Source>> {
    let odd = |why: String| Error::Unexpected { what: "what nft lists".to_owned(), why };
    let json: Value = serde_json::from_str(said).map_err(|bad| odd(bad.to_string()))?;
    let objects = json.get("nftables").and_then(Value::as_array);
    let set = objects.into_iter().flatten().find_map(|object| object.get("set"));
    let set = set.ok_or_else(|| odd("there is no set in it".to_owned()))?;
    // A set that is empty is listed without this.
    let Some(elements) = set.get("elem") else { return Ok(Vec::new()) };
    let elements = elements.as_array().ok_or_else(|| odd(format!("`{elements}`")))?;
    elements
        .iter()
        .map(|element| source_of(names, element).ok_or_else(|| odd(format!("`{element}`"))))
        .collect()
}

fn source_of(names: &Names, element: &Value) -> Option<Source> {
    let [link, mac, address] = element.get("concat")?.as_array()?.as_slice() else { return None };
    Some(Source {
        vm: names.vm_of_link(link.as_str()?)?,
        mac: mac.as_str()?.parse().ok()?,
        address: address.as_str()?.parse().ok()?,
    })
}

/// Applies a text of rules as one transaction.
pub fn apply(rules: &str) -> Result<()> {
    let rules = text("rules", rules)?;
    Command::new("nft").args(["-f", "-"]).stdin(rules).run(Duration::from_secs(20)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LISTED: &str = r#"{"nftables": [{"metainfo": {"version": "1.0.6"}}, {"set": {"family": "bridge", "name": "sources", "table": "qvd", "type": ["ifname", "ether_addr", "ipv4_addr"], "handle": 3, "elem": [{"concat": ["qvd-7", "54:52:00:00:00:07", "10.9.0.7"]}]}}]}"#;

    fn names() -> Names {
        Names::new("qvd", "qvdnet").unwrap()
    }

    #[test]
    fn what_nft_lists_is_understood_or_an_error() {
        let source = Source {
            vm: VmId(7),
            mac: "54:52:00:00:00:07".parse().unwrap(),
            address: Ipv4Addr::new(10, 9, 0, 7),
        };
        assert_eq!(sources_of(&names(), LISTED).unwrap(), [source]);
        let empty = r#"{"nftables": [{"metainfo": {}}, {"set": {"name": "sources"}}]}"#;
        assert_eq!(sources_of(&names(), empty).unwrap(), []);
        let none = r#"{"nftables": [{"metainfo": {}}]}"#;
        let bad = ["qvd-7", "00:07", "10.9.0.7", "concat"].map(|part| LISTED.replace(part, "x"));
        for odd in bad.iter().map(String::as_str).chain(["", "{}", "not json", none]) {
            assert!(sources_of(&names(), odd).is_err(), "{odd}");
        }
    }

    proptest! {
        #[test]
        fn no_listing_is_too_odd(at in 0..LISTED.len(), text in "\\PC{0,8}") {
            let mut listed = LISTED.to_owned();
            listed.replace_range(at..=at, &text);
            let _ = sources_of(&names(), &listed);
        }
    }
}
