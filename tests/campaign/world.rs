//! The account: queues, secrets, the mappings as the template has them, and everybody who works in it.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use crate::Scale;
use crate::ledger::{CROWDED, Ledger};
use crate::plan::{Form, Plan};
use crate::proxy::{self, Clock, Sqs};
use crate::sandbox::{Harm, Sandbox, suffer};
use crate::sinks::Sinks;
use crate::support::aws::{Aws, variables};
use crate::support::runtime::{OwnRuntime, vars};
use crate::worker::{Source, Worker};

/// Messages in the outcome queue at once; moto looks at each of them whenever one is received.
const OUTSTANDING: usize = 300;

/// What a message that nobody acknowledged waits for, in our seconds. Longer than any invocation here.
const VISIBILITY_SECONDS: u64 = 10;

/// moto with a faster clock: it looks at the clock several times for each message of a queue, whenever one is written.
const HURRIED: &[&str] = &["python", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/campaign/hurried_moto.py")];

pub(crate) struct World {
    pub(crate) plan: Arc<Plan>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) sqs: Arc<Sqs>,
    pub(crate) outcome: String,
    pub(crate) retry: String,
    pub(crate) dead_letter: String,
    pub(crate) variables: Vec<(String, String)>,
    pub(crate) mapping: Mapping,
    pub(crate) clock: Clock,
    pub(crate) received: AtomicUsize,
    /// Events of invocations that no queue stands before, with how often they were tried.
    pub(crate) events: Mutex<VecDeque<(usize, u32)>>,
    /// Such events that are being handled.
    pub(crate) busy: AtomicUsize,
    pub(crate) over: AtomicBool,
    /// What a person would find in the dead-letter queue; taken out at once, because moto slows down with each.
    pub(crate) letters: Mutex<Vec<Value>>,
    secrets: Aws,
    /// The destinations document after the operator's pause.
    resumed: String,
    /// How often a person will still have dead letters delivered once more.
    redrives: AtomicUsize,
    between_redrives: Duration,
}

/// What the template says of the event source mappings and their queues.
pub(crate) struct Mapping {
    pub(crate) batch_size: usize,
    pub(crate) reports_failures: bool,
    pub(crate) receives: [u64; 2],
}

impl Mapping {
    fn of_template() -> Self {
        let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/template.yaml")).unwrap();
        let template: serde_norway::Value = serde_norway::from_str(&text).unwrap();
        let resources = &template["Resources"];
        let event = &resources["Function"]["Properties"]["Events"]["Outcomes"]["Properties"];
        let receives =
            |queue: &str| resources[queue]["Properties"]["RedrivePolicy"]["maxReceiveCount"].as_u64().unwrap();
        Self {
            batch_size: event["BatchSize"].as_u64().unwrap().try_into().unwrap(),
            reports_failures: event["FunctionResponseTypes"][0].as_str() == Some("ReportBatchItemFailures"),
            receives: [receives("OutcomeQueue"), receives("RetryQueue")],
        }
    }
}

impl World {
    pub(crate) async fn start(plan: Arc<Plan>, ledger: Arc<Ledger>, sinks: Sinks, scale: &Scale) -> Arc<Self> {
        let mapping = Mapping::of_template();
        let (aws, secrets) = tokio::join!(Aws::start_as(HURRIED), Aws::start_as(&["moto_server"]));
        let dead_letter = aws.create_queue("dead-letters").await;
        let (outcome, retry) = (aws.create_queue("outcomes").await, aws.create_queue("retries").await);
        for (queue, receives) in [&outcome, &retry].into_iter().zip(mapping.receives) {
            let arn = "arn:aws:sqs:eu-west-1:123456789012:dead-letters";
            let policy = json!({ "deadLetterTargetArn": arn, "maxReceiveCount": receives }).to_string();
            let attributes = json!({ "VisibilityTimeout": VISIBILITY_SECONDS.to_string(), "RedrivePolicy": policy });
            aws.call("AmazonSQS.SetQueueAttributes", json!({ "QueueUrl": queue, "Attributes": attributes })).await;
        }
        secrets.create_secret("destinations", &plan.document(|kind| sinks.url(kind), true)).await;
        let resumed = plan.document(|kind| sinks.url(kind), false);
        let sqs = Arc::new(Sqs { aws, turn: tokio::sync::Mutex::new(()) });
        let clock = Clock(scale.time);
        let port = proxy::start(sqs.clone(), secrets.port, ledger.clone(), clock).await;
        let mut all = variables(port, "secretsmanager:destinations");
        all.extend(vars(&[
            ("RETRY_QUEUE_URL", &retry),
            ("DEAD_LETTER_QUEUE_URL", &dead_letter),
            ("REGISTRY_TTL_SECONDS", "1"),
            ("EXTRA_CA_BUNDLE", sinks.bundle.to_str().unwrap()),
        ]));
        Arc::new(Self {
            plan,
            ledger,
            sqs,
            outcome,
            retry,
            dead_letter,
            variables: all,
            mapping,
            clock,
            received: AtomicUsize::new(0),
            events: Mutex::default(),
            busy: AtomicUsize::new(0),
            over: AtomicBool::new(false),
            letters: Mutex::default(),
            secrets,
            resumed,
            redrives: AtomicUsize::new(scale.redrives),
            between_redrives: scale.between_redrives,
        })
    }

