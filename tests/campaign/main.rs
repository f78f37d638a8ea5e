//! The fault campaign: thousands of outcomes through the real binary while everything around it fails, and a ledger that
//! tells whether one was lost.
//!
//! The producer, the receivers and Lambda's part (event source mappings, invocations, kills, freezes) are this program;
//! SQS and Secrets Manager are moto's, behind a proxy that injects faults. Time is compressed outside the function: the
//! proxy divides `DelaySeconds` and `VisibilityTimeout`, and a message's `SentTimestamp` is stretched when it is handed
//! over. Circuit breakers alone keep to the wall clock, so that an open circuit lasts for hours of the schedule.
//! `make campaign` runs it in full, `make test` a short one. It runs in a network namespace of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends at what it does not expect")]

#[path = "../support/mod.rs"]
mod support;

mod kinds;
mod ledger;
mod outage;
mod plan;
mod proxy;
mod sandbox;
mod sinks;
mod verify;
mod worker;
mod world;

use std::sync::Arc;
use std::time::{Duration, Instant};

use kinds::kinds;
use ledger::Ledger;
use plan::Plan;
use world::World;

/// How much is done, and how fast time goes.
pub(crate) struct Scale {
    pub(crate) outcomes: usize,
    /// Routes per kind of destination.
    pub(crate) per_kind: usize,
    /// Seconds of the schedule in one of ours.
    pub(crate) time: f64,
    pub(crate) sandboxes: usize,
    /// How often each fault must have happened.
    pub(crate) least: u64,
    /// How often dead letters are redriven.
    pub(crate) redrives: usize,
    pub(crate) between_redrives: Duration,
    pub(crate) limit: Duration,
}

const SHORT: Scale = Scale {
    outcomes: 480,
    per_kind: 3,
    time: 3000.0,
    sandboxes: 12,
    least: 1,
    redrives: 3,
    between_redrives: Duration::from_secs(5),
    limit: Duration::from_secs(400),
};
const FULL: Scale = Scale {
    outcomes: 20_000,
    per_kind: 12,
    time: 600.0,
    sandboxes: 24,
    least: 200,
    redrives: 20,
    between_redrives: Duration::from_secs(20),
    limit: Duration::from_secs(5400),
};

#[test]
fn nothing_is_lost_and_nothing_is_repeated_without_a_fault_that_explains_it() {
    let report = support::network::run_inside("inside");
    println!("{}", report.lines().filter(|line| line.starts_with('|')).collect::<Vec<_>>().join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "runs inside a network namespace, started by the test above"]
async fn inside() {
    support::network::set_up();
    let scale = if std::env::var_os("CAMPAIGN_FULL").is_some() { FULL } else { SHORT };
    let seed = std::env::var("CAMPAIGN_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_261_125);
    let begun = Instant::now();
    let plan = Arc::new(Plan::new(seed, kinds(), &scale));
    let ledger = Arc::new(Ledger::new(plan.clone()));
    let sinks = sinks::start(&ledger).await;
    let world = World::start(plan.clone(), ledger.clone(), sinks, &scale).await;
    world.run(&scale).await;
    let letters = world.dead_letters().await;
    verify::verify(&ledger, &letters, &scale, seed, begun.elapsed());
}
