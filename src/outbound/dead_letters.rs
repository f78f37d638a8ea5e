//! Lists the dead-letter queue and redrives from it.
//!
//! SQS has no call that lists messages: they are received, which hides them, and made visible again afterwards.

use std::time::{Duration, Instant, SystemTime};

use aws_sdk_sqs::error::ProvideErrorMetadata;
use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry, Message, MessageAttributeValue,
    MessageSystemAttributeName, QueueAttributeName, SendMessageBatchRequestEntry,
};

use super::aws::reason;
use super::queues::{Queues, name};
use crate::domain::admin::{DeadLetters, Groups, Redrive, Redriven, Selection};
use crate::domain::destination::is_id;
use crate::domain::failure::AwsReason;
use crate::domain::record::QueueName;
use crate::domain::record::attribute::{CODE, DESTINATION};

/// A list and a redrive end after this time: the AWS CLI gives up after 60 s and may invoke again.
const AT_MOST: Duration = Duration::from_secs(50);

/// Seconds that a list hides letters which it does not get to show again: longer than it takes.
const HIDDEN_BY_LIST: i32 = 60;

/// Seconds that a redrive hides what it reads, so that it and the ones after it see each letter once.
const HIDDEN_BY_REDRIVE: i32 = 600;

/// SQS may answer a receive with nothing although messages are there. So many in a row mean the end.
const EMPTY_RECEIVES: u32 = 3;

/// SQS's limits of a batch: messages, and bytes of their bodies and attributes together.
const BATCH: usize = 10;
const BATCH_BYTES: usize = 1 << 20;

/// Counts the selected letters by destination and code, and leaves all of them visible.
pub async fn list(queues: &Queues, selection: &Selection, time_left: Duration) -> Result<DeadLetters, String> {
    let (begun, time_left) = (Instant::now(), AT_MOST.min(time_left));
    let (visible, hidden) = count(queues).await?;
    // Showing them again takes about as long as receiving them.
    let mut reader = Reader { queues, hidden_for: HIDDEN_BY_LIST, end: begun + time_left / 2, empty: 0 };
    let (mut groups, mut receipts) = (Groups::default(), Vec::new());
    let read = async {
        while let Some(letters) = reader.next().await? {
            for letter in letters {
                if letter.is_in(selection) {
                    groups.add(letter.destination.as_deref(), letter.code.as_deref(), letter.sent);
                }
                receipts.push(letter.receipt);
            }
        }
        Ok(())
    };
    let read = read.await;
    // The last call may take a moment longer, and what was counted must still be told.
    let shown = show_again(queues, &receipts, begun + time_left * 9 / 10).await;
    read.and(shown)?;
    let (scanned, about_in_queue) = (receipts.len() as u64, visible + hidden);
    let complete = scanned >= about_in_queue;
    Ok(DeadLetters { dead_letters: groups.sorted(), scanned, about_in_queue, complete })
}

/// Sends the selected letters to the retry queue, and deletes each only after it is sent.
pub async fn redrive(queues: &Queues, redrive: &Redrive, time_left: Duration) -> Redriven {
    let (begun, time_left) = (Instant::now(), AT_MOST.min(time_left));
    let selection = Selection { destination: redrive.destination.clone(), code: redrive.code.clone() };
    let mut pass = Pass { queues, redrive, selection, done: Redriven::default(), show_again: Vec::new() };
    let ended = pass.run(begun + time_left * 9 / 10).await;
    let shown = show_again(queues, &pass.show_again, begun + time_left).await;
    let counted = count(queues).await;
    let mut done = pass.done;
    if let Ok((visible, hidden)) = counted {
        (done.about_left, done.about_hidden) = (Some(visible + hidden), Some(hidden));
    }
    done.error = done.error.or(ended.err()).or(shown.err()).or(counted.err());
    done
}

struct Pass<'a> {
    queues: &'a Queues,
    redrive: &'a Redrive,
    selection: Selection,
    done: Redriven,
    /// Receipts of letters to show again when the pass is over: earlier, it would meet them again.
    show_again: Vec<String>,
}

