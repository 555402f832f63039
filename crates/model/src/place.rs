//! Where a VM is to run: a pure rule.

use crate::id::HostId;

/// A host as the rule sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// Which host.
    pub host: HostId,
    /// Heard of and running.
    pub alive: bool,
    /// Given no new VM.
    pub blocked: bool,
    /// Memory for VMs, in MiB.
    pub usable_ram: f64,
    /// Memory promised to the VMs wanted there, in MiB.
    pub promised_ram: f64,
}

/// Chooses a host that is alive and not blocked: the one the VM was on last, because what it kept
/// there is there; otherwise the one with most memory not yet promised, and of equals the first.
/// None when there is no such host. Memory already promised away bars no host: most desktops use far
/// less than their limit.
pub fn place(candidates: &[Candidate], last: Option<HostId>) -> Option<HostId> {
    let fit = || candidates.iter().filter(|candidate| candidate.alive && !candidate.blocked);
    let free = |candidate: &Candidate| candidate.usable_ram - candidate.promised_ram;
    fit().find(|candidate| Some(candidate.host) == last).map(|candidate| candidate.host).or_else(
        || {
            fit()
                .min_by(|a, b| free(b).total_cmp(&free(a)).then(a.host.cmp(&b.host)))
                .map(|candidate| candidate.host)
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(id: i64, usable: f64, promised: f64) -> Candidate {
        Candidate {
            host: HostId(id),
            alive: true,
            blocked: false,
            usable_ram: usable,
            promised_ram: promised,
        }
    }

    #[test]
    fn the_freest_host_is_chosen_and_the_first_of_equals() {
        let hosts = [host(1, 8000.0, 4000.0), host(3, 8000.0, 1000.0), host(2, 8000.0, 1000.0)];
        assert_eq!(place(&hosts, None), Some(HostId(2)));
        assert_eq!(place(&[host(1, 100.0, 9000.0)], None), Some(HostId(1)));
    }

    #[test]
    fn a_vm_goes_back_to_where_it_was_if_that_can_take_it() {
        let mut hosts = [host(1, 8000.0, 0.0), host(2, 8000.0, 4000.0)];
        assert_eq!(place(&hosts, Some(HostId(2))), Some(HostId(2)));
        hosts[1].blocked = true;
        assert_eq!(place(&hosts, Some(HostId(2))), Some(HostId(1)));
        hosts[0].alive = false;
        assert_eq!(place(&hosts, Some(HostId(2))), None);
        assert_eq!(place(&[], None), None);
    }
}
