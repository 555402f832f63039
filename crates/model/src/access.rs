//! Whether a user may have a VM's desktop: a pure rule.

use crate::{id::UserId, vm::Vm};

/// Why a user may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Barred {
    /// There is no such VM.
    #[error("The requested virtual machine does not exist")]
    Unknown,
    /// It is another's.
    #[error("You are not allowed to access requested virtual machine")]
    NotYours,
    /// It is blocked.
    #[error("The requested virtual machine is offline for maintenance")]
    Blocked,
}

/// The VM, if this user may connect to it: it is the user's own and not blocked.
pub fn connect(user: UserId, vm: Option<&Vm>) -> Result<&Vm, Barred> {
    let vm = own(user, vm)?;
    if vm.blocked { Err(Barred::Blocked) } else { Ok(vm) }
}

/// The VM, if this user may stop it: it is the user's own. A blocked one may be stopped.
pub fn stop(user: UserId, vm: Option<&Vm>) -> Result<&Vm, Barred> {
    own(user, vm)
}

fn own(user: UserId, vm: Option<&Vm>) -> Result<&Vm, Barred> {
    let vm = vm.ok_or(Barred::Unknown)?;
    if vm.user == user { Ok(vm) } else { Err(Barred::NotYours) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{OsfId, TenantId, VmId};

    fn vm(user: i64, blocked: bool) -> Vm {
        Vm {
            id: VmId(1),
            tenant: TenantId::DEFAULT,
            name: "desk".into(),
            user: UserId(user),
            osf: OsfId(1),
            tag: "default".into(),
            ip: [10, 0, 0, 200].into(),
            blocked,
        }
    }

    #[test]
    fn only_the_owner_of_a_vm_that_is_not_blocked_gets_it() {
        let ada = UserId(1);
        let cases = [
            (None, Err(Barred::Unknown), Err(Barred::Unknown)),
            (Some(vm(1, false)), Ok(()), Ok(())),
            (Some(vm(1, true)), Err(Barred::Blocked), Ok(())),
            (Some(vm(2, false)), Err(Barred::NotYours), Err(Barred::NotYours)),
            // Whether another's VM is blocked is not told.
            (Some(vm(2, true)), Err(Barred::NotYours), Err(Barred::NotYours)),
        ];
        for (vm, may_connect, may_stop) in cases {
            assert_eq!(connect(ada, vm.as_ref()).map(drop), may_connect);
            assert_eq!(stop(ada, vm.as_ref()).map(drop), may_stop);
        }
    }
}
