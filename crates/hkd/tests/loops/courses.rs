//! What may happen to a VM while its daemon dies or its machine fails: courses, each the part of a life in
//! which other changes are made.

use std::sync::Arc;

use hkd::{
    linux::{
        Linux as _,
        fake::{Call, Fake, Fault, How},
    },
    node::Node,
};
use model::{Run, VmId, reason::Code};

use crate::world::{Daemon, Template, World, until, until_ready};

/// A part of a VM's life, or of its host's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Course {
    /// It is started and stopped.
    StartAndStop,
    /// It does not hear that it is to stop, and is ended when its time is over.
    Deaf,
    /// It runs when its daemon comes, and is stopped by it.
    Adopted,
    /// Its monitor dies, and leaves groups behind; it is started again.
    LostMonitor,
    /// It is shut down from inside.
    ShutDown,
    /// It is started anew while it runs.
    AnotherRun,
    /// Its base is of an earlier image of that name; and an overlay of another image lasted until now.
    OtherImages,
    /// Things are there that nobody's record tells of.
    Strays,
    /// It is deleted while it runs, when no daemon is there.
    Deleted,
}

impl Course {
    pub(crate) const ALL: [Self; 9] = [
        Self::StartAndStop,
        Self::Deaf,
        Self::Adopted,
        Self::LostMonitor,
        Self::ShutDown,
        Self::AnotherRun,
        Self::OtherImages,
        Self::Strays,
        Self::Deleted,
    ];

    /// Takes a host of its own through it; the daemon that acts is interrupted where `fault` says.
    pub(crate) async fn take(self, template: &Template, fault: Option<Fault>) -> Taken {
        let world = World::of(template).await;
        let vm = world.vm.id;
        let begun = self.begin(&world).await;
        let mut watched = Watched::new(&world, fault).await;
        self.go_on(&world, begun, &mut watched).await;
        assert_eq!(world.machine.harm(), [""; 0], "{self:?}: {fault:?}");
        let taken = watched.end().await;
        world.assert_nothing_left();
        if let Some(row) = world.row(vm).await {
            let failed = row.reason.filter(|reason| reason.code != Code::ShutDown);
            assert_eq!((failed, row.attempts), (None, 0), "{self:?}: {fault:?}");
        }
        taken
    }

    /// What was before the daemon that acts. Returns the run that is up.
    async fn begin(self, world: &World) -> Run {
        let vm = world.vm.id;
        match self {
            Self::StartAndStop => return Run::NONE,
            Self::Strays => {
                leave_strays(world);
                return Run::NONE;
            }
            Self::OtherImages => {
                world.store.set_config("vm.overlay.persistent", "1").await.unwrap();
            }
            _ => {}
        }
        let daemon = world.daemon(None).await;
        let di = if self == Self::OtherImages { world.another_image().await } else { world.di.id };
        let run = world.start(vm, di).await;
        world.until_up(vm, run).await;
        match self {
            Self::Deaf => world.machine.turn_deaf(&world.desk()),
            Self::OtherImages => {
                world.stop(vm).await;
                world.until_down(vm).await;
                world.store.set_config("vm.overlay.persistent", "0").await.unwrap();
            }
            _ => {}
        }
        daemon.kill().await;
        match self {
            Self::Deleted => {
                world.stop(vm).await;
                world.store.delete_observed(vm, world.host).await.unwrap();
                world.store.delete_vm(vm).await.unwrap();
            }
            Self::OtherImages => world.put_stale_base(),
            _ => {}
        }
        run
    }

