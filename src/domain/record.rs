//! One thing that Lambda handed over: an outcome, or what should have been one.

use std::fmt;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::json::{Object, fit_for_sqs};
use super::outcome::{About, Outcome, Rejected};
use super::problem::{Problem, plain_or_quoted, printable};

/// A record of an event. What is wrong with it is its own affair.
#[derive(Debug, Clone)]
pub struct Record {
    pub origin: Origin,
    /// The SQS message that it came in.
    pub message: Option<Message>,
    pub outcome: Result<Outcome, Rejected>,
    /// The outermost text that came in. If it was rejected, the dead-letter queue can carry it: what SQS refuses is
    /// spelled as escapes.
    pub received: Bytes,
}

impl Record {
    pub fn new(origin: Origin, message: Option<Message>, outcome: Result<Outcome, Rejected>, received: Bytes) -> Self {
        let received = if outcome.is_err() { fit_for_sqs(&received) } else { received };
        Self { origin, message, outcome, received }
    }

    /// An event of unknown shape, to be dead-lettered as it came.
    pub fn unknown(event: Bytes, shape: &UnknownShape) -> Self {
        let problem = Problem::new("$", format!("{}, but {shape}", UnknownShape::ACCEPTED));
        let rejected = Rejected { is_unknown_event: true, ..problem.into() };
        Self::new(Origin::Direct, None, Err(rejected), event)
    }

    /// What log lines and answers say about the outcome.
    pub fn about(&self) -> &About {
        match &self.outcome {
            Ok(outcome) => &outcome.about,
            Err(rejected) => &rejected.about,
        }
    }
}

/// An event that is none of the accepted shapes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnknownShape {
    /// What it is and what to do, if it is known; follows "this is".
    pub what: Option<&'static str>,
    /// The first of its members' names, fit to be shown.
    pub keys: Vec<String>,
    /// Its size.
    pub bytes: usize,
}

impl UnknownShape {
    /// Ends the sentence "expected …".
    pub const ACCEPTED: &str = "a detection outcome (a JSON object with detection_id and outcome), alone or in an SQS event \
        (Records with body), an SNS event (Records with Sns.Message, or Type Notification with Message) or an EventBridge \
        event (detail-type with detail)";

    pub fn new(what: Option<&'static str>, event: &Object<'_>) -> Self {
        const SHOWN: usize = 10;
        let keys = event.names().take(SHOWN).map(|name| plain_or_quoted(&printable(name, 64))).collect();
        Self { what, keys, bytes: event.json.len() }
    }
}

impl fmt::Display for UnknownShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.what, self.keys.as_slice()) {
            (Some(what), _) => write!(f, "this is {what}"),
            (None, []) => write!(f, "this has no members ({} bytes)", self.bytes),
            (None, keys) => write!(f, "this has the members {} ({} bytes)", keys.join(", "), self.bytes),
        }
    }
}

/// Message attributes that are obeyed on messages from the retry queue. Others are ignored, and not copied.
pub mod attribute {
    /// Deliver to this destination alone: a retry never repeats one that has it.
    pub const DESTINATION: &str = "outcome-destination";
    /// Seconds since 1970: received earlier, the message is hidden again.
    pub const NOT_BEFORE: &str = "outcome-not-before";
    /// It has had a second schedule; its presence counts.
    pub const RENEWED: &str = "outcome-renewed";
    /// Its destination's fallback has a copy; its presence counts.
    pub const FALLBACK_SENT: &str = "outcome-fallback-sent";
    /// The destination in whose place the message's own one gets the outcome.
    pub const FALLBACK_FOR: &str = "outcome-fallback-for";
    /// The failure's code: for people, and to select dead letters by.
    pub const CODE: &str = "outcome-code";
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
    pub receipt_handle: Option<String>,
    /// Its queue, from the queue's ARN.
    pub queue: Option<QueueName>,
    pub sent: Option<SystemTime>,
    /// How often it was received, from 1.
    pub receive_count: u32,
    orders: Orders,
}

/// What the function wrote into the attributes of a message that it sent to the retry queue.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Orders {
    /// Deliver to this destination alone.
    pub destination: Option<String>,
    /// Received earlier, the message is hidden again.
    pub not_before: Option<SystemTime>,
    pub renewed: bool,
    pub fallback_sent: bool,
    pub fallback_for: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueName {
    pub account: String,
    pub name: String,
}

impl QueueName {
    /// Reads `arn:aws:sqs:REGION:ACCOUNT:NAME`.
    pub fn of_arn(arn: &str) -> Option<Self> {
        let mut parts = arn.split(':').skip(4).map(ToOwned::to_owned);
        Some(Self { account: parts.next()?, name: parts.next()? })
    }

    /// Whether a queue's URL is that of this queue: `https://…/ACCOUNT/NAME`.
    pub fn is_at(&self, url: &str) -> bool {
        url.ends_with(&format!("/{}/{}", self.account, self.name))
    }
}

impl Message {
    /// A message of which nothing is known but what its attributes say.
    pub fn new(orders: Orders) -> Self {
        Self { orders, receive_count: 1, ..Self::default() }
    }

    /// The message's orders, which only a message from the retry queue can give. Whoever may send outcomes to another
    /// queue must not choose a destination, pass filters by, or hide an outcome.
    pub fn orders(&self, from_retry_queue: bool) -> Option<&Orders> {
        from_retry_queue.then_some(&self.orders)
    }

    /// How long ago it was sent.
    pub fn elapsed(&self, now: SystemTime) -> Duration {
        self.sent.and_then(|sent| now.duration_since(sent).ok()).unwrap_or_default()
    }
}

impl Orders {
    /// When the next attempt is due. SQS hides nothing for longer than 12 hours: a time further ahead of when the message
    /// was sent is a mistake, and not obeyed.
    pub fn due(&self, sent: Option<SystemTime>) -> Option<SystemTime> {
        const LONGEST: Duration = Duration::from_secs(12 * 60 * 60);
        self.not_before.filter(|due| sent.is_none_or(|sent| *due <= sent + LONGEST))
    }
}
