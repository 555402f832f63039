//! What must not take longer.

use std::fmt;

use crate::{
    results::{Results, Unit},
    statistics::{Summary, millis},
};

/// How the median of a series is bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bound {
    /// By so many hundredths of the median of another series of the same run.
    Times { series: &'static str, hundredths: u64 },
    /// By so many microseconds more than the median of another series of the same run.
    More { series: &'static str, micros: u64 },
    /// By so many microseconds.
    Micros(u64),
    /// By so many bytes.
    Bytes(u64),
}

/// A budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Budget {
    results: &'static str,
    series: &'static str,
    bound: Bound,
    /// Why it is missed where it is, as far as is known, and what was tried.
    why: &'static str,
}

const fn budget(results: &'static str, series: &'static str, bound: Bound) -> Budget {
    Budget { results, series, bound, why: "" }
}

const fn times(series: &'static str, hundredths: u64) -> Bound {
    Bound::Times { series, hundredths }
}

const fn millis_at_most(millis: u64) -> Bound {
    Bound::Micros(millis * 1000)
}

impl Budget {
    /// The same, with why it is missed where it is, as far as is known, and what was tried.
    const fn because(self, why: &'static str) -> Self {
        Self { why, ..self }
    }
}

/// Every budget. One whose results are not there yet is not judged.
const ALL: [Budget; 12] = [
    budget("clone", "driver", times("ioctl", 120)),
    budget("start", "vma-init", times("lxc", 300)),
    budget("start", "vma-init", times("lxd", 5)).because(
        "LXC's own tools alone take most of what is allowed, for a container without network, limits \
         and ids. The rest is the way through the database, the root, the home and the firewall's program, \
         done at once as far as they do not need each other, and the agent; LXC no longer asks other \
         programs to map ids",
    ),
    // What its own init needs, and a little.
    budget("start", "image-init", Bound::More { series: "lxc-init", micros: 50_000 }),
    budget("stop", "vma-init", times("lxd", 10)).because(
        "most of it LXC and the kernel need to take a container with a network down, after a program for \
         the signal; what the firewall takes goes beside that",
    ),
    budget("connect", "listening", millis_at_most(30)),
    budget("connect", "resume", millis_at_most(250)),
    budget("first-pixel", "vma-init", millis_at_most(1000)),
    // Nine tenths of what the peer carries in a second of a core.
    budget("relay-cpu", "qvd", times("haproxy", 111)),
    // Half a hundredth of a core.
    budget("idle-cpu", "daemons", millis_at_most(5)),
    budget("idle-memory", "daemons", Bound::Bytes(80 << 20)),
    budget("relay-memory", "qvd", Bound::Bytes(64 * 1024)),
];

/// A budget held against what was measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    budget: Budget,
    /// Median, in the results' unit.
    measured: u64,
    /// The same.
    allowed: u64,
}

impl Verdict {
    /// Why it is missed, if it is, as far as is known.
    pub(crate) fn why(&self) -> &'static str {
        if self.missed() { self.budget.why } else { "" }
    }

    /// Whether it took longer than it may.
    pub(crate) fn missed(&self) -> bool {
        self.measured > self.allowed
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Budget { results, series, bound, .. } = self.budget;
        let unit = if matches!(bound, Bound::Bytes(_)) { Unit::Bytes } else { Unit::Micros };
        let (measured, allowed) = (unit.show(self.measured), unit.show(self.allowed));
        write!(f, "{results}, {series}: median {measured}, at most {allowed}")?;
        match bound {
            Bound::Micros(_) | Bound::Bytes(_) => Ok(()),
            Bound::Times { series, hundredths } => {
                write!(f, " ({}.{:02} × {series})", hundredths / 100, hundredths % 100)
            }
            Bound::More { series, micros } => write!(f, " ({series} + {})", millis(micros)),
        }
    }
}

/// Every budget whose results are there.
pub(crate) fn judge(results: &[Results]) -> Vec<Verdict> {
    ALL.iter().filter_map(|budget| verdict(*budget, results)).collect()
}

fn verdict(budget: Budget, results: &[Results]) -> Option<Verdict> {
    let results = results.iter().find(|results| results.name == budget.results)?;
    let median = |series: &str| Some(Summary::of(&results.series(series)?.samples)?.median);
    let allowed = match budget.bound {
        Bound::Micros(most) | Bound::Bytes(most) => most,
        Bound::Times { series, hundredths } => median(series)? * hundredths / 100,
        Bound::More { series, micros } => median(series)? + micros,
    };
    Some(Verdict { budget, measured: median(budget.series)?, allowed })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::results;

    #[test]
    fn a_relative_budget_is_judged_within_its_run() {
        let good = results("clone", &[("ioctl", &[1000, 1100, 1200]), ("driver", &[1320; 3])]);
        let [verdict] = judge(&[good]).try_into().unwrap();
        assert!(!verdict.missed(), "{verdict}");
        let bad = results("clone", &[("ioctl", &[1000, 1100, 1200]), ("driver", &[1321; 3])]);
        let [verdict] = judge(&[bad]).try_into().unwrap();
        assert!(verdict.missed());
        assert_eq!(
            verdict.to_string(),
            "clone, driver: median 1.32 ms, at most 1.32 ms (1.20 × ioctl)"
        );
    }

    #[test]
    fn a_budget_may_be_a_time_more_than_a_peers() {
        let of = |ours: u64| results("start", &[("lxc-init", &[40_000]), ("image-init", &[ours])]);
        let found = |ours| judge(&[of(ours)]).iter().map(Verdict::missed).collect::<Vec<_>>();
        assert_eq!((found(90_000), found(90_001)), (vec![false], vec![true]));
    }

    #[test]
    fn an_absolute_budget_is_judged_and_what_is_not_measured_is_not() {
        let found = judge(&[results("connect", &[("listening", &[30_001])])]);
        assert_eq!(found.len(), 1);
        assert!(found.iter().all(Verdict::missed));
    }
}
