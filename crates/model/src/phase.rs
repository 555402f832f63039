//! What people see as a VM's state: a pure function of what is wanted, what is seen, and whether the
//! host is alive.

use crate::{
    id::Timestamp,
    reason::{Code, Reason},
    vm::{Desired, EndKind, Observed, Power, Seen},
};

/// The state shown by `qa`, the console and the clients. Never stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Not running and not wanted to.
    Stopped,
    /// On its way up.
    Starting,
    /// Up, with an agent that answers.
    Running,
    /// On its way down.
    Stopping,
    /// Wanted, but it does not come up; it is tried again, slowly.
    Failed,
    /// Its host is silent.
    Lost,
}

impl Phase {
    /// The word shown to people and clients.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Failed => "failed",
            Self::Lost => "lost",
        }
    }
}

/// How many failed tries make a start *failed* rather than *starting*.
pub const ATTEMPTS_BEFORE_FAILED: i64 = 3;

/// The phase, and the reason for it where there is one.
///
/// `observed` is the row of the host named in `desired`, if any. `host_alive` tells whether that
/// host's lease is good.
pub fn phase(
    desired: &Desired,
    observed: Option<&Observed>,
    host_alive: bool,
    now: Timestamp,
) -> (Phase, Option<Reason>) {
    let seen = observed.map_or(Seen::Nothing, |row| row.seen);
    let reason = observed.and_then(|row| row.reason.clone());
    if !host_alive
        && (seen != Seen::Nothing || desired.power == Power::On)
        && let Some(host) = desired.host
    {
        let since = observed.map_or(now, |row| row.seen_at);
        let lost = Reason::new(Code::HostLost, since).with("host", host);
        return (Phase::Lost, Some(lost));
    }
    if desired.power == Power::Off {
        return match seen {
            Seen::Nothing => (Phase::Stopped, None),
            Seen::Preparing | Seen::Starting | Seen::Running | Seen::Stopping => {
                (Phase::Stopping, reason)
            }
        };
    }
    let Some(observed) = observed.filter(|row| row.run == desired.run) else {
        return (Phase::Starting, None);
    };
    if let Some(ended) = observed.ended.filter(|ended| ended.run == desired.run) {
        let down = seen == Seen::Nothing;
        return match ended.kind {
            EndKind::ShutDown if down => (Phase::Stopped, reason),
            EndKind::ShutDown => (Phase::Stopping, reason),
            EndKind::Crashed => (Phase::Failed, reason),
        };
    }
    match seen {
        Seen::Running => (Phase::Running, reason),
        Seen::Stopping => (Phase::Stopping, reason),
        Seen::Nothing | Seen::Preparing | Seen::Starting => {
            if observed.attempts >= ATTEMPTS_BEFORE_FAILED {
                (Phase::Failed, reason)
            } else {
                (Phase::Starting, reason)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        id::{HostId, Revision, Run, VmId},
        vm::Ended,
    };

    fn desired(power: Power) -> Desired {
        Desired {
            vm: VmId(1),
            power,
            host: Some(HostId(1)),
            di: None,
            run: Run(2),
            revision: Revision(1),
            expires_soft: None,
            expires_hard: None,
            asked_by: "admin".into(),
            asked_at: Timestamp(0),
        }
    }

    fn observed(run: i64, seen: Seen) -> Observed {
        Observed {
            vm: VmId(1),
            host: HostId(1),
            run: Run(run),
            seen,
            seen_at: Timestamp(0),
            waiting_for: None,
            reason: None,
            attempts: 0,
            next_try: None,
            ended: None,
        }
    }

    #[track_caller]
    fn check(desired: &Desired, observed: Option<&Observed>, alive: bool, want: Phase) {
        assert_eq!(phase(desired, observed, alive, Timestamp(0)).0, want);
    }

    #[test]
    fn a_row_of_another_run_says_nothing_of_this_one() {
        check(&desired(Power::On), Some(&observed(1, Seen::Running)), true, Phase::Starting);
        check(&desired(Power::On), Some(&observed(2, Seen::Running)), true, Phase::Running);
    }

    #[test]
    fn a_run_that_shut_itself_down_is_stopped() {
        let mut row = observed(2, Seen::Nothing);
        row.ended = Some(Ended { run: Run(2), kind: EndKind::ShutDown, at: Timestamp(0) });
        check(&desired(Power::On), Some(&row), true, Phase::Stopped);
        row.ended = Some(Ended { run: Run(1), kind: EndKind::ShutDown, at: Timestamp(0) });
        check(&desired(Power::On), Some(&row), true, Phase::Starting);
    }

    #[test]
    fn a_silent_host_makes_its_vms_lost_and_only_those_that_matter() {
        check(&desired(Power::On), Some(&observed(2, Seen::Running)), false, Phase::Lost);
        check(&desired(Power::Off), Some(&observed(2, Seen::Nothing)), false, Phase::Stopped);
    }

    #[test]
    fn three_failed_tries_are_a_failure() {
        let mut row = observed(2, Seen::Preparing);
        row.attempts = 2;
        check(&desired(Power::On), Some(&row), true, Phase::Starting);
        row.attempts = 3;
        check(&desired(Power::On), Some(&row), true, Phase::Failed);
    }
}
