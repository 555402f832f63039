//! The one call between processes: the router asks for a desktop and is handed a descriptor.
//!
//! It changes no row. The peer must be the router's user or root, the run must be the one that runs
//! here, and the agent must be ready.

use std::{
    io,
    os::fd::OwnedFd,
    os::unix::fs::{PermissionsExt, chown},
    path::Path,
    sync::Arc,
    time::Duration,
};

use model::{Run, VmId};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, Interest},
    net::{UnixListener, UnixStream},
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use wire::{
    agent::{Ask, Tell, failure},
    attach::{FromHkd, FromRouter},
    descriptor,
    discard::{discard, hang_up},
    frame::{self, Decoder},
    session::Parameters,
};

use crate::{
    node::Node,
    talk::{Talk, TalkError},
};

/// How long a peer has for its first message.
const FIRST_WITHIN: Duration = Duration::from_secs(10);
/// How long an agent may be silent while it brings a session up.
const QUIET_MAX: Duration = Duration::from_mins(1);
/// How long the client may take for its first bytes.
const OPEN_WITHIN: Duration = Duration::from_mins(2);
/// How long the agent has to open nxagent's connection.
const OPENED_WITHIN: Duration = Duration::from_secs(10);
/// How often an attachment is tried again that another has overtaken, and after which pause.
const TAKEN_TRIES: u32 = 10;
const TAKEN_PAUSE: Duration = Duration::from_millis(300);
/// How many attachments may be under way at once; more wait. Each takes two descriptors, of the 1024 that
/// a service has where nobody says otherwise.
const AT_ONCE: usize = 256;

/// Makes the socket that routers ask at, for one group beside root.
pub fn listen(path: &Path, group: u32) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    chown(path, Some(0), Some(group))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}