    async fn go_on(self, world: &World, begun: Run, watched: &mut Watched<'_>) {
        let vm = world.vm.id;
        match self {
            Self::StartAndStop | Self::OtherImages => {
                let run = world.start(vm, world.di.id).await;
                watched.until_up(run).await;
                // Whatever came between, the guest and the home are their user's.
                let guest = world.machine.guest(&world.desk()).map(|guest| guest.user.uid);
                assert_eq!(guest, Some(world.user.uid));
                let home = world.layout.home(vm).join(&world.user.login);
                assert_eq!(world.machine.owner(&home), Some((world.user.uid, world.user.gid)));
                watched.stop().await;
            }
            Self::Deaf => {
                world.stop(vm).await;
                watched.until(async |_| world.until_asked().await).await;
                world.pass(vm, 30_000).await;
                watched.until_down().await;
            }
            Self::Adopted => {
                let before = world.machine.processes(&world.desk());
                watched.until(async |node| until_ready(&node, vm, begun).await).await;
                assert_eq!(world.machine.processes(&world.desk()), before, "nothing was ended");
                watched.stop().await;
            }
            Self::LostMonitor => {
                world.machine.lose_monitor(&world.desk());
                watched.until_ended(Code::Crashed).await;
                world.pass(vm, 2000).await;
                watched.until_up(begun).await;
                watched.stop().await;
            }
            Self::ShutDown => {
                world.machine.shut_down_inside(&world.desk());
                watched.until_ended(Code::ShutDown).await;
                assert_eq!(world.machine.counts().started, 1, "it stays down");
            }
            Self::AnotherRun => {
                let run = world.start(vm, world.di.id).await;
                watched.until_up(run).await;
                watched.stop().await;
            }
            Self::Deleted | Self::Strays => {
                let gone = async |_| {
                    until("all of it to be gone", async || match world.left_behind() {
                        none if none.is_empty() => Ok(()),
                        left => Err(left),
                    })
                    .await;
                };
                watched.until(gone).await;
                assert_eq!(world.layout.home(vm).is_dir(), self == Self::Deleted, "homes stay");
            }
        }
    }
}

/// What came of a course.
#[derive(Debug)]
pub(crate) struct Taken {
    /// The calls of the daemon that acted, until it died.
    pub(crate) calls: Vec<Call>,
    /// How many of them were interrupted.
    pub(crate) interrupted: usize,
}

/// The daemon that acts, or the one that came after it.
struct Watched<'a> {
    world: &'a World,
    daemon: Daemon,
    first: Arc<Fake>,
    dies: bool,
    died: bool,
}

impl<'a> Watched<'a> {
    async fn new(world: &'a World, fault: Option<Fault>) -> Self {
        let daemon = world.daemon(fault).await;
        let dies = fault.is_some_and(|fault| fault.how == How::Die);
        Self { world, first: Arc::clone(&daemon.fake), daemon, dies, died: false }
    }

    /// Waits until what is wanted of the living daemon is so; when it dies another goes on.
    async fn until(&mut self, goal: impl AsyncFn(Arc<Node>)) {
        tokio::select! {
            biased;
            () = self.first.death(), if !self.died => {}
            () = goal(Arc::clone(&self.daemon.node)) => return,
        }
        self.follow().await;
        goal(Arc::clone(&self.daemon.node)).await;
    }

    /// Another daemon follows the one that died.
    async fn follow(&mut self) {
        self.died = true;
        self.daemon.die().await;
        self.daemon = self.world.daemon(None).await;
    }

    async fn until_up(&mut self, run: Run) {
        let world = self.world;
        self.until(async |_| drop(world.until_up(world.vm.id, run).await)).await;
    }

    async fn until_down(&mut self) {
        let world = self.world;
        self.until(async |_| drop(world.until_down(world.vm.id).await)).await;
    }

    async fn until_ended(&mut self, code: Code) {
        let world = self.world;
        self.until(async |_| drop(world.until_ended(world.vm.id, code).await)).await;
    }

    async fn stop(&mut self) {
        self.world.stop(self.world.vm.id).await;
        self.until_down().await;
    }

    async fn end(mut self) -> Taken {
        // What is waited for can be seen a moment before the daemon is dead that did it.
        if self.dies && !self.died && self.first.interrupted() > 0 {
            self.first.death().await;
            self.follow().await;
        }
        self.daemon.stop().await;
        Taken { calls: self.first.calls(), interrupted: self.first.interrupted() }
    }
}

/// Half a base, and what is left of a VM that nobody knows.
fn leave_strays(world: &World) {
    world.leave_behind(VmId(999));
    world.door().create_subvolume(&world.layout.partial_base(&world.di)).unwrap();
}