impl Pass<'_> {
    async fn run(&mut self, end: Instant) -> Result<(), String> {
        // A letter that fails at once is dead-lettered again, and would come round until the time is over. So letters
        // sent from now on are left alone. Lambda's clock and SQS's differ by milliseconds: a letter at the edge comes
        // round once more or waits for the next redrive, and neither does harm.
        let started = SystemTime::now();
        let mut reader = Reader { queues: self.queues, hidden_for: HIDDEN_BY_REDRIVE, end, empty: 0 };
        while let Some(letters) = reader.next().await? {
            self.done.scanned += letters.len() as u64;
            let mut selected = Vec::new();
            for letter in letters {
                if letter.sent >= started {
                    self.show_again.push(letter.receipt);
                } else if letter.is_in(&self.selection) {
                    selected.push(letter);
                }
            }
            let moved = self.move_all(&mut selected).await;
            for letter in selected {
                if letter.is_sent {
                    self.done.moved += 1;
                } else {
                    self.done.failed += 1;
                    self.show_again.push(letter.receipt);
                }
            }
            moved?;
        }
        Ok(())
    }

    /// Sends and deletes, and marks what is sent. `Err` ends the pass: the next letters would fail likewise.
    async fn move_all(&mut self, mut letters: &mut [Letter]) -> Result<(), String> {
        while !letters.is_empty() {
            let (batch, rest) = letters.split_at_mut(self.batch_length(letters));
            letters = rest;
            self.send(batch).await?;
            self.delete(batch).await?;
        }
        Ok(())
    }

    /// How many letters, from the first, fit into one batch; at least one.
    fn batch_length(&self, letters: &[Letter]) -> usize {
        let mut bytes = 0;
        let fits = |letter: &&Letter| {
            let id = self.destination(letter).unwrap_or_default();
            bytes += letter.body.len() + DESTINATION.len() + "String".len() + id.len();
            bytes <= BATCH_BYTES
        };
        letters.iter().take(BATCH).take_while(fits).count().max(1)
    }

    fn destination<'a>(&'a self, letter: &'a Letter) -> Option<&'a str> {
        self.redrive.to.as_deref().or(letter.destination.as_deref())
    }

    async fn send(&mut self, batch: &mut [Letter]) -> Result<(), String> {
        let url = &self.queues.urls.retry;
        let sqs = self.queues.sqs.client().await;
        let mut request = sqs.send_message_batch().queue_url(url);
        for (index, letter) in batch.iter().enumerate() {
            let mut entry = SendMessageBatchRequestEntry::builder().id(index.to_string()).message_body(&letter.body);
            if let Some(id) = self.destination(letter) {
                let value = MessageAttributeValue::builder().data_type("String").string_value(id);
                entry = entry.message_attributes(DESTINATION, value.build().map_err(|error| error.to_string())?);
                // A letter may be written by hand, and SQS takes fewer characters here than in an attribute.
                entry = entry.set_message_group_id(Some(id.to_owned()).filter(|id| is_id(id)));
            }
            request = request.entries(entry.build().map_err(|error| error.to_string())?);
        }
        let answer = Box::pin(request.send()).await.map_err(|error| explain("sqs:SendMessage", url, error.code()))?;
        for sent in answer.successful() {
            if let Some(letter) = sent.id().parse().ok().and_then(|index: usize| batch.get_mut(index)) {
                letter.is_sent = true;
            }
        }
        if let Some(entry) = answer.failed().first() {
            self.done.error.get_or_insert_with(|| explain("sqs:SendMessage", url, Some(entry.code())));
        }
        Ok(())
    }

    /// Deletes what is sent. A letter that cannot be deleted is delivered twice if it is redriven again.
    async fn delete(&mut self, batch: &[Letter]) -> Result<(), String> {
        let url = &self.queues.urls.dead_letter;
        let sqs = self.queues.sqs.client().await;
        let mut request = sqs.delete_message_batch().queue_url(url);
        for (index, letter) in batch.iter().enumerate().filter(|(_, letter)| letter.is_sent) {
            let entry = DeleteMessageBatchRequestEntry::builder().id(index.to_string());
            let entry = entry.receipt_handle(&letter.receipt).build();
            request = request.entries(entry.map_err(|error| error.to_string())?);
        }
        if request.get_entries().is_none() {
            return Ok(());
        }
        let explained = |error| format!("{error} (letters that were sent are still in the dead-letter queue, too)");
        let answer = Box::pin(request.send()).await;
        let answer = answer.map_err(|error| explained(explain("sqs:DeleteMessage", url, error.code())))?;
        if let Some(entry) = answer.failed().first() {
            let error = explain("sqs:DeleteMessage", url, Some(entry.code()));
            self.done.error.get_or_insert(explained(error));
        }
        Ok(())
    }
}

