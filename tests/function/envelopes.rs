//! What Lambda hands over, and what arrives at the receiver.

use std::time::Duration;

use serde_json::{Value, json};

use super::support::bench::{Bench, LONG, one};
use super::support::receiver::{Receiver, Reply};
use super::support::runtime::{Function, OwnRuntime, local};
use super::support::samples::{WEBHOOK_ID, sample};

/// The platform's example payload as a receiver must get it.
fn example() -> String {
    sample("matched.json").trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_payload_arrives_byte_for_byte_in_every_envelope() {
    let receiver = Receiver::start(Reply::Status(200)).await;
    let function = Function::start(local(&receiver.url())).await;
    let names = ["matched.json", "sqs.json", "sns.json", "eventbridge.json", "sqs-sns.json", "sqs-eventbridge.json"];
    for (count, name) in names.iter().enumerate() {
        function.invoke(&sample(name)).await;
        let requests = receiver.requests();
        assert_eq!(requests.len(), count + 1, "{name}");
        assert_eq!(String::from_utf8_lossy(&requests[count].body), example(), "{name}");
        assert_eq!(requests[count].header("webhook-id"), Some(WEBHOOK_ID), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_has_the_documented_method_and_headers() {
    let receiver = Receiver::start(Reply::Status(204)).await;
    let url = format!("http://user:pa%3Ass@127.0.0.1:{}/a/b?api_key=k", receiver.port);
    let function = Function::start(local(&url)).await;
    function.invoke(&example()).await;
    let request = receiver.requests().remove(0);
    assert!(request.head.starts_with("POST /a/b?api_key=k HTTP/1.1\r\n"), "{}", request.head);
    assert_eq!(request.header("content-type"), Some("application/json"));
    assert_eq!(request.header("content-length"), Some(example().len().to_string().as_str()));
    assert_eq!(request.header("user-agent"), Some(concat!("detection-outcome-handler/", env!("CARGO_PKG_VERSION"))));
    assert_eq!(request.header("authorization"), Some("Basic dXNlcjpwYTpzcw=="));
    assert_eq!(request.header("transfer-encoding"), None);
    // Standard Webhooks writes its names in small letters, and some of its libraries look for those alone.
    assert!(request.head.contains("\r\nwebhook-id: "), "{}", request.head);
    assert_eq!(request.header("referer"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_of_a_mebibyte_arrives_whole() {
    let receiver = Receiver::start(Reply::Status(200)).await;
    let function = Function::start(local(&receiver.url())).await;
    let mut outcome: Value = serde_json::from_str(&example()).unwrap();
    outcome["description"] = "é\"x".repeat(220_000).into();
    let text = outcome.to_string();
    assert!(text.len() > 1 << 20);
    let answer = function.invoke(&text).await;
    assert_eq!(answer["deliveries"][0]["result"], "delivered");
    assert_eq!(receiver.requests()[0].body, text.as_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_fields_are_delivered_and_named_in_the_line() {
    let receiver = Receiver::start(Reply::Status(200)).await;
    let function = Function::start(local(&receiver.url())).await;
    let odd = example().replace("\"HIGH\"", "\"SECRET\"").replace("\"errors\": []", "\"errors\": 5");
    let odd = odd.replace("\"match_count\": 5", "\"match_count\": 3.0");
    let few = r#"{"detection_id": 77.0, "outcome": "NEW"}"#;
    for text in [&example(), &odd, few] {
        assert_eq!(function.invoke(text).await["deliveries"][0]["result"], "delivered");
        assert_eq!(receiver.requests().last().unwrap().body, text.as_bytes());
    }
    let log = function.results().await;
    assert_eq!(function.invocation_lines().await.len(), 3, "one line each");
    let seen: Vec<_> =
        log.iter().map(|line| ["severity", "outcome"].map(|name| line[name].as_str().unwrap())).collect();
    assert_eq!(seen, [["HIGH", "MATCHED"], ["UNKNOWN", "MATCHED"], ["UNKNOWN", "UNKNOWN"]]);
    assert_eq!(log[0].get("warnings"), None);
    assert_eq!(log[1]["warnings"], json!(["severity", "match_count", "errors"]));
    let warnings = log[2]["warnings"].as_array().unwrap();
    assert_eq!(warnings[..4], ["severity", "outcome", "detection_name", "match_count"].map(Value::from));
    assert_eq!(log[2]["detection_id"], 77);
    assert!(!function.output().await.contains("SECRET"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_byte_order_mark_before_an_outcome_is_not_sent() {
    let receiver = Receiver::start(Reply::Status(200)).await;
    let function = Function::start(local(&receiver.url())).await;
    let message = json!({ "messageId": "m1", "eventSource": "aws:sqs", "body": format!("\u{feff}{}", example()) });
    assert_eq!(function.invoke(&json!({ "Records": [message] }).to_string()).await, json!({ "batchItemFailures": [] }));
    let request = receiver.requests().remove(0);
    assert_eq!((&*request.body, request.header("webhook-id")), (example().as_bytes(), Some(WEBHOOK_ID)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_that_was_encoded_twice_is_delivered() {
    let receiver = Receiver::start(Reply::Status(200)).await;
    let function = Function::start(local(&receiver.url())).await;
    let twice = json!(example()).to_string();
    for (sent, event) in [
        json!({ "Records": [{ "messageId": "m1", "eventSource": "aws:sqs", "body": twice }] }).to_string(),
        // The input text of an EventBridge rule, and the detail of an EventBridge schedule.
        twice,
        json!({ "detail-type": "Scheduled Event", "source": "aws.scheduler", "detail": example() }).to_string(),
    ]
    .iter()
    .enumerate()
    {
        function.invoke(event).await;
        let requests = receiver.requests();
        assert_eq!(requests.len(), sent + 1, "{event}");
        assert_eq!(
            (&*requests[sent].body, requests[sent].header("webhook-id")),
            (example().as_bytes(), Some(WEBHOOK_ID))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_aws_are_named_in_the_line() {
    let receiver = Receiver::start(Reply::Status(200)).await;
    let function = Function::start(local(&receiver.url())).await;
    let confirmation =
        json!({ "Type": "SubscriptionConfirmation", "Token": "SECRET", "Message": "SECRET" }).to_string();
    let message = json!({ "messageId": "m1", "eventSource": "aws:sqs", "body": confirmation });
    function.invoke(&json!({ "Records": [message] }).to_string()).await;
    function.invoke(&confirmation).await;
    let results = function.results().await;
    for (line, code) in results.iter().zip(["invalid_outcome", "unknown_event"]) {
        let text = line["message"].as_str().unwrap();
        assert!(
            text.contains(
                "this is an SNS subscription confirmation. Producer: confirm the subscription (the dead letter"
            ),
            "{text}"
        );
        assert_eq!((&line["code"], &line["level"]), (&json!(code), &json!("ERROR")));
    }
    assert_eq!(results.len(), 2);
    assert!(!function.output().await.contains("SECRET") && receiver.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_event_fails_and_is_told_the_accepted_shapes() {
    let receiver = Receiver::start(Reply::Status(200)).await;
    let function = Function::start(local(&receiver.url())).await;
    for event in ["{\"hello\":\"world\"}", "[]", "42", "null", "{\"Records\":[{\"eventSource\":\"aws:s3\"}]}"] {
        let answer = function.invoke(event).await;
        let message = answer["errorMessage"].as_str().unwrap_or_default();
        for shape in ["SQS", "SNS", "EventBridge", "detection outcome"] {
            assert!(message.contains(shape), "{event}: {answer}");
        }
    }
    assert!(receiver.requests().is_empty());
    let results = function.results().await;
    assert_eq!(results.len(), 5);
    let seen = |line: &Value| ["result", "code", "level"].map(|name| line[name].as_str().unwrap().to_owned());
    assert!(results.iter().all(|line| seen(line) == ["rejected", "unknown_event", "ERROR"]), "{results:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_event_that_is_kept_is_answered_with_its_report() {
    let receiver = Receiver::start(Reply::Status(200)).await;
    let bench = Bench::start(&one(&receiver.url())).await;
    let told = bench.runtime.invoke(r#"{"hello": "SECRET"}"#, LONG).await;
    assert_eq!(told.kind, "response", "so that nobody tries again: {told:?}");
    let seen = ["result", "code", "owner"].map(|name| told.body[name].as_str().unwrap());
    assert_eq!(seen, ["rejected", "unknown_event", "producer"]);
    let line = bench.results().await.remove(0);
    assert_eq!((&told.body["message"], &line["level"]), (&line["message"], &json!("ERROR")));
    assert!(line["message"].as_str().unwrap().contains("hello") && !line.to_string().contains("SECRET"), "{line}");
    assert_eq!((bench.dead_letters().await.len(), receiver.requests().len()), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn invocations_in_one_process_keep_their_ids_apart() {
    let receiver = Receiver::start(Reply::Slow(Duration::from_millis(300), 200)).await;
    let mut variables = local(&receiver.url());
    variables.push(("AWS_LAMBDA_MAX_CONCURRENCY".into(), "4".into()));
    let runtime = OwnRuntime::start(variables).await;
    let event = example();
    let one = || runtime.invoke(&event, Duration::from_secs(30));
    let (a, b, c, d) = tokio::join!(one(), one(), one(), one());
    for told in [a, b, c, d] {
        assert_eq!((told.kind, &told.body["deliveries"][0]["result"]), ("response", &json!("delivered")));
    }
    let log = runtime.results().await;
    let mut ids: Vec<_> = log.iter().map(|line| line["request_id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 4);
    assert!(log.iter().all(|line| line["xray_trace_id"] == "1-5bef4de7-ad49b0e87f6ef6c87fc2e700"));
}
