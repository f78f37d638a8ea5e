//! What Lambda is answered.

use aws_lambda_events::sqs::SqsBatchResponse;
use lambda_runtime::Diagnostic;
use serde::Serialize;

use super::envelope::ACCEPTED;
use crate::deliver::{AdminAnswer, RecordReport};
use crate::domain::record::Record;
use crate::domain::report::Told;

/// The answer to an invocation that succeeded.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Answer {
    /// SQS: the messages that stay in their queue.
    Batch(SqsBatchResponse),
    /// A single outcome: what became of it.
    One(Box<RecordReport>),
    Several(Vec<RecordReport>),
    /// An event of unknown shape.
    Rejected(Box<Told>),
    Admin(AdminAnswer),
}

/// Why an invocation fails. The text reaches whoever invoked the function, so it is fixed.
#[derive(Debug, thiserror::Error)]
pub enum InvocationFailed {
    #[error("the event has no known shape: expected {ACCEPTED}")]
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
pub(super) fn batch(records: &[Record], reports: &[RecordReport]) -> Result<Answer, InvocationFailed> {
    let mut response = SqsBatchResponse::default();
    for (record, _) in records.iter().zip(reports).filter(|(_, report)| !report.acknowledged()) {
        match record.message.as_ref().and_then(|message| message.id.as_ref()) {
            // Nothing names it, so only the failure of the whole batch keeps it in its queue.
            None => return Err(InvocationFailed::Undelivered),
            Some(id) if response.batch_item_failures.iter().any(|failure| failure.item_identifier == *id) => {}
            Some(id) => response.add_failure(id),
        }
    }
    Ok(Answer::Batch(response))
}

/// The answer to everything else.
pub(super) fn reports(reports: Vec<RecordReport>) -> Result<Answer, InvocationFailed> {
    if !reports.iter().all(RecordReport::acknowledged) {
        return Err(InvocationFailed::Undelivered);
    }
    Ok(match <[_; 1]>::try_from(reports) {
        Ok([one]) => Answer::One(Box::new(one)),
        Err(reports) => Answer::Several(reports),
    })
}

/// The answer to an event of unknown shape that is in the dead-letter queue: its report, so that nobody tries it again.
pub(super) fn rejected(record: RecordReport) -> Result<Answer, InvocationFailed> {
    let report = record.deliveries.into_iter().next().ok_or(InvocationFailed::UnknownShape)?;
    Ok(Answer::Rejected(Box::new(report)))
}
