//! Lines for whoever started the task.

use std::io::Write as _;

/// Prints a line on the standard output. That nobody reads it any more is no failure of the task.
pub(crate) fn line(text: impl std::fmt::Display) {
    let _ = writeln!(std::io::stdout(), "{text}");
}
