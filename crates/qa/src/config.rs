//! `qa config …`

use std::collections::BTreeMap;

use anyhow::Context as _;
use http::Method;
use wire::rest::{ChangedConfigs, Config, NewSsl, Ssl};

use crate::{
    client::{Client, with_query},
    grammar::Invocation,
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
    let ChangedConfigs { configs, .. } = client.send(Method::PATCH, "configs", &changes).await?;
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
    let mut removed: Vec<String> = Vec::new();
    if !keys.is_empty() {
        let changes: BTreeMap<String, Option<String>> =
            keys.into_iter().map(|key| (key, None)).collect();
        let done: ChangedConfigs = client.send(Method::PATCH, "configs", &changes).await?;
        removed = done.removed;
    }
    let number = removed.len();
    let entries = if number == 1 { "entry" } else { "entries" };
    terminal.done(&removed, &format!("{number} config {entries} deleted."))
}

async fn ssl(it: &Invocation, client: &Client, terminal: &Terminal) -> anyhow::Result<()> {
    let read = |key: &str| {
        let path = it.required(key);
        std::fs::read_to_string(path).with_context(|| format!("cannot read {key}={path}"))
    };
    let pem = NewSsl { key: read("key")?, cert: read("cert")? };
    let ssl: Ssl = client.send(Method::PUT, "ssl", &pem).await?;
    let fingerprint = ssl.fingerprint.clone().unwrap_or_default();
    let text =
        format!("The router takes this certificate within seconds; its SHA-256 is {fingerprint}.");
    terminal.done(&ssl, &text)
}
