//! One delivery's turn in this invocation: an attempt within its limits, and what follows from it.

use std::sync::Arc;

use super::{App, Deadline};
use crate::domain::destination::Destination;
use crate::domain::failure::Finding;
use crate::domain::outcome::Outcome;
use crate::domain::record::Record;
use crate::domain::report::Report;
use crate::domain::route::Turn;
use crate::outbound::webhook::Limit;

/// Takes a turn. It never fails: what a receiver does is data.
pub(super) async fn delivery(app: &App, turn: &Turn, outcome: &Outcome, record: &Record, deadline: Deadline) -> Report {
    let named = |id: &str, finding| Report { destination: Some(id.to_owned()), ..Report::of(finding, record.origin) };
    match turn {
        Turn::Send(destination) => attempt(app, destination, outcome, record, deadline).await,
        Turn::Filtered(destination, filter) => Report::filtered(destination, *filter),
        Turn::Invalid { id, problems } => named(id, Finding::InvalidDestination(problems.clone())),
        Turn::Unknown { id } => named(id, Finding::UnknownDestination),
        Turn::InvalidRoute { problems } => Report::of(Finding::InvalidRoute(problems.clone()), record.origin),
    }
}

async fn attempt(
    app: &App,
    destination: &Arc<Destination>,
    outcome: &Outcome,
    record: &Record,
    deadline: Deadline,
) -> Report {
    // Waiting for a free slot is not an attempt: the destination's timeout begins afterwards.
    let slot = tokio::time::timeout(deadline.left(), app.slots.acquire()).await;
    let left = deadline.left();
    if slot.is_err() || left.is_zero() {
        return Report::of(Finding::NotStarted, record.origin).at(destination);
    }
    let limit = if destination.timeout <= left { Limit::Timeout(destination.timeout) } else { Limit::Deadline(left) };
    let attempt = app.webhook.post(destination, outcome, limit).await;
    Report::of(Finding::Attempt(attempt.result), record.origin)
        .at(destination)
        .attempted(record.receive_count, attempt.timings)
}
