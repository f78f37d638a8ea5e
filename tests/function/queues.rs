//! What becomes of a delivery that fails, with moto's SQS in AWS's place.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use detection_outcome_handler::domain::backoff::Schedule;
use serde_json::{Value, json};

use super::failures::{assert_readable, message};
use super::support::aws::Trouble;
use super::support::bench::{Bench, LONG, aged, attribute, failed, one, waits_for};
use super::support::receiver::{Receiver, Reply, Request};
use super::support::runtime::{OwnRuntime, document};
use super::support::samples::{WEBHOOK_ID, example, sample};

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_that_fails_waits_for_its_destination() {
    let receiver = Receiver::start_scripted({
        let count = std::sync::atomic::AtomicUsize::new(0);
        move |_| Reply::Status(if count.fetch_add(1, std::sync::atomic::Ordering::SeqCst) < 2 { 503 } else { 200 })
    })
    .await;
    let bench = Bench::start(&one(&receiver.url())).await;
    assert_eq!(bench.deliver(&example()).await, 0, "what is written is acknowledged");
    assert_eq!(bench.aws.counts(&bench.retry).await, [0, 1, 0], "held back by its first wait");

    // The real first wait, 8 to 12 seconds.
    let waiting = bench.next_retry().await;
    assert_eq!(waiting["body"].as_str().unwrap(), example().trim());
    let attributes = ["outcome-destination", "outcome-code", "outcome-status", "outcome-attempt", "outcome-not-before"];
    let seen = attributes.map(|name| attribute(&waiting, name));
    assert_eq!(
        seen,
        ["soc", "server_error", "503", "1", ""].map(|text| Some(text.to_owned()).filter(|text| !text.is_empty()))
    );
    assert_eq!(waiting["attributes"]["MessageGroupId"], "soc");

    assert_eq!(failed(&bench.invoke(std::slice::from_ref(&waiting)).await), 1, "it stays in the retry queue");
    assert_eq!(bench.aws.counts(&bench.retry).await, [0, 0, 1], "hidden there");
    assert_eq!(failed(&bench.invoke(&[waiting]).await), 0);
    let requests = receiver.requests();
    assert_eq!(requests.len(), 3);
    assert!(
        requests
            .iter()
            .all(|request| request.header("webhook-id") == Some(WEBHOOK_ID) && request.body == requests[0].body)
    );

    let results = bench.results().await;
    let seen: Vec<_> =
        results.iter().map(|line| (line["result"].as_str().unwrap(), line["attempt"].as_u64().unwrap())).collect();
    assert_eq!(seen, [("retrying", 1), ("retrying", 2), ("delivered", 2)]);
    for line in &results[..2] {
        assert_eq!((line["level"].as_str(), line["owner"].as_str()), (Some("WARN"), Some("nobody yet")));
        assert!(line["gives_up_at"].as_str() > line["next_attempt_at"].as_str(), "{line}");
    }
    // Anchored at the message's time: the first and the second wait, each within a fifth of its length.
    assert!((8..=12).contains(&seconds_until_next(&results[0])), "{}", results[0]);
    assert!((20..=46).contains(&(seconds_until_next(&results[1]) + waited(&results[1]))), "{}", results[1]);
    assert!(message(&results[0]).starts_with("soc NOT DELIVERED, in the retry queue (next try "));
    assert!(message(&results[1]).starts_with("soc NOT DELIVERED, in the retry queue (failing since "));
    assert_eq!(results[0]["gives_up_at"].as_str().unwrap()[..15], results[1]["gives_up_at"].as_str().unwrap()[..15]);
}

/// The wait that a line tells of, in seconds.
pub(crate) fn seconds_until_next(line: &Value) -> i64 {
    // A line is written a moment after its times were made: what is cut off is not lost.
    let time = |name: &str| {
        line[name].as_str().unwrap_or_else(|| panic!("{name}: {line}")).parse::<jiff::Timestamp>().unwrap()
    };
    time("next_attempt_at").as_second() - time("timestamp").as_second()
}

