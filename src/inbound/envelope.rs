//! Opens what an outcome arrives in. The outcome itself is cut out byte for byte, never written anew.
//!
//! Accepted, alone and inside an SQS message's body: the bare outcome, an SNS notification, an EventBridge event,
//! and a `Records` event of either. So whatever AWS moves from one place to another is still understood.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::domain::json::{members, string};
use crate::domain::outcome::{Outcome, Refused, resembles};
use crate::domain::problem::Problem;
use crate::domain::record::attribute;
use crate::domain::record::{Message, Origin, QueueName, Record};

/// An event that is none of the accepted shapes.
#[derive(Debug, thiserror::Error)]
#[error("{}", UnknownShape::ACCEPTED)]
pub(super) struct UnknownShape;

impl UnknownShape {
    pub(super) const ACCEPTED: &str = "Accepted are: a detection outcome (a JSON object with detection_id and what else the README names), an SQS event \
        (Records with body), an SNS event (Records with Sns.Message, or Type Notification with Message), an EventBridge \
        event (detail-type with detail), and SNS or EventBridge inside an SQS body. By hand: {\"probe\": \"DESTINATION\"} \
        and {\"check\": true}.";
}

/// What an event holds.
#[derive(Debug)]
pub(super) enum Event {
    Outcomes(Outcomes),
    /// A test of one destination, by its id.
    Probe(String),
    /// A test of everything that is configured.
    Check,
}

/// What is to be delivered.
#[derive(Debug)]
pub(super) struct Outcomes {
    /// Whether it is answered with the ids of failed messages (SQS) or with reports.
    pub(super) is_batch: bool,
    pub(super) records: Vec<Record>,
}

type Fields<'a> = HashMap<String, &'a RawValue>;

/// SNS inside EventBridge inside SQS and the like; deeper nesting is nobody's pipeline.
const MAX_DEPTH: usize = 4;

/// What a record of an event has to be.
const A_RECORD: &str = "an SQS or SNS record";

/// What an envelope has to hold as a string.
const A_TEXT: &str = "a string with a detection outcome";

/// Opens an event. `Err` when nothing in it can be told apart as a record.
pub(super) fn open(event: &RawValue) -> Result<Event, UnknownShape> {
    let fields = members(event.get()).map_err(|_| UnknownShape)?;
    if let Some(records) = fields.get("Records").filter(|_| !is_outcome(&fields)) {
        return open_records(records);
    }
    let origin = match shape(&fields) {
        Shape::Notification(_) => Origin::Sns,
        Shape::EventBridge(_) => Origin::EventBridge,
        Shape::Outcome if resembles(&fields) => Origin::Direct,
        Shape::Outcome => return asked(&fields),
    };
    let received = Bytes::copy_from_slice(event.get().as_bytes());
    Ok(Event::Outcomes(Outcomes {
        is_batch: false,
        records: records(origin, None, unwrap(&received, "", 0), &received),
    }))
}

/// What an administrator asks by hand. No other envelope may carry it: whoever can send outcomes must not be able to
/// make the function probe.
fn asked(fields: &Fields<'_>) -> Result<Event, UnknownShape> {
    match (fields.get("probe"), fields.get("check")) {
        (Some(id), None) => string(id).map(Event::Probe).ok_or(UnknownShape),
        (None, Some(check)) if check.get() == "true" => Ok(Event::Check),
        _ => Err(UnknownShape),
    }
}

