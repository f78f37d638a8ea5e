//! What a producer or a receiver can cost at most: memory, processor time, threads, descriptors and attempts at once.
//!
//! Memory and processor time are those of the function's own process, so a busy machine changes nothing. The limit of
//! memory is 1.5 to 2 times what is measured, a limit of processor time at least five times.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::failures::message;
use super::support::authority::{Authority, Options};
use super::support::aws::{Relay, Trouble, variables};
use super::support::bench::LONG;
use super::support::network::{Says, ips, name_server, run_inside, set_up};
use super::support::receiver::{Receiver, Reply, read_request};
use super::support::runtime::{OwnRuntime, document, local, vars};
use super::support::samples::{example, outcome};

const MEMORY_MIB: u64 = 64;

#[track_caller]
fn assert_memory(runtime: &OwnRuntime) {
    let most = runtime.status("VmHWM") / 1024;
    assert!(most < MEMORY_MIB, "{most} MiB");
}

#[track_caller]
fn assert_processor_time(runtime: &OwnRuntime, most: Duration) {
    let took = runtime.processor_time();
    assert!(took < most, "{took:?}");
}

/// Messages of SQS with these bodies.
fn batch(bodies: impl IntoIterator<Item = String>) -> String {
    let message = |(n, body)| json!({ "messageId": format!("m{n}"), "eventSource": "aws:sqs", "body": body });
    json!({ "Records": bodies.into_iter().enumerate().map(message).collect::<Vec<_>>() }).to_string()
}

/// Destinations `d0`, `d1` and so on.
fn destinations(count: usize, options: impl Fn(usize) -> Value) -> Vec<(String, String)> {
    let destinations: Map<_, _> = (0..count).map(|n| (format!("d{n}"), options(n))).collect();
    document(&json!({ "destinations": destinations }))
}

/// A function with 60 destinations at one receiver.
async fn sixty(answer: String) -> (OwnRuntime, Receiver) {
    let receiver = Receiver::start(Reply::Raw(Box::leak(answer.into_boxed_str()))).await;
    (OwnRuntime::start(destinations(60, |_| json!({ "url": receiver.url() }))).await, receiver)
}

