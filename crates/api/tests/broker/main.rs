//! Conversations of the router with the api, over the real socket and a real database. The tests
//! stand in for the router and for the host.

#[cfg(test)]
mod installation;
#[cfg(test)]
mod resume;

use installation::{Installation, Line, SECRET};
use model::{
    Reason, Run, VmId,
    reason::Code,
    vm::{EndKind, Ended, Power, Seen},
};
use wire::{
    broker::{Answer, Credentials, Order, Report, Request},
    session::Parameters,
};

fn ada() -> Credentials {
    who("ada", SECRET)
}

fn who(login: &str, password: &str) -> Credentials {
    Credentials {
        login: login.to_owned(),
        password: password.to_owned(),
        address: "198.51.100.7".to_owned(),
    }
}

fn connect(vm: i64) -> Request {
    Request::Connect { who: ada(), vm, parameters: parameters(), resume: None }
}

fn parameters() -> Parameters {
    Parameters { fullscreen: true, ..Parameters::default() }
}

/// The run and name of an `Attach`; its progress is thrown away.
async fn attached(line: &mut Line) -> (i64, String) {
    match line.last_answer().await {
        Answer::Attach { run, connection, parameters: given, vm: 1 } => {
            assert_eq!(given, parameters());
            assert!(
                connection.len() == 64 && connection.bytes().all(|b| b.is_ascii_alphanumeric())
            );
            (run, connection)
        }
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn refused(answer: Answer) -> (u16, String) {
    match answer {
        Answer::Refused { status, text, .. } => (status, text),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_host_takes_users_only_when_it_can() {
    let it = Installation::new().await;
    let ping = || async { it.ask(&Request::Ping).await.last_answer().await };
    assert_eq!(refused(ping().await), (503, "Host is not registered in the database".to_owned()));
    it.store.add_host("node1", "192.0.2.1").await.unwrap();
    assert_eq!(refused(ping().await), (503, "Server is stopped".to_owned()));
    it.host_says("running", -20_000).await;
    assert_eq!(refused(ping().await), (503, "Server is lost".to_owned()));
    it.host_says("stopping", -20_000).await;
    assert_eq!(refused(ping().await), (503, "Server is stopped".to_owned()));
    // A daemon that is being restarted is waited for, not told of.
    for state in ["stopping", "starting", "running"] {
        it.host_says(state, 0).await;
        assert_eq!(ping().await, Answer::Done { text: "I am alive!".to_owned() });
    }
    it.store.set_host_blocked(model::HostId(1), true).await.unwrap();
    assert_eq!(refused(ping().await), (503, "Server is blocked".to_owned()));
    it.end().await;
}

#[tokio::test]
async fn a_user_sees_the_own_vms_and_nobody_without_password_sees_any() {
    let it = Installation::with_vms().await;
    let list = |who| it.ask_owned(Request::List { who });
    let Answer::Vms { vms } = list(ada()).await.last_answer().await else { panic!() };
    let lines: Vec<(i64, &str, &str, bool)> =
        vms.iter().map(|vm| (vm.id, vm.name.as_str(), vm.state.as_str(), vm.blocked)).collect();
    assert_eq!(lines, [(1, "ada-desk", "stopped", false), (2, "ada-other", "stopped", true)]);
    for (login, password) in [("ada", "wrong"), ("nobody", SECRET), ("", "")] {
        let answer = list(who(login, password)).await.last_answer().await;
        assert_eq!(refused(answer), (401, "wrong login or password".to_owned()));
    }
    it.end().await;
}

#[tokio::test]
async fn only_the_own_vm_that_is_not_blocked_can_be_had() {
    let it = Installation::with_vms().await;
    let cases = [
        (99, 404, "The requested virtual machine does not exist"),
        (3, 403, "You are not allowed to access requested virtual machine"),
        (2, 403, "The requested virtual machine is offline for maintenance"),
    ];
    for (vm, status, text) in cases {
        let answer = it.ask(&connect(vm)).await.last_answer().await;
        assert_eq!(refused(answer), (status, text.to_owned()));
    }
    assert!(it.store.all_desired().await.unwrap().iter().all(|row| row.power == Power::Off));
    it.end().await;
}

#[tokio::test]
async fn a_stopped_vm_is_started_and_its_progress_told() {
    let it = Installation::with_vms().await;
    let mut line = it.ask(&connect(1)).await;
    assert_eq!(line.progress().await, "Starting virtual machine");
    let desired = it.store.desired(VmId(1)).await.unwrap().unwrap();
    assert_eq!((desired.power, desired.run, desired.di.unwrap().0), (Power::On, Run(1), 1));
    assert_eq!(desired.asked_by, "user ada");
    for (word, told) in [
        ("unpack", "Unpacking the image (first use on this host)"),
        ("unpack 60%", "Unpacking the image (first use on this host): 60%"),
        ("agent", "Waiting for the agent in the virtual machine"),
    ] {
        it.sees(Seen::Preparing, |row| row.waiting_for = Some(word.to_owned())).await;
        line.progress_until(told).await;
    }
    it.sees(Seen::Preparing, |row| {
        row.attempts = 1;
        row.waiting_for = Some("start".to_owned());
        row.reason = Some(Reason::new(Code::StorageFull, row.seen_at).with("path", "/srv"));
    })
    .await;
    line.progress_until("Starting virtual machine (again: there is no space left at /srv)").await;
    it.sees(Seen::Running, |_| ()).await;
    let (run, name) = attached(&mut line).await;
    assert_eq!(run, 1);
    let row = it.store.newest_connection(VmId(1)).await.unwrap().unwrap();
    assert_eq!((row.name, row.run, row.client.as_str()), (name, Run(1), "198.51.100.7"));
    assert!(!row.ended);
    line.say(&Report::Established).await;
    line.say(&Report::Ended).await;
    it.connection_ends().await;
    it.end().await;
}

#[tokio::test]
async fn a_running_vm_is_attached_at_once() {
    let it = Installation::with_vms().await;
    it.runs().await;
    let mut line = it.ask(&connect(1)).await;
    assert!(matches!(line.answer().await, Answer::Attach { run: 1, .. }));
    // The end of the socket says the same as the report.
    drop(line);
    it.connection_ends().await;
    it.end().await;
}

#[tokio::test]
async fn two_at_once_make_one_start_and_the_newest_wins() {
    let it = Installation::with_vms().await;
    let (mut one, mut two) = tokio::join!(it.ask_owned(connect(1)), it.ask_owned(connect(1)));
    one.progress().await;
    two.progress().await;
    it.sees(Seen::Running, |_| ()).await;
    let ((run_one, name_one), (run_two, name_two)) =
        tokio::join!(attached(&mut one), attached(&mut two));
    assert_eq!((run_one, run_two), (1, 1));
    let desired = it.store.desired(VmId(1)).await.unwrap().unwrap();
    assert_eq!((desired.run, desired.revision.0), (Run(1), 1));
    let newest = it.store.newest_connection(VmId(1)).await.unwrap().unwrap().name;
    assert!(newest == name_one || newest == name_two);
    let (mut loser, winner) = if newest == name_one { (two, one) } else { (one, two) };
    let Order::End { text } = loser.hear().await;
    assert_eq!(text, "Another client took over this desktop");
    drop(loser);
    // The loser's end is not the winner's.
    let rows = it.store.connections().await.unwrap();
    assert_eq!(rows.iter().map(|row| &row.name).collect::<Vec<_>>(), [&newest]);
    drop(winner);
    it.connection_ends().await;
    it.end().await;
}

#[tokio::test]
async fn ten_at_once_are_one_desktop() {
    let it = Installation::with_vms().await;
    let mut lines = Vec::new();
    for _ in 0..10 {
        lines.push(it.ask(&connect(1)).await);
    }
    for line in &mut lines {
        line.progress().await;
    }
    it.sees(Seen::Running, |_| ()).await;
    for line in &mut lines {
        attached(line).await;
    }
    assert_eq!(it.store.desired(VmId(1)).await.unwrap().unwrap().run, Run(1));
    assert_eq!(it.store.connections().await.unwrap().len(), 1);
    it.end().await;
}

#[tokio::test]
async fn a_start_that_fails_is_refused_with_its_reason() {
    let it = Installation::with_vms().await;
    let mut line = it.ask(&connect(1)).await;
    line.progress().await;
    it.sees(Seen::Preparing, |row| {
        row.attempts = 3;
        row.reason = Some(Reason::new(Code::NoInit, row.seen_at).with("di", 1));
    })
    .await;
    let answer = line.last_answer().await;
    assert_eq!(refused(answer), (503, "image 1 has no init at /sbin/init".to_owned()));
    // Who asks again gets another run.
    let mut line = it.ask(&connect(1)).await;
    line.progress().await;
    assert_eq!(it.store.desired(VmId(1)).await.unwrap().unwrap().run, Run(2));
    it.end().await;
}

#[tokio::test]
async fn one_that_ends_or_is_stopped_on_its_way_up_is_refused() {
    let it = Installation::with_vms().await;
    let mut line = it.ask(&connect(1)).await;
    line.progress().await;
    it.sees(Seen::Nothing, |row| {
        row.ended = Some(Ended { run: row.run, kind: EndKind::ShutDown, at: row.seen_at });
        row.reason = Some(Reason::new(Code::ShutDown, row.seen_at));
    })
    .await;
    assert_eq!(refused(line.last_answer().await), (503, "it was shut down from inside".to_owned()));

    let mut line = it.ask(&connect(1)).await;
    line.progress().await;
    let stop = Request::Stop { who: ada(), vm: Some(1) };
    let mut stopping = it.ask(&stop).await;
    assert_eq!(stopping.progress().await, "Stopping virtual machine");
    assert_eq!(refused(line.last_answer().await), (503, "it was stopped meanwhile".to_owned()));
    it.end().await;
}

#[tokio::test]
async fn what_has_no_image_or_no_host_is_refused_at_once() {
    let it = Installation::with_vms().await;
    let edit = store::VmEdit { tag: Some("none".to_owned()), ..store::VmEdit::default() };
    it.store.edit_vm(VmId(1), &edit).await.unwrap();
    let answer = it.ask(&connect(1)).await.last_answer().await;
    assert_eq!(refused(answer), (503, "no image of OSF desk has the tag none".to_owned()));
    it.end().await;
}

#[tokio::test]
async fn who_waits_too_long_is_told_so_and_the_start_goes_on() {
    let it = Installation::with_vms().await;
    it.store.set_config("vm.start.timeout", "5").await.unwrap();
    let mut line = it.ask(&connect(1)).await;
    let begin = tokio::time::Instant::now();
    assert_eq!(refused(line.last_answer().await), (503, "it takes too long to start".to_owned()));
    assert!(begin.elapsed().as_secs() >= 4);
    assert_eq!(it.store.desired(VmId(1)).await.unwrap().unwrap().power, Power::On);
    it.end().await;
}

#[tokio::test]
async fn a_user_stops_the_own_vm() {
    let it = Installation::with_vms().await;
    it.runs().await;
    let stop = |vm| Request::Stop { who: ada(), vm };
    let answer = it.ask(&stop(Some(3))).await.last_answer().await;
    assert_eq!(refused(answer).0, 403);
    let answer = it.ask(&stop(None)).await.last_answer().await;
    assert_eq!(refused(answer), (422, "parameter id is missing".to_owned()));
    let mut line = it.ask(&stop(Some(1))).await;
    assert_eq!(line.progress().await, "Stopping virtual machine");
    it.wanted(|desired| desired.power == Power::Off).await;
    it.sees(Seen::Nothing, |_| ()).await;
    let done = Answer::Done { text: "Machine stopped".to_owned() };
    assert_eq!(line.last_answer().await, done);
    // One that is stopped is so at once; and the only one needs no id.
    it.store.delete_vm(VmId(2)).await.unwrap();
    assert_eq!(it.ask(&stop(None)).await.last_answer().await, done);
    it.end().await;
}

#[tokio::test]
async fn wrong_passwords_are_slowed_down() {
    let it = Installation::with_vms().await;
    let wrong = Request::List { who: who("ada", "wrong") };
    let mut statuses = Vec::new();
    for _ in 0..30 {
        let answer = it.ask(&wrong).await.last_answer().await;
        if let Answer::Refused { status: 429, retry_after, .. } = &answer {
            assert!(retry_after.is_some_and(|seconds| seconds >= 1));
        }
        statuses.push(refused(answer).0);
    }
    assert_eq!((statuses.first(), statuses.last()), (Some(&401), Some(&429)));
    it.end().await;
}

/// Whoever fails from one address keeps nobody out who comes from another, to the same account or to
/// others, however many fail at once.
#[tokio::test]
async fn who_fails_elsewhere_keeps_nobody_out() {
    let it = Installation::with_vms().await;
    let list = |who| it.ask_owned(Request::List { who });
    let from = |login: &str, password: &str, address: String| Credentials {
        address,
        ..who(login, password)
    };
    let mut attackers = Vec::new();
    for number in 0..60 {
        let (login, other) = if number % 2 == 0 { ("ada", "bob") } else { ("nobody", "ada") };
        let address = format!("203.0.113.{}", number % 3);
        attackers.push(list(from(login, "wrong", address.clone())).await);
        attackers.push(list(from(other, "wrong", address)).await);
    }
    // Among them, while they are being looked at.
    for number in 0..10 {
        let good = from("ada", SECRET, format!("198.51.100.{number}"));
        let answer = list(good).await.last_answer().await;
        assert!(matches!(answer, Answer::Vms { .. }), "{answer:?}");
    }
    let mut slowed_down = 0;
    for mut line in attackers {
        match refused(line.last_answer().await).0 {
            401 => {}
            429 => slowed_down += 1,
            status => panic!("{status}"),
        }
    }
    assert!(slowed_down > 30, "{slowed_down}");
    let bob = from("bob", SECRET, "198.51.100.99".to_owned());
    assert!(matches!(list(bob).await.last_answer().await, Answer::Vms { .. }));
    it.end().await;
}

#[tokio::test]
async fn garbage_ends_the_conversation_and_nothing_else() {
    let it = Installation::with_vms().await;
    for garbage in ["hello\n", "{\"ask\":\"connect\"}\n", "\0\n", &"x".repeat(70_000)] {
        it.raw(garbage.as_bytes()).await.closed().await;
    }
    let answer = it.ask(&Request::Ping).await.last_answer().await;
    assert!(matches!(answer, Answer::Done { .. }));
    it.end().await;
}
