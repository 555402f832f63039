//! Who may write what, and the rights on PostgreSQL that follow from it.
//!
//! hkd and api each have a role of their own. Every row has one writer; only `vm_desired` is
//! written by both, always by compare-and-set. SQLite has no roles: there the table below is a
//! promise that the functions of this crate keep.

use std::fmt::Write;

/// A table and the rights of the two processes on it.
struct Table {
    name: &'static str,
    api: &'static str,
    hkd: &'static str,
}

const ALL: &str = "SELECT, INSERT, UPDATE, DELETE";
const READ: &str = "SELECT";
const APPEND: &str = "SELECT, INSERT";
const UPSERT: &str = "SELECT, INSERT, UPDATE";

const fn table(name: &'static str, api: &'static str, hkd: &'static str) -> Table {
    Table { name, api, hkd }
}

/// Every table there is.
const TABLES: &[Table] = &[
    table("_sqlx_migrations", READ, READ),
    table("audit", APPEND, APPEND),
    table("audit_heads", UPSERT, UPSERT),
    table("configs", ALL, READ),
    table("connection_requests", ALL, READ),
    table("connections", ALL, READ),
    table("counters", "SELECT, UPDATE", READ),
    table("di_properties", ALL, READ),
    table("di_tags", ALL, READ),
    table("dis", ALL, READ),
    table("home_claims", READ, ALL),
    table("host_leases", READ, ALL),
    table("host_properties", ALL, READ),
    table("host_status", READ, ALL),
    table("hosts", ALL, READ),
    table("installation", READ, READ),
    table("operation_status", READ, ALL),
    table("operations", ALL, READ),
    table("osf_properties", ALL, READ),
    table("osfs", ALL, READ),
    table("overlays", READ, ALL),
    // The private key of the router is nobody's business but the api's.
    table("ssl_configs", ALL, ""),
    table("tenants", READ, READ),
    table("user_properties", ALL, READ),
    // Everything but the hash of the password.
    table("users", ALL, "SELECT (id, tenant, login, uid, gid, blocked, added_at)"),
    table("vm_desired", ALL, "SELECT, UPDATE"),
    table("vm_observed", READ, ALL),
    table("vm_properties", ALL, READ),
    table("vms", ALL, READ),
];

/// SQL for PostgreSQL that gives the roles `qvd_api` and `qvd_hkd` what they need and nothing else.
/// The roles must be there; it may be run again after each migration, by the owner of the tables.
pub fn grants() -> String {
    let mut sql = String::new();
    for table in TABLES {
        for (role, rights) in [("qvd_api", table.api), ("qvd_hkd", table.hkd)] {
            let name = table.name;
            let _ = writeln!(sql, "REVOKE ALL ON {name} FROM {role};");
            if !rights.is_empty() {
                let _ = writeln!(sql, "GRANT {rights} ON {name} TO {role};");
            }
        }
    }
    sql
}
