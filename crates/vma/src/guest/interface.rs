//! The kernel's old calls for network interfaces: few, and in every kernel and every image.
#![expect(unsafe_code, reason = "these calls take C structures with unions")]

use std::{
    io,
    mem::zeroed,
    net::Ipv4Addr,
    os::fd::{AsRawFd, OwnedFd},
};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

#[expect(clippy::cast_possible_truncation, reason = "a flag of 1, in the type of its field")]
const UP: libc::c_short = libc::IFF_UP as libc::c_short;
#[expect(clippy::cast_possible_truncation, reason = "a family of 2, in the type of its field")]
const INET: libc::sa_family_t = libc::AF_INET as libc::sa_family_t;

/// Brings the interface up.
pub(super) fn up(name: &str) -> io::Result<()> {
    let socket = socket()?;
    let mut request = request_for(name)?;
    call(&socket, libc::SIOCGIFFLAGS, &mut request)?;
    // SAFETY: the call above filled in the flags, and any bits are valid flags.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    let wanted = flags | UP;
    if flags == wanted {
        return Ok(());
    }
    request.ifr_ifru.ifru_flags = wanted;
    call(&socket, libc::SIOCSIFFLAGS, &mut request)
}

/// The interface's IPv4 address, if it has one.
pub(super) fn address(name: &str) -> io::Result<Option<Ipv4Addr>> {
    let mut request = request_for(name)?;
    match call(&socket()?, libc::SIOCGIFADDR, &mut request) {
        Err(error) if error.raw_os_error() == Some(libc::EADDRNOTAVAIL) => Ok(None),
        Err(error) => Err(error),
        // SAFETY: the call filled in a socket address, and any bytes are valid ones.
        Ok(()) => Ok(Some(from_sockaddr(unsafe { request.ifr_ifru.ifru_addr }))),
    }
}

/// Gives the interface this address and prefix length.
pub(super) fn set_address(name: &str, address: Ipv4Addr, prefix: u8) -> io::Result<()> {
    let socket = socket()?;
    let mut request = request_for(name)?;
    request.ifr_ifru.ifru_addr = to_sockaddr(address);
    call(&socket, libc::SIOCSIFADDR, &mut request)?;
    let mask = u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0);
    request.ifr_ifru.ifru_netmask = to_sockaddr(Ipv4Addr::from(mask));
    call(&socket, libc::SIOCSIFNETMASK, &mut request)
}

/// Makes `gateway` the default route.
pub(super) fn set_gateway(gateway: Ipv4Addr) -> io::Result<()> {
    // SAFETY: all zeroes is a valid route: numbers, addresses and a null pointer.
    let mut route: libc::rtentry = unsafe { zeroed() };
    route.rt_dst = to_sockaddr(Ipv4Addr::UNSPECIFIED);
    route.rt_genmask = to_sockaddr(Ipv4Addr::UNSPECIFIED);
    route.rt_gateway = to_sockaddr(gateway);
    route.rt_flags = libc::RTF_UP | libc::RTF_GATEWAY;
    call(&socket()?, libc::SIOCADDRT, &mut route)
}

fn socket() -> io::Result<OwnedFd> {
    Ok(socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?)
}

fn request_for(name: &str) -> io::Result<libc::ifreq> {
    // SAFETY: all zeroes is a valid request: an empty name and numbers.
    let mut request: libc::ifreq = unsafe { zeroed() };
    // One byte stays zero: the name's end.
    if name.len() >= request.ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    Ok(request)
}

fn call<T>(
    socket: &OwnedFd,
    number: impl TryInto<libc::Ioctl>,
    argument: &mut T,
) -> io::Result<()> {
    let number = number.try_into().map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the callers pair each number with the structure the kernel documents for it, which
    // lives through the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), number, std::ptr::from_mut(argument)) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// An IPv4 socket address holds family, port and address: the latter in bytes 2 to 5 of the data.
fn to_sockaddr(address: Ipv4Addr) -> libc::sockaddr {
    let mut data = [0; 14];
    for (to, from) in data.iter_mut().skip(2).zip(address.octets()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    libc::sockaddr { sa_family: INET, sa_data: data }
}

fn from_sockaddr(address: libc::sockaddr) -> Ipv4Addr {
    let [_, _, a, b, c, d, ..] = address.sa_data;
    Ipv4Addr::from([a, b, c, d].map(|byte| u8::from_ne_bytes(byte.to_ne_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_has_its_address() {
        assert_eq!(address("lo").unwrap(), Some(Ipv4Addr::LOCALHOST));
        assert!(address("a-name-that-is-too-long").is_err());
        assert!(up("qvd-none").is_err());
    }

    #[test]
    fn addresses_survive_the_way_to_the_kernel_and_back() {
        for address in [Ipv4Addr::new(10, 255, 0, 129), Ipv4Addr::BROADCAST] {
            assert_eq!(from_sockaddr(to_sockaddr(address)), address);
        }
    }
}
