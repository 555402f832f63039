//! `qa vm …`

mod power;
mod why;

use http::Method;
use wire::rest::{DeletedVm, EditVm, NewVm, Vm};

use crate::{
    client::Client,
    grammar::{Invocation, Misuse},
    selection::{self, Tally, count},
    table::{Column, moment, number, or_dash, text, yes_no},
    terminal::Terminal,
};

const COLUMNS: &[Column] = &[
    number("Id"),
    text("Name"),
    text("User"),
    text("RealUser"),
    text("Ip"),
    text("OSF"),
    text("DI_Tag"),
    text("DI"),
    text("Running DI"),
    text("Host"),
    text("State"),
    text("L7R"),
    text("UserState"),
    text("Blocked"),
    text("Expire soft"),
    text("Expire hard"),
];

pub(crate) async fn run(
    it: &Invocation,
    client: &Client,
    terminal: &Terminal,
) -> anyhow::Result<()> {
    match it.verb.name {
        "add" => add(it, client, terminal).await,
        "list" => list(it, client, terminal).await,
        "start" | "stop" => power::run(it, client, terminal).await,
        "edit" => edit(it, client, terminal).await,
        "why" => why::run(it, client, terminal).await,
        _ => del(it, client, terminal).await,
    }
}

async fn add(it: &Invocation, client: &Client, terminal: &Terminal) -> anyhow::Result<()> {
    let given = |key: &str| it.get(key).filter(|value| !value.is_empty()).map(str::to_owned);
    let new = NewVm {
        name: it.required("name").to_owned(),
        user: given("user"),
        user_id: it.id("user_id")?,
        osf: given("osf"),
        osf_id: it.id("osf_id")?,
        ip: given("ip"),
        di_tag: given("di_tag"),
    };
    let vm: Vm = client.send(Method::POST, "vms", &new).await?;
    terminal.done(&vm, &format!("VM added with id {}", vm.id))?;
    if vm.di.is_none() {
        terminal.say(&format!(
            "Warning: no image of {} has the tag {} yet: it cannot start",
            vm.osf, vm.di_tag
        ));
    }
    Ok(())
}

async fn list(it: &Invocation, client: &Client, terminal: &Terminal) -> anyhow::Result<()> {
    let vms: Vec<Vm> = selection::list(it, client, "vms").await?;
    terminal.list(&vms, COLUMNS, row, "There are no such virtual machines.")?;
    if !terminal.is_json() {
        for vm in &vms {
            if let Some(reason) = &vm.reason {
                terminal.say(&format!("{}: {}", vm.name, reason.text));
            }
        }
    }
    Ok(())
}

fn row(vm: &Vm) -> Vec<String> {
    let connected = vm.client.is_some();
    vec![
        vm.id.to_string(),
        vm.name.clone(),
        vm.user.clone(),
        or_dash(connected.then_some(&vm.user)),
        vm.ip.clone(),
        vm.osf.clone(),
        vm.di_tag.clone(),
        or_dash(vm.di.as_ref()),
        or_dash(vm.running_di.as_ref()),
        or_dash(vm.host.as_ref()),
        vm.state.clone(),
        // A client is attached through the router of the VM's own host.
        or_dash(vm.host.as_ref().filter(|_| connected)),
        if connected { "connected" } else { "disconnected" }.to_owned(),
        yes_no(vm.blocked),
        moment(vm.expire_soft),
        moment(vm.expire_hard),
    ]
}

async fn edit(it: &Invocation, client: &Client, terminal: &Terminal) -> anyhow::Result<()> {
    let blocked = match it.get("blocked") {
        None => None,
        Some("1" | "yes" | "true") => Some(true),
        Some("0" | "no" | "false") => Some(false),
        Some(other) => return Err(Misuse(format!("blocked={other} is neither 0 nor 1")).into()),
    };
    let edit = EditVm {
        name: it.get("name").map(str::to_owned),
        di_tag: it.get("di_tag").map(str::to_owned),
        ip: it.get("ip").map(str::to_owned),
        blocked,
    };
    let vms: Vec<Vm> =
        selection::to_change(it, client, "vms", ("edit", "virtual machines")).await?;
    let mut tally = Tally::default();
    let mut edited: Vec<Vm> = Vec::new();
    for vm in &vms {
        let result = client.send(Method::PATCH, &format!("vms/{}", vm.id), &edit).await;
        edited.extend(tally.add(&vm.name, result));
    }
    terminal.done(&edited, &format!("Edited {}.", count(tally.done, "VM")))?;
    tally.finish()
}

async fn del(it: &Invocation, client: &Client, terminal: &Terminal) -> anyhow::Result<()> {
    let vms: Vec<Vm> =
        selection::to_change(it, client, "vms", ("delete", "virtual machines")).await?;
    let mut tally = Tally::default();
    let mut deleted: Vec<DeletedVm> = Vec::new();
    for vm in &vms {
        let result = client.ask(Method::DELETE, &format!("vms/{}", vm.id)).await;
        deleted.extend(tally.add(&vm.name, result));
    }
    terminal.done(&deleted, &format!("Deleted {}.", count(tally.done, "VM")))?;
    for vm in &deleted {
        if let Some(home) = &vm.home {
            terminal.say(&format!("The home of {} is kept at {home}.", vm.name));
        }
    }
    tally.finish()
}
