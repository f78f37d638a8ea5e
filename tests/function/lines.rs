//! The line of every kind of failure and fate, produced for real and kept in `tests/snapshots/` for a reader to judge:
//! can somebody who has never seen this project name the destination, the cause, who acts and how, and where the alert is?
//!
//! After a deliberate change of the words: `INSTA_UPDATE=always cargo nextest run lines namespace`, and read the
//! difference.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use detection_outcome_handler::domain::failure::{AwsReason, Code};
use fancy_regex::Regex;
use serde_json::{Value, json};

use super::failures::{early_413, full_backlog, large_example};
use super::support::authority::Authority;
use super::support::aws::Trouble;
use super::support::bench::{Bench, LONG, aged, attribute, waits_for};
use super::support::network::{run, run_inside, set_up};
use super::support::receiver::{Receiver, Reply};
use super::support::runtime::{OwnRuntime, document, free_port, local, vars};
use super::support::samples::example;
use super::support::samples::sample;
use super::tls::wrong_servers;

/// Failures that have no line, and why.
const NOT_PRODUCED: [(Code, &str); 1] = [(Code::ConnectReset, "no peer can reset a connection before it is accepted")];

/// Lines of the tests in a network namespace, and their codes.
const ELSEWHERE: [(&str, Code); 3] = [
    ("dns-timeout", Code::DnsTimeout),
    ("connect-unreachable", Code::ConnectUnreachable),
    ("connect-failed", Code::ConnectFailed),
];

const SNAPSHOTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/snapshots");

/// Keeps a line, or holds it against the one that is kept.
pub(crate) fn snapshot(name: &str, line: &Value) {
    let mut settings = insta::Settings::new();
    settings.set_snapshot_path("../snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    let line = Mask::new(line).apply(line);
    let text = format!("{}\n\n{}", line["message"].as_str().unwrap(), serde_json::to_string_pretty(&line).unwrap());
    settings.bind(|| insta::assert_snapshot!(name, text));
}

/// Hides what is another at every run: times, ports, and where this checkout is.
struct Mask {
    /// The line's destination, whose number among the others of its test says nothing.
    destination: Option<String>,
    patterns: Vec<(Regex, &'static str)>,
}

impl Mask {
    fn new(line: &Value) -> Self {
        let patterns = [
            (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "TIME"),
            // The day of a certificate stands with its year, and stays.
            (r"\b(\d\d:\d\d:\d\d|\d\d [A-Z][a-z]{2} \d\d:\d\d)( UTC)?\b(?!Z)", "TIME"),
            (r"(?<=after )\d+ ms", "0 ms"),
            (r"(?<=own time ended )\d+ s", "N s"),
            (r"(?<=127\.0\.0\.1:)\d+", "PORT"),
            (r"(?<=localhost:)\d+", "PORT"),
            // What localhost leads to depends on the machine.
            (r"(?<=\()(::1, 127\.0\.0\.1|127\.0\.0\.1, ::1)(?=, port)", "127.0.0.1"),
            (r"(?<=port )\d{4,}", "PORT"),
            (r"destinations-\d+-\d+", "destinations"),
            (r"(?<=version )\d+\.\d+\.\d+", "VERSION"),
            (r"(?<=\.rs:)\d+:\d+", "LINE"),
        ];
        let number = Regex::new(r"^soc-\d\d$").unwrap();
        let destination = line["destination"].as_str().filter(|id| number.is_match(id).unwrap());
        Self {
            destination: destination.map(ToOwned::to_owned),
            patterns: patterns.map(|(pattern, by)| (Regex::new(pattern).unwrap(), by)).into(),
        }
    }

    fn apply(&self, value: &Value) -> Value {
        match value {
            Value::Object(members) => {
                let member = |(name, value): (&String, &Value)| {
                    let value = match name.as_str() {
                        "request_id" => "REQUEST".into(),
                        "addresses" => json!(["ADDRESS"]),
                        "version" => "VERSION".into(),
                        name if name.ends_with("_ms") || name == "waiting_seconds" => json!(0),
                        _ => self.apply(value),
                    };
                    (name.clone(), value)
                };
                Value::Object(members.iter().map(member).collect())
            }
            Value::Array(items) => items.iter().map(|item| self.apply(item)).collect(),
            Value::String(text) => {
                let mut text = text.replace(env!("CARGO_TARGET_TMPDIR"), "/DIRECTORY");
                if let Some(id) = &self.destination {
                    text = text.replace(id, "soc");
                }
                for (pattern, by) in &self.patterns {
                    text = pattern.replace_all(&text, *by).into_owned();
                }
                text.into()
            }
            other => other.clone(),
        }
    }
}

/// Lines and the names of their snapshots.
type Lines = Vec<(String, Value)>;

#[tokio::test(flavor = "multi_thread")]
async fn every_failure_and_fate_has_a_line_that_says_it_all() {
    let mut lines = Lines::new();
    let (destinations, records, retries) = tokio::join!(of_destinations(), of_records(), of_retries());
    let (secrets, circuit, look_ups) = tokio::join!(of_secrets(), of_a_circuit(), of_look_ups());
    let (limits, queues, sources) = tokio::join!(of_our_limits(), of_queues(), of_sources_without_queues());
    for more in [destinations, records, retries, secrets, circuit, look_ups, limits, queues, sources] {
        lines.extend(more);
    }
    say_sizes(&lines);
    for (name, line) in &lines {
        snapshot(name, line);
    }

    let codes: BTreeSet<_> = lines.iter().filter_map(|(_, line)| line["code"].as_str()).collect();
    let others: Vec<_> = NOT_PRODUCED.iter().map(|(code, _)| *code).chain(ELSEWHERE.map(|(_, code)| code)).collect();
    for code in Code::ALL {
        assert_eq!(codes.contains(code.row().name), !others.contains(code), "{}", code.row().name);
    }
    let written: BTreeSet<_> = lines.iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(written.len(), lines.len(), "two lines have one name");
    let written: BTreeSet<_> = written.into_iter().chain(ELSEWHERE.map(|(name, _)| name.to_owned())).collect();
    assert_eq!(kept().into_keys().collect::<BTreeSet<_>>(), written, "delete what no test writes");
}

/// The snapshots by name.
fn kept() -> BTreeMap<String, String> {
    let files = std::fs::read_dir(SNAPSHOTS).unwrap().map(|entry| entry.unwrap().path());
    let text = |path: &std::path::Path| std::fs::read_to_string(path).unwrap();
    files.map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), text(&path))).collect()
}

