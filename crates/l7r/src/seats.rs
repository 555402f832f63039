//! How many connections may be somebody's.
//!
//! A stranger takes a seat of its address. A client that has said who it is gives that back and takes
//! one of its login; so a whole office behind one address works, and neither a machine that opens
//! connections and says nothing nor a user with a password takes more than a share.
//!
//! Where all places are taken, by machines enough, somebody gives way to who comes: the stranger that
//! has been there longest, of the network that has most of them. So those who are quick to say who
//! they are get in, however many say nothing.

use std::{
    cmp::Reverse,
    collections::{HashMap, VecDeque},
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, PoisonError},
};

use tokio_util::sync::CancellationToken;

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
    lines: Arc<Mutex<Lines>>,
}

/// Who is there, by address or IPv6 /48, those who came first at the front.
#[derive(Debug, Default)]
struct Lines {
    /// How many have come.
    turn: u64,
    waiting: HashMap<Network, VecDeque<(u64, CancellationToken)>>,
}

/// A stranger's seat. Dropping it gives it back.
#[derive(Debug)]
pub(crate) struct StrangersSeat {
    _seat: Seat<Network>,
    line: Network,
    turn: u64,
    lines: Arc<Mutex<Lines>>,
    gives_way: CancellationToken,
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
        Self { most, taken: Taken::default(), lines: Arc::default() }
    }

    /// Whether there is a seat left for an address.
    pub(crate) fn admits(&self, address: IpAddr) -> bool {
        let counts = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        is_free(&counts, &self.shares(address))
    }

    /// A seat, if there is one left.
    pub(crate) fn take(&self, address: IpAddr) -> Option<StrangersSeat> {
        let shares = self.shares(address);
        let (line, _) = *shares.last()?;
        let seat = Seat::take(&self.taken, shares)?;
        let gives_way = CancellationToken::new();
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.turn += 1;
        let turn = lines.turn;
        lines.waiting.entry(line).or_default().push_back((turn, gives_way.clone()));
        let lines = Arc::clone(&self.lines);
        Some(StrangersSeat { _seat: seat, line, turn, lines, gives_way })
    }

    /// Has one give way: of the longest line the first, of lines of one length the one who came first.
    pub(crate) fn make_room(&self) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let longest = lines
            .waiting
            .iter_mut()
            .max_by_key(|(_, line)| (line.len(), Reverse(line.front().map(|(turn, _)| *turn))));
        if let Some((_, gives_way)) = longest.and_then(|(_, line)| line.pop_front()) {
            gives_way.cancel();
        }
    }

    /// What an address counts for, the widest last, and how many each may have.
    fn shares(&self, address: IpAddr) -> Vec<(Network, usize)> {
        match address.to_canonical() {
            // One machine has all of a /64, and one subscriber may have all of a /48.
            IpAddr::V6(address) => {
                vec![
                    (network(address, 64), self.most),
                    (network(address, 48), self.most.saturating_mul(NETWORKS_OF_A_SITE)),
                ]
            }
            v4 @ IpAddr::V4(_) => vec![(Network(v4, 32), self.most)],
        }
    }
}

impl StrangersSeat {
    /// Cancelled when this one is to give way.
    pub(crate) fn gives_way(&self) -> &CancellationToken {
        &self.gives_way
    }
}

impl Drop for StrangersSeat {
    fn drop(&mut self) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(line) = lines.waiting.get_mut(&self.line) {
            line.retain(|(turn, _)| *turn != self.turn);
            if line.is_empty() {
                lines.waiting.remove(&self.line);
            }
        }
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
        if !is_free(&counts, &shares) {
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

fn is_free<K: Eq + Hash>(counts: &HashMap<K, usize>, shares: &[(K, usize)]) -> bool {
    !shares.iter().any(|(of, most)| counts.get(of).is_some_and(|count| count >= most))
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

    /// Of whoever has most, the one that has been there longest gives way, and nobody twice.
    #[test]
    fn the_longest_of_the_most_gives_way() {
        let seats = Strangers::new(9);
        let at = |text: &str| seats.take(address(text)).unwrap();
        let alone = at("192.0.2.1");
        // Networks of one site are one.
        let site = [at("2001:db8:1:1::1"), at("2001:db8:1:2::1"), at("2001:db8:1:3::1")];
        let pair = [at("192.0.2.2"), at("192.0.2.2")];
        let gone = || {
            let of = |seats: &[StrangersSeat]| -> String {
                seats
                    .iter()
                    .map(|it| if it.gives_way().is_cancelled() { '1' } else { '0' })
                    .collect()
            };
            [of(&site), of(&pair), of(std::slice::from_ref(&alone))].join(" ")
        };
        for expected in ["100 00 0", "110 00 0", "110 10 0", "110 10 1", "111 10 1", "111 11 1"] {
            // Of those with as many as others, the first that came is the first to go.
            seats.make_room();
            assert_eq!(gone(), expected);
        }
        seats.make_room();
        drop((alone, site, pair));
        assert!(seats.lines.lock().unwrap().waiting.is_empty());
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