struct Letter {
    receipt: String,
    body: String,
    destination: Option<String>,
    code: Option<String>,
    sent: SystemTime,
    /// Whether it is in the retry queue.
    is_sent: bool,
}

impl Letter {
    fn of(message: Message, retry_queue_url: &str) -> Option<Self> {
        let mut attributes = message.message_attributes.unwrap_or_default();
        let system = message.attributes.unwrap_or_default();
        // SQS itself moves a message with its attributes. From the outcome queue they are the producer's, and whoever
        // may send outcomes must not choose a destination.
        let is_producers = system
            .get(&MessageSystemAttributeName::DeadLetterQueueSourceArn)
            .is_some_and(|arn| !QueueName::of_arn(arn).is_some_and(|queue| queue.is_at(retry_queue_url)));
        let mut text = |name: &str| attributes.remove(name)?.string_value.filter(|_| !is_producers);
        let (destination, code) = (text(DESTINATION), text(CODE));
        let sent = system.get(&MessageSystemAttributeName::SentTimestamp).and_then(|text| text.parse().ok());
        let sent = sent.and_then(|sent| SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(sent)));
        Some(Self {
            receipt: message.receipt_handle?,
            body: message.body?,
            destination,
            code,
            sent: sent.unwrap_or(SystemTime::UNIX_EPOCH),
            is_sent: false,
        })
    }

    fn is_in(&self, selection: &Selection) -> bool {
        selection.takes(self.destination.as_deref(), self.code.as_deref())
    }
}

/// Receives letters, and hides them, until there are no more or the time is over.
struct Reader<'a> {
    queues: &'a Queues,
    hidden_for: i32,
    end: Instant,
    empty: u32,
}

impl Reader<'_> {
    async fn next(&mut self) -> Result<Option<Vec<Letter>>, String> {
        let urls = &self.queues.urls;
        while self.empty < EMPTY_RECEIVES && Instant::now() < self.end {
            let sqs = self.queues.sqs.client().await;
            let request = sqs
                .receive_message()
                .queue_url(&urls.dead_letter)
                .max_number_of_messages(10)
                .visibility_timeout(self.hidden_for)
                // Asks all of SQS's servers; without waiting, only some of them.
                .wait_time_seconds(1)
                .message_attribute_names(DESTINATION)
                .message_attribute_names(CODE)
                .message_system_attribute_names(MessageSystemAttributeName::SentTimestamp)
                .message_system_attribute_names(MessageSystemAttributeName::DeadLetterQueueSourceArn);
            let answer = Box::pin(request.send()).await;
            let answer = answer.map_err(|error| explain("sqs:ReceiveMessage", &urls.dead_letter, error.code()))?;
            let messages = answer.messages.unwrap_or_default();
            let letters: Vec<_> = messages.into_iter().filter_map(|message| Letter::of(message, &urls.retry)).collect();
            if !letters.is_empty() {
                self.empty = 0;
                return Ok(Some(letters));
            }
            self.empty += 1;
        }
        Ok(None)
    }
}

/// Letters in the dead-letter queue, visible and hidden.
async fn count(queues: &Queues) -> Result<(u64, u64), String> {
    let url = &queues.urls.dead_letter;
    let names =
        [QueueAttributeName::ApproximateNumberOfMessages, QueueAttributeName::ApproximateNumberOfMessagesNotVisible];
    let sqs = queues.sqs.client().await;
    let request = sqs.get_queue_attributes().queue_url(url).set_attribute_names(Some(names.to_vec()));
    let answer =
        Box::pin(request.send()).await.map_err(|error| explain("sqs:GetQueueAttributes", url, error.code()))?;
    let [visible, hidden] = names
        .map(|name| answer.attributes().and_then(|attributes| attributes.get(&name)?.parse().ok()).unwrap_or_default());
    Ok((visible, hidden))
}

