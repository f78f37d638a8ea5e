//! Opens what an outcome arrives in. The outcome itself is cut out byte for byte, never written anew.
//!
//! Accepted, alone and inside an SQS message's body: the bare outcome, an SNS notification, an EventBridge event, and a
//! `Records` event of either. Inside a message, `Records` has exactly one entry: so are the dead letters of an
//! asynchronous invocation. One message is one outcome. Each may be encoded once more as a JSON string.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::domain::admin::Request;
use crate::domain::json::{Object, read, string};
use crate::domain::outcome::{Outcome, Rejected, resembles};
use crate::domain::problem::{Problem, plain_or_quoted, printable};
use crate::domain::record::{Message, Orders, Origin, QueueName, Record, attribute};

#[derive(Debug)]
pub(super) enum Event {
    Outcomes {
        /// Whether it is answered with the ids of failed messages (SQS) or with reports.
        is_batch: bool,
        records: Vec<Record>,
    },
    /// What an administrator asks by hand, or what is wrong with it.
    Admin(Result<Request, Problem>),
}

/// A hundred times the batch size of the template. Records can be so small that an event of 6 MB holds 300,000 of them,
/// and each would have its line.
const MAX_RECORDS: usize = 1_000;

/// SNS inside EventBridge inside SQS and the like; nobody's pipeline nests deeper.
const MAX_DEPTH: usize = 4;

/// What a record of an event has to be.
const A_RECORD: &str = "an SQS or SNS record";

/// What an envelope has to hold as a string.
const A_TEXT: &str = "a string with a detection outcome";

/// Something that is known and holds no outcome: what it is, as in "this is …", and what to do about it.
#[derive(Debug, Clone, Copy)]
struct Foreign {
    what: &'static str,
    fix: &'static str,
}

const CONFIRMATION: Foreign = Foreign {
    what: "an SNS subscription confirmation",
    fix: "confirm the subscription (the dead letter has its SubscribeURL), or let the queue's own account subscribe",
};
const UNSUBSCRIBED: Foreign =
    Foreign { what: "an SNS unsubscribe confirmation", fix: "subscribe again if the topic's outcomes are wanted" };
const LEAVE_THE_BUCKET: &str = "take this target out of the bucket's notifications, which hold no outcomes";
const S3_TEST: Foreign = Foreign { what: "an S3 test event", fix: LEAVE_THE_BUCKET };
const S3_EVENT: Foreign = Foreign { what: "an S3 event notification", fix: LEAVE_THE_BUCKET };
const DESTINATION_RECORD: Foreign = Foreign {
    what: "a Lambda destination's record (OnSuccess or OnFailure) about another invocation",
    fix: "send the outcome by itself: nothing in such a record is delivered",
};
const ARRAY: Foreign = Foreign {
    what: "a JSON array, as EventBridge Pipes sends it",
    fix: "let the pipe write to the function's outcome queue",
};
const POINTER: Foreign = Foreign {
    what: "a pointer to an object in S3, as the Extended Client Library of SQS and SNS sends it, and the object is not fetched",
    fix: "send the outcome itself (SQS takes 1 MiB)",
};
const TOO_MANY: Foreign = Foreign { what: "an event of more than 1,000 records", fix: "send fewer at a time" };

/// What an event has to be; ends the sentence "expected …".
pub(super) const ACCEPTED: &str = "a detection outcome (a JSON object with detection_id and outcome), alone or in an SQS event \
    (Records with body), an SNS event (Records with Sns.Message, or Type Notification with Message) or an EventBridge \
    event (detail-type with detail)";

