//! One thing that Lambda handed over: an outcome, or what should have been one.

use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::outcome::{Outcome, Refused};
use super::problem::label;

/// A record of an event. What is wrong with it is its own affair, not its neighbours'.
#[derive(Debug, Clone)]
pub struct Record {
    pub origin: Origin,
    /// The SQS message that it came in. Records cut from one message share it.
    pub message: Option<Message>,
    pub outcome: Result<Outcome, Refused>,
    /// What came in, for a person to look at if it is no outcome.
    pub received: Bytes,
}

impl Record {
    pub fn detection_id(&self) -> Option<&str> {
        match &self.outcome {
            Ok(outcome) => Some(&outcome.detection_id),
            Err(refused) => refused.detection_id.as_deref(),
        }
    }

    pub fn detection_name(&self) -> Option<&str> {
        match &self.outcome {
            Ok(outcome) => Some(&outcome.detection_name),
            Err(refused) => refused.detection_name.as_deref(),
        }
    }

    pub fn run_id(&self) -> Option<&str> {
        match &self.outcome {
            Ok(outcome) => outcome.run_id.as_deref(),
            Err(refused) => refused.run_id.as_deref(),
        }
    }

    /// By what a reader finds it where there is no outcome to speak of: its message, and as much as could be read.
    pub fn found_by(&self) -> String {
        let message = self.message.as_ref().map(|message| match &message.id {
            Some(id) => format!("message {}", label(id, 128)),
            None => format!("Records[{}]", message.index),
        });
        let detection = match (self.detection_id(), self.detection_name()) {
            (Some(id), Some(name)) => Some(format!("detection {id} '{name}'")),
            (Some(id), None) => Some(format!("detection {id}")),
            (None, Some(name)) => Some(format!("detection '{name}'")),
            (None, None) => None,
        };
        let run = self.run_id().map(|id| format!("run {id}"));
        [message, detection, run].into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

/// Message attributes that are obeyed. Foreign ones are ignored, and not copied.
pub mod attribute {
    /// Deliver to this destination alone: a retry never repeats one that has it.
    pub const DESTINATION: &str = "outcome-destination";
    /// Seconds since 1970: received earlier, the message is hidden again.
    pub const NOT_BEFORE: &str = "outcome-not-before";
}

/// Who handed the outcome over, which decides what happens to an undelivered one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    Direct,
    Sqs,
    Sns,
    EventBridge,
}

/// An SQS message as it was received.
#[derive(Debug, Clone, Default)]
pub struct Message {
    /// By which a failure is reported.
    pub id: Option<String>,
    /// Its place among the event's `Records`.
    pub index: usize,
    pub receipt_handle: Option<String>,
    /// Whether it holds several records: what it hides or keeps, it hides or keeps of all of them.
    pub is_shared: bool,
    /// Region, account and name of its queue, from the queue's ARN.
    pub queue: Option<QueueName>,
    pub sent: Option<SystemTime>,
    /// How often it was received, from 1.
    pub receive_count: u32,
    /// `outcome-destination`: deliver to this one alone.
    pub destination: Option<String>,
    /// `outcome-not-before`: received earlier, it is hidden again.
    pub not_before: Option<SystemTime>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueName {
    pub region: String,
    pub account: String,
    pub name: String,
}

impl QueueName {
    /// Reads `arn:aws:sqs:REGION:ACCOUNT:NAME`.
    pub fn of_arn(arn: &str) -> Option<Self> {
        let mut parts = arn.split(':').skip(3).map(ToOwned::to_owned);
        Some(Self { region: parts.next()?, account: parts.next()?, name: parts.next()? })
    }

    /// Whether a queue's URL is that of this queue: `https://…/ACCOUNT/NAME`.
    pub fn is_at(&self, url: &str) -> bool {
        url.ends_with(&format!("/{}/{}", self.account, self.name))
    }
}

impl Message {
    /// When its next attempt is due, if it says so. SQS hides nothing for longer than 12 hours: what lies further ahead
    /// was written by nobody who knows, and is not obeyed.
    pub fn due(&self) -> Option<SystemTime> {
        const LONGEST: Duration = Duration::from_secs(12 * 60 * 60);
        self.not_before.filter(|due| self.sent.is_none_or(|sent| *due <= sent + LONGEST))
    }

    /// How long ago it was sent.
    pub fn elapsed(&self, now: SystemTime) -> Duration {
        self.sent.and_then(|sent| now.duration_since(sent).ok()).unwrap_or_default()
    }
}
