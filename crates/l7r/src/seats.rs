//! How many strangers one address may keep.
//!
//! A client that has said who it is gives its seat back; so a whole office behind one address works,
//! and one machine that opens connections and says nothing takes no more than its share.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, PoisonError},
};

/// The seats of all addresses.
#[derive(Clone, Debug)]
pub(crate) struct Seats {
    most: usize,
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// One seat; dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Seat {
    of: IpAddr,
    seats: Seats,
}

impl Seats {
    /// So many for each address.
    pub(crate) fn new(most: usize) -> Self {
        Self { most, taken: Arc::default() }
    }

    /// A seat, if there is one left.
    pub(crate) fn take(&self, address: IpAddr) -> Option<Seat> {
        let of = group(address);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(of).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Seat { of, seats: self.clone() })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.of) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.of);
            }
        }
    }
}

/// The address, or the network of an IPv6 address: one machine has all of it.
fn group(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seat_given_back_can_be_taken_and_neighbours_share() {
        let seats = Seats::new(2);
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let first = seats.take(address("2001:db8::1")).unwrap();
        let _second = seats.take(address("2001:db8::2:1")).unwrap();
        assert!(seats.take(address("2001:db8::3")).is_none());
        let _other = seats.take(address("2001:db8:0:1::1")).unwrap();
        let _v4 = seats.take(address("192.0.2.1")).unwrap();
        let _same = seats.take(address("::ffff:192.0.2.1")).unwrap();
        assert!(seats.take(address("192.0.2.1")).is_none());
        drop(first);
        drop(seats.take(address("2001:db8::3")).unwrap());
        assert!(seats.taken.lock().unwrap().values().all(|count| *count > 0));
    }
}
