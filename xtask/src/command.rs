//! The one door through which the tasks start other programs.

use std::{
    ffi::OsString,
    fmt::Write as _,
    process::{ExitStatus, Stdio},
};

use anyhow::{Context as _, Result, bail};

use crate::place;

/// A program to run at the root of the source tree, with nothing on its standard input.
#[derive(Clone, Debug)]
pub struct Command {
    program: OsString,
    arguments: Vec<OsString>,
    environment: Vec<(String, OsString)>,
}

impl Command {
    /// A program by its name or path.
    pub fn new(program: impl Into<OsString>) -> Self {
        Self { program: program.into(), arguments: Vec::new(), environment: Vec::new() }
    }

    /// Cargo, the one that runs this task.
    pub fn cargo() -> Self {
        Self::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
    }

    /// One more argument.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// More arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// A variable of its environment.
    #[must_use]
    pub fn env(mut self, key: &str, value: impl Into<OsString>) -> Self {
        self.environment.push((key.to_owned(), value.into()));
        self
    }

    /// Runs it with its output on ours, and says how it ended.
    pub fn status(&self) -> Result<ExitStatus> {
        self.prepared().status().with_context(|| format!("cannot run `{self}`"))
    }

    /// Runs it with its output on ours; anything but success is an error.
    pub fn run(&self) -> Result<()> {
        let status = self.status()?;
        if !status.success() {
            bail!("`{self}` failed: {status}");
        }
        Ok(())
    }

    /// Runs it and takes its standard output; anything but success is an error with what it said.
    pub fn output(&self) -> Result<String> {
        let output = self
            .prepared()
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .output()
            .with_context(|| format!("cannot run `{self}`"))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("`{self}` failed: {}: {}", output.status, said.trim());
        }
        String::from_utf8(output.stdout).with_context(|| format!("`{self}` printed no UTF-8"))
    }

    /// Runs it, and takes whether it succeeded and what it said on its standard error.
    pub fn told(&self) -> Result<(bool, String)> {
        let output = self.prepared().stdout(Stdio::null()).stderr(Stdio::piped()).output();
        let output = output.with_context(|| format!("cannot run `{self}`"))?;
        Ok((output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned()))
    }

    #[expect(clippy::disallowed_methods, reason = "the one door of the tasks")]
    fn prepared(&self) -> std::process::Command {
        let mut command = std::process::Command::new(&self.program);
        command
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(key, value)| (key, value)))
            .current_dir(place::root())
            .stdin(Stdio::null());
        command
    }
}

impl std::fmt::Display for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.program.to_string_lossy())?;
        for argument in &self.arguments {
            f.write_char(' ')?;
            f.write_str(&argument.to_string_lossy())?;
        }
        Ok(())
    }
}
