//! The way to the api: REST over the administrator's unix socket, one connection for each request.

use std::{fmt, io, path::PathBuf};

use anyhow::Context as _;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use tokio::net::UnixStream;
use wire::rest::Problem;

/// The longest answer that is read, in bytes: a list of some hundred thousand VMs.
const ANSWER_MAX: usize = 256 << 20;

/// The body of a request.
pub(crate) type Body = BoxBody<Bytes, io::Error>;

/// The api.
#[derive(Debug)]
pub(crate) struct Client {
    socket: PathBuf,
}

/// The api said no.
#[derive(Debug, thiserror::Error)]
pub(crate) struct Refused(pub(crate) Problem);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.detail)?;
        if !self.0.remedy.is_empty() {
            write!(f, "\n    {}", self.0.remedy)?;
        }
        Ok(())
    }
}

/// The api cannot be spoken to.
#[derive(Debug, thiserror::Error)]
enum Unreachable {
    #[error(
        "the api does not run (there is no one at {socket})\n    \
         start it with `qvd all`"
    )]
    NotRunning { socket: String },
    #[error("you may not speak to the api at {socket}\n    run qa as root")]
    Forbidden { socket: String },
    #[error("cannot speak to the api at {socket}")]
    Broken { socket: String, source: io::Error },
}

impl Client {
    pub(crate) fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// `GET`.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.exchange(Method::GET, path, empty()).await
    }

    /// A request without a body.
    pub(crate) async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
    ) -> anyhow::Result<T> {
        self.exchange(method, path, empty()).await
    }

    /// A request with a body in JSON.
    pub(crate) async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> anyhow::Result<T> {
        let bytes = serde_json::to_vec(body).context("cannot write the request")?;
        self.exchange(method, path, full(bytes)).await
    }

    /// Sends a request and reads its answer; `T` is `()` where the api answers without a body.
    pub(crate) async fn exchange<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Body,
    ) -> anyhow::Result<T> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|error| self.no_way(error))?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(format!("/api/v1/{path}"))
            .header(header::HOST, "api")
            .header(header::CONTENT_TYPE, "application/json")
            .body(body)
            .context("cannot write the request")?;
        let answer = sender.send_request(request).await.context("the api broke off")?;
        let status = answer.status();
        let body = http_body_util::Limited::new(answer.into_body(), ANSWER_MAX)
            .collect()
            .await
            .map_err(|error| anyhow::anyhow!(error).context("the api's answer broke off"))?
            .to_bytes();
        connection.abort();
        understand(status, &body)
    }

    fn no_way(&self, error: io::Error) -> Unreachable {
        let socket = self.socket.display().to_string();
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                Unreachable::NotRunning { socket }
            }
            io::ErrorKind::PermissionDenied => Unreachable::Forbidden { socket },
            _ => Unreachable::Broken { socket, source: error },
        }
    }
}

fn understand<T: DeserializeOwned>(status: StatusCode, body: &[u8]) -> anyhow::Result<T> {
    if status.is_success() {
        let body = if body.is_empty() { b"null" } else { body };
        return serde_json::from_slice(body).context("the api's answer is not understood");
    }
    match serde_json::from_slice::<Problem>(body) {
        Ok(problem) => Err(Refused(problem).into()),
        Err(_) => anyhow::bail!("the api answered {status}"),
    }
}

fn empty() -> Body {
    full(Vec::new())
}

fn full(bytes: Vec<u8>) -> Body {
    Full::from(bytes).map_err(|never| match never {}).boxed()
}

/// A path with a query; values may hold anything.
pub(crate) fn with_query(path: &str, query: &[(&str, &str)]) -> String {
    let mut encoded = form_urlencoded::Serializer::new(String::new());
    encoded.extend_pairs(query);
    format!("{path}?{}", encoded.finish())
}
