//! The supervisor with a real `nxagent`, a real `nxproxy` and a real X server, as the user it is for.

use std::{fs, io::Write, time::Duration};

use crate::stage::{Stage, Supervised};
use wire::{
    agent::{Ask, Session, Tell},
    session::Parameters,
};

fn start() -> Ask {
    let geometry = "800x600".parse().ok();
    Ask::Start { parameters: Parameters { geometry, ..Parameters::default() } }
}

#[test]
fn a_session_lives_through_its_clients() {
    let stage = Stage::new();
    let session = Supervised::new(&stage);
    let mut follower = session.follow();
    assert_eq!(follower.next(), Session::None);

    // The first client.
    let mut first = session.connect();
    assert_eq!(first.ask(&start()), Tell::Listening);
    let client = stage.client(&mut first);
    follower.until(Session::Connected);
    let desktop = stage.desktop_process();

    // Suspended on request, and resumed: the same program is still there, and can be spoken to.
    assert_eq!(first.ask(&Ask::Suspend), Tell::Done);
    follower.until(Session::Suspended);
    drop(client);
    assert_eq!(first.ask(&start()), Tell::Listening);
    let client = stage.client(&mut first);
    follower.until(Session::Connected);
    assert_eq!(stage.desktop_process(), desktop);
    session.ping_the_display();

    // Another client takes over; who was there first cannot open the connection again.
    let mut second = session.connect();
    assert_eq!(second.ask(&start()), Tell::Listening);
    assert!(matches!(first.ask(&Ask::Open), Tell::Failed { .. }));
    let other = stage.client(&mut second);
    follower.until(Session::Connected);
    drop(client);

    // A connection that is cut suspends; twenty that are cut before their first byte do no harm.
    drop(other);
    follower.until(Session::Suspended);
    for _ in 0..20 {
        let mut caller = session.connect();
        assert_eq!(caller.ask(&start()), Tell::Listening);
        drop(caller.open());
    }
    let mut last = session.connect();
    assert_eq!(last.ask(&start()), Tell::Listening);
    let client = stage.client(&mut last);
    follower.until(Session::Connected);
    assert_eq!(stage.desktop_process(), desktop);
    session.ping_the_display();

    // The end leaves nothing: no program of the desktop, however it was started, and no file.
    assert_eq!(last.ask(&Ask::End), Tell::Done);
    follower.until(Session::None);
    drop(client);
    session.has_ended();
    assert_eq!(stage.processes(), Vec::<u32>::new());
    let left: Vec<_> =
        fs::read_dir(stage.folder()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["lock"]);
}

#[test]
fn a_first_client_that_is_cut_off_costs_nothing() {
    let stage = Stage::new();
    let session = Supervised::new(&stage);
    for _ in 0..5 {
        let mut caller = session.connect();
        assert_eq!(caller.ask(&start()), Tell::Listening);
        let mut connection = caller.open();
        connection.write_all(b"this is no NX\n").unwrap();
    }
    let mut caller = session.connect();
    assert_eq!(caller.ask(&start()), Tell::Listening);
    // Asked again while it waits: the same answer, at once.
    assert_eq!(caller.ask(&start()), Tell::Listening);
    let _client = stage.client(&mut caller);
    session.follow().until(Session::Connected);
    assert_eq!(caller.ask(&Ask::End), Tell::Done);
    session.has_ended();
}

#[test]
fn the_session_ends_with_its_desktop() {
    let stage = Stage::new();
    let session = Supervised::new(&stage);
    let mut caller = session.connect();
    assert_eq!(caller.ask(&start()), Tell::Listening);
    let _client = stage.client(&mut caller);
    let mut follower = session.follow();
    follower.until(Session::Connected);
    stage.log_out();
    follower.until(Session::None);
    session.has_ended();
    assert_eq!(stage.processes(), Vec::<u32>::new());
}

#[test]
fn a_resume_that_nobody_comes_for_lets_the_programs_go_on() {
    let stage = Stage::new();
    let session = Supervised::new(&stage);
    let mut caller = session.connect();
    assert_eq!(caller.ask(&start()), Tell::Listening);
    let client = stage.client(&mut caller);
    let mut follower = session.follow();
    follower.until(Session::Connected);
    drop(client);
    follower.until(Session::Suspended);
    assert_eq!(caller.ask(&start()), Tell::Listening);
    follower.until(Session::Listening);
    // Nobody opens the connection: nxagent does not wait for ever.
    follower.until_within(Session::Suspended, Duration::from_secs(20));
    session.ping_the_display();
    // And who comes late is served all the same.
    let _client = stage.client(&mut caller);
    follower.until(Session::Connected);
    assert_eq!(caller.ask(&Ask::End), Tell::Done);
    session.has_ended();
}

#[test]
fn an_nxagent_that_cannot_start_is_told_of() {
    let stage = Stage::new();
    // Where the socket should be there is a folder.
    fs::create_dir_all(stage.folder().join("nx.sock/in-the-way")).unwrap();
    let session = Supervised::new(&stage);
    let mut caller = session.connect();
    match caller.ask(&start()) {
        Tell::Failed { code, text } => {
            assert_eq!(code, wire::agent::failure::SESSION_FAILED);
            assert!(text.starts_with("nxagent ended: "), "{text}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(caller.ask(&Ask::End), Tell::Done);
    session.has_ended();
}
