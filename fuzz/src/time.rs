//! For how long the fuzzer tries.

use std::{sync::LazyLock, time::Duration};

use rustix::{
    process::{Signal, getpid, kill_process},
    time::{ClockId, clock_gettime},
};

/// The variable that says for how long: seconds of a processor. libFuzzer counts those of a clock, in which
/// a busy machine tries less.
const SECONDS: &str = "FUZZ_SECONDS";

static GIVEN: LazyLock<Duration> = LazyLock::new(|| {
    let seconds = std::env::var(SECONDS).ok().and_then(|text| text.parse().ok());
    seconds.map_or(Duration::MAX, Duration::from_secs)
});

/// Has the fuzzer end, and say what it did, once its time is over.
pub fn end_in_time() {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    if Duration::try_from(used).is_ok_and(|used| used >= *GIVEN) {
        // On this it ends well.
        let _ = kill_process(getpid(), Signal::USR1);
    }
}
