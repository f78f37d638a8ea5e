//! One thing that Lambda handed over: an outcome, or what should have been one.

use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::json::fit_for_sqs;
use super::outcome::{About, Outcome, Rejected};

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

    /// What log lines and answers say about the outcome.
    pub fn about(&self) -> &About {
        match &self.outcome {
            Ok(outcome) => &outcome.about,
            Err(rejected) => &rejected.about,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::problem::Problem;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + seconds)
    }

    #[test]
    fn a_queue_is_known_by_account_and_name() {
        let queue = QueueName::of_arn("arn:aws:sqs:eu-west-1:1234:outcomes").unwrap();
        let is_at = |end| queue.is_at(&format!("https://sqs.eu-west-1.amazonaws.com/{end}"));
        let ends = ["1234/outcomes", "1234/outcomes-2", "1234/x-outcomes", "91234/outcomes"];
        assert_eq!(ends.map(is_at), [true, false, false, false]);
        assert_eq!(QueueName::of_arn("arn:aws:sqs:eu-west-1:1234"), None);
    }

    #[test]
    fn a_time_over_12_hours_after_sending_is_not_obeyed() {
        let due = |seconds, sent| Orders { not_before: Some(at(seconds)), ..Orders::default() }.due(sent);
        assert_eq!([1, 43_200].map(|seconds| due(seconds, Some(at(0)))), [Some(at(1)), Some(at(43_200))]);
        assert_eq!((due(43_201, Some(at(0))), due(43_201, None)), (None, Some(at(43_201))));
    }

    #[test]
    fn only_the_retry_queue_gives_orders() {
        let orders = Orders { renewed: true, ..Orders::default() };
        let message = Message { sent: Some(at(5)), ..Message::new(orders.clone()) };
        assert_eq!((message.orders(true), message.orders(false)), (Some(&orders), None));
        assert_eq!([at(12), at(4)].map(|now| message.elapsed(now).as_secs()), [7, 0], "clocks differ");
    }

    #[test]
    fn a_rejected_record_keeps_what_is_known_and_what_came() {
        let about = About { run_id: Some("r".into()), ..About::default() };
        let rejected = Rejected { about: about.clone(), ..Problem::new("$", "x").into() };
        let record = Record::new(Origin::Direct, None, Err(rejected), "\u{1}".into());
        assert_eq!((record.about(), &record.received[..]), (&about, &br"\u0001"[..]));
    }
}
