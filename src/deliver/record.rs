//! One record: its outcome is looked up and sent to all its destinations at once.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::AtomicBool;
use std::time::SystemTime;

use futures_util::FutureExt as _;
use futures_util::future::join_all;

use super::delivery::delivery;
use super::settle::{Case, settle};
use super::{App, Deadline};
use crate::domain::backoff::LONGEST_WAIT;
use crate::domain::destination::is_id;
use crate::domain::failure::Finding;
use crate::domain::outcome::Outcome;
use crate::domain::record::Record;
use crate::domain::report::Report;
use crate::domain::route::{Turn, Unrouted};
use crate::outbound::registry::LookupError;
use crate::telemetry;

/// What became of a record.
#[derive(Debug)]
pub struct RecordReport {
    pub run_id: Option<String>,
    pub webhook_id: Option<String>,
    /// One per delivery; one in all for a record that has none. None at all for a message that was hidden again.
    pub reports: Vec<Report>,
}

impl RecordReport {
    /// Whether the source may forget the record.
    pub fn acknowledged(&self) -> bool {
        !self.reports.is_empty() && self.reports.iter().all(|report| report.acknowledged)
    }
}

/// Delivers a record. It never fails: whatever happens is in the report and in the log.
pub async fn record(app: &App, record: &Record, deadline: Deadline) -> RecordReport {
    let outcome = record.outcome.as_ref().ok();
    let said = |report: Report| {
        telemetry::result(&report, record);
        report
    };
    let reports = match &record.outcome {
        _ if hidden_again(app, record, deadline).await => Vec::new(),
        Err(refused) => {
            let begun = AtomicBool::new(false);
            let case = Case { record, destination: None, has_siblings: false, begun: &begun, deadline };
            vec![said(settle(app, case, Finding::Refused(refused.clone())).await)]
        }
        Ok(outcome) => deliver_all(app, outcome, record, deadline, &said).await,
    };
    RecordReport {
        run_id: record.about().run_id.clone(),
        webhook_id: outcome.map(|outcome| outcome.payload.webhook_id.clone()),
        reports,
    }
}

/// A message that came before its time goes back: no attempt, no line.
async fn hidden_again(app: &App, record: &Record, deadline: Deadline) -> bool {
    let (Some(queues), Some(message)) = (&app.queues, &record.message) else { return false };
    let due = queues.orders(message).and_then(|orders| orders.due(message.sent));
    let early = due.and_then(|due| due.duration_since(SystemTime::now()).ok());
    let Some(early) = early.filter(|early| early.as_secs() > 0) else { return false };
    // If it cannot be hidden, it comes again when its visibility timeout ends.
    let _ = tokio::time::timeout(deadline.left_for_writes(), queues.hide(message, early.min(LONGEST_WAIT))).await;
    true
}

async fn deliver_all(
    app: &App,
    outcome: &Outcome,
    record: &Record,
    deadline: Deadline,
    said: &impl Fn(Report) -> Report,
) -> Vec<Report> {
    let begun = &AtomicBool::new(false);
    // The one that it waits for, or the outcome as a whole.
    let waits_for = destination_of(app, record).filter(|id| is_id(id));
    let whole = async |finding| {
        let case = Case { record, destination: waits_for, has_siblings: false, begun, deadline };
        let destination = waits_for.map(ToOwned::to_owned);
        vec![said(Report { destination, ..settle(app, case, finding).await })]
    };
    let lookup = tokio::time::timeout(deadline.left(), look_up(app, outcome, record));
    let turns = match caught(lookup).await {
        Err(finding) => return whole(finding).await,
        Ok(Err(_)) => return whole(Finding::NotStarted).await,
        Ok(Ok(Err(error))) => return whole(Finding::LookupFailed(error.to_string())).await,
        Ok(Ok(Ok(turns))) => turns,
    };
    if turns.is_empty() {
        // An alert that nobody would receive is no success; a run that found nothing is.
        let matters = outcome.kind().is_alert() && app.unrouted == Unrouted::DeadLetter;
        return if matters { whole(Finding::Unrouted).await } else { vec![said(Report::unrouted())] };
    }
    let has_siblings = turns.len() > 1;
    // Each says its result when it has one: a slow receiver delays nobody else's line.
    join_all(turns.into_iter().map(|turn| async move {
        let id = turn.id().map(ToOwned::to_owned);
        let case = || Case { record, destination: id.as_deref(), has_siblings, begun, deadline };
        let report = match caught(delivery(app, turn, outcome, case())).await {
            Ok(report) => report,
            Err(finding) => settle(app, case(), finding).await,
        };
        said(Report { destination: report.destination.or(id), ..report })
    }))
    .await
}

/// The turns of an outcome: all that its route says, or the one destination that it waits for.
async fn look_up(app: &App, outcome: &Outcome, record: &Record) -> Result<Vec<Turn>, LookupError> {
    match destination_of(app, record) {
        Some(id) => Ok(vec![app.registry.one(id).await?]),
        None => app.registry.lookup(outcome).await,
    }
}

/// The destination that a message from the retry queue is for.
fn destination_of<'a>(app: &App, record: &'a Record) -> Option<&'a str> {
    app.queues.as_ref()?.orders(record.message.as_ref()?)?.destination.as_deref()
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
