//! A desktop on a display: it appears, comes back, ends, and is taken over.

use std::{sync::Arc, time::Instant};

use crate::{
    agent::Agent,
    display::Display,
    program::{Running, client, program, until},
    server::Server,
};

/// A client that shows an orange desktop.
struct Stage {
    display: Display,
    agent: Arc<Agent>,
    server: Server,
    home: tempfile::TempDir,
    client: Running,
}

const ORANGE: u32 = 0xff_80_00;

impl Stage {
    fn new(arguments: &[&str]) -> Self {
        let display = Display::new();
        let agent = Arc::new(Agent::new());
        let server = Server::new(Some(Arc::clone(&agent)));
        let home = tempfile::tempdir().unwrap();
        let mut command = client(home.path(), Some(display.number));
        let run = home.path().join("run");
        std::fs::create_dir(&run).unwrap();
        command.env("XDG_RUNTIME_DIR", &run);
        command.args(["--accept-new-certificate", "--link", "lan", &server.name()]).args(arguments);
        let client = Running::start(&mut command);
        agent.on(1);
        let stage = Self { display, agent, server, home, client };
        stage.paint("#ff8000", ORANGE);
        stage
    }

    /// What is painted in the desktop is seen on the display.
    fn paint(&self, colour: &str, pixel: u32) {
        self.agent.paint(colour);
        until("the picture", || self.display.pixel(300, 300) == pixel);
    }

    /// The programs of a name that the client has started.
    fn started(&self, name: &str) -> Vec<String> {
        let mut pgrep = program("pgrep");
        pgrep.args(["-x", "-P", &self.client.child.id().to_string(), name]);
        let found = String::from_utf8(pgrep.output().unwrap().stdout).unwrap();
        found.lines().map(str::to_owned).collect()
    }

    fn ends(&mut self, code: i32) -> String {
        let (status, words) = self.client.end();
        assert_eq!(status.code(), Some(code), "{words}");
        words
    }
}

#[test]
fn a_desktop_appears_and_comes_back_when_the_connection_is_lost() {
    let mut stage = Stage::new(&[]);
    assert!(stage.display.windows().contains("qvd"), "{}", stage.display.windows());
    assert!(
        !stage
            .home
            .path()
            .join(".config/qvd/known_hosts")
            .metadata()
            .unwrap()
            .permissions()
            .readonly()
    );
    let proxies = stage.started("nxproxy");
    assert_eq!(proxies.len(), 1, "{proxies:?}");
    let given = std::fs::read_to_string(format!("/proc/{}/environ", proxies[0])).unwrap();
    assert!(given.contains("HOME=") && !given.contains("secret"), "nxproxy has the password");
    for lost in 1..=2 {
        stage.server.cut();
        let start = Instant::now();
        stage.agent.on(1 + lost);
        assert!(start.elapsed().as_secs() < 3, "it took {:?}", start.elapsed());
        stage.paint(["#123456", "#654321"][lost - 1], [0x12_34_56, 0x65_43_21][lost - 1]);
    }
    assert_eq!(stage.server.asked("/qvd/connect_to_vm?id=7&qvd.client.os=linux"), 3);
    let plan = stage.server.plan.lock().unwrap();
    let key = format!("resume={}", "k".repeat(64));
    assert_eq!(plan.asked.iter().filter(|target| target.contains(&key)).count(), 2);
    drop(plan);
    stage.agent.log_out();
    stage.ends(0);
    let left = stage.home.path().join("run").read_dir().unwrap().count();
    assert_eq!(left, 0, "the folder of the socket is gone");
}

#[test]
fn a_session_suspended_by_the_server_is_over_here() {
    let mut stage = Stage::new(&[]);
    stage.agent.suspend();
    stage.ends(0);
    assert_eq!(stage.server.asked("/qvd/connect_to_vm"), 1);
}

#[test]
fn another_client_that_took_over_is_left_alone() {
    let mut stage = Stage::new(&[]);
    let text = "Another client shows this desktop now".to_owned();
    stage.server.plan.lock().unwrap().refuse = Some((409, text.clone()));
    stage.server.cut();
    assert!(stage.ends(8).contains(&text));
    assert_eq!(stage.server.asked("/qvd/connect_to_vm"), 2);
}

#[test]
fn a_desktop_that_was_stopped_is_not_started_again() {
    let mut stage = Stage::new(&[]);
    stage.server.plan.lock().unwrap().state = "stopped".to_owned();
    stage.server.cut();
    assert!(stage.ends(0).contains("desk was stopped"));
    assert_eq!(stage.server.asked("/qvd/connect_to_vm"), 1);
}

#[test]
fn a_server_that_is_back_in_a_while_is_waited_for() {
    let mut stage = Stage::new(&["--retry-for", "60"]);
    let busy = Some((503, "no host has room".to_owned()));
    stage.server.plan.lock().unwrap().refuse = busy;
    stage.server.cut();
    stage.client.wait_for("no host has room", 1);
    stage.server.plan.lock().unwrap().refuse = None;
    stage.agent.on(2);
    stage.paint("#0080ff", 0x00_80_ff);
    stage.agent.log_out();
    stage.ends(0);
}

#[test]
fn a_connection_that_cannot_be_resumed_is_said() {
    let mut stage = Stage::new(&["--retry-for", "0"]);
    stage.server.plan.lock().unwrap().refuse = Some((503, "no host has room".to_owned()));
    stage.server.cut();
    assert!(stage.ends(6).contains("could not be resumed: no host has room"));
    let mut stage = Stage::new(&["--no-reconnect"]);
    stage.server.cut();
    stage.ends(6);
    assert_eq!(stage.server.asked("/qvd/connect_to_vm"), 1);
}
