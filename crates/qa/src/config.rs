//! `qa config …`

use std::collections::BTreeMap;

use anyhow::Context as _;
use http::Method;
use wire::rest::{Config, NewSsl, Ssl};

use crate::{
    client::{Client, with_query},
    grammar::Invocation,
    selection::count,
    terminal::{self, Terminal},
};

pub(crate) async fn run(
    it: &Invocation,
    client: &Client,
    terminal: &Terminal,
) -> anyhow::Result<()> {
    match it.verb.name {
        "get" => get(it, client, terminal).await,
        "set" => set(it, client, terminal).await,
        "del" => del(it, client, terminal).await,
        _ => ssl(it, client, terminal).await,
    }
}

async fn get(it: &Invocation, client: &Client, terminal: &Terminal) -> anyhow::Result<()> {
    let keys: Vec<(&str, &str)> = it.keys.iter().map(|key| ("key", key.as_str())).collect();
    let configs: Vec<Config> = client.get(&with_query("configs", &keys)).await?;
    if terminal.is_json() {
        return terminal::json(&configs);
    }
    let lines: Vec<String> =
        configs.iter().map(|config| format!("{}={}", config.key, config.value)).collect();
    terminal::page(&lines.join("\n"));
    Ok(())
}

async fn set(it: &Invocation, client: &Client, terminal: &Terminal) -> anyhow::Result<()> {
    let changes: BTreeMap<&str, &str> =
        it.pairs.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let configs: Vec<Config> = client.send(Method::PATCH, "configs", &changes).await?;
    let readers: Vec<String> = configs
        .iter()
        .map(|config| format!("{}={} (read by {})", config.key, config.value, config.reader))
        .collect();
    terminal.done(&configs, &readers.join("\n"))
}

async fn del(it: &Invocation, client: &Client, terminal: &Terminal) -> anyhow::Result<()> {
    let mut keys = it.keys.clone();
    if keys.is_empty() {
        let all: Vec<Config> = client.get("configs").await?;
        keys = all.into_iter().filter(|config| config.origin == "cluster").map(|c| c.key).collect();
        if !it.force && !keys.is_empty() {
            let number = keys.len();
            terminal::confirm(&format!(
                "Are you sure you want to delete all config entries ({number})?"
            ))?;
        }
    }
    let number = keys.len();
    let mut configs: Vec<Config> = Vec::new();
    if number > 0 {
        let changes: BTreeMap<String, Option<String>> =
            keys.into_iter().map(|key| (key, None)).collect();
        configs = client.send(Method::PATCH, "configs", &changes).await?;
    }
    let entries = if number == 1 { "entry" } else { "entries" };
    terminal.done(&configs, &format!("{number} config {entries} deleted."))
}

async fn ssl(it: &Invocation, client: &Client, terminal: &Terminal) -> anyhow::Result<()> {
    let read = |key: &str| match it.get(key).filter(|path| !path.is_empty()) {
        Some(path) => std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {key}={path}"))
            .map(Some),
        None => Ok(None),
    };
    let pem = NewSsl {
        key: read("key")?.unwrap_or_default(),
        cert: read("cert")?.unwrap_or_default(),
        ca: read("ca")?,
        crl: read("crl")?,
    };
    let ssl: Ssl = client.send(Method::PUT, "ssl", &pem).await?;
    let fingerprint = ssl.fingerprint.clone().unwrap_or_default();
    terminal.done(
        &ssl,
        &format!(
            "The router takes this certificate at its next start; its SHA-256 is {fingerprint}."
        ),
    )?;
    let kept = usize::from(ssl.ca) + usize::from(ssl.crl);
    if kept > 0 {
        terminal.say(&format!("Also kept: {} for client certificates.", count(kept, "file")));
    }
    Ok(())
}