fn open_records(array: &RawValue) -> Result<Event, UnknownShape> {
    let items: Vec<&RawValue> = serde_json::from_str(array.get()).map_err(|_| UnknownShape)?;
    let items: Vec<_> = items.into_iter().map(|item| (item, members(item.get()).unwrap_or_default())).collect();
    let sources: Vec<_> = items.iter().map(|(_, fields)| source(fields)).collect();
    let is_batch = items.is_empty() || sources.iter().any(|source| matches!(source, Source::Sqs));
    // One that is recognised tells what the event is: beside it, an odd one is its own affair.
    if !items.is_empty() && sources.iter().all(|source| matches!(source, Source::Unknown)) {
        return Err(UnknownShape);
    }
    let open = |(index, ((item, fields), source)): (usize, (&(&RawValue, Fields<'_>), Source<'_>))| match source {
        Source::Sns(message) => {
            let outcomes = unwrap_string(message, &format!("Records[{index}].Sns.Message"), 1);
            records(Origin::Sns, None, outcomes, &Bytes::copy_from_slice(item.get().as_bytes()))
        }
        Source::Sqs => open_message(item, fields, index),
        Source::Unknown => {
            let origin = if is_batch { Origin::Sqs } else { Origin::Sns };
            let message = is_batch.then(|| Message { id: message_id(fields), index, ..Message::default() });
            let refused = Err(Problem::new(format!("Records[{index}]"), A_RECORD).into());
            records(origin, message.as_ref(), vec![refused], &Bytes::copy_from_slice(item.get().as_bytes()))
        }
    };
    let records = items.iter().zip(sources).enumerate().flat_map(open).collect();
    Ok(Event::Outcomes(Outcomes { is_batch, records }))
}

/// Records that were cut from the same thing.
fn records(
    origin: Origin,
    message: Option<&Message>,
    outcomes: Vec<Result<Outcome, Refused>>,
    received: &Bytes,
) -> Vec<Record> {
    let message = message.map(|message| Message { is_shared: outcomes.len() > 1, ..message.clone() });
    let record = |outcome| Record { origin, message: message.clone(), outcome, received: received.clone() };
    outcomes.into_iter().map(record).collect()
}

/// One SQS message. Whatever is wrong with it, its id is reported.
fn open_message(item: &RawValue, fields: &Fields<'_>, index: usize) -> Vec<Record> {
    let path = format!("Records[{index}].body");
    let refused = |expected, raw: &RawValue| {
        (vec![Err(Problem::new(path.as_str(), expected).into())], Bytes::copy_from_slice(raw.get().as_bytes()))
    };
    let (outcomes, received) = match fields.get("body").map(|body| (body, string(body).map(Bytes::from))) {
        Some((_, Some(text))) => (unwrap(&text, &path, 0), text),
        Some((body, None)) => refused(A_TEXT, body),
        None => refused("a string with a detection outcome, but it is missing", item),
    };
    records(Origin::Sqs, Some(&Message { index, ..control(fields) }), outcomes, &received)
}

/// What SQS and earlier attempts wrote about a message. Each member is read by itself: with a foreign attribute of an
/// odd form, the destination that a retry is for must not be lost.
fn control(fields: &Fields<'_>) -> Message {
    let text = |name: &str| fields.get(name).and_then(|value| string(value));
    let inner = |name: &str| fields.get(name).and_then(|inner| members(inner.get()).ok()).unwrap_or_default();
    let (counts, attributes) = (inner("attributes"), inner("messageAttributes"));
    let number = |name: &str| {
        let value = counts.get(name)?;
        string(value).unwrap_or_else(|| value.get().to_owned()).parse::<u64>().ok()
    };
    let obeyed = |name: &str| string(members(attributes.get(name)?.get()).ok()?.get("stringValue")?);
    let since_1970 = |duration: Duration| SystemTime::UNIX_EPOCH.checked_add(duration);
    Message {
        id: message_id(fields),
        queue: text("eventSourceARN").as_deref().and_then(QueueName::of_arn),
        sent: number("SentTimestamp").and_then(|milliseconds| since_1970(Duration::from_millis(milliseconds))),
        receive_count: number("ApproximateReceiveCount").and_then(|count| count.try_into().ok()).unwrap_or(1),
        destination: obeyed(attribute::DESTINATION),
        not_before: obeyed(attribute::NOT_BEFORE)
            .and_then(|seconds| since_1970(Duration::from_secs(seconds.trim().parse().ok()?))),
        receipt_handle: text("receiptHandle"),
        ..Message::default()
    }
}

/// Who wrote a record of an event.
enum Source<'a> {
    Sns(&'a RawValue),
    Sqs,
    Unknown,
}

fn source<'a>(fields: &Fields<'a>) -> Source<'a> {
    let is_sqs = || match fields.get("eventSource").and_then(|source| string(source)) {
        Some(source) => source == "aws:sqs",
        None => fields.contains_key("body") || fields.contains_key("messageId"),
    };
    match sns_message(fields) {
        Some(message) => Source::Sns(message),
        None if is_sqs() => Source::Sqs,
        None => Source::Unknown,
    }
}

fn message_id(fields: &Fields<'_>) -> Option<String> {
    fields.get("messageId").and_then(|id| string(id)).filter(|id| !id.is_empty())
}

fn sns_message<'a>(fields: &Fields<'a>) -> Option<&'a RawValue> {
    members(fields.get("Sns")?.get()).ok()?.get("Message").copied()
}

