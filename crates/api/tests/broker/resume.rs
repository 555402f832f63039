//! Clients that lost their connection, and routers whose api was away.

use model::{
    VmId,
    vm::{EndKind, Ended, Seen},
};
use wire::broker::{Answer, Order, Report, Request};

use crate::{
    ada, attached, connect,
    installation::{Installation, Line},
    parameters, refused,
};

const TAKEN: (u16, &str) = (409, "Another client took over this desktop");

fn resume(name: &str) -> Request {
    Request::Connect { who: ada(), vm: 1, parameters: parameters(), resume: Some(name.to_owned()) }
}

/// A client that has its desktop.
async fn attach(it: &Installation, request: &Request) -> (Line, String) {
    let (mut line, name) = named(it, request).await;
    line.say(&Report::Established).await;
    it.connection_is_established().await;
    (line, name)
}

/// A client that has its desktop, and loses its connection: its name.
async fn come_and_go(it: &Installation, request: &Request) -> String {
    let (line, name) = attach(it, request).await;
    drop(line);
    it.connection_ends().await;
    name
}

/// A client whose connection has a name that it has not heard of.
async fn named(it: &Installation, request: &Request) -> (Line, String) {
    let mut line = it.ask(request).await;
    let (_, name) = attached(&mut line).await;
    (line, name)
}

async fn refusal(it: &Installation, request: &Request) -> (u16, String) {
    refused(it.ask(request).await.last_answer().await)
}

#[tokio::test]
async fn the_newest_goes_on_and_one_whose_place_was_taken_does_not() {
    let it = Installation::with_vms().await;
    it.runs().await;
    let first = come_and_go(&it, &connect(1)).await;
    let (_line, second) = attach(&it, &resume(&first)).await;
    assert_ne!(first, second);
    // Its own place was taken by itself: the old name is of no more use.
    assert_eq!(refusal(&it, &resume(&first)).await, (TAKEN.0, TAKEN.1.to_owned()));
    let (_other, _third) = attach(&it, &connect(1)).await;
    assert_eq!(refusal(&it, &resume(&second)).await, (TAKEN.0, TAKEN.1.to_owned()));
    assert_eq!(refusal(&it, &resume("")).await.0, 409);
    it.end().await;
}

/// A connection's name, which the client has as its slave key, is of use once, to its user, for its VM,
/// and never without the password; each connection has another.
#[tokio::test]
async fn a_key_is_of_use_once_and_to_its_user_alone() {
    let it = Installation::with_vms().await;
    it.runs().await;
    let mut names = std::collections::BTreeSet::new();
    let mut last = None;
    for _ in 0..5 {
        let request = last.as_deref().map_or_else(|| connect(1), resume);
        let name = come_and_go(&it, &request).await;
        assert!(names.insert(name.clone()), "a name was given twice");
        if let Some(used) = last.replace(name) {
            assert_eq!(refusal(&it, &resume(&used)).await, (TAKEN.0, TAKEN.1.to_owned()));
        }
    }
    let key = last.expect("the newest");
    // Bob knows it, and may not; for a VM of his own it means nothing.
    for (vm, status) in [(1, 403), (3, 409)] {
        let who = crate::who("bob", crate::SECRET);
        let resume = Some(key.clone());
        let stolen = Request::Connect { who, vm, parameters: parameters(), resume };
        assert_eq!(refusal(&it, &stolen).await.0, status);
    }
    let who = crate::who("ada", "wrong");
    let without =
        Request::Connect { who, vm: 1, parameters: parameters(), resume: Some(key.clone()) };
    assert_eq!(refusal(&it, &without).await.0, 401);
    // None of that used it up, and its user may come back by it: once.
    let (_line, newest) = attach(&it, &resume(&key)).await;
    assert_eq!(refusal(&it, &resume(&key)).await, (TAKEN.0, TAKEN.1.to_owned()));
    assert!(names.insert(newest));
    it.end().await;
}

