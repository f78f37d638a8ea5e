//! One delivery's turn in this invocation: an attempt within its limits, and what follows from it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use super::App;
use super::settle::{Case, attempt_of, settle};
use crate::domain::attempt::Attempt;
use crate::domain::destination::Target;
use crate::domain::failure::Finding;
use crate::domain::outcome::Outcome;
use crate::domain::report::Report;
use crate::domain::route::Turn;
use crate::domain::verdict::{Verdict, verdict};
use crate::outbound::registry::Ready;
use crate::outbound::webhook::Limit;

/// Takes a turn. It never fails: what a receiver does is data.
pub(super) async fn delivery(app: &App, turn: Turn, outcome: &Outcome, case: Case<'_>) -> Report {
    match tokio::time::timeout(case.deadline.left(), app.registry.ready(turn)).await {
        Ok(Ready::Send(target)) => send(app, target, outcome, case).await,
        Ok(Ready::Filtered(destination, filter)) => Report::filtered(&destination, filter),
        Ok(Ready::Broken { finding }) => settle(app, case, finding).await,
        // The secrets were not read in time.
        Err(_) => settle(app, case, Finding::NotStarted).await,
    }
}

async fn send(app: &App, target: Arc<Target>, outcome: &Outcome, case: Case<'_>) -> Report {
    let deadline = case.deadline;
    let mut target = target;
    let number = attempt_of(app, case.record, SystemTime::now());
    let mut done = attempt(app, &target, outcome, &case).await;
    // A key that was rotated meanwhile gets its second chance at once, and only if there is a new one.
    if done.as_ref().is_some_and(|done| matches!(verdict(&done.finding()), Verdict::RefreshSecrets { .. }))
        && let Ok(Some(now)) = tokio::time::timeout(deadline.left(), app.registry.refreshed(&target)).await
    {
        target = now;
        done = attempt(app, &target, outcome, &case).await.or(done);
    }
    let finding = done.as_ref().map_or(Finding::NotStarted, Attempt::finding);
    let report = settle(app, case, finding).await.at(&target.id, target.endpoint.origin());
    let attempts_max = app.queues.as_ref().map(|_| app.max_attempts);
    match done {
        Some(attempt) if attempt.finding().is_attempt() => report.attempted(number, attempts_max, attempt.timings),
        _ => report,
    }
}

/// One attempt; none when the invocation's time was over before it could begin.
async fn attempt(app: &App, target: &Target, outcome: &Outcome, case: &Case<'_>) -> Option<Attempt> {
    // Waiting for a free slot is not an attempt: the destination's timeout begins afterwards.
    let _slot = tokio::time::timeout(case.deadline.left(), app.slots.acquire()).await.ok()?;
    let limit = Limit::of(target.timeout, case.deadline.left())?;
    case.begun.store(true, Ordering::Relaxed);
    Some(app.webhook.post(target, &outcome.payload, limit).await)
}
