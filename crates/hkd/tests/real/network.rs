//! The firewall under a link that is like a VM's.

use std::net::Ipv4Addr;

use hkd::linux::{
    Error, Linux as _,
    firewall::{Network, Source},
};

use crate::place::{Place, Program, VM, shell, try_shell, until};

/// A link with the name of a VM's is shut until its addresses are let through; then these pass and no
/// others; taken back, nothing passes. Making the network again changes none of it.
#[test]
fn a_link_is_shut_until_its_addresses_are_let_through() {
    let place = Place::enter();
    let gateway = "10.99.0.1";
    let network = Network { gateway: "10.99.0.1/24".parse().unwrap(), blocked: Vec::new() };
    place.real.ensure_network(&network).unwrap();
    let guest = Program::start("exec unshare -n sleep 600");
    let pid = guest.0.id();
    until("a network for the guest", || {
        try_shell(&format!("test $(readlink /proc/{pid}/ns/net) != $(readlink /proc/self/ns/net)"))
    });
    let (link, bridge) = (place.names.link(VM), &place.names.bridge);
    shell(&format!(
        "ip link add {link} type veth peer name eth0 netns {pid} && \
         ip link set {link} master {bridge} up && \
         nsenter -t {pid} -n sh -c 'ip link set eth0 address 54:52:00:63:00:0a && \
             ip address add 10.99.0.10/24 dev eth0 && ip address add 10.99.0.11/24 dev eth0 && \
             ip link set eth0 up'"
    ));
    let ping = |from: &str| {
        try_shell(&format!("nsenter -t {pid} -n ping -c 1 -W 1 -I {from} {gateway}")).map(drop)
    };
    assert!(ping("10.99.0.10").is_err(), "nobody let it through");
    let source = Source {
        vm: VM,
        mac: "54:52:00:63:00:0a".parse().unwrap(),
        address: Ipv4Addr::new(10, 99, 0, 10),
    };
    assert_eq!(place.real.allowed().unwrap(), []);
    for _ in 0..2 {
        place.real.allow(&source).unwrap();
        assert_eq!(place.real.allowed().unwrap(), [source]);
    }
    until("its own address to pass", || ping("10.99.0.10"));
    assert!(ping("10.99.0.11").is_err(), "an address of another");
    place.real.ensure_network(&network).unwrap();
    assert_eq!(place.real.allowed().unwrap(), [source]);
    until("its own address to pass", || ping("10.99.0.10"));
    for _ in 0..2 {
        place.real.forbid(&source).unwrap();
        assert_eq!(place.real.allowed().unwrap(), []);
    }
    assert!(ping("10.99.0.10").is_err(), "it was taken back");
}

/// A link with the bridge's name that is no bridge, and a bridge of others, are refused as they are;
/// one that is ours, with a VM's link on it, is used again.
#[test]
fn a_bridge_of_others_is_left_alone() {
    let place = Place::enter();
    let network = Network { gateway: "10.99.0.1/24".parse().unwrap(), blocked: Vec::new() };
    let (bridge, link) = (&place.names.bridge, place.names.link(VM));
    for (make, why) in [
        (format!("ip link add {bridge} type veth peer name far"), "it is no bridge"),
        (
            format!(
                "ip link add {bridge} type bridge && ip link add other type veth peer name far && \
                 ip link set other master {bridge}"
            ),
            "other hangs on it",
        ),
        (
            format!("ip link add {bridge} type bridge && ip address add 192.0.2.1/24 dev {bridge}"),
            "it has the address 192.0.2.1",
        ),
    ] {
        shell(&make);
        let before = shell("ip address");
        let refused = place.real.ensure_network(&network).unwrap_err();
        assert!(matches!(&refused, Error::InUse { why: said, .. } if said == why), "{refused}");
        assert_eq!(shell("ip address"), before, "nothing is changed");
        shell(&format!("ip link del {bridge}"));
        let _ = try_shell("ip link del far");
    }
    place.real.ensure_network(&network).unwrap();
    shell(&format!(
        "ip link add {link} type veth peer name far && ip link set {link} master {bridge}"
    ));
    place.real.ensure_network(&network).unwrap();
}