#[test]
fn no_line_has_an_unfilled_place() {
    let place = Regex::new(r"\{[a-z_]+\}").unwrap();
    for (name, text) in kept() {
        assert_eq!(place.find(&text).unwrap().map(|found| found.as_str()), None, "{name}");
    }
}

/// Prints how long the result lines are as they are written, in bytes.
fn say_sizes(lines: &Lines) {
    let mut sizes: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (_, line) in lines {
        let size = line.to_string().len();
        assert!(size <= 8 << 10, "{size} bytes: {line}");
        if let Some(result) = line["result"].as_str() {
            sizes.entry(result).or_default().push(size);
            sizes.entry("all").or_default().push(size);
        }
    }
    println!("{:<15}{:>6}{:>8}{:>8}", "result", "lines", "median", "longest");
    for (result, mut sizes) in sizes {
        sizes.sort_unstable();
        println!("{result:<15}{:>6}{:>8}{:>8}", sizes.len(), sizes[sizes.len() / 2], sizes[sizes.len() - 1]);
    }
}

/// The line that has these members.
fn find(lines: &[Value], members: &[(&str, &str)]) -> Value {
    let found = lines.iter().find(|line| members.iter().all(|(name, value)| line[*name] == *value));
    found.unwrap_or_else(|| panic!("{members:?} is not in {lines:?}")).clone()
}

fn named(name: &str, line: Value) -> (String, Value) {
    (name.to_owned(), line)
}

async fn first_result(runtime: &OwnRuntime) -> Value {
    runtime.results().await.remove(0)
}

/// Destinations of one function that fail, each in its own way.
#[derive(Default)]
struct Failing {
    destinations: serde_json::Map<String, Value>,
    /// Of each destination: its snapshot's name and its code.
    names: BTreeMap<String, (String, &'static str)>,
    /// Receivers, which end when this is dropped.
    held: Vec<Box<dyn Any + Send>>,
}

impl Failing {
    fn add(&mut self, name: &str, code: &'static str, mut options: Value) {
        options["timeout"] = json!(2);
        let id = format!("soc-{:02}", self.names.len() + 1);
        self.destinations.insert(id.clone(), options);
        self.names.insert(id, (name.to_owned(), code));
    }

