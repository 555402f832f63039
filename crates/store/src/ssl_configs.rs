//! The router's certificate and private key. Written, and read, by the api alone.

use std::{collections::HashMap, fmt};

use crate::{
    database::{Store, change, read},
    error::Result,
};

/// A PEM text that may be a private key: it is shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Pem(String);

impl Pem {
    /// Takes the text of a PEM file.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pem(..)")
    }
}

impl Store {
    /// What is stored, by key: `l7r.ssl.cert`, `l7r.ssl.key`.
    pub async fn ssl_config(&self) -> Result<HashMap<String, Pem>> {
        const FIND: &str = "SELECT key, pem FROM ssl_configs";
        let rows: Vec<(String, String)> =
            read!(self, on => sqlx::query_as(FIND).fetch_all(on).await)?;
        Ok(rows.into_iter().map(|(key, pem)| (key, Pem(pem))).collect())
    }

    /// Stores these in place of everything that was stored: a certificate is never left with the
    /// key of another.
    pub async fn set_ssl_config(&self, pems: &HashMap<String, Pem>) -> Result<()> {
        const CLEAR: &str = "DELETE FROM ssl_configs";
        const ADD: &str = "INSERT INTO ssl_configs (key, pem) VALUES ($1, $2)";
        change!(self, on => {
            sqlx::query(CLEAR).execute(&mut *on).await?;
            for (key, pem) in pems {
                sqlx::query(ADD).bind(key).bind(pem.as_str()).execute(&mut *on).await?;
            }
        });
        Ok(())
    }
}
