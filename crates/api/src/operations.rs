//! `/operations` and `/audit`.

use axum::Json;
use store::{AuditRow, OperationStatus};
use wire::rest::{Audit, Operation};

use crate::{admin::Shared, fault::Fault, vms};

/// How many rows of the audit are shown.
const AUDIT_ROWS: u32 = 1000;

pub(crate) async fn list(context: Shared) -> Result<Json<Vec<Operation>>, Fault> {
    let operations = context.store().operations().await?;
    Ok(Json(operations.into_iter().map(body).collect()))
}

fn body(operation: store::Operation) -> Operation {
    let status =
        operation.status.unwrap_or(OperationStatus { progress: 0, result: None, reason: None });
    let state = match &status.result {
        None if status.progress == 0 => "waiting",
        None => "running",
        Some(result) if result == "done" => "done",
        Some(_) => "failed",
    };
    Operation {
        id: operation.id.0,
        host_id: operation.host.0,
        kind: operation.kind,
        target: operation.target,
        state: state.to_owned(),
        percent: status.progress,
        reason: status.reason.as_ref().map(vms::reason),
    }
}

/// The newest entries, newest first.
pub(crate) async fn audit(context: Shared) -> Result<Json<Vec<Audit>>, Fault> {
    let rows = context.store().audit_tail(AUDIT_ROWS).await?;
    Ok(Json(rows.into_iter().map(entry).collect()))
}

fn entry(row: AuditRow) -> Audit {
    let entry = row.entry;
    Audit {
        id: row.id,
        at: entry.at.0,
        who: entry.who,
        from: entry.from,
        action: entry.action,
        target: entry.target,
        before: entry.before,
        after: entry.after,
        result: entry.result,
    }
}
