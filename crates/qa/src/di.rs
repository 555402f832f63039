//! `qa di …`

use std::path::Path;

use anyhow::Context as _;
use http::Method;
use wire::rest::{Di, NewDi, Osf};

use crate::{
    client::{Client, with_query},
    grammar::{Invocation, Misuse},
    selection::{self, Tally, count},
    table::{Column, number, text},
    terminal::Terminal,
    upload,
};

const COLUMNS: &[Column] =
    &[number("Id"), text("OSF"), text("Version"), text("Path"), text("Tags")];

pub(crate) async fn run(
    it: &Invocation,
    client: &Client,
    terminal: &Terminal,
) -> anyhow::Result<()> {
    match it.verb.name {
        "add" => add(it, client, terminal).await,
        "list" => list(it, client, terminal).await,
        "tag" | "untag" => tag(it, client, terminal).await,
        _ => del(it, client, terminal).await,
    }
}

async fn add(it: &Invocation, client: &Client, terminal: &Terminal) -> anyhow::Result<()> {
    let path = Path::new(it.required("path"));
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .with_context(|| format!("{} has no name that can be kept", path.display()))?;
    let file = tokio::fs::File::open(path)
        .await
        .with_context(|| format!("cannot open {}", path.display()))?;
    let about = file.metadata().await.with_context(|| format!("cannot read {}", path.display()))?;
    anyhow::ensure!(about.is_file(), "{} is not a file", path.display());
    // Asked before, so that nobody sends a large file for nothing.
    let osf = osf(it, client).await?.to_string();
    let mut query = vec![("osf_id", osf.as_str()), ("file", name)];
    query.extend(it.get("version").filter(|v| !v.is_empty()).map(|version| ("version", version)));
    let bar = terminal.bar(about.len(), name);
    let result = upload::send(client, &with_query("dis", &query), file, path, &bar).await;
    bar.finish_and_clear();
    let (new, sent): (NewDi, String) = result?;
    if new.di.sha256 != sent {
        let () = client.ask(Method::DELETE, &format!("dis/{}", new.di.id)).await?;
        anyhow::bail!(
            "what arrived is not what was sent (sha-256 {}, not {sent}): the image was removed again",
            new.di.sha256
        );
    }
    terminal.done(&new, &told(&new))?;
    for warning in &new.warnings {
        terminal.say(&format!("Warning: {warning}"));
    }
    Ok(())
}

/// The id of the OSF that is named.
async fn osf(it: &Invocation, client: &Client) -> anyhow::Result<i64> {
    let osfs: Vec<Osf> = client.get("osfs").await?;
    if let Some(id) = it.id("osf_id")? {
        let found = osfs.iter().any(|osf| osf.id == id);
        anyhow::ensure!(found, "there is no OSF {id}\n    `qa osf list` shows those there are");
        return Ok(id);
    }
    let name = it.required("osf");
    osfs.iter().find(|osf| osf.name == name).map(|osf| osf.id).with_context(|| {
        format!("there is no OSF {name}\n    add it with `qa osf add name={name}`")
    })
}

fn told(new: &NewDi) -> String {
    let kind = new.di.kind.as_ref().map_or_else(String::new, |kind| format!("\n{kind}"));
    let tags = new.di.tags.join(", ");
    format!("DI added with id {}, version {}, tags {tags}{kind}", new.di.id, new.di.version)
}

async fn list(it: &Invocation, client: &Client, terminal: &Terminal) -> anyhow::Result<()> {
    let dis: Vec<Di> = selection::list(it, client, "dis").await?;
    let row = |di: &Di| {
        vec![
            di.id.to_string(),
            di.osf.clone(),
            di.version.clone(),
            di.path.clone(),
            di.tags.join(", "),
        ]
    };
    terminal.list(&dis, COLUMNS, row, "There are no such disk images.")
}

async fn tag(it: &Invocation, client: &Client, terminal: &Terminal) -> anyhow::Result<()> {
    let given = it.required("di_id");
    let id: i64 = given.parse().map_err(|_| Misuse(format!("di_id={given} is no number")))?;
    let tag = it.required("tag");
    let segment: String = form_urlencoded::byte_serialize(tag.as_bytes()).collect();
    let path = format!("dis/{id}/tags/{segment}");
    if it.verb.name == "tag" {
        let di: Di = client.ask(Method::PUT, &path).await?;
        terminal.done(&di, &format!("{} of {} now has the tag {tag}.", di.version, di.osf))
    } else {
        let di: Di = client.ask(Method::DELETE, &path).await?;
        terminal.done(&di, &format!("{} of {} has the tag {tag} no more.", di.version, di.osf))
    }
}

async fn del(it: &Invocation, client: &Client, terminal: &Terminal) -> anyhow::Result<()> {
    let dis: Vec<Di> = selection::to_change(it, client, "dis", ("delete", "disk images")).await?;
    let mut tally = Tally::default();
    let mut deleted: Vec<Di> = Vec::new();
    for di in dis {
        let result = client.ask::<()>(Method::DELETE, &format!("dis/{}", di.id)).await;
        if tally.add(&di.path, result).is_some() {
            deleted.push(di);
        }
    }
    terminal.done(&deleted, &format!("Deleted {}.", count(tally.done, "disk image")))?;
    tally.finish()
}
