//! The nouns and rules of QVD.
//!
//! Nothing here does I/O, reads a clock or awaits anything: every decision is a function of its
//! arguments, so that it can be enumerated in a test and driven by a simulator.

pub mod access;
pub mod di;
pub mod host;
pub mod id;
pub mod network;
pub mod osf;
pub mod phase;
pub mod place;
pub mod reason;
pub mod settings;
pub mod user;
pub mod vm;
pub mod want;

pub use id::{
    ConnectionId, DiId, HostId, OperationId, OsfId, Revision, Run, TenantId, Timestamp, UserId,
    VmId,
};
pub use phase::Phase;
pub use reason::Reason;
