//! Each step done twice leaves what it leaves when done once, and one that comes too late does no harm.

use std::sync::Arc;

use hkd::{
    execute::execute,
    goal::goal,
    linux::{Linux as _, fake::Fake},
    node::{Node, PerStart},
    observe::{Observation, observe},
    plan::{self, Agent, Next, Step},
    record::Record,
};
use model::{Timestamp, settings::Settings, vm::Power};
use store::Work;

use crate::world::World;

const NOW: Timestamp = Timestamp(1_700_000_000_000);

/// Every step there is.
const ALL: [Step; 22] = [
    Step::DiscardBase,
    Step::Unpack,
    Step::Record,
    Step::DiscardOverlay,
    Step::DiscardOthers,
    Step::DiscardLasting,
    Step::Snapshot,
    Step::MountRoot,
    Step::MountHome,
    Step::AllowNetwork,
    Step::Start,
    Step::Inject,
    Step::Prepare,
    Step::AskToStop,
    Step::Kill,
    Step::RemoveLink,
    Step::ForbidNetwork,
    Step::RemoveGroups,
    Step::UnmountHome,
    Step::UnmountRoot,
    Step::NoteEnd,
    Step::Forget,
];

/// A host whose steps are done here, each twice.
struct Walk<'a> {
    world: &'a World,
    node: Node,
    now: Timestamp,
    steps: Vec<Step>,
}

impl Walk<'_> {
    async fn work(&self) -> Work {
        self.world.store.host_work(self.world.host).await.unwrap().work.remove(0)
    }

    fn look(&self, work: &Work, agent: Agent) -> Observation {
        // Going down, no image is wanted.
        let di = work.di.as_ref().filter(|_| work.desired.power == Power::On);
        observe(&self.node, work.vm.id, di, agent, self.now).unwrap()
    }

    /// Goes on step by step, each done twice in a row, until there is nothing to do. What the agent and the
    /// database would do is done here, and time passes when it is waited for.
    async fn go_on(&mut self) {
        let work = self.work().await;
        let persistent = self.node.settings().persistent;
        let (mut agent, mut last) = (Agent::Absent, None);
        loop {
            let goal = goal(Some(&work), self.world.host, persistent, self.now);
            let seen = self.look(&work, agent);
            let step = match plan::next(goal, &seen.seen, true, &[]) {
                Next::Do(step) => step,
                Next::Wait => {
                    self.now = self.now.plus_millis(60_000);
                    continue;
                }
                Next::Settled => return,
            };
            assert!(last.replace(step) != Some(step), "{step:?} again: {seen:?}");
            self.steps.push(step);
            agent = self.twice(step, &work, &seen, agent);
        }
    }

    /// Does a step twice. Returns what there is of the agent then.
    fn twice(&self, step: Step, work: &Work, seen: &Observation, agent: Agent) -> Agent {
        let vm = work.vm.id;
        match step {
            Step::Prepare => return Agent::Ready,
            Step::NoteEnd => {
                let record = Record { noted: true, ..seen.record.clone().unwrap() };
                record.write(self.node.linux.as_ref(), &self.node.directory(vm)).unwrap();
                return agent;
            }
            _ => {}
        }
        let machine = &self.world.machine;
        let now = self.now;
        let doing = || execute(&self.node, step, vm, Some(work), seen, now, &mut |_, _| {});
        doing().unwrap();
        let once = (machine.inventory(), self.look(work, agent).seen);
        // It may refuse to be done again, but not do harm.
        let again = doing();
        let twice = (machine.inventory(), self.look(work, agent).seen);
        assert_eq!(once, twice, "{step:?} done again: {again:?}");
        if step == Step::Inject { Agent::Present } else { agent }
    }
}

/// Every step there is is done twice on the way: of starts and stops, of ending what does not hear, of
/// clearing away what another left, and of going on from another image. The VM comes up each time, and
/// nothing is left.
#[tokio::test]
async fn each_step_may_be_done_twice() {
    let world = World::new().await;
    let vm = world.vm.id;
    let fake = Arc::new(Fake::new(Arc::clone(&world.machine), None));
    let mut settings = PerStart::from_settings(&Settings::default()).unwrap();
    settings.persistent = true;
    let node = world.node(&fake, settings.clone()).await;
    let mut walk = Walk { world: &world, node, now: NOW, steps: Vec::new() };
    let up = || assert!(world.machine.processes(&world.desk()).is_some());
    // Of a base by that name, but of another image; and of a VM of that name before.
    world.put_stale_base();
    world.leave_behind(vm);
    walk.node.allowed().insert(world.desk());
    world.start(vm, world.di.id).await;
    walk.go_on().await;
    up();
    // It does not hear, and is ended when its time is over. What it wrote is to last.
    world.machine.turn_deaf(&world.desk());
    world.stop(vm).await;
    walk.go_on().await;
    assert_eq!(world.machine.processes(&world.desk()), None);
    // It is no longer to last, and goes when another image is started.
    let other = world.another_image().await;
    settings.persistent = false;
    walk.node.set_settings(settings);
    world.start(vm, other).await;
    walk.go_on().await;
    up();
    // What a run that crashed wrote is kept until the next, which is of the first image again.
    world.machine.crash_inside(&world.desk());
    world.start(vm, world.di.id).await;
    walk.go_on().await;
    up();
    world.machine.crash_inside(&world.desk());
    world.stop(vm).await;
    walk.go_on().await;
    assert_eq!(world.machine.counts().unpacked, 2);
    world.assert_nothing_left();
    let missing: Vec<&Step> = ALL.iter().filter(|step| !walk.steps.contains(step)).collect();
    assert!(missing.is_empty(), "{missing:?} missing in {:?}", walk.steps);
}

/// Who saw a base that another VM's loop was filling, and comes to clear it away when it is whole, leaves it.
#[tokio::test]
async fn a_base_that_became_whole_meanwhile_stays() {
    let world = World::new().await;
    let fake = Arc::new(Fake::new(Arc::clone(&world.machine), None));
    let settings = PerStart::from_settings(&Settings::default()).unwrap();
    let node = world.node(&fake, settings).await;
    let mut walk = Walk { world: &world, node, now: NOW, steps: Vec::new() };
    world.start(world.vm.id, world.di.id).await;
    let work = walk.work().await;
    world.door().create_subvolume(&world.layout.partial_base(&world.di)).unwrap();
    let half = walk.look(&work, Agent::Absent);
    walk.go_on().await;
    let before = world.machine.inventory();
    let vm = world.vm.id;
    execute(&walk.node, Step::DiscardBase, vm, Some(&work), &half, NOW, &mut |_, _| {}).unwrap();
    assert_eq!(world.machine.inventory(), before);
}