/// A function that asks AWS at a relay, which answers by itself.
async fn asking(answer: fn(&str, &Value) -> Option<(u16, Value)>, place: Vec<(String, String)>) -> (OwnRuntime, Relay) {
    let relay = Relay::start(0, Trouble::Scripted(answer)).await;
    relay.in_trouble(true);
    let mut all = variables(relay.port, "");
    all.remove(0);
    all.extend(place);
    (OwnRuntime::start(all).await, relay)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_300_000_records_is_refused_in_one_line() {
    let event = format!("{{\"Records\":[{}]}}", vec!["{\"messageId\":\"x\"}"; 333_335].join(","));
    let runtime = OwnRuntime::start(local("http://127.0.0.1:9/")).await;
    let told = runtime.invoke(&event, LONG).await;
    assert_eq!((told.kind, told.body["errorType"].as_str()), ("error", Some("UnknownShape")), "{told:?}");
    assert_eq!(runtime.invocation_lines().await.len(), 1);
    assert_memory(&runtime);
    assert_processor_time(&runtime, Duration::from_millis(500));
}

#[tokio::test(flavor = "multi_thread")]
async fn five_thousand_deliveries_begin_as_slots_become_free() {
    let receiver = Receiver::start(Reply::Status(200)).await;
    let runtime = OwnRuntime::start(destinations(5, |_| json!({ "url": receiver.url() }))).await;
    let told = runtime.invoke(&batch((0..1000).map(|n| outcome(json!({ "detection_id": n })))), LONG).await;
    assert_eq!(told.body, json!({ "batchItemFailures": [] }));
    assert_eq!(receiver.requests().len(), 5000);
    assert_memory(&runtime);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_destination_leaves_slots_to_its_neighbour() {
    let (slow, near) = (Receiver::start(Reply::Silence).await, Receiver::start(Reply::Status(200)).await);
    let config = json!({
        "destinations": { "slow": { "url": slow.url(), "timeout": 300 }, "near": { "url": near.url() } },
        "routes": { "*": ["slow", "near"] },
    });
    let runtime = OwnRuntime::start(document(&config)).await;
    let event = batch((0..70).map(|n| outcome(json!({ "detection_id": n }))));
    let near_has_all = async {
        while near.requests().len() < 70 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        () = near_has_all => {}
        _ = runtime.invoke(&event, LONG) => panic!("the slow ones are over: {} of 70", near.requests().len()),
    }
    assert_eq!(slow.requests().len(), 16, "the others wait, and none of them holds a slot");
}

#[tokio::test(flavor = "multi_thread")]
async fn detection_ids_of_a_megabyte_share_one_look_up() {
    let nothing = |_: &str, _: &Value| Some((200, json!({ "Responses": {}, "UnprocessedKeys": {} })));
    let place = vars(&[("DESTINATIONS", "dynamodb:t"), ("UNROUTED", "ignore")]);
    let (runtime, relay) = asking(nothing, place).await;
    for event in 0..20 {
        let id = |n: u32| outcome(json!({ "detection_id": format!("{event} {n} {}", "x".repeat(1_000_000)) }));
        runtime.invoke(&batch((0..5).map(id)), LONG).await;
    }
    assert_eq!((runtime.results().await.len(), relay.requests()), (100, 1));
    assert_memory(&runtime);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_100_mib_of_secrets_the_last_16_are_kept() {
    let secret = |_: &str, _: &Value| {
        let text = json!({ "k": "v", "rest": "x".repeat(65_000) }).to_string();
        Some((200, json!({ "SecretString": text })))
    };
    let receiver = Receiver::start(Reply::Status(200)).await;
    let place = destinations(1600, |n| json!({ "url": format!("{}?k={{{{secret:s{n}#k}}}}", receiver.url()) }));
    let (runtime, relay) = asking(secret, place).await;
    runtime.invoke(&example(), LONG).await;
    assert_eq!((relay.requests(), receiver.requests().len()), (1600, 1600));
    assert_memory(&runtime);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_location_of_390_kb_is_not_looked_at() {
    let location = format!("https://{}/", "x".repeat(390_000));
    let (runtime, _receiver) =
        sixty(format!("HTTP/1.1 302 X\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n")).await;
    runtime.invoke(&example(), LONG).await;
    assert_processor_time(&runtime, Duration::from_millis(500));
    let results = runtime.results().await;
    assert!(results.len() == 60 && results.iter().all(|line| message(line).contains("not a URL of at most 2 KiB")));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_compared_with_no_large_payload() {
    let body = "no &#97;%62 <b>".repeat(270);
    let answer = format!("HTTP/1.1 400 X\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    for (length, is_shown) in [(3, true), (1000, false)] {
        let values: Map<_, _> = (0..600).map(|n| (format!("{n}"), "%61".repeat(length / 3).into())).collect();
        let (runtime, _receiver) = sixty(answer.clone()).await;
        runtime.invoke(&outcome(values.into()), LONG).await;
        assert_processor_time(&runtime, Duration::from_millis(200));
        let results = runtime.results().await;
        assert_eq!(results.len(), 60);
        assert!(results.iter().all(|line| message(line).contains("it says") == is_shown), "{}", results[0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn endless_interim_answers_delay_no_neighbour() {
    let authority = Authority::new("interim");
    let acceptor = TlsAcceptor::from(Arc::new(authority.server(|_| {}, &Options::usual())));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endless = format!("https://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut stream = BufReader::new(acceptor.accept(stream).await.unwrap());
                read_request(&mut stream).await;
                let flood = b"HTTP/1.1 103 Early Hints\r\n\r\n".repeat(500);
                while stream.write_all(&flood).await.is_ok() {}
            });
        }
    });
    let near = Receiver::start(Reply::Slow(Duration::from_millis(100), 200)).await;
    let config = json!({ "endless": { "url": endless, "timeout": 1 }, "near": { "url": near.url() } });
    let mut variables = document(&json!({ "destinations": config }));
    variables.extend(vars(&[("EXTRA_CA_BUNDLE", authority.bundle.to_str().unwrap())]));
    let runtime = OwnRuntime::start(variables).await;
    runtime.invoke(&batch((0..5).map(|_| example())), LONG).await;
    let results = runtime.results().await;
    let seen: Vec<_> = results.iter().map(|line| (line["destination"].as_str(), line["code"].as_str())).collect();
    assert_eq!(seen[..5], [(Some("near"), None); 5], "{results:?}");
    assert_eq!(seen[5..], [(Some("endless"), Some("timeout")); 5], "{results:?}");
}

#[test]
fn many_hosts_use_few_descriptors_and_threads() {
    run_inside("bounds::inside");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "runs inside a network namespace, started by the test above"]
async fn inside() {
    set_up();
    let leads =
        |name: &str| if name.starts_with("silent") { Says::Nothing } else { Says::Addresses(ips(&["127.0.0.1"])) };
    name_server(move |name, _| leads(name)).await;
    let receiver = Receiver::start(Reply::Status(200)).await;
    let hosts = |count: usize, kind: &str| {
        destinations(count, |n| json!({ "url": format!("http://{kind}{n}.example:{}/", receiver.port), "timeout": 1 }))
    };

    let runtime = OwnRuntime::start(hosts(400, "up")).await;
    runtime.invoke(&example(), LONG).await;
    let requests = receiver.requests();
    let closing = requests.iter().filter(|request| request.header("connection") == Some("close")).count();
    assert_eq!((requests.len(), closing), (400, 400 - 256));
    let open = std::fs::read_dir(format!("/proc/{}/fd", runtime.pid().unwrap())).unwrap().count();
    assert!(open < 256 + 64, "{open} descriptors");

    let runtime = OwnRuntime::start(hosts(200, "silent")).await;
    runtime.invoke(&example(), LONG).await;
    assert!(runtime.results().await.iter().all(|line| line["code"] == "dns_timeout"));
    // The name server's silence lasts longer than all attempts. One thread is the function's, one may read its file.
    let threads = runtime.status("Threads");
    assert!((64..=66).contains(&threads), "{threads} threads");
}

/// Characters that change how a line looks and are not seen, of each kind.
const INVISIBLE: &str = "\n\u{1b}\u{7f}\u{85}\u{ad}\u{61c}\u{200b}\u{200e}\u{200f}\u{2028}\u{202e}\u{2066}\u{2067}\u{2068}\u{2069}\u{feff}\u{e0041}";

#[tokio::test(flavor = "multi_thread")]
async fn no_foreign_text_passes_for_the_functions_own() {
    let text = format!("x\". soc DELIVERED: {INVISIBLE}");
    let body = format!("{text}{}", " not".repeat(40));
    let refusal = format!("HTTP/1.1 400 X\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let host: String = INVISIBLE.chars().filter(|c| !c.is_ascii()).collect();
    let moved = format!("HTTP/1.1 302 X\r\nLocation: https://x{host}.example/\r\nContent-Length: 0\r\n\r\n");
    let [refusing, moving] =
        [refusal, moved].map(|answer| Receiver::start(Reply::Raw(Box::leak(answer.into_boxed_str()))));
    let (refusing, moving) = (refusing.await, moving.await);
    let config = json!({
        "destinations": { "refusing": { "url": refusing.url() }, "moving": { "url": moving.url() }, &text: { &text: 1 } },
        "routes": { "*": ["refusing", "moving", &text], format!("no {text}"): [] },
    });
    let runtime = OwnRuntime::start(document(&config)).await;
    let names = ["detection_id", "detection_name", "run_id", "trace_id", "search_id", "severity"];
    let fields: Map<_, _> = names.map(|name| (name.to_owned(), text.clone().into())).into_iter().collect();
    let message_id = |event: String| event.replace("\"m0\"", &json!(text).to_string());
    for event in [
        outcome(fields.into()),
        message_id(batch([text.clone()])),
        message_id(batch([json!({ &text: 1, "outcome": &text }).to_string()])),
        json!({ &text: 1 }).to_string(),
        json!({ "probe": &text }).to_string(),
    ] {
        runtime.invoke(&event, LONG).await;
    }
    let log = runtime.log().await;
    for line in &log {
        let line = line.to_string();
        assert!(
            !line.contains(|c| INVISIBLE.contains(c)) && !line.contains(r"\u00") && !line.contains(r"\n"),
            "{line}"
        );
    }
    for code in ["refused_by_endpoint", "redirect", "destination_invalid", "invalid_outcome", "unknown_event"] {
        assert!(log.iter().any(|line| line["code"] == code), "{code}");
    }
    let refused = log.iter().find(|line| line["destination"] == "refusing").map(message).unwrap();
    for before in ["it says", "of detection", "\"", ", run"] {
        assert!(refused.contains(&format!(r#"{before} "x\". soc DELIVERED"#)), "{before}: {refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_id_cannot_pass_for_a_part_of_the_sentence() {
    let receiver = Receiver::start(Reply::Status(200)).await;
    let config = json!({ "destinations": { "soc": { "url": receiver.url() } }, "routes": { "1": ["soc"] } });
    let runtime = OwnRuntime::start(document(&config)).await;
    let forged = "7 has no route. soc DELIVERED: HTTP 200";
    let quoted = json!(forged).to_string();
    for event in [
        json!({ "detection_id": forged, "outcome": "MATCHED" }).to_string(),
        batch(["none".to_owned()]).replace("\"m0\"", &quoted),
        json!({ forged: 1 }).to_string(),
    ] {
        runtime.invoke(&event, LONG).await;
    }
    let results = runtime.results().await;
    assert_eq!(results.len(), 3, "{results:?}");
    for line in results {
        let message = message(&line);
        assert!(message.contains(&quoted) && !message.replace(&quoted, "").contains("soc DELIVERED"), "{message}");
    }
}
