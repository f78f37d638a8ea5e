//! What a fault on our side must not do: give up an outcome, harm a neighbour, or say what is not so.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;

use super::failures::message;
use super::queues::seconds_until_next;
use super::support::aws::{Aws, Relay, Trouble, variables};
use super::support::bench::{Bench, aged, attribute, failed, one, waits_for};
use super::support::receiver::{Receiver, Reply, Request};
use super::support::runtime::{OwnRuntime, vars};
use super::support::samples::example;

async fn retried(bench: &Bench, id: &str) -> usize {
    bench.aws.send(&bench.retry, &example(), waits_for(id)).await;
    let record = bench.next_retry().await;
    failed(&bench.invoke(&[record]).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_is_unknown_only_if_the_registry_says_so_now() {
    let receiver = Receiver::start(Reply::Status(200)).await;
    let url = receiver.url();
    let bench = Bench::start(&one(&url)).await;
    assert_eq!(retried(&bench, "soc").await, 0, "and now the document is known");
    assert_eq!(retried(&bench, "new").await, 0, "there is none");
    // Added within the time to live, and redriven at once.
    std::fs::write(&bench.file, json!({ "destinations": { "new": { "url": url } } }).to_string()).unwrap();
    assert_eq!(retried(&bench, "new").await, 0);
    std::fs::remove_file(&bench.file).unwrap();
    assert_eq!(retried(&bench, "other").await, 1, "nobody can say that there is none");
    let results = bench.results().await;
    let seen: Vec<_> = results.iter().map(|line| (line["destination"].as_str(), line["result"].as_str())).collect();
    assert_eq!(
        seen,
        [
            (Some("soc"), Some("delivered")),
            (Some("new"), Some("dead_lettered")),
            (Some("new"), Some("delivered")),
            (Some("other"), Some("returned"))
        ]
    );
    assert_eq!(results[3]["code"], "lookup_failed");
    let start = "other NOT TRIED, still in queue retries (next receive at ";
    assert!(message(&results[3]).starts_with(start), "{}", results[3]);
    assert!(results[3]["next_attempt_at"].is_string(), "{}", results[3]);
    assert_eq!(bench.dead_letters().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_registry_never_dead_letters() {
    let receiver = Receiver::start(Reply::Status(200)).await;
    let config = json!({
        "destinations": { "soc": { "url": receiver.url() }, "bad": { "url": "x" } },
        "routes": { "1": ["soc"], "2": ["soc", "bad"] }
    });
    for unrouted in ["ignore", "dead-letter"] {
        let more = [("REGISTRY_TTL_SECONDS", "0"), ("UNROUTED", unrouted)];
        let bench = Bench::start_with(&config, &more, None).await;
        let outcome =
            |detection: &str| example().replace("\"detection_id\": 123", &format!("\"detection_id\": {detection}"));
        assert_eq!(bench.deliver(&outcome("1")).await, 0);
        std::fs::remove_file(&bench.file).unwrap();
        assert_eq!(bench.deliver(&outcome("1")).await, 0, "what is known serves on");
        assert_eq!(bench.deliver(&outcome("123")).await, 1, "it may have a route by now");
        assert_eq!(
            bench.deliver(&outcome("2")).await,
            0,
            "the destination may have been corrected: the alert waits for it"
        );
        assert_eq!(bench.aws.counts(&bench.retry).await, [0, 1, 0]);
        assert!(bench.dead_letters().await.is_empty());
        let results = bench.results().await;
        let codes: Vec<_> = results.iter().filter_map(|line| line["code"].as_str()).collect();
        assert_eq!(codes, ["lookup_failed"; 2], "{results:?}");
        assert!(results.iter().any(|line| line["destination"] == "bad" && line["result"] == "retrying"), "{results:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_id_is_not_repeated_and_harms_no_neighbour() {
    let receiver = Receiver::start(Reply::Status(200)).await;
    let config = json!({ "destinations": {
        "": { "url": receiver.url() }, "https://hooks.example/SECRET": { "url": receiver.url() }, "soc": { "url": receiver.url() }
    } });
    let bench = Bench::start(&config).await;
    assert_eq!(bench.deliver(&example()).await, 0);
    let letters = bench.dead_letters().await;
    assert_eq!(letters.len(), 2);
    for letter in &letters {
        assert_eq!(attribute(letter, "outcome-destination"), None, "what is no id is no order");
        assert_eq!(attribute(letter, "outcome-code").as_deref(), Some("destination_invalid"));
    }
    // As an order, it meets no destination, whatever there is.
    assert_eq!(retried(&bench, "(invalid)").await, 0);
    assert_eq!(receiver.requests().len(), 1);
    let output = bench.runtime.output().await;
    assert!(!output.contains("SECRET"), "{output}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_another_receive_owns_is_no_failure() {
    let receiver = Receiver::start(Reply::Status(503)).await;
    let bench = Bench::start_with(&one(&receiver.url()), &[], Some(Trouble::NotInFlight)).await;
    assert_eq!(retried(&bench, "soc").await, 1);
    assert_eq!(bench.results().await[0]["result"], "retrying");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_that_the_endpoint_asks_for_with_a_401_is_granted() {
    let receiver = Receiver::start(Reply::Raw("HTTP/1.1 401 X\r\nRetry-After: 600\r\nContent-Length: 0\r\n\r\n")).await;
    let bench = Bench::start(&one(&receiver.url())).await;
    assert_eq!(bench.deliver(&example()).await, 0);
    let line = bench.results().await.remove(0);
    assert_eq!((line["code"].as_str(), seconds_until_next(&line)), (Some("unauthorized"), 600), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_attempt_has_a_number_beyond_the_last() {
    let receiver = Receiver::start(Reply::Status(503)).await;
    let bench = Bench::start_with(&one(&receiver.url()), &[("MAX_ATTEMPTS", "3")], None).await;
    bench.aws.send(&bench.retry, &example(), waits_for("soc")).await;
    let record = aged(bench.next_retry().await, Duration::from_secs(3600));
    assert_eq!(failed(&bench.invoke(&[record]).await), 0);
    let line = bench.results().await.remove(0);
    assert_eq!((line["result"].as_str(), line["attempt"].as_u64()), (Some("dead_lettered"), Some(3)), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_due_time_beyond_what_a_queue_can_hide_is_not_obeyed() {
    let receiver = Receiver::start(Reply::Status(200)).await;
    let bench = Bench::start(&one(&receiver.url())).await;
    let mut attributes = waits_for("soc");
    // Milliseconds, where seconds belong.
    attributes["outcome-not-before"] = json!({ "DataType": "Number", "StringValue": "1764000000000" });
    bench.aws.send(&bench.retry, &example(), attributes).await;
    let record = bench.next_retry().await;
    assert_eq!(failed(&bench.invoke(&[record]).await), 0);
    assert_eq!(receiver.requests().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_does_not_come_holds_up_no_other_delivery() {
    let receiver = Receiver::start(Reply::Status(200)).await;
    let aws = Aws::start().await;
    let relay = Relay::start(aws.port, Trouble::Silent).await;
    relay.in_trouble(true);
    let config = json!({ "destinations": {
        "plain": { "url": receiver.url() }, "keyed": { "url": format!("{}/{{{{secret:k}}}}", receiver.url()) }
    } });
    let mut all = variables(relay.port, "");
    all[0].1 = super::support::runtime::document(&config).remove(0).1;
    let runtime = OwnRuntime::start(all).await;
    // Less than AWS's client waits for an answer.
    let told = runtime.invoke(&example(), Duration::from_secs(8)).await;
    assert_eq!(told.kind, "error");
    assert_eq!(receiver.requests().len(), 1);
    let results = runtime.results().await;
    let seen: Vec<_> = results.iter().map(|line| (line["destination"].as_str(), line["result"].as_str())).collect();
    assert_eq!(seen, [(Some("plain"), Some("delivered")), (Some("keyed"), Some("returned"))]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_reads_a_rotated_key_although_no_route_names_it() {
    let rotated = Arc::new(AtomicBool::new(false));
    let is_new = rotated.clone();
    let receiver = Receiver::start_scripted(move |request: &Request| {
        let key = if is_new.load(Ordering::SeqCst) { "new-key" } else { "old-key" };
        Reply::Status(if request.head.contains(key) { 200 } else { 401 })
    })
    .await;
    let aws = Aws::start().await;
    aws.create_secret("key", "old-key").await;
    aws.create_table("destinations").await;
    let url = format!("{}/{{{{secret:key}}}}", receiver.url());
    aws.put_items("destinations", &[json!({ "pk": "destination#soc", "url": url })]).await;
    let (retry, dead_letter) = (aws.create_queue("retries").await, aws.create_queue("dead-letters").await);
    let mut variables = aws.variables("dynamodb:destinations");
    variables.extend(vars(&[("RETRY_QUEUE_URL", &retry), ("DEAD_LETTER_QUEUE_URL", &dead_letter)]));
    let runtime = OwnRuntime::start(variables).await;
    let record = json!({
        "messageId": "m", "eventSource": "aws:sqs", "eventSourceARN": aws.arn("retries"),
        "body": example(),
        "messageAttributes": { "outcome-destination": { "dataType": "String", "stringValue": "soc" } }
    });
    let event = json!({ "Records": [record] }).to_string();
    assert_eq!(failed(&runtime.invoke(&event, Duration::from_secs(20)).await), 0);
    aws.put_secret("key", "new-key").await;
    rotated.store(true, Ordering::SeqCst);
    assert_eq!(failed(&runtime.invoke(&event, Duration::from_secs(20)).await), 0);
    assert_eq!(receiver.requests().len(), 3);
}
