//! VMs are started and stopped; the test is their host.

use expect_test::expect;
use model::{
    Reason, VmId,
    reason::Code,
    vm::{Power, Seen},
};

use crate::installation::{Installation, now};

#[tokio::test]
async fn a_start_is_wanted_once_and_waited_for() {
    let it = Installation::with_a_vm().await;
    let host = async {
        it.wanted(|desired| desired.power == Power::On).await;
        it.sees(Seen::Preparing, |row| row.waiting_for = Some("unpack 10%".to_owned())).await;
        // A second one asks meanwhile: it changes nothing.
        it.qa("vm start -f id=1").await.ok();
        it.sees(Seen::Running, |_| ()).await;
    };
    let (said, ()) = tokio::join!(it.qa("vm start -f name=ada-desk --wait"), host);
    assert_eq!(said.ok(), "Started 1 VM.\n");
    let desired = it.store.desired(VmId(1)).await.unwrap().unwrap();
    assert_eq!((desired.run.0, desired.revision.0, desired.di.unwrap().0), (1, 1, 1));
    let row = it.qa("vm list -q -f state=running").await.ok();
    assert!(row.contains("| v1 | v1 | node1 | running |"), "{row}");

    let host = async {
        it.wanted(|desired| desired.power == Power::Off).await;
        it.sees(Seen::Stopping, |_| ()).await;
        it.sees(Seen::Nothing, |_| ()).await;
    };
    let (said, ()) = tokio::join!(it.qa("vm stop -f id=1 --wait -o json"), host);
    let vms: serde_json::Value = serde_json::from_str(&said.ok()).unwrap();
    assert_eq!((&vms[0]["state"], &vms[0]["run"]), (&"stopped".into(), &1.into()));
    it.end().await;
}

#[tokio::test]
async fn a_start_that_fails_ends_the_wait_with_reason_and_remedy() {
    let it = Installation::with_a_vm().await;
    let host = async {
        it.wanted(|desired| desired.power == Power::On).await;
        it.sees(Seen::Preparing, |row| {
            row.attempts = 3;
            row.next_try = Some(now().plus_millis(60_000));
            row.waiting_for = Some("unpack".to_owned());
            let full = Reason::new(Code::StorageFull, now()).with("path", "/srv/basefs");
            row.reason = Some(full);
        })
        .await;
    };
    let (said, ()) = tokio::join!(it.qa("vm start -f name=ada-desk --wait"), host);
    assert_eq!(said.code, 1);
    assert_eq!(
        said.err,
        "qa: ada-desk: there is no space left at /srv/basefs\n    \
         delete what is not needed there, such as unused images, or make it larger\n"
    );
    let why = it.qa("vm why -f state=failed").await.ok();
    let steady: Vec<&str> = why
        .lines()
        .filter(|line| !line.contains("since:") && !line.contains("seen:"))
        .map(|line| line.split(", the next").next().unwrap())
        .map(|line| line.split(" at 20").next().unwrap())
        .collect();
    expect![[r"
        ada-desk is failed: there is no space left at /srv/basefs
          remedy:   delete what is not needed there, such as unused images, or make it larger
          now:      Unpacking the image (first use on this host)
          attempts: 3
          host:     node1
          asked by: root"]]
    .assert_eq(&steady.join("\n").replace("uid 0", "root"));
    it.end().await;
}

#[tokio::test]
async fn what_has_no_image_or_no_host_is_refused_with_the_reason() {
    let it = Installation::with_a_vm().await;
    it.qa("vm edit -f id=1 di_tag=none").await.ok();
    assert_eq!(
        it.qa("vm start -f id=1").await.err,
        "qa: ada-desk: no image of OSF desk has the tag none\n    tag one with `qa di tag`\n"
    );
    it.qa("vm edit -f id=1 di_tag=head").await.ok();
    assert_eq!(it.qa("host block -f name=node1").await.ok(), "Blocked 1 host.\n");
    let said = it.qa("vm start -f id=1").await;
    assert_eq!((said.code, said.out.as_str()), (1, "Started 0 VMs.\n"));
    let why = "qa: ada-desk: no host can run it: each one is silent or blocked\n";
    assert!(said.err.starts_with(why) && said.err.contains("`qa host unblock`"), "{said:?}");
    assert!(it.qa("vm why").await.ok().contains("nobody has started it yet"));
    assert_eq!(it.qa("host unblock -f blocked=1").await.ok(), "Unblocked 1 host.\n");
    assert_eq!(it.qa("vm start -f id=1").await.ok(), "Started 1 VM.\n");
    it.end().await;
}

#[tokio::test]
async fn all_are_changed_only_when_a_person_or_force_says_so() {
    let it = Installation::with_a_vm().await;
    let said = it.qa_with("vm start", "n\n").await;
    assert_eq!((said.code, said.out.as_str()), (0, ""));
    assert_eq!(said.err, "Are you sure you want to start all virtual machines (1)? [y/N] ");
    let said = it.qa("vm start").await.failed(1);
    assert!(said.contains("\nqa: there is nobody to answer: nothing was changed\n"), "{said}");
    assert_eq!(it.store.desired(VmId(1)).await.unwrap().unwrap().run.0, 0);
    assert_eq!(it.qa_with("vm start", "Y\n").await.ok(), "Started 1 VM.\n");
    // A variable of a script that is not set.
    let said = it.qa("vm stop -f ").await.failed(2);
    assert!(said.starts_with("qa: syntax error: the filter is empty\n"), "{said}");
    assert_eq!(it.store.desired(VmId(1)).await.unwrap().unwrap().power, Power::On);
    assert_eq!(it.qa("vm stop --force -q").await.ok(), "");
    assert_eq!(it.store.desired(VmId(1)).await.unwrap().unwrap().power, Power::Off);
    it.end().await;
}

#[tokio::test]
async fn one_that_is_up_is_not_deleted_and_one_that_shut_itself_down_is() {
    let it = Installation::with_a_vm().await;
    it.qa("vm start -f id=1").await.ok();
    it.sees(Seen::Running, |_| ()).await;
    let said = it.qa("vm del -f id=1").await;
    assert_eq!(said.code, 1);
    assert!(said.err.contains("stop it first"), "{said:?}");
    // The next VM would get the address that this one still has.
    let said = it.qa("vm edit -f id=1 ip=10.0.0.200").await;
    assert_eq!((said.code, said.out.as_str()), (1, "Edited 0 VMs.\n"));
    assert!(said.err.contains("10.0.255.254 is in use by VM ada-desk: stop it first"), "{said:?}");
    let said = it.qa("di del -f id=1").await;
    assert!(said.err.contains("in use by"), "{said:?}");
    assert_eq!(it.names_in("storage/images"), ["1-small.tar.zst"]);
    let run = it.store.desired(VmId(1)).await.unwrap().unwrap().run;
    it.sees(Seen::Nothing, |row| {
        let kind = model::vm::EndKind::ShutDown;
        row.ended = Some(model::vm::Ended { run, kind, at: now() });
    })
    .await;
    assert!(it.qa("vm list -q").await.ok().contains("| stopped |"));
    it.qa("vm edit -f id=1 ip=10.0.0.200").await.ok();
    it.qa("vm del -f id=1").await.ok();
    it.end().await;
}
