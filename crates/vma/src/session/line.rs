//! What `nxagent` prints, as far as it says where it is.
//!
//! Only `nxagent`'s own output comes this way; programs of the desktop have another.

/// The longest line kept; the rest of a longer one is dropped.
const LINE_MAX: usize = 1024;

/// One line's meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// It starts, or begins to resume.
    Starting,
    /// It waits for its one connection.
    Waiting,
    /// The connection is there; the two sides agree on how to speak.
    Accepted,
    /// A client is attached.
    Up,
    /// It lets go of its client.
    Suspending,
    /// It runs without a client.
    Suspended,
    /// It is about to end.
    Ending,
    /// Something went wrong: for a person to read.
    Problem(String),
}

/// The meaning of `line`, if it has one for us.
pub(crate) fn parse(line: &str) -> Option<Said> {
    let (kind, text) = line.split_once(": ")?;
    Some(match kind {
        "Session" => match text.split_once(" at '")?.0 {
            "Starting session" | "Resuming session" => Said::Starting,
            "Session started" | "Session resumed" => Said::Up,
            "Suspending session" => Said::Suspending,
            "Session suspended" => Said::Suspended,
            "Terminating session"
            | "Aborting session"
            | "Session terminated"
            | "Session aborted" => Said::Ending,
            _ => return None,
        },
        "Info" if text.starts_with("Waiting for connection from ") => Said::Waiting,
        "Info" if text.starts_with("Accepted connection from ") => Said::Accepted,
        "Error" => Said::Problem(text.to_owned()),
        _ => return None,
    })
}

/// Cuts a stream of bytes into lines, however long they are.
#[derive(Debug, Default)]
pub(crate) struct Cutter {
    line: Vec<u8>,
}

impl Cutter {
    /// Takes bytes and returns the lines that are whole.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        for byte in bytes {
            if *byte == b'\n' {
                lines.push(String::from_utf8_lossy(&std::mem::take(&mut self.line)).into_owned());
            } else if self.line.len() < LINE_MAX {
                self.line.push(*byte);
            }
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_nxagent_printed_is_understood() {
        let printed = [
            ("Session: Starting session at 'Sun Nov 22 22:30:44 2026'.", Said::Starting),
            (
                "Info: Waiting for connection from this host on socket 'unix:/a/nx.sock'.",
                Said::Waiting,
            ),
            (
                "Info: Accepted connection from this host on Unix file socket '/a/nx.sock'.",
                Said::Accepted,
            ),
            ("Session: Session started at 'Sun Nov 22 22:30:44 2026'.", Said::Up),
            ("Session: Suspending session at 'Sun Nov 22 22:30:46 2026'.", Said::Suspending),
            ("Session: Session suspended at 'Sun Nov 22 22:30:47 2026'.", Said::Suspended),
            ("Session: Resuming session at 'Sun Nov 22 22:30:48 2026'.", Said::Starting),
            ("Session: Session resumed at 'Sun Nov 22 22:30:49 2026'.", Said::Up),
            ("Session: Terminating session at 'Sun Nov 22 22:30:57 2026'.", Said::Ending),
            ("Session: Aborting session at 'Sun Nov 22 22:30:57 2026'.", Said::Ending),
        ];
        for (line, said) in printed {
            assert_eq!(parse(line), Some(said), "{line}");
        }
        let meaningless = [
            "Session: Display failure detected at 'Sun Nov 22 22:30:50 2026'.",
            "Info: Waiting the cleanup timeout to complete.",
            "Loop: PANIC! The remote NX proxy closed the connection.",
            "",
        ];
        assert!(meaningless.iter().all(|line| parse(line).is_none()));
        assert_eq!(parse("Error: No room."), Some(Said::Problem("No room.".into())));
    }

    proptest! {
        #[test]
        fn any_bytes_become_bounded_lines(bytes: Vec<u8>, cut in 1_usize..9) {
            let mut cutter = Cutter::default();
            let mut lines = Vec::new();
            for piece in bytes.chunks(cut) {
                lines.extend(cutter.push(piece));
            }
            prop_assert_eq!(lines.len() + 1, bytes.split(|byte| *byte == b'\n').count());
            for line in lines {
                let _ = parse(&line);
            }
        }
    }

    #[test]
    fn an_endless_line_is_not_kept() {
        let mut cutter = Cutter::default();
        assert!(cutter.push(&vec![b'x'; 1 << 20]).is_empty());
        assert_eq!(cutter.push(b"\nnext\n"), ["x".repeat(LINE_MAX), "next".to_owned()]);
    }
}
