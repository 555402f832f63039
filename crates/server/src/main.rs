//! `qvd`: the one daemon binary.
//!
//! | command | does |
//! |---|---|
//! | `qvd all` | prepares this host, then runs and supervises the three daemons ([`all`]) |
//! | `qvd hkd` | the house keeping daemon: makes this node match the database; root |
//! | `qvd l7r` | the router: TLS for clients; user `qvd` |
//! | `qvd api` | the administration: the one writer of definitions; user `qvd` |
//! | `qvd migrate` | makes or updates the database |
//! | `qvd check` | says whether the configuration is right |
//! | `qvd doctor` | says what this machine lacks, and how to mend it |

mod account;
mod all;
mod check;
mod config;
mod confine;
mod daemon;
mod doctor;
mod prepare;
mod sockets;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Virtual Linux desktops: the daemons of a host.
#[derive(Debug, Parser)]
#[command(name = "qvd", version)]
struct Arguments {
    /// This host's configuration file.
    #[arg(
        long,
        short = 'f',
        global = true,
        env = "QVD_CONFIG",
        default_value = "/etc/qvd/node.conf"
    )]
    config: PathBuf,
    /// The process that started this one, and with which it ends.
    #[arg(long, global = true, hide = true)]
    supervisor: Option<i32>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Prepare this host, then run and supervise hkd, l7r and api.
    All,
    /// Run the house keeping daemon (root).
    Hkd,
    /// Run the router (user qvd).
    L7r {
        /// A listening socket inherited from the supervisor.
        #[arg(long, hide = true)]
        listen_fd: Option<i32>,
    },
    /// Run the administration (user qvd).
    Api {
        /// The administrator's listening socket, inherited from the supervisor.
        #[arg(long, hide = true)]
        admin_fd: Option<i32>,
        /// The router's listening socket, inherited from the supervisor.
        #[arg(long, hide = true)]
        internal_fd: Option<i32>,
    },
    /// Make or update the database.
    Migrate {
        /// It was put back from a backup: go on with numbers that were not given since
        #[arg(long)]
        restored: bool,
    },
    /// Say whether the configuration is right.
    Check,
    /// Say what this machine lacks, and how to mend it.
    Doctor,
    /// Unpack an archive from standard input into a folder; used by hkd.
    #[command(name = hkd::linux::unpack::SUBCOMMAND, hide = true)]
    UnpackHere {
        /// The folder.
        folder: PathBuf,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Command::UnpackHere { folder } = &arguments.command {
        // This process has one thread, and becomes another program.
        let error = hkd::linux::unpack::locked_in::main(folder);
        return complain(&anyhow::Error::new(error).context("cannot lock tar in"));
    }
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&error),
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    arguments.supervisor.map_or(Ok(()), all::end_with)?;
    let config = config::Config::read(&arguments.config)?;
    match arguments.command {
        Command::All => all::run(&config),
        Command::Hkd => daemon::hkd(&config),
        Command::L7r { listen_fd } => daemon::l7r(&config, listen_fd),
        Command::Api { admin_fd, internal_fd } => daemon::api(&config, admin_fd, internal_fd),
        Command::Migrate { restored } => prepare::migrate(&config, restored),
        Command::Check => check::run(&config),
        Command::Doctor => doctor::run(&config),
        Command::UnpackHere { .. } => Ok(()),
    }
}

#[expect(clippy::print_stderr, reason = "this is where a person is told")]
fn complain(error: &anyhow::Error) -> ExitCode {
    eprintln!("qvd: {error:#}");
    ExitCode::FAILURE
}
