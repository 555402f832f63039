//! Programs the tests run.

use std::{
    ffi::OsStr,
    process::{Child, Command, Output, Stdio},
};

/// A program, ready for its arguments.
#[expect(clippy::disallowed_methods, reason = "the door of the tests")]
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null());
    command
}

/// Runs a shell line and returns what it said.
pub fn try_shell(line: &str) -> Result<String, String> {
    said(line, command("sh").args(["-c", line]).output())
}

/// Runs a shell line that must not fail.
#[track_caller]
pub fn shell(line: &str) -> String {
    try_shell(line).unwrap_or_else(|why| panic!("{why}"))
}

/// What a search finds: what a shell line says however it ends, as most searches that find nothing
/// fail. One that complains could not search, and has not found nothing.
#[track_caller]
pub fn found(line: &str) -> String {
    let output = command("sh").args(["-c", line]).output().expect("there is a shell");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(complaint.is_empty(), "{line}: {complaint}");
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

/// What a program said, or how it failed.
pub fn said(what: &str, output: std::io::Result<Output>) -> Result<String, String> {
    let output = output.map_err(|error| format!("{what}: {error}"))?;
    let out = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
    if output.status.success() {
        return Ok(out);
    }
    let err = String::from_utf8_lossy(&output.stderr);
    Err(format!("{what}: {}\n{out}\n{err}", output.status))
}

/// A program that is ended when this is dropped.
#[derive(Debug)]
pub struct Running(pub Child);

impl Running {
    /// Asks it to end, and waits.
    pub fn end(&mut self) {
        let _ = try_shell(&format!("kill -TERM {}", self.0.id()));
        let _ = self.0.wait();
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(None))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
