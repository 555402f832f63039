//! From "connect this user to this VM" to "attach".
//!
//! ```text
//! enter -> access -> [resume: is it still ours?] -> up (start, wait) -> name the connection
//! ```
//!
//! Two at once for one VM: both want it up, one start is written, both see it running; the one that
//! names its connection last has the desktop, and the other is told to end.

use std::{sync::Arc, time::Duration};

use model::{
    Phase, Reason, Run, VmId, access,
    vm::{Power, Vm},
};
use tokio::time::{Instant, sleep_until};
use wire::{
    broker::{Answer, Credentials},
    session::Parameters,
};

use crate::{
    context::{Change, Context},
    power,
    standing::Standing,
};

use super::{
    attached::{self, Attachment},
    conversation::{Conversation, Gone},
    guest::{self, Refused},
    stop::{barred, refusal},
};

/// How often it looks without being woken, and says again what it waits for.
const TICK: Duration = Duration::from_secs(2);

/// What a client wants.
#[derive(Debug)]
pub(super) struct Wish {
    pub(super) who: Credentials,
    pub(super) vm: i64,
    pub(super) parameters: Parameters,
    pub(super) resume: Option<String>,
}

/// Where a VM is on its way up.
enum Way {
    /// Up, in this run.
    Up(Run),
    /// Not yet; this is what happens.
    Waits(String),
}

/// Brings the VM up and names the connection; the answer `Attach` is said.
pub(super) async fn connect(
    context: &Arc<Context>,
    conversation: &mut Conversation,
    wish: Wish,
) -> Result<Result<Attachment, Refused>, Gone> {
    let (mut client, vm) = match Client::enter(context, &wish).await {
        Ok(entered) => entered,
        Err(refused) => return Ok(Err(refused)),
    };
    let run = match client.up(context, conversation, &vm).await? {
        Ok(run) => run,
        Err(refused) => return Ok(Err(refused)),
    };
    // Brought to its end even if the api ends meanwhile.
    let naming = name_and_note(context.clone(), client, vm, run, wish.who.address, wish.resume);
    let named = context.work().spawn(naming).await;
    let attachment = match named.unwrap_or_else(|_| Err(Refused::new(503, "try again").after(1))) {
        Ok(attachment) => attachment,
        Err(refused) => return Ok(Err(refused)),
    };
    let attach = Answer::Attach {
        vm: wish.vm,
        run: run.0,
        connection: attachment.name().to_owned(),
        parameters: wish.parameters,
    };
    if let Err(gone) = conversation.say(&attach).await {
        attachment.end(context).await;
        return Err(gone);
    }
    Ok(Ok(attachment))
}

async fn name_and_note(
    context: Arc<Context>,
    client: Client,
    vm: Vm,
    run: Run,
    address: String,
    resume: Option<String>,
) -> Result<Attachment, Refused> {
    let user = client.user.id;
    let attachment = attached::name(&context, &vm, run, user, &address, resume.as_deref()).await?;
    context.audit_of(client.by, address, "vm connect", vm.name, Change::default()).await;
    Ok(attachment)
}

/// A user on the way to a VM.
struct Client {
    user: model::user::User,
    by: String,
    /// The run of the connection that is resumed: another run is another session.
    resumed: Option<Run>,
    /// The run this client waits for, once it is known.
    wanted: Option<Run>,
}

impl Client {
    async fn enter(context: &Context, wish: &Wish) -> Result<(Self, Vm), Refused> {
        let user = guest::enter(context, &wish.who).await?;
        let vm = context.store().vm(VmId(wish.vm)).await?;
        let vm = access::connect(user.id, vm.as_ref()).cloned().map_err(barred)?;
        let resumed = match &wish.resume {
            Some(name) => Some(attached::may_resume(context, vm.id, name).await?),
            None => None,
        };
        let by = format!("user {}", user.login);
        Ok((Self { user, by, resumed, wanted: resumed }, vm))
    }

    /// Waits until the VM is up, starting it where needed and telling what happens.
    async fn up(
        &mut self,
        context: &Context,
        conversation: &mut Conversation,
        vm: &Vm,
    ) -> Result<Result<Run, Refused>, Gone> {
        let patience = match context.settings().await {
            Ok(settings) => settings.number("vm.start.timeout").unwrap_or(270),
            Err(fault) => return Ok(Err(fault.into())),
        };
        let deadline = Instant::now() + Duration::from_secs(patience.unsigned_abs());
        let mut wake = context.store().wake();
        let mut said: Option<(String, Instant)> = None;
        loop {
            let now = Instant::now();
            match self.look(context, vm).await {
                Err(refused) => return Ok(Err(refused)),
                Ok(Way::Up(run)) => return Ok(Ok(run)),
                Ok(Way::Waits(_)) if now >= deadline => {
                    let text = "it takes too long to start";
                    return Ok(Err(Refused::new(503, text).after(60)));
                }
                Ok(Way::Waits(text)) => {
                    let fresh = said
                        .as_ref()
                        .is_none_or(|(before, at)| *before != text || now - *at >= TICK);
                    if fresh {
                        conversation.say(&Answer::Progress { text: text.clone() }).await?;
                        said = Some((text, now));
                    }
                }
            }
            tokio::select! {
                biased;
                // A client that left needs nothing more; the start it asked for goes on.
                gone = conversation.hung_up() => return Err(gone),
                () = wake.changed() => {}
                () = sleep_until(deadline.min(now + TICK)) => {}
            }
        }
    }

    /// Looks where the VM is, and wants it up where nobody does.
    async fn look(&mut self, context: &Context, vm: &Vm) -> Result<Way, Refused> {
        let standing = Standing::read(context.store(), vm.id).await?;
        let standing = standing.ok_or_else(|| barred(access::Barred::Unknown))?;
        let (phase, reason) = standing.phase(context.now());
        let run = standing.desired.run;
        if self.resumed.is_some_and(|resumed| resumed != run) {
            return Err(Refused::new(409, "The desktop was restarted since"));
        }
        if phase == Phase::Running {
            return Ok(Way::Up(run));
        }
        let why =
            || reason.as_ref().map_or_else(|| format!("it is {}", phase.as_str()), Reason::text);
        match phase {
            Phase::Lost => return Err(Refused::new(503, why()).after(15)),
            Phase::Starting => self.wanted = self.wanted.or(Some(run)),
            // What was resumed is over: a client that only lost its connection starts nothing.
            Phase::Stopped | Phase::Stopping | Phase::Failed if self.resumed.is_some() => {
                return Err(Refused::new(409, "The desktop was shut down"));
            }
            Phase::Stopped | Phase::Stopping | Phase::Failed if self.waits_for(run) => {
                let stopped = standing.desired.power == Power::Off;
                let text = if stopped { "it was stopped meanwhile".to_owned() } else { why() };
                return Err(Refused::new(503, text).after(30));
            }
            Phase::Stopped | Phase::Stopping | Phase::Failed => {
                let wanted = power::start(context, vm, &self.by, None).await.map_err(refusal)?;
                self.wanted = Some(wanted.desired.run);
                return Ok(Way::Waits("Starting virtual machine".to_owned()));
            }
            Phase::Running => {}
        }
        let text = standing.doing().unwrap_or_else(|| "Starting virtual machine".to_owned());
        // A try that failed is tried again: the person hears why it takes longer.
        Ok(Way::Waits(match &reason {
            Some(reason) => format!("{text} (again: {})", reason.text()),
            None => text,
        }))
    }

    /// Whether this client has waited for this run or a later one.
    fn waits_for(&self, run: Run) -> bool {
        self.wanted.is_some_and(|wanted| wanted <= run)
    }
}
