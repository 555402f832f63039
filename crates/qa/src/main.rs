//! `qa`, the administrator's command line: `qa OBJECT VERB [options] [key=value …]`.
//!
//! | file | holds |
//! |---|---|
//! | `grammar` | what can be said, and what was |
//! | `client` | the way to the api: REST over its unix socket |
//! | `terminal`, `table` | what people see, and what they are asked |
//! | `config`, `host`, `user`, `osf`, `di`, `vm` | the verbs, by object |
//! | `block` | the verbs `block` and `unblock`, of several objects |
//!
//! Exit codes: 0 done; 1 not done, or no such object or verb (as the original); 2 options or parameters
//! that make no sense.

mod block;
mod client;
mod config;
mod di;
mod grammar;
mod host;
mod osf;
mod selection;
mod table;
mod terminal;
mod upload;
mod user;
mod vm;

use std::process::ExitCode;

use client::Client;
use grammar::{Asked, Invocation};
use terminal::Terminal;

fn main() -> ExitCode {
    let invocation = match grammar::parse(std::env::args_os()) {
        Asked::Run(invocation) => invocation,
        Asked::Help(text) => {
            terminal::page(&text);
            return ExitCode::SUCCESS;
        }
        Asked::NotInThisVersion(verb) => {
            terminal::complain(&format!("qa: '{verb}' is not in this version of QVD"));
            return ExitCode::from(1);
        }
        Asked::Unknown(text) => {
            terminal::complain(&text);
            return ExitCode::from(1);
        }
        Asked::Misused(text) => {
            terminal::complain(&text);
            return ExitCode::from(2);
        }
    };
    let quiet = invocation.quiet;
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            terminal::complain(&format!("qa: cannot begin: {error}"));
            return ExitCode::from(1);
        }
    };
    match runtime.block_on(run(&invocation)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<terminal::Declined>() => ExitCode::SUCCESS,
        Err(error) => {
            // As the original's, scripts that say -q read the exit code only.
            if !quiet {
                terminal::complain(&format!("qa: {error:#}"));
            }
            ExitCode::from(if error.is::<grammar::Misuse>() { 2 } else { 1 })
        }
    }
}

async fn run(invocation: &Invocation) -> anyhow::Result<()> {
    let client = Client::new(invocation.socket.clone());
    let terminal = Terminal::new(invocation);
    match invocation.verb.object {
        "config" => config::run(invocation, &client, &terminal).await,
        "host" => host::run(invocation, &client, &terminal).await,
        "user" => user::run(invocation, &client, &terminal).await,
        "osf" => osf::run(invocation, &client, &terminal).await,
        "di" => di::run(invocation, &client, &terminal).await,
        "vm" => vm::run(invocation, &client, &terminal).await,
        other => anyhow::bail!("nothing is known of {other}"),
    }
}
