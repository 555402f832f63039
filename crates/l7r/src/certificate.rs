//! The certificate and its key, as files.
//!
//! `cert.pem` and `key.pem` are the administrator's: the api writes them, we only read them. Where
//! there are none, or none that fit together, a certificate of our own does: `own-cert.pem` and
//! `own-key.pem`, made once and kept, because clients remember its fingerprint.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    net::IpAddr,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};
use rustls::{
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    sign::CertifiedKey,
};

/// The names of the administrator's certificate and key.
const GIVEN: Pair = Pair { certificate: "cert.pem", key: "key.pem" };

/// The names of those we made.
const OWN: Pair = Pair { certificate: "own-cert.pem", key: "own-key.pem" };

/// How long one of ours is valid: nobody renews it, and clients pin it.
const VALID: Duration = Duration::from_hours(10 * 365 * 24);

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The folder or a file in it.
    #[error("cannot use {path}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file that is no PEM file of its kind.
    #[error("{path} holds no certificate or key in PEM form")]
    Pem {
        /// Which.
        path: PathBuf,
        /// Why.
        source: rustls::pki_types::pem::Error,
    },
    /// They do not fit together, or are of a kind not known.
    #[error("the certificate {path} and its key cannot be used")]
    Pair {
        /// The certificate.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// One of our own cannot be made.
    #[error("cannot make a certificate")]
    Make(#[from] rcgen::Error),
}

#[derive(Clone, Copy, Debug)]
struct Pair {
    certificate: &'static str,
    key: &'static str,
}

/// The folder with the certificates.
#[derive(Clone, Debug)]
pub(crate) struct Folder(PathBuf);

/// What tells one state of two files from another: device, inode, size and times of each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stamp(Vec<(u64, u64, u64, i64, i64)>);

impl Folder {
    /// The folder, made for its owner alone where there is none.
    pub(crate) fn open(path: &Path) -> Result<Self, CertificateError> {
        match DirBuilder::new().mode(0o700).recursive(true).create(path) {
            Ok(()) => Ok(Self(path.to_owned())),
            Err(source) => Err(CertificateError::File { path: path.to_owned(), source }),
        }
    }

    /// The state of the administrator's files, if both are there.
    pub(crate) fn stamp(&self) -> Option<Stamp> {
        [GIVEN.certificate, GIVEN.key]
            .iter()
            .map(|name| {
                let file = fs::metadata(self.0.join(name)).ok()?;
                Some((file.dev(), file.ino(), file.size(), file.mtime(), file.mtime_nsec()))
            })
            .collect::<Option<_>>()
            .map(Stamp)
    }

    /// The administrator's certificate.
    pub(crate) fn given(
        &self,
        provider: &CryptoProvider,
    ) -> Result<Arc<CertifiedKey>, CertificateError> {
        self.load(GIVEN, provider)
    }

    /// Our own certificate: the one made before, or a new one for this host.
    pub(crate) fn own(
        &self,
        address: IpAddr,
        now: SystemTime,
        provider: &CryptoProvider,
    ) -> Result<Arc<CertifiedKey>, CertificateError> {
        let made = |name| self.0.join(name).exists();
        if !made(OWN.certificate) || !made(OWN.key) {
            let key = KeyPair::generate()?;
            let certificate = describe(address, now)?.self_signed(&key)?;
            self.write(OWN.key, &key.serialize_pem())?;
            self.write(OWN.certificate, &certificate.pem())?;
            tracing::info!(folder = %self.0.display(), "made a certificate of our own");
        }
        self.load(OWN, provider)
    }

    fn load(
        &self,
        pair: Pair,
        provider: &CryptoProvider,
    ) -> Result<Arc<CertifiedKey>, CertificateError> {
        let path = self.0.join(pair.certificate);
        let pem = |path: &Path, source| CertificateError::Pem { path: path.to_owned(), source };
        let text = self.read(pair.certificate)?;
        let chain = CertificateDer::pem_slice_iter(&text)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|source| pem(&path, source))?;
        let key = PrivateKeyDer::from_pem_slice(&self.read(pair.key)?)
            .map_err(|source| pem(&self.0.join(pair.key), source))?;
        CertifiedKey::from_der(chain, key, provider)
            .map(Arc::new)
            .map_err(|source| CertificateError::Pair { path, source })
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, CertificateError> {
        let path = self.0.join(name);
        fs::read(&path).map_err(|source| CertificateError::File { path, source })
    }

    /// Writes a file for the owner's eyes, whole or not at all.
    fn write(&self, name: &str, text: &str) -> Result<(), CertificateError> {
        let path = self.0.join(name);
        let partial = self.0.join(format!(".{name}.partial"));
        let write = || {
            let mut file: File = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&partial)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&partial, &path)
        };
        write().map_err(|source| CertificateError::File { path: path.clone(), source })
    }
}

