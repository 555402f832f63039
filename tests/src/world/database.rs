//! What is in the database, past the daemons.

use super::World;
use crate::program::shell;

impl World {
    /// A statement in the database, told to nobody. A wake-up is up to the test.
    #[track_caller]
    pub fn sql(&self, statement: &str) -> String {
        let statement = statement.replace('\'', "'\\''");
        let at = self.folder().display();
        if self.database.is_some() {
            return shell(&format!("psql -qXAt -h {at}/pg -U postgres qvd -c '{statement}'"));
        }
        shell(&format!("sqlite3 -cmd '.timeout 10000' {at}/db/qvd.db '{statement}'"))
    }
}
