//! A TLS client that sees where records begin and end.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use rustls::{
    ClientConfig, DigitallySignedStruct, SignatureScheme, SupportedProtocolVersion,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::ring,
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::stage::soon;

/// Takes any certificate: which one it is, is looked at where it matters.
#[derive(Debug)]
struct Anyone;

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// A client of the l7r.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) stream: TlsStream<TcpStream>,
}

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// With a `close_notify`.
    Clean,
    /// Without.
    Cut,
}

impl Client {
    /// A client of today.
    pub(crate) async fn new(address: SocketAddr) -> Self {
        let alpn = [&b"h2"[..], b"http/1.1"];
        Self::with(address, rustls::ALL_VERSIONS, &alpn).await.unwrap()
    }

    /// A client with its own versions and protocols.
    pub(crate) async fn with(
        address: SocketAddr,
        versions: &[&'static SupportedProtocolVersion],
        alpn: &[&[u8]],
    ) -> io::Result<Self> {
        Self::on(TcpStream::connect(address).await?, versions, alpn).await
    }

    /// A client of today at an address of its own.
    pub(crate) async fn at(source: Ipv4Addr, address: SocketAddr) -> io::Result<Self> {
        Self::on(knock(source, address).await?, rustls::ALL_VERSIONS, &[]).await
    }

    async fn on(
        inner: TcpStream,
        versions: &[&'static SupportedProtocolVersion],
        alpn: &[&[u8]],
    ) -> io::Result<Self> {
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anyone))
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        inner.set_nodelay(true)?;
        let name = ServerName::try_from("localhost").unwrap();
        let connecting = TlsConnector::from(Arc::new(config)).connect(name, inner);
        Ok(Self { stream: soon("a handshake", connecting).await? })
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// The text of the next TLS record.
    pub(crate) async fn record(&mut self) -> String {
        // The TLS library keeps what it read apart by records.
        let bytes = soon("a record", self.stream.fill_buf()).await.unwrap();
        assert!(!bytes.is_empty(), "the l7r closed");
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        self.stream.consume(text.len());
        text
    }

    /// Head and body of the next answer, which must come in a record each.
    pub(crate) async fn answer(&mut self) -> (String, String) {
        (self.record().await, self.record().await)
    }

    /// Reads to the end of the stream, whatever comes.
    pub(crate) async fn ending(&mut self) -> Ending {
        let mut bytes = [0; 4096];
        loop {
            match soon("the end", self.stream.read(&mut bytes)).await {
                Ok(0) => return Ending::Clean,
                Ok(_) => {}
                Err(_) => return Ending::Cut,
            }
        }
    }

    /// The certificate shown.
    pub(crate) fn certificate(&self) -> CertificateDer<'static> {
        self.stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
    }
}

/// A TCP connection from an address of this machine.
pub(crate) async fn knock(source: Ipv4Addr, address: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((source, 0).into())?;
    socket.connect(address).await
}
