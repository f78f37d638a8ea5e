//! One delivery's turn in this invocation: an attempt within its limits, and what follows from it.

use std::sync::Arc;
use std::time::SystemTime;

use super::settle::{Case, attempt_of, settle};
use super::{App, Deadline};
use crate::domain::attempt::Attempt;
use crate::domain::destination::Target;
use crate::domain::failure::Finding;
use crate::domain::outcome::Outcome;
use crate::domain::report::Report;
use crate::domain::verdict::{Verdict, verdict};
use crate::outbound::registry::Ready;
use crate::outbound::webhook::Limit;

/// Takes a turn. It never fails: what a receiver does is data.
pub(super) async fn delivery(app: &App, turn: &Ready, outcome: &Outcome, case: Case<'_>) -> Report {
    match turn {
        Ready::Send(target) => send(app, target.clone(), outcome, case).await,
        Ready::Filtered(destination, filter) => Report::filtered(destination, *filter),
        Ready::Broken { finding, .. } => settle(app, case, finding.clone()).await,
    }
}

async fn send(app: &App, target: Arc<Target>, outcome: &Outcome, case: Case<'_>) -> Report {
    let deadline = case.deadline;
    let mut target = target;
    let number = attempt_of(app, case.record, SystemTime::now());
    let mut done = attempt(app, &target, outcome, deadline).await;
    // A key that was rotated meanwhile gets its second chance at once, and only if there is a new one.
    if done.as_ref().is_some_and(|done| verdict(&done.finding()) == Verdict::RefreshSecrets)
        && let Ok(Some(now)) = tokio::time::timeout(deadline.left(), app.registry.refreshed(&target, outcome)).await
    {
        target = now;
        done = attempt(app, &target, outcome, deadline).await.or(done);
    }
    let finding = done.as_ref().map_or(Finding::NotStarted, Attempt::finding);
    let report = settle(app, case, finding).await.at(&target.id, target.endpoint.origin());
    let attempts_max = app.queues.as_ref().map(|_| app.max_attempts);
    match done {
        Some(attempt) => report.attempted(number, attempts_max, attempt.timings),
        None => report,
    }
}

/// One attempt; none when the invocation's time was over before it could begin.
async fn attempt(app: &App, target: &Target, outcome: &Outcome, deadline: Deadline) -> Option<Attempt> {
    // Waiting for a free slot is not an attempt: the destination's timeout begins afterwards.
    let _slot = tokio::time::timeout(deadline.left(), app.slots.acquire()).await.ok()?;
    let limit = Limit::of(target.timeout, deadline.left())?;
    Some(app.webhook.post(target, &outcome.payload, limit).await)
}
