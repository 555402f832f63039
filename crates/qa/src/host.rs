//! `qa host …`

use http::Method;
use wire::rest::{EditHost, Host, NewHost};

use crate::{
    block,
    client::Client,
    grammar::Invocation,
    selection,
    table::{Column, number, or_dash, text, yes_no},
    terminal::Terminal,
};

const COLUMNS: &[Column] = &[
    number("Id"),
    text("Name"),
    text("Address"),
    text("HKD"),
    number("Usable RAM"),
    number("Usable CPU"),
    number("VMs assigned"),
    text("Blocked"),
    text("State"),
];

const KIND: block::Kind<Host> =
    block::Kind { nouns: "hosts", noun: "host", of: |host| (host.id, &host.name) };

pub(crate) async fn run(
    it: &Invocation,
    client: &Client,
    terminal: &Terminal,
) -> anyhow::Result<()> {
    match it.verb.name {
        "add" => add(it, client, terminal).await,
        "block" | "unblock" => {
            let edit = |blocked| EditHost { blocked };
            block::run(it, client, terminal, &KIND, edit).await
        }
        _ => list(it, client, terminal).await,
    }
}

async fn add(it: &Invocation, client: &Client, terminal: &Terminal) -> anyhow::Result<()> {
    let new = NewHost {
        name: it.required("name").to_owned(),
        address: it.required("address").to_owned(),
    };
    let host: Host = client.send(Method::POST, "hosts", &new).await?;
    terminal.done(&host, &format!("Host added with id {}", host.id))
}

async fn list(it: &Invocation, client: &Client, terminal: &Terminal) -> anyhow::Result<()> {
    let hosts: Vec<Host> = selection::list(it, client, "hosts").await?;
    let now = jiff::Timestamp::now().as_millisecond();
    terminal.list(&hosts, COLUMNS, |host| row(host, now), "There are no such hosts.")?;
    if !terminal.is_json() {
        for host in &hosts {
            for problem in &host.problems {
                terminal.say(&format!("{}: {problem}", host.name));
            }
        }
    }
    Ok(())
}

fn row(host: &Host, now: i64) -> Vec<String> {
    vec![
        host.id.to_string(),
        host.name.clone(),
        host.address.clone(),
        or_dash(host.heard_at.map(|at| clock(now - at))),
        or_dash(host.usable_ram.map(|ram| format!("{ram:.0}"))),
        or_dash(host.usable_cpu.map(|cpu| format!("{cpu:.0}"))),
        host.vms.to_string(),
        yes_no(host.blocked),
        or_dash(host.state.clone()),
    ]
}

/// `HH:MM:SS` of a time in milliseconds.
fn clock(millis: i64) -> String {
    let seconds = millis.max(0) / 1000;
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}
