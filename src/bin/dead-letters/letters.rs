//! The dead-letter queue as a list. SQS has none: messages are received, and those that are not wanted released.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::ProvideErrorMetadata;
use aws_sdk_sqs::types::{Message, MessageAttributeValue, MessageSystemAttributeName};
use detection_outcome_handler::domain::destination::is_id;
use detection_outcome_handler::domain::record::attribute::DESTINATION;

/// How long a run may hold messages: nobody else sees them meanwhile, and they come back by themselves afterwards.
pub(crate) const HOLD_FOR_LIST: i32 = 60;
pub(crate) const HOLD_FOR_REDRIVE: i32 = 900;

/// A dead letter that this run holds.
pub(crate) struct Letter {
    id: String,
    receipt: String,
    body: String,
    pub(crate) destination: Option<String>,
    pub(crate) code: Option<String>,
    sent: SystemTime,
}

impl Letter {
    fn of(message: Message) -> Option<Self> {
        let attributes = message.message_attributes.unwrap_or_default();
        let text = |name: &str| attributes.get(name).and_then(|value| value.string_value.clone());
        let sent = message.attributes.and_then(|attributes| {
            let milliseconds = attributes.get(&MessageSystemAttributeName::SentTimestamp)?.parse().ok()?;
            SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(milliseconds))
        });
        Some(Self {
            destination: text(DESTINATION),
            code: text("outcome-code"),
            id: message.message_id?,
            receipt: message.receipt_handle?,
            body: message.body?,
            sent: sent.unwrap_or(SystemTime::UNIX_EPOCH),
        })
    }

    pub(crate) fn age(&self, now: SystemTime) -> Duration {
        now.duration_since(self.sent).unwrap_or_default()
    }
}

pub(crate) struct Queue {
    client: Client,
    url: String,
}

impl Queue {
    pub(crate) fn new(client: Client, url: &str) -> Self {
        Self { client, url: url.to_owned() }
    }

    /// Receives everything that is visible, and holds it for some seconds.
    pub(crate) async fn read_all(&self, hold: i32) -> Result<Vec<Letter>, String> {
        let mut letters: HashMap<String, Letter> = HashMap::new();
        let mut empty = 0;
        // A receive may find nothing although something is there: only several in a row say so.
        while empty < 3 {
            let answer = self
                .client
                .receive_message()
                .queue_url(&self.url)
                .max_number_of_messages(10)
                .visibility_timeout(hold)
                .wait_time_seconds(1)
                .message_attribute_names("All")
                .message_system_attribute_names(MessageSystemAttributeName::SentTimestamp)
                .send()
                .await;
            let answer = match answer {
                Ok(answer) => answer,
                Err(error) => {
                    self.release(letters.values()).await;
                    return Err(explain("the dead-letter queue cannot be read", error.code(), error.message()));
                }
            };
            let found = answer.messages.unwrap_or_default();
            empty = if found.is_empty() { empty + 1 } else { 0 };
            letters.extend(found.into_iter().filter_map(Letter::of).map(|letter| (letter.id.clone(), letter)));
        }
        let mut letters: Vec<_> = letters.into_values().collect();
        letters.sort_by_key(|letter| letter.sent);
        Ok(letters)
    }

    /// Makes letters visible again. One that fails comes back by itself.
    pub(crate) async fn release(&self, letters: impl IntoIterator<Item = &Letter>) {
        for letter in letters {
            let request = self.client.change_message_visibility().queue_url(&self.url).receipt_handle(&letter.receipt);
            let _ = request.visibility_timeout(0).send().await;
        }
    }

    /// Sends a letter on its way once more, and only then deletes it here.
    pub(crate) async fn redrive(&self, letter: &Letter, retry_queue_url: &str, to: Option<&str>) -> Result<(), String> {
        let mut message = self.client.send_message().queue_url(retry_queue_url).message_body(&letter.body);
        if let Some(destination) = to.or(letter.destination.as_deref()) {
            let value = MessageAttributeValue::builder().data_type("String").string_value(destination).build();
            let value = value.map_err(|error| error.to_string())?;
            message = message.message_attributes(DESTINATION, value);
            // A letter may have been written by hand, and not everything can name a group.
            message = message.set_message_group_id(Some(destination.to_owned()).filter(|id| is_id(id)));
        }
        message.send().await.map_err(|error| explain("it cannot be sent", error.code(), error.message()))?;
        let delete = self.client.delete_message().queue_url(&self.url).receipt_handle(&letter.receipt);
        delete.send().await.map(drop).map_err(|error| {
            explain("it was sent, but is still in the dead-letter queue, too", error.code(), error.message())
        })
    }
}

fn explain(what: &str, code: Option<&str>, message: Option<&str>) -> String {
    match (code, message) {
        (Some(code), Some(message)) => format!("{what}: {code}: {message}"),
        (Some(code), None) => format!("{what}: {code}"),
        _ => format!("{what}: AWS does not answer; check the region, the network and the credentials"),
    }
}
