//! The queues that undelivered deliveries go to, and the visibility of messages that wait in theirs.

use std::time::{Duration, SystemTime};

use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::ProvideErrorMetadata;
use aws_sdk_sqs::types::MessageAttributeValue;
use aws_types::SdkConfig;

use super::aws::{Service, WRITES, failure};
use crate::domain::failure::{AwsReason, Code, Failure};
use crate::domain::record::{Message, Orders, QueueName, attribute};

/// SQS takes 1 MiB of body and attributes together.
const MAX_MESSAGE: usize = 1 << 20;

/// Left for the attributes that are for people.
const FOR_NOTES: usize = 8 << 10;

/// The longest that SQS holds a new message back (`DelaySeconds`).
const MAX_DELAY: Duration = Duration::from_secs(900);

/// Where undelivered deliveries go.
#[derive(Debug, Clone)]
pub struct QueueUrls {
    pub retry: String,
    pub dead_letter: String,
}

/// The queues, ready to be written to.
#[derive(Debug)]
pub struct Queues {
    /// Every write takes a place, a message's visibility as well.
    pub(super) sqs: Service<Client>,
    pub(super) urls: QueueUrls,
}

/// What is to be kept: an outcome's body and what is written beside it as message attributes.
#[derive(Debug, Clone, Default)]
pub struct NewMessage<'a> {
    pub body: &'a [u8],
    /// What will be obeyed, but for the time, which follows from the wait.
    pub orders: Orders,
    /// What a person reads beside it. A list or a redrive selects by the code.
    pub code: Option<&'static str>,
    pub status: Option<u16>,
    pub attempt: Option<u32>,
    pub detail: Option<String>,
}

impl Queues {
    pub fn new(aws: &SdkConfig, urls: QueueUrls) -> Self {
        Self { sqs: Service::new(aws, WRITES, Client::new), urls }
    }

    /// What a message's attributes say, if it came from the retry queue. A producer's attributes are nobody's orders.
    pub fn orders<'a>(&self, message: &'a Message) -> Option<&'a Orders> {
        message.orders(message.queue.as_ref().is_some_and(|queue| queue.is_at(&self.urls.retry)))
    }

    pub fn dead_letter_name(&self) -> &str {
        name(&self.urls.dead_letter)
    }

    /// Writes a delivery, or a whole outcome without a destination, to the retry queue.
    pub async fn retry(&self, message: &NewMessage<'_>, wait: Duration, now: SystemTime) -> Result<(), Failure> {
        let due = (wait > MAX_DELAY).then(|| now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default() + wait);
        let delay = i32::try_from(wait.min(MAX_DELAY).as_secs()).unwrap_or(0);
        self.send(&self.urls.retry, message, due, delay).await
    }

    /// Writes what a person must look at to the dead-letter queue.
    pub async fn dead_letter(&self, message: &NewMessage<'_>) -> Result<(), Failure> {
        self.send(&self.urls.dead_letter, message, None, 0).await
    }

    async fn send(
        &self,
        url: &str,
        message: &NewMessage<'_>,
        due: Option<Duration>,
        delay: i32,
    ) -> Result<(), Failure> {
        let body = std::str::from_utf8(message.body)
            .map_err(|_| Failure::of_aws(Code::QueueFailed, &queue(url), AwsReason::Other, "not UTF-8 text"))?;
        let mut attributes = message.obeyed(due);
        if body.len() + FOR_NOTES <= MAX_MESSAGE {
            attributes.extend(message.notes());
        }
        let size = |(name, kind, value): &(&str, &str, String)| name.len() + kind.len() + value.len();
        let total = body.len() + attributes.iter().map(size).sum::<usize>();
        if total > MAX_MESSAGE {
            return Err(Failure::new(Code::TooLargeToKeep).with("size", format_args!("{total} bytes")));
        }
        // The group makes queues fair: many waiting deliveries of one destination do not hold up another's.
        let group = message.orders.destination.clone().filter(|_| url == self.urls.retry);
        let sqs = self.sqs.client().await;
        let mut message = sqs.send_message().queue_url(url).message_body(body).set_message_group_id(group);
        message = message.set_delay_seconds(Some(delay).filter(|delay| *delay > 0));
        for (name, kind, value) in attributes {
            // Building it fails without a type alone.
            if let Ok(value) = MessageAttributeValue::builder().data_type(kind).string_value(value).build() {
                message = message.message_attributes(name, value);
            }
        }
        Box::pin(message.send()).await.map(drop).map_err(|error| failed(url, &error))
    }

    /// Hides a received message for a while. That another receive owns it by now is no error.
    pub async fn hide(&self, message: &Message, wait: Duration) -> Result<(), Failure> {
        let (Some(queue), Some(receipt)) = (&message.queue, &message.receipt_handle) else {
            return Err(Failure::of_aws(Code::QueueFailed, "the message's queue", AwsReason::Other, "")
                .with("problems", "the message names no queue or receipt"));
        };
        let url = self.url_of(queue);
        let seconds = i32::try_from(wait.as_secs()).unwrap_or(i32::MAX);
        let sqs = self.sqs.client().await;
        let request = sqs.change_message_visibility().queue_url(&url).receipt_handle(receipt);
        match Box::pin(request.visibility_timeout(seconds).send()).await {
            Ok(_) => Ok(()),
            Err(error) if is_not_ours(&error) => Ok(()),
            Err(error) => Err(failed(&url, &error)),
        }
    }

    /// A queue's URL: beside the retry queue, as queues of one account and region are.
    fn url_of(&self, queue: &QueueName) -> String {
        let base = self.urls.retry.rsplitn(3, '/').nth(2).unwrap_or_default();
        format!("{base}/{}/{}", queue.account, queue.name)
    }
}

