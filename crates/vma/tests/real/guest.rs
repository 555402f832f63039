//! A guest without a container: namespaces of its own, this machine's programs, and its own `/etc`,
//! `/var`, `/run`, `/home` and `/tmp`: nothing it does can be seen outside.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "part of a test: what fails here fails the test"
)]

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Write},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::net::UnixListener,
    },
    path::PathBuf,
    process::{Child, Stdio},
};

use rustix::fs::{MemfdFlags, memfd_create};

use crate::screen::{program, wait_for};

/// The guest's init: makes its folders, says so, and adopts what is orphaned.
const INIT: &str = r#"
mount -t tmpfs -o mode=755 qvd /run
for folder in etc var; do
	mkdir -p /run/layers/$folder/upper /run/layers/$folder/work
	layers=lowerdir=/$folder,upperdir=/run/layers/$folder/upper,workdir=/run/layers/$folder/work
	mount -t overlay -o $layers qvd /$folder
done
mount -t tmpfs -o mode=755 qvd /home
mount -t tmpfs -o mode=1777 qvd /tmp
ip link add eth0 type veth peer name other
ip link set other up
mkdir -p /etc/qvd /etc/skel
echo hello >/etc/skel/.greeting
ln -sf /run/nowhere /etc/resolv.conf
cat >/etc/qvd/session <<'END'
#!/bin/sh
xdpyinfo >/dev/null || exit 1
env >"$HOME/environment"
exec sleep 1001
END
chmod 755 /etc/qvd/session
echo ready
while :; do sleep 1 & wait -n; done
"#;

/// A running guest; ended when dropped.
pub(crate) struct Guest {
    folder: tempfile::TempDir,
    unshare: Child,
    init: u32,
}

impl Guest {
    pub(crate) fn new() -> Self {
        let mut unshare = program("unshare")
            .args(["--mount", "--pid", "--uts", "--net", "--ipc", "--fork", "--kill-child"])
            .args(["--mount-proc", "/bin/bash", "-ec", INIT])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare is in util-linux");
        let mut line = String::new();
        BufReader::new(unshare.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        let own = unshare.id();
        let init = wait_for("the guest's init", || {
            fs::read_dir("/proc")
                .unwrap()
                .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
                .find(|number| parent(*number) == Some(own))
        });
        let folder = tempfile::Builder::new().prefix("qvd-vma-").tempdir().unwrap();
        Self { folder, unshare, init }
    }

    /// Where a client may keep files.
    pub(crate) fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// Injects an agent as hkd does and says where it answers.
    pub(crate) fn inject(&self, name: &str) -> PathBuf {
        let socket = self.folder.path().join(name);
        let listener = UnixListener::bind(&socket).unwrap();
        // Without close-on-exec: both are inherited through nsenter.
        let listener = inheritable(listener.as_fd());
        let memory = memfd_create("qvd-vma", MemfdFlags::empty()).unwrap();
        let bytes = fs::read(env!("CARGO_BIN_EXE_qvd-vma")).unwrap();
        File::from(memory.try_clone().unwrap()).write_all(&bytes).unwrap();
        // What is open for writing cannot be executed.
        let path = format!("/proc/self/fd/{}", memory.as_raw_fd());
        let readable = inheritable(File::open(path).unwrap().as_fd());
        drop(memory);
        let status = self
            .enter()
            .arg(format!("/proc/self/fd/{}", readable.as_raw_fd()))
            .args(["agent", "--listen-fd", &listener.as_raw_fd().to_string()])
            .status()
            .unwrap();
        assert!(status.success(), "{status}");
        socket
    }

    fn enter(&self) -> std::process::Command {
        let mut command = program("nsenter");
        let target = self.init.to_string();
        command.args(["--target", &target, "--mount", "--pid", "--uts", "--net", "--ipc", "--"]);
        command
    }

    /// What a shell in the guest says to `line`.
    pub(crate) fn shell(&self, line: &str) -> String {
        let output = self.enter().args(["/bin/sh", "-c", line]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // The namespace's init goes with it, and with that everything in there.
        let _ = self.unshare.kill();
        let _ = self.unshare.wait();
        wait_for("the guest's end", || fs::metadata(format!("/proc/{}", self.init)).err());
    }
}

/// A copy that programs inherit.
fn inheritable(descriptor: impl AsFd) -> OwnedFd {
    rustix::io::dup(descriptor).unwrap()
}

fn parent(number: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{number}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:\t")?.parse().ok())
}
