//! Signatures, checked by the official libraries of two languages as a receiver would.

use std::process::Command;

use serde_json::json;

use super::support::receiver::{Receiver, Reply, Request};
use super::support::runtime::{Function, document};
use super::support::samples::sample;

const OLD: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const NEW: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX";
const FOREIGN: &str = "whsec_ISEhISEhISEhISEhISEhISEhISEhISEh";

fn verified_in_rust(request: &Request, secret: &str) -> bool {
    let mut headers = http::HeaderMap::new();
    for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        headers.insert(name, request.header(name).unwrap_or_default().parse().unwrap());
    }
    standardwebhooks::Webhook::new(secret).unwrap().verify(&request.body, &headers).is_ok()
}

fn verified_in_python(request: &Request, secret: &str) -> bool {
    let script = "import json, sys, standardwebhooks\n\
        headers, body, secret = json.load(sys.stdin)\n\
        standardwebhooks.Webhook(secret).verify(body, headers)";
    let headers: serde_json::Map<_, _> = ["webhook-id", "webhook-timestamp", "webhook-signature"]
        .iter()
        .map(|name| ((*name).to_owned(), request.header(name).unwrap_or_default().into()))
        .collect();
    let input = json!([headers, String::from_utf8_lossy(&request.body), secret]).to_string();
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("signature-{}.json", std::process::id()));
    std::fs::write(&path, input).unwrap();
    let python = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/python");
    let output = Command::new(python).args(["-c", script]).stdin(std::fs::File::open(path).unwrap()).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() || error.contains("WebhookVerificationError"), "{error}");
    output.status.success()
}

#[tokio::test(flavor = "multi_thread")]
async fn official_libraries_verify_deliveries_through_a_rotation() {
    let receiver = Receiver::start(Reply::Status(200)).await;
    for (active, accepted) in [(vec![OLD], vec![OLD]), (vec![OLD, NEW], vec![OLD, NEW]), (vec![NEW], vec![NEW])] {
        let config = json!({ "destinations": { "soc": { "url": receiver.url(), "signing_secrets": active } } });
        let function = Function::start(document(&config)).await;
        function.invoke(&sample("matched.json")).await;
        let request = receiver.requests().pop().unwrap();
        for secret in [OLD, NEW, FOREIGN] {
            let expected = accepted.contains(&secret);
            assert_eq!(verified_in_rust(&request, secret), expected, "{active:?} {secret}");
            assert_eq!(verified_in_python(&request, secret), expected, "{active:?} {secret}");
        }
        let mut changed = request.clone();
        changed.body.push(b' ');
        assert!(!verified_in_rust(&changed, accepted[0]) && !verified_in_python(&changed, accepted[0]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_signing_secrets_nothing_is_signed() {
    let receiver = Receiver::start(Reply::Status(200)).await;
    let function = Function::start(document(&json!({ "destinations": { "soc": { "url": receiver.url() } } }))).await;
    function.invoke(&sample("matched.json")).await;
    let request = receiver.requests().pop().unwrap();
    assert_eq!((request.header("webhook-signature"), request.header("webhook-timestamp")), (None, None));
}