impl NewMessage<'_> {
    fn obeyed(&self, due: Option<Duration>) -> Vec<(&'static str, &'static str, String)> {
        let orders = &self.orders;
        let text = |name, value: Option<&str>| value.map(|value| (name, "String", value.to_owned()));
        [
            text(attribute::DESTINATION, orders.destination.as_deref()),
            text(attribute::FALLBACK_FOR, orders.fallback_for.as_deref()),
            text(attribute::RENEWED, orders.renewed.then_some("true")),
            text(attribute::FALLBACK_SENT, orders.fallback_sent.then_some("true")),
            due.map(|due| (attribute::NOT_BEFORE, "Number", due.as_secs().to_string())),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    fn notes(&self) -> impl Iterator<Item = (&'static str, &'static str, String)> {
        let detail = self.detail.clone().filter(|text| !text.is_empty());
        [
            self.code.map(|code| (attribute::CODE, "String", code.to_owned())),
            self.status.map(|status| ("outcome-status", "Number", status.to_string())),
            self.attempt.map(|attempt| ("outcome-attempt", "Number", attempt.to_string())),
            detail.map(|text| ("outcome-detail", "String", text)),
        ]
        .into_iter()
        .flatten()
    }
}

/// A queue's name: the last part of its URL.
pub fn name(url: &str) -> &str {
    url.rsplit('/').next().unwrap_or_default()
}

fn queue(url: &str) -> String {
    format!("the queue `{}`", name(url))
}

/// Whether SQS says that another receive owns the message by now, or that it is gone. The usual answer for a receipt
/// that is no longer valid is InvalidParameterValue, which has other reasons too.
fn is_not_ours(error: &impl ProvideErrorMetadata) -> bool {
    const CODES: [&str; 3] = ["InvalidReceiptHandle", "ReceiptHandleIsInvalid", "MessageNotInflight"];
    let (code, message) = (error.code().unwrap_or_default(), error.message().unwrap_or_default());
    CODES.iter().any(|known| code.contains(known))
        || (code.contains("InvalidParameterValue") && message.contains("ReceiptHandle"))
}

fn failed(url: &str, error: &impl ProvideErrorMetadata) -> Failure {
    failure(Code::QueueFailed, &queue(url), error)
}
