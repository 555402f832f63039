//! Why something is not as it is wanted, as the installation says it.

use std::time::Duration;

use serde_json::Value;

use super::World;
use crate::wait::until;

impl World {
    /// Waits until a VM that is wanted says why it is not there yet: in the list, when asked, with what to
    /// do about it; and the log says it.
    #[track_caller]
    pub fn says(&self, vm: &str, code: &str, part: &str) {
        until(&format!("{vm} to say {code}"), Duration::from_secs(40), || {
            let found = self.vm(vm);
            match found.pointer("/reason/code").and_then(Value::as_str) {
                Some(said) if said == code => Ok(()),
                _ => Err(found),
            }
        });
        let listed = self.remarks(&format!("vm list -f name={vm}"));
        let line = listed.lines().find(|line| line.starts_with(&format!("{vm}: ")));
        assert!(line.is_some_and(|line| line.contains(part)), "{part} in {listed}");
        assert!(self.log().contains(part), "{part} in the log");
        let why = self.qa(&format!("vm why -f name={vm}"));
        assert!(why.contains(part) && why.contains("remedy:"), "{why}");
    }

    /// Waits until what is wrong with the host is told, or no more.
    #[track_caller]
    pub fn host_says(&self, part: &str, told: bool) {
        until(&format!("the host to say {part}: {told}"), Duration::from_secs(20), || {
            match self.qa("host list -o json") {
                hosts if hosts.contains(part) == told => Ok(()),
                hosts => Err(hosts),
            }
        });
    }
}
