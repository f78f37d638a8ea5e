//! Metrics in the result lines: CloudWatch's Embedded Metric Format.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use super::queues::{Bench, LONG};
use super::receiver::{Receiver, Reply};
use super::runtime::{Function, OwnRuntime, document, local, parse_log, vars};
use super::samples::sample;

/// What CloudWatch makes of a line: each metric's name and dimensions as `name{dimension=value,…}`, with its value.
/// Checks on the way that the line is as the specification wants it.
fn metrics(line: &Value) -> Vec<(String, u64)> {
    let mut found = Vec::new();
    for directive in line["_aws"]["CloudWatchMetrics"].as_array().unwrap() {
        assert_eq!(directive["Namespace"], "DetectionOutcomeHandler");
        for set in directive["Dimensions"].as_array().unwrap() {
            let dimensions: Vec<_> = set
                .as_array()
                .unwrap()
                .iter()
                .map(|name| {
                    let name = name.as_str().unwrap();
                    format!("{name}={}", line[name].as_str().unwrap_or_else(|| panic!("{name} is no text: {line}")))
                })
                .collect();
            for metric in directive["Metrics"].as_array().unwrap() {
                let name = metric["Name"].as_str().unwrap();
                let value = line[name].as_u64().unwrap_or_else(|| panic!("{name} is no number: {line}"));
                found.push((format!("{name}{{{}}}", dimensions.join(",")), value));
            }
        }
    }
    found
}

fn names(line: &Value) -> BTreeSet<String> {
    metrics(line).into_iter().map(|(name, _)| name).collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_counts_by_result_and_nothing_of_the_payload_becomes_a_key() {
    let receiver = Receiver::start(Reply::Slow(Duration::from_millis(60), 200)).await;
    let runtime = OwnRuntime::start(local(&receiver.url())).await;
    let mut outcome: Value = serde_json::from_str(&sample("matched.json")).unwrap();
    outcome["_aws"] = json!({ "CloudWatchMetrics": [{ "Metrics": [{ "Name": "evil" }] }] });
    runtime.invoke(&outcome.to_string(), LONG).await;
    let line = runtime.log().await.remove(0);
    assert_eq!(
        names(&line),
        set(&["deliveries{function=f,result=delivered}", "attempts{function=f}", "total_ms{function=f}"])
    );
    let latency = metrics(&line).into_iter().find(|(name, _)| name.starts_with("total_ms")).unwrap().1;
    assert!(latency >= 60 && line["_aws"]["Timestamp"].as_u64().unwrap() > 1_700_000_000_000, "{line}");
    assert!(!line.to_string().contains("evil"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_destination_is_a_dimension_only_where_that_is_wanted() {
    let receiver = Receiver::start(Reply::Status(200)).await;
    let mut variables = local(&receiver.url());
    variables.extend(vars(&[("METRICS_BY_DESTINATION", "true")]));
    let runtime = OwnRuntime::start(variables).await;
    runtime.invoke(&sample("matched.json"), LONG).await;
    let names = names(&runtime.log().await.remove(0));
    for name in [
        "deliveries{function=f,destination=default,result=delivered}",
        "attempts{function=f,destination=default}",
        "deliveries{function=f,result=delivered}",
    ] {
        assert!(names.contains(name), "{names:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_parked_waits_and_is_dead_lettered_is_counted() {
    let receiver = Receiver::start(Reply::Status(503)).await;
    let bench =
        Bench::start(&json!({ "destinations": { "soc": { "url": receiver.url() }, "bad": { "url": "x" } } })).await;
    let mut outcome: Value = serde_json::from_str(&sample("matched.json")).unwrap();
    outcome["severity"] = "CRITICAL".into();
    bench.deliver(&outcome.to_string()).await;
    let parked = bench.aged_parked(Duration::from_secs(160)).await;
    bench.invoke(&[parked]).await;
    bench.deliver("{}").await;
    let results = bench.results().await;
    let line =
        |result: &str| results.iter().find(|line| line["result"] == result).unwrap_or_else(|| panic!("{results:?}"));
    assert!(names(line("parked")).contains("deliveries{function=f,result=parked}"));
    assert_eq!(line("parked").get("dead_lettered"), None);
    let waiting = metrics(line("waiting"));
    let age = waiting.iter().find(|(name, _)| name == "parked_age_seconds{function=f}").unwrap().1;
    assert!((160..200).contains(&age), "{waiting:?}");
    let dead = line("dead_lettered");
    assert_eq!(dead["level"], "ERROR");
    assert_eq!(
        names(dead),
        set(&[
            "deliveries{function=f,result=dead_lettered}",
            "dead_lettered{function=f}",
            "dead_lettered{function=f,code=destination_invalid}",
            "critical_dead_lettered{function=f}",
        ])
    );
    assert!(names(line("refused")).contains("dead_lettered{function=f,code=invalid_outcome}"));
    assert_eq!(line("refused").get("critical_dead_lettered"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn in_text_the_metrics_have_a_line_of_their_own() {
    let receiver = Receiver::start(Reply::Status(503)).await;
    let mut variables = local(&receiver.url());
    variables.extend(vars(&[("AWS_LAMBDA_LOG_FORMAT", "Text"), ("METRICS_BY_DESTINATION", "true")]));
    let runtime = OwnRuntime::start(variables).await;
    runtime.invoke(&sample("matched.json"), LONG).await;
    let output = runtime.output().await;
    let [text, json] = output.lines().collect::<Vec<_>>()[..] else { panic!("{output}") };
    assert!(text.contains("HTTP 503") && !text.contains("deliveries") && !text.contains("_aws"), "{text}");
    assert!(text.contains("request_id=request-") && text.contains("xray_trace_id=1-5bef4de7-"), "{text}");
    let line: Value = serde_json::from_str(json).unwrap();
    assert!(names(&line).contains("deliveries{function=f,destination=default,result=kept}"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_line_of_an_invocation_names_the_invocation_and_its_trace() {
    // A document with a mistake, a look-up that says so, an outcome with an odd field, one that is rejected, and a probe.
    let receiver = Receiver::start(Reply::Status(200)).await;
    let config = json!({ "destinations": { "soc": { "url": receiver.url() }, "bad": { "url": "x" } } });
    let runtime = OwnRuntime::start(document(&config)).await;
    let mut outcome: Value = serde_json::from_str(&sample("matched.json")).unwrap();
    outcome["severity"] = "NEW".into();
    for event in [outcome.to_string(), "{}".into(), sample("probe.json"), sample("sqs-poison.json")] {
        runtime.invoke(&event, LONG).await;
    }
    let log = runtime.log().await;
    assert!(log.len() >= 8, "{log:?}");
    for line in &log {
        assert!(line["request_id"].as_str().is_some_and(|id| id.starts_with("request-")), "{line}");
        assert_eq!(line["xray_trace_id"], "1-5bef4de7-ad49b0e87f6ef6c87fc2e700", "{line}");
    }
    let result = log.iter().find(|line| line["result"] == "delivered").unwrap();
    assert_eq!(
        (result["trace_id"].as_str(), result["search_id"].as_str()),
        (Some("1-abc-def"), Some("search-abc-123"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_of_kind_error_says_that_the_detection_itself_failed() {
    let receiver = Receiver::start(Reply::Status(200)).await;
    let function = Function::start(local(&receiver.url())).await;
    function.invoke(&sample("error.json")).await;
    let line = parse_log(&function.output().await).remove(0);
    assert!(line["message"].as_str().unwrap().contains("which itself failed"), "{line}");
}
