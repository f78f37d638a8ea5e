//! Lambda's part: hands messages and events to a sandbox, and obeys its answers.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rand::RngExt as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use serde_json::{Value, json};

use crate::kinds::Fault;
use crate::ledger::Handed;
use crate::plan::{Form, Planned, number};
use crate::proxy::now_ms;
use crate::sandbox::{Harm, Sandbox, suffer};
use crate::support::runtime::Told;
use crate::world::World;

/// What an invocation has of time, if nothing in it waits for the deadline.
const LEFT: Duration = Duration::from_secs(9);

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Source {
    Outcomes,
    Retries,
    Events,
}

pub(crate) struct Worker {
    world: Arc<World>,
    source: Source,
    sandbox: Option<Sandbox>,
    random: StdRng,
}

impl Worker {
    pub(crate) fn new(world: Arc<World>, source: Source, random: StdRng) -> Self {
        Self { world, source, sandbox: None, random }
    }

    pub(crate) async fn work(mut self) {
        while !self.world.over.load(Ordering::SeqCst) {
            let worked = match self.source {
                Source::Events => self.handle_event().await,
                Source::Outcomes | Source::Retries => self.handle_batch().await,
            };
            if !worked {
                // moto has to look at each message for an answer.
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        }
        if let Some(sandbox) = self.sandbox.take() {
            self.world.retire(sandbox).await;
        }
    }

    fn one_in(&mut self, count: u32) -> bool {
        self.random.random_range(0..count) == 0
    }

    async fn handle_event(&mut self) -> bool {
        let world = self.world.clone();
        let next = {
            let mut events = world.events.lock().unwrap();
            let next = events.pop_front();
            if next.is_some() {
                world.busy.fetch_add(1, Ordering::SeqCst);
            }
            next
        };
        let Some((n, tries)) = next else { return false };
        let planned = world.plan.planned(n);
        let owed = vec![handed(&planned, n, None)];
        let told = self.invoke(&planned.event(), &[n], owed).await;
        if told.is_none_or(|told| told.kind != "response") {
            if tries < 2 {
                world.events.lock().unwrap().push_back((n, tries + 1));
            } else {
                // Lambda gives it up to the function's dead-letter queue: the event as it is.
                world
                    .call("SendMessage", json!({ "QueueUrl": world.dead_letter, "MessageBody": planned.event() }))
                    .await;
                world.ledger.count("event given up");
            }
        }
        world.busy.fetch_sub(1, Ordering::SeqCst);
        true
    }

    async fn handle_batch(&mut self) -> bool {
        let world = self.world.clone();
        let queue = if self.source == Source::Outcomes { &world.outcome } else { &world.retry };
        let most = self.random.random_range(1..=world.mapping.batch_size);
        let mut records = {
            let _turn = world.sqs.turn.lock().await;
            world.sqs.aws.receive_some(queue, most).await
        };
        if records.is_empty() {
            return false;
        }
        let fresh = records.iter().filter(|record| record["attributes"]["ApproximateReceiveCount"] == "1").count();
        if self.source == Source::Outcomes {
            world.received.fetch_add(fresh, Ordering::SeqCst);
        }
        if self.one_in(4) {
            records.shuffle(&mut self.random);
            world.ledger.count("records reordered");
        }
        let outcomes: Vec<_> = records.iter().filter_map(|record| number(record["body"].as_str()?)).collect();
        let mut event = json!({ "Records": records });
        let mut owed = Vec::new();
        for record in event["Records"].as_array_mut().unwrap() {
            owed.push(self.hand_over(record));
        }
        let owed = together(owed);
        if self.one_in(40) {
            self.hand_over_twice(&event, &outcomes);
        }
        let nameless = self.one_in(40);
        if nameless {
            event["Records"][0].as_object_mut().unwrap().remove("messageId");
            world.ledger.count("message id missing");
            world.ledger.excuse(&outcomes);
        }
        if self.one_in(30) {
            self.hand_over_nonsense().await;
        }
        let told = self.invoke(&event.to_string(), &outcomes, owed).await;
        let Some(told) = told else { return true };
        if told.kind != "response" {
            if !nameless {
                world.ledger.broken(format!("an SQS invocation failed: {}", told.body));
            }
            return true;
        }
        let failed: Vec<_> = told.body["batchItemFailures"]
            .as_array()
            .unwrap()
            .iter()
            .map(|failure| failure["itemIdentifier"].clone())
            .collect();
        if failed.iter().any(|id| !records.iter().any(|record| record["messageId"] == *id)) {
            world.ledger.broken("the answer names a message that was not handed over".to_owned());
        }
        let stays = |record: &&Value| world.mapping.reports_failures && failed.contains(&record["messageId"]);
        let done: Vec<_> = records.iter().filter(|record| !stays(record)).collect();
        if self.one_in(35) {
            // Lambda's deletion is lost: the messages come again.
            world.ledger.count("acknowledgement lost");
            world.ledger.excuse(&outcomes);
        } else {
            world.delete(queue, &done).await;
        }
        true
    }

    /// Shows a message's times as the function's clock has them; says which lines it owes.
    fn hand_over(&self, record: &mut Value) -> Handed {
        let clock = self.world.clock;
        let milliseconds = |value: &Value| value.as_str().and_then(|text| text.parse::<f64>().ok());
        let n = record["body"].as_str().and_then(number);
        let destination = record["messageAttributes"]["outcome-destination"]["stringValue"].as_str().map(str::to_owned);
        let plan = &self.world.plan;
        let kind = destination.as_deref().and_then(|id| plan.kind(id));
        let is_hurried = n.zip(kind).is_some_and(|(n, kind)| plan.is_hurried(n, kind));
        let sent = milliseconds(&record["attributes"]["SentTimestamp"]).unwrap();
        let shown = if is_hurried { clock.hurried().stretched(sent) } else { clock.stretched(sent) };
        record["attributes"]["SentTimestamp"] = format!("{shown:.0}").into();
        let mut is_early = false;
        if let Some(due) = milliseconds(&record["messageAttributes"]["outcome-not-before"]["stringValue"]) {
            is_early = due > now_ms();
            let shown = clock.stretched(due) / 1000.0;
            record["messageAttributes"]["outcome-not-before"]["stringValue"] = format!("{shown:.0}").into();
        }
        // What has no number is a redriven record of the unknown source.
        let Some(n) = n else { return Handed { n, at_least: 1, at_most: 1 } };
        let mut owed = handed(&plan.planned(n), n, destination.as_deref());
        if is_early {
            owed.at_least = 0;
        }
        owed
    }

    /// SQS delivers at least once: the same messages to two processes at the same time.
    fn hand_over_twice(&self, event: &Value, outcomes: &[usize]) {
        let (world, event) = (self.world.clone(), event.to_string());
        world.ledger.count("records received twice");
        world.ledger.excuse(outcomes);
        tokio::spawn(async move {
            let sandbox = world.sandbox().await;
            sandbox.runtime.invoke(&event, LEFT).await;
            world.retire(sandbox).await;
        });
    }

    /// Events that hold nothing.
    async fn hand_over_nonsense(&mut self) {
        let world = self.world.clone();
        let sandbox = world.sandbox().await;
        for (event, kinds) in [
            (r#"{"Records":[]}"#, &["response"][..]),
            // It is dead-lettered as it came; if that fails, nothing but the invocation's failure keeps it.
            (r#"{"Records":[{"eventSource":"aws:kinesis","kinesis":{"data":"e30="}}]}"#, &["response", "error"]),
        ] {
            let told = sandbox.runtime.invoke(event, LEFT).await;
            if !kinds.contains(&told.kind) {
                world.ledger.broken(format!("{event} was answered with {told:?}"));
            }
        }
        world.ledger.count("empty batch");
        world.ledger.count("unknown source");
        world.retire(sandbox).await;
    }

    fn harm(&mut self) -> Harm {
        let milliseconds = |random: &mut StdRng, most: u64| Duration::from_millis(random.random_range(0..most));
        let random = &mut self.random;
        match random.random_range(0..100) {
            0..=6 => Harm::KillAfter(milliseconds(random, 30)),
            7..=12 => Harm::KillAfter(milliseconds(random, 1500)),
            13..=20 => Harm::KillWhenTaken,
            21..=32 => Harm::Freeze(milliseconds(random, 20), milliseconds(random, 300)),
            33 => Harm::FreezeForGood(milliseconds(random, 20)),
            _ => Harm::None,
        }
    }

    /// One invocation; nothing when it had no end.
    async fn invoke(&mut self, event: &str, outcomes: &[usize], owed: Vec<Handed>) -> Option<Told> {
        let world = self.world.clone();
        let plan = &world.plan;
        let meets = |test: &dyn Fn(usize) -> bool| {
            outcomes.iter().any(|n| plan.planned(*n).kinds.iter().any(|kind| test(*kind)))
        };
        let looks_names_up = meets(&|kind| matches!(plan.kinds[kind].fault, Fault::Name(_)));
        let mut harm = self.harm();
        if looks_names_up && self.one_in(3) {
            if let Some(sandbox) = self.sandbox.take() {
                world.retire(sandbox).await;
            }
            let mut sandbox = world.sandbox().await;
            sandbox.runtime.leave_no_room_for_threads().await;
            sandbox.cramped = true;
            self.sandbox = Some(sandbox);
            harm = Harm::None;
        }
        // One that waits for the deadline gets an early one.
        let left = if matches!(harm, Harm::FreezeForGood(_)) {
            Duration::from_secs(2)
        } else if meets(&|kind| plan.kinds[kind].is("deadline")) {
            world.ledger.excuse(outcomes);
            Duration::from_secs(5)
        } else {
            LEFT
        };
        let mut sandbox = match self.sandbox.take() {
            Some(sandbox) => sandbox,
            None => world.sandbox().await,
        };
        let begun = Instant::now();
        let told = suffer(&sandbox.runtime, event, left, &harm, &world.ledger, outcomes).await;
        let late = begun.elapsed() > left;
        let told = match told {
            Ok(told) if late && matches!(harm, Harm::None | Harm::KillAfter(_) | Harm::KillWhenTaken) => {
                world.ledger.broken(format!("answered after {:?}, when {left:?} were left", begun.elapsed()));
                Some(told)
            }
            Ok(told) => Some(told),
            Err(fault) => {
                if sandbox.cramped {
                    world.ledger.count("out of memory");
                } else if fault == "went away" {
                    world.ledger.broken("the process ended by itself".to_owned());
                } else {
                    world.ledger.count(fault);
                }
                world.ledger.excuse(outcomes);
                None
            }
        };
        let keep = told.as_ref().is_some_and(|told| {
            sandbox.answered.insert(told.id.clone(), owed);
            !sandbox.cramped
        });
        if keep {
            self.sandbox = Some(sandbox);
        } else {
            world.retire(sandbox).await;
        }
        told
    }
}

/// The result lines that an outcome owes: one per destination, or one in all where it gets no further.
fn handed(planned: &Planned, n: usize, destination: Option<&str>) -> Handed {
    if planned.form == Form::Poison {
        return Handed { n: None, at_least: 1, at_most: 1 };
    }
    let at_most = if destination.is_some() { 1 } else { planned.kinds.len().max(1) };
    Handed { n: Some(n), at_least: 1, at_most }
}

/// Of one batch: what has no outcome is told apart by nothing, and an outcome may be in it twice.
fn together(owed: Vec<Handed>) -> Vec<Handed> {
    let mut sums: HashMap<Option<usize>, Handed> = HashMap::new();
    for Handed { n, at_least, at_most } in owed {
        let sum = sums.entry(n).or_insert(Handed { n, at_least: 0, at_most: 0 });
        sum.at_least += at_least;
        sum.at_most += at_most;
    }
    sums.into_values().collect()
}
