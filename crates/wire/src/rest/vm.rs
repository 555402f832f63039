//! `/vms`.

use serde::{Deserialize, Serialize};

/// A virtual machine with what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vm {
    /// Never given twice.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// Its user's id.
    pub user_id: i64,
    /// Its user's login.
    pub user: String,
    /// Its OSF's id.
    pub osf_id: i64,
    /// Its OSF's name.
    pub osf: String,
    /// Its OSF's memory limit, in MiB.
    pub memory: i64,
    /// Its OSF's size of a user's storage in MiB; null for no limit, 0 for no home.
    pub user_storage_size: Option<i64>,
    /// The tag it follows.
    pub di_tag: String,
    /// The image the tag leads to now; null when no image has it.
    pub di_id: Option<i64>,
    /// The version of that image.
    pub di: Option<String>,
    /// The image it was last started from, while it is up.
    pub running_di_id: Option<i64>,
    /// The version of that image.
    pub running_di: Option<String>,
    /// Its address.
    pub ip: String,
    /// A blocked VM cannot be connected to; a running session goes on.
    pub blocked: bool,
    /// Where it runs, or ran last.
    pub host_id: Option<i64>,
    /// Name of that host.
    pub host: Option<String>,
    /// `stopped`, `starting`, `running`, `stopping`, `failed` or `lost`.
    pub state: String,
    /// Why, where there is more to say.
    pub reason: Option<Reason>,
    /// The address of the client attached, if one is.
    pub client: Option<String>,
    /// Since when it is attached.
    pub client_since: Option<i64>,
    /// From when the user is asked to leave.
    pub expire_soft: Option<i64>,
    /// When it is stopped in any case.
    pub expire_hard: Option<i64>,
    /// Which start is wanted; 0: none ever was.
    pub run: i64,
    /// Counts the changes of what is wanted of it; also the `ETag`.
    pub revision: i64,
}

/// Why something is as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// The stable word.
    pub code: String,
    /// A sentence without its full stop.
    pub text: String,
    /// What a person can do; empty when nothing needs doing.
    pub remedy: String,
    /// Since when it is so.
    pub since: i64,
}

/// All there is to say on a VM's state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Why {
    /// The VM.
    pub vm: Vm,
    /// Who asked last for it to run or stop, and when; null when nobody ever did.
    pub asked_by: Option<String>,
    /// When that was.
    pub asked_at: Option<i64>,
    /// What the host is busy with or waits for, in a sentence.
    pub waiting_for: Option<String>,
    /// Failed tries of this start.
    pub attempts: i64,
    /// When it is tried again.
    pub next_try: Option<i64>,
    /// When the host last saw it change.
    pub seen_at: Option<i64>,
    /// Whether that host is heard of.
    pub host_alive: bool,
}

/// A VM to add. User and OSF are named by one of their two forms each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewVm {
    /// Its name.
    pub name: String,
    /// Its user's login.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Its user's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<i64>,
    /// Its OSF's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub osf: Option<String>,
    /// Its OSF's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub osf_id: Option<i64>,
    /// Its address; a free one when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
    /// The tag it follows; `default` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub di_tag: Option<String>,
}

/// What to change of a VM; what is left out stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EditVm {
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The tag it follows, from its next start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub di_tag: Option<String>,
    /// Its address. Only a VM that is stopped can get another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
    /// Whether users are kept from connecting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocked: Option<bool>,
}

/// What is left of a VM that was deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeletedVm {
    /// Its id.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// Where its home is kept, on the hosts' storage; null when its OSF gives none.
    pub home: Option<String>,
}
