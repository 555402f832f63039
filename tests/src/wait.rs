//! Waiting goes through one function, which names what it waits for.

use std::{
    fmt::Debug,
    thread,
    time::{Duration, Instant},
};

/// Looks again and again until `look` says `Ok`, and returns what it found. When time is over the test
/// fails with the last `Err`.
#[track_caller]
pub fn until<T, E: Debug>(
    what: &str,
    within: Duration,
    mut look: impl FnMut() -> Result<T, E>,
) -> T {
    let begun = Instant::now();
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
