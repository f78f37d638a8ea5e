//! No secret gets out: thousands of hostile destinations with a canary in every field, and no hit in anything that
//! the function writes or answers. Nothing internal is reached: the same for addresses.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;

use super::support::receiver::{Receiver, Reply, Request};
use super::support::runtime::{Function, OwnRuntime, document, vars};
use super::support::samples::sample;

/// Whatever carries a canary begins with this, in any case of letters.
const MARK: &str = "cnry";

const DOCUMENTS: usize = 24;
const DESTINATIONS: usize = 220;

fn canary(random: &mut StdRng) -> String {
    format!("CNRY{:016x}", random.random::<u64>())
}

/// What [`echo`] can do.
const KINDS: u32 = 18;

/// A text without anything that was sent: it may be shown.
const INNOCENT: &str = "the mailbox is full";

/// Does with what it was sent what the path asks for: repeats it in every part of an answer.
fn echo(request: &Request) -> Reply {
    let raw = |text: String| Reply::Raw(Box::leak(text.into_boxed_str()));
    let path = request.head.split(' ').nth(1).unwrap_or_default();
    let sent = format!("{}\n{}", request.head, String::from_utf8_lossy(&request.body));
    let answer = |status: u16, headers: &str, body: &str| {
        raw(format!("HTTP/1.1 {status} X\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len()))
    };
    let kind: u32 = path.split('/').nth(1).and_then(|kind| kind.parse().ok()).unwrap_or(0);
    match kind % KINDS {
        0 => answer(400, "", &sent),
        1 => answer(500, "", &sent.to_lowercase()),
        2 => answer(401, "", &json!({ "error": sent }).to_string()),
        3 => answer(302, &format!("Location: https://evil.example{path}\r\n"), ""),
        4 => answer(302, &format!("Location: https://{}.evil.example/\r\n", path.split('/').nth(2).unwrap_or("x")), ""),
        5 => answer(429, &format!("Retry-After: {path}\r\n"), path),
        6 => raw(format!("HTTP/1.1 503 {path}\r\nX-Echo: {path}\r\nContent-Length: 0\r\n\r\n")),
        7 => raw(format!("{path} nonsense\r\n\r\n")),
        8 => raw(format!("HTTP/1.1 200 OK\r\n{path}: {path}\r\n\r\n")),
        9 => answer(422, "", &format!("{}{sent}", "x ".repeat(2000))),
        10 => Reply::Close,
        11 => Reply::Reset,
        12 => Reply::HalfHead,
        13 => answer(200, "", &sent),
        14 => answer(404, "", &sent.split_whitespace().collect::<Vec<_>>().join("<br>")),
        15 => answer(599, "", &String::from_utf8_lossy(&request.body)),
        16 => answer(400, "", INNOCENT),
        _ => answer(599, "", &sent.chars().skip(40).collect::<String>()),
    }
}

fn destination(random: &mut StdRng, ports: [u16; 2]) -> Value {
    let kind = random.random_range(0..KINDS);
    let mut secret = || canary(random);
    let path = format!("/{kind}/{}/{}?{}={}", secret(), secret(), secret(), secret());
    let (user, key, token, signing) = (secret(), secret(), secret(), secret());
    let host = format!("127.0.0.1:{}", ports[0]);
    let mut options = json!({ "url": format!("http://{host}{path}"), "timeout": 1, "headers": { "X-Key": key, "X-Other": format!("token={token}") } });
    let (name, value) = match random.random_range(0..44) {
        0 => ("url", json!(format!("http://{user}:{key}@{host}{path}"))),
        1 => ("url", json!(format!("https://{host}{path}"))),
        2 => ("url", json!(format!("http://127.0.0.1:{}{path}", ports[1]))),
        3 => (
            "url",
            json!(format!("https://{user}.invalid{path}").to_lowercase().replace(&user.to_lowercase(), "no-such-host")),
        ),
        4 => ("url", json!(format!("ftp://{host}{path}"))),
        5 => ("url", json!(format!("http://{host}{path} {key}"))),
        6 => ("url", json!(key)),
        7 => ("url", json!({ "is": key })),
        8 => ("url", json!(format!("http://169.254.169.254{path}"))),
        9 => ("url", json!(format!("http://10.0.0.1{path}"))),
        10 => ("timeout", json!(key)),
        11 => ("active", json!(key)),
        12 => ("outcomes", json!([key])),
        13 => ("min_severity", json!(key)),
        14 => ("headers", json!({ "X-Key": format!("{key}\n") })),
        15 => ("headers", json!({ "Host": key })),
        16 => ("headers", json!({ "Authorization": format!("Bearer {token}") })),
        17 => ("headers", json!([key])),
        18 => ("signing_secrets", json!([signing])),
        19 => ("signing_secrets", json!([key.repeat(2)])),
        20 => ("url", json!(format!("http://{host}/{{{{secret:{}}}}}/{key}", "plain"))),
        21 => ("headers", json!({ "X-Key": format!("{{{{{key}}}}}") })),
        _ => ("timeout", json!(1)),
    };
    options[name] = value;
    options
}

fn payload(random: &mut StdRng) -> String {
    let mut outcome: Value = serde_json::from_str(&sample("matched.json")).unwrap();
    for name in [
        "description",
        "replay_link",
        "ran_at",
        "range_start",
        "match_operator",
        "match_threshold",
        "severity",
        "new_field",
    ] {
        outcome[name] = canary(random).into();
    }
    outcome["errors"] = json!([{ "message": canary(random), "code": canary(random), "source": 5 }]);
    outcome.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_canary_gets_out_of_5000_hostile_destinations() {
    let mut random = StdRng::seed_from_u64(20_261_124);
    let receiver = Receiver::start_scripted(echo).await;
    let closed = super::support::runtime::free_port();
    let variables = document(&json!({}));
    let path = variables[0].1.strip_prefix("file:").unwrap().to_owned();
    let mut configured = 0;
    for (format, level) in [("JSON", "TRACE"), ("Text", "DEBUG")] {
        let mut variables = variables.clone();
        variables.extend(vars(&[
            ("REGISTRY_TTL_SECONDS", "0"),
            ("AWS_LAMBDA_LOG_FORMAT", format),
            ("AWS_LAMBDA_LOG_LEVEL", level),
        ]));
        let runtime = OwnRuntime::start(variables).await;
        for _ in 0..DOCUMENTS / 2 {
            let destinations: Map<_, _> = (0..DESTINATIONS)
                .map(|n| (format!("d{n}"), destination(&mut random, [receiver.port, closed])))
                .collect();
            configured += destinations.len();
            std::fs::write(&path, json!({ "destinations": destinations }).to_string()).unwrap();
            let event =
                json!({ "Records": [{ "messageId": "m", "body": payload(&mut random), "eventSource": "aws:sqs" }] })
                    .to_string();
            let told = runtime.invoke(&event, std::time::Duration::from_secs(60)).await;
            assert!(!told.body.to_string().to_lowercase().contains(MARK), "{:?}", told.body);
        }
        // A document that cannot be read at all, and events that are none.
        std::fs::write(&path, format!("{{\"destinations\": {}", canary(&mut random))).unwrap();
        for event in [
            payload(&mut random),
            json!({ "x": canary(&mut random) }).to_string(),
            json!(canary(&mut random)).to_string(),
            format!("{{\"detection_id\":\"{}\"}}", "1"),
        ] {
            let told = runtime.invoke(&event, std::time::Duration::from_secs(60)).await;
            assert!(!told.body.to_string().to_lowercase().contains(MARK), "{:?}", told.body);
        }
        let output = runtime.output().await.to_lowercase();
        let hits: Vec<_> = output.lines().filter(|line| line.contains(MARK)).take(3).collect();
        assert!(hits.is_empty(), "{hits:#?}");
        assert!(output.lines().count() > DOCUMENTS / 2 * DESTINATIONS, "one line per destination and more");
        assert!(output.contains(INNOCENT), "texts of receivers are shown");
        assert!(output.contains("[withheld]"), "names with a canary are withheld");
    }
    assert!(configured >= 5_000, "{configured}");
    let arrived = receiver.requests().len();
    assert!(arrived > 2_000, "{arrived} requests");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_listener_inside_is_touched_by_5000_hostile_hosts() {
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let touched = Arc::new(AtomicUsize::new(0));
    let count = touched.clone();
    tokio::spawn(async move {
        while listener.accept().await.is_ok() {
            count.fetch_add(1, Ordering::SeqCst);
        }
    });
    let mut random = StdRng::seed_from_u64(20_261_125);
    let mut destinations = Map::new();
    for n in 0..5_000 {
        let rest: u32 = random.random();
        let ip = match random.random_range(0..6) {
            0 => rest >> 8,
            1 => 169 << 24 | 254 << 16 | rest >> 16,
            2 => 10 << 24 | rest >> 8,
            3 => 192 << 24 | 168 << 16 | rest >> 16,
            _ => 127 << 24 | rest >> 8,
        };
        let number: u32 = ip;
        let [w, x, y, z] = ip.to_be_bytes();
        let (high, low) = (number >> 16, number & 0xffff);
        let host = match random.random_range(0..14) {
            0 => format!("{w}.{x}.{y}.{z}"),
            1 => number.to_string(),
            2 => format!("0x{number:x}"),
            3 => format!("0{w:o}.0{x:o}.0{y:o}.0{z:o}"),
            4 => format!("{w}.{x}.{low}"),
            5 => format!("{w}.{}", number & 0xff_ffff),
            6 => format!("0x{w:x}.{x}.0{y:o}.{z}"),
            7 => format!("{w}.{x}.{y}.{z}."),
            8 => format!("[::ffff:{w}.{x}.{y}.{z}]"),
            9 => format!("[::{high:x}:{low:x}]"),
            10 => format!("[64:ff9b::{high:x}:{low:x}]"),
            11 => format!("[2002:{high:x}:{low:x}::1]"),
            12 => format!("[64:ff9b:1::{high:x}:{low:x}]"),
            _ => format!("{w}.{x}.{y}.{z}")
                .chars()
                .map(|digit| if digit == '.' { "。".to_owned() } else { format!("%3{digit}") })
                .collect(),
        };
        let scheme = if random.random() { "http" } else { "https" };
        destinations.insert(format!("d{n}"), json!({ "url": format!("{scheme}://{host}:{port}/"), "timeout": 1 }));
    }
    let mut variables = document(&json!({ "destinations": destinations }));
    variables.retain(|(name, _)| name != "LOCAL_RECEIVERS");
    let function = Function::start(variables).await;
    function.invoke(&sample("sqs.json")).await;
    let results = function.results().await;
    assert_eq!(results.len(), 5_000);
    for line in &results {
        assert!(
            ["address_forbidden", "address_private"].contains(&line["code"].as_str().unwrap_or_default()),
            "{line}"
        );
    }
    assert_eq!(touched.load(Ordering::SeqCst), 0);
}
