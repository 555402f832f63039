//! `GET /vms/{id}`, which may wait for a state.

use std::time::Duration;

use axum::Json;
use http::HeaderMap;
use serde::Deserialize;
use tokio::time::{Instant, sleep_until};
use wire::rest::Vm;

use crate::{
    admin::Shared,
    extract::{Path, Query},
    fault::Fault,
};

/// The longest wait of one request.
const LONGEST: u64 = 600;
/// How often it looks without being woken: a host falls silent without a word.
const TICK: Duration = Duration::from_secs(2);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wait {
    /// The state to wait for.
    wait: Option<String>,
    /// For how many seconds; 60 when left out.
    timeout: Option<u64>,
}

/// The VM: at once, or when it is in the state, cannot get there by itself, or time is up.
pub(crate) async fn get(
    context: Shared,
    Path(id): Path<i64>,
    Query(query): Query<Wait>,
) -> Result<(HeaderMap, Json<Vm>), Fault> {
    let Some(goal) = query.wait else {
        return super::tagged(super::find(&context, id).await?.body(context.now()));
    };
    if !["running", "stopped"].contains(&goal.as_str()) {
        return Err(Fault::malformed(format!("it cannot be waited for `{goal}`"))
            .remedy("wait for running or stopped"));
    }
    let seconds = query.timeout.unwrap_or(60).min(LONGEST);
    let deadline = Instant::now() + Duration::from_secs(seconds);
    let mut wake = context.store().wake();
    loop {
        let body = super::find(&context, id).await?.body(context.now());
        if is_over(&body.state, &goal) || Instant::now() >= deadline {
            return super::tagged(body);
        }
        tokio::select! {
            // Ends first: a waiting request must not hold up the end of the api.
            biased;
            () = context.shutdown().cancelled() => return super::tagged(body),
            () = wake.changed() => {}
            () = sleep_until(deadline.min(Instant::now() + TICK)) => {}
        }
    }
}

fn is_over(state: &str, goal: &str) -> bool {
    match state {
        "failed" | "lost" => true,
        "stopped" | "stopping" if goal == "running" => true,
        state => state == goal,
    }
}
