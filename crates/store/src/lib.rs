//! The database: all SQL there is, one text for SQLite and PostgreSQL.
//!
//! One file per table, named as the noun in `model`; `database` holds what differs between the two
//! databases, [`open`](Store::open) and `migrations` bring a [`Store`] into being, [`Wake`] tells
//! when something may have changed, and [`grants()`] says who may write what.
//!
//! Rows become types of `model` here and nowhere else. A write is one transaction; on PostgreSQL it
//! ends with `NOTIFY qvd`. Nothing in the database is a state of ours: `vm_desired` is what is
//! wanted, `vm_observed` what is seen, and the phase people see is computed from both.

mod audit;
mod clock;
mod configs;
mod connections;
mod database;
mod desired;
mod dis;
mod error;
mod grants;
mod home_claims;
mod host_leases;
mod host_status;
mod hosts;
mod installation;
mod migrations;
mod observed;
mod open;
mod operations;
mod osfs;
mod outage;
mod overlays;
mod place;
mod properties;
mod reason;
mod restored;
mod row;
mod ssl_configs;
mod tenants;
mod users;
mod vms;
mod wake;
mod work;

#[cfg(test)]
mod tests;

pub use audit::{AuditEntry, AuditRow, BrokenChain};
pub use configs::ChangedConfig;
pub use connections::{Connection, NewConnection};
pub use database::Store;
pub use error::{Error, Result};
pub use grants::grants;
pub use home_claims::HomeClaim;
pub use host_leases::Lease;
pub use operations::{Operation, OperationStatus};
pub use osfs::{NewOsf, OsfEdit};
pub use outage::Outage;
pub use overlays::Overlay;
pub use properties::Noun;
pub use ssl_configs::Pem;
pub use vms::VmEdit;
pub use wake::Wake;
pub use work::{HostWork, Work};
