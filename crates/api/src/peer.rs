//! Who is at the other end of a unix socket.

use axum::{
    extract::connect_info::{ConnectInfo, Connected},
    extract::{FromRequestParts, Request},
    middleware::Next,
    response::{IntoResponse, Response},
    serve::IncomingStream,
};
use http::request::Parts;
use tokio::net::{UnixListener, UnixStream};

use crate::fault::Fault;

/// The user at the other end; none when the kernel does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    uid: Option<u32>,
}

impl Peer {
    pub(crate) fn of(stream: &UnixStream) -> Self {
        Self { uid: stream.peer_cred().ok().map(|peer| peer.uid()) }
    }

    /// Whether this user may speak to a process of the user `own`: root may, and that user itself.
    pub(crate) fn may_speak_to(self, own: u32) -> bool {
        self.uid.is_some_and(|uid| uid == 0 || uid == own)
    }

    /// How the audit calls this user.
    pub(crate) fn who(self) -> String {
        match self.uid {
            Some(0) => "root".to_owned(),
            Some(uid) => format!("uid {uid}"),
            None => "unknown".to_owned(),
        }
    }
}

/// The user this process runs as.
pub(crate) fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        Self::of(stream.io())
    }
}

impl<S: Sync> FromRequestParts<S> for Peer {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Fault> {
        parts
            .extensions
            .get::<ConnectInfo<Self>>()
            .map(|info| info.0)
            .ok_or_else(|| Fault::forbidden("it is not known who asks"))
    }
}

/// Lets nobody through but root and the api's own user.
pub(crate) async fn guard(peer: Peer, request: Request, next: Next) -> Response {
    if peer.may_speak_to(own_uid()) {
        next.run(request).await
    } else {
        Fault::forbidden("only root may administer this installation").into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_and_the_own_user_may_speak_and_nobody_else() {
        let may = |uid| Peer { uid }.may_speak_to(990);
        assert!(may(Some(0)) && may(Some(990)));
        assert!(!may(Some(1000)) && !may(None));
    }
}
