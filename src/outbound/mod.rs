//! What this function calls: webhooks, the registry of destinations, and the queues.
//!
//! A webhook's answer reaches the log through `excerpt`, which takes out of it (`marks`) what the destination keeps
//! secret (`secrets`) and what the payload holds (`values`), in all usual spellings (`spelling`).

mod cause;
mod excerpt;
mod guard;
mod marks;
mod names;
mod secrets;
mod spelling;
mod trace;
mod values;

pub mod aws;
pub mod origins;
pub mod queues;
pub mod registry;
pub mod tls;
pub mod webhook;
