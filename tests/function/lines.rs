//! The result line of every kind of failure, produced for real and kept in `tests/snapshots/` for a reader to judge:
//! can somebody who has never seen this project name the destination, the cause and the next step?
//!
//! After a deliberate change of the words: `INSTA_UPDATE=always cargo nextest run lines`, and read the difference.

use std::collections::BTreeMap;
use std::time::Duration;

use detection_outcome_handler::domain::failure::Code;
use serde_json::{Value, json};

use super::failures::full_backlog;
use super::support::authority::Authority;
use super::support::aws::Trouble;
use super::support::bench::{Bench, LONG};
use super::support::receiver::{Receiver, Reply, Request};
use super::support::runtime::{OwnRuntime, free_port, local, vars};
use super::support::samples::sample;
use super::tls::wrong_servers;

/// Failures that have no snapshot, and why.
const NOT_PRODUCED: [(Code, &str); 2] = [
    (Code::ConnectReset, "no peer can reset a connection before it is accepted"),
    (Code::ConnectFailed, "stands for errors of the system that nobody has met"),
];

/// Keeps a line, or holds it against the one that is kept.
pub(crate) fn snapshot(name: &str, line: &Value) {
    let mut settings = insta::Settings::new();
    settings.set_snapshot_path("../snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    let text = format!("{}\n\n{}", shown(&line["message"]).as_str().unwrap(), pretty(line));
    settings.bind(|| insta::assert_snapshot!(name, text));
}

fn pretty(line: &Value) -> String {
    serde_json::to_string_pretty(&shown(line)).unwrap()
}

/// A line without what is another at every run: times, ports and ids of the run.
fn shown(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let member = |(name, value): (&String, &Value)| {
                let value = match name.as_str() {
                    "timestamp" => "TIME".into(),
                    "request_id" => "REQUEST".into(),
                    "Timestamp" => json!(0),
                    name if name.ends_with("_ms") || name == "parked_age_seconds" => json!(0),
                    _ => shown(value),
                };
                (name.clone(), value)
            };
            Value::Object(members.iter().map(member).collect())
        }
        Value::Array(items) => items.iter().map(shown).collect(),
        Value::String(text) => {
            let text = text.replace(env!("CARGO_TARGET_TMPDIR"), "/DIRECTORY");
            let text = replace_number(&text, "127.0.0.1:", "PORT");
            let text = replace_number(&text, "destinations-", "N");
            replace_number(&text, "next try in ", "N").into()
        }
        other => other.clone(),
    }
}

/// Replaces the digits (and the rest of a file's name) after a mark.
fn replace_number(text: &str, mark: &str, by: &str) -> String {
    let mut parts = text.split(mark);
    let first = parts.next().unwrap().to_owned();
    parts.fold(first, |text, part| {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_digit() || c == '-');
        text + mark + if rest.len() < part.len() { by } else { "" } + rest
    })
}

/// Destinations that fail, by the name of their snapshot, with what keeps them alive.
struct Failing {
    destinations: serde_json::Map<String, Value>,
    codes: BTreeMap<String, &'static str>,
    receivers: Vec<Receiver>,
    held: Vec<socket2::Socket>,
}

impl Failing {
    fn add(&mut self, name: &str, code: &'static str, options: Value) {
        let mut options = options;
        options["timeout"] = json!(2);
        self.destinations.insert(name.to_owned(), options);
        self.codes.insert(name.to_owned(), code);
    }

    async fn add_reply(&mut self, name: &str, code: &'static str, reply: Reply) {
        let receiver = Receiver::start(reply).await;
        self.add(name, code, json!({ "url": receiver.url() }));
        self.receivers.push(receiver);
    }

