//! Tells the api who is attached, and hears when to end.
//!
//! The api may go away while a desktop is in use. The relay goes on, and the connection is reported
//! again when the api is back.

use std::time::Duration;

use tokio::time::{sleep, timeout};
use wire::broker::{Answer, Order, Report, Request};

use crate::{
    ask::{AskError, Asked},
    listen::Shared,
};

/// How long a report may take: the relay does not wait for an api that hangs.
const REPORT: Duration = Duration::from_secs(2);

/// The pause between two attempts grows up to this many first pauses.
const SLOWEST: u32 = 60;

/// One connection, as the api knows it.
#[derive(Debug)]
pub(crate) struct Presence<'a> {
    shared: &'a Shared,
    connection: String,
    asked: Option<Asked>,
}

impl<'a> Presence<'a> {
    /// The connection the api has just named.
    pub(crate) fn new(shared: &'a Shared, connection: String, asked: Asked) -> Self {
        Self { shared, connection, asked: Some(asked) }
    }

    /// Reports, if the api is there to hear it. If it is not, the end of the socket says the same.
    pub(crate) async fn report(&mut self, report: Report) {
        if let Some(asked) = &mut self.asked
            && !matches!(timeout(REPORT, asked.say(&report)).await, Ok(Ok(())))
        {
            self.asked = None;
        }
    }

    /// Waits until the api wants the connection to end, and says why. May be dropped and called
    /// again.
    pub(crate) async fn ended(&mut self) -> String {
        let first = self.shared.limits.reconnect;
        let mut pause = first;
        loop {
            if let Some(asked) = &mut self.asked {
                match asked.next().await {
                    Ok(Order::End { text }) => return text,
                    Err(error) => {
                        tracing::debug!(%error, "lost the api");
                        self.asked = None;
                    }
                }
            }
            sleep(pause).await;
            pause = (pause * 2).min(first * SLOWEST);
            match self.resume().await {
                Ok(Answer::Done { .. }) => pause = first,
                Ok(Answer::Refused { status: 409, text, .. }) => return text,
                // An api that does not know what it is asked may still learn; the session stays.
                Ok(_) | Err(_) => self.asked = None,
            }
        }
    }

    async fn resume(&mut self) -> Result<Answer, AskError> {
        let question = Request::Resumed { connection: self.connection.clone() };
        let mut asked = Asked::ask(&self.shared.api_socket, &question).await?;
        let answer = asked.next().await?;
        self.asked = Some(asked);
        Ok(answer)
    }
}
