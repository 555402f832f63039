//! What every handler has at hand.

use login::Login;
use model::{
    TenantId, Timestamp,
    settings::{self, BadSetting, Scope, Settings},
};
use store::{AuditEntry, Store};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    broker::{Attached, Refusals},
    fault::Fault,
    peer::Peer,
};

/// The one tenant there is.
pub(crate) const TENANT: TenantId = TenantId::DEFAULT;

/// The store, the settings and the clock.
#[derive(Debug)]
pub(crate) struct Context {
    store: Store,
    login: Login,
    file: Settings,
    node: String,
    attached: Attached,
    refusals: Refusals,
    work: TaskTracker,
    clock: fn() -> Timestamp,
    shutdown: CancellationToken,
}

impl Context {
    pub(crate) fn new(
        store: Store,
        file: Settings,
        shutdown: CancellationToken,
    ) -> Result<Self, BadSetting> {
        let mut node = file.get("nodename")?;
        if node.is_empty() {
            node = rustix::system::uname().nodename().to_string_lossy().into_owned();
        }
        let login = Login::new(store.clone());
        let clock = || Timestamp(jiff::Timestamp::now().as_millisecond());
        Ok(Self {
            store,
            login,
            file,
            node,
            attached: Attached::default(),
            refusals: Refusals::default(),
            work: TaskTracker::new(),
            clock,
            shutdown,
        })
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    pub(crate) fn login(&self) -> &Login {
        &self.login
    }

    /// The clients attached through this api.
    pub(crate) fn attached(&self) -> &Attached {
        &self.attached
    }

    /// The logins that were refused a moment ago.
    pub(crate) fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    /// Work that is brought to its end even if the one who asked for it goes away, and that the api
    /// waits for before it ends.
    pub(crate) fn work(&self) -> &TaskTracker {
        &self.work
    }

    /// Cancelled when the api is to end.
    pub(crate) fn shutdown(&self) -> &CancellationToken {
        &self.shutdown
    }

    /// This host's name in the installation.
    pub(crate) fn node(&self) -> &str {
        &self.node
    }

    /// The one clock of the api.
    pub(crate) fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// The settings of the node's file alone.
    pub(crate) fn file_settings(&self) -> &Settings {
        &self.file
    }

    /// The settings in force: those of the installation over those of the file.
    pub(crate) async fn settings(&self) -> Result<Settings, Fault> {
        let mut settings = self.file.clone();
        let of_installation = self.store.configs().await?;
        // A row with a key of the file's scope was written by no api.
        settings.layer(of_installation.into_iter().filter(|(key, _)| {
            settings::find(key).is_some_and(|setting| setting.scope == Scope::Cluster)
        }));
        Ok(settings)
    }

    /// Notes a change in the audit. What was done stays done when that fails.
    pub(crate) async fn audit(&self, peer: Peer, action: &str, target: String, change: Change) {
        self.audit_of(peer.who(), "socket".to_owned(), action, target, change).await;
    }

    /// The same for who is known by another way than the administrator's socket.
    pub(crate) async fn audit_of(
        &self,
        who: String,
        from: String,
        action: &str,
        target: String,
        change: Change,
    ) {
        let entry = AuditEntry {
            at: self.now(),
            who,
            from,
            action: action.to_owned(),
            target,
            before: change.before,
            after: change.after,
            result: "done".to_owned(),
        };
        if let Err(error) = self.store.audit(&format!("api@{}", self.node), &entry).await {
            tracing::error!(%error, action, "the audit cannot be written");
        }
    }
}

/// What a change did, for the audit. Never a secret.
#[derive(Debug, Default)]
pub(crate) struct Change {
    before: Option<String>,
    after: Option<String>,
}

impl Change {
    pub(crate) fn to(after: &impl serde::Serialize) -> Self {
        Self { before: None, after: serde_json::to_string(after).ok() }
    }

    pub(crate) fn from(before: &impl serde::Serialize) -> Self {
        Self { before: serde_json::to_string(before).ok(), after: None }
    }

    pub(crate) fn between(before: &impl serde::Serialize, after: &impl serde::Serialize) -> Self {
        Self {
            before: serde_json::to_string(before).ok(),
            after: serde_json::to_string(after).ok(),
        }
    }
}
