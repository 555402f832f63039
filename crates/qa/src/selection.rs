//! Which objects a verb is for: those that fit the filter, or all, after asking.

use serde::de::DeserializeOwned;

use crate::{
    client::{Client, with_query},
    grammar::Invocation,
    terminal,
};

/// Those that fit the filter; all without one.
pub(crate) async fn list<T: DeserializeOwned>(
    invocation: &Invocation,
    client: &Client,
    noun: &str,
) -> anyhow::Result<Vec<T>> {
    match &invocation.filter {
        Some(filter) => client.get(&with_query(noun, &[("filter", filter)])).await,
        None => client.get(noun).await,
    }
}

/// Those that are to be changed. Without a filter and without `--force` it asks first: `doing` is
/// what will be done, such as `stop`.
pub(crate) async fn to_change<T: DeserializeOwned>(
    invocation: &Invocation,
    client: &Client,
    noun: &str,
    (doing, what): (&str, &str),
) -> anyhow::Result<Vec<T>> {
    let found: Vec<T> = list(invocation, client, noun).await?;
    if invocation.filter.is_none() && !invocation.force && !found.is_empty() {
        let count = found.len();
        terminal::confirm(&format!("Are you sure you want to {doing} all {what} ({count})?"))?;
    }
    Ok(found)
}

/// Counts with a noun: `1 VM`, `3 VMs`.
pub(crate) fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// Tries a change on each; what failed is told at the end, and is the error.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// How many were changed.
    pub(crate) done: usize,
    failures: Vec<String>,
}

impl Tally {
    pub(crate) fn add<T>(&mut self, name: &str, result: anyhow::Result<T>) -> Option<T> {
        match result {
            Ok(value) => {
                self.done += 1;
                Some(value)
            }
            Err(error) => {
                self.failures.push(format!("{name}: {error:#}"));
                None
            }
        }
    }

    /// Counts anew, keeping what failed before.
    pub(crate) fn after(before: Self) -> Self {
        Self { done: 0, failures: before.failures }
    }

    pub(crate) fn finish(self) -> anyhow::Result<()> {
        if self.failures.is_empty() { Ok(()) } else { anyhow::bail!(self.failures.join("\nqa: ")) }
    }
}
