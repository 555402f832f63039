//! Who was let in from where not long ago.
//!
//! Many people may share an address: an office, or everybody behind one load balancer. If a neighbour
//! keeps guessing there, those who have shown that they belong there are not to suffer for it. Only
//! the right password makes an account familiar at a network, so this tells a guesser nothing.

use std::collections::HashMap;

use model::Timestamp;

/// How long somebody stays familiar: over a weekend.
const FAMILIAR_MILLIS: i64 = 3 * 86_400_000;
/// At how many networks an account is familiar, the last ones: whoever has a password cannot make
/// others forgotten.
const NETWORKS_MAX: usize = 8;
/// When there are this many accounts, those that are no longer familiar anywhere are dropped.
const CLEAN_AT: usize = 1024;

/// The networks that accounts were let in from: no more accounts than there are users.
#[derive(Debug)]
pub(crate) struct Familiar {
    accounts: HashMap<String, Vec<(String, Timestamp)>>,
    clean_at: usize,
}

impl Familiar {
    /// Nobody yet.
    pub(crate) fn new() -> Self {
        Self { accounts: HashMap::new(), clean_at: CLEAN_AT }
    }

    /// Whether this account was let in from this network in the last days.
    pub(crate) fn knows(&self, now: Timestamp, account: &str, network: &str) -> bool {
        let networks = self.accounts.get(account);
        networks.into_iter().flatten().any(|(name, at)| name == network && fresh(now, *at))
    }

    /// The account was let in.
    pub(crate) fn greet(&mut self, now: Timestamp, account: String, network: String) {
        if self.accounts.len() >= self.clean_at {
            self.accounts.retain(|_, networks| networks.iter().any(|(_, at)| fresh(now, *at)));
            self.clean_at = (self.accounts.len() * 2).max(CLEAN_AT);
        }
        let networks = self.accounts.entry(account).or_default();
        networks.retain(|(name, at)| *name != network && fresh(now, *at));
        if networks.len() == NETWORKS_MAX {
            networks.remove(0);
        }
        networks.push((network, now));
    }
}

/// Whether a moment lies within the last days.
fn fresh(now: Timestamp, at: Timestamp) -> bool {
    now.millis_since(at) < FAMILIAR_MILLIS
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_700_000_000_000);

    fn greet(familiar: &mut Familiar, now: Timestamp, account: &str, network: &str) {
        familiar.greet(now, account.to_owned(), network.to_owned());
    }

    #[test]
    fn an_account_is_familiar_where_it_was_for_some_days() {
        let mut familiar = Familiar::new();
        greet(&mut familiar, NOW, "ada", "here");
        assert!(familiar.knows(NOW, "ada", "here"));
        assert!(!familiar.knows(NOW, "ada", "there"));
        assert!(!familiar.knows(NOW, "bob", "here"));
        let last = NOW.plus_millis(FAMILIAR_MILLIS - 1);
        assert!(familiar.knows(last, "ada", "here"));
        assert!(!familiar.knows(last.plus_millis(1), "ada", "here"));
        greet(&mut familiar, last, "ada", "here");
        assert!(familiar.knows(last.plus_millis(1), "ada", "here"));
    }

    #[test]
    fn many_networks_and_accounts_take_little_room() {
        let mut familiar = Familiar::new();
        greet(&mut familiar, NOW, "bob", "here");
        for number in 0..100 {
            greet(&mut familiar, NOW, "ada", &format!("network {number}"));
            greet(&mut familiar, NOW, "ada", "home");
        }
        assert_eq!(familiar.accounts["ada"].len(), NETWORKS_MAX);
        for (account, network) in [("ada", "home"), ("ada", "network 99"), ("bob", "here")] {
            assert!(familiar.knows(NOW, account, network), "{account} {network}");
        }
        for number in 0..10_000 {
            let now = NOW.plus_millis(number * FAMILIAR_MILLIS / 100);
            greet(&mut familiar, now, &format!("user{number}"), "here");
            assert!(familiar.accounts.len() <= CLEAN_AT);
        }
    }
}
