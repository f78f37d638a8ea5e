//! What happens to an outcome: look-up, fan-out, attempts, and what becomes of each delivery.

mod admin;
mod circuits;
mod deadline;
mod delivery;
mod record;
mod settle;

pub use admin::{Answer as AdminAnswer, answer as answer_admin};
pub use deadline::Deadline;
pub use record::{RecordReport, record};

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use self::circuits::Circuits;
use crate::domain::route::Unrouted;
use crate::outbound::queues::Queues;
use crate::outbound::registry::Registry;
use crate::outbound::webhook::Webhook;

/// What every invocation shares, made once per cold start. Nothing in it belongs to one invocation.
pub struct App {
    registry: Registry,
    webhook: Webhook,
    unrouted: Unrouted,
    queues: Option<Queues>,
    max_attempts: u32,
    slots: Slots,
    circuits: Circuits,
}

impl App {
    pub fn new(
        registry: Registry,
        webhook: Webhook,
        queues: Option<Queues>,
        max_attempts: u32,
        unrouted: Unrouted,
    ) -> Self {
        let (slots, circuits) = (Slots::default(), Circuits::default());
        Self { registry, webhook, unrouted, queues, max_attempts, slots, circuits }
    }
}

/// Attempts in flight at once in this process: Lambda allows 1,024 file descriptors.
const ATTEMPTS: usize = 64;

/// Of them to one destination, so that a slow one leaves room for its neighbours.
const ATTEMPTS_TO_ONE: usize = 16;

/// Bounds the attempts in flight, in all and for each destination.
struct Slots {
    all: Arc<Semaphore>,
    by_destination: Mutex<HashMap<String, Arc<Semaphore>>>,
}

impl Default for Slots {
    fn default() -> Self {
        Self { all: Arc::new(Semaphore::new(ATTEMPTS)), by_destination: Mutex::default() }
    }
}

impl Slots {
    /// Waits for a place, at most as long as that; waiting is not an attempt. It is free again when the permits, its own
    /// and that of all, are dropped.
    async fn take(&self, destination: &str, at_most: Duration) -> Option<[OwnedSemaphorePermit; 2]> {
        let one = {
            let mut slots = self.by_destination.lock().unwrap_or_else(PoisonError::into_inner);
            if slots.len() > ATTEMPTS {
                // Those that nobody holds or waits for.
                slots.retain(|_, one| Arc::strong_count(one) > 1);
            }
            slots.entry(destination.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(ATTEMPTS_TO_ONE))).clone()
        };
        let taking = async {
            // Its own first: who waits for it must not hold one of all.
            let one = one.acquire_owned().await.ok()?;
            Some([one, self.all.clone().acquire_owned().await.ok()?])
        };
        tokio::time::timeout(at_most, taking).await.ok()?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All places of one destination.
    async fn filled(slots: &Slots, destination: &str) -> Vec<[OwnedSemaphorePermit; 2]> {
        let mut held = Vec::new();
        for _ in 0..ATTEMPTS_TO_ONE {
            held.push(slots.take(destination, Duration::from_millis(5)).await.unwrap());
        }
        held
    }

    #[tokio::test]
    async fn one_destination_never_takes_all_slots() {
        let (slots, soon) = (Slots::default(), Duration::from_millis(5));
        let mut held = filled(&slots, "slow").await;
        assert!(slots.take("slow", soon).await.is_none());
        for id in 0..ATTEMPTS - ATTEMPTS_TO_ONE {
            held.push(slots.take(&id.to_string(), soon).await.unwrap());
        }
        assert!(slots.take("other", soon).await.is_none());
        held.pop();
        assert!(slots.take("other", soon).await.is_some());
    }

    #[tokio::test]
    async fn destinations_without_attempts_are_forgotten() {
        let (slots, soon) = (Slots::default(), Duration::from_millis(5));
        let mut held = Vec::new();
        for id in 0..=ATTEMPTS {
            held.push(slots.take(&id.to_string(), soon).await);
        }
        assert!(held.pop().unwrap().is_none(), "all are taken");
        drop(held);
        for id in 0..1000 {
            drop(slots.take(&id.to_string(), soon).await);
        }
        assert!(slots.by_destination.lock().unwrap().len() <= ATTEMPTS + 1);
    }

    #[tokio::test]
    async fn one_with_attempts_is_not_forgotten() {
        let (slots, soon) = (Slots::default(), Duration::from_millis(5));
        let _held = filled(&slots, "slow").await;
        for id in 0..3 * ATTEMPTS {
            drop(slots.take(&id.to_string(), soon).await);
        }
        assert!(slots.take("slow", soon).await.is_none());
    }
}
