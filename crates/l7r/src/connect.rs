//! From `connect_to_vm` to the relay.
//!
//! ```text
//! client              l7r               api                hkd
//!   | connect_to_vm    |                  |                  |
//!   |----------------->|----- Connect --->|                  |
//!   |<------ 102 ------|<---- Progress ---|                  |
//!   |                  |<---- Attach -----|                  |
//!   |                  |------------------|----- Attach ---->|
//!   |<------ 102 ------|<-----------------|---- Progress ----|
//!   |<------ 101 ------|<-----------------|---- Listening ---|
//!   |---- NXPROXY… --->|--- Established ->|                  |
//!   |                  |------------------|------ Open ----->|
//!   |                  |<-----------------|- Opened + socket-|
//!   |<===================== relay ======== nxagent ==========|
//!   |                  |----- Ended ----->|                  |
//! ```
//!
//! How the TLS stream ends tells a client what happened. When the desktop closed, it ends with a
//! `close_notify`: nothing to come back to. When the l7r stops, the api wants the connection to end,
//! or hkd fails, it ends without: the client asks to resume, and the api answers or says why not.

use tokio::time::timeout;
use wire::{
    attach::FromRouter,
    broker::{Answer, Report, Request as Question},
    head::{Response, switching},
};

use crate::{
    ask::Asked,
    attach::{AttachError, Hkd},
    listen::Shared,
    presence::Presence,
    relay::{self, End},
    serve::{accepts, login, refusal},
    visitor::{Leave, Visitor},
    waiting::{Interrupted, Waiting},
};

/// The length of a connection's name, as clients expect a slave key.
const KEY_LENGTH: usize = 64;

/// A desktop that listens.
struct Ready<'a> {
    vm: i64,
    run: i64,
    connection: String,
    presence: Presence<'a>,
    hkd: Hkd,
}

/// Why there is none.
enum Stop {
    Interrupted(Interrupted),
    Refused(Response),
}

impl From<Interrupted> for Stop {
    fn from(interrupted: Interrupted) -> Self {
        Self::Interrupted(interrupted)
    }
}

/// Why a connection ended after the `101` without the desktop's doing.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error(transparent)]
    Left(#[from] Leave),
    #[error(transparent)]
    Attach(#[from] AttachError),
    #[error("the service that runs the desktops did not open the desktop in time")]
    NotOpened,
}

/// Brings the client to its desktop and carries bytes until either leaves.
pub(crate) async fn connect(mut visitor: Visitor, shared: &Shared, question: Question) {
    let response = match Box::pin(negotiate(&mut visitor, shared, &question)).await {
        // What it holds is only needed while negotiating: a password, for one.
        Ok(ready) => {
            drop(question);
            return Box::pin(carry(visitor, shared, ready)).await;
        }
        Err(Stop::Refused(response)) => response,
        Err(Stop::Interrupted(Interrupted::TooLong)) => unavailable("it takes too long", None),
        Err(Stop::Interrupted(Interrupted::Left(_))) => return,
    };
    // One client of the family ends waiting only when the connection is closed.
    if visitor.answer(&response).await.is_ok() {
        visitor.close().await;
    }
}

/// A `503` as the family words it.
fn unavailable(reason: &str, retry_after: Option<u32>) -> Response {
    let reason = reason.trim_end_matches(['.', '\r', '\n', ' ']);
    let text = format!("The requested virtual machine is not available: {reason}, retry later.");
    Response::text(503, &text).retry_after(retry_after)
}

/// Asks the api for the VM and hkd for its desktop.
async fn negotiate<'a>(
    visitor: &mut Visitor,
    shared: &'a Shared,
    question: &Question,
) -> Result<Ready<'a>, Stop> {
    let refused =
        |error: &dyn std::fmt::Display| Stop::Refused(unavailable(&error.to_string(), None));
    let mut waiting = Waiting::told(visitor, &shared.limits, "Looking for your desktop");
    let asking = Asked::ask(&shared.api_socket, question);
    let mut asked = waiting.until(asking).await?.map_err(|error| refused(&error))?;
    let (vm, run, connection, parameters) = loop {
        let answer = waiting.until(asked.next()).await?.map_err(|error| refused(&error))?;
        if accepts(&answer)
            && let Some(login) = login(question)
        {
            waiting.known(login, &shared.logins);
        }
        match answer {
            Answer::Progress { text } => waiting.say(&text),
            Answer::Attach { vm, run, connection, parameters } => {
                break (vm, run, connection, parameters);
            }
            Answer::Refused { status: 503, text, retry_after } => {
                return Err(Stop::Refused(unavailable(&text, retry_after)));
            }
            Answer::Refused { status, text, retry_after } => {
                return Err(Stop::Refused(refusal(status, &text, retry_after)));
            }
            Answer::Done { .. } | Answer::Vms { .. } => {
                tracing::error!("the api gave an answer of another question");
                return Err(refused(&"the administration service gave an answer of another kind"));
            }
        }
    };
    if connection.len() != KEY_LENGTH || !connection.bytes().all(|b| b.is_ascii_alphanumeric()) {
        tracing::error!("the api gave a connection's name of another form");
        return Err(refused(&"the administration service gave no name for the connection"));
    }
    waiting.say("Connecting to the session");
    let mut presence = Presence::new(shared, connection.clone(), asked);
    let wish = FromRouter::Attach { vm, run, connection: connection.clone(), parameters };
    match listening(&mut waiting, &mut presence, shared, &wish).await {
        Ok(hkd) => Ok(Ready { vm, run, connection, presence, hkd }),
        Err(stop) => {
            let text = match &stop {
                Stop::Interrupted(interrupted) => interrupted.to_string(),
                Stop::Refused(response) => String::from_utf8_lossy(response.body()).into_owned(),
            };
            presence.report(Report::Failed { text }).await;
            Err(stop)
        }
    }
}