    async fn add_reply(&mut self, name: &str, code: &'static str, reply: Reply) {
        let receiver = Receiver::start(reply).await;
        self.add(name, code, json!({ "url": receiver.url() }));
        self.held.push(Box::new(receiver));
    }

    /// Endpoints that answer.
    async fn add_answers(&mut self) {
        for (name, code, status) in [
            ("unexpected-status-101", "unexpected_status", 101),
            ("redirect-nowhere", "redirect", 302),
            ("refused-by-endpoint", "refused_by_endpoint", 400),
            ("unauthorized", "unauthorized", 401),
            ("not-found", "not_found", 404),
            ("gone", "gone", 410),
            ("busy", "busy", 423),
            ("conflict", "conflict", 409),
            ("server-error", "server_error", 500),
            ("unsupported", "unsupported", 501),
            ("unexpected-status-999", "unexpected_status", 999),
        ] {
            self.add_reply(name, code, Reply::Status(status)).await;
        }
        for (name, code, head) in [
            ("redirect-login", "redirect", "302 X\r\nLocation: https://login.example.com/SECRET"),
            ("redirect-slash-added", "redirect", "308 X\r\nLocation: /hook/"),
            ("redirect-slash-removed", "redirect", "301 X\r\nLocation: /hook"),
            ("redirect-same", "redirect", "307 X\r\nLocation: /hook"),
            ("redirect-other-path", "redirect", "301 X\r\nLocation: /v2/SECRET"),
            ("redirect-other-origin", "redirect", "308 X\r\nLocation: https://soc2.example.com/SECRET"),
            ("rate-limited", "rate_limited", "429 X\r\nRetry-After: 1800"),
            ("server-error-asks-to-wait", "server_error", "503 X\r\nRetry-After: 45"),
        ] {
            let answer = format!("HTTP/1.1 {head}\r\nContent-Length: 0\r\n\r\n");
            self.add_reply(name, code, Reply::Raw(Box::leak(answer.into_boxed_str()))).await;
        }
        let (_, slash) =
            self.destinations.iter_mut().find(|(id, _)| self.names[*id].0 == "redirect-slash-removed").unwrap();
        slash["url"] = format!("{}/", slash["url"].as_str().unwrap()).into();
        for (name, code, head, body) in [
            (
                "refused-by-endpoint-with-reason",
                "refused_by_endpoint",
                "422 X",
                "{\"error\": \"field 'owner' is missing\"}",
            ),
            (
                "server-error-with-page",
                "server_error",
                "502 X\r\nContent-Type: text/html",
                "<html><head><title>Upstream is down</title></head><body>…</body></html>",
            ),
        ] {
            let answer = format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            self.add_reply(name, code, Reply::Raw(Box::leak(answer.into_boxed_str()))).await;
        }
        self.add_reply("malformed-response", "malformed_response", Reply::Raw("SSH-2.0-OpenSSH_9.2\r\n")).await;
        self.add_reply("timeout", "timeout", Reply::Silence).await;
        self.add_reply("connection-lost", "connection_lost", Reply::Reset).await;
    }

