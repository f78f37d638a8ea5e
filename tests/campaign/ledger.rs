//! What was accepted, what arrived, what was said about it, and what may explain that something arrived twice.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use serde_json::Value;
use tokio::sync::Notify;

use crate::kinds::{Fault, NEVER_CALLED, Odd, Waits};
use crate::plan::{Form, Plan, Planned, number};
use crate::support::receiver::Request;

pub(crate) struct Ledger {
    pub(crate) plan: Arc<Plan>,
    state: Mutex<State>,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) accepted: BTreeSet<usize>,
    /// By outcome and destination.
    pub(crate) deliveries: HashMap<(usize, usize), Delivery>,
    /// Faults that may repeat all deliveries of an outcome: kills, failed writes, duplicate receives.
    pub(crate) excused: HashMap<usize, u32>,
    /// How often each fault happened.
    pub(crate) faults: BTreeMap<String, u64>,
    /// Rules that were seen broken.
    pub(crate) broken: Vec<String>,
    /// Result lines by outcome, and those without one.
    pub(crate) lines: HashMap<usize, u32>,
    pub(crate) rejected_lines: usize,
    watched: HashMap<usize, Arc<Notify>>,
}

/// One outcome at one destination.
#[derive(Default)]
pub(crate) struct Delivery {
    /// Whole requests that arrived.
    pub(crate) requests: u32,
    /// When the first of them did.
    since: Option<Instant>,
    /// Whether it failed after it had been crowded.
    has_failed: bool,
    /// Those that were answered 2xx.
    pub(crate) taken: u32,
    /// Those of which the function cannot know whether they were taken.
    pub(crate) ambiguous: u32,
    pub(crate) filtered_lines: u32,
    pub(crate) delivered_lines: u32,
    pub(crate) timed_out_lines: u32,
}

/// Longer than any schedule, and than any schedule whose message was written a little later.
pub(crate) const CROWDED: f64 = 30.0 * 3600.0;

/// By then the last attempt of every schedule is due, in seconds: 20 hours, and the jitter of its last wait.
const SCHEDULE: u64 = 76_000;

/// What a receiver does with a request.
pub(crate) enum Act {
    Take,
    Refuse(u16),
    /// A 429 that asks for hours: nothing is gained by asking more often.
    Crowded,
    Odd(Odd),
}

