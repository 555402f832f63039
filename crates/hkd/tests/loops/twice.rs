//! Each step done twice leaves what it leaves when done once.

use std::sync::Arc;

use hkd::{
    execute::execute,
    goal::goal,
    linux::fake::Fake,
    node::{Node, PerStart},
    observe::{Observation, observe},
    plan::{self, Agent, Next, Step},
    record::Record,
};
use model::{Timestamp, settings::Settings, vm::Power};
use store::Work;

use crate::world::World;

const NOW: Timestamp = Timestamp(1_700_000_000_000);

fn look(node: &Node, work: &Work, agent: Agent) -> Observation {
    // Going down, no image is wanted.
    let di = work.di.as_ref().filter(|_| work.desired.power == Power::On);
    observe(node, work.vm.id, di, agent, NOW).unwrap()
}

/// Goes on step by step, each done twice in a row, until there is nothing to do. What the agent and the
/// database would do is done here.
fn walk(node: &Node, world: &World, work: &Work, steps: &mut Vec<Step>) {
    let vm = world.vm.id;
    let goal = goal(Some(work), world.host, false, NOW);
    let mut agent = Agent::Absent;
    loop {
        let seen = look(node, work, agent);
        let step = match plan::next(goal, &seen.seen, true, &[]) {
            Next::Do(step) => step,
            Next::Wait => panic!("nothing here takes time"),
            Next::Settled => return,
        };
        assert!(steps.last() != Some(&step), "{step:?} again: {seen:?}");
        steps.push(step);
        match step {
            Step::Prepare => agent = Agent::Ready,
            Step::NoteEnd => {
                let record = Record { noted: true, ..seen.record.clone().unwrap() };
                record.write(node.linux.as_ref(), &node.directory(vm)).unwrap();
            }
            _ => {
                let doing = || execute(node, step, vm, Some(work), &seen, NOW, &mut |_, _| {});
                doing().unwrap();
                let once = (world.machine.inventory(), look(node, work, agent).seen);
                // It may refuse to be done again, but not do harm.
                let again = doing();
                let twice = (world.machine.inventory(), look(node, work, agent).seen);
                assert_eq!(once, twice, "{step:?} done again: {again:?}");
                if step == Step::Inject {
                    agent = Agent::Present;
                }
            }
        }
    }
}

/// Every step of a start and of a stop is done twice on the way; the VM comes up, and nothing is left.
#[tokio::test]
async fn each_step_may_be_done_twice() {
    let world = World::new().await;
    let vm = world.vm.id;
    let fake = Arc::new(Fake::new(Arc::clone(&world.machine), None));
    let settings = PerStart::from_settings(&Settings::default()).unwrap();
    let node = world.node(&fake, settings).await;
    let mut steps = Vec::new();
    world.start(vm, world.di.id).await;
    let work = world.store.host_work(world.host).await.unwrap().work.remove(0);
    walk(&node, &world, &work, &mut steps);
    assert!(world.machine.processes(&world.desk()).is_some());
    assert_eq!(world.machine.counts().unpacked, 1);
    world.stop(vm).await;
    let work = world.store.host_work(world.host).await.unwrap().work.remove(0);
    walk(&node, &world, &work, &mut steps);
    world.assert_nothing_left();
    for step in [Step::Unpack, Step::Snapshot, Step::Start, Step::AskToStop, Step::Forget] {
        assert!(steps.contains(&step), "{step:?} is missing in {steps:?}");
    }
}
