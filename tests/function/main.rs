//! The release-shaped binary under AWS's own emulator of the runtime, with real receivers on real sockets.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends at what it does not expect")]

#[path = "../support/mod.rs"]
mod support;

mod answers;
mod asked;
mod bounds;
mod canaries;
mod early_answers;
mod endpoints;
mod envelopes;
mod failures;
mod flow;
mod guard;
mod lines;
mod namespace;
mod own_faults;
mod queues;
mod receivers;
mod redrive;
mod registry;
mod samples;
mod signatures;
mod start;
mod tls;
