//! The guest's interfaces: LXC has configured them; what is missing is put back.

use std::{fs, io, net::Ipv4Addr};

use rustix::io::Errno;
use wire::agent::Guest;

use super::{GuestError, interface};

/// The interface hkd gives every VM.
const ETH: &str = "eth0";

/// Brings `lo` up, and gives `eth0` its address and the default route where they are missing. A VM
/// without `eth0` is one without a network.
pub(super) fn bring_up(guest: &Guest) -> Result<(), GuestError> {
    interface::up("lo").map_err(failed("bring up the link", "lo"))?;
    let (address, prefix) = guest.address;
    let found = match interface::address(ETH) {
        Err(error) if Errno::from_io_error(&error) == Some(Errno::NODEV) => return Ok(()),
        found => found.map_err(failed("read the address", ETH))?,
    };
    if found != Some(address) {
        interface::set_address(ETH, address, prefix).map_err(failed("set the address", ETH))?;
    }
    interface::up(ETH).map_err(failed("bring up the link", ETH))?;
    let routes = fs::read_to_string("/proc/net/route").unwrap_or_default();
    if default_gateway(&routes).is_none() {
        interface::set_gateway(guest.gateway).map_err(failed("set the gateway", ETH))?;
    }
    Ok(())
}

fn failed(verb: &'static str, interface: &'static str) -> impl FnOnce(io::Error) -> GuestError {
    move |error| GuestError::Network { verb, interface, error }
}

/// The gateway of the default route in the kernel's table: `Iface Destination Gateway Flags …`, the
/// addresses as hexadecimal words in the machine's byte order.
fn default_gateway(routes: &str) -> Option<Ipv4Addr> {
    routes.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, destination, gateway, ..] = fields.as_slice() else { return None };
        let mask = fields.get(7)?;
        let all_zero = |word: &str| u32::from_str_radix(word, 16) == Ok(0);
        let word = u32::from_str_radix(gateway, 16).ok()?;
        (all_zero(destination) && all_zero(mask)).then(|| Ipv4Addr::from(word.to_ne_bytes()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_default_route_is_found() {
        let table = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
                     eth0\t0000000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n\
                     eth0\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n";
        assert_eq!(default_gateway(table), Some(Ipv4Addr::new(10, 0, 0, 1)));
        assert_eq!(default_gateway("Iface\n"), None);
    }

    proptest! {
        #[test]
        fn foreign_text_never_panics(table in ".*\n.*\n.*") {
            let _ = default_gateway(&table);
        }
    }
}
