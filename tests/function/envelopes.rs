//! What Lambda hands over, and what arrives at the receiver.

use std::time::Duration;

use serde_json::{Value, json};

use super::receiver::{Receiver, Reply};
use super::runtime::{Function, OwnRuntime, local};
use super::samples::sample;

/// The platform's example payload as a receiver must get it.
fn example() -> String {
    sample("matched.json").trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_payload_arrives_byte_for_byte_through_every_envelope() {
    let receiver = Receiver::start(Reply::Status(200)).await;
    let function = Function::start(local(&receiver.url())).await;
    let names = ["matched.json", "sqs.json", "sns.json", "eventbridge.json", "sqs-sns.json", "sqs-eventbridge.json"];
    for (count, name) in names.iter().enumerate() {
        function.invoke(&sample(name)).await;
        let requests = receiver.requests();
        assert_eq!(requests.len(), count + 1, "{name}");
        assert_eq!(String::from_utf8_lossy(&requests[count].body), example(), "{name}");
        assert_eq!(requests[count].header("webhook-id"), Some("run-456"), "{name}");
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
async fn an_unknown_severity_is_delivered_with_a_warning_that_names_the_field() {
    let receiver = Receiver::start(Reply::Status(200)).await;
    let function = Function::start(local(&receiver.url())).await;
    let text = example().replace("\"HIGH\"", "\"URGENT\"").replace("\"errors\": []", "\"errors\": 5");
    function.invoke(&text).await;
    assert_eq!(receiver.requests()[0].body, text.as_bytes());
    let log = function.log().await;
    let warning = log.iter().find(|line| line["level"] == "WARN").unwrap();
    let message = warning["message"].as_str().unwrap();
    assert!(
        message.contains("`severity`: expected CRITICAL, HIGH, MEDIUM or LOW") && message.contains("`errors`"),
        "{message}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_no_known_shape_is_refused_with_the_accepted_ones() {
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
    assert!(function.results().await.iter().all(|line| line["code"] == "unknown_event" && line["level"] == "ERROR"));
}

#[tokio::test(flavor = "multi_thread")]
async fn invocations_run_side_by_side_in_one_process_and_keep_their_ids_apart() {
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
    let log = runtime.log().await;
    let mut ids: Vec<_> = log.iter().map(|line| line["request_id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 4);
    assert!(log.iter().all(|line| line["xray_trace_id"] == "1-5bef4de7-ad49b0e87f6ef6c87fc2e700"));
}
