//! Going on from a backup: what was made after it is unknown to the database, and may still be on the
//! hosts. No number given then is given again.

use crate::{
    database::{Db, Store, change},
    error::Result,
};

/// How far numbers jump: more than was ever made between two backups.
const JUMP: i64 = 1000;
/// The tables whose ids are part of names on disk, or of who owns what there.
const NUMBERED: [&str; 5] = ["users", "hosts", "osfs", "dis", "vms"];

impl Store {
    /// Declares that this database was put back from a backup on purpose. Ids, the users' numbers and
    /// the runs of VMs jump ahead, so that nothing made since the backup is taken for something new;
    /// what hosts find of VMs that the backup does not know is then that of deleted ones.
    pub async fn go_on_from_backup(&self) -> Result<()> {
        const COUNTERS: &str = "UPDATE counters SET value = value + $1";
        const RUNS: &str = "UPDATE vm_desired SET run = run + $1, revision = revision + 1";
        // A table that never had a row has no line there.
        const SQLITE_FIRST: &str = "INSERT INTO sqlite_sequence (name, seq)
            SELECT $1, 0 WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = $1)";
        const SQLITE: &str = "UPDATE sqlite_sequence SET seq = seq + $1 WHERE name = $2";
        const POSTGRES: &str = "SELECT setval(pg_get_serial_sequence($2, 'id'),
            nextval(pg_get_serial_sequence($2, 'id')) + $1)";
        let sequence = match &self.db {
            Db::Sqlite(_) => SQLITE,
            Db::Postgres(_) => POSTGRES,
        };
        change!(self, on => {
            for sql in [COUNTERS, RUNS] {
                sqlx::query(sql).bind(JUMP).execute(&mut *on).await?;
            }
            for table in NUMBERED {
                if matches!(self.db, Db::Sqlite(_)) {
                    sqlx::query(SQLITE_FIRST).bind(table).execute(&mut *on).await?;
                }
                sqlx::query(sequence).bind(JUMP).bind(table).execute(&mut *on).await?;
            }
        });
        Ok(())
    }
}