/// Opens an event, a text in UTF-8. `Err` when nothing in it can be told apart as a record.
pub(super) fn open(received: &Bytes) -> Result<Event, Rejected> {
    let object = Object::read(as_str(received));
    let (origin, outcome) = match shape(&object) {
        Shape::Records(items) => return open_records(&object, &items, received),
        Shape::Outcome => (Origin::Direct, Outcome::read(received.clone(), &object)),
        Shape::Notification(message) => (Origin::Sns, open_string(message, "Message", 1)),
        Shape::EventBridge(detail) => (Origin::EventBridge, open_part(received, detail, "detail", 1)),
        Shape::Text(text) => (Origin::Direct, open_text(&Bytes::from(text), "$", 0)),
        Shape::Foreign(foreign) => return Err(unknown(Some(foreign), &object)),
        // What an administrator asks by hand. No other envelope may carry it: whoever can send outcomes must not be able
        // to make the function probe or redrive.
        Shape::Unknown => {
            return Request::parse(&object).map(Event::Admin).ok_or_else(|| unknown(None, &object));
        }
    };
    Ok(Event::Outcomes { is_batch: false, records: vec![Record::new(origin, None, outcome, received.clone())] })
}

/// An event that is none of the accepted shapes: what it is and what to do, if it is known, or what its members are.
fn unknown(foreign: Option<Foreign>, event: &Object<'_>) -> Rejected {
    const SHOWN: usize = 10;
    let names: Vec<_> = event.names().take(SHOWN).map(|name| plain_or_quoted(&printable(name, 64))).collect();
    let bytes = event.json.len();
    let found = match foreign {
        Some(foreign) => format!("this is {}", foreign.what),
        None if names.is_empty() => format!("these {bytes} bytes have no members"),
        None => format!("these {bytes} bytes have the members {}", names.join(", ")),
    };
    let rejected: Rejected = Problem::new("$", format!("{ACCEPTED}, but {found}")).into();
    Rejected { is_unknown_event: true, fix: foreign.map(|foreign| foreign.fix), ..rejected }
}

enum Shape<'a> {
    Outcome,
    Records(Vec<&'a RawValue>),
    Notification(&'a RawValue),
    EventBridge(&'a RawValue),
    /// One of the others, encoded once more as a JSON string: a producer encoded it twice, or an EventBridge rule or
    /// schedule has it as its input text.
    Text(String),
    Foreign(Foreign),
    Unknown,
}

fn shape<'a>(object: &Object<'a>) -> Shape<'a> {
    if object.problem.is_some() {
        return match object.json.as_bytes().first() {
            Some(b'[') => Shape::Foreign(if is_pointer(object.json) { POINTER } else { ARRAY }),
            Some(b'"') => encoded(object.json).map_or(Shape::Unknown, Shape::Text),
            _ => Shape::Unknown,
        };
    }
    // An outcome may carry any further field, also one that is named like an envelope's.
    if object.get("detection_id").is_some() {
        return Shape::Outcome;
    }
    if let Some(items) = object.get("Records").and_then(read) {
        return Shape::Records(items);
    }
    let is = |name: &str, text: &str| object.get(name).and_then(string).is_some_and(|found| found == text);
    match (object.get("Message"), object.get("detail")) {
        (Some(message), _) if is("Type", "Notification") => Shape::Notification(message),
        (_, Some(detail)) if object.get("detail-type").is_some() => Shape::EventBridge(detail),
        _ if resembles(object) => Shape::Outcome,
        _ if is("Type", "SubscriptionConfirmation") => Shape::Foreign(CONFIRMATION),
        _ if is("Type", "UnsubscribeConfirmation") => Shape::Foreign(UNSUBSCRIBED),
        _ if is("Event", "s3:TestEvent") => Shape::Foreign(S3_TEST),
        _ if object.get("requestContext").and(object.get("requestPayload")).is_some() => {
            Shape::Foreign(DESTINATION_RECORD)
        }
        _ => Shape::Unknown,
    }
}

/// The text in a JSON string; nothing where no object can be in it.
fn encoded(json: &str) -> Option<String> {
    let value: &RawValue = serde_json::from_str(json).ok()?;
    string(value).filter(|text| text.contains('{'))
}

/// Whether a JSON array begins with the name of the class that the Extended Client Library writes there:
/// `software.amazon.payloadoffloading.PayloadS3Pointer`, or `com.amazon.sqs.javamessaging.MessageS3Pointer` before.
fn is_pointer(json: &str) -> bool {
    let items: Option<Vec<&RawValue>> = serde_json::from_str(json).ok();
    let first = items.and_then(|items| string(items.first()?));
    first.is_some_and(|class| class.ends_with("S3Pointer"))
}

