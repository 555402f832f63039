//! What happens to a client while others work for it: it is told, and its leaving is noticed.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use wire::head::processing;

use crate::{
    Limits,
    pace::Pace,
    seats::Logins,
    visitor::{Leave, Visitor},
};

/// A client that waits for an answer.
#[derive(Debug)]
pub(crate) struct Waiting<'a> {
    visitor: &'a mut Visitor,
    pace: Option<Pace>,
    deadline: Instant,
}

/// Why waiting ended before the work was done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Interrupted {
    /// The client does not wait any longer.
    #[error(transparent)]
    Left(#[from] Leave),
    /// It has waited long enough.
    #[error("it takes too long")]
    TooLong,
}

impl<'a> Waiting<'a> {
    /// Waiting that is told by `102`; until there is news, with this text.
    pub(crate) fn told(visitor: &'a mut Visitor, limits: &Limits, text: &str) -> Self {
        let now = Instant::now();
        let pace = Pace::new(now, limits.progress_least, limits.progress_most, text);
        Self { visitor, pace: Some(pace), deadline: now + limits.conversation }
    }

    /// Waiting without a word, for this long at most.
    pub(crate) fn silent(visitor: &'a mut Visitor, most: Duration) -> Self {
        Self { visitor, pace: None, deadline: Instant::now() + most }
    }

    /// Tells the client what happens.
    pub(crate) fn say(&mut self, text: &str) {
        if let Some(pace) = &mut self.pace {
            pace.say(text);
        }
    }

    /// The client has said who it is.
    pub(crate) fn known(&mut self, login: &str, logins: &Logins) {
        self.visitor.known(login, logins);
    }

    /// Waits until the work is done.
    pub(crate) async fn until<T>(
        &mut self,
        work: impl Future<Output = T>,
    ) -> Result<T, Interrupted> {
        let mut work = std::pin::pin!(work);
        loop {
            let due = self.pace.as_ref().map_or(self.deadline, Pace::due);
            tokio::select! {
                biased;
                // A due text goes first: the answer may be final, and its text should be seen.
                () = sleep_until(due), if self.pace.is_some() => {
                    let text = self.pace.as_mut().and_then(|pace| pace.take(Instant::now()));
                    let head = text.map(processing);
                    if let Some(head) = head {
                        self.visitor.send(&head).await?;
                    }
                }
                () = sleep_until(self.deadline) => return Err(Interrupted::TooLong),
                leave = self.visitor.gone() => return Err(leave.into()),
                done = &mut work => return Ok(done),
            }
        }
    }
}
