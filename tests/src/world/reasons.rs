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
        self.all_say(vm, &[(vm, code, part)]);
    }

    /// The same of all VMs that a filter of names finds: of each its code, and a part of its sentence.
    #[track_caller]
    pub fn all_say(&self, names: &str, wanted: &[(&str, &str, &str)]) {
        let within = Duration::from_secs(40);
        until(&format!("{names} to say what they wait for"), within, || {
            let found = self.qa_json(&format!("vm list -f name={names}"));
            let code_of = |name: &str| {
                let vms = found.as_array().into_iter().flatten();
                let vm = vms.into_iter().find(|vm| vm.get("name").is_some_and(|n| n == name))?;
                vm.pointer("/reason/code").and_then(Value::as_str)
            };
            if let Some(other) = wanted.iter().find(|(name, code, _)| code_of(name) != Some(code)) {
                return Err((format!("{other:?}"), found.to_string()));
            }
            // What is tried again has no reason meanwhile: then all is asked again.
            let listed = self.remarks(&format!("vm list -f name={names}"));
            let (log, why) = (self.log(), self.qa(&format!("vm why -f name={names}")));
            for (name, _, part) in wanted {
                let line = listed.lines().find(|line| line.starts_with(&format!("{name}: ")));
                if !line.is_some_and(|line| line.contains(part)) || !why.contains(part) {
                    return Err((format!("{name}: {part}"), format!("{listed}\n{why}")));
                }
                assert!(log.contains(part), "{part} in the log");
            }
            let remedies = why.matches("remedy:").count();
            if remedies < wanted.len() {
                Err((format!("{remedies} remedies"), why))
            } else {
                Ok(())
            }
        });
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
