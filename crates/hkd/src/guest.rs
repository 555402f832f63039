//! What a guest is told, and small facts of the machine that go with it.

use std::{fs, net::Ipv4Addr};

use model::VmId;
use sha2::{Digest, Sha256};

/// The machine-id of a VM: the same at each of its starts, and no two VMs have the same.
pub fn machine_id(installation: &str, vm: VmId) -> String {
    let mut hash = Sha256::new();
    hash.update(b"qvd machine-id ");
    hash.update(installation);
    hash.update(vm.0.to_be_bytes());
    hex::encode(hash.finalize().iter().take(16).copied().collect::<Vec<u8>>())
}

/// The name servers the host itself uses, but those that only the host can reach.
pub fn upstreams() -> Vec<Ipv4Addr> {
    ["/run/systemd/resolve/resolv.conf", "/etc/resolv.conf"]
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .map(|text| servers(&text))
        .find(|servers| !servers.is_empty())
        .unwrap_or_default()
}

fn servers(text: &str) -> Vec<Ipv4Addr> {
    text.lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver"))
        .filter_map(|server| server.trim().parse::<Ipv4Addr>().ok())
        .filter(|server| !server.is_loopback())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_vm_has_its_own_lasting_machine_id() {
        let id = machine_id("a", VmId(1));
        assert_eq!(id.len(), 32);
        assert_eq!(id, machine_id("a", VmId(1)));
        assert_ne!(id, machine_id("a", VmId(2)));
        assert_ne!(id, machine_id("b", VmId(1)));
    }

    #[test]
    fn a_resolver_on_the_hosts_loopback_is_of_no_use_to_a_guest() {
        let text = "# made by hand\nnameserver 127.0.0.53\nnameserver 192.0.2.1\nnameserver fe80::1\nsearch x\n";
        assert_eq!(servers(text), [Ipv4Addr::new(192, 0, 2, 1)]);
    }
}
