//! Where the daemons say that they work, in the way they would say it to systemd.

use std::{
    fs, io,
    mem::MaybeUninit,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use rustix::{
    io::Errno,
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg, sockopt::set_socket_passcred,
    },
    process::Pid,
};
use tokio::{io::Interest, net::UnixDatagram};

/// The line that says so.
const READY: &[u8] = b"READY=1";

/// The socket.
#[derive(Debug)]
pub(super) struct Notices {
    path: PathBuf,
    socket: UnixDatagram,
}

impl Notices {
    /// Makes it in a folder, for root and a group.
    pub(super) fn new(folder: &Path, group: u32) -> Result<Self> {
        let path = folder.join("notify.sock");
        let listen = || -> io::Result<UnixDatagram> {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let socket = UnixDatagram::bind(&path)?;
            // The kernel is to say who speaks.
            set_socket_passcred(&socket, true)?;
            chown(&path, None, Some(group))?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o660))?;
            Ok(socket)
        };
        let socket = listen().with_context(|| format!("cannot listen on {}", path.display()))?;
        Ok(Self { path, socket })
    }

    /// What daemons find in `NOTIFY_SOCKET`.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The next process that says it is ready.
    pub(super) async fn next(&self) -> Result<Pid> {
        loop {
            let said = self.socket.async_io(Interest::READABLE, || receive(&self.socket)).await;
            if let Some(pid) = said.context("cannot hear the daemons")? {
                return Ok(pid);
            }
        }
    }
}

/// Takes a notice: who is ready, if it says that.
fn receive(socket: &UnixDatagram) -> io::Result<Option<Pid>> {
    let mut buffer = [0; 512];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let message = recvmsg(
        socket,
        &mut [io::IoSliceMut::new(&mut buffer)],
        &mut ancillary,
        RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC,
    );
    let read = match message {
        Err(Errno::AGAIN) => return Err(io::ErrorKind::WouldBlock.into()),
        message => message?.bytes,
    };
    let mut sender = None;
    for part in ancillary.drain() {
        if let RecvAncillaryMessage::ScmCredentials(credentials) = part {
            sender = Some(credentials.pid);
        }
    }
    let mut lines = buffer.get(..read).unwrap_or_default().split(|byte| *byte == b'\n');
    Ok(sender.filter(|_| lines.any(|line| line == READY)))
}
