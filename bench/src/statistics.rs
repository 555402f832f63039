//! What samples say together.

/// A summary of samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) count: usize,
    /// Half of the samples are not above it.
    pub(crate) median: u64,
    /// A quarter is not above it.
    pub(crate) low: u64,
    /// Three quarters are not above it.
    pub(crate) high: u64,
    /// 99 of 100 are not above it.
    pub(crate) p99: u64,
}

impl Summary {
    /// Of samples in any order; `None` when there are none.
    pub(crate) fn of(samples: &[u64]) -> Option<Self> {
        let mut sorted = samples.to_vec();
        sorted.sort_unstable();
        Some(Self {
            count: sorted.len(),
            median: quantile(&sorted, 50)?,
            low: quantile(&sorted, 25)?,
            high: quantile(&sorted, 75)?,
            p99: quantile(&sorted, 99)?,
        })
    }
}

/// The smallest sample that so many of a hundred are not above.
fn quantile(sorted: &[u64], percent: usize) -> Option<u64> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.max(1) - 1).copied()
}

/// Milliseconds, for people.
pub(crate) fn millis(micros: u64) -> String {
    format!("{}.{:02} ms", micros / 1000, micros % 1000 / 10)
}

/// Kibibytes, for people.
pub(crate) fn kibibytes(bytes: u64) -> String {
    format!("{}.{} KiB", bytes / 1024, bytes % 1024 * 10 / 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_samples() {
        let samples: Vec<u64> = (1..=100).rev().collect();
        let summary = Summary::of(&samples).unwrap();
        assert_eq!((summary.low, summary.median, summary.high, summary.p99), (25, 50, 75, 99));
        let one = Summary::of(&[7]).unwrap();
        assert_eq!((one.low, one.median, one.high, one.p99), (7, 7, 7, 7));
        assert_eq!(Summary::of(&[]), None);
    }

    #[test]
    fn milliseconds_have_two_digits() {
        assert_eq!(millis(2199), "2.19 ms");
        assert_eq!(millis(50), "0.05 ms");
        assert_eq!(kibibytes(65_000), "63.4 KiB");
    }
}