/// Waits until the desktop listens.
async fn listening(
    waiting: &mut Waiting<'_>,
    presence: &mut Presence<'_>,
    shared: &Shared,
    wish: &FromRouter,
) -> Result<Hkd, Stop> {
    use wire::attach::FromHkd;
    let refused = |error: AttachError| Stop::Refused(unavailable(&error.to_string(), None));
    let mut hkd = waiting.until(Hkd::attach(&shared.hkd_socket, wish)).await?.map_err(refused)?;
    loop {
        let next = async {
            tokio::select! {
                biased;
                // An order to end makes anything hkd says pointless.
                text = presence.ended() => Err(AttachError::Failed(text)),
                said = hkd.next() => said,
            }
        };
        match waiting.until(next).await?.map_err(refused)? {
            FromHkd::Progress { text } => waiting.say(&text),
            FromHkd::Listening => return Ok(hkd),
            FromHkd::Opened | FromHkd::Failed { .. } => {
                return Err(refused(AttachError::NoDescriptor));
            }
        }
    }
}

/// Sends the `101` and carries bytes.
async fn carry(mut visitor: Visitor, shared: &Shared, ready: Ready<'_>) {
    let Ready { vm, run, connection, mut presence, hkd } = ready;
    let address = visitor.address;
    if visitor.send(&switching(&connection)).await.is_err() {
        let text = "the client left before its desktop was ready".to_owned();
        return presence.report(Report::Failed { text }).await;
    }
    tracing::info!(vm, run, %address, "client connected");
    let reason = match begun(&mut visitor, &mut presence, shared, hkd).await {
        Ok(hkd) => tokio::select! {
            biased;
            // An order to end must not wait behind bytes.
            text = presence.ended() => text,
            end = session(visitor, shared, hkd) => match end {
                Ok(End::Desktop) => "the desktop closed".to_owned(),
                Ok(End::Client) => "the client left".to_owned(),
                Err(lost) => lost.to_string(),
            },
        },
        Err(text) => text,
    };
    tracing::info!(vm, run, %address, reason, "client disconnected");
    presence.report(Report::Ended).await;
}

/// Waits for the client's first bytes, which show that it has its `101`, and says so; or says why there
/// are none.
async fn begun(
    visitor: &mut Visitor,
    presence: &mut Presence<'_>,
    shared: &Shared,
    mut hkd: Hkd,
) -> Result<Hkd, String> {
    let first_bytes = async {
        while !visitor.has_more() {
            visitor.read().await?;
        }
        Ok::<(), Leave>(())
    };
    tokio::select! {
        biased;
        text = presence.ended() => return Err(text),
        // What hkd says before it is asked to open can only be that the desktop is gone.
        failed = hkd.failed() => return Err(failed.to_string()),
        read = timeout(shared.limits.first_bytes, first_bytes) => {
            read.unwrap_or(Err(Leave::Slow)).map_err(|leave| leave.to_string())?;
        }
    }
    presence.report(Report::Established).await;
    Ok(hkd)
}

/// From the opening of the desktop to the last byte of either side.
async fn session(visitor: Visitor, shared: &Shared, hkd: Hkd) -> Result<End, Lost> {
    let limits = &shared.limits;
    let desktop = timeout(limits.open, hkd.open()).await.map_err(|_| Lost::NotOpened)??;
    let (client, first) = visitor.into_stream();
    Ok(relay::relay(client, desktop, first, &shared.pool, limits.linger).await)
}