/// What a certificate of ours says: this host's name and what else it may be called.
fn describe(address: IpAddr, now: SystemTime) -> Result<CertificateParams, rcgen::Error> {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let mut names = vec!["localhost".to_owned()];
    // A name that is none for DNS would make the certificate one that nobody can parse.
    if !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b)) {
        names.push(host.clone());
    }
    let mut params = CertificateParams::new(names)?;
    let mut addresses =
        vec![IpAddr::from([127, 0, 0, 1]), IpAddr::from([0u16, 0, 0, 0, 0, 0, 0, 1])];
    if address.is_unspecified() {
        addresses.extend(outward("0.0.0.0:0", "192.0.2.1:9"));
        addresses.extend(outward("[::]:0", "[2001:db8::1]:9"));
    } else if !addresses.contains(&address) {
        addresses.push(address);
    }
    params.subject_alt_names.extend(addresses.into_iter().map(SanType::IpAddress));
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, format!("QVD on {host}"));
    params.distinguished_name = name;
    // A day back, for clients whose clock is behind.
    params.not_before = (now - Duration::from_hours(24)).into();
    params.not_after = (now + VALID).into();
    Ok(params)
}

/// The address this host would speak from to the outside. Connecting a datagram socket sends
/// nothing.
fn outward(from: &str, to: &str) -> Option<IpAddr> {
    let socket = std::net::UdpSocket::bind(from).ok()?;
    socket.connect(to).ok()?;
    socket.local_addr().ok().map(|local| local.ip()).filter(|ip| !ip.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn own(folder: &Folder) -> Arc<CertifiedKey> {
        let now = SystemTime::UNIX_EPOCH + Duration::from_hours(500_000);
        let provider = rustls::crypto::ring::default_provider();
        folder.own(IpAddr::from([192, 0, 2, 7]), now, &provider).unwrap()
    }

    #[test]
    fn our_own_is_made_once_and_for_our_eyes() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("ssl");
        let folder = Folder::open(&path).unwrap();
        let first = own(&folder);
        assert_eq!(own(&folder).cert, first.cert);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o700);
        assert_eq!(mode(&path.join("own-key.pem")), 0o600);
        let webpki = rustls::server::ParsedCertificate::try_from(&first.cert[0]).unwrap();
        for name in ["localhost", "127.0.0.1", "::1", "192.0.2.7"] {
            let name = name.try_into().unwrap();
            rustls::client::verify_server_name(&webpki, &name).unwrap();
        }
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = Folder::open(temporary.path()).unwrap();
        own(&folder);
        let other = KeyPair::generate().unwrap();
        fs::copy(temporary.path().join("own-cert.pem"), temporary.path().join("cert.pem")).unwrap();
        assert_eq!(folder.stamp(), None);
        fs::write(temporary.path().join("key.pem"), other.serialize_pem()).unwrap();
        assert!(folder.stamp().is_some());
        let provider = rustls::crypto::ring::default_provider();
        assert!(matches!(folder.given(&provider), Err(CertificateError::Pair { .. })));
        fs::write(temporary.path().join("key.pem"), "no key").unwrap();
        assert!(matches!(folder.given(&provider), Err(CertificateError::Pem { .. })));
    }
}
