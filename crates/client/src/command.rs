//! The one door to other programs.

use std::{
    env,
    path::PathBuf,
    process::{Command, Stdio},
};

use crate::login;

/// A program, with nothing to read.
#[expect(clippy::disallowed_methods, reason = "this is the door")]
pub(crate) fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    // The password of the login is no business of theirs.
    command.stdin(Stdio::null()).env_remove(login::VARIABLE);
    command
}

/// Where a program is, if it is installed.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(program)).find(|file| {
        rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok() && file.is_file()
    })
}
