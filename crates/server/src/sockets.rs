//! The sockets that the daemons listen on. The supervisor makes them and hands them down, so that a
//! restart of a daemon refuses nobody.

use std::{
    fs, io,
    net::TcpListener,
    os::{
        fd::{FromRawFd, OwnedFd},
        unix::{
            fs::{PermissionsExt, chown},
            net::UnixListener,
        },
    },
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use crate::config::Config;

/// The administrator's socket.
pub(crate) fn admin_path(config: &Config) -> Result<PathBuf> {
    Ok(config.folder("path.run")?.join("api/admin.sock"))
}

/// The socket at which the router asks the api.
pub(crate) fn internal_path(config: &Config) -> Result<PathBuf> {
    Ok(config.folder("path.run")?.join("api/internal.sock"))
}

/// The socket at which the router asks hkd.
pub(crate) fn attach_path(config: &Config) -> Result<PathBuf> {
    Ok(config.folder("path.run")?.join("hkd/attach.sock"))
}

/// A listening unix socket that its owner alone, and root, can use.
pub(crate) fn unix(path: &Path, owner: Option<(u32, u32)>) -> Result<UnixListener> {
    let listen = || -> io::Result<UnixListener> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        if let Some((uid, gid)) = owner {
            chown(path, Some(uid), Some(gid))?;
        }
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        Ok(listener)
    };
    listen().with_context(|| {
        format!(
            "cannot listen on {}: `qvd all`, or a service manager, makes it for the api, and `qvd \
             migrate` its folder",
            path.display()
        )
    })
}

/// The router's listening socket.
pub(crate) fn tls(config: &Config) -> Result<TcpListener> {
    let address = config.settings.get("l7r.address")?;
    let port = u16::try_from(config.settings.number("l7r.port")?)?;
    let host = if address == "*" { "::" } else { &address };
    let bound = match TcpListener::bind((host, port)) {
        // A machine without IPv6.
        Err(error) if address == "*" && error.kind() != io::ErrorKind::AddrInUse => {
            TcpListener::bind(("0.0.0.0", port))
        }
        bound => bound,
    };
    bound.with_context(|| {
        format!("cannot listen on {address} port {port}: choose others with l7r.address and l7r.port in {}", config.path.display())
    })
}

/// The descriptor that a service manager handed down under a name, if there is one.
pub(crate) fn handed(name: &str) -> Option<i32> {
    let handed = sd_notify::listen_fds_with_names().ok()?;
    handed.into_iter().find_map(|(number, found)| (found == name).then_some(number))
}

/// A descriptor that the supervisor handed down under a number.
#[expect(unsafe_code, reason = "a number on the command line becomes the descriptor it stands for")]
pub(crate) fn inherited(number: i32) -> Result<OwnedFd> {
    anyhow::ensure!(number > 2, "descriptor {number} cannot be a socket");
    // SAFETY: only the supervisor passes such a number, for a descriptor it left open for this
    // process alone; nothing else here has it. It is checked below to be open.
    let descriptor = unsafe { OwnedFd::from_raw_fd(number) };
    rustix::io::fcntl_setfd(&descriptor, rustix::io::FdFlags::CLOEXEC)
        .with_context(|| format!("descriptor {number} is not open"))?;
    Ok(descriptor)
}
