//! `/hosts`.

use serde::{Deserialize, Serialize};

/// A host: a node that runs VMs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Host {
    /// Never given twice.
    pub id: i64,
    /// The node's name.
    pub name: String,
    /// The address others reach it at.
    pub address: String,
    /// A blocked host is given no new VM, and its router sends users away.
    pub blocked: bool,
    /// Whether it is heard of and runs.
    pub alive: bool,
    /// `starting`, `running`, `stopping`, or `lost` when it is silent; none before its first word.
    pub state: Option<String>,
    /// When it was last heard of.
    pub heard_at: Option<i64>,
    /// What its processor could do, to compare hosts.
    pub usable_cpu: Option<f64>,
    /// Memory for VMs, in MiB.
    pub usable_ram: Option<f64>,
    /// Version of its hkd.
    pub version: Option<String>,
    /// How many VMs are wanted to run on it.
    pub vms: u64,
    /// What is wrong with it, one sentence each.
    pub problems: Vec<String>,
}

/// What to change of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EditHost {
    /// Whether its router sends users away and it is given no new VM; what runs there goes on.
    pub blocked: bool,
}

/// A host to add. A host that runs `qvd` adds itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewHost {
    /// The node's name: its setting `nodename`, or what `uname -n` says.
    pub name: String,
    /// The address others reach it at.
    pub address: String,
}
