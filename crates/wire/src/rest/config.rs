//! `/configs`, `/ssl` and `/status`.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A setting and its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// Its key.
    pub key: String,
    /// The value in force, with every `${key}` replaced.
    pub value: String,
    /// Where the value comes from: `default`, `file` or `cluster`.
    pub origin: String,
    /// Whether `qa config set` may set it: `cluster`, or `file` for what only node.conf may.
    pub scope: String,
    /// What it does.
    pub about: String,
    /// Which daemon reads it, and when.
    pub reader: String,
}

/// What a change of settings did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangedConfigs {
    /// The settings that were named, as they are now.
    pub configs: Vec<Config>,
    /// The keys of those that were set and are set no more.
    pub removed: Vec<String>,
}

/// The router's key and certificate, in PEM.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewSsl {
    /// The private key.
    pub key: String,
    /// The certificate, followed by those that lead to its authority.
    pub cert: String,
}

impl fmt::Debug for NewSsl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewSsl").finish_non_exhaustive()
    }
}

/// What is known of the router's certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ssl {
    /// Whether `qa config ssl` gave one; otherwise the router makes its own.
    pub given: bool,
    /// sha-256 of the first certificate, in lower-case hexadecimal.
    pub fingerprint: Option<String>,
}

/// The installation at a glance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Version of the api.
    pub version: String,
    /// Hosts that are alive.
    pub hosts_alive: u64,
    /// All hosts.
    pub hosts: u64,
    /// Users.
    pub users: u64,
    /// OSFs.
    pub osfs: u64,
    /// Disk images.
    pub dis: u64,
    /// VMs.
    pub vms: u64,
    /// VMs that run.
    pub vms_running: u64,
    /// VMs that should run and do not.
    pub vms_failed: u64,
    /// Clients attached.
    pub connections: u64,
}
