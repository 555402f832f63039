//! A client made of the protocol alone: for what a well-behaved client does not do.

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::Arc,
    time::Duration,
};

use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::ring,
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use wire::head::{Event, Login, ResponseReader, write_request};

/// A TLS connection to a router.
#[derive(Debug)]
pub struct WireClient {
    stream: StreamOwned<ClientConnection, TcpStream>,
}

/// Takes any certificate: the router of a test has one of its own, made this minute.
#[derive(Debug)]
pub struct Anyone;

impl WireClient {
    /// Connects.
    pub fn connect(port: u16) -> Self {
        let provider = Arc::new(ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has the versions")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anyone))
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").expect("a name");
        let tls = ClientConnection::new(Arc::new(config), name).expect("a connection");
        let tcp = TcpStream::connect(("127.0.0.1", port)).expect("the router listens");
        tcp.set_read_timeout(Some(Duration::from_mins(1))).expect("a timeout");
        Self { stream: StreamOwned::new(tls, tcp) }
    }

    /// Asks, and returns the events up to the last: an answer, or the switch.
    pub fn ask(
        &mut self,
        path: &str,
        query: &[(&str, &str)],
        login: &Login,
        upgrade: bool,
    ) -> Vec<Event> {
        self.only_ask(path, query, login, upgrade);
        let mut reader = ResponseReader::default();
        let mut events = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            while let Some(event) = reader.poll().expect("the router speaks the protocol") {
                let last = !matches!(event, Event::Processing(_));
                events.push(event);
                if last {
                    return events;
                }
            }
            let read = self.stream.read(&mut buffer).expect("the router answers");
            assert!(read > 0, "the router hung up after {events:?}");
            reader.push(buffer.get(..read).unwrap_or_default());
        }
    }

    /// Asks, and waits for nothing.
    pub fn only_ask(&mut self, path: &str, query: &[(&str, &str)], login: &Login, upgrade: bool) {
        let request = write_request(path, query, "localhost", Some(login), upgrade);
        self.stream.write_all(&request).expect("the router hears");
        self.stream.flush().expect("the router hears");
    }

    /// Says the first bytes of a stream. A router that has hung up does not hear them.
    pub fn begin(&mut self) {
        let _ = self.stream.write_all(b"NXPROXY-3.5.0-3.5.99 ");
        let _ = self.stream.flush();
    }

    /// Waits until the router has closed the connection.
    pub fn closed(&mut self) {
        let mut buffer = [0; 4096];
        while let Ok(1..) = self.stream.read(&mut buffer) {}
    }
}

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
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = ring::default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &algorithms)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = ring::default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &algorithms)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
