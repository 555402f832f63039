//! `qa osf …`

use http::Method;
use wire::rest::{EditOsf, NewOsf, Osf};

use crate::{
    client::Client,
    grammar::{Invocation, Misuse},
    selection::{self, Tally, count},
    table::{Column, number, or_dash, text},
    terminal::Terminal,
};

const COLUMNS: &[Column] =
    &[number("Id"), text("Name"), number("RAM"), text("Overlay"), number("UserHD")];

pub(crate) async fn run(
    it: &Invocation,
    client: &Client,
    terminal: &Terminal,
) -> anyhow::Result<()> {
    match it.verb.name {
        "add" => add(it, client, terminal).await,
        "list" => list(it, client, terminal).await,
        "edit" => edit(it, client, terminal).await,
        _ => del(it, client, terminal).await,
    }
}

async fn add(it: &Invocation, client: &Client, terminal: &Terminal) -> anyhow::Result<()> {
    let new = NewOsf {
        name: it.required("name").to_owned(),
        memory: it.get("memory").map(|value| mebibytes("memory", value)).transpose()?,
        user_storage_size: storage(it)?.flatten(),
        nesting: flag(it, "nesting")?,
        init: it.get("init").map(str::to_owned),
    };
    let osf: Osf = client.send(Method::POST, "osfs", &new).await?;
    terminal.done(&osf, &format!("OSF added with id {}", osf.id))
}

async fn list(it: &Invocation, client: &Client, terminal: &Terminal) -> anyhow::Result<()> {
    let osfs: Vec<Osf> = selection::list(it, client, "osfs").await?;
    let row = |osf: &Osf| {
        vec![
            osf.id.to_string(),
            osf.name.clone(),
            osf.memory.to_string(),
            // Every VM writes to an overlay of its own.
            "yes".to_owned(),
            or_dash(osf.user_storage_size),
        ]
    };
    terminal.list(&osfs, COLUMNS, row, "There are no such OSFs.")
}

async fn edit(it: &Invocation, client: &Client, terminal: &Terminal) -> anyhow::Result<()> {
    let edit = EditOsf {
        name: it.get("name").map(str::to_owned),
        memory: it.get("memory").map(|value| mebibytes("memory", value)).transpose()?,
        user_storage_size: storage(it)?,
        nesting: flag(it, "nesting")?,
        init: it.get("init").map(str::to_owned),
    };
    let osfs: Vec<Osf> = selection::to_change(it, client, "osfs", ("edit", "OSFs")).await?;
    let mut tally = Tally::default();
    let mut edited: Vec<Osf> = Vec::new();
    for osf in &osfs {
        let result = client.send(Method::PATCH, &format!("osfs/{}", osf.id), &edit).await;
        edited.extend(tally.add(&osf.name, result));
    }
    terminal.done(&edited, &format!("Edited {}.", count(tally.done, "OSF")))?;
    tally.finish()
}

async fn del(it: &Invocation, client: &Client, terminal: &Terminal) -> anyhow::Result<()> {
    let osfs: Vec<Osf> = selection::to_change(it, client, "osfs", ("delete", "OSFs")).await?;
    let mut tally = Tally::default();
    let mut deleted: Vec<Osf> = Vec::new();
    for osf in osfs {
        let result = client.ask::<()>(Method::DELETE, &format!("osfs/{}", osf.id)).await;
        if tally.add(&osf.name, result).is_some() {
            deleted.push(osf);
        }
    }
    terminal.done(&deleted, &format!("Deleted {}.", count(tally.done, "OSF")))?;
    tally.finish()
}

#[expect(clippy::option_option, reason = "the request tells the three apart")]
/// `user_storage_size=`: not given, given as no limit, or a size.
fn storage(it: &Invocation) -> Result<Option<Option<i64>>, Misuse> {
    match it.get("user_storage_size") {
        None => Ok(None),
        Some("") => Ok(Some(None)),
        Some(value) => mebibytes("user_storage_size", value).map(|size| Some(Some(size))),
    }
}

/// A parameter that is on or off, in the words that settings take.
fn flag(it: &Invocation, key: &str) -> Result<Option<bool>, Misuse> {
    let Some(value) = it.get(key) else { return Ok(None) };
    match value.to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Ok(Some(true)),
        "0" | "false" | "no" | "off" => Ok(Some(false)),
        _ => Err(Misuse(format!("{key}={value} is neither 1 nor 0"))),
    }
}

/// A size in MiB: a bare number, or one with k, m, g or t (also kb, mb, gb, tb), rounded up.
fn mebibytes(key: &str, value: &str) -> Result<i64, Misuse> {
    let lower = value.trim().to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = lower.get(digits.len()..).unwrap_or_default().trim();
    let size =
        digits.parse::<i64>().ok().filter(|number| *number >= 0).and_then(|number| match unit {
            "" | "m" | "mb" => Some(number),
            "k" | "kb" => Some(number.div_euclid(1024) + i64::from(number % 1024 > 0)),
            "g" | "gb" => number.checked_mul(1024),
            "t" | "tb" => number.checked_mul(1024 * 1024),
            _ => None,
        });
    size.ok_or_else(|| Misuse(format!("{key}={value} is no size: write MiB, or 512m, 4g, 1t")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_become_mebibytes() {
        let read = |text| mebibytes("memory", text).ok();
        assert_eq!(read("2048"), Some(2048));
        assert_eq!([read("4g"), read("4 GB"), read("1t")], [Some(4096), Some(4096), Some(1 << 20)]);
        assert_eq!([read("1k"), read("2048kb"), read("0")], [Some(1), Some(2), Some(0)]);
        for bad in ["", "g", "-1", "1.5g", "9999999999999999999", "9223372036854775807t", "1x"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