enum Shape<'a> {
    Notification(&'a RawValue),
    EventBridge(&'a RawValue),
    Outcome,
}

/// An outcome may carry any further field, also one that is named like an envelope's.
fn is_outcome(fields: &Fields<'_>) -> bool {
    fields.contains_key("detection_id")
}

fn shape<'a>(fields: &Fields<'a>) -> Shape<'a> {
    if is_outcome(fields) {
        return Shape::Outcome;
    }
    let is_notification = fields.get("Type").and_then(|kind| string(kind)).is_some_and(|kind| kind == "Notification");
    match (fields.get("Message"), fields.get("detail")) {
        (Some(message), _) if is_notification => Shape::Notification(message),
        (_, Some(detail)) if fields.contains_key("detail-type") => Shape::EventBridge(detail),
        _ => Shape::Outcome,
    }
}

/// The outcomes in a text: one, unless it is a whole `Records` event. `path` is where the text is in the event, `depth`
/// in how many envelopes it lies that a message's sender or the caller wrote.
fn unwrap(text: &Bytes, path: &str, depth: usize) -> Vec<Result<Outcome, Refused>> {
    let fields = std::str::from_utf8(text).ok().and_then(|text| members(text).ok()).unwrap_or_default();
    let parse = || vec![Outcome::parse(text).map_err(|refused| placed(refused, path, depth))];
    if depth >= MAX_DEPTH || is_outcome(&fields) {
        return parse();
    }
    let cut = |inner: &RawValue| text.slice_ref(inner.get().as_bytes());
    let items: Vec<&RawValue> =
        fields.get("Records").and_then(|records| serde_json::from_str(records.get()).ok()).unwrap_or_default();
    if !items.is_empty() {
        return unwrap_items(&items, path, depth);
    }
    match shape(&fields) {
        Shape::Notification(message) => unwrap_string(message, &inside(path, "Message"), depth + 1),
        Shape::EventBridge(detail) => unwrap(&cut(detail), &inside(path, "detail"), depth + 1),
        Shape::Outcome => parse(),
    }
}

/// The records of a `Records` event that itself lies in a message. Each that is refused is kept with the whole message;
/// beyond a few they are counted, so that one message cannot become a hundred thousand dead letters.
fn unwrap_items(items: &[&RawValue], path: &str, depth: usize) -> Vec<Result<Outcome, Refused>> {
    const KEPT: usize = 10;
    let mut refused = 0;
    let each = |(index, item)| unwrap_item(item, &inside(path, &format!("Records[{index}]")), depth);
    let is_kept = |outcome: &Result<Outcome, Refused>| {
        refused += usize::from(outcome.is_err());
        outcome.is_ok() || refused <= KEPT
    };
    let mut outcomes: Vec<_> = items.iter().copied().enumerate().flat_map(each).filter(is_kept).collect();
    if refused > KEPT {
        let expected = format!("records with a detection outcome, but {} more are none", refused - KEPT);
        outcomes.push(Err(Problem::new(inside(path, "Records"), expected).into()));
    }
    outcomes
}

/// One record of a `Records` event that itself lies in a message.
fn unwrap_item(item: &RawValue, path: &str, depth: usize) -> Vec<Result<Outcome, Refused>> {
    let fields = members(item.get()).unwrap_or_default();
    match (sns_message(&fields), fields.get("body")) {
        (Some(message), _) => unwrap_string(message, &inside(path, "Sns.Message"), depth + 1),
        (None, Some(body)) => unwrap_string(body, &inside(path, "body"), depth + 1),
        (None, None) => vec![Err(Problem::new(path, A_RECORD).into())],
    }
}

fn unwrap_string(value: &RawValue, path: &str, depth: usize) -> Vec<Result<Outcome, Refused>> {
    match string(value) {
        Some(text) => unwrap(&Bytes::from(text), path, depth),
        None => vec![Err(Problem::new(path, A_TEXT).into())],
    }
}

fn inside(path: &str, member: &str) -> String {
    if path.is_empty() { member.to_owned() } else { format!("{path}.{member}") }
}

/// Says of problems in which of the nested texts they are. A field of what was sent as it is needs no more than its name.
fn placed(mut refused: Refused, path: &str, depth: usize) -> Refused {
    for problem in &mut refused.problems {
        if problem.path == "$" && !path.is_empty() {
            path.clone_into(&mut problem.path);
        } else if depth > 0 {
            problem.path = inside(path, &problem.path);
        }
    }
    refused
}

#[cfg(test)]
mod tests;