/// Opens a `Records` event that was handed over as such.
fn open_records(event: &Object<'_>, items: &[&RawValue], received: &Bytes) -> Result<Event, Rejected> {
    if items.len() > MAX_RECORDS {
        return Err(unknown(Some(TOO_MANY), event));
    }
    let items: Vec<_> = items.iter().map(|item| Object::read(item.get())).collect();
    let sources: Vec<_> = items.iter().map(source).collect();
    let is_batch = items.is_empty() || sources.iter().any(|source| matches!(source, Source::Sqs));
    // One that is recognised tells what the event is: beside it, an odd one is its own affair.
    if !is_batch && !sources.iter().any(|source| matches!(source, Source::Sns(_))) {
        let known = sources.iter().find_map(|source| if let Source::Other(foreign) = source { *foreign } else { None });
        return Err(unknown(known, event));
    }
    let origin = if is_batch { Origin::Sqs } else { Origin::Sns };
    let record = |(index, (item, source)): (usize, (&Object<'_>, Source<'_>))| {
        let whole = received.slice_ref(item.json.as_bytes());
        match source {
            Source::Sns(message) => {
                let outcome = open_string(message, &format!("Records[{index}].Sns.Message"), 1);
                Record::new(Origin::Sns, None, outcome, whole)
            }
            Source::Sqs => open_message(item, index, whole),
            Source::Other(foreign) => {
                let message = is_batch.then(|| message(item));
                Record::new(origin, message, Err(reject(format!("Records[{index}]"), A_RECORD, foreign)), whole)
            }
        }
    };
    let records = items.iter().zip(sources).enumerate().map(record).collect();
    Ok(Event::Outcomes { is_batch, records })
}

/// One SQS message. Whatever is wrong with it, its id is reported.
fn open_message(item: &Object<'_>, index: usize, whole: Bytes) -> Record {
    let path = format!("Records[{index}].body");
    let (outcome, received) = match item.get("body").map(|body| (body, string(body).map(Bytes::from))) {
        Some((_, Some(text))) => (open_text(&text, &path, 0), text),
        Some((body, None)) => (Err(Problem::new(path, A_TEXT).into()), whole.slice_ref(body.get().as_bytes())),
        None => (Err(Problem::new(path, format!("{A_TEXT}, but it is missing")).into()), whole),
    };
    Record::new(Origin::Sqs, Some(message(item)), outcome, received)
}

/// What SQS and earlier attempts wrote about a message. Each member is read by itself: `aws_lambda_events`' type takes
/// a message as a whole or not at all, and an odd foreign attribute must not cost the message's id or destination.
fn message(item: &Object<'_>) -> Message {
    let text = |name: &str| item.get(name).and_then(string);
    let inner = |name: &str| Object::read(item.get(name).map_or("{}", RawValue::get));
    let (system, attributes) = (inner("attributes"), inner("messageAttributes"));
    let number = |name: &str| {
        let value = system.get(name)?;
        string(value).unwrap_or_else(|| value.get().to_owned()).parse::<u64>().ok()
    };
    let order = |name: &str| string(Object::read(attributes.get(name)?.get()).get("stringValue")?);
    let since_1970 = |duration: Duration| SystemTime::UNIX_EPOCH.checked_add(duration);
    let mut message = Message::new(Orders {
        destination: order(attribute::DESTINATION),
        not_before: order(attribute::NOT_BEFORE)
            .and_then(|seconds| since_1970(Duration::from_secs(seconds.trim().parse().ok()?))),
        renewed: order(attribute::RENEWED).is_some(),
        fallback_sent: order(attribute::FALLBACK_SENT).is_some(),
        fallback_for: order(attribute::FALLBACK_FOR),
    });
    message.id = text("messageId").filter(|id| !id.is_empty());
    message.receipt_handle = text("receiptHandle");
    message.queue = text("eventSourceARN").as_deref().and_then(QueueName::of_arn);
    message.sent = number("SentTimestamp").and_then(|milliseconds| since_1970(Duration::from_millis(milliseconds)));
    message.receive_count = number("ApproximateReceiveCount").and_then(|count| count.try_into().ok()).unwrap_or(1);
    message
}

