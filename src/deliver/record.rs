//! One record: its outcome is looked up and delivered to all its destinations at once.

use std::panic::AssertUnwindSafe;
use std::time::SystemTime;

use futures_util::future::join_all;
use futures_util::{FutureExt as _, TryFutureExt as _};
use serde::Serialize;

use super::delivery::deliver;
use super::settle::{Case, settle};
use super::{App, Deadline};
use crate::domain::backoff::LONGEST_WAIT;
use crate::domain::failure::{Code, Failure};
use crate::domain::outcome::Outcome;
use crate::domain::problem::plain_or_quoted;
use crate::domain::record::Record;
use crate::domain::report::{Fate, Report, Told};
use crate::domain::route::{Delivery, Unrouted, shown};
use crate::telemetry;

/// What became of a record.
#[derive(Debug, Serialize)]
pub struct RecordReport {
    pub run_id: Option<String>,
    pub webhook_id: Option<String>,
    /// One per delivery; one in all for a record that has none. None at all for a message that was hidden again.
    pub deliveries: Vec<Told>,
}

impl RecordReport {
    /// Whether the source may forget the record.
    pub fn acknowledged(&self) -> bool {
        !self.deliveries.is_empty() && self.deliveries.iter().all(|told| told.report.acknowledged)
    }
}

/// Delivers a record. It never fails: whatever happens is in the report and in the log.
pub async fn record(app: &App, record: &Record, deadline: Deadline) -> RecordReport {
    let orders = app.queues.as_ref().zip(record.message.as_ref()).and_then(|(queues, message)| queues.orders(message));
    let whole = Case {
        record,
        orders,
        destination: orders.and_then(|orders| orders.destination.as_deref()).map(shown),
        fanned_out: false,
        deadline,
    };
    let deliveries = match &record.outcome {
        _ if hidden_again(app, &whole).await => Vec::new(),
        Err(rejected) => vec![logged(settle(app, whole, None, Err(rejected.failure())).await)],
        Ok(outcome) => deliver_all(app, outcome, whole).await,
    };
    RecordReport {
        run_id: record.about().run_id.clone(),
        webhook_id: record.outcome.as_ref().ok().map(|outcome| outcome.payload.webhook_id.clone()),
        deliveries,
    }
}

/// Each says its result when it has one: a slow receiver delays nobody else's line.
fn logged(report: Report) -> Told {
    telemetry::report(&report);
    report.into()
}

/// A message that came before its time goes back: no attempt, no line.
async fn hidden_again(app: &App, case: &Case<'_>) -> bool {
    let (Some(queues), Some(message), Some(orders)) = (&app.queues, &case.record.message, case.orders) else {
        return false;
    };
    let early = orders.due(message.sent).and_then(|due| due.duration_since(SystemTime::now()).ok());
    let Some(early) = early.filter(|early| early.as_secs() > 0) else { return false };
    // If it cannot be hidden, it comes again when its visibility timeout ends.
    let _ = tokio::time::timeout(case.deadline.left_for_writes(), queues.hide(message, early.min(LONGEST_WAIT))).await;
    true
}

async fn deliver_all(app: &App, outcome: &Outcome, whole: Case<'_>) -> Vec<Told> {
    let settle_whole = async |failure| vec![logged(settle(app, whole, None, Err(failure)).await)];
    let looking = tokio::time::timeout(whole.deadline.left(), look_up(app, outcome, whole));
    let looking = looking.map(|found| found.unwrap_or_else(|_| Err(too_late())));
    let deliveries = match caught(looking).await {
        Err(failure) | Ok(Err(failure)) => return settle_whole(failure).await,
        Ok(Ok(deliveries)) => deliveries,
    };
    if deliveries.is_empty() {
        // An alert that nobody would receive is no success; a run that found nothing is.
        if outcome.kind().is_alert() && app.unrouted == Unrouted::DeadLetter {
            let detection = plain_or_quoted(outcome.about.detection_id.as_deref().unwrap_or_default());
            return settle_whole(Failure::new(Code::Unrouted).with("detection", detection)).await;
        }
        return vec![logged(Report::new(&whole.facts(None, None), &Fate::Ignored, None, SystemTime::now()))];
    }
    join_all(deliveries.into_iter().map(|delivery| async move {
        let id = delivery.id().map(ToOwned::to_owned);
        let to = if let Delivery::Send(destination) = &delivery { Some(destination.clone()) } else { None };
        let case = Case { destination: id.as_deref(), fanned_out: true, ..whole };
        match caught(deliver(app, delivery, outcome, case)).await {
            Ok(report) => logged(report),
            // Perhaps the request was sent before.
            Err(panic) => {
                logged(settle(app, case, to.as_deref(), Err(Failure { maybe_received: true, ..panic })).await)
            }
        }
    }))
    .await
}

/// The deliveries of an outcome: all that its route says, or the one that it waits for.
async fn look_up(app: &App, outcome: &Outcome, case: Case<'_>) -> Result<Vec<Delivery>, Failure> {
    match case.destination {
        Some(id) => Ok(vec![Delivery::Send(app.registry.destination(id).await?)]),
        None => app.registry.deliveries(outcome).await,
    }
}

fn too_late() -> Failure {
    Failure::of(
        Code::LookupFailed,
        "their registry",
        "no answer before this function's time was over",
        "look for other lines about the registry, and lower the batch size or raise the function's timeout",
    )
}

/// A panic is one delivery's failure, not its neighbours'.
fn caught<T>(work: impl Future<Output = T>) -> impl Future<Output = Result<T, Failure>> {
    // What the work held is dropped with it; what it shares is behind locks that survive a panic.
    let panicked = |_| {
        let failure = Failure::new(Code::Panic).with("place", telemetry::last_panic());
        failure.with("version", env!("CARGO_PKG_VERSION"))
    };
    AssertUnwindSafe(work).catch_unwind().map_err(panicked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_becomes_a_failure() {
        let none: Option<u32> = std::hint::black_box(None);
        let failure = caught(async { none.expect("SECRET") }).await.unwrap_err();
        assert!(failure.code == Code::Panic && !failure.cause().contains("SECRET"));
        assert_eq!(caught(async { 1 }).await, Ok(1));
    }
}
