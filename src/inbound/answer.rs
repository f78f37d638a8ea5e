//! What Lambda is answered.

use aws_lambda_events::sqs::{BatchItemFailure, SqsBatchResponse};
use lambda_runtime::Diagnostic;
use serde::Serialize;

use crate::deliver::RecordReport;
use crate::domain::check::CheckReport;
use crate::domain::probe::ProbeReport;
use crate::domain::record::Record;
use crate::domain::report::{Report, Settled};

/// The answer to an invocation that succeeded.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Answer {
    /// SQS: the messages that stay in their queue.
    Batch(SqsBatchResponse),
    /// A single outcome: what became of it.
    One(Box<OutcomeReport>),
    Several(Vec<OutcomeReport>),
    /// What an administrator asked for.
    Probe(ProbeReport),
    Check(CheckReport),
}

/// What became of an outcome.
#[derive(Debug, Serialize)]
pub struct OutcomeReport {
    run_id: Option<String>,
    webhook_id: Option<String>,
    deliveries: Vec<DeliveryReport>,
}

#[derive(Debug, Serialize)]
struct DeliveryReport {
    #[serde(skip_serializing_if = "Option::is_none")]
    destination: Option<String>,
    result: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    elapsed_ms: Option<u128>,
}

/// Why an invocation fails. The text reaches whoever invoked the function, so it is fixed.
#[derive(Debug, thiserror::Error)]
pub enum InvocationFailed {
    #[error(
        "the event has no known shape. Expected is {}. By hand: {{\"probe\": \"DESTINATION\"}} and {{\"check\": true}}.",
        crate::domain::record::UnknownShape::ACCEPTED
    )]
    UnknownShape,
    #[error("an error inside the function; its log says where")]
    Panic,
    #[error("at least one outcome was not delivered; the function's log says which, why, and what to do")]
    Undelivered,
}

impl From<InvocationFailed> for Diagnostic {
    fn from(error: InvocationFailed) -> Self {
        let error_type = match error {
            InvocationFailed::UnknownShape => "UnknownShape",
            InvocationFailed::Panic => "Panic",
            InvocationFailed::Undelivered => "Undelivered",
        };
        Self { error_type: error_type.into(), error_message: error.to_string() }
    }
}

/// The answer to an SQS batch. Only ids that were received go in: an unknown one fails the whole batch.
pub(super) fn batch(outcomes: &[(Record, RecordReport)]) -> Result<Answer, InvocationFailed> {
    let mut response = SqsBatchResponse::default();
    for (record, _) in outcomes.iter().filter(|(_, report)| !report.acknowledged()) {
        match record.message.as_ref().and_then(|message| message.id.as_ref()) {
            // Nothing names it, so only the failure of the whole batch keeps it in its queue.
            None => return Err(InvocationFailed::Undelivered),
            Some(id) if response.batch_item_failures.iter().any(|failure| failure.item_identifier == *id) => {}
            Some(id) => {
                let mut failure = BatchItemFailure::default();
                failure.item_identifier.clone_from(id);
                response.batch_item_failures.push(failure);
            }
        }
    }
    Ok(Answer::Batch(response))
}

/// The answer to everything else.
pub(super) fn reports(outcomes: Vec<(Record, RecordReport)>) -> Result<Answer, InvocationFailed> {
    if outcomes.iter().any(|(_, report)| !report.acknowledged()) {
        return Err(InvocationFailed::Undelivered);
    }
    let mut reports: Vec<_> = outcomes.into_iter().map(|(_, report)| OutcomeReport::of(report)).collect();
    Ok(match (reports.pop(), reports.is_empty()) {
        (Some(one), true) => Answer::One(Box::new(one)),
        (Some(last), false) => {
            reports.push(last);
            Answer::Several(reports)
        }
        (None, _) => Answer::Several(reports),
    })
}

impl OutcomeReport {
    fn of(report: RecordReport) -> Self {
        let delivery = |report: Report| DeliveryReport {
            destination: report.destination,
            result: match report.settled {
                // Spelled for people; the log's field is spelled for queries.
                Settled::DeadLettered => "dead-lettered",
                settled => settled.name(),
            },
            status: report.status,
            elapsed_ms: report.timings.map(|timings| timings.total.as_millis()),
        };
        Self {
            run_id: report.run_id,
            webhook_id: report.webhook_id,
            deliveries: report.reports.into_iter().map(delivery).collect(),
        }
    }
}
