//! The agent in a guest.

use std::net::Ipv4Addr;

use wire::{
    agent::{Ask, Guest as Wanted, GuestUser, Session, Tell, VERSION, failure},
    session::Parameters,
};

use crate::{
    client::{Caller, Follower},
    guest::Guest,
    screen::{Screen, wait_for},
};

const ID: &str = "0123456789abcdef0123456789abcdef";

fn wanted() -> Wanted {
    Wanted {
        hostname: "desk-7".to_owned(),
        machine_id: ID.to_owned(),
        dns: vec![Ipv4Addr::new(10, 9, 0, 1)],
        address: (Ipv4Addr::new(10, 9, 0, 2), 24),
        gateway: Ipv4Addr::new(10, 9, 0, 1),
        lasting: false,
        user: GuestUser {
            name: "qvd-ann".to_owned(),
            uid: 61_234,
            gid: 61_234,
            home: "/home/qvd-ann".to_owned(),
        },
    }
}

fn start() -> Ask {
    Ask::Start { parameters: Parameters::default() }
}

#[test]
fn a_guest_is_made_fit_for_its_user() {
    let guest = Guest::new();
    let mut agent = Caller::new(&guest.inject("one"));
    assert_eq!(agent.ask(&Ask::Hello), Tell::Hello { version: VERSION, prepared: false });
    assert!(matches!(agent.ask(&start()), Tell::Failed { .. }), "for whom?");
    for _ in 0..2 {
        assert_eq!(agent.ask(&Ask::Prepare(wanted())), Tell::Done);
    }
    assert_eq!(agent.ask(&Ask::Hello), Tell::Hello { version: VERSION, prepared: true });
    assert_eq!(
        guest.shell("hostname; cat /etc/hostname /etc/machine-id"),
        format!("desk-7\ndesk-7\n{ID}\n")
    );
    assert_eq!(
        guest.shell("cat /etc/resolv.conf; test -L /etc/resolv.conf || echo file"),
        "nameserver 10.9.0.1\nfile\n"
    );
    assert!(guest.shell("grep desk-7 /etc/hosts").starts_with("127.0.1.1"));
    assert_eq!(guest.shell("id -u qvd-ann; id -gn qvd-ann"), "61234\nqvd-ann\n");
    assert_eq!(
        guest.shell("stat -c '%a %U %G' ~qvd-ann ~qvd-ann/.greeting"),
        "700 qvd-ann qvd-ann\n644 qvd-ann qvd-ann\n"
    );
    assert_eq!(guest.shell("grep -c qvd-ann /etc/passwd"), "1\n");
    assert_eq!(guest.shell("ip -br link show lo | grep -c LOWER_UP"), "1\n");
    assert!(guest.shell("ip -4 -o address show eth0").contains(" 10.9.0.2/24 "));
    assert!(guest.shell("ip route").starts_with("default via 10.9.0.1 dev eth0"));

    let mut clash = wanted();
    clash.user.name = "qvd-eve".to_owned();
    match agent.ask(&Ask::Prepare(clash)) {
        Tell::Failed { code, text } => {
            assert_eq!(code, failure::USER_CLASH);
            assert!(text.contains("qvd-ann") && text.contains("qvd-eve"), "{text}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_session_outlives_its_agents() {
    let guest = Guest::new();
    let screen = Screen::new();
    let socket = guest.inject("one");
    let mut agent = Caller::new(&socket);
    let mut follower = Follower::new(&socket);
    assert_eq!(follower.next(), Session::None);
    assert_eq!(agent.ask(&Ask::Suspend), Tell::Done, "there is nothing to suspend");
    assert_eq!(agent.ask(&Ask::Prepare(wanted())), Tell::Done);
    assert_eq!(agent.ask(&start()), Tell::Listening);
    let client = screen.client(&guest.folder(), &mut agent);
    follower.until(Session::Connected);
    let environment = wait_for("the desktop", || {
        Some(guest.shell("cat ~qvd-ann/environment")).filter(|text| text.contains("XAUTHORITY="))
    });
    for line in
        ["DISPLAY=:100", "USER=qvd-ann", "HOME=/home/qvd-ann", "XDG_RUNTIME_DIR=/run/user/61234"]
    {
        assert!(environment.lines().any(|other| other == line), "{line} in {environment}");
    }

    // A second agent: the first one goes, the session and its client stay.
    let newer = guest.inject("two");
    let mut follower = Follower::new(&newer);
    follower.until(Session::Connected);
    wait_for("the end of the first agent", || {
        Some(guest.shell("pgrep -cxf 'qvd-vma serve'")).filter(|count| count == "1\n")
    });
    // It can go on with the session before it was told whose it is.
    let mut agent = Caller::new(&newer);
    drop(client);
    follower.until(Session::Suspended);
    assert_eq!(agent.ask(&start()), Tell::Listening);
    let client = screen.client(&guest.folder(), &mut agent);
    follower.until(Session::Connected);

    // Something in the way of the agent is not taken for the session's end, by none of its parts.
    let desktop = guest.shell("pgrep -xf 'sleep 1001'");
    assert_eq!(agent.ask(&Ask::Prepare(wanted())), Tell::Done);
    let control = "/run/qvd/session/61234/control";
    guest.shell(&format!("mv {control} {control}.away && mkdir {control}"));
    for ask in [start(), Ask::Open, Ask::Suspend, Ask::End] {
        match Caller::new(&newer).ask(&ask) {
            Tell::Failed { code, text } => {
                assert_eq!(code, failure::STEP_FAILED, "{text}");
                assert!(text.contains("out of reach"), "{text}");
            }
            other => panic!("{ask:?}: {other:?}"),
        }
    }
    guest.shell(&format!("rmdir {control} && mv {control}.away {control}"));
    assert_eq!(guest.shell("pgrep -xf 'sleep 1001'"), desktop);

    assert_eq!(agent.ask(&Ask::End), Tell::Done);
    follower.until(Session::None);
    drop(client);
    wait_for("the end of the user's last process", || {
        Some(guest.shell("pgrep -cu qvd-ann")).filter(|count| count == "0\n")
    });
    assert_eq!(guest.shell("ls /run/qvd/session/61234"), "lock\n");
}

#[test]
fn an_image_that_lacks_something_is_told_of() {
    let guest = Guest::new();
    guest.shell("mount --bind /dev/null /usr/bin/nxagent");
    let mut agent = Caller::new(&guest.inject("one"));
    assert_eq!(agent.ask(&Ask::Prepare(wanted())), Tell::Done);
    match agent.ask(&start()) {
        Tell::Failed { code, text } => {
            assert_eq!(code, failure::SESSION_IMPOSSIBLE);
            assert_eq!(text, "the image has no nxagent (Debian package nxagent)");
        }
        other => panic!("{other:?}"),
    }
}