    /// Endpoints that are never reached, and destinations that are not even tried.
    fn add_unreached(&mut self) {
        let (port, held) = full_backlog();
        self.held.push(Box::new(held));
        for (name, code, url) in [
            ("connect-refused", "connect_refused", format!("http://127.0.0.1:{}/SECRET", free_port())),
            ("connect-timeout", "connect_timeout", format!("http://127.0.0.1:{port}/SECRET")),
            ("dns", "dns", "https://no-such-host.invalid/SECRET".to_owned()),
            ("address-forbidden", "address_forbidden", "https://169.254.169.254/SECRET".to_owned()),
            ("address-private", "address_private", "https://10.1.2.3/SECRET".to_owned()),
            ("plain-http", "plain_http", "http://93.184.216.34/SECRET".to_owned()),
            ("destination-invalid", "destination_invalid", "ftp://SECRET".to_owned()),
        ] {
            self.add(name, code, json!({ "url": url }));
        }
        self.add(
            "destination-paused",
            "destination_paused",
            json!({ "url": "https://soc.example.com/", "paused": true }),
        );
    }
}

async fn of_destinations() -> Lines {
    let authority = Authority::new("lines");
    let mut all = Failing::default();
    all.add_answers().await;
    all.add_unreached();
    let wrong = wrong_servers(&authority).await;
    for wrong in &wrong {
        all.add(wrong.name, wrong.code, json!({ "url": format!("https://127.0.0.1:{}/SECRET", wrong.port) }));
    }
    let mut route = vec!["NOT AN ID".to_owned(), "soc-00".to_owned()];
    route.extend(all.destinations.keys().cloned());
    all.names.insert("soc-00".to_owned(), ("destination-unknown".to_owned(), "destination_unknown"));
    let config = json!({ "destinations": all.destinations, "routes": { "123": route } });
    let bench = Bench::start_with(&config, &[("EXTRA_CA_BUNDLE", authority.bundle.to_str().unwrap())], None).await;
    assert_eq!(bench.deliver(&example()).await, 0);
    let results = bench.results().await;
    assert_eq!(results.len(), all.names.len() + 1);
    assert!(!bench.runtime.output().await.contains("SECRET"));
    let mut lines: Lines = all
        .names
        .iter()
        .map(|(id, (name, code))| named(name, find(&results, &[("destination", id.as_str()), ("code", *code)])))
        .collect();
    let route = results.iter().find(|line| line.get("destination").is_none()).unwrap();
    lines.push(named("route-invalid", route.clone()));

    let early = one_destination(&format!("http://127.0.0.1:{}/hook", early_413(true).await), 30);
    let bench = Bench::start(&early).await;
    bench.runtime.invoke(&large_example(900_000), LONG).await;
    lines.push(named("refused-by-endpoint-early", bench.results().await.remove(0)));
    lines
}

fn one_destination(url: &str, timeout: u64) -> Value {
    json!({ "destinations": { "soc": { "url": url, "timeout": timeout } } })
}

async fn of_records() -> Lines {
    let up = Receiver::start(Reply::Status(200)).await;
    let config = json!({
        "destinations": {
            "soc": { "url": up.url() }, "off": { "url": up.url(), "active": false },
            "errors": { "url": up.url(), "outcomes": ["ERROR"] }, "grave": { "url": up.url(), "min_severity": "CRITICAL" }
        },
        "routes": { "1": ["soc", "off", "errors", "grave"] }
    });
    let bench = Bench::start(&config).await;
    bench.deliver(&example()).await;
    bench.deliver(&sample("not-matched.json")).await;
    bench.deliver(&example().replace("\"detection_id\": 123", "\"detection_id\": 1")).await;
    let odd =
        r#"{"detection_id": 1, "outcome": "ERROR", "severity": "urgent", "match_count": null, "run_id": "run-odd"}"#;
    bench.deliver(odd).await;
    // By hand, because their lines show the message's id.
    for (id, body) in [
        ("m1", r#"{"detection_id": 1.5, "detection_name": "x", "severity": "CRITICAL", "run_id": "run-1"}"#),
        (
            "m2",
            r#"{"Type": "SubscriptionConfirmation", "Token": "SECRET", "TopicArn": "arn", "SubscribeURL": "SECRET"}"#,
        ),
        ("m3", "alert!"),
    ] {
        bench.invoke(&[json!({ "messageId": id, "eventSource": "aws:sqs", "body": body })]).await;
    }
    bench.runtime.invoke("{\"hello\": 1}", LONG).await;
    let results = bench.results().await;
    let mut lines = vec![
        named("unrouted", find(&results, &[("code", "unrouted")])),
        named("ignored", find(&results, &[("result", "ignored")])),
        named("delivered", find(&results, &[("result", "delivered"), ("run_id", "run-456")])),
        named("delivered-with-warnings", find(&results, &[("result", "delivered"), ("run_id", "run-odd")])),
        named("unknown-event", find(&results, &[("code", "unknown_event")])),
    ];
    for (name, id) in [("filtered-inactive", "off"), ("filtered-outcomes", "errors"), ("filtered-severity", "grave")] {
        lines.push(named(name, find(&results, &[("result", "filtered"), ("destination", id)])));
    }
    for (name, id) in [("", "m1"), ("-subscription", "m2"), ("-no-json", "m3")] {
        lines.push((format!("invalid-outcome{name}"), find(&results, &[("message_id", id)])));
    }
    let ignoring = OwnRuntime::start([document(&config), vars(&[("UNROUTED", "ignore")])].concat()).await;
    ignoring.invoke(&example(), LONG).await;
    lines.push(named("ignored-alert", first_result(&ignoring).await));
    lines
}

/// Deliveries that have been waiting.
async fn of_retries() -> Lines {
    let up = Receiver::start(Reply::Status(200)).await;
    let limited = Receiver::start(Reply::Status(429)).await;
    let down = format!("http://localhost:{}/", free_port());
    let config = json!({
        "destinations": {
            "soc": { "url": down, "fallback": { "to": "pager", "after_minutes": 60 } }, "pager": { "url": up.url() },
            "soar": { "url": limited.url() }, "siem": { "url": down },
            "off": { "url": up.url(), "active": false }, "calm": { "url": up.url(), "paused": true }
        },
        "routes": { "*": ["soc"] }
    });
    let bench = Bench::start(&config).await;
    let hour = 60 * 60;
    let mut lines = Lines::new();
    for (name, id, age) in [
        ("delivered-at-last", "pager", 160),
        ("retrying-again", "siem", 160),
        ("retrying-renewed", "siem", 30 * hour),
        ("rate-limited-again", "soar", 30 * hour),
        ("too-old", "soar", 6 * 24 * hour + 60),
        ("destination-inactive", "off", 160),
        ("destination-paused-again", "calm", 2 * hour),
        ("fallback-sent", "soc", 2 * hour),
    ] {
        bench.aws.send(&bench.retry, &example(), waits_for(id)).await;
        let record = take(&bench, |record| is_for(record, id)).await;
        bench.invoke(&[aged(record, Duration::from_secs(age))]).await;
        lines.push(named(name, bench.results().await.pop().unwrap()));
    }
    let copy = take(&bench, |record| attribute(record, "outcome-fallback-for").is_some()).await;
    bench.invoke(&[copy]).await;
    lines.push(named("fallback-delivered", bench.results().await.pop().unwrap()));

    let bench = Bench::start_with(&config, &[("MAX_ATTEMPTS", "4")], None).await;
    let critical = example().replace("HIGH", "CRITICAL");
    bench.aws.send(&bench.retry, &critical, waits_for("siem")).await;
    bench.invoke(&[aged(bench.next_retry().await, Duration::from_secs(200))]).await;
    lines.push(named("critical-dead-lettered", first_result(&bench.runtime).await));
    lines
}

fn is_for(record: &Value, id: &str) -> bool {
    attribute(record, "outcome-destination").as_deref() == Some(id)
}

/// Receives a message from the retry queue; others stay in flight.
async fn take(bench: &Bench, is_it: impl Fn(&Value) -> bool) -> Value {
    loop {
        if let Some(record) = bench.aws.receive(&bench.retry).await.into_iter().find(&is_it) {
            return record;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// How Secrets Manager answers for the secret that is named like the reason.
fn secrets_manager(call: &str, request: &Value) -> Option<(u16, Value)> {
    if call != "GetSecretValue" {
        return None;
    }
    let error = |kind: &str, message: &str| Some((400, json!({ "__type": kind, "message": message })));
    match request["SecretId"].as_str()?.trim_start_matches("soc/") {
        "access_denied" => error(
            "AccessDeniedException",
            "User: arn:aws:sts::123456789012:assumed-role/r/f is not authorized to perform: \
             secretsmanager:GetSecretValue on resource: soc",
        ),
        "kms_denied" => error("AccessDeniedException", "Access to KMS is not allowed"),
        "not_found" => error("ResourceNotFoundException", "Secrets Manager can't find the specified secret."),
        "deleted" => error(
            "InvalidRequestException",
            "You can't perform this operation on the secret because it was marked for deletion.",
        ),
        "no_version" => error(
            "ResourceNotFoundException",
            "Secrets Manager can't find the specified secret value for staging label: AWSCURRENT",
        ),
        "no_text" => Some((200, json!({ "Name": "soc", "SecretBinary": "U0VDUkVU" }))),
        "throttled" => error("ThrottlingException", "Rate exceeded"),
        "no_credentials" => {
            error("UnrecognizedClientException", "The security token included in the request is invalid.")
        }
        "no_path" => Some((0, json!({}))),
        "internal" => error("InternalServiceError", "An error occurred on the server side."),
        "other" => error("DecryptionFailure", "Secrets Manager can't decrypt the protected secret text."),
        // Another value at each reading, as if it were rotated.
        "rotating" => {
            static READ: AtomicUsize = AtomicUsize::new(0);
            let value = format!("SECRET{}", READ.fetch_add(1, Ordering::Relaxed));
            Some((200, json!({ "Name": "soc", "SecretString": value })))
        }
        "members" => Some((200, json!({ "Name": "soc", "SecretString": "{\"token\": \"SECRET\"}" }))),
        "spaces" => Some((200, json!({ "Name": "soc", "SecretString": "SECRET SECRET" }))),
        _ => None,
    }
}

async fn of_secrets() -> Lines {
    let mut all = Failing::default();
    for reason in AwsReason::ALL.iter().map(|reason| reason.name()) {
        let url = format!("https://soc.example.com/{{{{secret:soc/{reason}}}}}");
        all.add(&format!("secret-{}", reason.replace('_', "-")), "secret_unresolved", json!({ "url": url }));
    }
    for (name, reference) in [("whole", "soc/members"), ("member", "soc/members#key")] {
        let url = format!("https://soc.example.com/{{{{secret:{reference}}}}}");
        all.add(&format!("secret-json-{name}"), "secret_unresolved", json!({ "url": url }));
    }
    let signing = json!({ "url": "https://soc.example.com/", "signing_secrets": ["{{secret:soc/spaces}}"] });
    all.add("secret-makes-invalid", "secret_unresolved", signing);
    let rejecting = Receiver::start(Reply::Status(401)).await;
    let rotating = json!({ "url": rejecting.url(), "headers": { "X-Key": "{{secret:soc/rotating}}" } });
    all.add("unauthorized-after-rotation", "unauthorized", rotating);
    let config = json!({ "destinations": all.destinations });
    let bench = Bench::start_with(&config, &[], Some(Trouble::Scripted(secrets_manager))).await;
    assert_eq!(bench.deliver(&example()).await, 0);
    assert!(!bench.runtime.output().await.contains("SECRET"));
    assert_eq!(rejecting.requests().len(), 2, "once more with the new value");
    let results = bench.results().await;
    let line = |(id, (name, code)): (&String, &(String, &str))| {
        named(name, find(&results, &[("destination", id.as_str()), ("code", *code)]))
    };
    all.names.iter().map(line).collect()
}

/// A destination that costs so much time that no further attempt is made for a while.
async fn of_a_circuit() -> Lines {
    let silent = Receiver::start(Reply::Silence).await;
    let bench = Bench::start(&one_destination(&silent.url(), 1)).await;
    for run in 0..4 {
        bench.deliver(&example().replace("run-456", &format!("run-{run}"))).await;
    }
    assert_eq!(silent.requests().len(), 3);
    let log = bench.runtime.log().await;
    assert!(!log.last().unwrap()["message"].as_str().unwrap().contains("may have received"), "this one was not tried");
    let opened = log.iter().find(|line| line["message"].as_str().unwrap().contains("CIRCUIT OPEN")).unwrap();
    vec![
        named("circuit-opened", opened.clone()),
        named("circuit-open", find(&bench.results().await, &[("code", "circuit_open")])),
    ]
}

async fn of_look_ups() -> Lines {
    let broken = Bench::start(&json!([])).await;
    broken.deliver(&example()).await;
    broken.runtime.invoke(&example(), LONG).await;
    let results = broken.results().await;
    let mut lines = vec![
        named("lookup-failed", find(&results, &[("result", "returned")])),
        named("lookup-failed-whole", find(&results, &[("result", "retrying")])),
    ];
    let place = [("DESTINATIONS", "secretsmanager:soc/access_denied")];
    let denied = Bench::start_with(&json!({}), &place, Some(Trouble::Scripted(secrets_manager))).await;
    denied.deliver(&example()).await;
    lines.push(named("lookup-failed-access-denied", denied.results().await.remove(0)));
    lines
}

async fn of_our_limits() -> Lines {
    let silent = Receiver::start(Reply::Silence).await;
    // The function makes 64 attempts at once: of 65 deliveries, the last waits until the time is over.
    let destination = |n| (format!("soc-{n}"), json!({ "url": silent.url(), "timeout": 300 }));
    let destinations: serde_json::Map<_, _> = (10..75).map(destination).collect();
    let bench = Bench::start(&json!({ "destinations": destinations })).await;
    bench.runtime.invoke(&example(), Duration::from_secs(8)).await;
    let results = bench.results().await;
    let mut lines = vec![
        named("deadline", find(&results, &[("code", "deadline")])),
        named("not-started", find(&results, &[("code", "not_started")])),
    ];
    let up = Receiver::start(Reply::Status(200)).await;
    let bench = Bench::start(&one_destination(&up.url(), 30)).await;
    // The first one reads the destinations.
    for left in [LONG, Duration::ZERO] {
        bench.runtime.invoke(&sample("sqs.json"), left).await;
    }
    lines.push(named("queue-failed-no-time", bench.results().await.pop().unwrap()));

    let narrow = OwnRuntime::start(local(&up.url())).await;
    leave_no_descriptor(&narrow).await;
    narrow.invoke(&sample("sqs.json"), LONG).await;
    lines.push(named("out-of-descriptors", first_result(&narrow).await));

    // No input is known to reach a bug of ours; a system without resources does.
    let cramped = OwnRuntime::start(local("http://localhost:1/")).await;
    cramped.leave_no_room_for_threads().await;
    cramped.invoke(&sample("sqs.json"), LONG).await;
    let log = cramped.log().await;
    let place = log.iter().find(|line| line["code"] == "panic" && line.get("result").is_none());
    lines.push(named("panic-place", place.unwrap_or_else(|| panic!("the place: {log:?}")).clone()));
    lines.push(named("panic", first_result(&cramped).await));

    let wrong = OwnRuntime::start(vars(&[("WEBHOOK_URL", "soc.example.com"), ("MAX_ATTEMPTS", "0")])).await;
    wrong.ended().await;
    lines.push(named("invalid-settings", wrong.log().await.remove(0)));
    lines
}

/// Takes every file descriptor away from a running function that it does not hold already.
async fn leave_no_descriptor(runtime: &OwnRuntime) {
    tokio::time::sleep(Duration::from_millis(200)).await;
    let pid = runtime.pid().unwrap();
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let open: BTreeSet<u32> = open.map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap()).collect();
    let first_free = (0..1024).find(|number| !open.contains(number)).unwrap();
    run(&format!("prlimit --pid {pid} --nofile={first_free}"));
}

async fn of_queues() -> Lines {
    let down = Receiver::start_scripted(|_| Reply::Status(503)).await;
    let config = one_destination(&down.url(), 2);
    let mut lines = Lines::new();
    for (name, trouble) in [("queue-failed", Trouble::Denied), ("queue-failed-no-path", Trouble::Closed)] {
        let bench = Bench::start_with(&config, &[], Some(trouble)).await;
        bench.deliver(&example()).await;
        lines.push(named(name, bench.results().await.remove(0)));
    }
    let bench = Bench::start(&config).await;
    bench.runtime.invoke(&large_example(1 << 20), LONG).await;
    let whole = json!({ "messageId": "m1", "eventSource": "aws:sqs", "body": large_example((1 << 20) - large_example(0).len()),
        "receiptHandle": "r", "eventSourceARN": "arn:aws:sqs:eu-west-1:123456789012:outcomes" });
    bench.invoke(&[whole]).await;
    let results = bench.results().await;
    lines.push(named("too-large-to-keep", results[0].clone()));
    lines.push(named("too-large-to-keep-sqs", results[1].clone()));
    lines
}

/// Without queues, a source keeps what was not delivered, or the caller is told.
async fn of_sources_without_queues() -> Lines {
    let down = Receiver::start(Reply::Status(503)).await;
    let runtime = OwnRuntime::start(local(&down.url())).await;
    let mut lines = Lines::new();
    for (name, event) in [("caller", "matched.json"), ("lambda", "sns.json"), ("queue", "sqs.json")] {
        runtime.invoke(&sample(event), LONG).await;
        lines.push((format!("returned-to-{name}"), runtime.results().await.pop().unwrap()));
    }
    lines
}

#[test]
fn a_connection_that_the_system_forbids_is_told_apart() {
    run_inside("lines::inside");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "runs inside a network namespace, started by the test above"]
async fn inside() {
    set_up();
    // Connecting ends with EACCES: neither refused nor unreachable.
    run("ip route add prohibit 8.8.4.4/32");
    let runtime = OwnRuntime::start(vars(&[("WEBHOOK_URL", "https://8.8.4.4/")])).await;
    runtime.invoke(&sample("sqs.json"), LONG).await;
    let line = first_result(&runtime).await;
    assert_eq!(line["code"], "connect_failed", "{line}");
    snapshot("connect-failed", &line);
}
