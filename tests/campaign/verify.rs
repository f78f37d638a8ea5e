//! The oracle: compares what was accepted with where it ended.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::Value;

use crate::Scale;
use crate::kinds::{Fault, Tls};
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
    if state.refused_lines < sum.poison {
        let lines = state.refused_lines;
        state.broken.push(format!("{} poison records have {lines} result lines", sum.poison));
    }
    let kinds = ledger.plan.kinds.iter().filter(|kind| !matches!(kind.fault, Fault::None | Fault::Tls(Tls::None)));
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
const ALWAYS: [&str; 19] = [
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
                state.broken.push(format!("a dead letter that nobody sent: {}", &body[..body.len().min(80)]));
                continue;
            };
            let attribute = |name: &str| letter["messageAttributes"][name]["stringValue"].as_str();
            // What the function writes is the payload as it came; what AWS moves keeps its envelope.
            if attribute("outcome-code").is_some() && body != ledger.plan.planned(n).payload {
                state.broken.push(format!("the dead letter of outcome {n} is not as it was sent"));
            }
            match attribute("outcome-destination").map(|id| ledger.plan.kind(id)) {
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
        let delivery = state.deliveries.entry((n, *kind)).or_default();
        let ended = ends.whole.contains(&n) || ends.single.contains(&(n, *kind));
        if delivery.taken > 0 {
            sum.delivered += 1;
        } else if ended {
            sum.dead_lettered += 1;
        } else if delivery.filtered_lines > 0 {
            sum.filtered += 1;
        } else {
            lost.push(format!("outcome {n} for {name}"));
        }
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
    for what in lost {
        sum.lose(state, what);
    }
}
