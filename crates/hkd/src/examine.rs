//! Looks at the machine from time to time as `qvd doctor` does; what is wrong stands in `qa host list`.
//! What need not be tidied up sooner is tidied up then.

use std::{path::PathBuf, sync::Arc, time::Duration};

use model::{Timestamp, settings::Settings};
use store::Store;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::{
    layout::Layout,
    linux::doctor::{Asked, Wrong},
    node::{Node, Problem},
    start::{self, StartError},
};

/// How often.
const AGAIN: Duration = Duration::from_mins(10);
/// How far a host's clock may be from the database's: who is alive, and whose turn it is, is told by
/// times that hosts write.
const SKEW_MAX_MILLIS: i64 = 1000;

/// Looks at once, and again and again until `stop`.
pub async fn run(node: Arc<Node>, asked: Asked, stop: CancellationToken) {
    loop {
        look(&node, &asked).await;
        forget_limits(&node).await;
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = sleep(AGAIN) => {}
        }
    }
}

/// Where to look on a host with these settings. Of the shared storage nothing: hkd hears of that as it
/// goes.
pub fn asked(settings: &Settings, layout: &Layout, vma: PathBuf) -> Result<Asked, StartError> {
    Ok(Asked {
        btrfs_root: settings.get("path.storage.btrfs.root")?.into(),
        basefs: layout.basefs.clone(),
        shared: Vec::new(),
        vma,
        bridge: settings.get("vm.network.bridge")?,
        network: start::bridge(settings)?.gateway.trunc(),
    })
}

/// Looks once, and notes what is wrong now.
pub async fn look(node: &Arc<Node>, asked: &Asked) {
    let (linux, asked) = (Arc::clone(&node.linux), asked.clone());
    let Ok(findings) = tokio::task::spawn_blocking(move || linux.examine(&asked)).await else {
        return;
    };
    let sentences: Vec<String> = findings
        .into_iter()
        .filter_map(|finding| finding.wrong.map(|wrong| sentence(finding.what, &wrong)))
        .collect();
    node.set_problem(Problem::Machine, (!sentences.is_empty()).then(|| sentences.join("; ")));
    let clock = clock(&node.store, || node.now()).await;
    node.set_problem(Problem::Clock, clock.map(|wrong| sentence("the clock", &wrong)));
}

/// Tidies up after overlays that are gone. What cannot be forgotten now is there the next time.
async fn forget_limits(node: &Arc<Node>) {
    let node = Arc::clone(node);
    let forget = move || node.driver.forget_limits(&node.layout);
    if let Ok(Err(error)) = tokio::task::spawn_blocking(forget).await {
        tracing::debug!(%error, "cannot forget the limits of overlays that are gone");
    }
}

fn sentence(what: &str, wrong: &Wrong) -> String {
    format!("{what}: {}: {}", wrong.why, wrong.remedy)
}

/// What is wrong with a clock, beside that of the database. One that does not answer has none.
pub async fn clock(store: &Store, now: impl Fn() -> Timestamp) -> Option<Wrong> {
    let before = now();
    let theirs = store.clock().await.ok()??;
    skew(before, theirs, now())
}

/// What is wrong when another clock shows `theirs` at some moment between `before` and `after`.
fn skew(before: Timestamp, theirs: Timestamp, after: Timestamp) -> Option<Wrong> {
    let ahead = before.millis_since(theirs).max(0) - theirs.millis_since(after).max(0);
    (ahead.abs() > SKEW_MAX_MILLIS).then(|| {
        let (seconds, rest) = (ahead.abs() / 1000, ahead.abs() % 1000 / 100);
        let way = if ahead > 0 { "ahead of" } else { "behind" };
        Wrong::new(
            format!("it is {seconds}.{rest} s {way} the database's"),
            "let both keep time from one source: apt install chrony",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A clock that differs by more than a second is found, either way; how long the database takes to
    /// answer is no difference.
    #[test]
    fn clocks_that_differ_are_found() {
        let skew = |before: i64, theirs: i64, after: i64| {
            let moments =
                [before, theirs, after].map(|millis| Timestamp(1_700_000_000_000 + millis));
            let [before, theirs, after] = moments;
            super::skew(before, theirs, after).map(|wrong| wrong.why)
        };
        assert_eq!(skew(0, 0, 0), None);
        assert_eq!(skew(0, 1000, 0), None);
        assert_eq!(skew(0, 9000, 10_000), None, "it took ten seconds to answer");
        let behind = "it is 2.5 s behind the database's".to_owned();
        assert_eq!(skew(0, 2600, 100), Some(behind));
        let ahead = "it is 61.0 s ahead of the database's".to_owned();
        assert_eq!(skew(61_000, 0, 61_200), Some(ahead));
    }
}
