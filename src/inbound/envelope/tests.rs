use super::*;
use serde_json::{Value, json};

/// White space, an escape and a number's spelling that a re-serialisation would change.
const OUTCOME: &str = r#"{ "detection_id": 123, "detection_name": "\u00e9\/", "severity":"HIGH","outcome":"MATCHED",
 "match_count": 5, "replay_link":"https://x/","run_id":"r1","extra":1.50e2 , "n":null }"#;

fn open_text(text: &str) -> Result<Event, UnknownShape> {
    open(&RawValue::from_string(text.to_owned()).unwrap())
}

fn outcomes(text: &str) -> Outcomes {
    let Ok(Event::Outcomes(outcomes)) = open_text(text) else { panic!("{text}") };
    outcomes
}

fn open_value(value: &Value) -> Outcomes {
    outcomes(&value.to_string())
}

fn sqs(body: &str) -> Value {
    json!({ "messageId": "m1", "body": body, "eventSource": "aws:sqs", "attributes": { "ApproximateReceiveCount": "3" } })
}

fn notification(message: &str) -> Value {
    json!({ "Type": "Notification", "MessageId": "x", "Message": message })
}

fn eventbridge() -> String {
    format!(r#"{{"version":"0","detail-type":"Detection Outcome","source":"platform","detail": {OUTCOME} }}"#)
}

#[test]
fn the_outcome_is_byte_exact_from_every_envelope() {
    let sns = json!({ "Records": [{ "EventSource": "aws:sns", "Sns": notification(OUTCOME) }] });
    let events: Vec<(String, Origin)> = vec![
        (OUTCOME.into(), Origin::Direct),
        (json!({ "Records": [sqs(OUTCOME)] }).to_string(), Origin::Sqs),
        (sns.to_string(), Origin::Sns),
        (notification(OUTCOME).to_string(), Origin::Sns),
        (eventbridge(), Origin::EventBridge),
        (json!({ "Records": [sqs(&notification(OUTCOME).to_string())] }).to_string(), Origin::Sqs),
        (json!({ "Records": [sqs(&eventbridge())] }).to_string(), Origin::Sqs),
        // What AWS moves keeps its envelope.
        (json!({ "Records": [sqs(&sns.to_string())] }).to_string(), Origin::Sqs),
        (json!({ "Records": [sqs(&notification(&eventbridge()).to_string())] }).to_string(), Origin::Sqs),
        (json!({ "Records": [sqs(&json!({ "Records": [sqs(OUTCOME)] }).to_string())] }).to_string(), Origin::Sqs),
    ];
    for (text, origin) in events {
        let event = outcomes(&text);
        let [record] = event.records.as_slice() else { panic!("{text}") };
        assert_eq!(record.outcome.as_ref().unwrap().payload.body, OUTCOME.as_bytes(), "{text}");
        assert_eq!(record.origin, origin, "{text}");
        assert_eq!(event.is_batch, origin == Origin::Sqs, "{text}");
    }
}

#[test]
fn a_bad_record_keeps_its_id_and_leaves_its_neighbours_alone() {
    let lone_surrogate = r#"{"messageId":"m5","eventSource":"aws:sqs","body":"\ud800"}"#;
    let text = format!(
        r#"{{"Records":[{},{},{},{},{lone_surrogate},{},5]}}"#,
        json!({ "messageId": "m1", "eventSource": "aws:sqs", "body": "{not json" }),
        json!({ "messageId": "m2", "eventSource": "aws:sqs", "body": { "an": "object" } }),
        json!({ "messageId": "m3", "eventSource": "aws:sqs" }),
        json!({ "messageId": "m4", "eventSource": "aws:sqs", "body": OUTCOME, "attributes": 5 }),
        json!({ "eventSource": "aws:sqs", "body": OUTCOME }),
    )
    .replace(",5]", "]");
    let event = outcomes(&text);
    let seen: Vec<_> = event
        .records
        .iter()
        .map(|record| (record.message.as_ref().unwrap().id.as_deref(), record.outcome.is_ok()))
        .collect();
    assert_eq!(
        seen,
        [
            (Some("m1"), false),
            (Some("m2"), false),
            (Some("m3"), false),
            (Some("m4"), true),
            (Some("m5"), false),
            (None, true)
        ]
    );
}

#[test]
fn what_is_no_record_is_refused_and_leaves_its_neighbours_alone() {
    for odd in ["5", "null", "\"text\"", "[]", "{}", r#"{"eventSource":"aws:kinesis","kinesis":{"data":"e30="}}"#] {
        for good in [sqs(OUTCOME), json!({ "EventSource": "aws:sns", "Sns": notification(OUTCOME) })] {
            let event = outcomes(&format!(r#"{{"Records":[{good},{odd}]}}"#));
            let [sent, refused] = event.records.as_slice() else { panic!("{odd}") };
            assert!(sent.outcome.is_ok() && refused.origin == sent.origin, "{odd}");
            assert_eq!(refused.message.is_some(), event.is_batch, "{odd}");
            assert_eq!(refused.received, odd.as_bytes());
            let problems = &refused.outcome.as_ref().unwrap_err().problems;
            assert_eq!(problems[..], [Problem::new("Records[1]", "an SQS or SNS record")]);
        }
    }
    let named = json!({ "messageId": "m9", "eventSource": "aws:kinesis" });
    let event = open_value(&json!({ "Records": [named, sqs(OUTCOME)] }));
    assert_eq!(event.records[0].message.as_ref().unwrap().id.as_deref(), Some("m9"));
}

#[test]
fn the_receive_count_is_taken_from_the_message() {
    assert_eq!(open_value(&json!({ "Records": [sqs(OUTCOME)] })).records[0].message.as_ref().unwrap().receive_count, 3);
}

#[test]
fn what_earlier_attempts_wrote_about_a_message_is_read() {
    let mut message = sqs(OUTCOME);
    message["eventSourceARN"] = "arn:aws:sqs:eu-west-1:123456789012:retry".into();
    message["receiptHandle"] = "receipt".into();
    message["attributes"]["SentTimestamp"] = "1700000000500".into();
    message["messageAttributes"] = json!({
        "outcome-destination": { "dataType": "String", "stringValue": "soc" },
        "outcome-not-before": { "dataType": "Number", "stringValue": "1700000900" },
        "outcome-code": { "dataType": "String", "stringValue": "dns" },
        "traceparent": { "dataType": "Binary", "binaryValue": "AAAA" },
    });
    let record = open_value(&json!({ "Records": [message] })).records.remove(0);
    let message = record.message.unwrap();
    let since_1970 =
        |time: Option<SystemTime>| time.unwrap().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis();
    assert_eq!((message.destination.as_deref(), message.receipt_handle.as_deref()), (Some("soc"), Some("receipt")));
    assert_eq!((since_1970(message.sent), since_1970(message.not_before)), (1_700_000_000_500, 1_700_000_900_000));
    let queue = message.queue.unwrap();
    assert!(
        queue.is_at("http://127.0.0.1:5000/123456789012/retry")
            && !queue.is_at("http://127.0.0.1:5000/123456789012/no-retry")
    );
    assert_eq!(record.received, OUTCOME.as_bytes());
}

#[test]
fn nothing_foreign_about_a_message_costs_the_destination_that_it_waits_for() {
    for (path, odd) in [
        ("/messageAttributes/traceparent", json!({ "dataType": "Binary", "binaryValue": "no base64 !" })),
        ("/messageAttributes/traceparent", json!({ "dataType": "String", "stringListValues": null, "stringValue": 5 })),
        ("/messageAttributes/traceparent", json!("text")),
        ("/attributes/SentTimestamp", json!(1_700_000_000_500_u64)),
        ("/attributes/SenderId", json!(null)),
        ("/md5OfBody", json!(7)),
        ("/awsRegion", json!({})),
    ] {
        let mut message = sqs(OUTCOME);
        message["receiptHandle"] = "receipt".into();
        message["eventSourceARN"] = "arn:aws:sqs:eu-west-1:123456789012:retry".into();
        message["attributes"]["SentTimestamp"] = "1700000000500".into();
        message["messageAttributes"] = json!({ "outcome-destination": { "dataType": "String", "stringValue": "soc" } });
        let (parent, name) = path.rsplit_once('/').unwrap();
        message.pointer_mut(parent).unwrap()[name] = odd.clone();
        let message = open_value(&json!({ "Records": [message] })).records.remove(0).message.unwrap();
        assert_eq!((message.destination.as_deref(), message.receive_count), (Some("soc"), 3), "{path} = {odd}");
        assert_eq!(message.sent, SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(1_700_000_000_500)));
        assert!(message.receipt_handle.is_some() && message.queue.is_some(), "{path} = {odd}");
    }
}

#[test]
fn an_empty_batch_is_a_batch_without_records() {
    let event = open_value(&json!({ "Records": [] }));
    assert!(event.is_batch && event.records.is_empty());
}

#[test]
fn what_has_no_known_shape_is_refused_as_a_whole() {
    for value in [
        json!(null),
        json!(5),
        json!("text"),
        json!([]),
        json!({}),
        json!({ "hello": "world" }),
        json!({ "Records": 5 }),
        json!({ "Records": [5] }),
        json!({ "Records": [{ "eventSource": "aws:s3", "s3": {} }] }),
        json!({ "Records": [{ "eventSource": "aws:kinesis", "kinesis": {} }] }),
        json!({ "Type": "SubscriptionConfirmation" }),
    ] {
        assert!(open_text(&value.to_string()).is_err(), "{value}");
    }
}

#[test]
fn a_direct_outcome_with_missing_fields_is_a_refused_record_not_an_unknown_shape() {
    let event = open_value(&json!({ "detection_name": "x" }));
    let refused = event.records[0].outcome.as_ref().unwrap_err();
    assert_eq!(refused.problems[0].path, "detection_id");
}

#[test]
fn an_outcome_may_have_fields_named_like_an_envelopes() {
    let mut outcome: Value = serde_json::from_str(OUTCOME).unwrap();
    outcome.as_object_mut().unwrap().extend(
        json!({ "Records": [], "Type": "Notification", "Message": "x", "detail-type": "x", "detail": {} })
            .as_object()
            .unwrap()
            .clone(),
    );
    let event = open_value(&outcome);
    assert_eq!(event.records[0].outcome.as_ref().unwrap().payload.body, outcome.to_string().as_bytes());
}

#[test]
fn a_problem_names_the_text_that_is_meant() {
    let nameless = OUTCOME.replace("\"severity\":\"HIGH\",", "");
    let eventbridge = |detail: &str| format!(r#"{{"detail-type":"x","detail":{detail}}}"#);
    let sns = |message: Value| json!({ "Records": [{ "EventSource": "aws:sns", "Sns": { "Message": message } }] });
    let in_sqs = |body: &str| json!({ "Records": [sqs(body)] }).to_string();
    for (event, path) in [
        (nameless.clone(), "severity"),
        (eventbridge("[]"), "detail"),
        (eventbridge("null"), "detail"),
        (eventbridge("\"text\""), "detail"),
        (eventbridge(&nameless), "detail.severity"),
        (notification("hello").to_string(), "Message"),
        (notification(&nameless).to_string(), "Message.severity"),
        (sns("hello".into()).to_string(), "Records[0].Sns.Message"),
        (sns(5.into()).to_string(), "Records[0].Sns.Message"),
        (sns(nameless.clone().into()).to_string(), "Records[0].Sns.Message.severity"),
        (in_sqs("hello"), "Records[0].body"),
        (in_sqs("[]"), "Records[0].body"),
        (in_sqs(&nameless), "severity"),
        (in_sqs(&notification("hello").to_string()), "Records[0].body.Message"),
        (in_sqs(&notification(&nameless).to_string()), "Records[0].body.Message.severity"),
        (in_sqs(&eventbridge("[]")), "Records[0].body.detail"),
        (in_sqs(&in_sqs("hello")), "Records[0].body.Records[0].body"),
        (in_sqs(&sns(nameless.clone().into()).to_string()), "Records[0].body.Records[0].Sns.Message.severity"),
        (in_sqs(r#"{"Records":[5]}"#), "Records[0].body.Records[0]"),
    ] {
        let refused = outcomes(&event).records.remove(0).outcome.unwrap_err();
        assert_eq!(refused.problems[0].path, path, "{event}");
    }
}

#[test]
fn a_message_of_many_odd_records_is_refused_a_few_times_and_its_outcomes_are_sent() {
    let odd = "{},".repeat(300_000);
    let body = format!(r#"{{"Records":[{odd}{}]}}"#, sqs(OUTCOME));
    let records = open_value(&json!({ "Records": [sqs(&body)] })).records;
    assert_eq!(records.iter().filter(|record| record.outcome.is_ok()).count(), 1);
    let refused: Vec<_> = records.iter().filter_map(|record| record.outcome.as_ref().err()).collect();
    let counted = Problem::new("Records[0].body.Records", "records with a detection outcome, but 299990 more are none");
    assert_eq!((refused.len(), &refused[10].problems[..]), (11, &[counted][..]));
}

#[test]
fn endless_nesting_ends() {
    let mut text = OUTCOME.to_owned();
    // Each level doubles the escapes of the one before: more of them would only make a long text.
    for _ in 0..10 {
        text = notification(&text).to_string();
    }
    assert!(outcomes(&text).records[0].outcome.is_err());
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(4096))]

    #[test]
    fn every_message_of_a_batch_ends_as_an_outcome_or_refused_under_its_own_id(bodies in proptest::collection::vec("\\PC{0,40}|\\{\"(Records|Type|detail|detection_id|Message|detail-type)\":\\PC{0,20}\\}", 0..6)) {
        let messages: Vec<_> = bodies.iter().enumerate().map(|(n, body)| json!({ "messageId": n.to_string(), "body": body, "eventSource": "aws:sqs" })).collect();
        let event = open_value(&json!({ "Records": messages }));
        let mut ids: Vec<_> = event.records.iter().map(|record| record.message.as_ref().unwrap().id.clone().unwrap()).collect();
        ids.dedup();
        proptest::prop_assert_eq!(ids, (0..bodies.len()).map(|n| n.to_string()).collect::<Vec<_>>());
        for record in &event.records {
            proptest::prop_assert!(record.outcome.as_ref().err().is_none_or(|refused| !refused.problems.is_empty()));
        }
    }

    #[test]
    fn an_event_of_any_json_is_opened_or_refused(text in "\\PC{0,80}|\\{\"Records\":\\[\\PC{0,60}\\]\\}") {
        if let Ok(event) = RawValue::from_string(text) {
            let _ = open(&event);
        }
    }
}

#[test]
fn a_probe_and_a_check_are_asked_directly_and_in_no_other_envelope() {
    assert!(matches!(open_text(r#"{"probe":"soc"}"#), Ok(Event::Probe(id)) if id == "soc"));
    assert!(matches!(open_text(r#"{"check":true}"#), Ok(Event::Check)));
    for wrong in [r#"{"probe":5}"#, r#"{"check":false}"#, r#"{"probe":"soc","check":true}"#] {
        assert!(open_text(wrong).is_err(), "{wrong}");
    }
    for inner in [r#"{"probe":"soc"}"#, r#"{"check":true}"#] {
        let eventbridge = format!(r#"{{"detail-type":"x","detail":{inner}}}"#);
        for event in [json!({ "Records": [sqs(inner)] }).to_string(), notification(inner).to_string(), eventbridge] {
            assert!(outcomes(&event).records[0].outcome.is_err(), "{event}");
        }
    }
    let outcome = OUTCOME.replace("\"extra\"", "\"probe\":\"soc\",\"extra\"");
    assert!(outcomes(&outcome).records[0].outcome.is_ok(), "a new field of the platform's is no probe");
}