fn waited(line: &Value) -> i64 {
    line["waiting_seconds"].as_i64().unwrap_or_else(|| panic!("no waiting_seconds: {line}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_410_is_dead_lettered_after_one_attempt() {
    let receiver = Receiver::start(Reply::Status(410)).await;
    let bench = Bench::start(&one(&receiver.url())).await;
    assert_eq!(bench.deliver(&example()).await, 0);
    let letter = bench.dead_letters().await.remove(0);
    assert_eq!(letter["body"].as_str().unwrap(), example().trim());
    let seen = ["outcome-destination", "outcome-code", "outcome-status", "outcome-attempt"]
        .map(|name| attribute(&letter, name).unwrap());
    assert_eq!(seen, ["soc", "gone", "410", "1"]);
    assert!(attribute(&letter, "outcome-detail").unwrap().contains("HTTP 410"));
    assert_eq!(bench.aws.counts(&bench.retry).await, [0, 0, 0]);
    let line = bench.results().await.remove(0);
    assert_eq!((line["result"].as_str(), line["level"].as_str()), (Some("dead_lettered"), Some("ERROR")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_an_outcome_is_dead_lettered_as_it_came() {
    let receiver = Receiver::start(Reply::Status(200)).await;
    let bench = Bench::start(&one(&receiver.url())).await;
    let poison = " {\"detection_id\": 1, \"x\": 1.50 ";
    assert_eq!(bench.deliver(poison).await, 0);
    let letter = bench.dead_letters().await.remove(0);
    assert_eq!(
        (letter["body"].as_str().unwrap(), attribute(&letter, "outcome-code").as_deref()),
        (poison, Some("invalid_outcome"))
    );
    assert_eq!(bench.results().await[0]["result"], "rejected");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_a_record_is_dead_lettered_also_without_an_id() {
    let receiver = Receiver::start(Reply::Status(200)).await;
    let bench = Bench::start(&one(&receiver.url())).await;
    let odd = json!({ "eventSource": "aws:kinesis" });
    let good = json!({ "messageId": "m1", "eventSource": "aws:sqs", "body": example() });
    let told = bench.invoke(&[odd.clone(), good]).await;
    assert_eq!((failed(&told), receiver.requests().len()), (0, 1));
    assert_eq!(bench.dead_letters().await.remove(0)["body"], odd.to_string());
}

/// Hands over a delivery that has waited for so long; its line, and whether it stays in the retry queue.
async fn retried(bench: &Bench, id: &str, age: Duration) -> (Value, bool) {
    bench.aws.send(&bench.retry, &example(), waits_for(id)).await;
    let record = aged(bench.next_retry().await, age);
    let stays = failed(&bench.invoke(&[record]).await) == 1;
    (bench.results().await.pop().unwrap(), stays)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_that_is_over_ends_in_the_dead_letter_queue() {
    let receiver = Receiver::start(Reply::Status(503)).await;
    let bench = Bench::start_with(&one(&receiver.url()), &[("MAX_ATTEMPTS", "4")], None).await;
    for (age, result, attempt) in [(60, "retrying", 3), (200, "dead_lettered", 4), (3600, "dead_lettered", 4)] {
        let (line, stays) = retried(&bench, "soc", Duration::from_secs(age)).await;
        assert_eq!((line["result"].as_str(), line["attempt"].as_u64()), (Some(result), Some(attempt)), "{line}");
        assert_eq!(stays, result == "retrying");
    }
    assert_eq!(bench.dead_letters().await.len(), 2);
    let line = bench.results().await.pop().unwrap();
    assert!(message(&line).starts_with("soc DEAD-LETTERED in queue dead-letters (failing since "), "{line}");
    let redrive = r#"the operator then redrives: invoke the function with {"redrive":{"destination":"soc","code":"server_error"}}."#;
    assert!(message(&line).contains(redrive), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn back_pressure_costs_a_delivery_none_of_its_attempts() {
    let receiver = Receiver::start_scripted({
        let count = AtomicUsize::new(0);
        move |_| Reply::Status(if count.fetch_add(1, Ordering::SeqCst) == 0 { 429 } else { 503 })
    })
    .await;
    let bench = Bench::start(&one(&receiver.url())).await;
    let late = Duration::from_secs(30 * 60 * 60);
    let (line, stays) = retried(&bench, "soc", late).await;
    assert_eq!((line["code"].as_str(), line["result"].as_str(), stays), (Some("rate_limited"), Some("retrying"), true));
    // Asked to wait beyond its schedule's end, it starts a new one when it fails for real, and only once.
    let (line, stays) = retried(&bench, "soc", late).await;
    assert_eq!(
        (line["code"].as_str(), line["result"].as_str(), stays),
        (Some("server_error"), Some("retrying"), false)
    );
    let renewed = bench.next_retry().await;
    assert_eq!(attribute(&renewed, "outcome-renewed").as_deref(), Some("true"));
    assert_eq!(failed(&bench.invoke(&[aged(renewed, late)]).await), 0);
    assert_eq!(bench.results().await.pop().unwrap()["result"], "dead_lettered");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_expires_in_silence() {
    let receiver = Receiver::start(Reply::Status(429)).await;
    let config = json!({ "destinations": {
        "soc": { "url": receiver.url() }, "calm": { "url": receiver.url(), "paused": true }
    } });
    let bench = Bench::start(&config).await;
    for (id, code) in [("soc", "rate_limited"), ("calm", "destination_paused")] {
        let (line, stays) = retried(&bench, id, Duration::from_secs(6 * 24 * 60 * 60 + 60)).await;
        let seen = ["code", "result", "level"].map(|name| line[name].as_str().unwrap().to_owned());
        assert_eq!((seen, stays), ([code, "dead_lettered", "ERROR"].map(str::to_owned), false), "{line}");
    }
    assert_eq!(bench.dead_letters().await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_response_is_dead_lettered_after_one_attempt() {
    // RFC 9112, section 6.1: a chunked body under HTTP/1.0 is faulty framing. Each try would be answered so.
    let receiver =
        Receiver::start(Reply::Raw("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")).await;
    let bench = Bench::start(&one(&receiver.url())).await;
    assert_eq!(bench.deliver(&example()).await, 0);
    assert_eq!((receiver.requests().len(), bench.dead_letters().await.len()), (1, 1));
    let line = bench.results().await.remove(0);
    assert_readable(&line, "malformed_response");
    assert!(message(&line).contains("the endpoint may have received the alert"), "{line}");
    assert_eq!((line["result"].as_str(), line["maybe_received"].as_bool()), (Some("dead_lettered"), Some(true)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_costs_time_is_left_alone_for_a_while() {
    let silent = Receiver::start(Reply::Silence).await;
    let up = Receiver::start(Reply::Status(200)).await;
    let config = json!({ "destinations": {
        "slow": { "url": silent.url(), "timeout": 1 }, "up": { "url": up.url() }
    } });
    let bench = Bench::start(&config).await;
    for run in 0..4 {
        assert_eq!(bench.deliver(&example().replace("run-456", &format!("run-{run}"))).await, 0);
    }
    assert_eq!(
        (silent.requests().len(), up.requests().len()),
        (3, 4),
        "no attempt after three that cost a second each"
    );
    let results = bench.results().await;
    let line = results.iter().find(|line| line["code"] == "circuit_open").unwrap_or_else(|| panic!("{results:?}"));
    assert_eq!((line["result"].as_str(), line.get("attempt"), line.get("total_ms")), (Some("retrying"), None, None));
    assert!(!message(line).contains("may have received"), "it was not sent: {line}");
    assert!(message(line).starts_with("slow NOT TRIED, in the retry queue (next try "), "{line}");
}

/// The deliveries in the retry queue, as destination, whether its fallback was told, and whose fallback it is.
async fn fallback_orders(bench: &Bench) -> Vec<(Value, [Option<String>; 3])> {
    let names = ["outcome-destination", "outcome-fallback-sent", "outcome-fallback-for"];
    let mut records = Vec::new();
    while records.len() < 2 {
        records.push(bench.next_retry().await);
    }
    records.into_iter().map(|record| (record.clone(), names.map(|name| attribute(&record, name)))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fallback_gets_the_alert_once_and_the_first_one_goes_on() {
    let down = Receiver::start(Reply::Status(503)).await;
    let pager = Receiver::start(Reply::Status(200)).await;
    let config = json!({
        "destinations": {
            "soc": { "url": down.url(), "fallback": { "to": "pager", "after_minutes": 0 } },
            "pager": { "url": pager.url(), "min_severity": "HIGH" }
        },
        "routes": { "*": ["soc"] }
    });
    let bench = Bench::start(&config).await;
    assert_eq!(bench.deliver(&example()).await, 0);
    let line = bench.results().await.remove(0);
    assert!(message(&line).contains("a copy of the alert goes to its fallback pager"), "{line}");
    let mut waiting = fallback_orders(&bench).await;
    waiting.sort_by_key(|(_, orders)| orders[0].clone());
    let text = |text: &str| Some(text.to_owned());
    let seen: Vec<_> = waiting.iter().map(|(_, orders)| orders.clone()).collect();
    assert_eq!(seen, [[text("pager"), None, text("soc")], [text("soc"), text("true"), None]]);
    for (record, _) in waiting {
        bench.invoke(&[aged(record, Duration::from_secs(60))]).await;
    }
    let lines = bench.results().await;
    assert_eq!((lines[1]["destination"].as_str(), lines[1]["result"].as_str()), (Some("pager"), Some("delivered")));
    assert_eq!(lines[1]["fallback"], "soc");
    assert!(message(&lines[1]).contains("(as the fallback of soc)"), "{}", lines[1]);
    assert_eq!((lines[2]["destination"].as_str(), lines[2]["result"].as_str()), (Some("soc"), Some("retrying")));
    assert!(!message(&lines[2]).contains("pager"), "told once: {}", lines[2]);
    assert_eq!((down.requests().len(), pager.requests().len()), (2, 1));
    assert_eq!(pager.requests()[0].header("webhook-id"), down.requests()[0].header("webhook-id"));

    // Its own options hold for a copy as well.
    assert_eq!(bench.deliver(&example().replace("HIGH", "LOW")).await, 0);
    assert!(!message(&bench.results().await[3]).contains("pager"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_never_repeats_a_destination_that_has_it() {
    let up = Receiver::start(Reply::Status(200)).await;
    let down = Receiver::start(Reply::Status(503)).await;
    let config =
        json!({ "destinations": { "up": { "url": up.url() }, "down": { "url": down.url() }, "bad": { "url": "x" } } });
    let bench = Bench::start(&config).await;
    assert_eq!(bench.deliver(&example()).await, 0);
    assert_eq!(attribute(&bench.dead_letters().await[0], "outcome-destination").as_deref(), Some("bad"));
    let waiting = bench.next_retry().await;
    assert_eq!(attribute(&waiting, "outcome-destination").as_deref(), Some("down"));
    bench.invoke(&[waiting]).await;
    assert_eq!((up.requests().len(), down.requests().len()), (1, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_without_a_destination_fans_out_from_any_queue() {
    let receiver = Receiver::start(Reply::Status(200)).await;
    let config = json!({ "destinations": { "a": { "url": receiver.url() }, "b": { "url": receiver.url() } } });
    let bench = Bench::start(&config).await;
    bench.aws.send(&bench.retry, &example(), json!({})).await;
    let record = bench.next_retry().await;
    assert_eq!(failed(&bench.invoke(&[record]).await), 0);
    let results = bench.results().await;
    let mut seen: Vec<_> = results.iter().map(|line| line["destination"].as_str().unwrap()).collect();
    seen.sort_unstable();
    assert_eq!(seen, ["a", "b"]);
}

/// What only the function itself may order, in the form of SQS's API.
fn all_orders() -> Value {
    json!({
        "outcome-destination": { "DataType": "String", "StringValue": "b" },
        "outcome-not-before": { "DataType": "Number", "StringValue": "99999999999" },
        "outcome-renewed": { "DataType": "String", "StringValue": "true" },
        "outcome-fallback-sent": { "DataType": "String", "StringValue": "true" },
        "outcome-fallback-for": { "DataType": "String", "StringValue": "c" },
    })
}

/// The destinations that an outcome went to, in their order.
fn delivered_to(lines: &[Value]) -> Vec<&str> {
    let mut seen: Vec<_> = lines.iter().map(|line| line["destination"].as_str().unwrap_or_default()).collect();
    seen.sort_unstable();
    assert!(lines.iter().all(|line| line["result"] == "delivered" || line["result"] == "filtered"), "{lines:?}");
    seen
}

/// `b` is not in the route and wants errors alone: only an order could lead a match there.
fn guarded(url: &str) -> Value {
    json!({
        "destinations": { "a": { "url": url }, "b": { "url": url, "outcomes": ["ERROR"] }, "c": { "url": url } },
        "routes": { "*": ["a", "c"] }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producers_attributes_choose_no_destination() {
    let receiver = Receiver::start(Reply::Status(200)).await;
    let bench = Bench::start(&guarded(&receiver.url())).await;
    let mut orders = all_orders();
    let due = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() + 3600;
    orders["outcome-not-before"]["StringValue"] = due.to_string().into();
    bench.aws.send(&bench.outcome, &example(), orders).await;
    let records = bench.aws.receive(&bench.outcome).await;
    assert!(attribute(&records[0], "outcome-destination").is_some());
    assert_eq!(failed(&bench.invoke(&records).await), 0);
    assert_eq!(delivered_to(&bench.results().await), ["a", "c"], "the route decides, at once");
    assert_eq!(receiver.requests().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn attributes_of_a_raw_sns_subscription_choose_no_destination() {
    let receiver = Receiver::start(Reply::Status(200)).await;
    let bench = Bench::start(&guarded(&receiver.url())).await;
    let topic = bench.aws.create_topic("outcomes").await;
    bench.aws.subscribe_raw(&topic, "outcomes").await;
    bench.aws.publish(&topic, &example(), &[("outcome-destination", "b"), ("outcome-renewed", "true")]).await;
    let records = bench.aws.receive(&bench.outcome).await;
    assert_eq!(records[0]["body"], example(), "raw");
    assert_eq!(attribute(&records[0], "outcome-destination").as_deref(), Some("b"));
    assert_eq!(failed(&bench.invoke(&records).await), 0);
    assert_eq!(delivered_to(&bench.results().await), ["a", "c"]);
    // The same without raw delivery, and as an event of SNS itself.
    let attributes = json!({ "outcome-destination": { "Type": "String", "Value": "b" } });
    let sns = json!({ "Type": "Notification", "Message": example(), "MessageAttributes": attributes });
    bench.aws.send(&bench.outcome, &sns.to_string(), json!({})).await;
    assert_eq!(failed(&bench.invoke(&bench.aws.receive(&bench.outcome).await).await), 0);
    bench.runtime.invoke(&json!({ "Records": [{ "EventSource": "aws:sns", "Sns": sns }] }).to_string(), LONG).await;
    assert_eq!(delivered_to(&bench.results().await), ["a", "a", "a", "c", "c", "c"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_queues_no_attribute_chooses_a_destination() {
    let receiver = Receiver::start(Reply::Status(200)).await;
    let runtime = OwnRuntime::start(document(&guarded(&receiver.url()))).await;
    let record = json!({
        "messageId": "m1", "eventSource": "aws:sqs", "eventSourceARN": "arn:aws:sqs:eu-west-1:123456789012:retries",
        "body": example(), "messageAttributes": { "outcome-destination": { "dataType": "String", "stringValue": "b" } }
    });
    assert_eq!(failed(&runtime.invoke(&json!({ "Records": [record] }).to_string(), LONG).await), 0);
    assert_eq!(receiver.requests().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn attributes_are_obeyed_on_messages_from_the_retry_queue() {
    let receiver = Receiver::start(Reply::Status(200)).await;
    let bench = Bench::start(&guarded(&receiver.url())).await;
    let destination = json!({ "outcome-destination": { "DataType": "String", "StringValue": "b" } });
    bench.aws.send(&bench.retry, &example(), destination).await;
    assert_eq!(failed(&bench.invoke(&[bench.next_retry().await]).await), 0);
    assert_eq!(delivered_to(&bench.results().await), ["b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_several_outcomes_is_dead_lettered_whole() {
    let receiver = Receiver::start(Reply::Status(200)).await;
    let bench = Bench::start(&one(&receiver.url())).await;
    let entry = json!({ "Sns": { "Message": example() } });
    let message = json!({ "Records": [entry, entry] }).to_string();
    assert_eq!(bench.deliver(&message).await, 0);
    assert_eq!(bench.dead_letters().await.remove(0)["body"], message);
    let line = bench.results().await.remove(0);
    assert!(line["message"].as_str().unwrap().contains("exactly one record; 2 were found"), "{line}");
    let message = json!({ "Records": [entry] }).to_string();
    assert_eq!(bench.deliver(&message).await, 0);
    assert_eq!(receiver.requests().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn characters_that_sqs_refuses_wait_as_escapes() {
    let up = Receiver::start(Reply::Status(200)).await;
    let down = Receiver::start(Reply::Status(503)).await;
    let config = json!({ "destinations": { "up": { "url": up.url() }, "down": { "url": down.url() } } });
    let bench = Bench::start(&config).await;
    let outcome = example().replace("Multiple", "\u{ffff}\u{fffe}Multiple");
    assert_eq!(bench.runtime.invoke(&outcome, LONG).await.kind, "response");
    let waiting = bench.next_retry().await;
    let spelled = example().replace("Multiple", r"\uffff\ufffeMultiple");
    assert_eq!(waiting["body"], spelled.trim());
    assert_eq!(failed(&bench.invoke(&[waiting]).await), 1);
    let requests: Vec<_> = up.requests().into_iter().chain(down.requests()).collect();
    assert_eq!(requests.len(), 3, "the one that is up has it once");
    assert!(requests.iter().all(|request| request.body == spelled.trim().as_bytes()));
    assert!(requests.iter().all(|request| request.header("webhook-id") == requests[0].header("webhook-id")));
    // What is rejected waits for a person in the same way.
    let rejected = notification_of("\u{ffff} is not an outcome");
    assert_eq!(bench.runtime.invoke(&rejected, LONG).await.kind, "response");
    let letter = bench.dead_letters().await.remove(0);
    assert_eq!(letter["body"], rejected.replace('\u{ffff}', r"\uffff"));
}

fn notification_of(message: &str) -> String {
    json!({ "Type": "Notification", "Message": message }).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_event_is_dead_lettered_as_it_came() {
    let receiver = Receiver::start(Reply::Status(200)).await;
    let bench = Bench::start(&one(&receiver.url())).await;
    let event = r#"{ "hello": [1.50] }"#;
    let told = bench.runtime.invoke(event, LONG).await;
    assert_eq!((told.kind, &told.body["result"]), ("response", &json!("rejected")));
    let letter = bench.dead_letters().await.remove(0);
    assert_eq!(
        (letter["body"].as_str(), attribute(&letter, "outcome-code").as_deref()),
        (Some(event), Some("unknown_event"))
    );
    let line = bench.results().await.remove(0);
    assert!(line["message"].as_str().unwrap().contains("these 19 bytes have the members hello"), "{line}");
    assert_eq!((&line["code"], &line["level"]), (&json!("unknown_event"), &json!("ERROR")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_rejected_rings_as_critical() {
    let receiver = Receiver::start(Reply::Status(200)).await;
    let bench = Bench::start(&one(&receiver.url())).await;
    let critical = example().replace("HIGH", "CRITICAL").replace("\"outcome\"", "\"result\"");
    assert_eq!(bench.deliver(&critical).await, 0);
    let line = bench.results().await.remove(0);
    assert_eq!([&line["severity"], &line["result"], &line["level"]], ["CRITICAL", "rejected", "ERROR"], "{line}");
    assert_eq!((&line["trace_id"], line.get("outcome")), (&json!("1-abc-def"), None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_comes_too_early_is_hidden_again_in_silence() {
    let receiver = Receiver::start(Reply::Status(200)).await;
    let bench = Bench::start(&one(&receiver.url())).await;
    let seconds = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let now = seconds();
    let due = |seconds: u64| {
        json!({
            "outcome-destination": { "DataType": "String", "StringValue": "soc" },
            "outcome-not-before": { "DataType": "Number", "StringValue": seconds.to_string() },
        })
    };
    bench.aws.send(&bench.retry, &example(), due(now + 3600)).await;
    let record = bench.next_retry().await;
    assert_eq!(failed(&bench.invoke(&[record]).await), 1);
    assert!(receiver.requests().is_empty() && bench.results().await.is_empty());
    assert_eq!(bench.aws.counts(&bench.retry).await, [0, 0, 1]);
    for in_its_last_second in [false, true] {
        bench.aws.send(&bench.retry, &example(), due(now - 5)).await;
        let mut record = bench.next_retry().await;
        if in_its_last_second {
            record["messageAttributes"]["outcome-not-before"]["stringValue"] = (seconds() + 1).to_string().into();
        }
        assert_eq!(failed(&bench.invoke(&[record]).await), 0);
    }
    assert_eq!(receiver.requests().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_asks_for_an_hour_gets_it() {
    let receiver =
        Receiver::start(Reply::Raw("HTTP/1.1 429 X\r\nRetry-After: 3600\r\nContent-Length: 0\r\n\r\n")).await;
    let bench = Bench::start(&one(&receiver.url())).await;
    assert_eq!(bench.deliver(&example()).await, 0);
    let line = bench.results().await.remove(0);
    // Upwards only, by at most a tenth.
    assert!((3600..=3960).contains(&seconds_until_next(&line)), "{line}");
    assert!(message(&line).starts_with("soc NOT DELIVERED, in the retry queue ("), "{line}");
    assert_eq!(bench.aws.counts(&bench.retry).await, [0, 1, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_sources_succeed_once_everything_is_in_a_queue() {
    let up = Receiver::start(Reply::Status(200)).await;
    let down = Receiver::start(Reply::Status(503)).await;
    let config = json!({ "destinations": { "a": { "url": up.url() }, "b": { "url": down.url() }, "c": { "url": "x" }, "d": { "url": up.url(), "active": false } } });
    let bench = Bench::start(&config).await;
    let told = bench.runtime.invoke(&example(), LONG).await;
    let results: Vec<_> = told.body["deliveries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|delivery| [&delivery["destination"], &delivery["result"]].map(|text| text.as_str().unwrap().to_owned()))
        .collect();
    assert_eq!(results, [["a", "delivered"], ["b", "retrying"], ["c", "dead_lettered"], ["d", "filtered"]]);
    for name in ["sns.json", "eventbridge.json"] {
        assert_eq!(bench.runtime.invoke(&sample(name), LONG).await.kind, "response", "{name}");
    }
    assert_eq!(bench.aws.counts(&bench.retry).await, [0, 3, 0]);
    assert_eq!(bench.aws.counts(&bench.dead_letter).await, [3, 0, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_queue_write_leaves_the_record_with_its_source() {
    let down = Receiver::start(Reply::Status(503)).await;
    let gone = Receiver::start(Reply::Status(410)).await;
    for trouble in [Trouble::Throttled, Trouble::Closed, Trouble::Denied] {
        for (receiver, status) in [(&down, 503), (&gone, 410)] {
            let bench = Bench::start_with(&one(&receiver.url()), &[], Some(trouble)).await;
            assert_eq!(bench.deliver(&example()).await, 1, "{trouble:?}");
            let told = bench.runtime.invoke(&example(), LONG).await;
            assert_eq!((told.kind, &told.body["errorType"]), ("error", &json!("Undelivered")));
            for line in bench.results().await {
                assert_eq!(
                    (line["result"].as_str(), line["code"].as_str(), line["status"].as_u64()),
                    (Some("returned"), Some("queue_failed"), Some(status))
                );
                assert_eq!(line["level"], "ERROR");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_of_aws_is_told_by_our_own_lines_alone() {
    let down = Receiver::start(Reply::Status(503)).await;
    let bench = Bench::start_with(&one(&down.url()), &[], Some(Trouble::Error500)).await;
    assert_eq!(bench.deliver(&example()).await, 1);
    let log = bench.runtime.log().await;
    assert_eq!((log.len(), bench.results().await.len()), (2, 1), "the start, and the result: {log:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_for_a_queue_is_delivered_all_the_same() {
    let receiver = Receiver::start_scripted(|request: &Request| {
        Reply::Status(if String::from_utf8_lossy(&request.body).contains("fails") { 503 } else { 200 })
    })
    .await;
    let bench = Bench::start(&one(&receiver.url())).await;
    let mut outcome: Value = serde_json::from_str(&example()).unwrap();
    outcome["description"] = "x".repeat((1 << 20) - 4096).into();
    assert_eq!(bench.runtime.invoke(&outcome.to_string(), LONG).await.kind, "response");
    // There is room for what is obeyed alone, and it is kept without the rest.
    outcome["run_id"] = "fails".into();
    assert_eq!(bench.runtime.invoke(&outcome.to_string(), LONG).await.kind, "response");
    let waiting = bench.next_retry().await;
    let seen = ["outcome-destination", "outcome-code"].map(|name| attribute(&waiting, name));
    assert_eq!(seen, [Some("soc".to_owned()), None]);
    outcome["description"] = "x".repeat(1 << 20).into();
    assert_eq!(bench.runtime.invoke(&outcome.to_string(), LONG).await.kind, "error");
    let seen: Vec<_> = bench
        .results()
        .await
        .iter()
        .map(|line| ["result", "code"].map(|name| line[name].as_str().unwrap_or("-").to_owned()))
        .collect();
    assert_eq!(seen, [["delivered", "-"], ["retrying", "server_error"], ["returned", "too_large_to_keep"]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_the_destination_decides_over_what_waits() {
    let receiver = Receiver::start(Reply::Status(200)).await;
    let config = json!({
        "destinations": {
            "off": { "url": receiver.url(), "active": false },
            "calm": { "url": receiver.url(), "paused": true },
            "soc": { "url": receiver.url(), "outcomes": ["ERROR"], "min_severity": "CRITICAL" }
        },
        "routes": { "*": ["calm"] }
    });
    let bench = Bench::start(&config).await;
    for (id, failures) in [("off", 0), ("gone", 0), ("NOT AN ID", 0), ("calm", 1), ("soc", 0)] {
        let destination = json!({ "outcome-destination": { "DataType": "String", "StringValue": id } });
        bench.aws.send(&bench.retry, &example(), destination).await;
        let record = bench.next_retry().await;
        assert_eq!(failed(&bench.invoke(&[record]).await), failures, "{id}");
    }
    // Fresh outcomes of a paused destination wait as well.
    assert_eq!(bench.deliver(&example()).await, 0);
    let seen: Vec<_> = bench
        .results()
        .await
        .iter()
        .map(|line| ["result", "code", "level"].map(|name| line[name].as_str().unwrap_or("-").to_owned()))
        .collect();
    assert_eq!(
        seen,
        [
            ["dead_lettered", "destination_inactive", "ERROR"],
            ["dead_lettered", "destination_unknown", "ERROR"],
            ["dead_lettered", "destination_unknown", "ERROR"],
            ["retrying", "destination_paused", "WARN"],
            ["delivered", "-", "INFO"],
            ["retrying", "destination_paused", "WARN"],
        ]
    );
    assert_eq!(receiver.requests().len(), 1, "filters were applied before it was written");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_has_the_number_of_its_beginning() {
    let receiver = Receiver::start(Reply::Slow(Duration::from_secs(4), 503)).await;
    let bench = Bench::start(&one(&receiver.url())).await;
    let schedule = Schedule::new((WEBHOOK_ID, "soc"), 12);
    let third = (1..100).map(Duration::from_secs).find(|age| schedule.attempt(*age) == 3).unwrap();
    bench.aws.send(&bench.retry, &example(), waits_for("soc")).await;
    // The third point passes while the second attempt waits for its answer.
    let record = aged(bench.next_retry().await, third.saturating_sub(Duration::from_secs(4)));
    assert_eq!(failed(&bench.invoke(&[record]).await), 1);
    let line = bench.results().await.remove(0);
    assert_eq!((&line["result"], &line["attempt"]), (&json!("retrying"), &json!(2)), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_look_up_hides_the_message_and_acknowledges_none() {
    let bench = Bench::start(&json!([])).await;
    assert_eq!(bench.deliver(&example()).await, 1);
    let line = bench.results().await.remove(0);
    assert!((28..=30).contains(&seconds_until_next(&line)), "the first wait after a fault of ours: {line}");
    assert!(line["waiting_seconds"].is_u64(), "{line}");
    assert_eq!(bench.aws.counts(&bench.outcome).await, [0, 0, 1]);
    // Another source cannot be made to wait: the whole outcome is written.
    let told = bench.runtime.invoke(&example(), LONG).await;
    assert_eq!(told.body["deliveries"][0]["result"], "retrying");
    let seen: Vec<_> = bench
        .results()
        .await
        .iter()
        .map(|line| (line["result"].as_str().unwrap().to_owned(), line["code"].as_str().unwrap().to_owned()))
        .collect();
    assert_eq!(seen, [("returned".into(), "lookup_failed".into()), ("retrying".into(), "lookup_failed".into())]);
    assert!(bench.dead_letters().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_without_a_route_is_dead_lettered() {
    let receiver = Receiver::start(Reply::Status(200)).await;
    let bench =
        Bench::start(&json!({ "destinations": { "a": { "url": receiver.url() } }, "routes": { "1": ["a"] } })).await;
    assert_eq!(bench.deliver(&example()).await, 0);
    let letter = bench.dead_letters().await.remove(0);
    assert_eq!(
        (attribute(&letter, "outcome-code").as_deref(), attribute(&letter, "outcome-destination")),
        (Some("unrouted"), None)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_deadline_what_is_in_flight_is_written_to_a_queue() {
    let receiver = Receiver::start(Reply::Silence).await;
    let config = json!({ "destinations": { "slow": { "url": receiver.url(), "timeout": 300 } } });
    let bench = Bench::start(&config).await;
    bench.aws.send(&bench.outcome, &example(), json!({})).await;
    let records = bench.aws.receive(&bench.outcome).await;
    let told = bench.runtime.invoke(&json!({ "Records": records }).to_string(), Duration::from_secs(8)).await;
    assert_eq!(failed(&told), 0);
    let line = bench.results().await.remove(0);
    assert_eq!(
        (line["result"].as_str(), line["code"].as_str(), line["maybe_received"].as_bool()),
        (Some("retrying"), Some("deadline"), Some(true))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_does_not_answer_does_not_cost_the_deadline() {
    let receiver = Receiver::start(Reply::Silence).await;
    let config = json!({ "destinations": { "slow": { "url": receiver.url(), "timeout": 300 } } });
    let bench = Bench::start_with(&config, &[], Some(Trouble::Silent)).await;
    bench.aws.send(&bench.outcome, &example(), json!({})).await;
    let records = bench.aws.receive(&bench.outcome).await;
    let (begun, left) = (std::time::Instant::now(), Duration::from_secs(8));
    let told = bench.runtime.invoke(&json!({ "Records": records }).to_string(), left).await;
    assert!(begun.elapsed() < left, "answered before Lambda would have stopped it");
    assert_eq!(failed(&told), 1);
    let line = bench.results().await.remove(0);
    assert_eq!((line["result"].as_str(), line["code"].as_str()), (Some("returned"), Some("queue_failed")));
}
