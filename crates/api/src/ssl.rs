//! `/ssl`: the router's key and certificate.
//!
//! They are kept in the database, for every host, and handed to this host's router as files in
//! `path.ssl`, which belongs to the user that both run as.

use std::{
    collections::HashMap,
    fs,
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use axum::Json;
use rustls::{
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};
use sha2::{Digest as _, Sha256};
use store::Pem;
use wire::rest::{NewSsl, Ssl};

use crate::{
    admin::Shared,
    context::{Change, Context},
    extract::Body,
    fault::Fault,
    peer::Peer,
};

const KEY: &str = "l7r.ssl.key";
const CERT: &str = "l7r.ssl.cert";

/// What is known of the certificate; never the key.
pub(crate) async fn get(context: Shared) -> Result<Json<Ssl>, Fault> {
    let kept = context.store().ssl_config().await?;
    Ok(Json(body(&kept)))
}

/// Takes a key and a certificate that belong together.
pub(crate) async fn put(
    context: Shared,
    peer: Peer,
    Body(new): Body<NewSsl>,
) -> Result<Json<Ssl>, Fault> {
    check(&new)?;
    let kept =
        HashMap::from([(KEY.to_owned(), Pem::new(new.key)), (CERT.to_owned(), Pem::new(new.cert))]);
    context.store().set_ssl_config(&kept).await?;
    let ssl = body(&kept);
    context.audit(peer, "config ssl", "router".to_owned(), Change::to(&ssl)).await;
    write(&context, &kept).await?;
    Ok(Json(ssl))
}

/// At start: gives this host's router what was kept, which another host may have been told.
pub(crate) async fn hand_over(context: &Context) {
    let result = match context.store().ssl_config().await {
        Ok(kept) if kept.is_empty() => return,
        Ok(kept) => write(context, &kept).await,
        Err(error) => Err(error.into()),
    };
    if let Err(fault) = result {
        tracing::error!(error = fault.detail(), "the router's certificate cannot be handed over");
    }
}

fn check(new: &NewSsl) -> Result<(), Fault> {
    let bad = |what: &str, error: &dyn std::fmt::Display| {
        Fault::malformed(format!("{what} cannot be used: {error}"))
            .remedy("give files in PEM, the key without a passphrase")
    };
    let key = PrivateKeyDer::from_pem_slice(new.key.as_bytes())
        .map_err(|error| bad("the private key", &error))?;
    let chain = certificates(&new.cert).map_err(|error| bad("the certificate", &error))?;
    if chain.is_empty() {
        return Err(bad("the certificate", &"there is none in the file"));
    }
    // Fails too when the key is another certificate's.
    CertifiedKey::from_der(chain, key, &ring::default_provider())
        .map_err(|error| bad("key and certificate together", &error))?;
    Ok(())
}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, rustls::pki_types::pem::Error> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).collect()
}

fn body(kept: &HashMap<String, Pem>) -> Ssl {
    let first =
        kept.get(CERT).and_then(|pem| CertificateDer::from_pem_slice(pem.as_str().as_bytes()).ok());
    Ssl {
        given: kept.contains_key(CERT),
        fingerprint: first.map(|cert| hex::encode(Sha256::digest(cert.as_ref()))),
    }
}

async fn write(context: &Context, kept: &HashMap<String, Pem>) -> Result<(), Fault> {
    let folder = PathBuf::from(context.settings().await?.get("path.ssl")?);
    let kept = kept.clone();
    let written = tokio::task::spawn_blocking(move || {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        for (key, name) in [(CERT, "cert.pem"), (KEY, "key.pem")] {
            if let Some(pem) = kept.get(key) {
                replace(&folder.join(name), pem.as_str())?;
            }
        }
        Ok(())
    });
    let result: io::Result<()> = written
        .await
        .map_err(|error| Fault::internal("the certificate was not written", &error))?;
    result
        .map_err(|error| Fault::internal("the certificate was not written for the router", &error))
}

/// Puts a file in the place of another in one step; only its owner may read it.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let fresh = path.with_extension("partial");
    let _ = fs::remove_file(&fresh);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&fresh, path)
}
