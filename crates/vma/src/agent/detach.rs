//! Starts the serving agent as a process of the guest's own and returns when it serves.

use std::{
    fs::File,
    io::Read,
    os::{fd::OwnedFd, unix::process::CommandExt},
    process::Stdio,
};

use anyhow::{Context, bail, ensure};

use crate::{arguments, command, descriptors};

/// The part `agent --listen-fd N`. Returns, and with it `lxc-attach`, once the agent serves; init
/// adopts it.
pub(crate) fn detach(arguments: &[String]) -> anyhow::Result<()> {
    let number = arguments::value(arguments, "--listen-fd")?;
    let listener: OwnedFd = descriptors::inherited(number)
        .with_context(|| format!("descriptor {number} is not open"))?;
    ensure!(
        rustix::net::sockopt::socket_acceptconn(&listener).unwrap_or(false),
        "descriptor {number} is no listening socket"
    );
    descriptors::close_on_exec_from_3().context("cannot keep descriptors to ourselves")?;
    let mut child = command::program("/proc/self/exe")
        .arg0("qvd-vma")
        .arg("serve")
        .stdin(Stdio::from(listener))
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .context("cannot start the agent")?;
    let mut said = String::new();
    if let Some(mut stdout) = child.stdout.take() {
        let mut byte = [0];
        while !said.ends_with('\n') && stdout.read(&mut byte)? == 1 {
            said.extend(byte.map(char::from));
        }
    }
    match said.as_str() {
        "ready\n" => Ok(()),
        _ => bail!("the agent ended before it served: {}", child.wait()?),
    }
}

/// Lets go of the streams that belong to whoever started us.
pub(super) fn leave_standard_streams() -> anyhow::Result<()> {
    let null = File::options()
        .read(true)
        .write(true)
        .open("/dev/null")
        .context("cannot open /dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    Ok(())
}
