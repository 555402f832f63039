//! Waiting goes through one function, which names what it waits for.

use std::{
    fmt::Debug,
    sync::LazyLock,
    thread,
    time::{Duration, Instant},
};

/// How many times as long as on a real machine everything may take here: `QVD_PATIENCE`, for machines
/// that are emulated.
static PATIENCE: LazyLock<u32> = LazyLock::new(|| {
    let said = std::env::var("QVD_PATIENCE").unwrap_or_else(|_| "1".to_owned());
    said.parse().unwrap_or_else(|error| panic!("QVD_PATIENCE is {said}: {error}"))
});

/// As much time as this is on a real machine.
pub fn patient(time: Duration) -> Duration {
    time * *PATIENCE
}

/// Whether this machine is so slow that daemons may say so.
pub fn is_slow() -> bool {
    *PATIENCE > 1
}

/// Looks again and again until `look` says `Ok`, and returns what it found. When time is over the test
/// fails with the last `Err`.
#[track_caller]
pub fn until<T, E: Debug>(
    what: &str,
    within: Duration,
    mut look: impl FnMut() -> Result<T, E>,
) -> T {
    let (begun, within) = (Instant::now(), patient(within));
    loop {
        match look() {
            Ok(found) => return found,
            Err(state) => {
                assert!(
                    begun.elapsed() < within,
                    "waited {within:?} for {what}; at last: {state:?}"
                );
            }
        }
        thread::sleep(Duration::from_millis(20));
    }
}
