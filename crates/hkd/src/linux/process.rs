//! Waiting for processes that are not our children.

#![expect(unsafe_code, reason = "a descriptor is handed to the event loop")]

use std::os::fd::OwnedFd;

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, pidfd_open},
};
use tokio::io::{Interest, unix::AsyncFd};

/// A descriptor that becomes readable when a process ends; `None` when it has ended, whether somebody has
/// taken leave of it or not.
pub fn pidfd(pid: i32) -> Option<OwnedFd> {
    let pidfd = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::NONBLOCK).ok()?;
    let ended = poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&Timespec::default()));
    (ended == Ok(0)).then_some(pidfd)
}

/// Hands a descriptor to the event loop, which tells when it becomes readable.
pub fn awaited(descriptor: OwnedFd) -> Option<AsyncFd<OwnedFd>> {
    // SAFETY: the descriptor is owned by the value that is registered, so it stays open and the same
    // for as long as it is registered.
    unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) }.ok()
}
