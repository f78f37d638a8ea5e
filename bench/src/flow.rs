//! Throughput beside a dead endpoint: outcomes a second through ten environments, one destination of ten never answers.
//!
//! Everything waits in real time. Each way (the function as it was before the circuit breaker, and as it is) and each
//! answer time of the healthy receivers has environments, receivers and queues of its own; all run at once.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use tokio::task::{JoinHandle, spawn_local};

use crate::figures::Figures;
use crate::function::{Function, Program};
use crate::outage::SQS_DELAY;
use crate::servers::{self, Counts, OK, Reply};
use crate::setup::{Setup, outcome, record};

const ENVIRONMENTS: usize = 10;

/// Of them the last is dead. A batch has one outcome for each.
const DESTINATIONS: usize = 10;

/// The destinations' `timeout`, in seconds.
const TIMEOUT: u32 = 30;

/// How long each environment takes new batches.
const TIME: Duration = Duration::from_mins(10);

/// What a healthy receiver takes, in milliseconds: a batch lasts that long, so it decides the throughput.
pub const ANSWERS: [u64; 3] = [100, 500, 1000];

/// Outcomes a second where each batch waits for the dead destination.
pub fn ceiling() -> f64 {
    (ENVIRONMENTS * DESTINATIONS) as f64 / f64::from(TIMEOUT)
}

/// Measures the function, and beside it what `make bench-flow` built of an earlier commit.
pub async fn measure(setup: &Setup, figures: &mut Figures, before: Option<&str>) {
    let name = "detection-outcome-handler";
    let before = before.map(|commit| setup.work.join("before").join(commit).join("target/shaped").join(name));
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    figures.set("flow.load", load.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or_default());
    let mut lanes = Vec::new();
    for (way, binary) in [("before", before), ("after", Some(setup.binary(name)))] {
        for answer in ANSWERS.into_iter().filter(|_| binary.is_some()) {
            lanes.push(Lane::start(setup, format!("flow.{way}.{answer}"), binary.as_ref().unwrap(), answer).await);
        }
    }
    for lane in lanes {
        lane.end(figures).await;
    }
}

/// Ten environments of one function, with receivers and a retry queue.
struct Lane {
    name: String,
    environments: Vec<JoinHandle<usize>>,
    /// Of the healthy receivers.
    delivered: Counts,
    retries: Rc<RefCell<RetryQueue>>,
}

impl Lane {
    async fn start(setup: &Setup, name: String, binary: &Path, answer: u64) -> Self {
        let (delivered, retries) = (Counts::default(), Rc::<RefCell<RetryQueue>>::default());
        let healthy = Reply { delay: Duration::from_millis(answer), ..OK };
        let dead = Reply { delay: Duration::MAX, ..OK };
        let (mut destinations, mut routes) = (Map::new(), Map::new());
        for index in 1..=DESTINATIONS {
            let is_dead = index == DESTINATIONS;
            let (counts, reply) = if is_dead { (Counts::default(), &dead) } else { (delivered.clone(), &healthy) };
            let url = servers::receiver(None, &counts, reply.clone()).await;
            destinations.insert(format!("team-{index}"), json!({ "url": url, "timeout": TIMEOUT }));
            routes.insert(index.to_string(), json!([format!("team-{index}")]));
        }
        let queue = retries.clone();
        let noted = move |action: &str, request: &Value| queue.borrow_mut().note(action, request);
        let aws = servers::aws_noting(None, &Counts::default(), String::new(), SQS_DELAY, noted).await;
        let program = setup.with_document(&name, &json!({ "destinations": destinations, "routes": routes }), &aws);
        // The lines of ten minutes would fill the disk.
        let program = Program { command: vec![binary.display().to_string()], ..program };
        let program = program.with("AWS_LAMBDA_LOG_LEVEL", "ERROR");
        let environment = |index| {
            let output = setup.work.join(format!("{name}.{index}.log"));
            spawn_local(environment(program.clone(), output, outcome(&setup.root, 0), retries.clone()))
        };
        let environments = (0..ENVIRONMENTS).map(environment).collect();
        Self { name, environments, delivered, retries }
    }

    async fn end(self, figures: &mut Figures) {
        let mut outcomes = 0;
        for environment in self.environments {
            outcomes += environment.await.unwrap();
        }
        let received = self.retries.borrow().received;
        for (what, count) in [("outcomes", outcomes), ("delivered", self.delivered.requests()), ("retries", received)] {
            figures.set(format!("{}.{what}", self.name), count as f64 / TIME.as_secs_f64());
        }
    }
}

