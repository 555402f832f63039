//! `qa vm why`.

use std::fmt::Write as _;

use wire::rest::{Vm, Why};

use crate::{
    client::Client,
    grammar::Invocation,
    selection,
    table::moment,
    terminal::{self, Terminal},
};

pub(super) async fn run(
    it: &Invocation,
    client: &Client,
    terminal: &Terminal,
) -> anyhow::Result<()> {
    let vms: Vec<Vm> = selection::list(it, client, "vms").await?;
    let mut answers: Vec<Why> = Vec::new();
    for vm in &vms {
        answers.push(client.get(&format!("vms/{}/why", vm.id)).await?);
    }
    if terminal.is_json() {
        return terminal::json(&answers);
    }
    if answers.is_empty() {
        terminal.say("There are no such virtual machines.");
        return Ok(());
    }
    let texts: Vec<String> = answers.iter().map(tell).collect();
    terminal::page(&texts.join("\n\n"));
    Ok(())
}

/// What there is to say, one thing a line.
fn tell(why: &Why) -> String {
    let vm = &why.vm;
    let mut text = format!("{} is {}", vm.name, vm.state);
    if let Some(reason) = &vm.reason {
        let _ = write!(text, ": {}", reason.text);
        let _ = write!(text, "\n  since:    {}", moment(Some(reason.since)));
        if !reason.remedy.is_empty() {
            let _ = write!(text, "\n  remedy:   {}", reason.remedy);
        }
    }
    if let Some(doing) = &why.waiting_for {
        let _ = write!(text, "\n  now:      {doing}");
    }
    if why.attempts > 0 {
        let _ = write!(text, "\n  attempts: {}", why.attempts);
        if why.next_try.is_some() {
            let _ = write!(text, ", the next at {}", moment(why.next_try));
        }
    }
    if let Some(host) = &vm.host {
        let alive = if why.host_alive { "" } else { " (silent)" };
        let _ = write!(text, "\n  host:     {host}{alive}");
    }
    if why.seen_at.is_some() {
        let _ = write!(text, "\n  seen:     {}", moment(why.seen_at));
    }
    match &why.asked_by {
        Some(by) => {
            let _ = write!(text, "\n  asked by: {by} at {}", moment(why.asked_at));
        }
        None => text.push_str("\n  nobody has started it yet"),
    }
    if vm.di.is_none() {
        let _ = write!(text, "\n  image:    no image of {} has the tag {}", vm.osf, vm.di_tag);
    }
    text
}
