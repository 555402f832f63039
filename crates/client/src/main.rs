//! `qvd-client`: shows a QVD desktop on this machine's display.
//!
//! ```text
//! X server <-- nxproxy <== unix socket ==> qvd-client <== TLS ==> l7r <==> nxagent in the VM
//! ```
//!
//! | file | what it does |
//! |---|---|
//! | `options` | the command line |
//! | `failure` | why it did not work, and the exit code that says so |
//! | `login` | user name and password, never from the command line |
//! | `trust` | which server is the right one: the one met first |
//! | `server` | requests and their answers, over TLS |
//! | `session` | connects, resumes what was lost, knows when it is over |
//! | `proxy` | `nxproxy`, on a socket in a folder of our own |
//! | `relay` | carries bytes between the two |
//! | `keyboard`, `command` | what this machine's keyboard is, and other programs |
//! | `progress`, `plain` | one line that says what happens, with no word of the server raw |
//!
//! It is blocking code on one thread and a half: nothing here waits for more than two things at once.

mod command;
mod failure;
mod keyboard;
mod login;
mod options;
mod plain;
mod progress;
mod proxy;
mod relay;
mod server;
mod session;
mod trust;

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use clap::Parser as _;

use crate::{failure::Failure, options::Options, server::Server, trust::Trust};

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Nothing is left to be done when the terminal is gone.
            writeln!(io::stderr(), "qvd-client: {failure}").ok();
            ExitCode::from(failure.code())
        }
    }
}

fn run(options: &Options) -> Result<(), Failure> {
    let hosts = options.addresses()?;
    if !options.list && !options.stop {
        session::check_machine()?;
    }
    let login = login::ask(options)?;
    let trust = Trust::open(options.accept_new_certificate)?;
    let mut server = Server::new(hosts, login, trust);
    if options.list {
        list(&server.list()?, options.json)
    } else {
        let vm = session::choose(&server.list()?, options.vm.as_deref())?;
        if options.stop {
            return session::stop(&mut server, &vm);
        }
        session::run(&mut server, &vm, options)
    }
}

/// Prints the desktops, as a table or as JSON.
fn list(vms: &[server::Vm], json: bool) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let mut print = || {
        if json {
            let text = serde_json::to_string_pretty(vms)?;
            return writeln!(out, "{text}");
        }
        let width = |of: fn(&server::Vm) -> usize, title: &str| {
            vms.iter().map(of).max().unwrap_or_default().max(title.len())
        };
        let id = width(|vm| vm.id.to_string().len(), "ID");
        let name = width(|vm| vm.name.chars().count(), "NAME");
        writeln!(out, "{:>id$}  {:name$}  STATE", "ID", "NAME")?;
        for vm in vms {
            let blocked = if vm.blocked == 0 { "" } else { " (blocked)" };
            writeln!(out, "{:>id$}  {:name$}  {}{blocked}", vm.id, vm.name, vm.state)?;
        }
        Ok(())
    };
    print().map_err(|error| Failure::Local(format!("cannot print the list: {error}")))
}
