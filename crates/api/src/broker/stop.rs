//! A user stops a VM.

use std::{sync::Arc, time::Duration};

use model::{Phase, VmId, access, user::User, vm::Vm};
use tokio::time::{Instant, sleep_until};
use wire::broker::{Answer, Credentials};

use crate::{
    context::{Change, Context},
    power::{self, Cannot},
    standing::Standing,
};

use super::{
    conversation::{Conversation, Gone},
    guest::{self, Refused},
};

/// How often it looks without being woken, and says again what it waits for.
const TICK: Duration = Duration::from_secs(2);
/// What cleaning up may take after the VM's own time to shut down.
const CLEAN_UP: Duration = Duration::from_secs(30);

/// Stops the VM, or the user's only one, and waits until it is down.
pub(super) async fn stop(
    context: &Arc<Context>,
    conversation: &mut Conversation,
    who: &Credentials,
    vm: Option<i64>,
) -> Result<Result<Answer, Refused>, Gone> {
    let (user, vm) = match allowed(context, who, vm).await {
        Ok(allowed) => allowed,
        Err(refused) => return Ok(Err(refused)),
    };
    conversation.say(&Answer::Progress { text: "Stopping virtual machine".to_owned() }).await?;
    let id = vm.id;
    // Brought to its end even if the api ends meanwhile.
    let stopping = stop_and_note(context.clone(), user, vm, who.address.clone());
    if let Err(cannot) = context.work().spawn(stopping).await.unwrap_or(Err(Cannot::Contended)) {
        return Ok(Err(refusal(cannot)));
    }
    tokio::select! {
        biased;
        gone = conversation.hung_up() => Err(gone),
        result = down(context, id) => Ok(result),
    }
}

async fn stop_and_note(
    context: Arc<Context>,
    user: User,
    vm: Vm,
    from: String,
) -> Result<(), Cannot> {
    let by = format!("user {}", user.login);
    if power::stop(&context, vm.id, &by, None).await?.written {
        context.audit_of(by, from, "vm stop", vm.name, Change::default()).await;
    }
    Ok(())
}

async fn allowed(
    context: &Context,
    who: &Credentials,
    vm: Option<i64>,
) -> Result<(User, Vm), Refused> {
    let user = guest::enter(context, who).await?;
    let store = context.store();
    let Some(id) = vm else {
        // One client of the family never says which.
        let mut own = store.vms_of_user(user.id).await?;
        return match (own.pop(), own.is_empty()) {
            (Some(only), true) => Ok((user, only)),
            _ => Err(Refused::new(422, "parameter id is missing")),
        };
    };
    let vm = store.vm(VmId(id)).await?;
    access::stop(user.id, vm.as_ref()).cloned().map(|vm| (user, vm)).map_err(barred)
}

/// Why a user may not, with the protocol's status.
pub(super) fn barred(barred: access::Barred) -> Refused {
    let status = match barred {
        access::Barred::Unknown => 404,
        access::Barred::NotYours | access::Barred::Blocked => 403,
    };
    Refused::new(status, barred.to_string())
}

/// Why a VM cannot be started or stopped, with the protocol's status.
pub(super) fn refusal(cannot: Cannot) -> Refused {
    match cannot {
        Cannot::Gone => barred(access::Barred::Unknown),
        Cannot::Because(reason) => Refused::new(503, reason.text()).after(30),
        Cannot::Changed | Cannot::Contended => {
            Refused::new(503, "others change it all the time").after(5)
        }
        Cannot::Fault(fault) => fault.into(),
    }
}

async fn down(context: &Context, vm: VmId) -> Result<Answer, Refused> {
    let seconds = context.settings().await?.number("vm.stop.timeout").unwrap_or(30);
    let patience = Duration::from_secs(seconds.unsigned_abs()) + CLEAN_UP;
    let deadline = Instant::now() + patience;
    let mut wake = context.store().wake();
    loop {
        let standing = Standing::read(context.store(), vm).await?;
        let standing = standing.ok_or_else(|| barred(access::Barred::Unknown))?;
        match standing.phase(context.now()).0 {
            Phase::Stopped => return Ok(Answer::Done { text: "Machine stopped".to_owned() }),
            Phase::Lost => {
                let text = "The requested virtual machine is in an unstoppable state (zombie)";
                return Err(Refused::new(503, text));
            }
            // Somebody wants it again.
            Phase::Starting | Phase::Running => {
                return Ok(Answer::Done {
                    text: "Machine was stopped and started again".to_owned(),
                });
            }
            Phase::Stopping | Phase::Failed => {}
        }
        if Instant::now() >= deadline {
            return Err(Refused::new(408, "The virtual machine takes too long to stop"));
        }
        tokio::select! {
            () = wake.changed() => {}
            () = sleep_until(deadline.min(Instant::now() + TICK)) => {}
        }
    }
}
