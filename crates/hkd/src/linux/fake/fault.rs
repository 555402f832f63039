//! Calls of the door that are interrupted, and the life of the daemon that makes them.

use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::watch;

use crate::linux::{Error, Result};

/// Whether a call changes the machine or looks at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It changes something.
    Change,
    /// It looks.
    Look,
}

/// Where in a call something happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum When {
    /// Before it had any effect.
    Before,
    /// When half of its effect is there.
    Inside,
    /// When its whole effect is there, and nobody was told.
    After,
}

/// What happens there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// The call fails; the next may succeed.
    Fail,
    /// The call fails, and so does every later one of its name.
    Break,
    /// The daemon dies: this call does not return before [`super::Fake::bury`], nor does any later one.
    Die,
}

/// One interruption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Of which kind of call.
    pub kind: Kind,
    /// Of which call of that kind, counted from zero.
    pub index: usize,
    /// Where in it.
    pub when: When,
    /// What happens.
    pub how: How,
}

/// A call that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// The name of the method.
    pub name: &'static str,
    /// Whether it changes something.
    pub kind: Kind,
    /// Whether it can be half done.
    pub halves: bool,
}

/// A net under forgotten burials: how long a call of a dead daemon is held.
const HELD_AT_MOST: Duration = Duration::from_mins(1);

/// The life of one daemon on the machine.
#[derive(Debug)]
pub(super) struct Life {
    fault: Option<Fault>,
    course: Mutex<Course>,
    buried: Condvar,
    dead: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Course {
    calls: Vec<Call>,
    /// The name of the calls that fail for good.
    broken: Option<&'static str>,
    interrupted: usize,
    dead: bool,
    buried: bool,
}

impl Life {
    pub(super) fn new(fault: Option<Fault>) -> Self {
        Self {
            fault,
            course: Mutex::default(),
            buried: Condvar::new(),
            dead: watch::Sender::new(false),
        }
    }

    fn course(&self) -> MutexGuard<'_, Course> {
        self.course.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call, and tells how it is to be interrupted. An error for calls of the dead.
    pub(super) fn begin(&self, call: Call) -> Result<Option<Fault>> {
        let mut course = self.course();
        if course.dead {
            return Err(self.hold(course));
        }
        let index = course.calls.iter().filter(|each| each.kind == call.kind).count();
        course.calls.push(call);
        let Some(fault) = self.fault else { return Ok(None) };
        let struck = (fault.kind, fault.index) == (call.kind, index);
        if struck && fault.how == How::Break {
            course.broken = Some(call.name);
        }
        let interrupted = struck || course.broken == Some(call.name);
        course.interrupted += usize::from(interrupted);
        Ok(interrupted.then_some(fault))
    }

    /// What an interrupted call returns. It returns late when the daemon is dead.
    pub(super) fn interrupt(&self, fault: Fault) -> Error {
        match fault.how {
            How::Fail | How::Break => interrupted(),
            How::Die => {
                let mut course = self.course();
                course.dead = true;
                self.dead.send_replace(true);
                self.hold(course)
            }
        }
    }

    /// Nothing that a dead daemon would have done next may happen: its calls return when nobody is
    /// there any more to hear of it.
    fn hold(&self, course: MutexGuard<'_, Course>) -> Error {
        let held = self.buried.wait_timeout_while(course, HELD_AT_MOST, |course| !course.buried);
        drop(held);
        interrupted()
    }

    pub(super) fn bury(&self) {
        let mut course = self.course();
        course.dead = true;
        course.buried = true;
        self.buried.notify_all();
    }

    pub(super) fn calls(&self) -> Vec<Call> {
        self.course().calls.clone()
    }

    pub(super) fn interrupted(&self) -> usize {
        self.course().interrupted
    }

    pub(super) async fn death(&self) {
        // The sender lives as long as `self`, so this ends only when it is true.
        let _ = self.dead.subscribe().wait_for(|dead| *dead).await;
    }
}

fn interrupted() -> Error {
    Error::Unexpected { what: "the call".to_owned(), why: "it was interrupted".to_owned() }
}
