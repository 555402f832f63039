//! A container as it is, without asking the daemons or the database.

use super::World;
use crate::program::shell;

impl World {
    /// The init of a container, as the host sees it.
    #[track_caller]
    pub fn init_of(&self, container: &str) -> String {
        let vms = self.folder().join("run/vms");
        shell(&format!("lxc-info -n {container} -P {} -pH", vms.display()))
    }

    /// Runs a line in a container.
    #[track_caller]
    pub fn in_container(&self, container: &str, line: &str) -> String {
        let vms = self.folder().join("run/vms");
        shell(&format!(
            "lxc-attach -n {container} -o /dev/null -P {} -- sh -c '{line}'",
            vms.display()
        ))
    }

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
