//! Requests and their answers, over TLS.

use std::{
    io::{self, Read as _, Write as _},
    net::{TcpStream, ToSocketAddrs as _},
    sync::Arc,
    time::Duration,
};

use rustix::net::sockopt;
use rustls::{
    ClientConfig, ClientConnection, StreamOwned,
    crypto::CryptoProvider,
    pki_types::ServerName,
    version::{TLS12, TLS13},
};
use serde::{Deserialize, Serialize};
use wire::head::{Answer, Event, Login, ResponseReader, write_request};

use crate::{
    failure::Failure,
    options::Address,
    plain::plain,
    trust::{Pinned, Trust},
};

/// For the connection to be there.
const DIAL: Duration = Duration::from_secs(8);

/// For the next words of a server that makes us wait; it says something every two seconds.
const SILENCE: Duration = Duration::from_secs(40);

/// After how long without an answer a peer counts as gone. Shorter than nxproxy's own patience, so
/// that a dead network is seen here first.
const DEAD: Duration = Duration::from_secs(20);

/// A stream to the server.
pub(crate) type Stream = StreamOwned<ClientConnection, TcpStream>;

/// A desktop in the user's list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Vm {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) state: String,
    #[serde(default)]
    pub(crate) blocked: u8,
}

/// A connection that is a desktop's from here.
#[derive(Debug)]
pub(crate) struct Attached {
    pub(crate) stream: Stream,
    /// What the desktop has said already.
    pub(crate) first: Vec<u8>,
    /// The connection's name, to resume it by.
    pub(crate) key: String,
}

/// The servers that may be asked, and one that is.
#[derive(Debug)]
pub(crate) struct Server {
    addresses: Vec<Address>,
    login: Login,
    trust: Trust,
    provider: Arc<CryptoProvider>,
    open: Option<(Stream, Address)>,
}

impl Server {
    /// Servers to try in this order.
    pub(crate) fn new(addresses: Vec<Address>, login: Login, trust: Trust) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        Self { addresses, login, trust, provider, open: None }
    }

    /// The user's desktops.
    pub(crate) fn list(&mut self) -> Result<Vec<Vm>, Failure> {
        match self.ask("/qvd/list_of_vm", &[], false, &mut |_| {})? {
            Event::Answer(answer) if answer.status == 200 => {
                let mut vms: Vec<Vm> = serde_json::from_slice(&answer.body).map_err(|_| {
                    Failure::Unavailable("the server sent no list of desktops".to_owned())
                })?;
                for vm in &mut vms {
                    vm.name = plain(&vm.name);
                    vm.state = plain(&vm.state);
                }
                Ok(vms)
            }
            event => Err(refused(event)),
        }
    }

    /// Stops a desktop; `tell` hears what happens.
    pub(crate) fn stop(&mut self, vm: i64, tell: &mut dyn FnMut(&str)) -> Result<String, Failure> {
        let id = vm.to_string();
        match self.ask("/qvd/stop_vm", &[("id", &id)], false, tell)? {
            Event::Answer(answer) if answer.status == 200 => Ok(plain(&answer.text())),
            event => Err(refused(event)),
        }
    }

    /// Connects to a desktop; `tell` hears what happens.
    pub(crate) fn connect(
        &mut self,
        query: &[(&str, &str)],
        tell: &mut dyn FnMut(&str),
    ) -> Result<Attached, Failure> {
        let mut reader = ResponseReader::default();
        match self.ask_reading("/qvd/connect_to_vm", query, true, tell, &mut reader)? {
            Event::Switched { slave_key } => {
                let (stream, _) = self.open.take().ok_or_else(nothing_open)?;
                Ok(Attached { stream, first: reader.into_rest(), key: slave_key })
            }
            event => {
                self.open = None;
                Err(refused(event))
            }
        }
    }

    fn ask(
        &mut self,
        path: &str,
        query: &[(&str, &str)],
        upgrade: bool,
        tell: &mut dyn FnMut(&str),
    ) -> Result<Event, Failure> {
        self.ask_reading(path, query, upgrade, tell, &mut ResponseReader::default())
    }

    /// Asks on the open stream, or on a new one: a server may have closed one that was idle.
    fn ask_reading(
        &mut self,
        path: &str,
        query: &[(&str, &str)],
        upgrade: bool,
        tell: &mut dyn FnMut(&str),
        reader: &mut ResponseReader,
    ) -> Result<Event, Failure> {
        let mut reused = self.open.is_some();
        loop {
            if self.open.is_none() {
                self.open = Some(self.dial()?);
            }
            let (stream, address) = self.open.as_mut().ok_or_else(nothing_open)?;
            let request =
                write_request(path, query, &address.to_string(), Some(&self.login), upgrade);
            let lost = match exchange(stream, &request, tell, reader) {
                Ok(event) => return Ok(event),
                Err(error) => Failure::Unavailable(format!("{address}: {error}")),
            };
            self.open = None;
            *reader = ResponseReader::default();
            if !std::mem::take(&mut reused) {
                return Err(lost);
            }
        }
    }

    /// Opens a stream to the first server that answers. One that is not the right one ends the
    /// search: another must not be asked in its place.
    fn dial(&self) -> Result<(Stream, Address), Failure> {
        let mut last = Failure::Unavailable("no server is named".to_owned());
        for address in &self.addresses {
            match self.dial_one(address) {
                Ok(stream) => return Ok((stream, address.clone())),
                Err(failure) if failure.may_pass() => last = failure,
                Err(failure) => return Err(failure),
            }
        }
        Err(last)
    }

    fn dial_one(&self, address: &Address) -> Result<Stream, Failure> {
        let away =
            |error: io::Error| Failure::Unavailable(format!("cannot reach {address}: {error}"));
        if let Some(known) = self.trust.known(address)? {
            let pinned = Arc::new(Pinned::new(Some(known.clone()), Arc::clone(&self.provider)));
            return self.shake(address, &pinned).map_err(|error| match pinned.shown() {
                Some(shown) if *shown != known => self.trust.changed(address, &known, shown),
                _ => away(error),
            });
        }
        let pinned = Arc::new(Pinned::new(None, Arc::clone(&self.provider)));
        let stream = self.shake(address, &pinned).map_err(away)?;
        let shown = pinned.shown().ok_or_else(nothing_open)?.clone();
        // The person may think for longer than the server waits.
        drop(stream);
        self.trust.meet(address, &shown)?;
        self.dial_one(address)
    }

    /// Connects and shakes hands.
    fn shake(&self, address: &Address, pinned: &Arc<Pinned>) -> io::Result<Stream> {
        let verifier: Arc<Pinned> = Arc::clone(pinned);
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(io::Error::other)?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // A resumed TLS session would show no certificate.
        config.resumption = rustls::client::Resumption::disabled();
        let name = ServerName::try_from(address.host.clone()).map_err(io::Error::other)?;
        let mut connection =
            ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
        let mut socket = reach(address)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(SILENCE))?;
        socket.set_write_timeout(Some(SILENCE))?;
        notice_death(&socket)?;
        while connection.is_handshaking() {
            connection.complete_io(&mut socket)?;
        }
        Ok(StreamOwned::new(connection, socket))
    }
}