impl Ledger {
    pub(crate) fn new(plan: Arc<Plan>) -> Self {
        Self { plan, state: Mutex::default() }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(crate) fn count(&self, fault: &str) {
        *self.state().faults.entry(fault.to_owned()).or_default() += 1;
    }

    pub(crate) fn broken(&self, what: String) {
        self.state().broken.push(what);
    }

    /// A fault that may repeat what these outcomes' destinations have got.
    pub(crate) fn excuse(&self, outcomes: &[usize]) {
        let mut state = self.state();
        for n in outcomes {
            *state.excused.entry(*n).or_default() += 1;
        }
    }

    /// Tells when one of these outcomes has been taken by a receiver.
    pub(crate) fn watch(&self, outcomes: &[usize]) -> Arc<Notify> {
        let taken = Arc::new(Notify::new());
        self.state().watched.extend(outcomes.iter().map(|n| (*n, taken.clone())));
        taken
    }

    /// A whole request has arrived: it must be the payload byte for byte, under the outcome's one identity.
    pub(crate) fn arrived(&self, request: &Request) -> Act {
        let text = String::from_utf8_lossy(&request.body);
        let path = request.head.split(' ').nth(1).unwrap_or_default();
        let (Some(n), Some(kind)) = (number(&text), self.plan.kind(path.trim_start_matches('/'))) else {
            self.broken(format!("a request that nobody sent: {}", request.head));
            return Act::Take;
        };
        let planned = self.plan.planned(n);
        if planned.payload.as_bytes() != request.body {
            self.broken(format!("the payload of outcome {n} is not as it was sent"));
        }
        if request.header("webhook-id") != Some(&*planned.webhook_id) {
            self.broken(format!(
                "outcome {n} came as {:?}, not as {}",
                request.header("webhook-id"),
                planned.webhook_id
            ));
        }
        if !self.is_meant(&planned, kind) {
            self.broken(format!("outcome {n} came to {path}, where neither route nor fallback leads"));
        }
        let mut state = self.state();
        let delivery = state.deliveries.entry((n, kind)).or_default();
        delivery.requests += 1;
        let since = *delivery.since.get_or_insert_with(Instant::now);
        let fails = delivery.requests <= self.plan.failures(n, kind);
        let act = match self.plan.kinds[kind].fault {
            Fault::Waits(Waits::Crowded | Waits::CrowdedThenFailing)
                if since.elapsed().as_secs_f64() * self.plan.time < CROWDED =>
            {
                Act::Crowded
            }
            Fault::Waits(Waits::CrowdedThenFailing) if !delivery.has_failed => {
                delivery.has_failed = true;
                Act::Refuse(500)
            }
            Fault::Dead => Act::Odd(Odd::NoHead),
            Fault::Status(status) if fails => Act::Refuse(status),
            Fault::Odd(odd) if fails => Act::Odd(odd),
            _ => Act::Take,
        };
        match act {
            Act::Take => delivery.taken += 1,
            Act::Odd(odd) if odd.is_taken() => delivery.taken += 1,
            Act::Odd(odd) if !odd.is_refused() => delivery.ambiguous += 1,
            Act::Odd(_) | Act::Refuse(_) | Act::Crowded => {}
        }
        let is_pager = matches!(self.plan.kinds[kind].fault, Fault::Pager(_));
        if is_pager || !matches!(act, Act::Take) {
            *state.faults.entry(self.plan.kinds[kind].name.clone()).or_default() += 1;
        }
        if !matches!(act, Act::Refuse(_) | Act::Crowded)
            && let Some(watcher) = state.watched.get(&n)
        {
            watcher.notify_one();
        }
        act
    }

    /// Whether an outcome may come to a destination: by its route, or because a destination of its route has it as the
    /// fallback and its own filter lets it through.
    fn is_meant(&self, planned: &Planned, kind: usize) -> bool {
        let Fault::Pager(takes) = self.plan.kinds[kind].fault else { return planned.kinds.contains(&kind) };
        let is_fallback = planned.kinds.iter().any(|of| self.plan.fallback(*of) == Some(kind));
        is_fallback && takes.contains(&planned.severity) && !self.plan.kinds[kind].is(NEVER_CALLED)
    }

    /// Reads what a sandbox wrote. An answered invocation owes each of its records its lines, neither more nor less.
    pub(crate) fn read_log(&self, lines: &[String], answered: &HashMap<String, Vec<Handed>>) {
        let mut said: HashMap<&str, HashMap<Option<usize>, usize>> = HashMap::new();
        let lines: Vec<Value> = lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let has = |line: &Value, text: &str| line["message"].as_str().is_some_and(|message| message.contains(text));
        for (text, what) in [(" CIRCUIT OPEN ", "circuit opened"), (" CIRCUIT CLOSED", "circuit closed")] {
            *self.state().faults.entry(what.to_owned()).or_default() +=
                lines.iter().filter(|line| has(line, text)).count() as u64;
        }
        for line in lines.iter().filter(|line| line["result"].is_string() && line["code"] != "unknown_event") {
            // What is no outcome is told apart by nothing, although its name may have been readable.
            let is_outcome = |n: &usize| self.plan.planned(*n).form != Form::Poison;
            let n = line["detection_name"].as_str().and_then(number).filter(is_outcome);
            *said.entry(line["request_id"].as_str().unwrap_or_default()).or_default().entry(n).or_default() += 1;
            let mut state = self.state();
            let Some(n) = n else {
                state.rejected_lines += 1;
                continue;
            };
            *state.lines.entry(n).or_default() += 1;
            let waits_for_long = line["waiting_seconds"].as_u64().is_some_and(|seconds| seconds > SCHEDULE);
            match line["code"].as_str() {
                Some("circuit_open") => {
                    *state.faults.entry("circuit open".to_owned()).or_default() += 1;
                    if line.get("attempt").is_some() || line.get("total_ms").is_some() {
                        state.broken.push(format!("an attempt in spite of an open circuit: {line}"));
                    }
                }
                Some("rate_limited") if waits_for_long => {
                    *state.faults.entry("429 after the schedule's end".to_owned()).or_default() += 1;
                }
                _ => {}
            }
            let Some(kind) = line["destination"].as_str().and_then(|id| self.plan.kind(id)) else { continue };
            let fault = match line["code"].as_str() {
                Some("connect_refused" | "connect_timeout") => Some(self.plan.kinds[kind].name.clone()),
                Some("panic") => Some("panic".to_owned()),
                Some("deadline") => Some("deadline expired".to_owned()),
                Some("destination_paused") => Some(self.plan.kinds[kind].name.clone()),
                _ => matches!(self.plan.kinds[kind].fault, Fault::Configured(_))
                    .then(|| self.plan.kinds[kind].name.clone()),
            };
            if let Some(fault) = fault {
                *state.faults.entry(fault).or_default() += 1;
            }
            let delivery = state.deliveries.entry((n, kind)).or_default();
            match line["result"].as_str() {
                Some("filtered") => delivery.filtered_lines += 1,
                Some("delivered") => delivery.delivered_lines += 1,
                _ if line["maybe_received"] == true && line["code"] != "connection_lost" => {
                    delivery.timed_out_lines += 1;
                }
                _ => {}
            }
        }
        for (request, records) in answered {
            let said = said.remove(request.as_str()).unwrap_or_default();
            for Handed { n, at_least, at_most } in records {
                let count = said.get(n).copied().unwrap_or(0);
                if count < *at_least || count > *at_most {
                    let mut state = self.state();
                    state.broken.push(format!(
                        "outcome {n:?} has {count} result lines in {request}, owed are {at_least} to {at_most}"
                    ));
                }
            }
        }
    }
}

/// A record that was handed over, and how many result lines it is owed. Records without an outcome are counted together.
pub(crate) struct Handed {
    pub(crate) n: Option<usize>,
    pub(crate) at_least: usize,
    pub(crate) at_most: usize,
}
