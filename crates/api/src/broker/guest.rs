//! Who asks, and whether this host serves anybody now.

use std::time::Duration;

use login::Denied;
use model::user::{Login, User};
use wire::broker::{Answer, Credentials};

use crate::{context::Context, standing::Standing, vms};

/// No, with the protocol's status and a sentence for the person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    status: u16,
    text: String,
    retry_after: Option<u32>,
}

impl Refused {
    pub(super) fn new(status: u16, text: impl Into<String>) -> Self {
        Self { status, text: text.into(), retry_after: None }
    }

    pub(super) fn after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }
}

impl From<Refused> for Answer {
    fn from(refused: Refused) -> Self {
        let Refused { status, text, retry_after } = refused;
        Self::Refused { status, text, retry_after }
    }
}

/// Can this host take users?
pub(super) async fn ping(context: &Context) -> Result<Answer, Refused> {
    serves(context).await?;
    Ok(Answer::Done { text: "I am alive!".to_owned() })
}

/// The VMs of the user.
pub(super) async fn list(context: &Context, who: &Credentials) -> Result<Answer, Refused> {
    let user = enter(context, who).await?;
    let store = context.store();
    let (hosts, statuses) = (store.hosts().await?, store.host_statuses().await?);
    let now = context.now();
    let mut lines = Vec::new();
    for vm in store.vms_of_user(user.id).await? {
        // One that was deleted since is in no list.
        let Some(desired) = store.desired(vm.id).await? else { continue };
        let observed = store.observed(vm.id).await?;
        let standing = Standing::new(desired, observed, &hosts, &statuses);
        lines.push(vms::line(&vm, standing.phase(now).0));
    }
    Ok(Answer::Vms { vms: lines })
}

/// The user, if the host is in the installation, the credentials are good and the host serves:
/// checked in the order in which the family's clients know the answers.
pub(super) async fn enter(context: &Context, who: &Credentials) -> Result<User, Refused> {
    if context.store().host_by_name(context.node()).await?.is_none() {
        return Err(unregistered());
    }
    let credentials = login::Credentials {
        login: who.login.clone(),
        password: who.password.clone(),
        address: who.address.clone(),
    };
    let user = context.login().check(context.now(), credentials).await.map_err(|denied| {
        note(context, &denied, who);
        refusal(denied)
    })?;
    serves(context).await?;
    Ok(user)
}

/// Whether this host serves anybody: it is registered, not blocked, and its hkd runs.
async fn serves(context: &Context) -> Result<(), Refused> {
    let store = context.store();
    let host = store.host_by_name(context.node()).await?.ok_or_else(unregistered)?;
    if host.blocked {
        return Err(Refused::new(503, "Server is blocked"));
    }
    let now = context.now();
    let statuses = store.host_statuses().await?;
    let status = statuses.into_iter().find(|status| status.host == host.id);
    match status {
        Some(status) if status.alive(now) => Ok(()),
        Some(status) if status.state != "stopping" => {
            Err(Refused::new(503, "Server is lost").after(15))
        }
        Some(_) | None => Err(Refused::new(503, "Server is stopped").after(15)),
    }
}

fn unregistered() -> Refused {
    Refused::new(503, "Host is not registered in the database")
}

/// Leaves a trace of a refused login. What cannot be a login may be a password in the wrong field.
fn note(context: &Context, denied: &Denied, who: &Credentials) {
    if let Denied::Unavailable(_) = denied {
        return;
    }
    let name = who.login.split(['@', '#']).next().unwrap_or_default().parse::<Login>();
    let login = name.as_ref().map_or("(none)", Login::as_str);
    if context.refusals().is_news(context.now(), login, &who.address) {
        tracing::info!(login, address = who.address, reason = %denied, "login refused");
    }
}

/// As the protocol tells it: at least one.
fn seconds(wait: Duration) -> u32 {
    u32::try_from(wait.as_secs()).unwrap_or(u32::MAX).max(1)
}

/// Why someone is not let in, with the protocol's status.
fn refusal(denied: Denied) -> Refused {
    match denied {
        Denied::BadCredentials => Refused::new(401, denied.to_string()),
        Denied::Throttled { retry_after } => {
            Refused::new(429, denied.to_string()).after(seconds(retry_after))
        }
        Denied::Busy { retry_after } => {
            Refused::new(503, denied.to_string()).after(seconds(retry_after))
        }
        Denied::Unavailable(error) => error.into(),
    }
}
