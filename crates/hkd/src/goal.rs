//! What should be true of a VM on this host: from the database's rows to the planner's goal.

use model::{
    HostId, Timestamp,
    vm::{EndKind, Power},
};
use store::Work;

use crate::plan::{After, Goal};

/// The goal for a VM, by the rows of it. Nothing leads to `Down` but: it is not wanted, not wanted
/// here, its image is gone, its time is up, or this very run came to its end by itself.
pub fn goal(work: Option<&Work>, here: HostId, persistent: bool, now: Timestamp) -> Goal {
    let Some(work) = work else { return Goal::Down { overlay: After::Discard } };
    let desired = &work.desired;
    let down = Goal::Down { overlay: After::AsMade };
    let expired = desired.expires_hard.is_some_and(|at| at <= now);
    if desired.power == Power::Off || desired.host != Some(here) || expired {
        return down;
    }
    let Some(di) = desired.di else { return down };
    let up = Goal::Up { run: desired.run, di, home: work.osf.has_home(), persistent };
    let Some(seen) = work.observed.as_ref().filter(|seen| seen.run == desired.run) else {
        return up;
    };
    match seen.ended.filter(|ended| ended.run == desired.run) {
        None => up,
        Some(ended) => match (ended.kind, seen.next_try) {
            (EndKind::Crashed, Some(at)) if at <= now => up,
            (EndKind::Crashed, Some(_)) => Goal::Down { overlay: After::Keep },
            (EndKind::ShutDown, _) | (EndKind::Crashed, None) => down,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{
        DiId, OsfId, Revision, Run, TenantId, UserId, VmId,
        osf::{Init, Osf},
        user::User,
        vm::{Desired, Ended, Observed, Seen, Vm},
    };

    const HERE: HostId = HostId(1);
    const NOW: Timestamp = Timestamp(1000);

    fn work() -> Work {
        Work {
            desired: Desired {
                vm: VmId(7),
                power: Power::On,
                host: Some(HERE),
                di: Some(DiId(3)),
                run: Run(2),
                revision: Revision(1),
                expires_soft: None,
                expires_hard: None,
                asked_by: "admin".into(),
                asked_at: NOW,
            },
            vm: Vm {
                id: VmId(7),
                tenant: TenantId::DEFAULT,
                name: "desk".into(),
                user: UserId(1),
                osf: OsfId(1),
                tag: "default".into(),
                ip: [10, 0, 0, 7].into(),
                blocked: false,
            },
            user: User {
                id: UserId(1),
                tenant: TenantId::DEFAULT,
                login: "ada".into(),
                uid: 10_000,
                gid: 10_000,
                blocked: false,
            },
            osf: Osf {
                id: OsfId(1),
                tenant: TenantId::DEFAULT,
                name: "linux".into(),
                memory: 2048,
                user_storage_size: None,
                nesting: true,
                init: Init::Auto,
            },
            di: None,
            observed: None,
        }
    }

    fn ended(run: i64, kind: EndKind, next_try: Option<i64>) -> Observed {
        Observed {
            vm: VmId(7),
            host: HERE,
            run: Run(run),
            seen: Seen::Nothing,
            seen_at: NOW,
            waiting_for: None,
            reason: None,
            attempts: 1,
            next_try: next_try.map(Timestamp),
            ended: Some(Ended { run: Run(run), kind, at: NOW }),
        }
    }

    #[track_caller]
    fn check(change: impl FnOnce(&mut Work), up: bool) {
        let mut work = work();
        change(&mut work);
        let goal = goal(Some(&work), HERE, false, NOW);
        assert_eq!(
            matches!(goal, Goal::Up { run: Run(2), di: DiId(3), home: true, .. }),
            up,
            "{goal:?}"
        );
    }

    #[test]
    fn only_another_wish_an_end_or_an_expiry_leads_down() {
        check(|_| {}, true);
        check(|work| work.vm.blocked = true, true);
        check(|work| work.user.blocked = true, true);
        check(|work| work.desired.expires_soft = Some(Timestamp(1)), true);
        check(|work| work.desired.expires_hard = Some(Timestamp(1001)), true);
        check(|work| work.desired.expires_hard = Some(NOW), false);
        check(|work| work.desired.power = Power::Off, false);
        check(|work| work.desired.host = Some(HostId(2)), false);
        check(|work| work.desired.host = None, false);
    }

    /// Power off, reboot, crash of init from inside: each as it should be. A reboot is no end.
    #[test]
    fn an_end_from_inside_counts_for_its_own_run() {
        check(|work| work.observed = Some(ended(2, EndKind::ShutDown, None)), false);
        check(|work| work.observed = Some(ended(1, EndKind::ShutDown, None)), true);
        check(|work| work.observed = Some(ended(2, EndKind::Crashed, Some(1001))), false);
        check(|work| work.observed = Some(ended(2, EndKind::Crashed, Some(1000))), true);
        check(|work| work.observed = Some(ended(2, EndKind::Crashed, None)), false);
    }

    #[test]
    fn what_a_crashed_run_wrote_waits_for_its_next_try() {
        let mut work = work();
        work.observed = Some(ended(2, EndKind::Crashed, Some(2000)));
        assert_eq!(goal(Some(&work), HERE, false, NOW), Goal::Down { overlay: After::Keep });
        work.observed = Some(ended(2, EndKind::Crashed, None));
        assert_eq!(goal(Some(&work), HERE, false, NOW), Goal::Down { overlay: After::AsMade });
        assert_eq!(goal(None, HERE, true, NOW), Goal::Down { overlay: After::Discard });
    }
}
