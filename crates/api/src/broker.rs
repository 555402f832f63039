//! The router's socket: who is it, which VMs, want this one.
//!
//! One connection for each question, as `wire::broker` has it. After `Attach` the connection stays
//! open and stands for the client: its end is the client's end.

mod attached;
mod connect;
mod conversation;
mod guest;
mod refusals;
mod stop;

use std::{sync::Arc, time::Duration};

use tokio::net::{UnixListener, UnixStream};
use tokio_util::task::TaskTracker;
use wire::broker::{Answer, Request};

use crate::{
    context::Context,
    fault::Fault,
    peer::{Peer, own_uid},
};

pub(crate) use attached::Attached;
use conversation::{Conversation, Gone};
use guest::Refused;
pub(crate) use refusals::Refusals;

/// How long the router may take to ask.
const ASK_WITHIN: Duration = Duration::from_secs(10);
/// How long to wait before accepting again after the system refused a connection.
const BREATHER: Duration = Duration::from_millis(200);

/// Serves until the api ends. Clients that are attached stay so: their router reports them again to
/// the next api.
pub(crate) async fn serve(context: Arc<Context>, listener: UnixListener) {
    let conversations = TaskTracker::new();
    conversations.spawn(attached::forget_unresumed(context.clone()));
    loop {
        let accepted = tokio::select! {
            // Ends first.
            biased;
            () = context.shutdown().cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                conversations.spawn(converse(context.clone(), stream));
            }
            Err(error) => {
                tracing::warn!(%error, "the router's socket takes no connection");
                tokio::time::sleep(BREATHER).await;
            }
        }
    }
    conversations.close();
    conversations.wait().await;
}

async fn converse(context: Arc<Context>, stream: UnixStream) {
    let peer = Peer::of(&stream);
    if !peer.may_speak_to(own_uid()) {
        tracing::warn!(peer = peer.who(), "a stranger spoke to the router's socket");
        return;
    }
    let mut conversation = Conversation::new(stream);
    let result = tokio::select! {
        biased;
        () = context.shutdown().cancelled() => return,
        result = answer(&context, &mut conversation) => result,
    };
    if let Err(gone) = result {
        tracing::debug!(%gone, "a conversation with the router ended early");
    }
}

async fn answer(context: &Arc<Context>, conversation: &mut Conversation) -> Result<(), Gone> {
    let asked = tokio::time::timeout(ASK_WITHIN, conversation.hear::<Request>());
    let request = asked.await.map_err(|_| Gone::Silent)??;
    let answer = match request {
        Request::Ping => guest::ping(context).await,
        Request::List { who } => guest::list(context, &who).await,
        Request::Stop { who, vm } => stop::stop(context, conversation, &who, vm).await?,
        Request::Connect { who, vm, parameters, resume } => {
            let wish = connect::Wish { who, vm, parameters, resume };
            match connect::connect(context, conversation, wish).await? {
                Ok(attachment) => return attachment.follow(context, conversation).await,
                Err(refused) => Err(refused),
            }
        }
        Request::Resumed { connection, established } => {
            match attached::resumed(context, &connection, established).await {
                Ok(attachment) => {
                    conversation.say(&Answer::Done { text: "noted".to_owned() }).await?;
                    return attachment.follow(context, conversation).await;
                }
                Err(refused) => Err(refused),
            }
        }
    };
    conversation.say(&answer.unwrap_or_else(Refused::into)).await
}

impl From<Fault> for Refused {
    /// What went wrong in here is in the log, and nobody else's business.
    fn from(_: Fault) -> Self {
        Self::new(503, "the administration service has trouble with its database")
    }
}

impl From<store::Error> for Refused {
    fn from(error: store::Error) -> Self {
        Fault::internal("a question of the router was not answered", &error).into()
    }
}
