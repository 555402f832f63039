//! Other programs, as measurements use them.

use std::ffi::OsString;

use anyhow::Result;
use xtask::command::Command;

/// Runs a program at the root of the source tree and returns what it printed.
pub(crate) fn run<A: Into<OsString> + Clone>(program: &str, arguments: &[A]) -> Result<String> {
    let printed = Command::new(program).args(arguments.iter().cloned()).output()?;
    Ok(printed.trim().to_owned())
}
