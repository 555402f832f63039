//! A client: TLS, and with the router the protocol, up to its desktop.

use std::{net::Ipv4Addr, sync::Arc};

use anyhow::{Context as _, Result, bail, ensure};
use rustls::{ClientConfig, crypto::ring, pki_types::ServerName, version::TLS13};
use tests::wire_client::Anyone;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use wire::head::{Event, Login, ResponseReader, write_request};

use super::{
    desktop::{ECHO, MIB, POUR},
    peer::Kind,
};

/// Where clients come from; those who only pretend come from elsewhere.
pub(super) const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// What all clients have in common.
#[derive(Clone)]
pub(super) struct Clients(TlsConnector);

/// A client that has come to its desktop.
pub(super) struct Visitor {
    stream: TlsStream<TcpStream>,
}

impl Clients {
    /// All of one version and one cipher, so that the peers have the same work.
    pub(super) fn new() -> Result<Self> {
        let mut provider = ring::default_provider();
        provider.cipher_suites = vec![ring::cipher_suite::TLS13_AES_128_GCM_SHA256];
        let config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anyone))
            .with_no_client_auth();
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }

    /// Comes to a desktop by a peer; with the router, as the user and to the VM of that number.
    pub(super) async fn come(&self, kind: Kind, port: u16, number: usize) -> Result<Visitor> {
        let tcp = knock(HERE, port).await?;
        tcp.set_nodelay(true)?;
        let name = ServerName::try_from("localhost").context("a name")?;
        let mut stream = self.0.connect(name, tcp).await?;
        if kind == Kind::Qvd {
            switch(&mut stream, number).await?;
        }
        Ok(Visitor { stream })
    }
}

/// A TCP connection from an address of this machine.
pub(super) async fn knock(from: Ipv4Addr, port: u16) -> Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    Ok(socket.connect((Ipv4Addr::LOCALHOST, port).into()).await?)
}

/// Asks for the desktop, up to the `101`.
async fn switch(stream: &mut TlsStream<TcpStream>, number: usize) -> Result<()> {
    let login = Login { login: format!("user{number}"), password: "x".to_owned() };
    let id = number.to_string();
    let request =
        write_request("/qvd/connect_to_vm", &[("id", &id)], "localhost", Some(&login), true);
    stream.write_all(&request).await?;
    stream.flush().await?;
    let mut reader = ResponseReader::default();
    let mut bytes = [0; 2048];
    loop {
        match reader.poll()? {
            Some(Event::Switched { .. }) => return Ok(()),
            Some(Event::Processing(_)) => {}
            Some(Event::Answer(answer)) => bail!("refused: {} {}", answer.status, answer.text()),
            None => {
                let read = stream.read(&mut bytes).await?;
                ensure!(read > 0, "the router hung up");
                reader.push(bytes.get(..read).unwrap_or_default());
            }
        }
    }
}

impl Visitor {
    /// One round trip of eight bytes.
    pub(super) async fn echo(&mut self) -> Result<()> {
        self.stream.write_all(ECHO).await?;
        self.stream.flush().await?;
        let mut back = [0; 8];
        self.stream.read_exact(&mut back).await?;
        ensure!(back == *ECHO, "what came back is something else");
        Ok(())
    }

    /// Has so many MiB poured.
    pub(super) async fn drink(&mut self, mebibytes: u32) -> Result<()> {
        self.stream.write_all(POUR).await?;
        self.stream.write_u32(mebibytes).await?;
        self.stream.flush().await?;
        let mut left = usize::try_from(mebibytes)? * MIB;
        let mut block = vec![0; MIB];
        while left > 0 {
            let read = self.stream.read(&mut block).await?;
            ensure!(read > 0, "{left} bytes are missing");
            left -= read;
        }
        Ok(())
    }
}