    /// Sends everything, and waits until every queue is empty.
    pub(crate) async fn run(self: &Arc<Self>, scale: &Scale) {
        let sources = std::iter::repeat_n(Source::Outcomes, scale.sandboxes)
            .chain(std::iter::repeat_n(Source::Retries, scale.sandboxes))
            .chain([Source::Events, Source::Events]);
        let workers: Vec<_> = sources
            .enumerate()
            .map(|(index, source)| {
                let random = StdRng::seed_from_u64(self.plan.seed.wrapping_add(1000 + index as u64));
                tokio::spawn(Worker::new(self.clone(), source, random).work())
            })
            .collect();
        let world = self.clone();
        let person = tokio::spawn(async move {
            while !world.over.load(Ordering::SeqCst) {
                if let Some(left) = world.redrives.load(Ordering::SeqCst).checked_sub(1) {
                    tokio::time::sleep(world.between_redrives).await;
                    world.redrive(left).await;
                    world.redrives.store(left, Ordering::SeqCst);
                }
                if !world.take_dead_letters().await {
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
            }
        });
        let world = self.clone();
        let operator = tokio::spawn(async move {
            // The pause lasts longer than the schedule.
            tokio::time::sleep(Duration::from_secs_f64(CROWDED / world.plan.time)).await;
            world.secrets.put_secret("destinations", &world.resumed).await;
        });
        let world = self.clone();
        let watcher = tokio::spawn(async move {
            let begun = Instant::now();
            while !world.over.load(Ordering::SeqCst) {
                let (sent, received) = (world.ledger.state().accepted.len(), world.received.load(Ordering::SeqCst));
                let (waiting, letters) = (world.counts(&world.retry).await, world.letters.lock().unwrap().len());
                eprintln!(
                    "{} s: {sent} outcomes sent, {received} received; retry queue {waiting:?}, dead letters {letters}",
                    begun.elapsed().as_secs()
                );
                tokio::time::sleep(Duration::from_secs(10)).await;
            }
        });
        let drained = tokio::time::timeout(scale.limit, async {
            self.produce().await;
            while !self.is_drained().await {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        });
        if drained.await.is_err() {
            let counts = [self.counts(&self.outcome).await, self.counts(&self.retry).await];
            self.ledger.broken(format!("not drained within {:?}: {counts:?}", scale.limit));
        }
        self.over.store(true, Ordering::SeqCst);
        for worker in workers.into_iter().chain([person, operator, watcher]) {
            worker.await.unwrap();
        }
    }

    async fn produce(&self) {
        let (mut batch, mut queued) = (Vec::new(), 0_usize);
        for n in 0..self.plan.outcomes {
            let planned = self.plan.planned(n);
            if matches!(planned.form, Form::Direct | Form::Sns | Form::EventBridge) {
                self.events.lock().unwrap().push_back((n, 0));
                self.ledger.state().accepted.insert(n);
                continue;
            }
            while queued.saturating_sub(self.received.load(Ordering::SeqCst)) > OUTSTANDING {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            if planned.payload.len() > 1 << 16 {
                self.send(std::mem::take(&mut batch)).await;
            }
            batch.push((n, planned.message()));
            queued += 1;
            let bytes: usize = batch.iter().map(|(_, message)| message.len()).sum();
            if batch.len() == 10 || bytes > 1 << 16 {
                self.send(std::mem::take(&mut batch)).await;
            }
        }
        self.send(batch).await;
    }

    async fn send(&self, batch: Vec<(usize, String)>) {
        if let [(_, message)] = &batch[..] {
            self.call("SendMessage", json!({ "QueueUrl": self.outcome, "MessageBody": message })).await;
        } else if !batch.is_empty() {
            let entries: Vec<_> =
                batch.iter().map(|(n, message)| json!({ "Id": n.to_string(), "MessageBody": message })).collect();
            self.call("SendMessageBatch", json!({ "QueueUrl": self.outcome, "Entries": entries })).await;
        }
        self.ledger.state().accepted.extend(batch.iter().map(|(n, _)| n));
    }

    pub(crate) async fn call(&self, action: &str, request: Value) -> Value {
        let _turn = self.sqs.turn.lock().await;
        self.sqs.aws.call(&format!("AmazonSQS.{action}"), request).await
    }

    async fn counts(&self, queue: &str) -> [u32; 3] {
        let _turn = self.sqs.turn.lock().await;
        self.sqs.aws.counts(queue).await
    }

    async fn is_drained(&self) -> bool {
        self.events.lock().unwrap().is_empty()
            && self.redrives.load(Ordering::SeqCst) == 0
            && self.busy.load(Ordering::SeqCst) == 0
            && self.counts(&self.outcome).await == [0; 3]
            && self.counts(&self.retry).await == [0; 3]
    }

    /// Has dead letters delivered once more, these or those; one of three times the function is killed over it.
    async fn redrive(&self, turn: usize) {
        let sandbox = self.sandbox().await;
        let selection =
            [json!({ "all": true }), json!({ "code": "gone" }), json!({ "destination": "dead", "code": "timeout" })];
        let event = json!({ "redrive": selection[turn % selection.len()] }).to_string();
        let harm = if turn % 3 == 1 { Harm::KillAfter(Duration::from_millis(300)) } else { Harm::None };
        let told = suffer(&sandbox.runtime, &event, Duration::from_secs(30), &harm, &self.ledger, &[]).await;
        if let Ok(told) = told
            && (told.kind != "response" || !told.body["error"].is_null())
        {
            self.ledger.broken(format!("{event} was answered with {told:?}"));
        }
        self.retire(sandbox).await;
    }

    /// Everything that has been in the dead-letter queue.
    pub(crate) async fn dead_letters(&self) -> Vec<Value> {
        while self.take_dead_letters().await {}
        std::mem::take(&mut self.letters.lock().unwrap())
    }

    /// Whether there were any.
    async fn take_dead_letters(&self) -> bool {
        let found = {
            let _turn = self.sqs.turn.lock().await;
            self.sqs.aws.receive(&self.dead_letter).await
        };
        self.delete(&self.dead_letter, &found.iter().collect::<Vec<_>>()).await;
        let more = !found.is_empty();
        self.letters.lock().unwrap().extend(found);
        more
    }

    pub(crate) async fn delete(&self, queue: &str, records: &[&Value]) {
        let entry = |(index, record): (usize, &&Value)| json!({ "Id": index.to_string(), "ReceiptHandle": record["receiptHandle"] });
        let entries: Vec<_> = records.iter().enumerate().map(entry).collect();
        if !entries.is_empty() {
            self.call("DeleteMessageBatch", json!({ "QueueUrl": queue, "Entries": entries })).await;
        }
    }

    pub(crate) async fn sandbox(&self) -> Sandbox {
        Sandbox { runtime: OwnRuntime::start(self.variables.clone()).await, answered: HashMap::new(), cramped: false }
    }

    /// The end of a process; what it wrote is read.
    pub(crate) async fn retire(&self, sandbox: Sandbox) {
        sandbox.runtime.signal("-KILL").await;
        let lines = sandbox.runtime.lines_at_its_end().await;
        self.ledger.read_log(&lines, &sandbox.answered);
    }
}
