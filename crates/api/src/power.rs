//! Wants VMs to run or to stop: looks, decides by the rules in `model`, and writes by
//! compare-and-set. Who loses to another looks again.

use std::collections::HashMap;

use http::StatusCode;
use model::{
    HostId, Phase, Reason, Revision, VmId,
    place::{self, Candidate},
    reason::Code,
    vm::{Desired, Power, Seen, Vm},
    want::{self, Start},
};

use crate::{context::Context, fault::Fault, standing::Standing};

/// How often it looks again before it gives up: each loss means that another won.
const ROUNDS: u32 = 50;

/// Why a VM cannot be started or stopped.
#[derive(Debug)]
pub(crate) enum Cannot {
    /// It is gone.
    Gone,
    /// A rule says so.
    Because(Reason),
    /// Something else was wanted of it since it was looked at.
    Changed,
    /// Others changed it all the time.
    Contended,
    /// The database or the settings.
    Fault(Fault),
}

impl From<store::Error> for Cannot {
    fn from(error: store::Error) -> Self {
        Self::Fault(error.into())
    }
}

impl From<Cannot> for Fault {
    fn from(cannot: Cannot) -> Self {
        match cannot {
            Cannot::Gone => {
                Self::new(StatusCode::NOT_FOUND, "not-found", "the virtual machine was deleted")
            }
            Cannot::Because(reason) => Self::reason(StatusCode::CONFLICT, &reason),
            Cannot::Changed => Self::new(
                StatusCode::PRECONDITION_FAILED,
                "changed",
                "something else was wanted of the virtual machine meanwhile",
            ),
            Cannot::Contended => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "contended",
                "others change this virtual machine all the time",
            )
            .remedy("try again"),
            Cannot::Fault(fault) => fault,
        }
    }
}

/// What is wanted of a VM now.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) desired: Desired,
    /// Whether it had to be written: it may have been so before.
    pub(crate) written: bool,
}

/// Wants the VM to run. What runs or is on its way stays as it is: then nothing is written. With an
/// `expected` revision only if nothing else was wanted since that one.
pub(crate) async fn start(
    context: &Context,
    vm: &Vm,
    by: &str,
    expected: Option<Revision>,
) -> Result<Wanted, Cannot> {
    for _ in 0..ROUNDS {
        let standing = read(context, vm.id, expected).await?;
        let now = context.now();
        let (phase, reason) = standing.phase(now);
        if !want::needs_start(phase) {
            return match (phase, reason) {
                (Phase::Lost, Some(reason)) => Err(Cannot::Because(reason)),
                _ => Ok(Wanted { desired: standing.desired, written: false }),
            };
        }
        let Some(di) = context.store().resolve_tag(vm.osf, &vm.tag).await? else {
            let osf = context.store().osf(vm.osf).await?.map_or_else(String::new, |osf| osf.name);
            let reason = Reason::new(Code::NoImage, now).with("osf", osf).with("tag", &vm.tag);
            return Err(Cannot::Because(reason));
        };
        let Some(host) = choose_host(context, &standing).await? else {
            return Err(Cannot::Because(Reason::new(Code::NoHost, now)));
        };
        let start = Start { di: di.id, host, by: by.to_owned(), at: now };
        let next = want::start(&standing.desired, start);
        if context.store().set_desired(&next, standing.desired.revision).await? {
            tracing::info!(vm = vm.id.0, run = next.run.0, host = host.0, by, "start wanted");
            return Ok(Wanted { desired: next, written: true });
        }
    }
    Err(Cannot::Contended)
}

/// Wants the VM to stop, as [`start`] wants it to run.
pub(crate) async fn stop(
    context: &Context,
    vm: VmId,
    by: &str,
    expected: Option<Revision>,
) -> Result<Wanted, Cannot> {
    for _ in 0..ROUNDS {
        let desired = read(context, vm, expected).await?.desired;
        let Some(next) = want::stop(&desired, by.to_owned(), context.now()) else {
            return Ok(Wanted { desired, written: false });
        };
        if context.store().set_desired(&next, desired.revision).await? {
            tracing::info!(vm = vm.0, run = next.run.0, by, "stop wanted");
            return Ok(Wanted { desired: next, written: true });
        }
    }
    Err(Cannot::Contended)
}

async fn read(context: &Context, vm: VmId, expected: Option<Revision>) -> Result<Standing, Cannot> {
    let standing = Standing::read(context.store(), vm).await?.ok_or(Cannot::Gone)?;
    if expected.is_some_and(|expected| expected != standing.desired.revision) {
        return Err(Cannot::Changed);
    }
    Ok(standing)
}

async fn choose_host(
    context: &Context,
    standing: &Standing,
) -> Result<Option<HostId>, store::Error> {
    let last = standing.desired.host;
    // While anything of the last run is left on its host, a run elsewhere would be a second copy.
    if standing.observed.as_ref().is_some_and(|row| row.seen != Seen::Nothing) {
        return Ok(last);
    }
    let store = context.store();
    let memory: HashMap<_, _> = store
        .osfs(crate::context::TENANT)
        .await?
        .into_iter()
        .map(|osf| (osf.id, osf.memory))
        .collect();
    let needs: HashMap<_, _> = store
        .vms(crate::context::TENANT)
        .await?
        .into_iter()
        .map(|vm| (vm.id, memory.get(&vm.osf).copied().unwrap_or_default()))
        .collect();
    let wanted = store.all_desired().await?;
    let statuses = store.host_statuses().await?;
    let now = context.now();
    let candidates: Vec<Candidate> = store
        .hosts()
        .await?
        .into_iter()
        .map(|host| {
            let status = statuses.iter().find(|status| status.host == host.id);
            let promised = wanted
                .iter()
                .filter(|row| row.power == Power::On && row.host == Some(host.id))
                .filter_map(|row| needs.get(&row.vm))
                .sum::<i64>();
            Candidate {
                host: host.id,
                alive: status.is_some_and(|status| status.alive(now)),
                blocked: host.blocked,
                usable_ram: status.map_or(0.0, |status| status.usable_ram),
                #[expect(clippy::cast_precision_loss, reason = "MiB of a host fit exactly")]
                promised_ram: promised as f64,
            }
        })
        .collect();
    Ok(place::place(&candidates, last))
}
