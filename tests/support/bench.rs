//! The function with its queues, in moto's SQS.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::aws::{Aws, Relay, Trouble};
use super::runtime::{OwnRuntime, Told, document, vars};

/// A function with its queues.
pub(crate) struct Bench {
    pub(crate) aws: Aws,
    pub(crate) outcome: String,
    pub(crate) retry: String,
    pub(crate) dead_letter: String,
    /// The destinations document.
    pub(crate) file: PathBuf,
    pub(crate) runtime: OwnRuntime,
}

pub(crate) const LONG: Duration = Duration::from_secs(40);

impl Bench {
    pub(crate) async fn start(config: &Value) -> Self {
        Self::start_with(config, &[], None).await
    }

    pub(crate) async fn start_with(config: &Value, more: &[(&str, &str)], trouble: Option<Trouble>) -> Self {
        let aws = Aws::start().await;
        let outcome = aws.create_queue("outcomes").await;
        let (retry, dead_letter) = (aws.create_queue("retries").await, aws.create_queue("dead-letters").await);
        let port = match trouble {
            Some(trouble) => {
                let relay = Relay::start(aws.port, trouble).await;
                relay.in_trouble(true);
                relay.port
            }
            None => aws.port,
        };
        let mut all = aws.variables_at(port, "");
        all[0].1 = document(config).remove(0).1;
        let file = all[0].1.trim_start_matches("file:").into();
        all.extend(vars(&[("RETRY_QUEUE_URL", &retry), ("DEAD_LETTER_QUEUE_URL", &dead_letter)]));
        all.extend(vars(more));
        let runtime = OwnRuntime::start(all).await;
        Self { aws, outcome, retry, dead_letter, file, runtime }
    }

    /// Hands over records as an event source mapping does.
    pub(crate) async fn invoke(&self, records: &[Value]) -> Told {
        self.runtime.invoke(&json!({ "Records": records }).to_string(), LONG).await
    }

    /// Sends an outcome through the outcome queue and returns the ids that failed.
    pub(crate) async fn deliver(&self, outcome: &str) -> usize {
        self.aws.send(&self.outcome, outcome, json!({})).await;
        let records = self.aws.receive(&self.outcome).await;
        failed(&self.invoke(&records).await)
    }

    /// What waits in the retry queue, although it is delayed there: moto has no hurry, the schedule is tested by itself.
    pub(crate) async fn next_retry(&self) -> Value {
        for _ in 0..300 {
            if let Some(record) = self.aws.receive(&self.retry).await.pop() {
                return record;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("nothing comes out of the retry queue");
    }

    pub(crate) async fn dead_letters(&self) -> Vec<Value> {
        self.aws.receive(&self.dead_letter).await
    }

    pub(crate) async fn results(&self) -> Vec<Value> {
        self.runtime.results().await
    }
}

pub(crate) fn failed(told: &Told) -> usize {
    assert_eq!(told.kind, "response", "{told:?}");
    told.body["batchItemFailures"].as_array().unwrap().len()
}

pub(crate) fn attribute(record: &Value, name: &str) -> Option<String> {
    record["messageAttributes"][name]["stringValue"].as_str().map(ToOwned::to_owned)
}

pub(crate) fn one(url: &str) -> Value {
    json!({ "destinations": { "soc": { "url": url, "timeout": 2 } } })
}

/// The attributes of a delivery that waits for its destination, in the form of SQS's API.
pub(crate) fn waits_for(id: &str) -> Value {
    json!({ "outcome-destination": { "DataType": "String", "StringValue": id } })
}

/// As if it had been written to its queue some time ago.
pub(crate) fn aged(mut record: Value, age: Duration) -> Value {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    record["attributes"]["SentTimestamp"] = now.saturating_sub(age).as_millis().to_string().into();
    record
}
