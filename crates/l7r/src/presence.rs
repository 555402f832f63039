//! Tells the api who is attached, and hears when to end.
//!
//! The api may go away while a desktop is in use. The relay goes on, and the connection is reported
//! again when the api is back.

use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};
use wire::broker::{Answer, Order, Report, Request};

use crate::{ask::Asked, listen::Shared};

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
    /// Whether the client has been heard of since its `101`.
    established: bool,
    /// Whether the api has yet to answer that it noted the connection again.
    reported: bool,
    /// When to ask again, and the pause after that.
    again: Instant,
    pause: Duration,
}

impl<'a> Presence<'a> {
    /// The connection the api has just named.
    pub(crate) fn new(shared: &'a Shared, connection: String, asked: Asked) -> Self {
        let pause = shared.limits.reconnect;
        let again = Instant::now();
        let asked = Some(asked);
        Self { shared, connection, asked, established: false, reported: false, again, pause }
    }

    /// Reports, if the api is there to hear it. If it is not, the end of the socket says the same.
    pub(crate) async fn report(&mut self, report: Report) {
        self.established |= report == Report::Established;
        if let Some(asked) = &mut self.asked
            && !matches!(timeout(REPORT, asked.say(&report)).await, Ok(Ok(())))
        {
            self.lost();
        }
    }

    /// Waits until the api wants the connection to end, and says why. May be dropped and called
    /// again: what was asked stays asked, because the api takes the end of a question for the end of
    /// the connection.
    pub(crate) async fn ended(&mut self) -> String {
        loop {
            let Some(asked) = &mut self.asked else {
                self.report_again().await;
                continue;
            };
            if self.reported {
                match asked.next().await {
                    Ok(Answer::Done { .. }) => {
                        self.reported = false;
                        self.pause = self.shared.limits.reconnect;
                    }
                    Ok(Answer::Refused { status: 409, text, .. }) => return text,
                    // An api that does not know what it is asked may still learn; the session stays.
                    Ok(_) | Err(_) => self.lost(),
                }
            } else {
                match asked.next().await {
                    Ok(Order::End { text }) => return text,
                    Err(error) => {
                        tracing::debug!(%error, "lost the api");
                        self.lost();
                    }
                }
            }
        }
    }

    /// The api is away: it is asked again after a pause, which grows.
    fn lost(&mut self) {
        self.asked = None;
        self.again = Instant::now() + self.pause;
        self.pause = (self.pause * 2).min(self.shared.limits.reconnect * SLOWEST);
    }

    async fn report_again(&mut self) {
        sleep_until(self.again).await;
        let (connection, established) = (self.connection.clone(), self.established);
        let question = Request::Resumed { connection, established };
        match Asked::ask(&self.shared.api_socket, &question).await {
            Ok(asked) => {
                self.asked = Some(asked);
                self.reported = true;
            }
            Err(_) => self.lost(),
        }
    }
}
