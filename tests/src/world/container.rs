//! A container as it is, without asking the daemons or the database.

use std::{process::Output, time::Duration};

use super::World;
use crate::{
    program::{command, said, shell},
    wait::patient,
};

impl World {
    /// The init of a container, as the host sees it.
    #[track_caller]
    pub fn init_of(&self, container: &str) -> String {
        let vms = self.folder().join("run/vms");
        shell(&format!("lxc-info -n {container} -P {} -pH", vms.display()))
    }

    /// Runs a shell line as root in a container, within so many seconds: LXC's way into one whose init has
    /// just ended may have no end.
    pub fn try_in_container(
        &self,
        container: &str,
        line: &str,
        seconds: u64,
    ) -> Result<String, String> {
        let seconds = patient(Duration::from_secs(seconds)).as_secs();
        let attach = || {
            command("timeout")
                .args(["--kill-after=1", &seconds.to_string(), "lxc-attach"])
                .args(["-n", container, "-o", "/dev/null", "--clear-env", "-P"])
                .arg(self.folder.join("run/vms"))
                .args(["--", "/bin/sh", "-c", line])
                .current_dir("/")
                .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
                .output()
        };
        let mut output = attach();
        // It begins by copying itself into memory that is sealed, which the kernel refuses while it moves
        // that memory. The line has not been run then.
        let refused = |output: &Output| {
            String::from_utf8_lossy(&output.stderr).contains("Failed to rexec as memfd")
        };
        for _ in 0..3 {
            if output.as_ref().is_ok_and(refused) {
                output = attach();
            }
        }
        said(line, output)
    }

    /// The same of a line that must not fail.
    #[track_caller]
    pub fn in_container(&self, container: &str, line: &str) -> String {
        self.try_in_container(container, line, 120).unwrap_or_else(|why| panic!("{why}"))
    }
}
