//! Delivers the outcomes of detections to webhooks, and explains every delivery that fails.
//!
//! In reading order: the rules ([`domain`]), what Lambda hands over ([`inbound`]), the way of an outcome
//! ([`deliver`]), what is called ([`outbound`]), what an administrator reads ([`telemetry`]), and the environment
//! ([`settings`]). Imports go one way: inbound → deliver → outbound, telemetry → domain.

pub mod domain;
pub mod inbound;

pub mod deliver;

pub mod outbound;
pub mod telemetry;

pub mod settings;
