//! Destinations where administrators keep them, against AWS's APIs on this machine.

use std::time::Duration;

use serde_json::json;

use super::support::aws::{Aws, Relay, Trouble, items};
use super::support::receiver::{Receiver, Reply, Request};
use super::support::runtime::{Function, OwnRuntime, document, vars};
use super::support::samples::outcome;

fn batch(bodies: &[String]) -> String {
    let message =
        |(n, body): (usize, &String)| json!({ "messageId": format!("m{n}"), "body": body, "eventSource": "aws:sqs" });
    json!({ "Records": bodies.iter().enumerate().map(message).collect::<Vec<_>>() }).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn file_secret_and_table_lead_to_the_same_deliveries() {
    let receiver = Receiver::start(Reply::Status(200)).await;
    let url = receiver.url();
    let config = json!({
        "destinations": {
            "all": { "url": url, "timeout": 5, "description": "everything", "x-owner": ["blue"] },
            "keyed": { "url": format!("{url}/{{{{secret:keys#path}}}}?k={{{{secret:keys#query}}}}"), "headers": { "X-Key": "{{secret:plain}}" } },
            "off": { "url": url, "active": false },
            "grave": { "url": url, "min_severity": "CRITICAL" },
            "errors": { "url": url, "outcomes": ["ERROR"] },
            "broken": { "url": url, "timeout": 0, "hearders": {} },
            "lost": { "url": format!("{url}/{{{{secret:no-such-secret}}}}") }
        },
        "routes": { "123": ["all", "keyed", "off", "grave", "errors", "broken", "lost", "gone"], "7": ["errors"], "8": [], "*": ["all"] }
    });
    let aws = Aws::start().await;
    aws.create_secret("keys", r#"{"path":"T0/B0","query":"q1"}"#).await;
    aws.create_secret("plain", "p1").await;
    aws.create_secret("destinations", &config.to_string()).await;
    aws.create_table("destinations").await;
    aws.put_items("destinations", &items(&config)).await;

    let mut seen = Vec::new();
    for place in ["file", "secretsmanager:destinations", "dynamodb:destinations"] {
        let mut variables = aws.variables(place);
        if place == "file" {
            let file = document(&config).remove(0).1;
            variables[0].1 = file;
        }
        let function = Function::start(variables).await;
        let before = receiver.requests().len();
        for changes in [
            json!({}),
            json!({ "outcome": "ERROR" }),
            json!({ "detection_id": "7" }),
            json!({ "detection_id": 8 }),
            json!({ "detection_id": 99, "severity": "LOW" }),
        ] {
            function.invoke(&outcome(changes)).await;
        }
        let mut results: Vec<_> = function
            .results()
            .await
            .iter()
            .map(|line| ["destination", "result", "code", "detection_id"].map(|name| line[name].to_string()))
            .collect();
        results.sort();
        let mut arrived: Vec<_> = receiver.requests()[before..]
            .iter()
            .map(|request| {
                (request.head.lines().next().unwrap().to_owned(), request.header("x-key").map(ToOwned::to_owned))
            })
            .collect();
        arrived.sort();
        assert!(!function.output().await.contains("q1") && !function.output().await.contains("T0/B0"));
        seen.push((results, arrived));
    }
    let keyed = seen[0].1.iter().find(|(line, _)| line.contains("?k=")).unwrap();
    assert_eq!((keyed.0.as_str(), keyed.1.as_deref()), ("POST /hook/T0/B0?k=q1 HTTP/1.1", Some("p1")));
    for code in ["destination_invalid", "destination_unknown", "secret_unresolved", "route_invalid"] {
        assert!(seen[0].0.iter().any(|result| result[2].contains(code)), "{code}: {:?}", seen[0].0);
    }
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[0], seen[2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_sent_as_its_owner_wrote_it_or_not_at_all() {
    let receiver = Receiver::start(Reply::Status(200)).await;
    let url = receiver.url();
    let with_key = |value: &str| json!({ "url": url, "headers": { "X-Key": value } });
    let config = json!({
        "destinations": {
            "data": { "url": format!("{url}/{{{{secret:k}}}}?api_key={{{{secret:k}}}}") },
            "trimmed": with_key("Bearer {{secret:line}}"),
            "member": with_key("Bearer {{secret:soc#token}}"),
            "braces": with_key(r#"{"a":{"b":1}}"#),
            "whole": with_key("Bearer {{secret:soc}}"),
            "twice": with_key("Bearer {{secret:twice#token}}"),
            "own": with_key("Bearer {{secret:d#destinations}}"),
        }
    });
    let aws = Aws::start().await;
    aws.create_secret("d", &format!("\u{feff}{config}")).await;
    aws.create_secret("k", "a+b&c=d").await;
    aws.create_secret("line", "to ken\n").await;
    aws.create_secret("soc", "\u{feff}{\"token\":\"SECRET1\",\"other\":\"SECRET2\"}").await;
    aws.create_secret("twice", r#"{"token":"SECRET3","token":"SECRET4"}"#).await;
    let function = Function::start(aws.variables("secretsmanager:d")).await;
    function.invoke(&outcome(json!({}))).await;

    let requests = receiver.requests();
    let mut keys: Vec<_> = requests.iter().filter_map(|request| request.header("x-key")).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["Bearer SECRET1", "Bearer to ken", r#"{"a":{"b":1}}"#]);
    let asked = requests.iter().find(|request| request.header("x-key").is_none()).unwrap();
    let path = asked.head.split(' ').nth(1).unwrap();
    let asked = url::Url::parse("http://h").unwrap().join(path).unwrap();
    assert_eq!(asked.path(), "/hook/a%2Bb%26c%3Dd");
    assert_eq!(asked.query_pairs().next().unwrap(), ("api_key".into(), "a+b&c=d".into()));
    assert_eq!(requests.len(), 4);

    let results = function.results().await;
    for (id, reason) in [
        ("whole", ["the secret soc", "{{secret:soc#token}}"]),
        ("twice", ["the secret twice", "more than once"]),
        ("own", ["the secret d", "holds the destinations"]),
    ] {
        let line = results.iter().find(|line| line["destination"] == id).unwrap();
        let message = line["message"].as_str().unwrap();
        assert!(reason.iter().all(|part| message.contains(part)), "{message}");
        assert_eq!(line["code"], "secret_unresolved");
    }
    assert!(!function.output().await.contains("SECRET"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_is_written_twice_stops_its_own_entry_alone() {
    let receiver = Receiver::start(Reply::Status(200)).await;
    let aws = Aws::start().await;
    let (good, bad) = (format!(r#"{{ "url": "{}" }}"#, receiver.url()), r#"{ "url": "http://127.0.0.1:9/SECRET" }"#);
    let text = format!(
        r#"{{ "destinations": {{ "soc": {good}, "two": {bad}, "two": {good} }},
              "routes": {{ "123": ["soc"], "*": ["soc", "two"], "123": ["two"] }} }}"#
    );
    aws.create_secret("d", &text).await;
    let function = Function::start(aws.variables("secretsmanager:d")).await;
    function.invoke(&outcome(json!({ "detection_id": "123" }))).await;
    assert_eq!(receiver.requests().len(), 0);
    function.invoke(&outcome(json!({ "detection_id": "7" }))).await;
    assert_eq!(receiver.requests().len(), 1);
    let results = function.results().await;
    let mut codes: Vec<_> = results.iter().filter_map(|line| line["code"].as_str()).collect();
    codes.sort_unstable();
    assert_eq!((results.len(), codes), (3, vec!["destination_invalid", "route_invalid"]));
    let output = function.output().await;
    for path in ["`routes.123`: expected each member once", "`destinations.two`: expected each member once"] {
        assert!(output.contains(path), "{path}: {output}");
    }
    assert!(!output.contains("SECRET"));
}

/// Lets in who has the key in force.
async fn keeper(key: &'static std::sync::Mutex<String>) -> Receiver {
    Receiver::start_scripted(move |request: &Request| {
        Reply::Status(if request.header("x-key") == Some(key.lock().unwrap().as_str()) { 200 } else { 401 })
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_401_has_the_secrets_read_again_once_for_a_batch() {
    let key: &'static std::sync::Mutex<String> = Box::leak(Box::new(std::sync::Mutex::new("k1".to_owned())));
    let receiver = keeper(key).await;
    let aws = Aws::start().await;
    let relay = Relay::start(aws.port, Trouble::Closed).await;
    aws.create_secret("key", "k1").await;
    let config =
        json!({ "destinations": { "soc": { "url": receiver.url(), "headers": { "X-Key": "{{secret:key}}" } } } });
    let mut variables = aws.variables_at(relay.port, "");
    variables[0].1 = document(&config).remove(0).1;
    let function = Function::start(variables).await;
    function.invoke(&outcome(json!({}))).await;
    assert_eq!((receiver.requests().len(), relay.requests()), (1, 1));

    *key.lock().unwrap() = "k2".to_owned();
    aws.put_secret("key", "k2").await;
    let bodies: Vec<_> = (0..8).map(|n| outcome(json!({ "run_id": format!("r{n}") }))).collect();
    let answer = function.invoke(&batch(&bodies)).await;
    assert_eq!(answer, json!({ "batchItemFailures": [] }));
    assert_eq!(relay.requests(), 2, "one refresh for the whole batch");
    let results = function.results().await;
    assert!(results.iter().all(|line| line["result"] == "delivered"), "{results:?}");
    assert_eq!(results.len(), 1 + 8, "one line per delivery, whatever it took");

    // It refuses again, and nothing new is to be had: no second attempt, no further question.
    *key.lock().unwrap() = "k3".to_owned();
    let before = receiver.requests().len();
    function.invoke(&batch(&bodies[..3])).await;
    assert_eq!((receiver.requests().len() - before, relay.requests()), (3, 2));
    let line = function.results().await.pop().unwrap();
    assert_eq!((line["code"].as_str(), line["level"].as_str()), (Some("unauthorized"), Some("ERROR")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_401_has_the_document_read_again_as_well() {
    let key: &'static std::sync::Mutex<String> = Box::leak(Box::new(std::sync::Mutex::new("k1".to_owned())));
    let receiver = keeper(key).await;
    let aws = Aws::start().await;
    let config = |key: &str| {
        json!({ "destinations": { "soc": { "url": receiver.url(), "headers": { "X-Key": key } } } }).to_string()
    };
    aws.create_secret("d", &config("k1")).await;
    let function = Function::start(aws.variables("secretsmanager:d")).await;
    function.invoke(&outcome(json!({}))).await;
    *key.lock().unwrap() = "k2".to_owned();
    aws.put_secret("d", &config("k2")).await;
    assert_eq!(function.invoke(&outcome(json!({}))).await["deliveries"][0]["result"], "delivered");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_store_is_down_known_entries_serve_on() {
    let aws = Aws::start().await;
    let receiver = Receiver::start(Reply::Status(200)).await;
    let config = json!({ "destinations": { "soc": { "url": receiver.url() } }, "routes": { "*": ["soc"] } });
    aws.create_secret("d", &config.to_string()).await;
    aws.create_table("d").await;
    aws.put_items("d", &items(&config)).await;
    for trouble in [Trouble::Throttled, Trouble::Error500, Trouble::Closed, Trouble::Denied, Trouble::Silent] {
        for place in ["secretsmanager:d", "dynamodb:d"] {
            let relay = Relay::start(aws.port, trouble).await;
            relay.in_trouble(true);
            let mut variables = aws.variables_at(relay.port, place);
            variables.extend(vars(&[("REGISTRY_TTL_SECONDS", "0")]));
            let runtime = OwnRuntime::start(variables).await;
            let event = batch(&[outcome(json!({})), outcome(json!({ "outcome": "NOT_MATCHED" }))]);
            let long = Duration::from_secs(40);

            let before = receiver.requests().len();
            let told = runtime.invoke(&event, long).await;
            let kept = json!({ "batchItemFailures": [{ "itemIdentifier": "m0" }, { "itemIdentifier": "m1" }] });
            assert_eq!((told.kind, told.body), ("response", kept), "{trouble:?} {place}: nothing is acknowledged");
            assert_eq!(receiver.requests().len(), before);

            relay.in_trouble(false);
            runtime.invoke(&event, long).await;
            assert_eq!(receiver.requests().len(), before + 2, "{trouble:?} {place}");
            relay.in_trouble(true);
            let told = runtime.invoke(&event, long).await;
            assert_eq!(
                told.body,
                json!({ "batchItemFailures": [] }),
                "{trouble:?} {place}: the last good entry serves"
            );
            assert_eq!(receiver.requests().len(), before + 4);

            let log = runtime.log().await;
            let what = if place.starts_with("dynamodb") { "the table d" } else { "the secret d" };
            let (failed, stale): (Vec<_>, Vec<_>) = log
                .iter()
                .filter(|line| line["code"] == "lookup_failed")
                .partition(|line| line["result"] == "returned");
            assert_eq!((failed.len(), stale.len()), (2, 1), "{trouble:?} {place}: {log:?}");
            assert!(failed[0]["message"].as_str().unwrap().contains(what), "{}", failed[0]);
            assert!(
                stale[0]["level"] == "WARN" && stale[0]["message"].as_str().unwrap().contains("15 minutes"),
                "{log:?}"
            );
            assert!(!runtime.output().await.contains("SECRET"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_routes_cost_two_reads_and_a_known_one_none() {
    let aws = Aws::start().await;
    let receiver = Receiver::start(Reply::Status(200)).await;
    aws.create_table("d").await;
    let mut rows = vec![
        json!({ "pk": "destination#soc", "url": receiver.url() }),
        json!({ "pk": "route#*", "destinations": ["soc"] }),
    ];
    rows.extend((0..10_000).map(|n| json!({ "pk": format!("route#{n}"), "destinations": ["soc"] })));
    aws.put_items("d", &rows).await;
    let relay = Relay::start(aws.port, Trouble::Closed).await;
    let function = Function::start(aws.variables_at(relay.port, "dynamodb:d")).await;
    function.invoke(&outcome(json!({ "detection_id": 7777 }))).await;
    assert_eq!(relay.requests(), 2);
    function.invoke(&outcome(json!({ "detection_id": 7777 }))).await;
    assert_eq!(relay.requests(), 2);
    // Side by side and for the same detection: one look-up for all.
    let bodies: Vec<_> = (0..10).map(|_| outcome(json!({ "detection_id": "unknown" }))).collect();
    function.invoke(&batch(&bodies)).await;
    assert_eq!(relay.requests(), 4);
    assert_eq!(receiver.requests().len(), 12);
}

#[tokio::test(flavor = "multi_thread")]
async fn items_are_named_by_their_keys_when_they_are_wrong() {
    let aws = Aws::start().await;
    aws.create_table("d").await;
    aws.put_items(
        "d",
        &[
            json!({ "pk": "destination#soc", "url": "ftp://SECRET", "timeout": "SECRET" }),
            json!({ "pk": "route#*", "destinations": ["soc", "NO"] }),
        ],
    )
    .await;
    let function = Function::start(aws.variables("dynamodb:d")).await;
    function.invoke(&outcome(json!({}))).await;
    let output = function.output().await;
    for path in ["`destination#soc.url`", "`destination#soc.timeout`", "`route#*.destinations[1]`"] {
        assert!(output.contains(path), "{path}: {output}");
    }
    assert!(!output.contains("SECRET"));
}

#[tokio::test(flavor = "multi_thread")]
async fn unrouted_alerts_fail_or_are_ignored_as_the_setting_says() {
    let receiver = Receiver::start(Reply::Status(200)).await;
    let config = json!({ "destinations": { "soc": { "url": receiver.url() } }, "routes": { "1": ["soc"] } });
    let mut variables = document(&config);
    let function = Function::start(variables.clone()).await;
    assert_eq!(function.invoke(&outcome(json!({}))).await["errorType"], "Undelivered");
    variables.extend(vars(&[("UNROUTED", "ignore")]));
    let function = Function::start(variables).await;
    assert_eq!(function.invoke(&outcome(json!({}))).await["deliveries"][0]["result"], "ignored");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_slow_receiver_delays_nobody_elses_result() {
    let slow = Receiver::start(Reply::Slow(Duration::from_secs(3), 200)).await;
    let fast = Receiver::start(Reply::Status(200)).await;
    let config = json!({ "destinations": { "slow": { "url": slow.url() }, "fast": { "url": fast.url() }, "short": { "url": slow.url(), "timeout": 1 } } });
    let function = Function::start(document(&config)).await;
    let text = outcome(json!({}));
    let (_, early) = tokio::join!(function.invoke(&text), async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        function.results().await
    });
    let early: Vec<_> =
        early.iter().map(|line| (line["destination"].as_str().unwrap(), line["result"].as_str().unwrap())).collect();
    assert_eq!(early, [("fast", "delivered"), ("short", "returned")]);
    assert_eq!(function.results().await.len(), 3);
}
