//! What an administrator asks before anything fails: `{"probe": "ID"}` and `{"check": true}`.

use std::time::{Duration, SystemTime};

use rcgen::date_time_ymd;
use serde_json::json;

use super::support::authority::{Authority, Options, serve};
use super::support::aws::{Aws, items};
use super::support::bench::LONG;
use super::support::receiver::{Receiver, Reply};
use super::support::runtime::{Function, OwnRuntime, document, free_port, vars};
use super::support::samples::sample;

fn probe(id: &str) -> String {
    json!({ "probe": id }).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_sends_the_test_message_and_answers_with_a_report() {
    let authority = Authority::new("probe");
    let good = serve(authority.server(|_| {}, &Options::usual())).await;
    let expired = serve(authority.server(|p| p.not_after = date_time_ymd(2020, 2, 1), &Options::usual())).await;
    let up = Receiver::start(Reply::Status(204)).await;
    let down = Receiver::start(Reply::Raw("HTTP/1.1 503 X\r\nContent-Length: 9\r\n\r\nout of it")).await;
    let echo = Receiver::start(Reply::Raw("HTTP/1.1 400 X\r\nContent-Length: 15\r\n\r\nout of SECRET-1")).await;
    let silent = Receiver::start(Reply::Silence).await;
    let config = json!({ "destinations": {
        "good": { "url": format!("https://localhost:{good}/SECRET") },
        "expired": { "url": format!("https://localhost:{expired}/SECRET") },
        "up": { "url": up.url(), "paused": true, "outcomes": ["ERROR"], "headers": { "X-Key": "SECRET" } },
        "down": { "url": format!("http://127.0.0.1:{}/SECRET-1", down.port) },
        "echo": { "url": format!("http://127.0.0.1:{}/SECRET-1", echo.port) },
        "silent": { "url": silent.url(), "timeout": 1 },
        "closed": { "url": format!("http://127.0.0.1:{}/SECRET", free_port()) },
        "nowhere": { "url": "https://no-such-host.invalid/SECRET" },
        "inside": { "url": "https://169.254.169.254/SECRET" },
        "private": { "url": "https://10.1.2.3/SECRET" },
        "off": { "url": up.url(), "active": false },
        "broken": { "url": "SECRET" },
        "lost": { "url": "https://h.example/{{secret:none}}" },
    } });
    let mut variables = document(&config);
    variables.extend(vars(&[("EXTRA_CA_BUNDLE", authority.bundle.to_str().unwrap())]));
    let runtime = OwnRuntime::start(variables).await;
    let all_parts = ["dns_ms", "connect_ms", "first_byte_ms", "total_ms"];
    let connected = &all_parts[1..];
    let nothing: &[&str] = &[];
    let (local, no_address): (&[&str], &[&str]) = (&["127.0.0.1"], &[]);
    for (id, code, timings, addresses, says) in [
        ("good", None, &all_parts[..], local, "HTTP 200"),
        ("expired", Some("tls_expired"), &["dns_ms", "total_ms"], local, "01 Feb 2020"),
        ("up", None, connected, local, "HTTP 204"),
        ("down", Some("server_error"), connected, local, "out of it"),
        ("echo", Some("refused_by_endpoint"), connected, local, "HTTP 400"),
        ("silent", Some("timeout"), &["connect_ms", "total_ms"], local, "1 s"),
        ("closed", Some("connect_refused"), &["total_ms"], local, "127.0.0.1"),
        ("nowhere", Some("dns"), &["total_ms"], no_address, "no-such-host.invalid"),
        ("inside", Some("address_forbidden"), &["total_ms"], &["169.254.169.254"], "169.254.169.254"),
        ("private", Some("address_private"), &["total_ms"], &["10.1.2.3"], "ALLOW_PRIVATE_CIDRS"),
        ("off", Some("destination_inactive"), nothing, no_address, "`active`"),
        ("broken", Some("destination_invalid"), nothing, no_address, "destinations.broken.url"),
        ("lost", Some("secret_unresolved"), nothing, no_address, "the secret none"),
        ("none", Some("destination_unknown"), nothing, no_address, "Operator: "),
    ] {
        let told = runtime.invoke(&probe(id), LONG).await;
        let answer = &told.body;
        assert_eq!(told.kind, "response", "{id}: {answer}");
        assert_eq!(
            (&answer["probe"], &answer["ok"], answer["code"].as_str()),
            (&json!(id), &json!(code.is_none()), code)
        );
        assert_eq!(
            (answer["owner"].is_string(), answer.get("result")),
            (code.is_some(), None),
            "no delivery: {answer}"
        );
        let is_known = !["off", "broken", "none"].contains(&id);
        assert_eq!(answer["endpoint"].is_string(), is_known, "{answer}");
        for name in timings {
            assert!(answer[name].is_u64(), "{name}: {answer}");
        }
        assert!(timings.contains(&"first_byte_ms") || answer.get("first_byte_ms").is_none(), "{answer}");
        let seen: Vec<_> =
            answer["addresses"].as_array().into_iter().flatten().map(|ip| ip.as_str().unwrap()).collect();
        assert!(seen.iter().filter(|ip| **ip != "::1").eq(addresses), "{answer}");
        let message = answer["message"].as_str().unwrap();
        assert!(message.starts_with(&format!("probe of {id}: ")) && message.contains(says), "{message}");
        // The line says the same.
        let line = runtime.invocation_lines().await.pop().unwrap();
        for (name, value) in
            answer.as_object().unwrap().iter().filter(|(name, _)| !["probe", "ok"].contains(&name.as_str()))
        {
            assert_eq!(line[name], *value, "{name}: {line}");
        }
    }
    let request = up.requests().remove(0);
    assert_eq!(request.body, br#"{"test":"message","detection_name":"Test Detection"}"#);
    assert_eq!(request.header("x-key"), Some("SECRET"));
    assert!(request.header("webhook-id").unwrap().starts_with("probe-"));
    let lines = runtime.invocation_lines().await;
    let probes = lines.iter().filter(|line| line["message"].as_str().unwrap().starts_with("probe of "));
    assert_eq!((probes.count(), runtime.results().await.len()), (14, 0), "one line each, and no delivery");
    assert!(!runtime.output().await.contains("SECRET"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_tells_the_day_on_which_the_certificate_expires() {
    let authority = Authority::new("expiry");
    let mut variables = vars(&[("EXTRA_CA_BUNDLE", authority.bundle.to_str().unwrap())]);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let day = |days: u64| now + Duration::from_secs(days * 24 * 60 * 60);
    let mut destinations = serde_json::Map::new();
    for days in [10, 20, 22, 90] {
        let server = authority.server(|p| p.not_after = date_time_ymd(1970, 1, 1) + day(days), &Options::usual());
        let url = format!("https://localhost:{}/", serve(server).await);
        destinations.insert(format!("days-{days}"), json!({ "url": url }));
    }
    variables.extend(document(&json!({ "destinations": destinations })));
    let runtime = OwnRuntime::start(variables).await;
    for (days, left, level) in
        [(10, Some("10 days"), "WARN"), (20, Some("20 days"), "WARN"), (22, None, "INFO"), (90, None, "INFO")]
    {
        let answer = runtime.invoke(&probe(&format!("days-{days}")), LONG).await.body;
        let message = answer["message"].as_str().unwrap();
        let expires = jiff::Timestamp::try_from(SystemTime::UNIX_EPOCH + day(days)).unwrap().strftime("%d %b %Y");
        assert!(answer["ok"] == true && message.contains(&expires.to_string()), "{days}: {answer}");
        assert_eq!(message.contains("renew"), left.is_some(), "{message}");
        assert!(message.contains(left.unwrap_or_default()), "{message}");
        assert_eq!(runtime.invocation_lines().await.pop().unwrap()["level"], level, "{message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_uses_no_open_connection_and_no_known_entry() {
    let authority = Authority::new("probe-anew");
    let port = serve(authority.server(|_| {}, &Options::usual())).await;
    let url = format!("https://localhost:{port}/");
    let mut variables = document(&json!({ "destinations": { "default": { "url": url } } }));
    let path = variables[0].1.strip_prefix("file:").unwrap().to_owned();
    variables.extend(vars(&[("EXTRA_CA_BUNDLE", authority.bundle.to_str().unwrap())]));
    let function = Function::start(variables).await;
    function.invoke(&sample("matched.json")).await;
    // A delivery would go on with what is known for the rest of its 30 seconds.
    std::fs::write(&path, json!({ "destinations": { "soc": { "url": url } } }).to_string()).unwrap();
    for _ in 0..2 {
        let answer = function.invoke(&probe("soc")).await;
        assert!(answer["ok"] == true && answer["connect_ms"].is_u64(), "{answer}");
        assert!(answer["message"].as_str().unwrap().contains("certificate is valid until"), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_and_a_probe_read_what_is_configured_now() {
    let receiver = Receiver::start(Reply::Status(200)).await;
    let good = json!({ "destinations": { "soc": { "url": receiver.url() } } }).to_string();
    let variables = document(&json!({ "destinations": { "soc": { "url": "x" } } }));
    let path = variables[0].1.strip_prefix("file:").unwrap().to_owned();
    let function = Function::start(variables).await;
    for (text, ok) in [(None, false), (Some(&*good), true), (Some("{"), false), (Some(&*good), true)] {
        if let Some(text) = text {
            std::fs::write(&path, text).unwrap();
        }
        for question in [r#"{"check": true}"#, r#"{"probe": "soc"}"#] {
            let answer = function.invoke(question).await;
            assert_eq!(answer["ok"], ok, "{text:?}: {answer}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_names_what_is_wrong_in_file_secret_and_table() {
    let config = json!({
        "destinations": {
            "good": { "url": "https://soc.example.com/SECRET" },
            "unused": { "url": "https://soc.example.com/SECRET" },
            "broken": { "url": "https://soc.example.com/SECRET", "timeout": 0, "hearders": "SECRET" },
            "lost": { "url": "https://soc.example.com/{{secret:none}}" },
            "garbled": { "url": "https://soc.example.com/", "headers": { "X-Key": "{{secret:garbled}}" } },
            "inside": { "url": "http://169.254.169.254/SECRET" }
        },
        "routes": { "1": ["good", "lost", "garbled", "inside"], "2": ["gone", "BAD ID"], "3": [], "4": ["broken"] }
    });
    let aws = Aws::start().await;
    aws.create_secret("garbled", "a\nb").await;
    aws.create_secret("destinations", &config.to_string()).await;
    aws.create_table("destinations").await;
    aws.put_items("destinations", &items(&config)).await;
    aws.put_items("destinations", &[json!({ "pk": "routes#5" })]).await;
    let file = document(&config).remove(0).1;
    for place in [&file, "secretsmanager:destinations", "dynamodb:destinations"] {
        let function = Function::start(aws.variables(place)).await;
        let answer = function.invoke(&sample("check.json")).await;
        let is_table = place.starts_with("dynamodb");
        let mut paths: Vec<_> =
            answer["problems"].as_array().unwrap().iter().map(|problem| problem["path"].as_str().unwrap()).collect();
        paths.sort_unstable();
        let mut expected = vec![
            "destinations.broken.hearders",
            "destinations.broken.timeout",
            "destinations.garbled",
            "destinations.inside.url",
            "destinations.lost",
            "routes.*",
            "routes.2",
            "routes.2[1]",
            "routes.3",
        ];
        if is_table {
            expected = vec![
                "destination#broken.hearders",
                "destination#broken.timeout",
                "destination#garbled",
                "destination#inside.url",
                "destination#lost",
                "route#*",
                "route#2.destinations",
                "route#2.destinations[1]",
                "route#3.destinations",
                "routes#5",
            ];
        }
        assert_eq!(paths, expected, "{answer}");
        assert!(answer["problems"].to_string().contains("garbled.headers.x-key`: expected"), "{answer}");
        assert_eq!((&answer["ok"], &answer["destinations"], &answer["routes"]), (&json!(false), &json!(6), &json!(4)));
        assert_eq!(
            (&answer["problems_total"], &answer["destinations_without_route"]),
            (&json!(expected.len()), &json!(["unused"]))
        );
        let output = function.output().await + &answer.to_string();
        assert!(!output.contains("SECRET"), "{output}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_tells_good_wrong_and_unreadable_apart() {
    let good = json!({ "destinations": { "soc": { "url": "https://soc.example.com/" } }, "routes": { "*": ["soc"] } });
    let function = Function::start(document(&good)).await;
    let answer = function.invoke(&sample("check.json")).await;
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        answer,
        json!({
            "check": true, "ok": true, "version": version, "destinations": 1, "routes": 1, "problems_total": 0,
            "problems": []
        })
    );
    let function = Function::start(vars(&[("DESTINATIONS", "file:/no/such/file.json")])).await;
    let answer = function.invoke(&sample("check.json")).await;
    assert_eq!((&answer["ok"], &answer["code"]), (&json!(false), &json!("lookup_failed")));
    assert!(answer["cause"].as_str().unwrap().contains("/no/such/file.json"), "{answer}");
    assert!(answer["remedy"].is_string() && answer["version"] == version, "{answer}");

    // A thousand mistakes do not make an answer that nobody can read.
    let many: serde_json::Map<_, _> = (0..1000).map(|n| (format!("d{n}"), json!({ "url": "x" }))).collect();
    let function = Function::start(document(&json!({ "destinations": many }))).await;
    let answer = function.invoke(&sample("check.json")).await;
    assert_eq!((answer["problems"].as_array().unwrap().len(), &answer["problems_total"]), (100, &json!(1000)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_names_a_timeout_that_no_invocation_can_give() {
    let url = "https://soc.example.com/";
    let config = json!({ "destinations": {
        "fits": { "url": url, "timeout": 15 }, "slow": { "url": url, "timeout": 16 }, "usual": { "url": url }
    } });
    let runtime = OwnRuntime::start(document(&config)).await;
    // Five seconds are kept back for queues and the answer.
    let answer = runtime.invoke(&sample("check.json"), Duration::from_secs(20)).await.body;
    let expected = "at most 15 s, or a longer time for the function (LongestTimeout)";
    let problem = |id: &str| json!({ "path": format!("destinations.{id}.timeout"), "expected": expected });
    assert_eq!((&answer["ok"], &answer["problems"]), (&json!(false), &json!([problem("slow"), problem("usual")])));
    let answer = runtime.invoke(&sample("check.json"), Duration::from_secs(330)).await.body;
    assert_eq!(answer["ok"], true, "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_destinations_in_a_table_are_checked() {
    let aws = Aws::start().await;
    aws.create_table("destinations").await;
    let mut many: Vec<_> = (0..2000).map(|n| json!({ "pk": format!("destination#d{n}"), "url": format!("https://h{n}.example/{}", "x".repeat(1000)) })).collect();
    many.push(json!({ "pk": "route#*", "destinations": ["d1"] }));
    aws.put_items("destinations", &many).await;
    let function = Function::start(aws.variables("dynamodb:destinations")).await;
    let answer = function.invoke(&sample("check.json")).await;
    assert_eq!((&answer["ok"], &answer["destinations"]), (&json!(true), &json!(2000)), "{answer}");
    assert_eq!(answer["destinations_without_route"].as_array().unwrap().len(), 100);
}
