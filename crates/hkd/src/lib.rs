//! The house keeping daemon: makes one node match the database.
//!
//! For each VM: `loop { observe → plan → one step }` ([`vm`]). What is wanted comes from the database,
//! what is there is looked at on the machine, and [`plan::next`] decides. Nothing else is remembered,
//! so the daemon may end at any time: containers live on and are adopted by the next one.
//!
//! This crate runs as root and opens no network socket.

pub mod attach;
pub mod examine;
pub mod execute;
pub mod goal;
pub mod guest;
pub mod layout;
pub mod linux;
pub mod node;
pub mod observe;
pub mod plan;
pub mod reasons;
pub mod reconcile;
pub mod record;
pub mod start;
pub mod storage;
pub mod talk;
pub mod vm;

pub use start::{Config, StartError, run};
