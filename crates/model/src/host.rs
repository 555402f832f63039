//! A node.

use crate::id::{HostId, Timestamp};

/// A host: a node that runs VMs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Never given twice.
    pub id: HostId,
    /// The node's name (`nodename`), unique.
    pub name: String,
    /// The address its l7r is reached at by others.
    pub address: String,
    /// A blocked host is given no new VM, and its l7r answers 503.
    pub blocked: bool,
}

/// What a host says of itself from time to time.
#[derive(Clone, Debug, PartialEq)]
pub struct HostStatus {
    /// Whose status.
    pub host: HostId,
    /// When it was last renewed: the age of this is how alive the host is.
    pub renewed_at: Timestamp,
    /// `starting`, `running` or `stopping`.
    pub state: String,
    /// What its processor could do, in arbitrary units that compare hosts.
    pub usable_cpu: f64,
    /// Memory that VMs can have, in MiB.
    pub usable_ram: f64,
    /// Version of its hkd.
    pub version: String,
    /// What is wrong with it, one sentence each.
    pub problems: Vec<String>,
}

/// How old a renewal may be before the host counts as silent: fifteen seconds.
pub const SILENT_AFTER_MILLIS: i64 = 15_000;
/// How often a host renews.
pub const RENEW_EVERY_MILLIS: i64 = 4_000;

impl HostStatus {
    /// Whether the host was heard of lately. A daemon that was just stopped counts: it is most often
    /// only being started again, and its desktops run on.
    pub fn alive(&self, now: Timestamp) -> bool {
        now.millis_since(self.renewed_at) < SILENT_AFTER_MILLIS
    }
}