/// The first of the host's addresses that answers.
fn reach(address: &Address) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for resolved in (address.host.as_str(), address.port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&resolved, DIAL) {
            Ok(socket) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn notice_death(socket: &TcpStream) -> io::Result<()> {
    sockopt::set_socket_keepalive(socket, true)?;
    sockopt::set_tcp_keepidle(socket, DEAD / 4)?;
    sockopt::set_tcp_keepintvl(socket, DEAD / 4)?;
    sockopt::set_tcp_keepcnt(socket, 3)?;
    let millis = u32::try_from(DEAD.as_millis()).unwrap_or(u32::MAX);
    Ok(sockopt::set_tcp_user_timeout(socket, millis)?)
}

/// Sends a request and reads to its answer.
fn exchange(
    stream: &mut Stream,
    request: &[u8],
    tell: &mut dyn FnMut(&str),
    reader: &mut ResponseReader,
) -> io::Result<Event> {
    stream.write_all(request)?;
    stream.flush()?;
    loop {
        match reader.poll().map_err(io::Error::other)? {
            Some(Event::Processing(text)) => tell(&plain(&text)),
            Some(event) => return Ok(event),
            None => {
                let mut bytes = [0; 8192];
                match stream.read(&mut bytes)? {
                    0 => return Err(io::Error::other("the server closed the connection")),
                    read => reader.push(bytes.get(..read).unwrap_or_default()),
                }
            }
        }
    }
}

fn refused(event: Event) -> Failure {
    let answer = match event {
        Event::Answer(answer) if answer.status != 200 => answer,
        Event::Answer(Answer { .. }) | Event::Processing(_) | Event::Switched { .. } => {
            return Failure::Unavailable("the server gave an answer of another kind".to_owned());
        }
    };
    Failure::refused(&answer)
}

fn nothing_open() -> Failure {
    Failure::Unavailable("the connection to the server is closed".to_owned())
}
