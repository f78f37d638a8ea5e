use super::*;
use crate::domain::outcome::{Kind, Severity};
use serde_json::{Value, json};

/// White space, an escape and a number's spelling that a re-serialisation would change.
const OUTCOME: &str = r#"{ "detection_id": 123, "detection_name": "\u00e9\/", "severity":"HIGH","outcome":"MATCHED",
 "match_count": 5, "replay_link":"https://x/","run_id":"r1","extra":1.50e2 , "n":null }"#;

fn open_text(text: &str) -> Result<Event, Rejected> {
    open(&Bytes::from(text.to_owned()))
}

struct Outcomes {
    is_batch: bool,
    records: Vec<Record>,
}

fn outcomes(text: &str) -> Outcomes {
    let Ok(Event::Outcomes { is_batch, records }) = open_text(text) else { panic!("{text}") };
    Outcomes { is_batch, records }
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
        // Encoded once more.
        (json!(OUTCOME).to_string(), Origin::Direct),
        (json!({ "Records": [sqs(&json!(OUTCOME).to_string())] }).to_string(), Origin::Sqs),
        (json!({ "Records": [sqs(&json!(eventbridge()).to_string())] }).to_string(), Origin::Sqs),
        (json!({ "Records": [sqs(&json!(json!(OUTCOME).to_string()).to_string())] }).to_string(), Origin::Sqs),
        (notification(&json!(OUTCOME).to_string()).to_string(), Origin::Sns),
        (json!({ "detail-type": "Scheduled Event", "detail": OUTCOME }).to_string(), Origin::EventBridge),
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
fn what_is_not_a_record_is_rejected_alone() {
    for odd in ["5", "null", "\"text\"", "[]", "{}", r#"{"eventSource":"aws:kinesis","kinesis":{"data":"e30="}}"#] {
        for good in [sqs(OUTCOME), json!({ "EventSource": "aws:sns", "Sns": notification(OUTCOME) })] {
            let event = outcomes(&format!(r#"{{"Records":[{good},{odd}]}}"#));
            let [sent, rejected] = event.records.as_slice() else { panic!("{odd}") };
            assert!(sent.outcome.is_ok() && rejected.origin == sent.origin, "{odd}");
            assert_eq!(rejected.message.is_some(), event.is_batch, "{odd}");
            assert_eq!(rejected.received, odd.as_bytes());
            let problems = &rejected.outcome.as_ref().unwrap_err().problems;
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

fn retried() -> Value {
    let mut message = sqs(OUTCOME);
    message["eventSourceARN"] = "arn:aws:sqs:eu-west-1:123456789012:retry".into();
    message["receiptHandle"] = "receipt".into();
    message["attributes"]["SentTimestamp"] = "1700000000500".into();
    message["messageAttributes"] = json!({
        "outcome-destination": { "dataType": "String", "stringValue": "soc" },
        "outcome-not-before": { "dataType": "Number", "stringValue": "1700000900" },
        "outcome-renewed": { "dataType": "String", "stringValue": "true" },
        "outcome-fallback-sent": { "dataType": "String", "stringValue": "true" },
        "outcome-fallback-for": { "dataType": "String", "stringValue": "soar" },
        "outcome-code": { "dataType": "String", "stringValue": "dns" },
        "traceparent": { "dataType": "Binary", "binaryValue": "AAAA" },
    });
    message
}

fn after_1970(milliseconds: u64) -> Option<SystemTime> {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(milliseconds))
}

#[test]
fn what_earlier_attempts_wrote_about_a_message_is_read() {
    let record = open_value(&json!({ "Records": [retried()] })).records.remove(0);
    let message = record.message.unwrap();
    assert_eq!((message.receipt_handle.as_deref(), message.sent), (Some("receipt"), after_1970(1_700_000_000_500)));
    let orders = Orders {
        destination: Some("soc".into()),
        not_before: after_1970(1_700_000_900_000),
        renewed: true,
        fallback_sent: true,
        fallback_for: Some("soar".into()),
    };
    assert_eq!(message.orders(true), Some(&orders));
    let queue = message.queue.unwrap();
    assert!(
        queue.is_at("http://127.0.0.1:5000/123456789012/retry")
            && !queue.is_at("http://127.0.0.1:5000/123456789012/no-retry")
    );
    assert_eq!(record.received, OUTCOME.as_bytes());
    let plain = open_value(&json!({ "Records": [sqs(OUTCOME)] })).records.remove(0).message.unwrap();
    assert_eq!(plain.orders(true), Some(&Orders::default()));
}

#[test]
fn orders_of_a_message_from_another_queue_cannot_be_read() {
    let message = open_value(&json!({ "Records": [retried()] })).records.remove(0).message.unwrap();
    assert_eq!(message.orders(false), None);
}

#[test]
fn nothing_foreign_about_a_message_costs_its_orders() {
    for (path, odd) in [
        ("/messageAttributes/traceparent", json!({ "dataType": "Binary", "binaryValue": "no base64 !" })),
        ("/messageAttributes/traceparent", json!({ "dataType": "String", "stringListValues": null, "stringValue": 5 })),
        ("/messageAttributes/traceparent", json!("text")),
        ("/messageAttributes/outcome-not-before", json!({ "dataType": "Binary", "binaryValue": "AAAA" })),
        ("/attributes/SentTimestamp", json!(1_700_000_000_500_u64)),
        ("/attributes/SenderId", json!(null)),
        ("/md5OfBody", json!(7)),
        ("/awsRegion", json!({})),
    ] {
        let mut message = retried();
        let (parent, name) = path.rsplit_once('/').unwrap();
        message.pointer_mut(parent).unwrap()[name] = odd.clone();
        let message = open_value(&json!({ "Records": [message] })).records.remove(0).message.unwrap();
        let orders = message.orders(true).unwrap();
        assert_eq!((orders.destination.as_deref(), message.receive_count), (Some("soc"), 3), "{path} = {odd}");
        assert_eq!(message.sent, after_1970(1_700_000_000_500));
        assert!(message.id.is_some() && message.receipt_handle.is_some() && message.queue.is_some(), "{path} = {odd}");
    }
}

#[test]
fn an_empty_batch_is_a_batch_without_records() {
    let event = open_value(&json!({ "Records": [] }));
    assert!(event.is_batch && event.records.is_empty());
}

/// What is said of an event of unknown shape.
fn said_of(text: &str) -> String {
    let rejected = open_text(text).map(|_| ()).expect_err(text);
    assert!(rejected.is_unknown_event && rejected.problems.len() == 1, "{text}");
    let (_, said) = rejected.problems[0].expected.split_once(", but ").unwrap();
    said.to_owned()
}

#[test]
fn an_event_of_unknown_shape_says_what_it_has() {
    let names: Vec<_> = (0..12).map(|n| format!("\"key{n}\":1")).collect();
    let long = "x".repeat(100);
    for (text, keys) in [
        ("null", vec![]),
        ("5", vec![]),
        ("\"text\"", vec![]),
        ("{}", vec![]),
        (r#"{"hello":"SECRET"}"#, vec!["hello".to_owned()]),
        (r#"{"a\nb":"SECRET"}"#, vec!["\"a\u{fffd}b\"".to_owned()]),
        (r#"{"Records":5}"#, vec!["Records".to_owned()]),
        (r#"{"Records":[5]}"#, vec!["Records".to_owned()]),
        (r#"{"Records":[{"eventSource":"aws:kinesis","kinesis":{}}]}"#, vec!["Records".to_owned()]),
        (r#"{"Type":"Notification"}"#, vec!["Type".to_owned()]),
        (&format!("{{\"{long}\":1}}"), vec![format!("\"{}…\"", "x".repeat(64))]),
        (&format!("{{{}}}", names.join(",")), (0..10).map(|n| format!("key{n}")).collect()),
    ] {
        let members =
            if keys.is_empty() { "no members".to_owned() } else { format!("the members {}", keys.join(", ")) };
        assert_eq!(said_of(text), format!("these {} bytes have {members}", text.len()), "{text}");
    }
    assert_eq!(said_of(r#"{"a":1,"b":2}"#), "these 13 bytes have the members a, b");
}

#[test]
fn an_unknown_event_is_a_rejected_record_as_it_came() {
    let event = Bytes::from("{ \"hello\": \"\u{ffff}\" }");
    let record = Record::new(Origin::Direct, None, Err(open(&event).unwrap_err()), event);
    assert_eq!(record.received, r#"{ "hello": "\uffff" }"#.as_bytes());
    assert_eq!((record.origin, record.message.is_none()), (Origin::Direct, true));
    let rejected = record.outcome.unwrap_err();
    assert!(rejected.is_unknown_event && rejected.problems.len() == 1);
    assert!(rejected.problems[0].expected.ends_with("but these 18 bytes have the members hello"));
}

/// What AWS itself sends, by the beginning of what it is called.
fn foreign() -> Vec<(String, &'static str)> {
    let s3 = json!({ "Records": [{ "eventVersion": "2.1", "eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": {} }] });
    let confirmation =
        |kind: &str| json!({ "Type": kind, "MessageId": "x", "Token": "SECRET", "Message": "You have chosen …" });
    let pointer = |class: &str| json!([class, { "s3BucketName": "SECRET", "s3Key": "SECRET" }]).to_string();
    let failure = json!({
        "version": "1.0", "timestamp": "2025-01-15T10:00:00Z", "requestContext": { "condition": "RetriesExhausted" },
        "requestPayload": serde_json::from_str::<Value>(OUTCOME).unwrap(), "responsePayload": { "errorMessage": "x" },
    });
    vec![
        (confirmation("SubscriptionConfirmation").to_string(), "an SNS subscription confirmation"),
        (confirmation("UnsubscribeConfirmation").to_string(), "an SNS unsubscribe confirmation"),
        (json!({ "Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "b" }).to_string(), "an S3 test event"),
        (s3.to_string(), "an S3 event notification"),
        (failure.to_string(), "a Lambda destination's record"),
        (format!("[{OUTCOME}]"), "a JSON array, as EventBridge Pipes sends it"),
        ("[]".into(), "a JSON array, as EventBridge Pipes sends it"),
        (pointer("software.amazon.payloadoffloading.PayloadS3Pointer"), "a pointer to an object in S3"),
        (pointer("com.amazon.sqs.javamessaging.MessageS3Pointer"), "a pointer to an object in S3"),
    ]
}

#[test]
fn messages_of_aws_are_named_as_what_they_are() {
    for (text, name) in foreign() {
        let said = said_of(&text);
        assert!(said.starts_with(&format!("this is {name}")), "{text}: {said}");
    }
}

#[test]
fn messages_of_aws_inside_a_message_are_named_too() {
    for (text, name) in foreign() {
        for event in [json!({ "Records": [sqs(&text)] }), notification(&text)] {
            let rejected = open_value(&event).records.remove(0).outcome.unwrap_err();
            let problem = rejected.problems[0].to_string();
            assert!(problem.contains(&format!("but this is {name}")) && !problem.contains("SECRET"), "{problem}");
        }
    }
}

#[test]
fn a_direct_outcome_with_missing_fields_is_a_rejected_record() {
    let event = open_value(&json!({ "detection_name": "x", "severity": "CRITICAL" }));
    let rejected = event.records[0].outcome.as_ref().unwrap_err();
    assert_eq!((rejected.problems[0].path.as_str(), rejected.is_unknown_event), ("detection_id", false));
    assert_eq!(event.records[0].about().severity, Some(Severity::Critical));
}

#[test]
fn what_is_rejected_says_what_can_be_read_in_every_envelope() {
    let critical = OUTCOME.replace("HIGH", "CRITICAL").replace("\"outcome\":", "\"result\":");
    let eventbridge = format!(r#"{{"detail-type":"x","detail":{critical}}}"#);
    for event in [
        critical.clone(),
        json!({ "Records": [sqs(&critical)] }).to_string(),
        notification(&critical).to_string(),
        json!({ "Records": [sqs(&eventbridge)] }).to_string(),
        eventbridge,
    ] {
        let record = outcomes(&event).records.remove(0);
        let about = record.about();
        assert!(record.outcome.is_err() && about.kind.is_none(), "{event}");
        assert_eq!((about.severity, about.run_id.as_deref()), (Some(Severity::Critical), Some("r1")), "{event}");
    }
}

#[test]
fn a_byte_order_mark_is_passed_over_in_every_text() {
    let marked = |text: &str| format!("\u{feff}{text}");
    for body in [
        marked(OUTCOME),
        marked(&notification(&marked(OUTCOME)).to_string()),
        marked(&eventbridge()),
        marked(&json!({ "Records": [sqs(&marked(OUTCOME))] }).to_string()),
    ] {
        let record = open_value(&json!({ "Records": [sqs(&body)] })).records.remove(0);
        assert_eq!(record.outcome.unwrap().payload.body, OUTCOME.as_bytes(), "{body}");
    }
}

#[test]
fn what_is_rejected_can_be_carried_by_sqs() {
    let record = outcomes(&notification("\u{ffff}\u{1}é").to_string()).records.remove(0);
    assert!(record.outcome.is_err());
    let text = String::from_utf8(record.received.to_vec()).unwrap();
    assert!(text.contains("\\uffff\\u0001é"), "{text}");
    let record = open_value(&json!({ "Records": [sqs("a\u{fffe}")] })).records.remove(0);
    assert_eq!(record.received, "a\\ufffe".as_bytes());
}

#[test]
fn the_last_of_a_repeated_member_counts_in_an_envelope() {
    let text = format!(r#"{{"detail":5,"detail-type":"x","detail":{OUTCOME}}}"#);
    assert_eq!(outcomes(&text).records[0].outcome.as_ref().unwrap().kind(), Kind::Matched);
}

#[test]
fn a_thousand_records_are_an_event_and_one_more_is_not() {
    let event = |count: usize| format!(r#"{{"Records":[{}]}}"#, vec![r#"{"messageId":"x"}"#; count].join(","));
    assert_eq!(outcomes(&event(1_000)).records.len(), 1_000);
    for count in [1_001, 300_000] {
        let said = said_of(&event(count));
        assert!(said.starts_with("this is an event of more than 1,000 records"), "{said}");
    }
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
    let half = OUTCOME.replace("\"outcome\":\"MATCHED\",", "");
    let eventbridge = |detail: &str| format!(r#"{{"detail-type":"x","detail":{detail}}}"#);
    let sns = |message: Value| json!({ "Records": [{ "EventSource": "aws:sns", "Sns": { "Message": message } }] });
    let in_sqs = |body: &str| json!({ "Records": [sqs(body)] }).to_string();
    for (event, path) in [
        (half.clone(), "outcome"),
        (eventbridge("[]"), "detail"),
        (eventbridge("null"), "detail"),
        (eventbridge("\"text\""), "detail"),
        (eventbridge(&half), "detail.outcome"),
        (notification("hello").to_string(), "Message"),
        (notification(&half).to_string(), "Message.outcome"),
        (sns("hello".into()).to_string(), "Records[0].Sns.Message"),
        (sns(5.into()).to_string(), "Records[0].Sns.Message"),
        (sns(half.clone().into()).to_string(), "Records[0].Sns.Message.outcome"),
        (in_sqs("hello"), "Records[0].body"),
        (in_sqs("[]"), "Records[0].body"),
        (in_sqs(&half), "outcome"),
        (in_sqs(&notification("hello").to_string()), "Records[0].body.Message"),
        (in_sqs(&notification(&half).to_string()), "Records[0].body.Message.outcome"),
        (in_sqs(&eventbridge("[]")), "Records[0].body.detail"),
        (in_sqs(&in_sqs("hello")), "Records[0].body.Records[0].body"),
        (in_sqs(&sns(half.clone().into()).to_string()), "Records[0].body.Records[0].Sns.Message.outcome"),
        (in_sqs(r#"{"Records":[5]}"#), "Records[0].body.Records[0]"),
        (in_sqs(r#"{"Records":[]}"#), "Records[0].body.Records"),
    ] {
        let rejected = outcomes(&event).records.remove(0).outcome.unwrap_err();
        assert_eq!(rejected.problems[0].path, path, "{event}");
    }
}

#[test]
fn an_envelope_that_ends_too_early_is_rejected() {
    let sns = json!({ "Records": [{ "Sns": notification(OUTCOME) }] }).to_string();
    for whole in [notification(OUTCOME).to_string(), eventbridge(), sns] {
        let cut = whole[..whole.len() - 1].to_owned();
        assert!(open_value(&json!({ "Records": [sqs(&whole)] })).records[0].outcome.is_ok(), "{whole}");
        let rejected = open_value(&json!({ "Records": [sqs(&cut)] })).records.remove(0).outcome.unwrap_err();
        assert!(rejected.problems[0].to_string().starts_with("`Records[0].body`: expected complete JSON"), "{cut}");
    }
}

#[test]
fn a_message_is_exactly_one_outcome() {
    for items in [vec![], vec![sqs(OUTCOME); 2], vec![sqs(OUTCOME), json!(5)], vec![json!({}); 300_000]] {
        let inner = json!({ "Records": items }).to_string();
        for event in [json!({ "Records": [sqs(&inner)] }), notification(&inner)] {
            let mut records = open_value(&event).records;
            let problems = records.remove(0).outcome.unwrap_err().problems;
            assert!(records.is_empty() && problems[0].path.ends_with(".Records"));
            assert_eq!(problems[0].expected, format!("exactly one record; {} were found", items.len()));
        }
    }
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

#[test]
fn deep_nesting_is_no_danger_anywhere() {
    let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
    let named = format!("{}1{}", "{\"Sns\":".repeat(100_000), "}".repeat(100_000));
    for inner in [&deep, &named] {
        for event in [
            inner.clone(),
            format!(r#"{{"Records":[{inner}]}}"#),
            format!(r#"{{"detail-type":"x","detail":{inner}}}"#),
            format!(r#"{{"Records":[{{"messageId":"m","body":{inner},"attributes":{inner}}}]}}"#),
            json!({ "Records": [sqs(inner)] }).to_string(),
        ] {
            if let Ok(Event::Outcomes { records, .. }) = open_text(&event) {
                assert!(records.iter().all(|record| record.outcome.is_err()));
            }
        }
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(4096))]

    #[test]
    fn every_message_of_a_batch_is_one_record_under_its_id(bodies in proptest::collection::vec("\\PC{0,40}|\\{\"(Records|Type|detail|detection_id|Message|detail-type)\":\\PC{0,20}\\}", 0..6)) {
        let messages: Vec<_> = bodies.iter().enumerate().map(|(n, body)| json!({ "messageId": n.to_string(), "body": body, "eventSource": "aws:sqs" })).collect();
        let event = open_value(&json!({ "Records": messages }));
        let ids: Vec<_> = event.records.iter().map(|record| record.message.as_ref().unwrap().id.clone().unwrap()).collect();
        proptest::prop_assert_eq!(ids, (0..bodies.len()).map(|n| n.to_string()).collect::<Vec<_>>());
        for record in &event.records {
            proptest::prop_assert!(record.outcome.as_ref().err().is_none_or(|rejected| !rejected.problems.is_empty()));
        }
    }

    #[test]
    fn an_event_of_any_json_is_opened_or_rejected(text in "\\PC{0,80}|\\{\"Records\":\\[\\PC{0,60}\\]\\}") {
        let _ = open(&Bytes::from(text));
    }
}

#[test]
fn a_string_that_holds_no_outcome_is_told_by_its_place() {
    for (event, path) in [
        (json!("{\"detection_id\":1}").to_string(), "outcome"),
        (json!("{").to_string(), "$"),
        (json!({ "Records": [sqs("\"text\"")] }).to_string(), "Records[0].body"),
        (json!({ "Records": [sqs("\"{Key:value}\"")] }).to_string(), "Records[0].body"),
        (json!({ "detail-type": "x", "detail": "{}" }).to_string(), "detail.detection_id"),
    ] {
        let rejected = outcomes(&event).records.remove(0).outcome.unwrap_err();
        assert_eq!(rejected.problems[0].path, path, "{event}");
    }
    // Nobody's request of an administrator either.
    assert!(outcomes(&json!("{\"probe\":\"soc\"}").to_string()).records[0].outcome.is_err());
}

#[test]
fn an_administrator_asks_by_direct_invocation_alone() {
    for request in
        [r#"{"probe":"soc"}"#, r#"{"check":true}"#, r#"{"dead_letters":{}}"#, r#"{"redrive":{"code":"gone"}}"#]
    {
        assert!(matches!(open_text(request), Ok(Event::Admin(Ok(_)))), "{request}");
        let eventbridge = format!(r#"{{"detail-type":"x","detail":{request}}}"#);
        for event in [json!({ "Records": [sqs(request)] }).to_string(), notification(request).to_string(), eventbridge]
        {
            assert!(outcomes(&event).records[0].outcome.is_err(), "{event}");
        }
    }
    for wrong in [r#"{"probe":5}"#, r#"{"check":false}"#, r#"{"redrive":{}}"#] {
        assert!(matches!(open_text(wrong), Ok(Event::Admin(Err(_)))), "{wrong}");
    }
    let outcome = OUTCOME.replace("\"extra\"", "\"probe\":\"soc\",\"extra\"");
    assert!(outcomes(&outcome).records[0].outcome.is_ok(), "a further field of an outcome is not a probe");
}
