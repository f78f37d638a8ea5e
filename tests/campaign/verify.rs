//! The oracle: compares what was accepted with where it ended.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::Value;

use crate::Scale;
use crate::kinds::{Fault, Kind, NEVER_CALLED, Tls};
use crate::ledger::{Ledger, State};
use crate::plan::{Form, number};

/// Prints the figures, and ends the test if a promise is broken.
pub(crate) fn verify(ledger: &Ledger, letters: &[Value], scale: &Scale, seed: u64, took: Duration) {
    let mut state = ledger.state();
    let ends = Ends::read(ledger, letters, &mut state);
    let mut sum = Sum::default();
    for n in state.accepted.clone() {
        outcome(ledger, &mut state, &ends, n, &mut sum);
    }
    if state.rejected_lines < sum.poison {
        let lines = state.rejected_lines;
        state.broken.push(format!("{} poison records have {lines} result lines", sum.poison));
    }
    let is_faulty = |kind: &&Kind| !matches!(kind.fault, Fault::None | Fault::Tls(Tls::None)) && !kind.is(NEVER_CALLED);
    let kinds = ledger.plan.kinds.iter().filter(is_faulty);
    let expected: Vec<_> = kinds.map(|kind| kind.name.as_str()).chain(ALWAYS).collect();
    for fault in expected {
        let count = state.faults.get(fault).copied().unwrap_or(0);
        if count < scale.least {
            state.broken.push(format!("the fault `{fault}` happened {count} times, not {}", scale.least));
        }
    }
    let stops: u64 = STOPS.iter().filter_map(|name| state.faults.get(*name)).sum();
    println!(
        "| seed {seed}, {} outcomes, {} deliveries, in {} s",
        state.accepted.len(),
        sum.deliveries,
        took.as_secs()
    );
    println!("| delivered {}, dead-lettered {}, filtered {}", sum.delivered, sum.dead_lettered, sum.filtered);
    println!(
        "| fallbacks that got what their destination did not take: {}, dead-lettered there {}",
        sum.rescued, sum.late
    );
    println!("| faults {}, of them SIGKILLs and freezes {stops}", state.faults.values().sum::<u64>());
    for (fault, count) in &state.faults {
        println!("|   {count:>6}  {fault}");
    }
    println!(
        "| duplicates {}, explained by {} ambiguous faults and {} other",
        sum.duplicates,
        sum.ambiguous,
        state.excused.values().sum::<u32>()
    );
    println!("| lost {}, promises broken {}", sum.lost, state.broken.len());
    for broken in state.broken.iter().take(40) {
        println!("|   {broken}");
    }
    assert!(sum.lost == 0 && state.broken.is_empty(), "lost {}, broken {}", sum.lost, state.broken.len());
}

const STOPS: [&str; 4] = ["SIGKILL", "SIGKILL after a 2xx", "freeze", "frozen past the deadline"];

/// Faults that belong to no destination.
const ALWAYS: [&str; 25] = [
    "poison record",
    "outcome of 1 MiB",
    "SIGKILL",
    "SIGKILL after a 2xx",
    "freeze",
    "panic",
    "deadline expired",
    "dead-letter write fails",
    "retry write fails",
    "visibility change fails",
    "registry down",
    "registry slow",
    "registry corrupt",
    "records reordered",
    "records received twice",
    "acknowledgement lost",
    "message id missing",
    "empty batch",
    "unknown source",
    "circuit opened",
    "circuit open",
    "429 after the schedule's end",
    "renewed",
    "copy for a fallback",
    "redriven",
];

#[derive(Default)]
struct Sum {
    deliveries: usize,
    delivered: usize,
    dead_lettered: usize,
    filtered: usize,
    duplicates: u32,
    ambiguous: u32,
    poison: usize,
    /// Deliveries that a receiver did not take, or not at once, and its fallback did, and those dead-lettered for the fallback as well.
    rescued: usize,
    late: usize,
    lost: usize,
}

impl Sum {
    fn lose(&mut self, state: &mut State, what: String) {
        self.lost += 1;
        state.broken.push(format!("lost: {what}"));
    }
}

/// Where deliveries ended that did not arrive.
struct Ends {
    /// Whole outcomes, and what is none.
    whole: HashSet<usize>,
    single: HashSet<(usize, usize)>,
}

impl Ends {
    fn read(ledger: &Ledger, letters: &[Value], state: &mut State) -> Self {
        let mut ends = Self { whole: HashSet::new(), single: HashSet::new() };
        for letter in letters {
            let body = letter["body"].as_str().unwrap();
            let Some(n) = number(body) else {
                // The unknown source's record.
                if body.contains("aws:kinesis") {
                    continue;
                }
                state.broken.push(format!("a dead letter that nobody sent: {}", &body[..body.len().min(80)]));
                continue;
            };
            let attribute = |name: &str| letter["messageAttributes"][name]["stringValue"].as_str();
            // What the function writes is the payload as it came; what AWS moves keeps its envelope.
            if attribute("outcome-code").is_some() && body != ledger.plan.planned(n).payload {
                state.broken.push(format!("the dead letter of outcome {n} is not as it was sent"));
            }
            let kind = attribute("outcome-destination").map(|id| ledger.plan.kind(id));
            let is_old = || kind.flatten().is_some_and(|kind| ledger.plan.is_hurried(n, kind));
            match attribute("outcome-code") {
                // A dead letter has had its last attempt, and waiting as asked ends by age alone.
                Some(code @ ("circuit_open" | "not_started")) => {
                    state.broken.push(format!("outcome {n} is dead-lettered as {code}"));
                }
                Some(code @ ("rate_limited" | "destination_paused")) if !is_old() => {
                    state.broken.push(format!("outcome {n} is dead-lettered as {code}"));
                }
                _ => {}
            }
            match kind {
                None => drop(ends.whole.insert(n)),
                Some(Some(kind)) => drop(ends.single.insert((n, kind))),
                Some(None) => state.broken.push(format!("a dead letter of outcome {n} for nobody")),
            }
        }
        ends
    }
}

