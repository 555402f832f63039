//! Rounds of one test: few of them as part of `./check`, many as part of `cargo xtask soak`.
//!
//! | variable | what it says |
//! |---|---|
//! | `QVD_ROUNDS` | how many rounds |
//! | `QVD_SEED` | the seed of the first; each further round has the next one |
//! | `QVD_VMS` | how many VMs |
//! | `QVD_RESULTS` | the file that gets a line of JSON for each round that went well |

use std::{fs::File, io::Write as _, time::Instant};

use rand::Rng as _;
use serde_json::{Map, Value, json};

/// How many VMs a test has: as many as its environment says, or so few.
pub fn vms(few: usize) -> usize {
    said("QVD_VMS").and_then(|said| usize::try_from(said).ok()).unwrap_or(few)
}

/// Whether the test is run with large numbers, for a report.
pub fn is_large() -> bool {
    std::env::var_os("QVD_RESULTS").is_some()
}

/// How many of something a test has that is not to be told by its environment: few, or the many that its
/// report is about.
pub fn size(few: u64, many: u64) -> u64 {
    if is_large() { many } else { few }
}

fn said(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|error| panic!("{name} is {text}: {error}")))
}

/// What came of a round.
#[derive(Debug, Default)]
pub struct Round {
    /// What kind of round it was.
    pub what: String,
    /// What was measured, each with its unit in its name.
    pub figures: Vec<(&'static str, f64)>,
}

/// The rounds of a test.
#[derive(Debug)]
pub struct Rounds {
    first: u64,
    count: u64,
    results: Option<File>,
}

impl Rounds {
    /// As many as the environment says, or so few; from the seed it names, or from any.
    pub fn of(few: u64) -> Self {
        let open = |path| File::options().append(true).create(true).open(path);
        let results = std::env::var_os("QVD_RESULTS").map(|path| open(path).expect("results"));
        let first = said("QVD_SEED").unwrap_or_else(|| rand::rng().random_range(0..1_000_000));
        Self { first, count: said("QVD_ROUNDS").unwrap_or(few), results }
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Runs them one after the other, each with its seed. The seed of one that fails is said.
    #[expect(clippy::print_stdout, reason = "who waits for many rounds sees them go by")]
    pub fn run(mut self, mut round: impl FnMut(u64) -> Round) {
        for number in 0..self.count {
            let seed = self.first + number;
            let (told, begun) = (Tell(seed), Instant::now());
            let Round { what, figures } = round(seed);
            std::mem::forget(told);
            let took = begun.elapsed().as_secs_f64();
            println!("round {} of {}, seed {seed}: {what}: {took:.1} s", number + 1, self.count);
            let mut all: Map<String, Value> =
                figures.into_iter().map(|(name, value)| (name.to_owned(), json!(value))).collect();
            all.insert("the whole round (s)".to_owned(), json!(took));
            if let Some(results) = &mut self.results {
                let line = json!({ "seed": seed, "what": what, "figures": all });
                writeln!(results, "{line}").expect("results are written");
            }
        }
    }
}

/// Says the seed of a round that did not come to its end.
struct Tell(u64);

impl Drop for Tell {
    #[expect(clippy::print_stderr, reason = "a failed test shows what it knows")]
    fn drop(&mut self) {
        eprintln!("the round of seed {0} failed: again with QVD_SEED={0} QVD_ROUNDS=1", self.0);
    }
}