    async fn all(authority: &Authority) -> Self {
        let mut all =
            Self { destinations: serde_json::Map::new(), codes: BTreeMap::new(), receivers: vec![], held: vec![] };
        for (status, code) in [
            (101, "unexpected_status"),
            (302, "redirect"),
            (400, "rejected"),
            (401, "unauthorized"),
            (404, "not_found"),
            (409, "busy"),
            (410, "gone"),
            (500, "server_error"),
            (501, "unsupported"),
            (999, "unexpected_status"),
        ] {
            all.add_reply(&format!("http-{status}"), code, Reply::Status(status)).await;
        }
        for (name, code, reply) in [
            (
                "http-302-to",
                "redirect",
                "HTTP/1.1 302 X\r\nLocation: https://login.example.com/SECRET\r\nContent-Length: 0\r\n\r\n",
            ),
            ("http-429", "rate_limited", "HTTP/1.1 429 X\r\nRetry-After: 1800\r\nContent-Length: 0\r\n\r\n"),
            (
                "http-422-with-reason",
                "rejected",
                "HTTP/1.1 422 X\r\nContent-Length: 37\r\n\r\n{\"error\": \"field 'owner' is missing\"}",
            ),
            ("malformed-response", "malformed_response", "SSH-2.0-OpenSSH_9.2\r\n"),
        ] {
            all.add_reply(name, code, Reply::Raw(reply)).await;
        }
        all.add_reply("timeout", "timeout", Reply::Silence).await;
        all.add_reply("connection-lost", "connection_lost", Reply::Reset).await;
        for (index, (port, code, _)) in wrong_servers(authority).await.into_iter().enumerate() {
            all.add(
                &format!("{}-{index}", code.replace('_', "-")),
                code,
                json!({ "url": format!("https://127.0.0.1:{port}/SECRET") }),
            );
        }
        let (port, held) = full_backlog();
        all.held = held;
        for (name, code, url) in [
            ("connect-refused", "connect_refused", format!("http://127.0.0.1:{}/SECRET", free_port())),
            ("connect-timeout", "connect_timeout", format!("http://127.0.0.1:{port}/SECRET")),
            ("dns", "dns", "https://no-such-host.invalid/SECRET".to_owned()),
            ("address-forbidden", "address_forbidden", "https://169.254.169.254/SECRET".to_owned()),
            ("address-private", "address_private", "https://10.1.2.3/SECRET".to_owned()),
            ("plain-http", "plain_http", "http://93.184.216.34/SECRET".to_owned()),
            ("destination-invalid", "destination_invalid", "ftp://SECRET".to_owned()),
            ("secret-unresolved", "secret_unresolved", "https://soc.example.com/{{secret:soc#token}}".to_owned()),
        ] {
            all.add(name, code, json!({ "url": url }));
        }
        all.add(
            "destination-paused",
            "destination_paused",
            json!({ "url": "https://soc.example.com/", "paused": true }),
        );
        all
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_failure_of_a_destination_says_who_what_why_and_what_to_do() {
    let authority = Authority::new("lines");
    let mut all = Failing::all(&authority).await;
    let mut route: Vec<_> = all.destinations.keys().cloned().collect();
    route.extend(["destination-unknown".to_owned(), "NOT AN ID".to_owned()]);
    all.codes.insert("destination-unknown".to_owned(), "destination_unknown");
    let config = json!({ "destinations": all.destinations, "routes": { "123": route } });
    let bundle = authority.bundle.to_str().unwrap();
    let bench = Bench::start_with(&config, &[("EXTRA_CA_BUNDLE", bundle)], None).await;
    assert_eq!(bench.deliver(&sample("matched.json")).await, 0);
    let results = bench.results().await;
    assert_eq!(results.len(), all.codes.len() + 1);
    for (name, code) in &all.codes {
        let line = results.iter().find(|line| line["destination"] == **name).unwrap_or_else(|| panic!("{name}"));
        assert_eq!(line["code"], *code, "{line}");
        snapshot(name, line);
    }
    let route = results.iter().find(|line| line.get("destination").is_none()).unwrap();
    assert_eq!(route["code"], "route_invalid");
    snapshot("route-invalid", route);
    assert!(!bench.runtime.output().await.contains("SECRET"));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_failure_of_a_record_says_what_why_and_what_to_do() {
    let up = Receiver::start(Reply::Status(200)).await;
    let config = json!({
        "destinations": {
            "soc": { "url": up.url() }, "off": { "url": up.url(), "active": false },
            "down": { "url": format!("http://127.0.0.1:{}/", free_port()) }
        },
        "routes": { "1": ["soc", "off"] }
    });
    let bench = Bench::start(&config).await;
    bench.deliver(&sample("matched.json")).await;
    let wrong = r#"{"detection_id": 1.5, "detection_name": "x", "severity": "HIGH", "run_id": "run-1"}"#;
    // By hand, because its line shows the message's id.
    bench.invoke(&[json!({ "messageId": "m1", "eventSource": "aws:sqs", "body": wrong })]).await;
    let destination = json!({ "outcome-destination": { "DataType": "String", "StringValue": "off" } });
    bench.aws.send(&bench.retry, &sample("matched.json"), destination).await;
    let waiting = bench.parked().await;
    bench.invoke(&[waiting]).await;
    let destination = json!({ "outcome-destination": { "DataType": "String", "StringValue": "down" } });
    bench.aws.send(&bench.retry, &sample("matched.json"), destination).await;
    let waiting = bench.aged_parked(Duration::from_secs(160)).await;
    bench.invoke(&[waiting]).await;
    let mut outcome: Value = serde_json::from_str(&sample("error.json")).unwrap();
    outcome["detection_id"] = json!(1);
    bench.deliver(&outcome.to_string()).await;
    bench.runtime.invoke("{\"hello\": 1}", LONG).await;
    let results = bench.results().await;
    for name in ["unrouted", "invalid-outcome", "destination-inactive", "unknown-event"] {
        let code = name.replace('-', "_");
        let line = results.iter().find(|line| line["code"] == *code).unwrap_or_else(|| panic!("{name}: {results:?}"));
        snapshot(name, line);
    }
    for name in ["delivered", "filtered", "waiting"] {
        snapshot(name, results.iter().find(|line| line["result"] == name).unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_on_our_side_says_that_it_is_ours() {
    let broken = Bench::start(&json!([])).await;
    broken.deliver(&sample("matched.json")).await;
    snapshot("lookup-failed", &broken.results().await[0]);

    let silent = Receiver::start(Reply::Silence).await;
    let bench = Bench::start(&json!({ "destinations": { "soc": { "url": silent.url(), "timeout": 300 } } })).await;
    bench.runtime.invoke(&sample("sqs.json"), Duration::from_secs(6)).await;
    bench.runtime.invoke(&sample("sqs.json"), Duration::ZERO).await;
    let results = bench.results().await;
    snapshot("deadline", &results[0]);
    snapshot("not-started", &results[1]);

    let down = Receiver::start_scripted(|_: &Request| Reply::Status(503)).await;
    let config = json!({ "destinations": { "soc": { "url": down.url() } } });
    let bench = Bench::start_with(&config, &[], Some(Trouble::Denied)).await;
    bench.deliver(&sample("matched.json")).await;
    snapshot("queue-failed", &bench.results().await[0]);
    let mut outcome: Value = serde_json::from_str(&sample("matched.json")).unwrap();
    outcome["description"] = "x".repeat(1 << 20).into();
    bench.runtime.invoke(&outcome.to_string(), LONG).await;
    snapshot("too-large-to-keep", &bench.results().await[1]);

    let bench = Bench::start_with(&config, &[("MAX_ATTEMPTS", "1")], None).await;
    outcome = serde_json::from_str(&sample("matched.json")).unwrap();
    outcome["severity"] = "CRITICAL".into();
    bench.deliver(&outcome.to_string()).await;
    snapshot("critical-dead-lettered", &bench.results().await[0]);

    // No input is known to reach a bug of ours; a system without resources does.
    let cramped = OwnRuntime::start(local("http://localhost:1/")).await;
    cramped.leave_no_room_for_threads().await;
    cramped.invoke(&sample("sqs.json"), LONG).await;
    let log = cramped.log().await;
    assert!(log.iter().any(|line| line["code"] == "panic" && line.get("result").is_none()), "the place: {log:?}");
    snapshot("panic", log.iter().find(|line| line["result"].is_string()).unwrap());

    let wrong = OwnRuntime::start(vars(&[("WEBHOOK_URL", "soc.example.com"), ("MAX_ATTEMPTS", "0")])).await;
    wrong.ended().await;
    snapshot("invalid-settings", &wrong.log().await[0]);
}

#[test]
fn every_code_has_its_line_but_those_that_nothing_produces() {
    let kept: String = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/snapshots"))
        .unwrap()
        .map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap())
        .collect();
    for code in Code::ALL {
        let missing = NOT_PRODUCED.iter().any(|(known, _)| known == code);
        assert_eq!(!kept.contains(&format!("\"code\": \"{}\"", code.row().name)), missing, "{}", code.row().name);
    }
}
