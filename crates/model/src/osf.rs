//! An operating system flavour: a line of images with what all its VMs share.

use crate::id::{OsfId, TenantId};

/// An OSF.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Osf {
    /// Never given twice.
    pub id: OsfId,
    /// Owner of the name space.
    pub tenant: TenantId,
    /// Unique within the tenant.
    pub name: String,
    /// Memory limit of each VM, in MiB.
    pub memory: i64,
    /// Size of the user's storage in MiB; `None` for "no limit". Zero: the VMs have no home.
    pub user_storage_size: Option<i64>,
    /// Whether programs in its VMs may make user name spaces, as the sandboxes of browsers do.
    pub nesting: bool,
}

impl Osf {
    /// Whether VMs of this OSF have a home that outlives them. They have unless told otherwise.
    pub fn has_home(&self) -> bool {
        self.user_storage_size != Some(0)
    }
}
