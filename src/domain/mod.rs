//! The rules, and nothing but rules: no I/O, no clock, no randomness.
//!
//! The cast, in the order in which they meet:
//!
//! - An [`Outcome`](outcome::Outcome) is what a run of a detection ended in. The envelope it came in is opened by
//!   `inbound`; its JSON object is the payload and is never written anew. A [`Record`](record::Record) is one outcome
//!   of an event, or what came in its place.
//! - A [`Document`](document::Document) is what an administrator wrote: destinations and routes. The registry hands
//!   it over; a [`Turn`](route::Turn) is one thing that it says about an outcome.
//! - A [`Destination`](destination::Destination) is one receiver as it is configured. Its URL is a secret; its origin
//!   may be shown. A [`Target`](destination::Target) is the same with the secrets that it refers to in place.
//! - An [`Attempt`](attempt::Attempt) is one HTTP request to a destination. `outbound` makes it and states facts.
//! - A [`Finding`](failure::Finding) is what an attempt met, or why there was none, and a [`Verdict`](verdict::Verdict)
//!   is what follows from it. One function judges them all.
//! - A [`ProbeReport`](probe::ProbeReport) and a [`CheckReport`](check::CheckReport) answer an administrator who asks
//!   before anything fails.
//! - A [`Report`](report::Report) says what became of a delivery: `telemetry` writes it as one log line, `inbound`
//!   answers with it.

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
