//! What this function calls: webhooks, and the registry of destinations.

mod cause;
mod guard;
mod tls;
mod trace;

pub mod registry;
pub mod webhook;
