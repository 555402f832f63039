//! What `nxagent` runs where it would show a dialog: closing the desktop's window means to leave and
//! come back, so the session is suspended, and nobody is asked.

use rustix::process::{Signal, getppid, kill_process};

/// The part `--dialog KIND …`: tells the `nxagent` that started us what the user wants. Only what
/// asks whether to leave is answered; a mere message is dropped.
pub(crate) fn answer(arguments: &[String]) {
    let leaves = arguments
        .first()
        .is_some_and(|kind| matches!(kind.as_str(), "yesnosuspend" | "yesno" | "quit"));
    if leaves && let Some(nxagent) = getppid() {
        // It has gone by itself: then that was the answer.
        let _ = kill_process(nxagent, Signal::HUP);
    }
}
