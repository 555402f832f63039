//! Every time and number the l7r works within.

use std::time::Duration;

/// As many connections as are of use to one host.
const CONNECTIONS_MAX: usize = 8192;

/// What a client that is attached takes: its own connection, one to the api, one to the desktop.
const DESCRIPTORS_EACH: usize = 3;

/// What is needed beside the clients, and for a moment while a desktop is handed over.
const DESCRIPTORS_ASIDE: usize = 64;

/// Times and numbers. The defaults are for production; tests shorten them.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at once. Those that have not said who they are have half of it at most; where there
    /// is no place, the longest of whoever has most of them gives way to a new one.
    pub connections: usize,
    /// Connections at once from one address or IPv6 /64 that have not said who they are; an IPv6 /48
    /// has four times as many.
    pub strangers_per_address: usize,
    /// Connections at once of one login. More count for their address, as if they were strangers.
    pub connections_per_login: usize,
    /// For the TLS handshake.
    pub handshake: Duration,
    /// For a request's head, and for whatever a client is slow to read.
    pub head: Duration,
    /// Between two requests of a client that has said who it is. Long, because clients of the family
    /// keep their connection open while a person chooses from the list of desktops.
    pub idle: Duration,
    /// For the api's answer to a question that starts nothing.
    pub answer: Duration,
    /// From `connect_to_vm` or `stop_vm` to the answer. Clients of the family give up after 600 s.
    pub conversation: Duration,
    /// From the `101` to the client's first bytes.
    pub first_bytes: Duration,
    /// For hkd to open the desktop's connection.
    pub open: Duration,
    /// The least time between two `102`.
    pub progress_least: Duration,
    /// The most time between two `102`.
    pub progress_most: Duration,
    /// After the client has closed, for what the desktop still has to say.
    pub linger: Duration,
    /// For a client to take what is sent to it, or to answer that it is still there.
    pub dead: Duration,
    /// The first pause before the api is asked again; it doubles up to sixty times this.
    pub reconnect: Duration,
    /// How often the certificate's files are looked at.
    pub reload: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: CONNECTIONS_MAX,
            strangers_per_address: 128,
            connections_per_login: 64,
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(30),
            idle: Duration::from_mins(10),
            answer: Duration::from_secs(30),
            conversation: Duration::from_secs(570),
            first_bytes: Duration::from_mins(1),
            open: Duration::from_secs(20),
            progress_least: Duration::from_secs(1),
            progress_most: Duration::from_secs(2),
            linger: Duration::from_secs(2),
            dead: Duration::from_mins(2),
            reconnect: Duration::from_millis(500),
            reload: Duration::from_secs(1),
        }
    }
}

impl Limits {
    /// The defaults for a process that may have so many descriptors.
    pub fn within(descriptors: usize) -> Self {
        let room = descriptors.saturating_sub(DESCRIPTORS_ASIDE) / DESCRIPTORS_EACH;
        Self { connections: room.clamp(1, CONNECTIONS_MAX), ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_no_room_for_more_clients_than_descriptors() {
        for (descriptors, connections) in
            [(0, 1), (64, 1), (1024, 320), (4096, 1344), (1 << 20, 8192), (usize::MAX, 8192)]
        {
            assert_eq!(Limits::within(descriptors).connections, connections, "{descriptors}");
        }
    }
}
