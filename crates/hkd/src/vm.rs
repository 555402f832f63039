//! One VM's loop: observe, plan, one step, again; until it is as wanted, and then whenever something
//! happens to it.

use std::{
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use model::{
    Reason, Run, Timestamp, VmId,
    reason::Code,
    vm::{EndKind, Ended, Observed, Seen},
};
use store::Work;
use tokio::{
    sync::watch,
    task::{JoinHandle, spawn_blocking},
    time::{sleep, timeout},
};
use wire::agent::{Ask, Guest, GuestUser, Tell};

use crate::{
    execute::{self, StepError, hostname},
    goal::goal,
    guest,
    layout::folder_name,
    linux::{self, lxc::End},
    node::Node,
    observe::{Observation, UsedUp, observe},
    plan::{self, Agent, Goal, Next, Step, Stopping},
    reasons,
    talk::{Talk, TalkError},
};

mod ahead;
mod behind;
mod row;

use ahead::aside;
use behind::{Behind, finished, storage_of};

/// A net under the wake-ups: how long a VM is left alone when nothing seems to happen.
const SLOW_TICK: Duration = Duration::from_mins(2);
/// How often a container that was asked to stop is asked again: a signal sent while its init is only
/// just coming up is lost.
const ASK_AGAIN: Duration = Duration::from_secs(3);
/// How soon a step is tried again that another was busy with.
const BUSY_AGAIN: Duration = Duration::from_millis(200);
/// How soon is looked again for what must just have ended.
const ENDED_AGAIN: Duration = Duration::from_millis(5);
/// How long an agent has to say who it is.
const HELLO_WITHIN: Duration = Duration::from_secs(5);
/// How long an agent has to prepare its guest.
const PREPARE_WITHIN: Duration = Duration::from_mins(1);
/// How often is looked whether a VM has used up what it was given.
const USED_UP_AGAIN: Duration = Duration::from_secs(10);
/// How long a step may take before the VM's row says that it waits for it.
const TOLD_AFTER: Duration = Duration::from_millis(100);
/// An agent that hangs up more often than this is waited for.
const HUNG_UP_AGAIN: Duration = Duration::from_millis(500);
/// LXC's log in a run directory.
const LOG: &str = "lxc.log";

/// The loop's state. Nothing here is needed by the next one: it only saves looking twice.
#[derive(Debug)]
pub struct VmLoop {
    node: Arc<Node>,
    vm: VmId,
    work: watch::Receiver<Option<Arc<Work>>>,
    /// What this host sees, as its row is to have it.
    row: Option<Observed>,
    /// A connection on which the agent tells of changes, and whether its guest is prepared.
    agent: Option<(Talk, bool)>,
    /// The row as the database has it, as far as this loop knows.
    told: Option<Observed>,
    /// Steps that failed in this pass.
    failed: Vec<Step>,
    /// Failed passes since the last that went well.
    attempts: i64,
    /// When this run crashed, within the window in which crashes are counted.
    crashes: (Run, Vec<Timestamp>),
    /// The run whose end is in the row, until it is in the database and the record, or it runs again.
    noting: Option<Run>,
    /// An agent was put in, and nothing was heard of it since.
    injected: bool,
    /// When the agent hung up last.
    hung_up: Option<Instant>,
    /// Whether this host holds the VM's home, as far as this loop knows.
    holds_home: Option<bool>,
    /// The run whose container may be started, as the database knows already, and since when.
    claimed: Option<(Run, Instant)>,
    /// A worker that storage holds up.
    behind: Option<Behind>,
    /// A worker that takes the firewall's leave back of a VM that is on its way down.
    leaving: Option<JoinHandle<()>>,
}

/// What ended a wait.
enum Woken {
    /// Something may have changed.
    Changed,
    /// The VM is of no more concern to this host.
    Gone,
}

impl VmLoop {
    /// A loop for one VM, fed with its rows.
    pub fn new(node: Arc<Node>, vm: VmId, work: watch::Receiver<Option<Arc<Work>>>) -> Self {
        let row = work.borrow().as_ref().and_then(|work| work.observed.clone());
        let crashes = row.as_ref().map_or((Run::NONE, Vec::new()), |row| {
            let ended = row.ended.filter(|ended| ended.kind == EndKind::Crashed);
            let times = usize::try_from(row.attempts).unwrap_or(0);
            (row.run, ended.map_or_else(Vec::new, |ended| vec![ended.at; times]))
        });
        // An end that was being cleared up after is in the row, whoever died then.
        let noting = row.as_ref().filter(|row| row.waiting_for.is_some());
        let noting = noting.and_then(|row| row.ended).map(|ended| ended.run);
        Self {
            node,
            vm,
            work,
            told: row.clone(),
            row,
            agent: None,
            failed: Vec::new(),
            attempts: 0,
            crashes,
            noting,
            injected: false,
            hung_up: None,
            holds_home: None,
            claimed: None,
            behind: None,
            leaving: None,
        }
    }

    /// Runs until there is nothing of the VM here and nobody wants it here.
    pub async fn run(mut self) {
        loop {
            match self.pass().await {
                Ok(Woken::Changed) => {}
                Ok(Woken::Gone) => break,
                Err(error) => self.cannot_look(&error).await,
            }
        }
        self.node.set_ready(self.vm, None);
        self.node.set_ahead(self.vm, false);
    }

    /// One look, and one step or one wait.
    async fn pass(&mut self) -> linux::Result<Woken> {
        let now = self.node.now();
        let work = self.work.borrow_and_update().clone();
        let work = work.map(|work| self.with_own_row(&work));
        let persistent = self.node.settings().persistent;
        let goal = goal(work.as_ref(), self.node.host, persistent, now);
        let agent = self.agent().await;
        let di = match goal {
            Goal::Up { .. } => work.as_ref().and_then(|work| work.di.clone()),
            Goal::Down { .. } => None,
        };
        let (node, vm) = (Arc::clone(&self.node), self.vm);
        let seen = blocking(move || observe(&node, vm, di.as_ref(), agent, now)).await?;
        let next = plan::next(goal, &seen.seen, true, &self.failed);
        tracing::trace!(vm = %self.vm, ?goal, seen = ?seen.seen, ?next, "planned");
        if self.is_older(work.as_ref(), &seen) {
            return Ok(self.wait(Next::Wait, goal, &seen, work.as_ref(), now).await);
        }
        self.injected &= agent == Agent::Absent && seen.seen.container.is_some();
        match next {
            // It was put in, and is not there: without a pause this would go on for ever.
            Next::Do(Step::Inject) if self.injected && !self.failed.contains(&Step::Inject) => {
                self.injected = false;
                let gone = TalkError::Gone(std::io::ErrorKind::ConnectionReset.into());
                self.failed_at(Step::Inject, goal, &Failure::Talk(gone));
                self.give_up_for_now(&seen).await
            }
            Next::Do(step) if self.failed.contains(&step) => self.give_up_for_now(&seen).await,
            Next::Do(step) => {
                self.note(&seen, goal, Some(step), work.as_ref(), now);
                // Boxed: most of the time a VM needs no room for the state of a step.
                Box::pin(self.step(step, goal, work, seen, now)).await;
                Ok(Woken::Changed)
            }
            Next::Wait | Next::Settled if !self.failed.is_empty() => {
                self.give_up_for_now(&seen).await
            }
            Next::Wait | Next::Settled => {
                if next == Next::Settled {
                    self.settle(goal, &seen);
                }
                self.note(&seen, goal, None, work.as_ref(), now);
                self.write_row().await;
                Ok(self.wait(next, goal, &seen, work.as_ref(), now).await)
            }
        }
    }

    /// The rows, with what this host wrote itself: it is newer than what was read.
    fn with_own_row(&self, work: &Work) -> Work {
        Work { observed: self.row.clone(), ..work.clone() }
    }

    async fn step(
        &mut self,
        step: Step,
        goal: Goal,
        work: Option<Work>,
        seen: Observation,
        now: Timestamp,
    ) {
        if let Some(leaving) = self.leaving.take() {
            // What it did is found by the next look.
            let _ = leaving.await;
            return;
        }
        let heavy = matches!(step, Step::Unpack | Step::Snapshot | Step::Start | Step::Inject);
        let node = Arc::clone(&self.node);
        let permit = if heavy { self.telling(node.heavy.acquire()).await.ok() } else { None };
        let result = match step {
            Step::Prepare => self.prepare(work.as_ref()).await,
            Step::NoteEnd => self.note_end(&seen, now).await,
            _ if self.may_hang(step) => self.at_storage(step, work, seen, now).await,
            Step::Snapshot | Step::MountRoot => {
                let ahead = self.ahead(work.as_ref(), &seen, now);
                let (done, claimed) = tokio::join!(self.execute(step, work, seen, now), ahead);
                self.hold(claimed);
                done
            }
            Step::Start => match self.claim(work.as_ref()).await {
                Ok(()) => {
                    self.noting = None;
                    self.execute(step, work, seen, now).await
                }
                refused => refused,
            },
            _ => self.execute(step, work, seen, now).await,
        };
        // Who waits for another must not keep a third from working.
        drop(permit);
        match result {
            Ok(()) => self.injected |= step == Step::Inject,
            Err(Failure::Step(StepError::Busy)) if self.waits_for_silent(step) => {
                self.failed_at(step, goal, &Failure::Silent(step));
            }
            Err(Failure::Step(StepError::Busy)) => {
                self.write_row().await;
                sleep(BUSY_AGAIN).await;
            }
            Err(Failure::Step(StepError::Changed)) => sleep(BUSY_AGAIN).await,
            Err(failure) => self.failed_at(step, goal, &failure),
        }
    }

    async fn execute(
        &mut self,
        step: Step,
        work: Option<Work>,
        seen: Observation,
        now: Timestamp,
    ) -> Result<(), Failure> {
        let (node, vm) = (Arc::clone(&self.node), self.vm);
        let done = blocking(move || {
            execute::execute(&node, step, vm, work.as_ref(), &seen, now, &mut |_, _| {})
        });
        self.telling(done).await.map_err(Failure::Step)
    }

    /// Waits for what a VM waits for, and has its row say so when that takes its time. Of a step that is
    /// done in no time nobody needs to hear.
    async fn telling<T>(&mut self, awaited: impl Future<Output = T>) -> T {
        let mut awaited = pin!(awaited);
        if let Ok(done) = timeout(TOLD_AFTER, &mut awaited).await {
            return done;
        }
        self.write_row().await;
        awaited.await
    }

    /// Gives the home back once nothing of the VM is here.
    async fn release(&mut self) {
        self.claimed = None;
        if self.holds_home == Some(false) {
            return;
        }
        let home = folder_name(self.vm);
        match self.node.store.release_home(&home, self.vm, self.node.host).await {
            Ok(()) => self.holds_home = Some(false),
            Err(error) => {
                tracing::debug!(vm = %self.vm, %error, "cannot release a home; it is tried again");
            }
        }
    }

    /// Whether this host made a later run than the database knows of: it was put back to an earlier
    /// state. What runs goes on, and nothing is taken down or made.
    fn is_older(&self, work: Option<&Work>, seen: &Observation) -> bool {
        let made = seen.record.as_ref().map(crate::record::Record::run);
        let known = work.map(|work| work.desired.run);
        let older = matches!((made, known), (Some(made), Some(known)) if made > known);
        self.node.set_ahead(self.vm, older);
        older
    }

    /// A look that fails is told like a step that fails.
    async fn cannot_look(&mut self, error: &linux::Error) {
        let now = self.node.now();
        let reason = reasons::of_look(error, &self.node, now);
        if !self.says(&reason) {
            tracing::warn!(vm = %self.vm, reason = reason.text(), "cannot look at a VM");
        }
        let run = self.row.as_ref().map_or(Run::NONE, |row| row.run);
        self.set_reason(run, reason, now);
        self.attempts += 1;
        self.write_row().await;
        sleep(self.backoff()).await;
    }

    async fn prepare(&mut self, work: Option<&Work>) -> Result<(), Failure> {
        let work = work.ok_or(StepError::Changed)?;
        let guest = self.guest(work);
        let socket = self.node.agent_socket(self.vm);
        let answer = async move {
            Talk::connect(&socket).await?.ask(&Ask::Prepare(guest), PREPARE_WITHIN).await
        };
        let Tell::Done = self.telling(answer).await? else {
            return Err(TalkError::Foreign(None).into());
        };
        let Some((_, prepared)) = &mut self.agent else { return Err(StepError::Changed.into()) };
        *prepared = true;
        Ok(())
    }

    fn guest(&self, work: &Work) -> Guest {
        let settings = self.node.settings();
        let dns = if settings.dns.is_empty() { guest::upstreams() } else { settings.dns.clone() };
        Guest {
            hostname: hostname(&work.vm.name),
            machine_id: guest::machine_id(&self.node.installation, self.vm),
            dns,
            address: (work.vm.ip, self.node.network.prefix),
            gateway: self.node.network.gateway,
            lasting: settings.persistent,
            user: GuestUser {
                name: work.user.login.clone(),
                uid: work.user.uid,
                gid: work.user.gid,
                home: format!("/home/{}", work.user.login),
            },
        }
    }

    /// Writes how a run ended, if nobody asked it to.
    async fn note_end(&mut self, seen: &Observation, now: Timestamp) -> Result<(), Failure> {
        let Some(record) = seen.record.clone() else { return Ok(()) };
        let directory = self.node.directory(self.vm);
        let (node, place) = (Arc::clone(&self.node), directory.clone());
        let end = blocking(move || node.linux.end(&place)).await?;
        // A daemon that died before it called LXC is no crash of the VM.
        if record.stop_asked_at.is_none() && end != End::NotBegun {
            // A second try to write it down is no second end.
            if self.noting.replace(record.run()) != Some(record.run()) {
                self.note_own_end(record.run(), &end, seen.used_up.killed, now);
            }
            // Of a VM that was deleted there is nothing to tell, and nobody to be told.
            let row = self.row.as_ref().filter(|_| self.work.borrow().is_some());
            let written = match row {
                Some(row) => self.node.store.put_observed(row).await,
                None => Ok(()),
            };
            written.map_err(Failure::Store)?;
        }
        let node = Arc::clone(&self.node);
        let noted = crate::record::Record { noted: true, ..record };
        let (log, kept) = (directory.join(LOG), self.node.layout.kept_log(self.vm));
        blocking(move || -> linux::Result<()> {
            // Where the reason says: the run directory goes.
            if let Some(bytes) = node.linux.read(&log)? {
                node.linux.write(&kept, &bytes)?;
            }
            noted.write(node.linux.as_ref(), &directory)
        })
        .await?;
        self.noting = None;
        Ok(())
    }

    fn note_own_end(&mut self, run: Run, end: &End, starved: u64, now: Timestamp) {
        let log = self.node.layout.kept_log(self.vm);
        let kind = match end {
            End::ShutDown => EndKind::ShutDown,
            End::Died(_) | End::NeverStarted(_) | End::NotBegun => EndKind::Crashed,
        };
        if self.crashes.0 != run {
            self.crashes = (run, Vec::new());
        }
        if kind == EndKind::Crashed {
            self.crashes.1.push(now);
        }
        self.crashes.1.retain(|at| now.millis_since(*at) < Ended::CRASHES_WINDOW_MILLIS);
        let crashes = i64::try_from(self.crashes.1.len()).unwrap_or(i64::MAX);
        let again = kind == EndKind::Crashed && crashes <= Ended::RETRIES_MAX;
        let wait = 1000 * (1_i64 << crashes.clamp(0, 10));
        tracing::info!(vm = %self.vm, %run, ?end, again, "a run ended by itself");
        let work = self.work.borrow().clone();
        let reason = match (end, work) {
            (End::Died(_), Some(work)) if starved > 0 => {
                reasons::of_memory(starved, &work.osf, now)
            }
            _ => reasons::of_end(end, crashes, &log, &self.node.name, now),
        };
        self.row = Some(Observed {
            vm: self.vm,
            host: self.node.host,
            run,
            // Its slot, run directory and overlay are there yet.
            seen: Seen::Preparing,
            seen_at: now,
            waiting_for: Some(reasons::word(Step::NoteEnd).to_owned()),
            reason: Some(reason),
            attempts: crashes,
            next_try: again.then(|| now.plus_millis(wait)),
            ended: Some(Ended { run, kind, at: now }),
        });
    }

    fn failed_at(&mut self, step: Step, goal: Goal, failure: &Failure) {
        let now = self.node.now();
        let reason = match failure {
            Failure::Step(error) => {
                reasons::of_step(step, error, &self.node, self.work.borrow().as_deref(), now)
            }
            Failure::Talk(error) => reasons::of_talk(error, &self.node.name, now),
            Failure::Silent(at) => reasons::of_silence(storage_of(*at, &self.node).0, now),
            Failure::HomeBusy(home) => Reason::new(Code::HomeBusy, now).with("home", home),
            Failure::Store(error) => {
                tracing::warn!(vm = %self.vm, %error, "cannot write to the database");
                self.failed.push(step);
                return;
            }
        };
        if !self.says(&reason) {
            tracing::warn!(vm = %self.vm, ?step, reason = reason.text(), "a step failed");
        }
        self.failed.push(step);
        let run = match goal {
            Goal::Up { run, .. } => run,
            Goal::Down { .. } => self.row.as_ref().map_or(Run::NONE, |row| row.run),
        };
        self.set_reason(run, reason, now);
    }

    /// Whether the row says so already.
    fn says(&self, reason: &Reason) -> bool {
        let old = self.row.as_ref().and_then(|row| row.reason.as_ref());
        old.is_some_and(|old| old.code == reason.code || old.left() == Some(&reason.text()))
    }

    fn set_reason(&mut self, run: Run, reason: Reason, now: Timestamp) {
        let mut row = self.row.take().filter(|row| row.run == run).unwrap_or(Observed {
            vm: self.vm,
            host: self.node.host,
            run,
            seen: Seen::Preparing,
            seen_at: now,
            waiting_for: None,
            reason: None,
            attempts: 0,
            next_try: None,
            ended: None,
        });
        row.reason = Some(match row.reason.take() {
            // Why it ended is not forgotten for what hinders clearing up after it.
            Some(end) if row.ended.is_some() => end.with_left(Some(reason.text())),
            Some(old) if old.code == reason.code => Reason { since: old.since, ..reason },
            _ => reason,
        });
        self.row = Some(row);
    }

    /// A pass in which something failed is over: writes why, and waits with a growing delay.
    async fn give_up_for_now(&mut self, seen: &Observation) -> linux::Result<Woken> {
        self.attempts += 1;
        let wait = self.backoff();
        let now = self.node.now();
        if let Some(row) = &mut self.row {
            row.seen_at = now;
            // Of a run that ended these say when, and whether, it is started again.
            if row.ended.is_none() {
                row.attempts = self.attempts;
                row.next_try =
                    Some(now.plus_millis(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX)));
            }
        }
        self.write_row().await;
        self.failed.clear();
        let end = self.container_end(seen);
        tokio::select! {
            biased;
            // A change of mind is heard at once.
            changed = self.work.changed() => if changed.is_err() { return Ok(Woken::Gone) },
            () = end => {}
            () = finished(&mut self.behind, &self.node) => {}
            () = self.node.solved() => {}
            () = sleep(wait) => {}
        }
        Ok(Woken::Changed)
    }

    fn backoff(&self) -> Duration {
        let doublings = u32::try_from(self.attempts.clamp(0, 6)).unwrap_or(0);
        Duration::from_millis(500) * 2_u32.pow(doublings)
    }

    /// Everything is as wanted.
    fn settle(&mut self, goal: Goal, seen: &Observation) {
        self.attempts = 0;
        match goal {
            Goal::Up { run, .. } if seen.seen.container.is_some() => {
                self.node.set_ready(self.vm, Some(run));
            }
            Goal::Up { .. } | Goal::Down { .. } => self.node.set_ready(self.vm, None),
        }
    }

    async fn wait(
        &mut self,
        next: Next,
        goal: Goal,
        seen: &Observation,
        work: Option<&Work>,
        now: Timestamp,
    ) -> Woken {
        let settled = next == Next::Settled;
        let nothing = seen.seen.record.is_none() && seen.seen.container.is_none();
        if settled && nothing {
            self.release().await;
        }
        let unwanted = work.is_none_or(|work| work.desired.host != Some(self.node.host));
        if settled && nothing && unwanted && matches!(goal, Goal::Down { .. }) {
            self.forget_row(work).await;
            return Woken::Gone;
        }
        self.leave(next, seen, now);
        let until = self.next_moment(work, seen, now);
        let end = self.container_end(seen);
        let uses_up = self.uses_up_more(seen);
        tokio::select! {
            biased;
            // What is wanted comes first: it may make the rest pointless.
            changed = self.work.changed() => match changed {
                Ok(()) => Woken::Changed,
                Err(_) => Woken::Gone,
            },
            () = end => Woken::Changed,
            () = uses_up => Woken::Changed,
            gone = follow(&mut self.agent) => {
                if gone {
                    self.agent = None;
                    let again = self.hung_up.replace(Instant::now());
                    if again.is_some_and(|at| at.elapsed() < HUNG_UP_AGAIN) {
                        sleep(HUNG_UP_AGAIN).await;
                    }
                }
                Woken::Changed
            }
            () = sleep(until) => {
                if next == Next::Wait && asked(seen) {
                    self.ask_again().await;
                }
                Woken::Changed
            }
        }
    }

    /// A VM that was asked to stop and whose agent is gone has nothing more to send: the firewall hears of
    /// it while LXC clears away, for that takes the kernel a while.
    fn leave(&mut self, next: Next, seen: &Observation, now: Timestamp) {
        let leaves = next == Next::Wait && asked(seen) && self.agent.is_none();
        if !leaves || !seen.seen.rules || self.leaving.is_some() {
            return;
        }
        let node = Arc::clone(&self.node);
        self.leaving = Some(aside(node, self.vm, Step::ForbidNetwork, seen.clone(), now));
    }

    async fn ask_again(&self) {
        let (node, vm) = (Arc::clone(&self.node), self.vm);
        let asked =
            blocking(move || node.linux.ask_to_stop(&node.layout.vms, &node.names.container(vm)));
        if let Err(error) = asked.await {
            tracing::debug!(%vm, %error, "cannot ask a container again to stop");
        }
    }

    /// How long nothing is to be done, as far as time is concerned.
    fn next_moment(&self, work: Option<&Work>, seen: &Observation, now: Timestamp) -> Duration {
        let left =
            |at: Timestamp| Duration::from_millis(at.millis_since(now).max(1).unsigned_abs());
        let mut wait = SLOW_TICK;
        if asked(seen) {
            wait = ASK_AGAIN;
            if let Some(asked) = seen.record.as_ref().and_then(crate::record::Record::stop_asked_at)
            {
                let timeout = self.node.settings().stop_timeout;
                let timeout = i64::try_from(timeout.as_millis()).unwrap_or(i64::MAX);
                wait = wait.min(left(asked.plus_millis(timeout)));
            }
        }
        if let Some(at) = work.and_then(|work| work.desired.expires_hard).filter(|at| *at > now) {
            wait = wait.min(left(at));
        }
        let retry = self.row.as_ref().filter(|row| row.ended.is_some());
        if let Some(at) = retry.and_then(|row| row.next_try).filter(|at| *at > now) {
            wait = wait.min(left(at));
        }
        wait
    }

    /// Resolves when the container's monitor has ended; never, when there is none.
    fn container_end(&self, seen: &Observation) -> impl Future<Output = ()> + use<> {
        let (starting, answered) = (seen.seen.container.is_some(), seen.monitor.is_some());
        let watched = seen.monitor.and_then(|monitor| self.node.linux.watch(monitor));
        async move {
            match watched.and_then(linux::process::awaited) {
                Some(end) => drop(end.readable().await),
                // It has ended between the look and now.
                None if answered => sleep(ENDED_AGAIN).await,
                // It was just started: look again soon.
                None if starting => sleep(BUSY_AGAIN).await,
                None => std::future::pending().await,
            }
        }
    }

    /// Resolves when a running VM has used up something else than was seen.
    fn uses_up_more(&self, seen: &Observation) -> impl Future<Output = ()> + use<> {
        let (node, vm, known) = (Arc::clone(&self.node), self.vm, seen.used_up);
        let runs =
            seen.record.as_ref().filter(|_| seen.monitor.is_some()).map(crate::record::Record::di);
        async move {
            let Some(di) = runs else { return std::future::pending().await };
            // Most waits are over before there is anything to look at.
            sleep(USED_UP_AGAIN).await;
            let gauge = blocking(move || UsedUp::of(&node, vm, di)).await;
            let Ok(gauge) = gauge else { return std::future::pending().await };
            while !gauge().is_ok_and(|found| found != known) {
                sleep(USED_UP_AGAIN).await;
            }
        }
    }

    /// What the agent's socket says: kept open, so that its end is heard.
    async fn agent(&mut self) -> Agent {
        // One that was followed may have been of the container before this one.
        if self.agent.as_ref().is_none_or(|(talk, _)| talk.hung_up()) {
            self.agent = self.meet().await.ok().flatten();
        }
        match &self.agent {
            None => Agent::Absent,
            Some((_, false)) => Agent::Present,
            Some((_, true)) => Agent::Ready,
        }
    }

    async fn meet(&self) -> Result<Option<(Talk, bool)>, TalkError> {
        let socket = self.node.agent_socket(self.vm);
        if !socket.exists() {
            return Ok(None);
        }
        let mut talk = Talk::connect(&socket).await?;
        let Tell::Hello { prepared, .. } = talk.ask(&Ask::Hello, HELLO_WITHIN).await? else {
            return Ok(None);
        };
        match talk.ask(&Ask::Follow, HELLO_WITHIN).await? {
            Tell::State { .. } => Ok(Some((talk, prepared))),
            _ => Ok(None),
        }
    }
}

