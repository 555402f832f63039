//! An operating system flavour: a line of images with what all its VMs share.

use std::str::FromStr;

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
    /// What process 1 of its VMs is.
    pub init: Init,
}

/// What process 1 of a VM is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Init {
    /// The image's own init where it has one, else ours.
    #[default]
    Auto,
    /// The image's own.
    Image,
    /// Ours, which starts nothing but what the agent does: for images that need no services.
    Own,
}

impl Init {
    /// Every choice there is.
    pub const ALL: [Self; 3] = [Self::Auto, Self::Image, Self::Own];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Image => "image",
            Self::Own => "own",
        }
    }

    /// Whether a VM of an image that has an init, or has none, runs ours.
    pub fn is_ours(self, image_has_one: bool) -> bool {
        match self {
            Self::Auto => !image_has_one,
            Self::Image => false,
            Self::Own => true,
        }
    }
}

/// A word that is no [`Init`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("init is auto, image or own, not `{0}`")]
pub struct BadInit(String);

impl FromStr for Init {
    type Err = BadInit;

    fn from_str(word: &str) -> Result<Self, BadInit> {
        let found = Self::ALL.into_iter().find(|init| init.as_str() == word);
        found.ok_or_else(|| BadInit(word.to_owned()))
    }
}

impl Osf {
    /// Whether VMs of this OSF have a home that outlives them. They have unless told otherwise.
    pub fn has_home(&self) -> bool {
        self.user_storage_size != Some(0)
    }
}