/// Makes letters visible again at once. A single one that fails, and what is left at the end, becomes visible when its
/// time is over.
async fn show_again(queues: &Queues, receipts: &[String], end: Instant) -> Result<(), String> {
    let url = &queues.urls.dead_letter;
    for receipts in receipts.chunks(BATCH).take_while(|_| Instant::now() < end) {
        let sqs = queues.sqs.client().await;
        let mut request = sqs.change_message_visibility_batch().queue_url(url);
        for (index, receipt) in receipts.iter().enumerate() {
            let entry = ChangeMessageVisibilityBatchRequestEntry::builder().id(index.to_string());
            let entry = entry.receipt_handle(receipt).visibility_timeout(0).build();
            request = request.entries(entry.map_err(|error| error.to_string())?);
        }
        let answer = Box::pin(request.send()).await;
        answer.map_err(|error| explain("sqs:ChangeMessageVisibility", url, error.code()))?;
    }
    Ok(())
}

/// Says what failed and, where AWS refuses it, what the function's role lacks. AWS's own message is left out: it names
/// whole ARNs, and the permission says more.
fn explain(permission: &str, url: &str, code: Option<&str>) -> String {
    let error = match (reason(code, None), code.unwrap_or_default()) {
        (AwsReason::NoPath, _) => "SQS does not answer; check the network path to it".to_owned(),
        (AwsReason::KmsDenied, code) => format!("{code}; allow the function's role to use the queue's KMS key"),
        (AwsReason::AccessDenied, code) => format!("{code}; give the function's role this permission"),
        (_, code) => code.to_owned(),
    };
    format!("{permission} on {}: {error}", name(url))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(source: Option<&str>) -> Message {
        let text =
            |text: &str| MessageAttributeValue::builder().data_type("String").string_value(text).build().unwrap();
        let message = Message::builder().receipt_handle("r").body("{}");
        let message = message.message_attributes(DESTINATION, text("soc")).message_attributes(CODE, text("gone"));
        let message = message.attributes(MessageSystemAttributeName::SentTimestamp, "1700000000500");
        match source {
            Some(arn) => message.attributes(MessageSystemAttributeName::DeadLetterQueueSourceArn, arn).build(),
            None => message.build(),
        }
    }

    #[test]
    fn attributes_of_a_producer_are_dropped() {
        let retry = "https://sqs.eu-west-1.amazonaws.com/123456789012/retries";
        for (source, destination) in [
            (None, Some("soc")),
            (Some("arn:aws:sqs:eu-west-1:123456789012:retries"), Some("soc")),
            (Some("arn:aws:sqs:eu-west-1:123456789012:outcomes"), None),
            (Some("arn:aws:sqs:eu-west-1:999999999999:retries"), None),
            (Some("something else"), None),
        ] {
            let letter = Letter::of(message(source), retry).unwrap();
            let code = destination.map(|_| "gone");
            assert_eq!((letter.destination.as_deref(), letter.code.as_deref()), (destination, code), "{source:?}");
            assert_eq!(letter.sent, SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_500));
        }
    }

    #[test]
    fn what_aws_refuses_is_named_by_its_permission() {
        let url = "https://sqs.eu-west-1.amazonaws.com/123456789012/letters";
        for (code, text) in [
            (None, "sqs:ReceiveMessage on letters: SQS does not answer"),
            (Some("AccessDenied"), "AccessDenied; give the function's role this permission"),
            (Some("KmsAccessDenied"), "KmsAccessDenied; allow the function's role to use the queue's KMS key"),
            (Some("RequestThrottled"), "sqs:ReceiveMessage on letters: RequestThrottled"),
        ] {
            let told = explain("sqs:ReceiveMessage", url, code);
            assert!(told.contains(text), "{told}");
        }
    }
}
