//! What to write when someone wants a VM to run or to stop: pure rules over what is wanted now.
//!
//! The result is written by compare-and-set on the revision it was made from; who loses looks again.

use crate::{
    id::{DiId, HostId, Revision, Timestamp},
    phase::Phase,
    vm::{Desired, Power},
};

/// What a start needs to know besides the VM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// The image its tag leads to now.
    pub di: DiId,
    /// Where it is to run.
    pub host: HostId,
    /// Who asks.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

/// Whether a VM in this phase needs another run to be up: one that is up or on its way needs none,
/// and one whose host is silent cannot have one.
pub fn needs_start(phase: Phase) -> bool {
    match phase {
        Phase::Stopped | Phase::Stopping | Phase::Failed => true,
        Phase::Starting | Phase::Running | Phase::Lost => false,
    }
}

/// The next desired state for a new start.
#[must_use]
pub fn start(now: &Desired, start: Start) -> Desired {
    Desired {
        vm: now.vm,
        power: Power::On,
        host: Some(start.host),
        di: Some(start.di),
        run: now.run.next(),
        revision: Revision(now.revision.0 + 1),
        // A new start is from the tag's image: there is nothing left to expire.
        expires_soft: None,
        expires_hard: None,
        asked_by: start.by,
        asked_at: start.at,
    }
}

/// The next desired state for a stop; none when a stop is wanted already.
#[must_use]
pub fn stop(now: &Desired, by: String, at: Timestamp) -> Option<Desired> {
    (now.power == Power::On).then(|| Desired {
        power: Power::Off,
        revision: Revision(now.revision.0 + 1),
        expires_soft: None,
        expires_hard: None,
        asked_by: by,
        asked_at: at,
        ..now.clone()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Run, VmId};

    fn running() -> Desired {
        Desired {
            vm: VmId(1),
            power: Power::On,
            host: Some(HostId(1)),
            di: Some(DiId(1)),
            run: Run(4),
            revision: Revision(9),
            expires_soft: None,
            expires_hard: Some(Timestamp(5)),
            asked_by: "admin".into(),
            asked_at: Timestamp(0),
        }
    }

    #[test]
    fn a_stop_keeps_the_run_and_a_start_raises_it() {
        let off = stop(&running(), "user ada".into(), Timestamp(7)).unwrap();
        assert_eq!((off.power, off.run, off.revision), (Power::Off, Run(4), Revision(10)));
        assert_eq!(stop(&off, "user ada".into(), Timestamp(8)), None);
        let again = Start { di: DiId(2), host: HostId(3), by: "admin".into(), at: Timestamp(9) };
        let on = start(&off, again);
        assert_eq!((on.power, on.run, on.revision), (Power::On, Run(5), Revision(11)));
        assert_eq!((on.di, on.host, on.expires_hard), (Some(DiId(2)), Some(HostId(3)), None));
    }

    #[test]
    fn what_is_up_or_coming_needs_no_start() {
        let needs = [Phase::Stopped, Phase::Stopping, Phase::Failed].map(needs_start);
        let needs_none = [Phase::Starting, Phase::Running, Phase::Lost].map(needs_start);
        assert_eq!((needs, needs_none), ([true; 3], [false; 3]));
    }
}
