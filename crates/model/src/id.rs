//! Identity: one type for each noun, so that a host's number is never taken for a VM's.

use std::{fmt, str::FromStr};

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub i64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = std::num::ParseIntError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    )+};
}

ids! {
    /// A tenant. There is one, `default`, with id 1.
    TenantId,
    /// A person who has desktops.
    UserId,
    /// A node that runs VMs.
    HostId,
    /// An operating system flavour: a line of images.
    OsfId,
    /// A disk image: one version of an OSF.
    DiId,
    /// A virtual machine: user, OSF and tag.
    VmId,
    /// One client attached to a session.
    ConnectionId,
    /// A piece of long work.
    OperationId,
    /// A start of a VM. It rises with each *new* start that is wanted; a retry after a crash and a
    /// reboot from inside keep it.
    Run,
    /// Counts the changes of a row whose changes are compare-and-set.
    Revision,
}

impl TenantId {
    /// The one tenant there is.
    pub const DEFAULT: Self = Self(1);
}

impl Run {
    /// No start was ever wanted.
    pub const NONE: Self = Self(0);

    /// The run after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// A moment: milliseconds since 1970-01-01 00:00 UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// This moment plus some milliseconds.
    #[must_use]
    pub fn plus_millis(self, millis: i64) -> Self {
        Self(self.0.saturating_add(millis))
    }

    /// Milliseconds from `earlier` to this moment; negative when it is later.
    pub fn millis_since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}
