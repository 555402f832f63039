//! A virtual machine: what it is, what is wanted of it, what is seen of it.
//!
//! `Desired` is written by the api (and, for VMs of a host that is given up, by hkd), always by
//! compare-and-set on its revision. `Observed` is written by the host it names. What people see as
//! the *state* is derived from both by [`crate::phase::phase`] and stored nowhere.

use std::net::Ipv4Addr;

use crate::{
    id::{DiId, HostId, OsfId, Revision, Run, TenantId, Timestamp, UserId, VmId},
    reason::Reason,
};

/// A virtual machine: a user's desktop of one OSF, following one tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vm {
    /// Never given twice.
    pub id: VmId,
    /// Owner of the name space.
    pub tenant: TenantId,
    /// Unique within the tenant.
    pub name: String,
    /// Whose desktop it is.
    pub user: UserId,
    /// Which line of images.
    pub osf: OsfId,
    /// Which image of that line: resolved anew at every start.
    pub tag: String,
    /// Its address on the node's bridge, fixed for life.
    pub ip: Ipv4Addr,
    /// A blocked VM cannot be connected to; a running session goes on.
    pub blocked: bool,
}

/// Whether a VM is to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Power {
    /// It is to run.
    On,
    /// It is to be stopped.
    Off,
}

/// What is wanted of a VM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desired {
    /// The VM.
    pub vm: VmId,
    /// To run or not.
    pub power: Power,
    /// Where; chosen when a start is first wanted.
    pub host: Option<HostId>,
    /// From which image; resolved from the tag when `run` rises.
    pub di: Option<DiId>,
    /// Which start is wanted. Only another run, power down, hard expiry or a lost lease ever stops
    /// a container.
    pub run: Run,
    /// Rises with every change.
    pub revision: Revision,
    /// From when the user is asked to leave.
    pub expires_soft: Option<Timestamp>,
    /// When the VM is stopped in any case.
    pub expires_hard: Option<Timestamp>,
    /// Who asked last: `user NAME`, `admin`, …
    pub asked_by: String,
    /// When that was.
    pub asked_at: Timestamp,
}

/// What a host sees of a VM: how far up it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Seen {
    /// Nothing of a run: no container, no mounts (a resting overlay may be there).
    Nothing,
    /// The image, overlay or mounts are being made, or being taken away.
    Preparing,
    /// A container runs; its agent has not answered yet.
    Starting,
    /// A container runs and its agent answers.
    Running,
    /// The container was asked to end.
    Stopping,
}

/// How a container that nobody stopped came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndKind {
    /// Shut down from inside: that is a stop.
    ShutDown,
    /// It died; retried with back-off at most [`Ended::RETRIES_MAX`] times in
    /// [`Ended::CRASHES_WINDOW_MILLIS`].
    Crashed,
}

/// The end of a run that came from inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Which run.
    pub run: Run,
    /// How.
    pub kind: EndKind,
    /// When it was seen.
    pub at: Timestamp,
}

impl Ended {
    /// A container that crashes more often than this within the window is given up until another run
    /// is asked for.
    pub const RETRIES_MAX: i64 = 3;
    /// The window in which crashes are counted: ten minutes.
    pub const CRASHES_WINDOW_MILLIS: i64 = 10 * 60 * 1000;
}

/// What a host last wrote about a VM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// The VM.
    pub vm: VmId,
    /// Who saw it.
    pub host: HostId,
    /// Of which run this speaks: a reader that waits for a run is not fooled by yesterday's row.
    pub run: Run,
    /// How far up it is.
    pub seen: Seen,
    /// When that was seen.
    pub seen_at: Timestamp,
    /// What the host is busy with or waits for, in one of a few words (`unpack`, `start`, `agent`…).
    pub waiting_for: Option<String>,
    /// Why it is not as wanted.
    pub reason: Option<Reason>,
    /// Failed tries of the present run.
    pub attempts: i64,
    /// When it is tried again.
    pub next_try: Option<Timestamp>,
    /// Set when the run came to its end by itself.
    pub ended: Option<Ended>,
}
