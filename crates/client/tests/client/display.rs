//! An X server without a screen, whose picture can be read.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::FileExt as _,
    process::{Child, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::program::program;

/// Its own X server.
pub(crate) struct Display {
    pub(crate) number: u32,
    folder: TempDir,
    child: Child,
}

impl Display {
    /// Starts one on a free number.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut child = program("Xvfb")
            .args(["-displayfd", "1", "-screen", "0", "1280x800x24", "-nolisten", "tcp", "-ac"])
            .arg("-fbdir")
            .arg(folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { number: line.trim().parse().unwrap(), folder, child }
    }

    /// The colour of a pixel, as 0xRRGGBB. The X server keeps its picture in a file of the XWD
    /// format: a head of 32-bit numbers, a table of colours, and lines of pixels.
    pub(crate) fn pixel(&self, x: u32, y: u32) -> u32 {
        let file = fs::File::open(self.folder.path().join("Xvfb_screen0")).unwrap();
        let read = |at: u64| {
            let mut bytes = [0; 4];
            file.read_exact_at(&mut bytes, at).unwrap();
            bytes
        };
        let head = |field: u64| u32::from_be_bytes(read(field * 4));
        let (size, line, colours) = (head(0), head(12), head(19));
        let at = size + colours * 12 + y * line + x * 4;
        u32::from_le_bytes(read(u64::from(at))) & 0x00ff_ffff
    }

    /// The windows there are, as `xwininfo` tells.
    pub(crate) fn windows(&self) -> String {
        let told = program("xwininfo")
            .args(["-root", "-tree", "-display", &format!(":{}", self.number)])
            .output()
            .unwrap();
        String::from_utf8_lossy(&told.stdout).into_owned()
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        // Asked to, it takes its socket and lock along.
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        self.child.wait().ok();
    }
}