/// A client that came back, and lost its connection again before it heard of its new name, comes back by
/// the old one, as often as that happens; whoever takes the desktop over meanwhile has it.
#[tokio::test]
async fn a_name_that_was_not_heard_takes_nothing_away() {
    let it = Installation::with_vms().await;
    it.runs().await;
    let first = come_and_go(&it, &connect(1)).await;
    for lost in [resume(&first), resume(&first)] {
        let (mut line, _) = named(&it, &lost).await;
        line.say(&Report::Failed { text: "the service that runs the desktops is away".into() })
            .await;
        it.connection_ends().await;
    }
    // One that is there yet, for all that is known, gives way to its own client.
    let (_unheard, _) = named(&it, &resume(&first)).await;
    let second = come_and_go(&it, &resume(&first)).await;
    assert_eq!(refusal(&it, &resume(&first)).await, (TAKEN.0, TAKEN.1.to_owned()));
    let (_unheard, _) = named(&it, &resume(&second)).await;
    let (_other, _) = named(&it, &connect(1)).await;
    assert_eq!(refusal(&it, &resume(&second)).await, (TAKEN.0, TAKEN.1.to_owned()));
    it.end().await;
}

#[tokio::test]
async fn who_only_lost_the_connection_starts_nothing() {
    let it = Installation::with_vms().await;
    it.runs().await;
    let name = come_and_go(&it, &connect(1)).await;
    it.sees(Seen::Nothing, |row| {
        row.ended = Some(Ended { run: row.run, kind: EndKind::ShutDown, at: row.seen_at });
    })
    .await;
    assert_eq!(refusal(&it, &resume(&name)).await, (409, "The desktop was shut down".to_owned()));
    assert_eq!(it.store.desired(VmId(1)).await.unwrap().unwrap().run.0, 1);
    // Started again by somebody: another session.
    let mut line = it.ask(&connect(1)).await;
    line.progress().await;
    assert_eq!(
        refusal(&it, &resume(&name)).await,
        (409, "The desktop was restarted since".to_owned())
    );
    it.end().await;
}

#[tokio::test]
async fn a_connection_that_is_reported_again_is_not_over() {
    let it = Installation::with_vms().await;
    it.runs().await;
    // The router gave the conversation up, and not the client.
    let name = come_and_go(&it, &connect(1)).await;
    let mut line = it.ask(&Request::Resumed { connection: name, established: true }).await;
    assert!(matches!(line.answer().await, Answer::Done { .. }));
    assert_eq!(it.store.connections().await.unwrap().len(), 1);
    drop(line);
    it.connection_ends().await;
    it.end().await;
}

#[tokio::test]
async fn a_router_reports_its_connections_to_the_next_api() {
    let mut it = Installation::with_vms().await;
    it.runs().await;
    let (mut line, name) = attach(&it, &connect(1)).await;
    line.say(&Report::Established).await;
    it.restart().await;
    line.closed().await;
    // The end of the api was not the end of the client.
    assert_eq!(it.store.connections().await.unwrap().len(), 1);
    let report = Request::Resumed { connection: name.clone(), established: true };
    let mut line = it.ask(&report).await;
    assert!(matches!(line.answer().await, Answer::Done { .. }));
    // Reported twice, the later conversation counts, and the earlier one ends nothing.
    let mut again = it.ask(&report).await;
    assert!(matches!(again.answer().await, Answer::Done { .. }));
    let Order::End { .. } = line.hear().await;
    drop(line);
    let (_other, _) = attach(&it, &connect(1)).await;
    let Order::End { text } = again.hear().await;
    assert_eq!(text, TAKEN.1);
    assert_eq!(refusal(&it, &report).await, (TAKEN.0, TAKEN.1.to_owned()));
    let unknown = Request::Resumed { connection: "x".repeat(64), established: true };
    assert_eq!(refusal(&it, &unknown).await.0, 409);
    it.end().await;
}
