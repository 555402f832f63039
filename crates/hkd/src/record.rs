//! The run directory's record: what this host made for a VM, written down before it is made.

use std::{net::Ipv4Addr, path::Path};

use model::{DiId, Run, Timestamp, VmId};
use serde::{Deserialize, Serialize};

use crate::linux::{self, Error, Linux, firewall::Source, mac::Mac};

/// A record. All that is needed to take a run down is in it, in case the database has forgotten the
/// VM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The VM.
    pub vm: i64,
    /// Which start.
    pub run: i64,
    /// From which image.
    pub di: i64,
    /// The slot whose ids the container has.
    pub slot: u32,
    /// The user's number and that of the user's group.
    pub owner: (u32, u32),
    /// The host's end of the link.
    pub link: String,
    /// Hardware address.
    pub mac: Mac,
    /// Address.
    pub address: Ipv4Addr,
    /// A start of the container was begun.
    pub started: bool,
    /// When the container was asked to stop, in epoch milliseconds.
    pub stop_asked_at: Option<i64>,
    /// Its end was written to the database.
    pub noted: bool,
}

impl Record {
    /// The VM.
    pub fn vm(&self) -> VmId {
        VmId(self.vm)
    }

    /// Which start.
    pub fn run(&self) -> Run {
        Run(self.run)
    }

    /// From which image.
    pub fn di(&self) -> DiId {
        DiId(self.di)
    }

    /// When the container was asked to stop.
    pub fn stop_asked_at(&self) -> Option<Timestamp> {
        self.stop_asked_at.map(Timestamp)
    }

    /// What the firewall lets through for it.
    pub fn source(&self) -> Source {
        Source { vm: self.vm(), mac: self.mac, address: self.address }
    }

    /// Reads the record of a run directory.
    pub fn read(linux: &dyn Linux, directory: &Path) -> linux::Result<Option<Self>> {
        let path = directory.join("record");
        let Some(bytes) = linux.read(&path)? else { return Ok(None) };
        serde_json::from_slice(&bytes).map(Some).map_err(|bad| Error::Unexpected {
            what: path.display().to_string(),
            why: bad.to_string(),
        })
    }

    /// Writes it.
    pub fn write(&self, linux: &dyn Linux, directory: &Path) -> linux::Result<()> {
        let bytes = serde_json::to_vec(self).expect("a record has string keys");
        linux.write(&directory.join("record"), &bytes)
    }
}
