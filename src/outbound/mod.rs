//! What this function calls: webhooks, and the registry of destinations.

mod cause;
mod excerpt;
mod guard;
mod marks;
mod secrets;
mod spelling;
mod trace;
mod values;

pub mod aws;
pub mod queues;
pub mod registry;
pub mod tls;
pub mod webhook;
