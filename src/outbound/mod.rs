//! What this function calls: webhooks, the registry of destinations, and the queues.

mod error;
mod excerpt;
mod guard;
mod names;
mod origins;
mod progress;
mod redact;

pub mod aws;
pub mod dead_letters;
pub mod queues;
pub mod registry;
pub mod tls;
pub mod webhook;
