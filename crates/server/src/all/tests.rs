//! The supervisor with daemons that are lines of a shell.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::*;
use rustix::process::kill_process;
use supervised::Event;

/// A daemon that is this shell line.
fn shell(name: &'static str, line: &str) -> Supervised {
    run_by("/bin/sh".into(), name, line)
}

fn run_by(shell: PathBuf, name: &'static str, line: &str) -> Supervised {
    Supervised::new(Program {
        name,
        path: shell,
        arguments: ["-c".into(), line.into()].into(),
        environment: vec![("PATH".into(), "/usr/bin:/bin".into())],
        sockets: Vec::new(),
        account: None,
    })
}

/// Waits until a file has so many lines.
async fn lines(file: &Path, wanted: usize) -> Vec<String> {
    let seen = timeout(Duration::from_secs(20), async {
        loop {
            let text = fs::read_to_string(file).unwrap_or_default();
            let lines: Vec<String> = text.lines().map(str::to_owned).collect();
            if lines.len() >= wanted {
                return lines;
            }
            sleep(Duration::from_millis(10)).await;
        }
    });
    seen.await.unwrap_or_else(|_| panic!("{} has not {wanted} lines", file.display()))
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn a_daemon_that_keeps_ending_holds_up_neither_another_nor_the_stop() {
    runtime().block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let [ends, lives] = ["ends", "lives"].map(|name| folder.path().join(name));
        let notices = Notices::new(folder.path(), rustix::process::getgid().as_raw()).unwrap();
        let line = |file: &Path, then: &str| format!("echo $$ >>{}; {then}", file.display());
        let mut daemons = [
            shell("ends", &line(&ends, "exit 1")),
            shell("lives", &line(&lives, "exec sleep 1000")),
            // There is no such program: that is no reason to give up.
            run_by(folder.path().join("none"), "none", ""),
        ];
        let (stop, told) = tokio::sync::oneshot::channel::<()>();
        let test = async {
            // Five ends: the next pause takes 8 s.
            lines(&ends, 5).await;
            let started = lines(&lives, 1).await;
            let pid = Pid::from_raw(started[0].parse().unwrap()).unwrap();
            let killed = Instant::now();
            kill_process(pid, Signal::KILL).unwrap();
            lines(&lives, 2).await;
            assert!(killed.elapsed() < Duration::from_secs(2), "it waited for the other");
            drop(stop);
            Instant::now()
        };
        let stopping = async {
            let _ = told.await;
        };
        let (result, told) = tokio::join!(supervise(&mut daemons, &notices, stopping), test);
        result.unwrap();
        assert!(told.elapsed() < Duration::from_secs(2), "the stop waited for a pause");
        let left = &lines(&lives, 2).await[1];
        assert!(!Path::new("/proc").join(left).exists(), "it was not ended");
    });
}

#[test]
fn only_the_daemons_themselves_can_say_that_they_are_ready() {
    runtime().block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let notices = Notices::new(folder.path(), rustix::process::getgid().as_raw()).unwrap();
        let stranger = std::os::unix::net::UnixDatagram::unbound().unwrap();
        let say = |text: &str| {
            stranger.send_to(text.as_bytes(), notices.path()).unwrap();
        };
        say("STATUS=READY=1");
        say("MAINPID=1\nREADY=1");
        let sender = notices.next().await.unwrap();
        assert_eq!(sender, getpid());
        let mut daemon = shell("daemon", "exec sleep 1000");
        daemon.start();
        daemon.said_ready(sender);
        assert!(!daemon.is_ready(), "a stranger spoke for it");
        daemon.said_ready(daemon.pid().unwrap());
        assert!(daemon.is_ready());
        daemon.tell_to_end();
        let Event::Ended(status) = daemon.next().await.unwrap() else { panic!("it ended") };
        daemon.take(Event::Ended(status));
        assert!(!daemon.is_ready(), "one that ended is not");
    });
}
