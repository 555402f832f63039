//! The TLS side: TLS 1.2 and 1.3 by `ring`, and nothing but HTTP/1.1 behind it.
//!
//! A client that is offered `h2` takes it and fails, so the one protocol named is `http/1.1`. A new
//! certificate is taken within a few seconds, for new connections; a broken one is reported once and
//! the old one stays.

use std::{
    net::IpAddr,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, SystemTime},
};

use rustls::{
    ServerConfig,
    crypto::CryptoProvider,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};
use tokio_rustls::TlsAcceptor;

use crate::certificate::{CertificateError, Folder, Stamp};

/// What a handshake needs, and the certificate in use.
#[derive(Debug)]
pub(crate) struct Tls {
    folder: Folder,
    provider: Arc<CryptoProvider>,
    current: Arc<Current>,
    stamp: Option<Stamp>,
}

/// The certificate shown to new clients.
#[derive(Debug)]
struct Current(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl Tls {
    /// With the administrator's certificate, or with our own.
    pub(crate) fn start(
        folder: Folder,
        address: IpAddr,
        now: SystemTime,
    ) -> Result<Self, CertificateError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let stamp = folder.stamp();
        let given = stamp.as_ref().and_then(|_| load(&folder, &provider));
        let key = match given {
            Some(key) => key,
            None => folder.own(address, now, &provider)?,
        };
        Ok(Self { folder, provider, current: Arc::new(Current(RwLock::new(key))), stamp })
    }

    /// What accepts connections, with whatever certificate is in use at that time.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        let current: Arc<Current> = Arc::clone(&self.current);
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&TLS13, &TLS12])
            .expect("ring knows both versions")
            .with_no_client_auth()
            .with_cert_resolver(current);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        TlsAcceptor::from(Arc::new(config))
    }

    /// Looks every so often whether the administrator's certificate has changed, for ever. Only what
    /// looks the same twice is read: certificate and key are two files, written one after the other.
    pub(crate) async fn follow(mut self, every: Duration) {
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut before = None;
        loop {
            ticks.tick().await;
            let seen = self.folder.stamp();
            if seen.is_some() && seen != self.stamp && seen == before {
                if let Some(key) = load(&self.folder, &self.provider) {
                    *self.current.0.write().unwrap_or_else(PoisonError::into_inner) = key;
                    tracing::info!("took a new certificate");
                }
                self.stamp.clone_from(&seen);
            }
            before = seen;
        }
    }
}

/// The administrator's certificate, or a line in the log.
fn load(folder: &Folder, provider: &CryptoProvider) -> Option<Arc<CertifiedKey>> {
    folder
        .given(provider)
        .inspect_err(|error| {
            let reason = std::error::Error::source(error).map(ToString::to_string);
            tracing::error!(%error, reason, "the certificate given cannot be used, another stays");
        })
        .ok()
}
