//! The firewall under a link that is like a VM's.

use std::net::Ipv4Addr;

use hkd::linux::{
    Linux as _,
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
