//! What is used up, and is there again.

use std::fs;

use model::{reason::Code, vm::Observed};

use crate::world::World;

fn says(code: Code) -> impl Fn(&Observed) -> bool {
    move |row| row.reason.as_ref().is_some_and(|reason| reason.code == code)
}

/// With every range of ids taken a VM says so and leaves nothing half-made; it comes up by itself when
/// one is free.
#[tokio::test]
async fn a_vm_waits_for_a_range_of_ids() {
    let world = World::new().await;
    let vm = world.vm.id;
    let others = world.layout.root.join("others");
    fs::create_dir(&others).unwrap();
    world.machine.take_all_slots(&others);
    let daemon = world.daemon(None).await;
    let run = world.start(vm, world.di.id).await;
    let row = world.until(vm, "the VM to say why", says(Code::NoSlot)).await;
    let reason = row.reason.unwrap();
    assert_eq!(reason.text(), "host node1 runs as many VMs as it has id ranges for");
    assert_eq!(reason.remedy(), "stop some VMs");
    assert_eq!(world.machine.counts().started, 0);
    fs::remove_dir(&others).unwrap();
    world.until_up(vm, run).await;
    world.stop(vm).await;
    world.until_down(vm).await;
    world.assert_nothing_left();
    daemon.stop().await;
}