/// Answers routers until stopped. `router` is the user they may run as, beside root.
pub async fn serve(node: Arc<Node>, listener: UnixListener, router: u32, stop: CancellationToken) {
    let mut talks = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(_) = talks.join_next(), if !talks.is_empty() => {}
            accepted = listener.accept(), if talks.len() < AT_ONCE => match accepted {
                Ok((stream, _)) => {
                    let allowed = stream.peer_cred().is_ok_and(|peer| {
                        peer.uid() == 0 || peer.uid() == router
                    });
                    if allowed {
                        talks.spawn(answer(Arc::clone(&node), stream));
                    } else {
                        tracing::warn!("a stranger asked for a desktop and was refused");
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, "cannot accept a router");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
    talks.shutdown().await;
}

async fn answer(node: Arc<Node>, mut stream: UnixStream) {
    let mut decoder = Decoder::default();
    let first = timeout(FIRST_WITHIN, hear(&mut stream, &mut decoder)).await;
    let Ok(Ok(Some(FromRouter::Attach { vm, run, connection: _, parameters }))) = first else {
        return;
    };
    let (vm, run) = (VmId(vm), Run(run));
    tracing::debug!(%vm, %run, "a router wants a desktop");
    if !node.is_ready(vm, run) {
        let text = "the virtual machine is not running here any more".to_owned();
        let _ = say(&mut stream, &FromHkd::Failed { text }).await;
        return;
    }
    let mut brought = bring_up(&node, vm, parameters.clone(), &mut stream, &mut decoder).await;
    for _ in 0..TAKEN_TRIES {
        if !brought.as_ref().is_err_and(is_taken) {
            break;
        }
        // Of two that came at once the agent may have heard the older one last. Who is the newest
        // the api has decided, and the other router hangs up: so the one that stays tries again.
        tokio::time::sleep(TAKEN_PAUSE).await;
        if hung_up(&stream) {
            return;
        }
        brought = bring_up(&node, vm, parameters.clone(), &mut stream, &mut decoder).await;
    }
    match brought {
        Ok(Some(descriptor)) => {
            let line = frame::encode(&FromHkd::Opened);
            let sent = stream
                .async_io(Interest::WRITABLE, || {
                    use std::os::fd::AsFd;
                    descriptor::send(&stream, &line, descriptor.as_fd())
                })
                .await;
            if sent.is_ok() {
                tracing::debug!(%vm, "a desktop was handed to a router");
            } else {
                hang_up(&descriptor);
            }
        }
        // The router left: nothing was wasted.
        Ok(None) => {}
        Err(error) => {
            tracing::info!(%vm, %error, "a desktop could not be handed to a router");
            let _ = say(&mut stream, &FromHkd::Failed { text: error.to_string() }).await;
        }
    }
}

fn is_taken(error: &TalkError) -> bool {
    matches!(error, TalkError::Refused { code, .. } if code == failure::SESSION_TAKEN)
}

/// Whether the router has closed its end.
fn hung_up(stream: &UnixStream) -> bool {
    matches!(stream.try_read(&mut [0; 1]), Ok(0))
}

/// Waits until the router closes its end, or speaks though it is not its turn.
async fn left(stream: &UnixStream) {
    while stream.readable().await.is_ok() {
        match stream.try_read(&mut [0; 1]) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            _ => return,
        }
    }
}

/// Brings the session up and, when the client's first bytes are there, opens its connection.
async fn bring_up(
    node: &Node,
    vm: VmId,
    parameters: Parameters,
    stream: &mut UnixStream,
    decoder: &mut Decoder,
) -> Result<Option<OwnedFd>, TalkError> {
    let mut talk = Talk::connect(&node.agent_socket(vm)).await?;
    let start = Ask::Start { parameters };
    let mut asked = false;
    loop {
        let hearing = async {
            if std::mem::replace(&mut asked, true) {
                talk.hear(QUIET_MAX).await
            } else {
                talk.ask(&start, QUIET_MAX).await
            }
        };
        let told = tokio::select! {
            biased;
            // A silent agent must not keep what no router waits for: there is room for so many.
            () = left(stream) => return Ok(None),
            told = hearing => told?,
        };
        match told {
            Tell::Progress { text } => {
                if say(stream, &FromHkd::Progress { text }).await.is_err() {
                    return Ok(None);
                }
            }
            Tell::Listening => break,
            _ => return Err(TalkError::Foreign(None)),
        }
    }
    if say(stream, &FromHkd::Listening).await.is_err() {
        return Ok(None);
    }
    match timeout(OPEN_WITHIN, hear(stream, decoder)).await {
        Ok(Ok(Some(FromRouter::Open))) => {}
        _ => return Ok(None),
    }
    match talk.ask(&Ask::Open, OPENED_WITHIN).await? {
        Tell::Opened => {
            let descriptor = talk.take_descriptor().ok_or(TalkError::Foreign(None))?;
            if is_stream_unix_socket(&descriptor) {
                return Ok(Some(descriptor));
            }
            discard(vec![descriptor]);
            Err(TalkError::Foreign(None))
        }
        _ => Err(TalkError::Foreign(None)),
    }
}

/// What a desktop hands up must be what was asked for, and nothing that could act on this host.
fn is_stream_unix_socket(descriptor: &OwnedFd) -> bool {
    use rustix::net::{AddressFamily, SocketType, sockopt};
    sockopt::socket_domain(descriptor).is_ok_and(|domain| domain == AddressFamily::UNIX)
        && sockopt::socket_type(descriptor).is_ok_and(|kind| kind == SocketType::STREAM)
}

async fn say(stream: &mut UnixStream, what: &FromHkd) -> io::Result<()> {
    stream.write_all(&frame::encode(what)).await
}

async fn hear(stream: &mut UnixStream, decoder: &mut Decoder) -> io::Result<Option<FromRouter>> {
    loop {
        match decoder.next_message() {
            Ok(Some(message)) => return Ok(Some(message)),
            Ok(None) => {}
            Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
        }
        let mut buffer = [0; 4096];
        let read = stream.read(&mut buffer).await?;
        if read == 0 {
            return Ok(None);
        }
        decoder.push(buffer.get(..read).unwrap_or_default());
    }
}
