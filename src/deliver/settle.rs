//! What becomes of a delivery that was not made: parked, hidden again, dead-lettered, or kept where it is.
//!
//! What is to be kept is written before anything is acknowledged. A crash in between makes a duplicate with the same
//! `webhook-id`, never a loss.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use super::{App, Deadline};
use crate::domain::backoff::{after_our_fault, attempt_number, next_attempt};
use crate::domain::code::Code;
use crate::domain::failure::Finding;
use crate::domain::problem::label;
use crate::domain::record::{Message, Record};
use crate::domain::report::{Report, Settled};
use crate::domain::verdict::{Verdict, verdict};
use crate::outbound::queues::{Notes, Queues, WriteError};

/// What is settled: a finding about one delivery of a record, or about the record as a whole.
pub(super) struct Case<'a> {
    pub(super) record: &'a Record,
    /// The destination's id, for what is kept as a delivery of its own.
    pub(super) destination: Option<&'a str>,
    /// Whether the record has other deliveries, which must not be repeated when they have been made.
    pub(super) has_siblings: bool,
    /// Whether any of them has been begun.
    pub(super) begun: &'a AtomicBool,
    pub(super) deadline: Deadline,
}

impl Case<'_> {
    /// A write that must be over before the answer is due.
    async fn in_time(&self, write: impl Future<Output = Result<(), WriteError>>) -> Result<(), WriteError> {
        let written = tokio::time::timeout(self.deadline.left_for_writes(), write).await;
        written.unwrap_or_else(|_| Err(WriteError::Failed("this function's time is over".to_owned())))
    }

    /// Whether the source may keep it without repeating what another delivery of the message has done.
    fn may_stay(&self, finding: &Finding) -> bool {
        match finding {
            // At the deadline it is known what has been begun.
            Finding::NotStarted => !self.begun.load(Ordering::Relaxed),
            _ => !self.has_siblings,
        }
    }
}

/// The attempt's number over the delivery's life.
pub(super) fn attempt_of(app: &App, record: &Record, now: SystemTime) -> u32 {
    match (&app.queues, &record.message) {
        // Without queues of ours, SQS counts.
        (None, Some(message)) => message.receive_count,
        _ => waiting(app.queues.as_ref(), record)
            .map_or(1, |message| attempt_number(message.elapsed(now)).min(app.max_attempts)),
    }
}

/// The message, if it is a delivery that already waits in the retry queue.
fn waiting<'a>(queues: Option<&Queues>, record: &'a Record) -> Option<&'a Message> {
    let message = record.message.as_ref()?;
    queues?.orders(message).filter(|orders| orders.destination.is_some()).map(|_| message)
}

/// Decides and writes; the report says what was done.
pub(super) async fn settle(app: &App, case: Case<'_>, finding: Finding) -> Report {
    let now = SystemTime::now();
    let Some(queues) = &app.queues else { return Report::of(finding, case.record.origin) };
    let attempt = attempt_of(app, case.record, now);
    match verdict(&finding) {
        Verdict::Delivered => Report::of(finding, case.record.origin),
        Verdict::Permanent => dead_letter(queues, &case, finding, attempt).await,
        Verdict::Retry { at_least } | Verdict::RefreshSecrets { at_least } => {
            retry(app, queues, &case, finding, at_least, now).await
        }
        // Nothing was begun or looked up: the source keeps it, unless that would repeat what others have got.
        Verdict::Keep => match &case.record.message {
            Some(message) if case.may_stay(&finding) => {
                hide_after_our_fault(app, queues, &case, message, finding).await
            }
            // Nor can anything be written.
            _ if case.deadline.left_for_writes().is_zero() => Report::of(finding, case.record.origin),
            _ => retry(app, queues, &case, finding, Duration::ZERO, now).await,
        },
    }
}

async fn retry(
    app: &App,
    queues: &Queues,
    case: &Case<'_>,
    finding: Finding,
    at_least: Duration,
    now: SystemTime,
) -> Report {
    let waiting = waiting(Some(queues), case.record);
    let elapsed = waiting.map(|message| message.elapsed(now)).unwrap_or_default();
    let Some(wait) = next_attempt(elapsed, at_least, app.max_attempts, fastrand::f64()) else {
        return dead_letter(queues, case, finding, attempt_of(app, case.record, now)).await;
    };
    case.begun.store(true, Ordering::Relaxed);
    let (settled, written) = if let Some(message) = waiting {
        (Settled::Waiting, case.in_time(queues.hide(message, wait)).await)
    } else {
        let notes = notes(&finding, attempt_of(app, case.record, now));
        let write = queues.park(body(case.record), case.destination, wait, now, &notes);
        (Settled::Parked, case.in_time(write).await)
    };
    match written {
        Ok(()) => {
            // A destination under maintenance is not failing.
            let parked_for = waiting.filter(|_| finding != Finding::Paused).map(|_| elapsed);
            Report { parked_for, ..Report::again(settled, finding, wait) }
        }
        // It comes again by itself when its visibility timeout ends; the schedule is anchored and does not mind.
        Err(error) => not_written(case, finding, &error),
    }
}

async fn dead_letter(queues: &Queues, case: &Case<'_>, finding: Finding, attempt: u32) -> Report {
    let notes = notes(&finding, attempt);
    case.begun.store(true, Ordering::Relaxed);
    match case.in_time(queues.dead_letter(body(case.record), case.destination, &notes)).await {
        Ok(()) => Report::dead_lettered(finding),
        Err(error) => not_written(case, finding, &error),
    }
}

async fn hide_after_our_fault(
    app: &App,
    queues: &Queues,
    case: &Case<'_>,
    message: &Message,
    finding: Finding,
) -> Report {
    let mut wait = after_our_fault(message.receive_count);
    if let Some(waiting) = waiting(Some(queues), case.record) {
        // It was received for each of its attempts: the count says little, and the schedule goes on.
        let elapsed = waiting.elapsed(SystemTime::now());
        wait = next_attempt(elapsed, Duration::ZERO, app.max_attempts, fastrand::f64()).map_or(wait, |at| at.min(wait));
    }
    match case.in_time(queues.hide(message, wait)).await {
        Ok(()) => Report::hidden(finding, wait),
        // It comes again when its visibility timeout ends: later, but not lost.
        Err(_) => Report::of(finding, case.record.origin),
    }
}

/// What could not be written stays with its source.
fn not_written(case: &Case<'_>, finding: Finding, error: &WriteError) -> Report {
    let (reason, too_large) = (error.to_string(), error == &WriteError::TooLarge);
    Report::of(Finding::NotWritten { finding: Box::new(finding), reason, too_large }, case.record.origin)
}

fn body(record: &Record) -> &[u8] {
    record.outcome.as_ref().map_or(&record.received, |outcome| &outcome.payload.body)
}

fn notes(finding: &Finding, attempt: u32) -> Notes {
    Notes {
        code: finding.code().map(Code::name),
        status: finding.status(),
        attempt: Some(attempt).filter(|_| finding.is_attempt()),
        detail: finding.cause().map(|cause| label(&cause, 1024)),
    }
}
