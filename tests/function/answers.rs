//! What the function answers: failed ids for SQS, a report or a fixed error for the others.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::support::bench::LONG;
use super::support::receiver::{Receiver, Reply, Request};
use super::support::runtime::{Function, OwnRuntime, document, local};
use super::support::samples::{outcome, sample};

fn message(id: &str, body: &str) -> Value {
    json!({ "messageId": id, "body": body, "eventSource": "aws:sqs" })
}

fn batch(messages: &[Value]) -> String {
    json!({ "Records": messages }).to_string()
}

fn failures(ids: &[&str]) -> Value {
    json!({ "batchItemFailures": ids.iter().map(|id| json!({ "itemIdentifier": id })).collect::<Vec<_>>() })
}

/// Answers 200 except to outcomes of the run `fails`.
async fn picky_receiver() -> Receiver {
    Receiver::start_scripted(|request: &Request| {
        Reply::Status(if String::from_utf8_lossy(&request.body).contains("fails") { 503 } else { 200 })
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_answers_with_the_failed_ids_alone() {
    let receiver = picky_receiver().await;
    let function = Function::start(local(&receiver.url())).await;
    let event = batch(&[
        message("good", &outcome(json!({}))),
        message("poison", "{not json"),
        message("down", &outcome(json!({ "run_id": "fails" }))),
        message("quiet", &outcome(json!({ "outcome": "NOT_MATCHED" }))),
    ]);
    assert_eq!(function.invoke(&event).await, failures(&["poison", "down"]));
    assert_eq!(receiver.requests().len(), 3);
    assert_eq!(function.invoke(&sample("sqs-batch.json")).await, failures(&[]));
    assert_eq!(function.invoke("{\"Records\":[]}").await, failures(&[]));
}

/// Without queues of the function's own, SQS keeps the message and counts its receives.
#[tokio::test(flavor = "multi_thread")]
async fn without_queues_the_attempt_is_the_receive() {
    let receiver = picky_receiver().await;
    let runtime = OwnRuntime::start(local(&receiver.url())).await;
    let mut third = message("down", &outcome(json!({ "run_id": "fails" })));
    third["attributes"] = json!({ "ApproximateReceiveCount": "3" });
    runtime.invoke(&batch(&[third]), LONG).await;
    let line = runtime.results().await.remove(0);
    assert_eq!((&line["result"], &line["attempt"]), (&json!("returned"), &json!(3)), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_message_without_an_id_fails_its_batch() {
    let receiver = picky_receiver().await;
    let function = Function::start(local(&receiver.url())).await;
    let nameless = json!({ "body": outcome(json!({ "run_id": "fails" })), "eventSource": "aws:sqs" });
    let answer = function.invoke(&batch(&[message("good", &outcome(json!({}))), nameless])).await;
    assert_eq!(answer["errorType"], "Undelivered");
    let nameless = json!({ "body": outcome(json!({})), "eventSource": "aws:sqs" });
    assert_eq!(function.invoke(&batch(&[nameless])).await, failures(&[]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_odd_record_is_rejected_and_its_neighbours_are_sent() {
    let receiver = picky_receiver().await;
    let function = Function::start(local(&receiver.url())).await;
    let good = message("good", &outcome(json!({})));
    let named = json!({ "messageId": "odd", "eventSource": "aws:kinesis", "kinesis": {} });
    assert_eq!(function.invoke(&batch(&[named.clone(), good.clone()])).await, failures(&["odd"]));
    assert_eq!(receiver.requests().len(), 1);
    // Nothing can name it to SQS, so only the failure of the whole batch keeps it.
    for odd in [json!(5), json!(null), json!("text"), json!([]), json!({})] {
        let sent = receiver.requests().len();
        assert_eq!(function.invoke(&batch(&[odd, good.clone()])).await["errorType"], "Undelivered");
        assert_eq!(receiver.requests().len(), sent + 1);
    }
    let results = function.results().await;
    let rejected = results.iter().filter(|line| line["result"] == "rejected" && line["code"] == "invalid_outcome");
    assert_eq!(rejected.count(), 6);
    assert_eq!(function.invoke(&batch(&[named])).await["errorType"], "UnknownShape");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_record_names_its_message_detection_and_run() {
    let receiver = picky_receiver().await;
    let function = Function::start(local(&receiver.url())).await;
    let nameless = json!({ "body": "hello", "eventSource": "aws:sqs" });
    let wrong = |run: &str| outcome(json!({ "outcome": 5, "run_id": run }));
    function.invoke(&batch(&[message("m1", &wrong("r1")), message("m2", &wrong("r2")), nameless])).await;
    function.invoke(&wrong("r3")).await;
    let results = function.results().await;
    for (message_id, run_id, parts) in [
        (json!("m1"), json!("r1"), ["message m1", "`outcome`: expected", "run r1"]),
        (json!("m2"), json!("r2"), ["message m2", "`outcome`: expected", "run r2"]),
        (json!(null), json!(null), ["not an outcome", "`Records[2].body`: expected", "Producer: "]),
        (json!(null), json!("r3"), ["not an outcome", "`outcome`: expected", "run r3"]),
    ] {
        let is_it = |line: &&Value| line["message_id"] == message_id && line["run_id"] == run_id;
        let line = results.iter().find(is_it).unwrap_or_else(|| panic!("{run_id}: {results:?}"));
        for part in parts {
            assert!(line["message"].as_str().unwrap().contains(part), "{part}: {line}");
        }
        let seen = ["level", "result", "code", "owner"].map(|name| line[name].as_str().unwrap());
        assert_eq!(seen, ["ERROR", "rejected", "invalid_outcome", "producer"]);
        let (id, severity) = if run_id.is_null() { (json!(null), json!(null)) } else { (json!(123), json!("HIGH")) };
        assert_eq!((&line["detection_id"], &line["severity"]), (&id, &severity), "{line}");
    }
    assert_eq!(results.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_a_batch_are_delivered_side_by_side() {
    let receiver = Receiver::start(Reply::Slow(Duration::from_millis(500), 200)).await;
    let function = Function::start(local(&receiver.url())).await;
    let messages: Vec<_> =
        (0..10).map(|n| message(&format!("m{n}"), &outcome(json!({ "run_id": format!("r{n}") })))).collect();
    let begun = Instant::now();
    assert_eq!(function.invoke(&batch(&messages)).await, failures(&[]));
    // One after the other would take five seconds.
    assert!(begun.elapsed() < Duration::from_secs(4));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_direct_answer_is_a_report_or_a_fixed_error() {
    let receiver = picky_receiver().await;
    let function = Function::start(local(&receiver.url())).await;
    let report = function.invoke(&outcome(json!({}))).await;
    assert_eq!(report["run_id"], "run-456");
    let delivery = &report["deliveries"][0];
    assert_eq!(
        (&delivery["destination"], &delivery["result"], &delivery["status"]),
        (&json!("default"), &json!("delivered"), &json!(200))
    );
    assert!(delivery["total_ms"].is_u64() && delivery["message"].is_string(), "{delivery}");

    let error = function.invoke(&outcome(json!({ "run_id": "fails" }))).await;
    assert_eq!(
        error,
        json!({
            "errorType": "Undelivered",
            "errorMessage": "at least one outcome was not delivered; the function's log says which, why, and what to do"
        })
    );
    let error = function.invoke(&outcome(json!({ "outcome": 5, "detection_name": "SECRET" }))).await;
    assert_eq!(error["errorType"], "Undelivered");
    // One line each, and one of the cold start; the runtime's own repetition of the error is not printed.
    assert_eq!((function.results().await.len(), function.log().await.len()), (3, 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_direct_answer_has_the_same_reports_as_the_log() {
    let receiver = Receiver::start(Reply::Status(200)).await;
    let function = Function::start(document(&json!({ "destinations": {
        "soc": { "url": receiver.url() },
        "pager": { "url": receiver.url(), "min_severity": "CRITICAL" }
    } })))
    .await;
    let answer = function.invoke(&outcome(json!({ "match_count": "5" }))).await;
    let mut reports: Vec<_> = answer["deliveries"].as_array().unwrap().iter().map(Value::to_string).collect();
    let mut lines = function.results().await;
    for line in &mut lines {
        // The log's own. What is left is compared as text: keys, values and order.
        let line = line.as_object_mut().unwrap();
        for name in ["level", "timestamp", "request_id"] {
            assert!(line.shift_remove(name).is_some(), "{name}: {line:?}");
        }
        line.shift_remove("xray_trace_id");
    }
    let mut lines: Vec<_> = lines.iter().map(Value::to_string).collect();
    reports.sort();
    lines.sort();
    assert_eq!(reports, lines);
    assert!(lines[0].contains("\"filtered\"") && lines[1].contains("\"warnings\":[\"match_count\"]"), "{lines:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sns_and_eventbridge_fail_so_that_lambda_tries_again() {
    let receiver = Receiver::start(Reply::Status(503)).await;
    let function = Function::start(local(&receiver.url())).await;
    for name in ["sns.json", "eventbridge.json"] {
        assert_eq!(function.invoke(&sample(name)).await["errorType"], "Undelivered", "{name}");
    }
    assert!(function.results().await.iter().all(|line| line["level"] == "ERROR" && line["result"] == "returned"));
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_filters_and_broken_destinations_are_told_apart() {
    let receiver = Receiver::start(Reply::Status(200)).await;
    let url = receiver.url();
    let function = Function::start(document(&json!({
        "destinations": {
            "all": { "url": url },
            "off": { "url": url, "active": false },
            "grave": { "url": url, "min_severity": "CRITICAL" },
            "errors": { "url": url, "outcomes": ["ERROR"] },
            "broken": { "url": url, "timeout": 0 },
            "keyed": { "url": url, "headers": { "X-Api-Key": "k1" } }
        },
        "routes": { "123": ["all", "off", "grave", "errors", "broken", "gone"], "7": ["keyed"], "8": ["off"] }
    })))
    .await;
    // A route with trouble in it fails, but the rest of it is served.
    assert_eq!(function.invoke(&outcome(json!({}))).await["errorType"], "Undelivered");
    assert_eq!(receiver.requests().len(), 1);
    let mut seen: Vec<_> = function
        .results()
        .await
        .iter()
        .map(|line| {
            [&line["destination"], &line["result"], &line["code"]].map(|field| field.as_str().unwrap_or("-").to_owned())
        })
        .collect();
    seen.sort();
    assert_eq!(
        seen,
        [
            ["all", "delivered", "-"],
            ["broken", "returned", "destination_invalid"],
            ["errors", "filtered", "-"],
            ["gone", "returned", "destination_unknown"],
            ["grave", "filtered", "-"],
            ["off", "filtered", "-"],
        ]
    );
    // A value that nobody knew when this was built passes the filters.
    function.invoke(&outcome(json!({ "severity": "URGENT", "outcome": "NEW" }))).await;
    assert_eq!(receiver.requests().len(), 1 + 3);

    // A string id finds the same route as a number.
    let report = function.invoke(&outcome(json!({ "detection_id": "7" }))).await;
    assert_eq!(report["deliveries"][0]["destination"], "keyed");
    assert_eq!(receiver.requests().last().unwrap().header("x-api-key"), Some("k1"));

    let report = function.invoke(&outcome(json!({ "detection_id": 8 }))).await;
    let [delivery] = report["deliveries"].as_array().unwrap().as_slice() else { panic!("{report}") };
    assert_eq!((&delivery["destination"], &delivery["result"]), (&json!("off"), &json!("filtered")));

    // Nobody gets it: an alert must not vanish, a run without a match may.
    assert_eq!(function.invoke(&outcome(json!({ "detection_id": 9 }))).await["errorType"], "Undelivered");
    assert_eq!(function.results().await.last().unwrap()["code"], "unrouted");
    let report = function.invoke(&outcome(json!({ "detection_id": 9, "outcome": "NOT_MATCHED" }))).await;
    let [delivery] = report["deliveries"].as_array().unwrap().as_slice() else { panic!("{report}") };
    assert_eq!((delivery.get("destination"), &delivery["result"]), (None, &json!("ignored")));
    assert_eq!(receiver.requests().len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_cannot_be_read_acknowledges_nothing() {
    let receiver = Receiver::start(Reply::Status(200)).await;
    for bad in [
        json!([]),
        json!({ "destinations": {} }),
        json!({ "destinations": { "a": { "url": receiver.url() } }, "rout": {} }),
    ] {
        let function = Function::start(document(&bad)).await;
        let event =
            batch(&[message("m1", &outcome(json!({}))), message("m2", &outcome(json!({ "outcome": "NOT_MATCHED" })))]);
        assert_eq!(function.invoke(&event).await, failures(&["m1", "m2"]));
        assert!(
            function.results().await.iter().all(|line| line["code"] == "lookup_failed" && line["level"] == "ERROR")
        );
    }
    let function = Function::start(super::support::runtime::vars(&[("DESTINATIONS", "file:/nowhere/d.json")])).await;
    assert_eq!(function.invoke(&outcome(json!({}))).await["errorType"], "Undelivered");
    let line = function.results().await.remove(0);
    assert!(line["code"] == "lookup_failed" && line["message"].as_str().unwrap().contains("/nowhere/d.json"), "{line}");
    assert!(receiver.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_file_takes_effect_at_the_next_outcome() {
    let receiver = Receiver::start(Reply::Status(200)).await;
    let variables = document(&json!({ "destinations": { "one": { "url": receiver.url() } } }));
    let path = variables[0].1.strip_prefix("file:").unwrap().to_owned();
    let mut variables = variables;
    variables.extend(super::support::runtime::vars(&[("REGISTRY_TTL_SECONDS", "0")]));
    let function = Function::start(variables).await;
    assert_eq!(function.invoke(&outcome(json!({}))).await["deliveries"][0]["destination"], "one");
    std::fs::write(path, json!({ "destinations": { "two": { "url": receiver.url() } } }).to_string()).unwrap();
    assert_eq!(function.invoke(&outcome(json!({}))).await["deliveries"][0]["destination"], "two");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_is_cut_before_the_deadline_and_says_so() {
    let receiver = Receiver::start(Reply::Silence).await;
    let runtime = OwnRuntime::start(local(&receiver.url())).await;
    let event = batch(&[message("m1", &outcome(json!({})))]);
    let told = runtime.invoke(&event, Duration::from_secs(6)).await;
    assert_eq!((told.kind, told.body), ("response", failures(&["m1"])));
    let told = runtime.invoke(&event, Duration::ZERO).await;
    assert_eq!(told.body, failures(&["m1"]));
    let results = runtime.results().await;
    assert_eq!(
        (&results[0]["code"], &results[0]["maybe_received"], &results[0]["level"]),
        (&json!("deadline"), &json!(true), &json!("WARN"))
    );
    let untried = &results[1];
    assert_eq!(
        (&untried["code"], untried.get("attempt"), untried.get("total_ms")),
        (&json!("not_started"), None, None)
    );
    assert_eq!(receiver.requests().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_duration_in_the_deadlines_place_is_understood() {
    let receiver = Receiver::start(Reply::Status(200)).await;
    let runtime = OwnRuntime::start(local(&receiver.url())).await;
    // As `cargo lambda watch` sends it.
    assert_eq!(runtime.invoke_with_deadline(&outcome(json!({})), 600_000).await.kind, "response");
}
