//! `qa vm start` and `qa vm stop`.

use std::time::{Duration, Instant};

use http::Method;
use wire::rest::Vm;

use crate::{
    client::{Client, with_query},
    grammar::Invocation,
    selection::{self, Tally, count},
    terminal::Terminal,
};

/// How long `--wait` waits for one VM: a first start may unpack a large image.
const PATIENCE: Duration = Duration::from_mins(30);
/// How long the api is asked to hold its answer back.
const POLL_SECONDS: &str = "20";

pub(super) async fn run(
    it: &Invocation,
    client: &Client,
    terminal: &Terminal,
) -> anyhow::Result<()> {
    let verb = it.verb.name;
    let (goal, done) =
        if verb == "start" { ("running", "Started") } else { ("stopped", "Stopped") };
    let vms: Vec<Vm> = selection::to_change(it, client, "vms", (verb, "virtual machines")).await?;
    let mut tally = Tally::default();
    let mut wanted: Vec<Vm> = Vec::new();
    for vm in &vms {
        let result = client.ask(Method::POST, &format!("vms/{}/{verb}", vm.id)).await;
        wanted.extend(tally.add(&vm.name, result));
    }
    if it.wait {
        tally = Tally::after(tally);
        for vm in &mut wanted {
            let spinner = terminal.spinner(&format!("{}: {}", vm.name, vm.state));
            let result = wait(client, vm, goal, &spinner).await;
            spinner.finish_and_clear();
            *vm = tally.add(&vm.name, result).unwrap_or_else(|| vm.clone());
        }
    }
    terminal.done(&wanted, &format!("{done} {}.", count(tally.done, "VM")))?;
    tally.finish()
}

/// Waits until the VM is in the state, or cannot get there.
async fn wait(
    client: &Client,
    vm: &Vm,
    goal: &str,
    spinner: &indicatif::ProgressBar,
) -> anyhow::Result<Vm> {
    let begin = Instant::now();
    let query = with_query(&format!("vms/{}", vm.id), &[("wait", goal), ("timeout", POLL_SECONDS)]);
    loop {
        let now: Vm = client.get(&query).await?;
        if now.state == goal {
            return Ok(now);
        }
        let hopeless = match now.state.as_str() {
            "failed" | "lost" => true,
            // It came up and shut itself down, or somebody else stopped it.
            "stopped" | "stopping" => goal == "running",
            _ => now.run != vm.run,
        };
        if hopeless || begin.elapsed() > PATIENCE {
            let why = now.reason.map_or_else(
                || format!("it is {}", now.state),
                |reason| match reason.remedy.as_str() {
                    "" => reason.text,
                    remedy => format!("{}\n    {remedy}", reason.text),
                },
            );
            anyhow::bail!(why);
        }
        spinner.set_message(format!("{}: {}", now.name, now.state));
    }
}
