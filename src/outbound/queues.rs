//! The queues that undelivered deliveries go to, and the visibility of messages that wait in theirs.

use std::time::{Duration, SystemTime};

use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::ProvideErrorMetadata;
use aws_sdk_sqs::types::MessageAttributeValue;
use aws_types::SdkConfig;

use super::aws::{Service, WRITES};
use crate::domain::record::attribute::{DESTINATION, NOT_BEFORE};
use crate::domain::record::{Message, Orders, QueueName};

/// SQS takes 1 MiB of body and attributes together; this is left for the attributes.
const MAX_BODY: usize = (1 << 20) - (8 << 10);

/// The longest that SQS holds a new message back (`DelaySeconds`).
const MAX_DELAY: Duration = Duration::from_secs(900);

/// Where parked and dead-lettered deliveries go.
#[derive(Debug, Clone)]
pub struct QueueUrls {
    pub retry: String,
    pub dead_letter: String,
}

/// The queues, ready to be written to.
#[derive(Debug)]
pub struct Queues {
    /// Every write takes a place, a message's visibility as well.
    sqs: Service<Client>,
    urls: QueueUrls,
}

/// A message was not written; its source must keep it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    #[error("the payload is larger than a queue can take")]
    TooLarge,
    #[error("{0}")]
    Failed(String),
}

/// What a person reads beside a message; the function itself never does.
#[derive(Debug, Clone, Default)]
pub struct Notes {
    pub code: Option<&'static str>,
    pub status: Option<u16>,
    pub attempt: Option<u32>,
    pub detail: Option<String>,
}

impl Queues {
    pub fn new(aws: &SdkConfig, urls: QueueUrls) -> Self {
        Self { sqs: Service::new(aws, WRITES, Client::new), urls }
    }

    /// Whether a message came from the retry queue.
    pub fn is_retry(&self, message: &Message) -> bool {
        message.queue.as_ref().is_some_and(|queue| queue.is_at(&self.urls.retry))
    }

    /// What a message orders, if it came from the retry queue.
    pub fn orders<'a>(&self, message: &'a Message) -> Option<&'a Orders> {
        message.orders(self.is_retry(message))
    }

    /// Writes a delivery, or a whole outcome without a destination, to the retry queue.
    pub async fn park(
        &self,
        body: &[u8],
        destination: Option<&str>,
        wait: Duration,
        now: SystemTime,
        notes: &Notes,
    ) -> Result<(), WriteError> {
        let mut attributes = attributes(destination, notes);
        if wait > MAX_DELAY {
            let due = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default() + wait;
            attributes.push((NOT_BEFORE, "Number", due.as_secs().to_string()));
        }
        let delay = i32::try_from(wait.min(MAX_DELAY).as_secs()).unwrap_or(0);
        self.send(&self.urls.retry, body, attributes, delay, destination).await
    }

    /// Writes what a person must look at to the dead-letter queue.
    pub async fn dead_letter(&self, body: &[u8], destination: Option<&str>, notes: &Notes) -> Result<(), WriteError> {
        self.send(&self.urls.dead_letter, body, attributes(destination, notes), 0, None).await
    }

    async fn send(
        &self,
        url: &str,
        body: &[u8],
        attributes: Vec<(&str, &str, String)>,
        delay: i32,
        group: Option<&str>,
    ) -> Result<(), WriteError> {
        if body.len() > MAX_BODY {
            return Err(WriteError::TooLarge);
        }
        let body =
            std::str::from_utf8(body).map_err(|_| WriteError::Failed("the payload is no UTF-8 text".to_owned()))?;
        // The group makes queues fair: many parked deliveries of one destination do not hold up another's.
        let sqs = self.sqs.client().await;
        let mut message =
            sqs.send_message().queue_url(url).message_body(body).set_message_group_id(group.map(Into::into));
        if delay > 0 {
            message = message.delay_seconds(delay);
        }
        for (name, kind, value) in attributes {
            let value = MessageAttributeValue::builder().data_type(kind).string_value(value).build();
            message = message.message_attributes(name, value.map_err(|error| WriteError::Failed(error.to_string()))?);
        }
        Box::pin(message.send()).await.map(drop).map_err(|error| failed("written to", url, error.code()))
    }

    /// Hides a received message for a while. That another receive owns it by now is no error.
    pub async fn hide(&self, message: &Message, wait: Duration) -> Result<(), WriteError> {
        let (Some(queue), Some(receipt)) = (&message.queue, &message.receipt_handle) else {
            return Err(WriteError::Failed("the message names no queue or receipt".to_owned()));
        };
        let url = self.url_of(queue);
        let seconds = i32::try_from(wait.as_secs()).unwrap_or(i32::MAX);
        let sqs = self.sqs.client().await;
        let request = sqs.change_message_visibility().queue_url(&url).receipt_handle(receipt);
        match Box::pin(request.visibility_timeout(seconds).send()).await {
            Ok(_) => Ok(()),
            Err(error) if is_not_ours(error.code(), error.message()) => Ok(()),
            Err(error) => Err(failed("hidden in", &url, error.code())),
        }
    }

    /// A queue's URL: beside the retry queue, as queues of one account and region are.
    fn url_of(&self, queue: &QueueName) -> String {
        let base = self.urls.retry.rsplitn(3, '/').nth(2).unwrap_or_default();
        format!("{base}/{}/{}", queue.account, queue.name)
    }
}

/// Whether SQS says that another receive owns the message by now, or that it is gone. The usual answer for a receipt
/// that is no longer valid is InvalidParameterValue, which has other reasons too.
fn is_not_ours(code: Option<&str>, message: Option<&str>) -> bool {
    const CODES: [&str; 3] = ["InvalidReceiptHandle", "ReceiptHandleIsInvalid", "MessageNotInflight"];
    code.is_some_and(|code| {
        CODES.iter().any(|known| code.contains(known))
            || (code.contains("InvalidParameterValue") && message.is_some_and(|text| text.contains("ReceiptHandle")))
    })
}

fn failed(what: &str, url: &str, code: Option<&str>) -> WriteError {
    let name = url.rsplit('/').next().unwrap_or_default();
    WriteError::Failed(format!("a message cannot be {what} {name}: {}", code.unwrap_or("SQS does not answer")))
}

fn attributes<'a>(destination: Option<&str>, notes: &Notes) -> Vec<(&'a str, &'a str, String)> {
    let mut attributes = Vec::new();
    attributes.extend(destination.map(|id| (DESTINATION, "String", id.to_owned())));
    attributes.extend(notes.code.map(|code| ("outcome-code", "String", code.to_owned())));
    attributes.extend(notes.status.map(|status| ("outcome-status", "Number", status.to_string())));
    attributes.extend(notes.attempt.map(|attempt| ("outcome-attempt", "Number", attempt.to_string())));
    attributes.extend(
        notes.detail.as_ref().filter(|text| !text.is_empty()).map(|text| ("outcome-detail", "String", text.clone())),
    );
    attributes
}
