//! `block` and `unblock`, of hosts and users.

use http::Method;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    client::Client,
    grammar::Invocation,
    selection::{self, Tally, count},
    terminal::Terminal,
};

/// What is blocked.
#[derive(Debug)]
pub(crate) struct Kind<T> {
    /// In the api's paths, and for several of them.
    pub(crate) nouns: &'static str,
    /// For one of them.
    pub(crate) noun: &'static str,
    /// The id and the name of one.
    pub(crate) of: fn(&T) -> (i64, &str),
}

/// Does the verb to those that are selected; `edit` makes the body of the change.
pub(crate) async fn run<T: Serialize + DeserializeOwned, E: Serialize>(
    it: &Invocation,
    client: &Client,
    terminal: &Terminal,
    kind: &Kind<T>,
    edit: fn(bool) -> E,
) -> anyhow::Result<()> {
    let blocked = it.verb.name == "block";
    let (doing, done) = if blocked { ("block", "Blocked") } else { ("unblock", "Unblocked") };
    let found: Vec<T> = selection::to_change(it, client, kind.nouns, (doing, kind.nouns)).await?;
    let mut tally = Tally::default();
    let mut changed: Vec<T> = Vec::new();
    for one in &found {
        let (id, name) = (kind.of)(one);
        let path = format!("{}/{id}", kind.nouns);
        let result = client.send(Method::PATCH, &path, &edit(blocked)).await;
        changed.extend(tally.add(name, result));
    }
    terminal.done(&changed, &format!("{done} {}.", count(tally.done, kind.noun)))?;
    tally.finish()
}
