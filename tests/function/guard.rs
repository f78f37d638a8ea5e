//! Nothing internal is reachable, whatever a destination says.

use serde_json::{Map, Value, json};

use super::support::receiver::{Receiver, Reply};
use super::support::runtime::{Function, document, vars};
use super::support::samples::sample;

/// The results of one outcome for all of the document's destinations.
async fn results(urls: &[String]) -> Vec<Value> {
    let destinations: Map<_, _> =
        urls.iter().enumerate().map(|(n, url)| (format!("d{n}"), json!({ "url": url, "timeout": 5 }))).collect();
    let mut variables = document(&json!({ "destinations": destinations }));
    variables.retain(|(name, _)| name != "LOCAL_RECEIVERS");
    let function = Function::start(variables).await;
    function.invoke(&sample("sqs.json")).await;
    let results = function.results().await;
    assert_eq!(results.len(), urls.len());
    results
}

#[tokio::test(flavor = "multi_thread")]
async fn forbidden_hosts_are_blocked_in_every_spelling() {
    let canary = Receiver::start(Reply::Status(200)).await;
    let port = canary.port;
    let mut urls = Vec::new();
    for host in [
        "127.0.0.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "127.1",
        "127.0.0.1.",
        "127.0.0.2",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::127.0.0.1]",
        "0.0.0.0",
        "[::]",
        "localhost",
        "LOCALHOST",
        "%31%32%37.0.0.1",
        "１２７.0.0.1",
        "169.254.169.254",
        "[fd00:ec2::254]",
        "10.0.0.1",
        "192.168.0.1",
        "[fe80::1]",
    ] {
        urls.extend(["http", "https"].map(|scheme| format!("{scheme}://{host}:{port}/")));
    }
    for line in results(&urls).await {
        let code = line["code"].as_str().unwrap();
        assert!(code == "address_forbidden" || code == "address_private", "{line}");
        assert_eq!((&line["level"], line.get("attempt")), (&json!("ERROR"), None), "{line}");
    }
    assert!(canary.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_is_blocked_outside_allowed_networks() {
    let line = results(&["http://8.8.8.8/".to_owned()]).await.remove(0);
    assert_eq!(line["code"], "plain_http", "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn local_receivers_open_loopback_by_name_and_address() {
    let receiver = Receiver::start(Reply::Status(200)).await;
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"] {
        let url = format!("http://{host}:{}/", receiver.port);
        let function = Function::start(vars(&[("WEBHOOK_URL", &url), ("LOCAL_RECEIVERS", "true")])).await;
        assert_eq!(function.invoke(&sample("matched.json")).await["deliveries"][0]["result"], "delivered", "{host}");
    }
}
