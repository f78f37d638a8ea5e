//! The way of an outcome: look-up, fan-out, attempts, and what becomes of each delivery.

mod ask;
mod deadline;
mod delivery;
mod record;
mod settle;

pub use ask::{check, probe};
pub use deadline::Deadline;
pub use record::{RecordReport, record};

use tokio::sync::Semaphore;

use crate::domain::route::Unrouted;
use crate::outbound::queues::Queues;
use crate::outbound::registry::Registry;
use crate::outbound::webhook::Webhook;

/// Attempts in flight at once in this process: Lambda allows 1,024 file descriptors, and a receiver that is slow
/// must not be met by a whole batch at the same time.
const CONCURRENT_ATTEMPTS: usize = 64;

/// What every invocation shares, made once per cold start. Nothing in it belongs to one invocation.
pub struct App {
    registry: Registry,
    webhook: Webhook,
    unrouted: Unrouted,
    queues: Option<Queues>,
    max_attempts: u32,
    slots: Semaphore,
}

impl App {
    pub fn new(
        registry: Registry,
        webhook: Webhook,
        queues: Option<Queues>,
        max_attempts: u32,
        unrouted: Unrouted,
    ) -> Self {
        Self { registry, webhook, unrouted, queues, max_attempts, slots: Semaphore::new(CONCURRENT_ATTEMPTS) }
    }
}
