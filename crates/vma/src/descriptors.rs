//! Descriptors inherited by number.
#![expect(unsafe_code, reason = "a descriptor passed by number cannot be taken otherwise")]

use std::{
    io,
    os::fd::{BorrowedFd, OwnedFd, RawFd},
};

/// A descriptor of our own for the inherited descriptor `number`; the original stays.
pub(crate) fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    // A number that is not open makes the call fail with EBADF, and nothing else happens to it.
    if number < 0 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: not -1; borrowed for this one call, which works on any number.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    borrowed.try_clone_to_owned()
}

/// Marks everything from descriptor 3 on, so that no program started later inherits any of it.
pub(crate) fn close_on_exec_from_3() -> io::Result<()> {
    const CLOSE_ON_EXEC: libc::c_uint = 4;
    // SAFETY: with this flag the call closes nothing: it sets a flag on open descriptors.
    let result =
        unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, CLOSE_ON_EXEC) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
