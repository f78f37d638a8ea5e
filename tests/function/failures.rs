//! Every kind of failure, produced for real: its code, and a line that an administrator can act on.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use detection_outcome_handler::domain::failure::{Code, Level, Next, Row};
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::support::receiver::{Receiver, Reply, read_request};
use super::support::runtime::{Function, OwnRuntime, document, local, vars};
use super::support::samples::sample;

/// Sends the example to a destination and returns the result line of the failure.
async fn failure_at(url: &str, timeout: u64) -> Value {
    let mut variables = local(url);
    variables.extend(vars(&[("WEBHOOK_TIMEOUT", &timeout.to_string())]));
    let function = Function::start(variables).await;
    assert_eq!(function.invoke(&sample("sqs.json")).await["batchItemFailures"].as_array().unwrap().len(), 1, "{url}");
    let results = function.results().await;
    assert_eq!(results.len(), 1, "one line per delivery: {results:?}");
    results[0].clone()
}

async fn failure_of(reply: Reply) -> Value {
    let receiver = Receiver::start(reply).await;
    let line = failure_at(&receiver.url(), 1).await;
    assert_eq!(receiver.requests().len(), 1, "an attempt is one request");
    line
}

/// The table's row of a code.
pub(crate) fn row(code: &str) -> &'static Row {
    Code::ALL.iter().map(|known| known.row()).find(|row| row.name == code).unwrap_or_else(|| panic!("no code {code}"))
}

/// A failure's line is enough by itself: which destination, what became of the alert, why, who acts, and which alert.
pub(crate) fn assert_readable(line: &Value, code: &str) {
    assert_eq!(line["code"], code, "{line}");
    let row = row(code);
    let field = |name: &str| line[name].as_str().unwrap_or_else(|| panic!("{name} is missing: {line}")).to_owned();
    let message = field("message");
    // What time alone may mend is nobody's yet, and the sentence names who is next.
    let is_grave = row.level == Level::Error || field("level") == "ERROR";
    assert_eq!(field("owner"), if is_grave { row.owner.name() } else { "nobody yet" }, "{line}");
    let level = if is_grave { "ERROR" } else { "WARN" };
    assert_eq!(field("level"), level, "{line}");
    let tried = if line.get("attempt").is_some() { "NOT DELIVERED" } else { "NOT TRIED" };
    let fate = match field("result").as_str() {
        "retrying" => format!("{tried}, "),
        "dead_lettered" => "DEAD-LETTERED in queue ".to_owned(),
        "returned" => "NOT DELIVERED".to_owned(),
        other => panic!("a failure has no result {other}: {line}"),
    };
    let start = format!("{} {fate}", field("destination"));
    assert!(message.starts_with(&start), "{message:?} does not begin with {start:?}");
    let endpoint = field("endpoint");
    let host = endpoint.split("//").nth(1).unwrap_or(&endpoint).split(':').next().unwrap();
    assert!(message.contains(host), "{host} is not in {message:?}");
    assert!(message.to_lowercase().contains(&format!("{}: ", row.owner.name())), "no owner in {message:?}");
    assert!(message.contains("HIGH alert of detection 123 \"Suspicious Login Attempts\", run run-456."), "{message}");
    assert_eq!((&line["detection_id"], line["run_id"].as_str()), (&json!(123), Some("run-456")));
    assert_eq!((line["severity"].as_str(), line["outcome"].as_str()), (Some("HIGH"), Some("MATCHED")));
    assert!(line["request_id"].is_string() && line["total_ms"].is_u64(), "{line}");
    for gone in ["cause", "remedy", "next", "excerpt", "host", "ambiguous", "attempts_max", "_aws", "deliveries"] {
        assert_eq!(line.get(gone), None, "the sentence says it: {line}");
    }
}