/// Takes what is due in the retry queue, else a new batch, for ten minutes; returns how many new outcomes it handled.
/// What has begun is waited for and counts whole: that favours long batches.
async fn environment(program: Program, output: PathBuf, outcome: Value, retries: Rc<RefCell<RetryQueue>>) -> usize {
    let mut function = Function::start(&program, &output).await;
    let (begun, mut handled) = (Instant::now(), 0);
    while begun.elapsed() < TIME {
        let due = retries.borrow_mut().receive();
        let is_new = due.is_empty();
        let records = if is_new { new_batch(&outcome) } else { due };
        let answer = function.invoke(&json!({ "Records": records }).to_string().into()).await;
        let text = String::from_utf8_lossy(&answer.body);
        assert!(answer.succeeded, "{text}\n{}", function.output());
        if is_new {
            assert!(!text.contains("itemIdentifier"), "an outcome is neither delivered nor kept: {text}");
            handled += records.len();
        } else {
            retries.borrow_mut().settle(records, &text);
        }
    }
    handled
}

/// One outcome for each destination, in any order.
fn new_batch(outcome: &Value) -> Vec<Value> {
    let mut ids: Vec<_> = (1..=DESTINATIONS).collect();
    fastrand::shuffle(&mut ids);
    let record = |id: usize| {
        let mut outcome = outcome.clone();
        outcome["detection_id"] = id.into();
        outcome["run_id"] = format!("run-{:016x}", fastrand::u64(..)).into();
        record("detection-outcomes", id, &outcome.to_string(), &json!({}))
    };
    ids.into_iter().map(record).collect()
}

/// Plays the retry queue: what the function writes to it comes back when it is due.
#[derive(Default)]
struct RetryQueue {
    /// Records as Lambda hands them over, by when they are due.
    waiting: BTreeMap<(Instant, usize), Value>,
    /// For how long the function asked to hide a message, by its receipt.
    hidden: HashMap<String, Duration>,
    written: usize,
    received: usize,
}

impl RetryQueue {
    /// Takes note of a call to SQS.
    fn note(&mut self, action: &str, request: &Value) {
        let seconds = |member: &str| Duration::from_secs(request[member].as_u64().unwrap_or(0));
        match action {
            "SendMessage" => {
                let is_retry = request["QueueUrl"].as_str().unwrap().ends_with("-retry");
                assert!(is_retry, "nothing is dead-lettered in {TIME:?}: {request}");
                let attributes: Value =
                    request["MessageAttributes"].as_object().into_iter().flatten().map(attribute).collect();
                let body = request["MessageBody"].as_str().unwrap();
                let message = record("detection-outcomes-retry", self.written, body, &attributes);
                self.insert(seconds("DelaySeconds"), message);
            }
            "ChangeMessageVisibility" => {
                let receipt = request["ReceiptHandle"].as_str().unwrap();
                self.hidden.insert(receipt.to_owned(), seconds("VisibilityTimeout"));
            }
            other => panic!("the function calls {other}, which this queue does not know"),
        }
    }

    fn insert(&mut self, wait: Duration, message: Value) {
        self.waiting.insert((Instant::now() + wait, self.written), message);
        self.written += 1;
    }

    /// At most ten messages that are due.
    fn receive(&mut self) -> Vec<Value> {
        let now = Instant::now();
        let mut records = Vec::new();
        while records.len() < 10
            && let Some(first) = self.waiting.first_entry()
            && first.key().0 <= now
        {
            records.push(first.remove());
        }
        self.received += records.len();
        records
    }

    /// Deletes what the function acknowledged; the rest stays hidden for as long as it asked.
    fn settle(&mut self, records: Vec<Value>, answer: &str) {
        for mut record in records {
            let text = |member: &str| record[member].as_str().unwrap();
            if answer.contains(text("messageId")) {
                let hidden = self.hidden.remove(text("receiptHandle"));
                let count: u32 = record["attributes"]["ApproximateReceiveCount"].as_str().unwrap().parse().unwrap();
                record["attributes"]["ApproximateReceiveCount"] = (count + 1).to_string().into();
                self.insert(hidden.expect("the function hides what it leaves in the queue"), record);
            }
        }
    }
}

/// A message attribute, from SQS's way to write it to Lambda's.
fn attribute((name, value): (&String, &Value)) -> (String, Value) {
    let (text, kind) = (&value["StringValue"], &value["DataType"]);
    let attribute = json!({ "stringValue": text, "dataType": kind, "stringListValues": [], "binaryListValues": [] });
    (name.clone(), attribute)
}
