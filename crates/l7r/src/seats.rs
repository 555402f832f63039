//! How many connections may be somebody's.
//!
//! A stranger takes a seat of its address. A client that has said who it is gives that back and takes
//! one of its login; so a whole office behind one address works, and neither a machine that opens
//! connections and says nothing nor a user with a password takes more than a share.

use std::{
    collections::HashMap,
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, PoisonError},
};

/// The longest part of a login that is told apart.
const ACCOUNT_LENGTH: usize = 64;

/// How many times as many seats an IPv6 /48 has as each /64 in it.
const NETWORKS_OF_A_SITE: usize = 4;

/// An address, or an IPv6 network and the length of its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Network(IpAddr, u8);

/// The seats that are taken, by whom.
type Taken<K> = Arc<Mutex<HashMap<K, usize>>>;

/// The seats of all addresses.
#[derive(Debug)]
pub(crate) struct Strangers {
    most: usize,
    taken: Taken<Network>,
}

/// The seats of all logins.
#[derive(Debug)]
pub(crate) struct Logins {
    most: usize,
    taken: Taken<String>,
}

/// One seat; dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Seat<K: Eq + Hash> {
    of: Vec<K>,
    taken: Taken<K>,
}

impl Strangers {
    /// So many for each address and each IPv6 /64.
    pub(crate) fn new(most: usize) -> Self {
        Self { most, taken: Taken::default() }
    }

    /// A seat, if there is one left.
    pub(crate) fn take(&self, address: IpAddr) -> Option<Seat<Network>> {
        let shares = match address.to_canonical() {
            // One machine has all of a /64, and one subscriber may have all of a /48.
            IpAddr::V6(address) => {
                vec![
                    (network(address, 64), self.most),
                    (network(address, 48), self.most.saturating_mul(NETWORKS_OF_A_SITE)),
                ]
            }
            v4 @ IpAddr::V4(_) => vec![(Network(v4, 32), self.most)],
        };
        Seat::take(&self.taken, shares)
    }
}

impl Logins {
    /// So many for each login.
    pub(crate) fn new(most: usize) -> Self {
        Self { most, taken: Taken::default() }
    }

    /// A seat, if there is one left.
    pub(crate) fn take(&self, login: &str) -> Option<Seat<String>> {
        Seat::take(&self.taken, vec![(account(login), self.most)])
    }
}

impl<K: Eq + Hash + Clone> Seat<K> {
    /// A seat that counts for each of these, none of which may have more than its share.
    fn take(taken: &Taken<K>, shares: Vec<(K, usize)>) -> Option<Self> {
        let mut counts = taken.lock().unwrap_or_else(PoisonError::into_inner);
        if shares.iter().any(|(of, most)| counts.get(of).is_some_and(|count| count >= most)) {
            return None;
        }
        let of: Vec<K> = shares.into_iter().map(|(of, _)| of).collect();
        for one in &of {
            *counts.entry(one.clone()).or_default() += 1;
        }
        Some(Self { of, taken: Arc::clone(taken) })
    }
}

impl<K: Eq + Hash> Drop for Seat<K> {
    fn drop(&mut self) {
        let mut counts = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        for one in &self.of {
            if let Some(count) = counts.get_mut(one) {
                *count -= 1;
                if *count == 0 {
                    counts.remove(one);
                }
            }
        }
    }
}

fn network(address: Ipv6Addr, length: u8) -> Network {
    let mask = u128::MAX << (128 - u32::from(length));
    Network(Ipv6Addr::from_bits(address.to_bits() & mask).into(), length)
}

/// The login without its tenant and the case of its letters: a user can write it in many ways.
fn account(login: &str) -> String {
    let name = login.split(['@', '#']).next().unwrap_or_default();
    name.trim().chars().take(ACCOUNT_LENGTH).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_seat_given_back_can_be_taken_and_neighbours_share() {
        let seats = Strangers::new(2);
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

    #[test]
    fn a_site_has_four_times_as_many_as_a_network() {
        let seats = Strangers::new(2);
        let at = |network: u16| seats.take(address(&format!("2001:db8:1:{network:x}::1")));
        let taken: Vec<_> = (0..8).map(|network| at(network).unwrap()).collect();
        assert!(at(8).is_none());
        drop(seats.take(address("2001:db8:2::1")).unwrap());
        drop(taken);
        assert!(seats.taken.lock().unwrap().is_empty());
    }

    #[test]
    fn a_login_has_its_seats_however_it_is_written() {
        let seats = Logins::new(3);
        let _taken = ["ada", " Ada@default", "ADA#default"].map(|login| seats.take(login).unwrap());
        assert!(seats.take("aDa").is_none());
        let _other = seats.take("bob").unwrap();
    }
}
