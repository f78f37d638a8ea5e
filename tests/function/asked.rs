//! What an administrator asks before anything fails: `{"probe": "ID"}` and `{"check": true}`.

use std::time::Duration;

use rcgen::date_time_ymd;
use serde_json::{Value, json};

use super::authority::{Authority, Options, serve};
use super::aws::Aws;
use super::receiver::{Receiver, Reply};
use super::registry::items;
use super::runtime::{Function, OwnRuntime, document, free_port, vars};
use super::samples::sample;

fn probe(id: &str) -> String {
    json!({ "probe": id }).to_string()
}

/// Steps as `name`, or `name!` for the one that failed.
fn walked(answer: &Value) -> Vec<String> {
    let step =
        |step: &Value| format!("{}{}", step["step"].as_str().unwrap(), if step["ok"] == true { "" } else { "!" });
    answer["steps"].as_array().unwrap_or_else(|| panic!("{answer}")).iter().map(step).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_sends_the_documented_message_and_says_how_far_it_came() {
    let authority = Authority::new("probe");
    let good = serve(authority.server(|_| {}, &Options::usual())).await;
    let expired = serve(authority.server(|p| p.not_after = date_time_ymd(2020, 2, 1), &Options::usual())).await;
    let up = Receiver::start(Reply::Status(204)).await;
    let down = Receiver::start(Reply::Raw("HTTP/1.1 503 X\r\nContent-Length: 15\r\n\r\nout of SECRET-1")).await;
    let silent = Receiver::start(Reply::Silence).await;
    let config = json!({ "destinations": {
        "good": { "url": format!("https://localhost:{good}/SECRET") },
        "expired": { "url": format!("https://localhost:{expired}/SECRET") },
        "up": { "url": up.url(), "paused": true, "outcomes": ["ERROR"], "headers": { "X-Key": "SECRET" } },
        "down": { "url": format!("http://127.0.0.1:{}/SECRET-1", down.port) },
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
    for (id, steps, code) in [
        ("good", "lookup dns guard connect tls http", None),
        ("expired", "lookup dns guard connect tls!", Some("tls_expired")),
        ("up", "lookup guard connect http", None),
        ("down", "lookup guard connect http!", Some("server_error")),
        ("silent", "lookup guard connect http!", Some("timeout")),
        ("closed", "lookup guard connect!", Some("connect_refused")),
        ("nowhere", "lookup dns!", Some("dns")),
        ("inside", "lookup guard!", Some("address_forbidden")),
        ("private", "lookup guard!", Some("address_private")),
        ("off", "lookup!", Some("destination_inactive")),
        ("broken", "lookup!", Some("destination_invalid")),
        ("lost", "lookup!", Some("secret_unresolved")),
        ("none", "lookup!", Some("destination_unknown")),
    ] {
        let told = runtime.invoke(&probe(id), Duration::from_secs(40)).await;
        let answer = &told.body;
        assert_eq!((told.kind, walked(answer).join(" ")), ("response", steps.to_owned()), "{id}: {answer}");
        assert_eq!(answer["ok"], code.is_none(), "{answer}");
        assert_eq!(answer["code"].as_str(), code, "{answer}");
        assert_eq!((answer["cause"].is_string(), answer["remedy"].is_string()), (code.is_some(), code.is_some()));
        let step = |name: &str| {
            let all = answer["steps"].as_array().unwrap();
            all.iter().find(|step| step["step"] == name).cloned().unwrap_or_default()
        };
        for name in steps.split(' ').filter(|name| ["dns", "connect", "tls", "http"].contains(name)) {
            assert!(step(name)["ms"].is_u64(), "{name}: {answer}");
        }
        match id {
            "good" => {
                assert_eq!(answer["endpoint"], format!("https://localhost:{good}"));
                let addresses = step("dns")["addresses"].as_array().unwrap().clone();
                assert!(addresses.contains(&json!("127.0.0.1")), "{answer}");
            }
            "down" => assert_eq!((&answer["status"], &answer["excerpt"]), (&json!(503), &json!("out of [removed]"))),
            "inside" => assert_eq!(step("guard")["rejected"], json!(["169.254.169.254: never allowed"])),
            _ => {}
        }
    }
    let request = up.requests().remove(0);
    assert_eq!(request.body, br#"{"test":"message","detection_name":"Test Detection"}"#);
    assert_eq!(request.header("x-key"), Some("SECRET"));
    assert!(request.header("webhook-id").unwrap().starts_with("probe-"));

    let log = runtime.log().await;
    assert_eq!(log.iter().filter(|line| line["probe"].is_string()).count(), 13);
    assert!(log.iter().all(|line| line.get("result").is_none() && line.get("_aws").is_none()), "no delivery");
    assert!(!runtime.output().await.contains("SECRET"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_takes_every_step_although_a_connection_is_open_and_reads_what_is_configured_now() {
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
    let answer = function.invoke(&probe("soc")).await;
    assert_eq!(walked(&answer).join(" "), "lookup dns guard connect tls http");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_and_a_probe_say_what_is_so_now_and_not_what_was_so_a_moment_ago() {
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
async fn a_check_names_everything_that_is_wrong_wherever_it_is_kept() {
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
            "destinations.garbled.headers.x-key",
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
                "destination#garbled.headers.x-key",
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
async fn a_check_of_what_is_well_or_cannot_be_read_says_so() {
    let good = json!({ "destinations": { "soc": { "url": "https://soc.example.com/" } }, "routes": { "*": ["soc"] } });
    let function = Function::start(document(&good)).await;
    let answer = function.invoke(&sample("check.json")).await;
    assert_eq!(
        answer,
        json!({ "check": true, "ok": true, "destinations": 1, "routes": 1, "problems_total": 0, "problems": [] })
    );
    let function = Function::start(vars(&[("DESTINATIONS", "file:/no/such/file.json")])).await;
    let answer = function.invoke(&sample("check.json")).await;
    assert_eq!((&answer["ok"], &answer["code"]), (&json!(false), &json!("lookup_failed")));
    assert!(answer["cause"].as_str().unwrap().contains("/no/such/file.json"), "{answer}");

    // A thousand mistakes do not make an answer that nobody can read.
    let many: serde_json::Map<_, _> = (0..1000).map(|n| (format!("d{n}"), json!({ "url": "x" }))).collect();
    let function = Function::start(document(&json!({ "destinations": many }))).await;
    let answer = function.invoke(&sample("check.json")).await;
    assert_eq!((answer["problems"].as_array().unwrap().len(), &answer["problems_total"]), (100, &json!(1000)));
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_destinations_in_a_table_are_checked() {
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
