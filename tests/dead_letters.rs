//! The operator's tool, against moto's SQS.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends at what it does not expect")]

#[path = "function/aws.rs"]
#[allow(dead_code, reason = "shared with the function's tests")]
mod aws;
#[path = "function/receiver.rs"]
#[allow(dead_code, reason = "shared with the function's tests")]
mod receiver;
#[path = "function/runtime.rs"]
#[allow(dead_code, reason = "shared with the function's tests")]
mod runtime;

use std::process::Output;

use serde_json::{Value, json};
use tokio::process::Command;

use aws::Aws;

struct Bench {
    aws: Aws,
    retry: String,
    dead_letter: String,
}

impl Bench {
    async fn start(letters: &[(&str, Option<&str>, &str)]) -> Self {
        let aws = Aws::start().await;
        let (retry, dead_letter) = (aws.create_queue("retries").await, aws.create_queue("dead-letters").await);
        let text = |value: &str| json!({ "DataType": "String", "StringValue": value });
        for (body, destination, code) in letters {
            let mut attributes = json!({ "outcome-code": text(code), "outcome-attempt": text("12") });
            if let Some(destination) = destination {
                attributes["outcome-destination"] = text(destination);
            }
            aws.send(&dead_letter, body, attributes).await;
        }
        Self { aws, retry, dead_letter }
    }

    async fn run(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_dead-letters"))
            .args(arguments)
            .env_clear()
            .env("DEAD_LETTER_QUEUE_URL", &self.dead_letter)
            .env("RETRY_QUEUE_URL", &self.retry)
            .env("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{}", self.aws.port))
            .env("AWS_REGION", "eu-west-1")
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .stdin(std::process::Stdio::null())
            .output()
            .await
            .unwrap()
    }

    async fn succeed(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments).await;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        // Columns are for eyes; words are compared.
        String::from_utf8_lossy(&output.stdout)
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ") + "\n")
            .collect()
    }

    async fn retried(&self) -> Vec<(Value, Value)> {
        let records = self.aws.receive(&self.retry).await;
        let mut seen: Vec<_> =
            records.into_iter().map(|record| (record["body"].clone(), record["messageAttributes"].clone())).collect();
        seen.sort_by_key(|(body, _)| body.to_string());
        seen
    }
}

const LETTERS: &[(&str, Option<&str>, &str)] = &[
    ("{\"n\":1}", Some("soc"), "tls_expired"),
    ("{\"n\":2}", Some("soc"), "gone"),
    ("{\"n\": 3 }", Some("soc"), "tls_expired"),
    ("{\"n\":4}", Some("soar"), "tls_expired"),
    ("{\"n\":5}", None, "unrouted"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_list_groups_by_destination_and_code_and_changes_nothing() {
    let bench = Bench::start(LETTERS).await;
    let text = bench.succeed(&["list"]).await;
    for line in ["2 soc tls_expired", "1 soc gone", "1 soar tls_expired", "1 - unrouted", "5 in all"] {
        assert!(text.contains(line), "{line}: {text}");
    }
    assert_eq!(bench.aws.counts(&bench.dead_letter).await, [5, 0, 0]);
    let text = bench.succeed(&["list", "--destination", "soc", "--code", "gone"]).await;
    assert!(text.contains("1 in all"), "{text}");
    assert!(bench.succeed(&["list", "--older-than", "1h"]).await.contains("0 in all"));
    assert_eq!(bench.aws.counts(&bench.dead_letter).await, [5, 0, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redrive_moves_what_is_selected_with_its_destination_and_nothing_else() {
    let bench = Bench::start(LETTERS).await;
    let text = bench.succeed(&["redrive", "--destination", "soc", "--code", "tls_expired", "--yes"]).await;
    assert!(text.contains("2 are on their way"), "{text}");
    let destination = |id: &str| json!({ "outcome-destination": { "dataType": "String", "stringValue": id } });
    let expected = [(json!("{\"n\": 3 }"), destination("soc")), (json!("{\"n\":1}"), destination("soc"))];
    assert_eq!(bench.retried().await, expected, "byte for byte, and without what was noted about its last life");
    assert_eq!(bench.aws.counts(&bench.dead_letter).await, [3, 0, 0]);

    bench.succeed(&["redrive", "--destination", "soar", "--to", "soc2", "--yes"]).await;
    assert_eq!(bench.retried().await, [(json!("{\"n\":4}"), destination("soc2"))]);
    bench.succeed(&["redrive", "--code", "unrouted", "--yes"]).await;
    assert_eq!(bench.retried().await, [(json!("{\"n\":5}"), json!({}))]);
    assert_eq!(bench.aws.counts(&bench.dead_letter).await, [1, 0, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_yes_or_without_the_retry_queue_nothing_is_lost() {
    let bench = Bench::start(LETTERS).await;
    assert!(bench.succeed(&["redrive"]).await.contains("nothing was changed"));
    let nowhere = bench.retry.replace("retries", "nowhere");
    let output = bench.run(&["redrive", "--yes", "--retry-queue-url", &nowhere]).await;
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && error.contains("0 of 5 are on their way") && error.contains("cannot be sent"),
        "{error}"
    );
    assert_eq!(bench.aws.counts(&bench.dead_letter).await, [5, 0, 0]);
    let output = bench.run(&["redrive", "--yes", "--to", "NOT AN ID"]).await;
    assert!(String::from_utf8_lossy(&output.stderr).contains("an id of 1 to 64 characters"));
}
