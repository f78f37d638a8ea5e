//! One record: its outcome is looked up and sent to all its destinations at once.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt as _;
use futures_util::future::join_all;

use super::delivery::delivery;
use super::{App, Deadline};
use crate::domain::failure::Finding;
use crate::domain::outcome::Outcome;
use crate::domain::record::Record;
use crate::domain::report::Report;
use crate::domain::route::Unrouted;
use crate::telemetry::{self, Invocation};

/// What became of a record.
#[derive(Debug)]
pub struct RecordReport {
    pub run_id: Option<String>,
    pub webhook_id: Option<String>,
    /// One per delivery; one in all for a record that has none.
    pub reports: Vec<Report>,
}

impl RecordReport {
    /// Whether the source may forget the record.
    pub fn acknowledged(&self) -> bool {
        self.reports.iter().all(|report| report.acknowledged)
    }
}

/// Delivers a record. It never fails: whatever happens is in the report and in the log.
pub async fn record(app: &App, record: &Record, deadline: Deadline, invocation: &Invocation) -> RecordReport {
    let outcome = record.outcome.as_ref().ok();
    let said = |report: Report| {
        telemetry::result(&report, outcome, invocation);
        report
    };
    let reports = match &record.outcome {
        Err(refused) => vec![said(Report::of(Finding::Refused(refused.problems.clone()), record.origin))],
        Ok(outcome) => {
            if !outcome.oddities.is_empty() {
                telemetry::oddity(outcome, invocation);
            }
            deliver_all(app, outcome, record, deadline, &said).await
        }
    };
    RecordReport {
        run_id: outcome.and_then(|outcome| outcome.run_id.clone()),
        webhook_id: outcome.map(|outcome| outcome.webhook_id.clone()),
        reports,
    }
}

async fn deliver_all(
    app: &App,
    outcome: &Outcome,
    record: &Record,
    deadline: Deadline,
    said: &impl Fn(Report) -> Report,
) -> Vec<Report> {
    let failed = |finding| vec![said(Report::of(finding, record.origin))];
    let lookup = tokio::time::timeout(deadline.left(), app.registry.lookup(outcome));
    let turns = match caught(lookup).await {
        Err(finding) => return failed(finding),
        Ok(Err(_)) => return failed(Finding::NotStarted),
        Ok(Ok(Err(error))) => return failed(Finding::LookupFailed(error.to_string())),
        Ok(Ok(Ok(turns))) => turns,
    };
    if turns.is_empty() {
        // An alert that nobody would receive is no success; a run that found nothing is.
        let matters = outcome.kind.is_alert() && app.unrouted == Unrouted::DeadLetter;
        return if matters { failed(Finding::Unrouted) } else { vec![said(Report::unrouted())] };
    }
    // Each says its result when it has one: a slow receiver delays nobody else's line.
    join_all(turns.into_iter().map(|turn| async move {
        let report = caught(delivery(app, turn, outcome, record, deadline)).await;
        said(report.unwrap_or_else(|finding| Report::of(finding, record.origin)))
    }))
    .await
}

/// A panic is one delivery's failure, not its neighbours'.
async fn caught<T>(work: impl Future<Output = T>) -> Result<T, Finding> {
    // What the work held is dropped with it; what it shares is behind locks that survive a panic.
    AssertUnwindSafe(work).catch_unwind().await.map_err(|_| Finding::Panic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_becomes_a_finding() {
        let none: Option<u32> = std::hint::black_box(None);
        let work = async { none.expect("SECRET") };
        assert_eq!(caught(work).await, Err(Finding::Panic));
        assert_eq!(caught(async { 1 }).await, Ok(1));
    }
}
