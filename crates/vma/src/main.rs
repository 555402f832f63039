//! The agent in the VM: one static binary that hkd injects into a running container.
//!
//! It plays several parts, chosen by its first argument:
//!
//! | part | who starts it | runs as | module |
//! |---|---|---|---|
//! | `agent` | hkd, through `lxc-attach`; returns when the next one serves | guest root | [`agent::detach`] |
//! | `serve` | `agent`; answers hkd until a newer agent comes | guest root | [`agent`] |
//! | `skel` | `serve`, to fill a new home | the user | [`guest::skel`] |
//! | `init` | LXC, where the image has no init or shall not run it | guest root, as process 1 | [`reaper`] |
//! | `session` | `serve`, through the guest's own login machinery | the user | [`session::supervisor`] |
//! | `--dialog` | `nxagent`, where it would ask the user something | the user | [`session::dialog`] |
//!
//! A session's programs hang on the `session` process, never on the agent: agents come and go.

mod agent;
mod arguments;
mod command;
mod descriptors;
mod guest;
mod init;
mod log;
mod peer;
mod processes;
mod reaper;
mod session;

use std::{io::Write, process::ExitCode};

fn main() -> ExitCode {
    let arguments: Vec<String> =
        std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    match play(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The last resort: whoever started us reads it, or nobody does.
            let _ = writeln!(std::io::stderr(), "qvd-vma: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn play(arguments: &[String]) -> anyhow::Result<()> {
    let (part, rest) = match arguments.split_first() {
        Some((part, rest)) => (part.as_str(), rest),
        None => ("", arguments),
    };
    match part {
        "agent" => agent::detach::detach(rest),
        "serve" => agent::serve(),
        "skel" => guest::skel::run(rest),
        "init" => reaper::run(),
        "session" => session::supervisor::run(rest),
        "--dialog" => {
            session::dialog::answer(rest);
            Ok(())
        }
        "--version" => {
            writeln!(std::io::stdout(), "qvd-vma {}", env!("CARGO_PKG_VERSION"))?;
            Ok(())
        }
        _ => anyhow::bail!("usage: qvd-vma agent --listen-fd N | qvd-vma --version"),
    }
}
