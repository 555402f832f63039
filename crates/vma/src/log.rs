//! The agent's diary in the guest: for an administrator who looks into a VM.
//!
//! Its size is bounded, its lines carry the seconds since this process began, and a diary that
//! cannot be written is no reason to stop.

use std::{
    fmt,
    fs::File,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::{LazyLock, Mutex},
    time::Instant,
};

/// The diary ends when it is this long.
const SIZE_MAX: usize = 256 * 1024;

static DIARY: LazyLock<Mutex<Diary>> =
    LazyLock::new(|| Mutex::new(Diary { began: Instant::now(), to: None, written: 0 }));

struct Diary {
    began: Instant,
    to: Option<File>,
    written: usize,
}

/// From now on lines go to `path`, a new file; until now they went nowhere.
pub(crate) fn open(path: &Path) {
    // Not followed, and not the old file: a reader of that one keeps what it has.
    let _ = std::fs::remove_file(path);
    let file = File::options().write(true).create_new(true).mode(0o600).open(path);
    if let Ok(mut diary) = DIARY.lock() {
        diary.to = file.ok();
    }
}

/// One line.
pub(crate) fn line(text: impl fmt::Display) {
    let Ok(mut diary) = DIARY.lock() else { return };
    let line = format!("[{:10.3}] {text}\n", diary.began.elapsed().as_secs_f64());
    diary.written += line.len();
    if diary.written <= SIZE_MAX
        && let Some(file) = &mut diary.to
    {
        // A full disk must not end the agent.
        let _ = file.write_all(line.as_bytes());
    }
}
