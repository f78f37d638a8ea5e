//! The rules, and nothing but rules: no I/O, no clock, no randomness.
//!
//! The cast, in the order in which they meet:
//!
//! - A [`Record`](record::Record) is one outcome of an event, or what came in its place. `inbound` makes it.
//! - An [`Outcome`](outcome::Outcome) is the result of a detection's run: its payload, kept byte for byte, and the few
//!   facts that routing and log lines need.
//! - A [`Document`](document::Document) is what an administrator wrote, destinations and routes. The registry in
//!   `outbound` reads it.
//! - A [`Destination`](destination::Destination) is one receiver as configured. A [`Target`](destination::Target) is the
//!   same with its secrets resolved. Its URL is a secret; its origin may be shown.
//! - A [`Delivery`](route::Delivery) is one outcome to one destination, or why it cannot be made.
//! - An [`Attempt`](attempt::Attempt) is one HTTP request. `outbound` makes it and states what came of it.
//! - A [`Failure`](failure::Failure) is why a delivery did not succeed. Its [`Code`](failure::Code) has one row, which says
//!   what happens next, who must act, the cause and the remedy.
//! - A [`Schedule`](backoff::Schedule) says when it is tried again, a [`Breaker`](breaker::Breaker) whether it is tried at
//!   all.
//! - A [`Report`](report::Report) says what became of it. `deliver` makes it, `telemetry` writes it, `inbound` answers with
//!   it.

pub mod json;
pub mod problem;

pub mod outcome;
pub mod record;

pub mod address;
pub mod signature;
pub mod template;

pub mod endpoint;

pub mod destination;
pub mod document;
pub mod route;

pub mod attempt;
pub mod failure;

pub mod backoff;
pub mod breaker;

pub mod admin;
pub mod check;
pub mod redirect;
pub mod report;
