//! The system calls that router and api have no use for.

use std::{collections::BTreeMap, env::consts::ARCH};

use anyhow::{Context, Result};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter,
};

/// Calls that are refused: those that start other programs, look into other processes, change what is
/// mounted or which name spaces there are, and those that reach rare corners of the kernel.
const REFUSED: &[i64] = &[
    libc::SYS_acct,
    libc::SYS_add_key,
    libc::SYS_adjtimex,
    libc::SYS_bpf,
    libc::SYS_chroot,
    libc::SYS_clock_adjtime,
    libc::SYS_clock_settime,
    libc::SYS_delete_module,
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_finit_module,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_init_module,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_uring_setup,
    libc::SYS_kcmp,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_mknodat,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_perf_event_open,
    libc::SYS_personality,
    libc::SYS_pidfd_getfd,
    libc::SYS_pivot_root,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    libc::SYS_quotactl,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_setdomainname,
    libc::SYS_sethostname,
    libc::SYS_setns,
    libc::SYS_settimeofday,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_syslog,
    libc::SYS_umount2,
    libc::SYS_unshare,
    libc::SYS_userfaultfd,
];

/// The families of sockets that are used: those of the machine, of both versions of IP, and that by
/// which the C library asks which addresses the machine has.
const FAMILIES: [i32; 4] = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];

/// Flags of `clone` that a thread does not need: name spaces.
const NAME_SPACES: [i32; 7] = [
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWNS,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWUTS,
];

/// Takes the calls from this thread, and those it starts from now on. On a processor that the filter's
/// maker does not know nothing is taken.
pub(crate) fn refuse() -> Result<()> {
    let Ok(machine) = TargetArch::try_from(ARCH) else {
        tracing::debug!("no system calls can be refused on {ARCH}");
        return Ok(());
    };
    // `clone3` has its flags where no filter looks; the C library takes `clone` when it is not there.
    let newer = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    for (rules, error) in [(newer, libc::ENOSYS), (rules()?, libc::EPERM)] {
        let error = SeccompAction::Errno(error.unsigned_abs());
        let filter = SeccompFilter::new(rules, SeccompAction::Allow, error, machine);
        let program: BpfProgram =
            filter.and_then(TryInto::try_into).context("cannot make a filter of system calls")?;
        apply_filter(&program).context("cannot refuse system calls to this process")?;
    }
    Ok(())
}

fn rules() -> Result<BTreeMap<i64, Vec<SeccompRule>>> {
    let word = |value: i32| u64::from(value.unsigned_abs());
    let condition = |how: SeccompCmpOp, value: u64| {
        SeccompCondition::new(0, SeccompCmpArgLen::Dword, how, value)
    };
    let family = FAMILIES.map(|family| condition(SeccompCmpOp::Ne, word(family)));
    let family: Vec<SeccompCondition> = family.into_iter().collect::<Result<_, _>>()?;
    let clone = NAME_SPACES.map(|flag| {
        let set = condition(SeccompCmpOp::MaskedEq(word(flag)), word(flag))?;
        SeccompRule::new(vec![set])
    });
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        REFUSED.iter().map(|call| (*call, Vec::new())).collect();
    rules.insert(libc::SYS_socket, vec![SeccompRule::new(family)?]);
    rules.insert(libc::SYS_clone, clone.into_iter().collect::<Result<_, _>>()?);
    Ok(rules)
}

#[cfg(test)]
mod tests {
    use std::{io, net::TcpListener, thread};

    use rustix::{
        net::{AddressFamily, SocketType, socket},
        thread::{UnshareFlags, unshare_unsafe},
    };

    use super::*;

    #[test]
    #[expect(unsafe_code, reason = "unshare(2), which must fail")]
    fn a_thread_that_is_refused_calls_does_its_work_and_no_other() {
        let confined = thread::spawn(|| {
            refuse().unwrap();
            // Threads, files, sockets, clocks: all as before.
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            thread::spawn(move || std::net::TcpStream::connect(address).unwrap()).join().unwrap();
            std::fs::read_to_string("/etc/hostname").unwrap();
            // SAFETY: the call is refused; nothing is unshared.
            let unshared = unsafe { unshare_unsafe(UnshareFlags::NEWNS) };
            assert_eq!(unshared, Err(rustix::io::Errno::PERM));
            let packets = socket(AddressFamily::PACKET, SocketType::RAW, None).map(drop);
            assert_eq!(packets, Err(rustix::io::Errno::PERM));
            #[expect(clippy::disallowed_methods, reason = "it must not start")]
            let started = std::process::Command::new("true").status();
            let refused = started.map(drop).map_err(|error| error.kind());
            assert_eq!(refused, Err(io::ErrorKind::PermissionDenied));
        });
        confined.join().unwrap();
    }
}
