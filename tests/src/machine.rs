//! What the machine of the tests is, and what it has.

use std::{fmt::Display, fs};

/// Whether this machine has something. When it has not, the test says so and is skipped.
#[expect(clippy::print_stdout, reason = "who runs the tests is told what was not shown")]
pub fn has(there: bool, what: &str) -> bool {
    if !there {
        println!("skipped: this machine has no {what}");
    }
    there
}

/// The kernel's release: its first two numbers.
pub fn kernel() -> (u32, u32) {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split('.').map_while(|number| number.parse().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// What the kernel tells of a process in `/proc/PID/stat`, from its state on, which is the first: what
/// proc(5) gives the number 3.
#[track_caller]
pub fn stat_of(pid: impl Display) -> impl Iterator<Item = String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
    let stat = stat.unwrap_or_else(|error| panic!("process {pid}: {error}"));
    // Before it stands the program's name, which may hold anything.
    let (_, after) = stat.rsplit_once(')').expect("a program has a name");
    let fields: Vec<String> = after.split_whitespace().map(str::to_owned).collect();
    fields.into_iter()
}