fn asked(seen: &Observation) -> bool {
    seen.seen.container.is_some_and(|container| container.stopping == Stopping::Asked)
}

/// Waits until the agent says something; `true` when it hung up.
async fn follow(agent: &mut Option<(Talk, bool)>) -> bool {
    match agent {
        None => std::future::pending().await,
        Some((talk, _)) => {
            if talk.next().await.is_err() {
                return true;
            }
            // At most four lines a second are listened to.
            sleep(Duration::from_millis(250)).await;
            talk.forgive();
            false
        }
    }
}

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Step(#[from] StepError),
    #[error(transparent)]
    Talk(#[from] TalkError),
    #[error(transparent)]
    Store(store::Error),
    #[error("the storage does not answer")]
    Silent(Step),
    #[error("the home {0} is another's")]
    HomeBusy(String),
}

impl From<linux::Error> for Failure {
    fn from(error: linux::Error) -> Self {
        Self::Step(error.into())
    }
}

/// Runs what blocks where blocking is allowed.
async fn blocking<T: Send + 'static, E: Send + 'static + From<linux::Error>>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, E> {
    spawn_blocking(work).await.unwrap_or_else(|_| {
        Err(linux::Error::Unexpected {
            what: "a step".to_owned(),
            why: "it panicked; see the log".to_owned(),
        }
        .into())
    })
}
