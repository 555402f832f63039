//! Which clients are attached: rows in the database, and here the way to tell their router to end.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use model::{ConnectionId, Run, UserId, VmId, vm::Vm};
use rand::distr::{Alphanumeric, SampleString as _};
use store::NewConnection;
use tokio::sync::{Mutex as AsyncMutex, oneshot};
use wire::broker::{Order, Report};

use crate::context::Context;

use super::{
    conversation::{Conversation, Gone},
    guest::Refused,
};

/// How long a connection's name is: clients take it as their slave key.
const NAME_LENGTH: usize = 64;
/// How long routers have to report their connections to an api that has just begun.
const RESUME_WITHIN: Duration = Duration::from_mins(2);
/// How long a router may take to end a connection it was told to end.
const END_WITHIN: Duration = Duration::from_secs(10);
/// What the one who is pushed out is told, and who comes back too late.
const TAKEN: &str = "Another client took over this desktop";

/// The clients attached through this api, by VM.
#[derive(Debug, Default)]
pub(crate) struct Attached {
    clients: Mutex<HashMap<VmId, Held>>,
    /// Numbers the conversations: one connection may be reported twice.
    turn: AtomicU64,
    /// Held from the look at the newest connection to the naming of a newer one.
    naming: AsyncMutex<()>,
}

#[derive(Debug)]
struct Held {
    id: ConnectionId,
    turn: u64,
    /// Tells the conversation to end the connection.
    end: oneshot::Sender<String>,
}

impl Attached {
    fn clients(&self) -> MutexGuard<'_, HashMap<VmId, Held>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a connection in; an older one of the VM is told to end.
    fn take(&self, vm: VmId, id: ConnectionId, name: String) -> Attachment {
        let (end, ended) = oneshot::channel();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        if let Some(older) = self.clients().insert(vm, Held { id, turn, end }) {
            // It may have ended by itself.
            let _ = older.end.send(TAKEN.to_owned());
        }
        Attachment { vm, id, turn, name, ended }
    }

    /// Whether this was the one that counts.
    fn leave(&self, vm: VmId, turn: u64) -> bool {
        let mut clients = self.clients();
        let counts = clients.get(&vm).is_some_and(|held| held.turn == turn);
        if counts {
            clients.remove(&vm);
        }
        counts
    }

    fn holds(&self, vm: VmId, id: ConnectionId) -> bool {
        self.clients().get(&vm).is_some_and(|held| held.id == id)
    }
}

/// A connection, and the order to end it when it comes.
#[derive(Debug)]
pub(super) struct Attachment {
    vm: VmId,
    id: ConnectionId,
    turn: u64,
    name: String,
    ended: oneshot::Receiver<String>,
}

impl Attachment {
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Listens to the router until the client is gone, and tells it to end when another came.
    pub(super) async fn follow(
        mut self,
        context: &Context,
        conversation: &mut Conversation,
    ) -> Result<(), Gone> {
        let result = self.listen(context, conversation).await;
        self.end(context).await;
        result
    }

    async fn listen(
        &mut self,
        context: &Context,
        conversation: &mut Conversation,
    ) -> Result<(), Gone> {
        loop {
            let report = tokio::select! {
                biased;
                // The newest wins, whatever the older one has to report.
                Ok(text) = &mut self.ended => {
                    conversation.say(&Order::End { text }).await?;
                    let last_words = tokio::time::timeout(END_WITHIN, conversation.hung_up());
                    return last_words.await.map(drop).map_err(|_| Gone::Silent);
                }
                report = conversation.hear::<Report>() => report,
            };
            match report {
                Ok(Report::Established) => {
                    tracing::info!(vm = self.vm.0, connection = self.id.0, "client attached");
                    establish(context, self.id).await;
                }
                Ok(Report::Failed { text }) => {
                    tracing::info!(
                        vm = self.vm.0,
                        connection = self.id.0,
                        text,
                        "client not attached"
                    );
                    return Ok(());
                }
                Ok(Report::Ended) | Err(Gone::HungUp) => {
                    tracing::info!(vm = self.vm.0, connection = self.id.0, "client left");
                    return Ok(());
                }
                Err(gone) => return Err(gone),
            }
        }
    }

    /// Notes that it is over.
    pub(super) async fn end(self, context: &Context) {
        // The row of one that was pushed out ended with the coming of the newer.
        if !context.attached().leave(self.vm, self.turn) {
            return;
        }
        if let Err(error) = context.store().end_connection(self.id).await {
            tracing::error!(%error, connection = self.id.0, "the end of a connection is not noted");
        }
    }
}

/// Names a new connection of the VM: from now on it is the one that counts. One that is resumed must
/// still be the newest.
pub(super) async fn name(
    context: &Context,
    vm: &Vm,
    run: Run,
    user: UserId,
    address: &str,
    resume: Option<&str>,
) -> Result<Attachment, Refused> {
    let name = Alphanumeric.sample_string(&mut rand::rng(), NAME_LENGTH);
    let attached = context.attached();
    let naming = attached.naming.lock().await;
    if let Some(resume) = resume {
        may_resume(context, vm.id, resume).await?;
    }
    let id = context
        .store()
        .add_connection(NewConnection {
            vm: vm.id,
            run,
            name: &name,
            resumes: resume,
            incarnation: context.node(),
            client: address,
            user,
            since: context.now(),
        })
        .await?;
    let attachment = attached.take(vm.id, id, name);
    drop(naming);
    Ok(attachment)
}

/// The run of the connection that a client wants to go on from: only the newest of its VM. A client
/// that was given a new name, and lost its connection before it heard of it, comes back by the old one.
pub(super) async fn may_resume(context: &Context, vm: VmId, name: &str) -> Result<Run, Refused> {
    match context.store().newest_connection(vm).await? {
        Some(newest) if newest.goes_on_from(name) => Ok(newest.run),
        Some(_) | None => Err(Refused::new(409, TAKEN)),
    }
}

/// A router reports a connection that outlived an api, or whose earlier report it gave up: the end of
/// that one was not the client's.
pub(super) async fn resumed(
    context: &Context,
    name: &str,
    established: bool,
) -> Result<Attachment, Refused> {
    let naming = context.attached().naming.lock().await;
    let resumed = context.store().resume_connection(name).await?;
    let connection = resumed.ok_or_else(|| Refused::new(409, TAKEN))?;
    let attachment = context.attached().take(connection.vm, connection.id, name.to_owned());
    drop(naming);
    if established {
        establish(context, connection.id).await;
    }
    Ok(attachment)
}

/// The client has used its name. That this is not noted keeps nobody from their desktop.
async fn establish(context: &Context, id: ConnectionId) {
    if let Err(error) = context.store().establish_connection(id).await {
        tracing::error!(%error, connection = id.0, "the beginning of a connection is not noted");
    }
}

/// Ends the connections of this host that an earlier api left behind and no router reported.
pub(super) async fn forget_unresumed(context: Arc<Context>) {
    let store = context.store();
    let before = match store.connections().await {
        Ok(before) => before,
        Err(error) => {
            tracing::error!(%error, "the connections of before cannot be read");
            return;
        }
    };
    tokio::select! {
        () = context.shutdown().cancelled() => return,
        () = tokio::time::sleep(RESUME_WITHIN) => {}
    }
    for connection in before.iter().filter(|one| one.incarnation == context.node()) {
        if context.attached().holds(connection.vm, connection.id) {
            continue;
        }
        if let Err(error) = store.end_connection(connection.id).await {
            tracing::error!(%error, connection = connection.id.0, "the end of a connection is not noted");
        }
    }
}