/// Who wrote an item of `Records`.
enum Source<'a> {
    Sns(&'a RawValue),
    Sqs,
    /// Somebody else.
    Other(Option<Foreign>),
}

fn source<'a>(item: &Object<'a>) -> Source<'a> {
    if let Some(message) = item.get("Sns").and_then(|sns| Object::read(sns.get()).get("Message")) {
        return Source::Sns(message);
    }
    match item.get("eventSource").and_then(string).as_deref() {
        Some("aws:sqs") => Source::Sqs,
        Some("aws:s3") => Source::Other(Some(S3_EVENT)),
        None if item.get("body").or(item.get("messageId")).is_some() => Source::Sqs,
        _ => Source::Other(None),
    }
}

/// The outcome in a text. `path` is where the text is in the event, `depth` in how many envelopes it lies that a
/// message's sender or the caller wrote.
fn open_text(text: &Bytes, path: &str, depth: usize) -> Result<Outcome, Rejected> {
    let object = Object::read(as_str(text));
    let read = || {
        let outcome = Outcome::read(text.slice_ref(object.json.as_bytes()), &object);
        outcome.map_err(|rejected| placed(rejected, path, depth))
    };
    if depth >= MAX_DEPTH {
        return read();
    }
    match shape(&object) {
        Shape::Records(items) => open_only_record(&items, path, depth + 1),
        Shape::Notification(message) => open_string(message, &inside(path, "Message"), depth + 1),
        Shape::EventBridge(detail) => open_part(text, detail, &inside(path, "detail"), depth + 1),
        Shape::Text(text) => open_text(&Bytes::from(text), path, depth + 1),
        Shape::Foreign(foreign) => Err(reject(path, "a detection outcome", Some(foreign))),
        Shape::Outcome | Shape::Unknown => read(),
    }
}

/// The outcome in a `Records` event that lies in a text itself. Several would share the fate of one message.
fn open_only_record(items: &[&RawValue], path: &str, depth: usize) -> Result<Outcome, Rejected> {
    let [item] = items else {
        let expected = format!("exactly one record; {} were found", items.len());
        return Err(Problem::new(inside(path, "Records"), expected).into());
    };
    let item = Object::read(item.get());
    let path = inside(path, "Records[0]");
    match (source(&item), item.get("body")) {
        (Source::Sns(message), _) => open_string(message, &inside(&path, "Sns.Message"), depth),
        (Source::Sqs, Some(body)) => open_string(body, &inside(&path, "body"), depth),
        (Source::Other(foreign), _) => Err(reject(path, A_RECORD, foreign)),
        (Source::Sqs, None) => Err(Problem::new(path, A_RECORD).into()),
    }
}

fn open_string(value: &RawValue, path: &str, depth: usize) -> Result<Outcome, Rejected> {
    match string(value) {
        Some(text) => open_text(&Bytes::from(text), path, depth),
        None => Err(Problem::new(path, A_TEXT).into()),
    }
}

fn open_part(text: &Bytes, part: &RawValue, path: &str, depth: usize) -> Result<Outcome, Rejected> {
    open_text(&text.slice_ref(part.get().as_bytes()), path, depth)
}

/// Every text here was cut from one that is UTF-8.
fn as_str(text: &Bytes) -> &str {
    std::str::from_utf8(text).unwrap_or_default()
}

fn reject(path: impl Into<String>, expected: &'static str, foreign: Option<Foreign>) -> Rejected {
    let Some(Foreign { what, fix }) = foreign else { return Problem::new(path, expected).into() };
    Rejected { fix: Some(fix), ..Problem::new(path, format!("{expected}, but this is {what}")).into() }
}

fn inside(path: &str, member: &str) -> String {
    format!("{path}.{member}")
}

/// Says of problems in which of the nested texts they are. A field of what was sent as it is needs no more than its name.
fn placed(mut rejected: Rejected, path: &str, depth: usize) -> Rejected {
    for problem in &mut rejected.problems {
        if problem.path == "$" {
            path.clone_into(&mut problem.path);
        } else if depth > 0 {
            problem.path = inside(path, &problem.path);
        }
    }
    rejected
}

#[cfg(test)]
mod tests;
