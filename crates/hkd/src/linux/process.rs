//! Waiting for processes that are not our children.

#![expect(unsafe_code, reason = "a descriptor is handed to the event loop")]

use std::os::fd::OwnedFd;

use tokio::io::{Interest, unix::AsyncFd};

/// A descriptor that becomes readable when a process ends; `None` when it has ended.
pub fn pidfd(pid: i32) -> Option<OwnedFd> {
    let pid = rustix::process::Pid::from_raw(pid)?;
    rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::NONBLOCK).ok()
}

/// Hands a descriptor to the event loop, which tells when it becomes readable.
pub fn awaited(descriptor: OwnedFd) -> Option<AsyncFd<OwnedFd>> {
    // SAFETY: the descriptor is owned by the value that is registered, so it stays open and the same
    // for as long as it is registered.
    unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) }.ok()
}
