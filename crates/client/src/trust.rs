//! Which server is the right one: the one met first.
//!
//! A QVD server usually has a certificate of its own making, so no authority can vouch for it. Its
//! SHA-256 fingerprint is shown to the person once and remembered, for each host and port, in
//! `~/.config/qvd/known_hosts` (or below `XDG_CONFIG_HOME`), one server a line:
//!
//! ```text
//! desk.example:8443 sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
//! ```
//!
//! Another certificate than the remembered one is refused; nobody is asked, because whoever is asked
//! says yes.

use std::{
    env,
    fs::{self, DirBuilder, OpenOptions},
    io::{self, BufRead as _, IsTerminal as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::PathBuf,
    sync::{Arc, OnceLock},
};

use rustls::{
    CertificateError, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use sha2::{Digest as _, Sha256};

use crate::{failure::Failure, options::Address};

/// A certificate's SHA-256, as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fingerprint(String);

impl Fingerprint {
    fn of(certificate: &CertificateDer<'_>) -> Self {
        Self(format!("sha256:{}", hex::encode(Sha256::digest(certificate))))
    }
}

impl std::fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// The servers met before.
#[derive(Debug)]
pub(crate) struct Trust {
    file: PathBuf,
    accept_new: bool,
}

impl Trust {
    /// The file of this user; made when there is something to write.
    pub(crate) fn open(accept_new: bool) -> Result<Self, Failure> {
        let folder =
            |name: &str| env::var_os(name).filter(|path| !path.is_empty()).map(PathBuf::from);
        let config = folder("XDG_CONFIG_HOME")
            .or_else(|| folder("HOME").map(|home| home.join(".config")))
            .ok_or_else(|| Failure::Local("neither HOME nor XDG_CONFIG_HOME is set".to_owned()))?;
        Ok(Self { file: config.join("qvd/known_hosts"), accept_new })
    }

    /// The certificate this server had the first time.
    pub(crate) fn known(&self, server: &Address) -> Result<Option<Fingerprint>, Failure> {
        let text = match fs::read_to_string(&self.file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.unusable(&error)),
        };
        let name = server.to_string();
        Ok(text
            .lines()
            .filter_map(|line| line.split_once(' '))
            .find(|(have, _)| *have == name)
            .map(|(_, print)| Fingerprint(print.trim().to_owned())))
    }

    /// Asks the person whether this new server is the right one, and remembers it.
    pub(crate) fn meet(&self, server: &Address, shown: &Fingerprint) -> Result<(), Failure> {
        if !self.accept_new && !Self::ask(server, shown) {
            return Err(Failure::Certificate(format!(
                "{server} is not known, and its certificate was not accepted: {shown}; to accept \
                 it without a question use --accept-new-certificate"
            )));
        }
        self.remember(server, shown).map_err(|error| self.unusable(&error))
    }

    /// What to say of a server that is not the one it was.
    pub(crate) fn changed(
        &self,
        server: &Address,
        known: &Fingerprint,
        shown: &Fingerprint,
    ) -> Failure {
        Failure::Certificate(format!(
            "the certificate of {server} has changed; somebody may be between you and the server\n  \
             known: {known}\n  shown: {shown}\nif an administrator confirms the new one, remove the \
             line of {server} from {} and connect again",
            self.file.display()
        ))
    }

    fn ask(server: &Address, shown: &Fingerprint) -> bool {
        if !io::stdin().is_terminal() {
            return false;
        }
        let mut err = io::stderr();
        let question = format!(
            "{server} is not known yet. Its certificate has the fingerprint\n  {shown}\n\
             Is this the right server? [yes/no] "
        );
        let mut answer = String::new();
        write!(err, "{question}").and_then(|()| err.flush()).is_ok()
            && io::stdin().lock().read_line(&mut answer).is_ok()
            && matches!(answer.trim().to_ascii_lowercase().as_str(), "yes" | "y")
    }

    fn remember(&self, server: &Address, shown: &Fingerprint) -> io::Result<()> {
        if let Some(folder) = self.file.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.file)?;
        file.write_all(format!("{server} {shown}\n").as_bytes())
    }

    fn unusable(&self, error: &io::Error) -> Failure {
        Failure::Local(format!("cannot use {}: {error}", self.file.display()))
    }
}

/// Takes the one certificate it expects, or, where it expects none, any: then nothing is sent before
/// the person was asked. What was shown is kept.
#[derive(Debug)]
pub(crate) struct Pinned {
    expected: Option<Fingerprint>,
    shown: OnceLock<Fingerprint>,
    provider: Arc<CryptoProvider>,
}

impl Pinned {
    /// Expects this certificate.
    pub(crate) fn new(expected: Option<Fingerprint>, provider: Arc<CryptoProvider>) -> Self {
        Self { expected, shown: OnceLock::new(), provider }
    }

    /// The certificate the server has shown, if it came so far.
    pub(crate) fn shown(&self) -> Option<&Fingerprint> {
        self.shown.get()
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let shown = self.shown.get_or_init(|| Fingerprint::of(end_entity));
        match &self.expected {
            Some(expected) if expected != shown => {
                Err(CertificateError::ApplicationVerificationFailure.into())
            }
            Some(_) | None => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_server_met_is_remembered_for_its_port() {
        let folder = tempfile::tempdir().unwrap();
        let trust = Trust { file: folder.path().join("qvd/known_hosts"), accept_new: true };
        let at = |port| Address { host: "desk.example".to_owned(), port };
        let print = |text: &str| Fingerprint(text.to_owned());
        assert_eq!(trust.known(&at(1)), Ok(None));
        trust.meet(&at(1), &print("sha256:aa")).unwrap();
        trust.meet(&at(2), &print("sha256:bb")).unwrap();
        assert_eq!(trust.known(&at(1)), Ok(Some(print("sha256:aa"))));
        assert_eq!(trust.known(&at(2)), Ok(Some(print("sha256:bb"))));
        assert_eq!(trust.known(&at(12)), Ok(None));
        let mode = fs::metadata(&trust.file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn without_a_terminal_nobody_new_is_trusted() {
        let folder = tempfile::tempdir().unwrap();
        let trust = Trust { file: folder.path().join("known_hosts"), accept_new: false };
        let server = Address { host: "desk.example".to_owned(), port: 1 };
        if !io::stdin().is_terminal() {
            let met = trust.meet(&server, &Fingerprint("sha256:aa".to_owned()));
            assert!(matches!(met, Err(Failure::Certificate(_))));
        }
        assert_eq!(trust.known(&server), Ok(None));
    }
}