fn outcome(ledger: &Ledger, state: &mut State, ends: &Ends, n: usize, sum: &mut Sum) {
    let planned = ledger.plan.planned(n);
    if planned.payload.len() >= 1 << 20 {
        *state.faults.entry("outcome of 1 MiB".to_owned()).or_default() += 1;
    }
    if planned.form == Form::Poison {
        *state.faults.entry("poison record".to_owned()).or_default() += 1;
        sum.poison += 1;
        if !ends.whole.contains(&n) {
            sum.lose(state, format!("poison record {n}"));
        }
        return;
    }
    let lines = state.lines.get(&n).copied().unwrap_or(0);
    if !planned.is_routed && planned.is_alert && !ends.whole.contains(&n) {
        sum.lose(state, format!("unrouted alert {n}"));
    }
    if lines == 0 && !ends.whole.contains(&n) {
        state.broken.push(format!("outcome {n} has no result line"));
    }
    let excused = state.excused.get(&n).copied().unwrap_or(0);
    let mut lost = Vec::new();
    for kind in &planned.kinds {
        sum.deliveries += 1;
        let name = &ledger.plan.kinds[*kind].name;
        let end = end_of(state, ends, n, *kind);
        match end {
            End::Taken => sum.delivered += 1,
            End::DeadLettered => sum.dead_lettered += 1,
            End::Filtered => sum.filtered += 1,
            End::Lost => lost.push(format!("outcome {n} for {name}")),
        }
        repeated(ledger, state, (n, *kind), excused, sum);
        let Some(fallback) = ledger.plan.fallback(*kind) else { continue };
        let Fault::Pager(takes) = ledger.plan.kinds[fallback].fault else { unreachable!() };
        let is_wanted = takes.contains(&planned.severity) && !ledger.plan.kinds[fallback].is(NEVER_CALLED);
        let delivery = state.deliveries.entry((n, *kind)).or_default();
        // With no minutes to wait, the first failure has it; a fault may have cut that short.
        let has_failed = delivery.requests > delivery.taken && excused == 0;
        let is_at_once = ledger.plan.kinds[*kind].fallback.is_some_and(|(_, minutes)| minutes == 0);
        if !is_wanted || (end == End::Taken && !(is_at_once && has_failed)) {
            continue;
        }
        match end_of(state, ends, n, fallback) {
            End::Taken => sum.rescued += 1,
            End::DeadLettered => sum.late += 1,
            End::Filtered | End::Lost => lost.push(format!("outcome {n} for the fallback of {name}")),
        }
    }
    let mut fallbacks: Vec<_> = planned.kinds.iter().filter_map(|kind| ledger.plan.fallback(*kind)).collect();
    fallbacks.sort_unstable();
    for same in fallbacks.chunk_by(|a, b| a == b) {
        // Each destination of its route gives its fallback a copy of its own.
        let others = u32::try_from(same.len()).unwrap() - 1;
        repeated(ledger, state, (n, same[0]), excused + others, sum);
    }
    for what in lost {
        sum.lose(state, what);
    }
}

#[derive(Clone, Copy, PartialEq)]
enum End {
    Taken,
    DeadLettered,
    Filtered,
    Lost,
}

fn end_of(state: &mut State, ends: &Ends, n: usize, kind: usize) -> End {
    let delivery = state.deliveries.entry((n, kind)).or_default();
    if delivery.taken > 0 {
        End::Taken
    } else if ends.whole.contains(&n) || ends.single.contains(&(n, kind)) {
        End::DeadLettered
    } else if delivery.filtered_lines > 0 {
        End::Filtered
    } else {
        End::Lost
    }
}

/// More than one request, or line of a delivery, needs faults that explain them.
fn repeated(ledger: &Ledger, state: &mut State, (n, kind): (usize, usize), excused: u32, sum: &mut Sum) {
    let name = &ledger.plan.kinds[kind].name;
    let delivery = state.deliveries.entry((n, kind)).or_default();
    // A timeout that a slow machine made is as ambiguous as one that the receiver made.
    let ambiguous = delivery.ambiguous.max(delivery.timed_out_lines);
    let duplicates = (delivery.taken + delivery.ambiguous).saturating_sub(1);
    sum.duplicates += duplicates;
    sum.ambiguous += ambiguous;
    let broken = [(duplicates, "requests"), (delivery.delivered_lines.saturating_sub(1), "lines `delivered`")];
    for (extra, what) in broken {
        if extra > ambiguous + excused {
            state.broken.push(format!(
                "outcome {n} has {extra} more {what} for {name} than {ambiguous} + {excused} faults explain"
            ));
        }
    }
}