/// The sentence of a line.
pub(crate) fn message(line: &Value) -> &str {
    line["message"].as_str().unwrap_or_else(|| panic!("no message: {line}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_status_class_has_its_code_and_level() {
    for (status, code, level) in [
        (300, "redirect", "ERROR"),
        (302, "redirect", "ERROR"),
        (307, "redirect", "ERROR"),
        (400, "refused_by_endpoint", "ERROR"),
        (401, "unauthorized", "ERROR"),
        (403, "unauthorized", "ERROR"),
        (404, "not_found", "ERROR"),
        (407, "unauthorized", "ERROR"),
        (408, "busy", "WARN"),
        (409, "conflict", "WARN"),
        (410, "gone", "ERROR"),
        (413, "refused_by_endpoint", "ERROR"),
        (422, "refused_by_endpoint", "ERROR"),
        (425, "busy", "WARN"),
        (429, "rate_limited", "WARN"),
        (500, "server_error", "WARN"),
        (501, "unsupported", "ERROR"),
        (502, "server_error", "WARN"),
        (503, "server_error", "WARN"),
        (504, "server_error", "WARN"),
        (511, "unsupported", "ERROR"),
        (530, "server_error", "WARN"),
        (999, "unexpected_status", "WARN"),
    ] {
        let line = failure_of(Reply::Status(status)).await;
        assert_readable(&line, code);
        assert_eq!((line["status"].as_u64(), line["level"].as_str()), (Some(status.into()), Some(level)), "{status}");
        assert_eq!(line.get("maybe_received"), None, "{status}");
        assert!(message(&line).contains(&format!("answered HTTP {status}")), "{line}");
        assert_eq!(line["result"], "returned");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_2xx_is_delivered_by_its_status_line_alone() {
    let many_headers = format!("HTTP/1.1 200 OK\r\n{}Content-Length: 0\r\n\r\n", "X-Many: y\r\n".repeat(1000));
    for reply in [
        Reply::Status(200),
        Reply::Status(202),
        Reply::Status(204),
        Reply::Status(299),
        Reply::EndlessBody(200),
        Reply::Raw("HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\ncut"),
        Reply::Raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense"),
        Reply::Raw("HTTP/1.0 200 OK\r\n\r\n"),
        // Headers as nobody should write them: folded, with a space before the colon, with no name that is one.
        Reply::Raw("HTTP/1.1 200 OK\r\nX-A: b\r\n folded\r\nContent-Length: 0\r\n\r\n"),
        Reply::Raw("HTTP/1.1 200 OK\r\nX-A : b\r\nContent-Length: 0\r\n\r\n"),
        Reply::Raw("HTTP/1.1 200 OK\r\nX(A): b\r\nContent-Length: 0\r\n\r\n"),
        Reply::Raw("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        Reply::Raw(
            "HTTP/1.1 103 X\r\nLink: </a>\r\n\r\nHTTP/1.1 102 X\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        ),
        // A status line alone, a body where none may be, one length twice, more headers than hyper takes by itself.
        Reply::Raw("HTTP/1.1 200\r\n\r\n"),
        Reply::Raw("HTTP/1.1 204 No Content\r\n\r\n{}"),
        Reply::Raw("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok"),
        Reply::Raw(Box::leak(many_headers.into_boxed_str())),
    ] {
        let receiver = Receiver::start(reply.clone()).await;
        let function = Function::start(local(&receiver.url())).await;
        let answer = function.invoke(&sample("matched.json")).await;
        assert_eq!(answer["deliveries"][0]["result"], "delivered", "{reply:?}");
        assert_eq!(receiver.requests().len(), 1, "{reply:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_is_not_followed_and_shows_no_path() {
    let target = Receiver::start(Reply::Status(200)).await;
    let answer = format!(
        "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:{}/SECRET?q=SECRET\r\nContent-Length: 0\r\n\r\n",
        target.port
    );
    let line = failure_of(Reply::Raw(Box::leak(answer.into_boxed_str()))).await;
    assert_readable(&line, "redirect");
    assert!(message(&line).contains(&format!("another origin, http://127.0.0.1:{};", target.port)), "{line}");
    assert!(!line.to_string().contains("SECRET"));
    assert!(target.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_to_an_endless_host_makes_no_long_line() {
    let answer =
        format!("HTTP/1.1 302 Found\r\nLocation: https://{}/\r\nContent-Length: 0\r\n\r\n", "x".repeat(60_000));
    let line = failure_of(Reply::Raw(Box::leak(answer.into_boxed_str()))).await;
    assert_readable(&line, "redirect");
    assert!(line.to_string().len() < 3000, "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_ends_early_shows_no_part_of_a_secret() {
    // The last 128 bytes of a body that was cut are not shown: a secret may begin there.
    let text = "the gateway does not like what it was sent. ".repeat(4) + "bad key: QUERYSE";
    let answer = format!("HTTP/1.1 503 X\r\nContent-Length: 500\r\n\r\n{text}");
    let receiver = Receiver::start(Reply::Raw(Box::leak(answer.into_boxed_str()))).await;
    let line = failure_at(&format!("{}?key=QUERYSECRET", receiver.url()), 1).await;
    assert_readable(&line, "server_error");
    assert!(message(&line).contains("it says \"the gateway does not like what it was sent."), "{line}");
    assert!(!message(&line).contains("QUERY"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_quoted_if_it_is_text_and_a_page_by_its_title() {
    for (head, body, says) in [
        ("Content-Encoding: gzip", "looks like text", None),
        ("Content-Type: image/png", "\u{fffd}\u{fffd}\u{fffd}PNG", None),
        (
            "Content-Type: text/html",
            "<html><head><title>Request blocked</title></head><body>id 7",
            Some("Request blocked"),
        ),
        ("Content-Type: text/plain", "the disk is full", Some("the disk is full")),
    ] {
        let answer = format!("HTTP/1.1 500 X\r\n{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let line = failure_of(Reply::Raw(Box::leak(answer.into_boxed_str()))).await;
        let quoted = message(&line).split_once("; it says \"").and_then(|(_, rest)| rest.split_once("\". "));
        assert_eq!(quoted.map(|(text, _)| text), says, "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_asks_to_wait_is_quoted() {
    let line = failure_of(Reply::Raw("HTTP/1.1 429 X\r\nRetry-After: 120\r\nContent-Length: 0\r\n\r\n")).await;
    assert!(message(&line).contains("asks to wait 2 minutes"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ends_after_the_request_may_have_been_received() {
    for (reply, code) in [
        (Reply::Silence, "timeout"),
        (Reply::SlowHead, "timeout"),
        (Reply::Close, "connection_lost"),
        (Reply::Reset, "connection_lost"),
        (Reply::HalfHead, "connection_lost"),
        (Reply::Raw("SSH-2.0-OpenSSH_9.2\r\n"), "malformed_response"),
        (Reply::Raw("HTTP/1.1 abc\r\n\r\n"), "malformed_response"),
        // RFC 9112, section 6.1: a chunked body under HTTP/1.0 is faulty framing.
        (Reply::Raw("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"), "malformed_response"),
        (Reply::ManyHeaders, "malformed_response"),
    ] {
        let line = failure_of(reply.clone()).await;
        assert_readable(&line, code);
        assert_eq!((line["maybe_received"].as_bool(), line.get("status")), (Some(true), None), "{reply:?}");
        assert!(message(&line).contains("the endpoint may have received the alert"), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_body_of_a_failure_is_not_waited_for() {
    let line = failure_of(Reply::EndlessBody(500)).await;
    assert_readable(&line, "server_error");
    assert!(line["total_ms"].as_u64().unwrap() < 900, "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_before_the_request_names_its_step() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = closed.local_addr().unwrap().port();
    drop(closed);
    let refused = failure_at(&format!("http://localhost:{port}/"), 5).await;
    assert_readable(&refused, "connect_refused");

    let unknown = failure_at("https://no-such-host.invalid/SECRET", 20).await;
    assert_readable(&unknown, "dns");

    let full = full_backlog();
    let timeout = failure_at(&format!("http://127.0.0.1:{}/", full.0), 1).await;
    assert_readable(&timeout, "connect_timeout");
    assert!(message(&unknown).contains("no-such-host.invalid"), "{unknown}");
    let at = format!("http://localhost:{port} (127.0.0.1, port {port}) refused the connection");
    assert!(message(&refused).replace("::1, ", "").replace(", ::1", "").contains(&at), "{refused}");
    assert_eq!(timeout["addresses"], json!(["127.0.0.1"]), "{timeout}");
    for line in [refused, unknown, timeout] {
        assert_eq!(line.get("maybe_received"), None, "nothing was sent: {line}");
    }
}

/// A port whose queue of new connections is full: further ones get no answer at all.
pub(crate) fn full_backlog() -> (u16, Vec<socket2::Socket>) {
    full_backlog_at("127.0.0.1:0")
}

/// The same at a chosen address.
pub(crate) fn full_backlog_at(address: &str) -> (u16, Vec<socket2::Socket>) {
    let address: std::net::SocketAddr = address.parse().unwrap();
    let socket = || socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None).unwrap();
    let listener = socket();
    listener.bind(&address.into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let mut held = vec![listener];
    for _ in 0..4 {
        let client = socket();
        client.set_nonblocking(true).unwrap();
        let _ = client.connect(&address);
        held.push(client);
    }
    std::thread::sleep(Duration::from_millis(100));
    (address.as_socket().unwrap().port(), held)
}

#[tokio::test(flavor = "multi_thread")]
async fn proxy_variables_of_the_environment_are_ignored() {
    let receiver = Receiver::start(Reply::Status(200)).await;
    let proxy = Receiver::start(Reply::Status(200)).await;
    let mut variables = local(&receiver.url());
    let address = format!("http://127.0.0.1:{}", proxy.port);
    for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        variables.extend(vars(&[(name, &address)]));
    }
    let function = Function::start(variables).await;
    function.invoke(&sample("matched.json")).await;
    assert_eq!((receiver.requests().len(), proxy.requests().len()), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_line_holds_a_secret_or_a_value_of_the_payload() {
    let mut outcome: Value = serde_json::from_str(&sample("matched.json")).unwrap();
    for name in ["description", "replay_link", "match_operator", "ran_at"] {
        outcome[name] = "SECRET".into();
    }
    for reply in [
        Reply::Status(200),
        Reply::Status(500),
        Reply::Status(302),
        Reply::Close,
        Reply::Silence,
        Reply::Raw("SECRET\r\n\r\n"),
    ] {
        let receiver = Receiver::start(reply.clone()).await;
        let url = format!("http://SECRET:SECRET@127.0.0.1:{}/SECRET?k=SECRET", receiver.port);
        for level in ["INFO", "TRACE"] {
            let mut variables = document(&json!({
                "destinations": { "soc": { "url": url, "timeout": 1, "headers": { "X-Key": "SECRET" } }, "bad": { "url": "SECRET" } }
            }));
            variables.extend(vars(&[("AWS_LAMBDA_LOG_LEVEL", level)]));
            let function = Function::start(variables).await;
            let answer = function.invoke(&outcome.to_string()).await.to_string();
            let output = function.output().await;
            assert!(output.contains("soc"), "{output}");
            assert!(
                !output.contains("SECRET") && !answer.contains("SECRET"),
                "{reply:?} at {level}: {output} {answer}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_text_format_says_the_same_on_one_line() {
    let receiver = Receiver::start(Reply::Status(503)).await;
    let mut variables = local(&receiver.url());
    variables.extend(vars(&[("AWS_LAMBDA_LOG_FORMAT", "Text")]));
    let function = Function::start(variables).await;
    function.invoke(&sample("sqs.json")).await;
    let output = function.output().await;
    let line = output.lines().find(|line| line.contains("WARN")).unwrap();
    let (text, fields) = line.split_once(" {\"").unwrap_or_else(|| panic!("no fields: {line}"));
    assert!(text.starts_with("WARN default NOT DELIVERED, ") && text.contains("HTTP 503"), "{line}");
    let fields: Value =
        serde_json::from_str(&format!("{{\"{fields}")).unwrap_or_else(|error| panic!("{error}: {line}"));
    assert_eq!((fields["code"].as_str(), fields["status"].as_u64()), (Some("server_error"), Some(503)), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_stays_whole_and_short_for_any_payload() {
    let receiver = Receiver::start(Reply::Status(500)).await;
    let function = Function::start(local(&receiver.url())).await;
    let nasty = "\u{0}\n\r\"\\\u{1b}[31m\u{2028}\u{202e}é".repeat(2000);
    let mut outcome: Value = serde_json::from_str(&sample("matched.json")).unwrap();
    for name in ["detection_id", "detection_name", "run_id", "trace_id", "search_id"] {
        outcome[name] = nasty.clone().into();
    }
    function.invoke(&outcome.to_string()).await;
    outcome["severity"] = json!({ &nasty: nasty });
    outcome["match_count"] = json!(null);
    function.invoke(&outcome.to_string()).await;
    // `results` checks that each is one JSON object of at most 8 KiB.
    assert_eq!(function.results().await.len(), 2);
    assert_eq!(function.log().await.len(), 3, "the start, and a line each");
}

/// A receiver that answers each request as `write` does; it counts connections and the answers that were written whole.
struct Writer {
    port: u16,
    connections: Arc<AtomicUsize>,
    whole: Arc<AtomicUsize>,
}

impl Writer {
    async fn start(
        write: fn(BufReader<TcpStream>) -> BoxFuture<'static, std::io::Result<BufReader<TcpStream>>>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (connections, whole) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (count, written) = (connections.clone(), whole.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let written = written.clone();
                tokio::spawn(async move {
                    let mut stream = BufReader::new(stream);
                    while let Some(_request) = read_request(&mut stream).await {
                        stream = write(stream).await.ok()?;
                        written.fetch_add(1, Ordering::SeqCst);
                    }
                    Some(())
                });
            }
        });
        Self { port, connections, whole }
    }

    async fn function(&self, timeout: u64) -> OwnRuntime {
        let mut variables = local(&format!("http://127.0.0.1:{}/", self.port));
        variables.extend(vars(&[("WEBHOOK_TIMEOUT", &timeout.to_string())]));
        OwnRuntime::start(variables).await
    }

    async fn counts(&self) -> (usize, usize) {
        // The receiver counts an answer after the function has it.
        tokio::time::sleep(Duration::from_millis(50)).await;
        (self.connections.load(Ordering::SeqCst), self.whole.load(Ordering::SeqCst))
    }
}

/// Delivers the example and returns how long the invocation took.
async fn delivered(function: &OwnRuntime) -> Duration {
    let begun = Instant::now();
    let told = function.invoke(&sample("matched.json"), Duration::from_secs(30)).await;
    assert_eq!(told.body["deliveries"][0]["result"], "delivered", "{told:?}");
    begun.elapsed()
}

const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_goes_on_writing_is_not_cut_off() {
    // As a streaming response does that works in its generator, after the head is out.
    let receiver = Writer::start(|mut stream| {
        Box::pin(async move {
            stream.write_all(CHUNKED).await?;
            for _ in 0..7 {
                tokio::time::sleep(Duration::from_millis(100)).await;
                stream.write_all(b"4\r\nwork\r\n").await?;
            }
            stream.write_all(b"0\r\n\r\n").await?;
            Ok(stream)
        })
    })
    .await;
    let function = receiver.function(30).await;
    for deliveries in 1..=2 {
        assert!(delivered(&function).await >= Duration::from_millis(700));
        assert_eq!(receiver.counts().await, (1, deliveries), "one connection serves both deliveries");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_success_is_read_for_a_second_or_64_kib() {
    let trickle = Writer::start(|mut stream| {
        Box::pin(async move {
            stream.write_all(CHUNKED).await?;
            loop {
                stream.write_all(b"1\r\nx\r\n").await?;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
    })
    .await;
    let function = trickle.function(30).await;
    let took = delivered(&function).await;
    assert!((Duration::from_secs(1)..Duration::from_millis(1800)).contains(&took), "{took:?}");
    let results = function.results().await;
    assert!(results[0]["total_ms"].as_u64().unwrap() < 500, "it is delivered by its head: {results:?}");

    let flood = Writer::start(|mut stream| {
        Box::pin(async move {
            stream.write_all(CHUNKED).await?;
            loop {
                stream.write_all(&[b"4000\r\n", &[b'x'; 0x4000][..], b"\r\n"].concat()).await?;
            }
        })
    })
    .await;
    let took = delivered(&flood.function(30).await).await;
    assert!(took < Duration::from_millis(700), "{took:?}");

    // The destination's timeout is the limit of both.
    let late = Writer::start(|mut stream| {
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(700)).await;
            stream.write_all(CHUNKED).await?;
            std::future::pending().await
        })
    })
    .await;
    let took = delivered(&late.function(1).await).await;
    assert!((Duration::from_millis(950)..Duration::from_millis(1400)).contains(&took), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_left_over_from_another_answer_lose_no_alert() {
    let replies = Arc::new(AtomicUsize::new(0));
    let receiver = Receiver::start_scripted(move |_| match replies.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::Status(200),
        _ => Reply::Raw("left over\r\n\r\n"),
    })
    .await;
    let function = OwnRuntime::start(local(&receiver.url())).await;
    function.invoke(&sample("sqs.json"), Duration::from_secs(30)).await;
    function.invoke(&sample("sqs.json"), Duration::from_secs(30)).await;
    let results = function.results().await;
    assert_eq!(results[0]["result"], "delivered");
    // On a connection of its own it would be a malformed response, which is dead-lettered.
    assert_readable(&results[1], "connection_lost");
    assert_eq!((row("connection_lost").next, row("malformed_response").next), (Next::Retry, Next::DeadLetter));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_closes_under_a_request_has_no_second_try() {
    let replies = Arc::new(AtomicUsize::new(0));
    let receiver = Receiver::start_scripted(move |_| match replies.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::Status(200),
        _ => Reply::Close,
    })
    .await;
    let function = OwnRuntime::start(local(&receiver.url())).await;
    for _ in 0..2 {
        function.invoke(&sample("sqs.json"), Duration::from_secs(30)).await;
    }
    let results = function.results().await;
    assert_eq!(results[0]["result"], "delivered");
    assert_readable(&results[1], "connection_lost");
    assert_eq!(receiver.requests().len(), 2);
}

/// A receiver that answers 413 when it has read the head of a request.
pub(crate) async fn early_413(lingers: bool) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut stream = BufReader::new(stream);
                let mut line = String::new();
                while line != "\r\n" {
                    line.clear();
                    stream.read_line(&mut line).await.ok()?;
                }
                let answer = b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
                stream.write_all(answer).await.ok()?;
                if lingers {
                    // RFC 9112, section 9.6: closing at once could cost the client the answer.
                    stream.shutdown().await.ok()?;
                    tokio::io::copy(&mut stream, &mut tokio::io::sink()).await.ok()?;
                }
                Some(())
            });
        }
    });
    port
}

pub(crate) fn large_example(bytes: usize) -> String {
    let mut outcome: Value = serde_json::from_str(&sample("matched.json")).unwrap();
    outcome["description"] = "x".repeat(bytes).into();
    outcome.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_early_413_is_heard_although_the_body_is_not_read() {
    let outcome = large_example(1_000_000);
    for lingers in [true, false] {
        let port = early_413(lingers).await;
        let function = OwnRuntime::start(local(&format!("http://127.0.0.1:{port}/"))).await;
        for _ in 0..20 {
            function.invoke(&outcome, Duration::from_secs(30)).await;
        }
        let results = function.results().await;
        assert_eq!(results.len(), 20);
        let heard = results.iter().filter(|line| line["status"] == 413).count();
        println!(
            "413 is heard {heard} times of 20 by a receiver that {}",
            if lingers { "lingers" } else { "closes at once" }
        );
        // One that closes at once resets the connection, and the system may throw its answer away.
        assert!(heard == 20 || !lingers, "{results:?}");
        for line in results {
            let code = if line["status"] == 413 { "refused_by_endpoint" } else { "connection_lost" };
            assert_eq!(line["code"], code, "{line}");
        }
    }
}
