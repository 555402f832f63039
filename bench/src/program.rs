//! The one door through which measurements start other programs.

use std::ffi::OsStr;

use anyhow::{Context as _, Result, bail};

use crate::place;

/// Runs a program at the root of the source tree and returns what it printed.
#[expect(clippy::disallowed_methods, reason = "the one door of the measurements")]
pub(crate) fn run<A: AsRef<OsStr>>(program: &str, arguments: &[A]) -> Result<String> {
    let output = std::process::Command::new(program)
        .args(arguments)
        .current_dir(place::root())
        .stdin(std::process::Stdio::null())
        .output()
        .with_context(|| format!("cannot run {program}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{program} failed: {}: {}", output.status, said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
