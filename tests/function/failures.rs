//! Every kind of failure, produced for real: its code, and a line that an administrator can act on.

use std::time::Duration;

use serde_json::{Value, json};

use super::support::receiver::{Receiver, Reply};
use super::support::runtime::{Function, document, local, vars};
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

/// A failure's line is enough by itself: who, what, why, what next, what to do.
fn assert_readable(line: &Value, code: &str) {
    assert_eq!(line["code"], code, "{line}");
    let field = |name: &str| line[name].as_str().unwrap_or_else(|| panic!("{name} is missing: {line}")).to_owned();
    let message = field("message");
    for part in
        [field("destination"), field("host"), field("cause"), field("remedy"), field("next"), field("detection_name")]
    {
        assert!(message.contains(&part), "{part:?} is not in {message:?}");
    }
    assert!(message.contains("detection 123 ") && line["detection_id"] == 123, "{line}");
    assert_eq!(field("run_id"), "run-456");
    assert_eq!((line["severity"].as_str(), line["outcome"].as_str()), (Some("HIGH"), Some("MATCHED")));
    assert!(line["request_id"].is_string() && line["total_ms"].is_u64(), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_status_class_has_its_code_and_level() {
    for (status, code, level) in [
        (300, "redirect", "ERROR"),
        (302, "redirect", "ERROR"),
        (307, "redirect", "ERROR"),
        (400, "rejected", "ERROR"),
        (401, "unauthorized", "ERROR"),
        (403, "unauthorized", "ERROR"),
        (404, "not_found", "ERROR"),
        (407, "unauthorized", "ERROR"),
        (408, "busy", "WARN"),
        (409, "busy", "WARN"),
        (410, "gone", "ERROR"),
        (413, "rejected", "ERROR"),
        (422, "rejected", "ERROR"),
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
async fn a_redirect_is_not_followed_and_its_target_is_named_by_host_alone() {
    let target = Receiver::start(Reply::Status(200)).await;
    let answer = format!(
        "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:{}/SECRET?q=SECRET\r\nContent-Length: 0\r\n\r\n",
        target.port
    );
    let line = failure_of(Reply::Raw(Box::leak(answer.into_boxed_str()))).await;
    assert_readable(&line, "redirect");
    assert!(line["cause"].as_str().unwrap().ends_with(&format!("(to http://127.0.0.1:{})", target.port)), "{line}");
    assert!(!line.to_string().contains("SECRET"));
    assert!(target.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirects_host_is_as_long_as_a_name_may_be() {
    let answer =
        format!("HTTP/1.1 302 Found\r\nLocation: https://{}/\r\nContent-Length: 0\r\n\r\n", "x".repeat(60_000));
    let line = failure_of(Reply::Raw(Box::leak(answer.into_boxed_str()))).await;
    assert_readable(&line, "redirect");
    assert!(line.to_string().len() < 3000, "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_ends_early_shows_no_beginning_of_a_secret() {
    let receiver = Receiver::start(Reply::Raw(
        "HTTP/1.1 503 X\r\nContent-Length: 500\r\n\r\nthe gateway does not like what it was sent, bad key: QUERYSE",
    ))
    .await;
    let line = failure_at(&format!("{}?key=QUERYSECRET", receiver.url()), 1).await;
    assert_readable(&line, "server_error");
    assert_eq!(line["excerpt"], "the gateway does not like what it was…");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_asks_to_wait_is_quoted() {
    let line = failure_of(Reply::Raw("HTTP/1.1 429 X\r\nRetry-After: 120\r\nContent-Length: 0\r\n\r\n")).await;
    assert!(line["cause"].as_str().unwrap().contains("it asks to wait 120 s"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ends_after_the_request_was_sent_is_marked_ambiguous() {
    for (reply, code) in [
        (Reply::Silence, "timeout"),
        (Reply::SlowHead, "timeout"),
        (Reply::Close, "connection_lost"),
        (Reply::Reset, "connection_lost"),
        (Reply::HalfHead, "connection_lost"),
        (Reply::Raw("SSH-2.0-OpenSSH_9.2\r\n"), "malformed_response"),
        (Reply::Raw("HTTP/1.1 abc\r\n\r\n"), "malformed_response"),
        (Reply::ManyHeaders, "malformed_response"),
    ] {
        let line = failure_of(reply.clone()).await;
        assert_readable(&line, code);
        assert_eq!((line["maybe_received"].as_bool(), line["level"].as_str()), (Some(true), Some("WARN")), "{reply:?}");
        assert_eq!(line.get("status"), None, "{reply:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_not_waited_for() {
    let line = failure_of(Reply::EndlessBody(500)).await;
    assert_readable(&line, "server_error");
    assert!(line["total_ms"].as_u64().unwrap() < 900, "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_before_the_request_names_the_step_and_is_not_ambiguous() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = closed.local_addr().unwrap().port();
    drop(closed);
    let refused = failure_at(&format!("http://127.0.0.1:{port}/"), 5).await;
    assert_readable(&refused, "connect_refused");

    let unknown = failure_at("https://no-such-host.invalid/SECRET", 20).await;
    assert_readable(&unknown, "dns");

    let full = full_backlog();
    let timeout = failure_at(&format!("http://127.0.0.1:{}/", full.0), 1).await;
    assert_readable(&timeout, "connect_timeout");
    for line in [refused, unknown, timeout] {
        assert_eq!((line.get("maybe_received"), line["level"].as_str()), (None, Some("WARN")), "{line}");
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
async fn the_proxy_variables_of_the_environment_are_not_obeyed() {
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
async fn no_line_holds_a_secret_of_the_destination_or_the_payload() {
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
async fn the_text_format_says_the_same_sentence_on_one_line() {
    let receiver = Receiver::start(Reply::Status(503)).await;
    let mut variables = local(&receiver.url());
    variables.extend(vars(&[("AWS_LAMBDA_LOG_FORMAT", "Text")]));
    let function = Function::start(variables).await;
    function.invoke(&sample("sqs.json")).await;
    let output = function.output().await;
    let line = output.lines().find(|line| line.contains("WARN")).unwrap();
    assert!(
        line.contains("HTTP 503") && line.contains("Check the endpoint's logs") && line.contains("code=server_error"),
        "{line}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_stays_whole_and_short_whatever_the_payload_holds() {
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
    let results = function.results().await;
    assert_eq!(results.len(), 2);
    assert_eq!(function.log().await.len(), 2);
}
