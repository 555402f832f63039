//! The addresses of a node's VMs: one IPv4 network behind the node's own bridge.

use std::net::Ipv4Addr;

/// An IPv4 network with the range its VMs get addresses from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VmNetwork {
    /// Prefix length, 8 to 29.
    pub prefix: u8,
    /// The bridge's own address: the VMs' gateway.
    pub gateway: Ipv4Addr,
    /// The first address a VM may have.
    pub start: Ipv4Addr,
}

/// Settings that do not describe a network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadNetwork {
    /// Not a mask.
    #[error("`{0}` is neither a dotted IPv4 netmask nor a prefix length from 8 to 29")]
    Netmask(String),
    /// Start and gateway are apart.
    #[error("the gateway {gateway} is not in the network of vm.network.ip.start {start}/{prefix}")]
    Gateway {
        /// The gateway given.
        gateway: Ipv4Addr,
        /// The first address of VMs.
        start: Ipv4Addr,
        /// Prefix length.
        prefix: u8,
    },
    /// Start is not an address of a host.
    #[error(
        "vm.network.ip.start {0} leaves no address below it for the gateway and none above it for VMs"
    )]
    Start(Ipv4Addr),
}

impl VmNetwork {
    /// The network of `vm.network.ip.start`, `vm.network.netmask` (dotted or a length) and
    /// `vm.network.gateway` (empty: the network's first address).
    pub fn new(
        start: Ipv4Addr,
        netmask: &str,
        gateway: Option<Ipv4Addr>,
    ) -> Result<Self, BadNetwork> {
        let bad = || BadNetwork::Netmask(netmask.to_owned());
        let prefix = if let Ok(prefix) = netmask.parse::<u8>() {
            prefix
        } else {
            let mask = u32::from(netmask.parse::<Ipv4Addr>().map_err(|_| bad())?);
            let ones = mask.leading_ones();
            if mask.checked_shl(ones).unwrap_or(0) != 0 {
                return Err(bad());
            }
            u8::try_from(ones).map_err(|_| bad())?
        };
        if !(8..=29).contains(&prefix) {
            return Err(bad());
        }
        let network = u32::from(start) & mask_of(prefix);
        let first = Ipv4Addr::from(network + 1);
        let this = Self { prefix, gateway: gateway.unwrap_or(first), start };
        if start <= first || start >= this.broadcast() {
            return Err(BadNetwork::Start(start));
        }
        if !this.contains(this.gateway) || this.gateway == this.network() {
            return Err(BadNetwork::Gateway { gateway: this.gateway, start, prefix });
        }
        Ok(this)
    }

    /// The network's own address.
    pub fn network(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.start) & mask_of(self.prefix))
    }

    /// The broadcast address.
    pub fn broadcast(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.network()) | !mask_of(self.prefix))
    }

    /// Whether an address lies in the network.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        u32::from(address) & mask_of(self.prefix) == u32::from(self.network())
    }

    /// Whether a VM may have this address.
    pub fn is_for_vms(&self, address: Ipv4Addr) -> bool {
        self.contains(address)
            && address >= self.start
            && address < self.broadcast()
            && address != self.gateway
    }

    /// The highest free address, as the original gives them: downwards from below the broadcast.
    pub fn free(&self, taken: &std::collections::HashSet<Ipv4Addr>) -> Option<Ipv4Addr> {
        (u32::from(self.start)..u32::from(self.broadcast()))
            .rev()
            .map(Ipv4Addr::from)
            .find(|address| self.is_for_vms(*address) && !taken.contains(address))
    }

    /// The MAC address that belongs to an IPv4 address: the prefix and the last three octets, as the
    /// original makes them.
    pub fn mac(prefix: &str, address: Ipv4Addr) -> String {
        let [_, b, c, d] = address.octets();
        format!("{prefix}:{b:02x}:{c:02x}:{d:02x}")
    }
}

fn mask_of(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn ip(text: &str) -> Ipv4Addr {
        text.parse().unwrap()
    }

    #[test]
    fn addresses_are_given_from_the_top_and_run_out() {
        let net = VmNetwork::new(ip("10.9.0.4"), "255.255.255.248", None).unwrap();
        assert_eq!((net.gateway, net.broadcast()), (ip("10.9.0.1"), ip("10.9.0.7")));
        let mut taken = HashSet::new();
        let mut given = Vec::new();
        while let Some(address) = net.free(&taken) {
            taken.insert(address);
            given.push(address.to_string());
        }
        assert_eq!(given, ["10.9.0.6", "10.9.0.5", "10.9.0.4"]);
    }

    #[test]
    fn masks_may_be_dotted_or_a_length_and_nothing_else() {
        let same = VmNetwork::new(ip("10.0.0.100"), "16", None);
        assert_eq!(VmNetwork::new(ip("10.0.0.100"), "255.255.0.0", None), same);
        for bad in ["255.0.255.0", "33", "0", "x", "30"] {
            assert!(VmNetwork::new(ip("10.0.0.100"), bad, None).is_err(), "{bad}");
        }
        assert!(VmNetwork::new(ip("10.0.0.100"), "16", Some(ip("10.1.0.1"))).is_err());
        assert!(VmNetwork::new(ip("10.0.0.0"), "16", None).is_err());
    }

    #[test]
    fn a_mac_is_the_prefix_and_three_octets() {
        assert_eq!(VmNetwork::mac("54:52:00", ip("10.3.15.240")), "54:52:00:03:0f:f0");
    }
}
