//! Every file in `events/` runs through the handler.

use super::support::receiver::{Receiver, Reply};
use super::support::runtime::{Function, local};
use super::support::samples::sample;

/// What each sample leads to: requests (a probe's test message is one) and records that are rejected.
const EXPECTED: [(&str, usize, usize); 14] = [
    ("matched.json", 1, 0),
    ("not-matched.json", 1, 0),
    ("error.json", 1, 0),
    ("sqs.json", 1, 0),
    ("sns.json", 1, 0),
    ("eventbridge.json", 1, 0),
    ("sqs-sns.json", 1, 0),
    ("sqs-eventbridge.json", 1, 0),
    ("sqs-batch.json", 3, 0),
    ("sqs-poison.json", 1, 2),
    ("probe.json", 1, 0),
    ("check.json", 0, 0),
    ("dead-letters.json", 0, 0),
    ("redrive.json", 0, 0),
];

/// Variables for `sam local invoke`, not an event.
const NO_EVENT: &str = "local-env.json";

#[tokio::test(flavor = "multi_thread")]
async fn every_sample_event_leads_where_it_should() {
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/events")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(name == NO_EVENT || EXPECTED.iter().any(|(known, ..)| *known == name), "{name} is not tested");
    }
    for (name, delivered, rejected) in EXPECTED {
        let receiver = Receiver::start(Reply::Status(200)).await;
        let function = Function::start(local(&receiver.url())).await;
        let answer = function.invoke(&sample(name)).await;
        assert_eq!(receiver.requests().len(), delivered, "{name}: {answer}");
        let results = function.results().await;
        let count = |result: &str| results.iter().filter(|line| line["result"] == result).count();
        // What is asked by hand is answered, and is no delivery.
        let is_test = ["probe.json", "check.json"].contains(&name);
        let needs_queues = ["dead-letters.json", "redrive.json"].contains(&name);
        let delivered = if is_test { 0 } else { delivered };
        assert_eq!((count("delivered"), count("rejected")), (delivered, rejected), "{name}");
        assert_eq!((results.len(), answer["ok"] == true), (delivered + rejected, is_test), "{name}: {answer}");
        let error = answer["error"].as_str().unwrap_or_default();
        assert_eq!(error.contains("set RETRY_QUEUE_URL and DEAD_LETTER_QUEUE_URL"), needs_queues, "{name}: {answer}");
    }
}
