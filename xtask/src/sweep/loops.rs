//! Loop devices over files in a dead run's folder.

use std::fs;

use anyhow::Result;

use super::Run;
use crate::command::Command;

/// Detaches them.
pub(super) fn detach(run: &Run) -> Result<()> {
    let Ok(entries) = fs::read_dir("/sys/block") else { return Ok(()) };
    for device in entries.flatten() {
        let backing = device.path().join("loop/backing_file");
        let Ok(file) = fs::read_to_string(backing) else { continue };
        // A file that is gone already is shown with this behind its name.
        let file = file.trim_end().trim_end_matches(" (deleted)");
        if run.has(file) {
            let name = device.file_name().to_string_lossy().into_owned();
            Command::new("losetup").args(["--detach", &format!("/dev/{name}")]).output()?;
        }
    }
    Ok(())
}
