//! One delivery in this invocation: an attempt within its limits, and what becomes of it.

use std::sync::Arc;
use std::time::SystemTime;

use super::App;
use super::settle::{Case, settle};
use crate::domain::attempt::Attempt;
use crate::domain::destination::{Destination, Target};
use crate::domain::failure::{Code, Failure};
use crate::domain::outcome::Outcome;
use crate::domain::report::{Fate, Report};
use crate::domain::route::Delivery;
use crate::outbound::webhook::AttemptTimeout;

/// Makes a delivery. It never fails: what a receiver does is data.
pub(super) async fn deliver(app: &App, delivery: Delivery, outcome: &Outcome, case: Case<'_>) -> Report {
    match delivery {
        Delivery::Send(destination) => {
            let result = attempt(app, &destination, outcome, &case).await;
            settle(app, case, Some(&*destination), result).await
        }
        Delivery::Filtered(destination, filter) => {
            let facts = case.facts(Some(&destination), None);
            Report::new(&facts, &Fate::Filtered(filter), None, SystemTime::now())
        }
        Delivery::Failed { failure, .. } => settle(app, case, None, Err(failure)).await,
    }
}

/// One attempt, or why there was none.
async fn attempt(
    app: &App,
    destination: &Arc<Destination>,
    outcome: &Outcome,
    case: &Case<'_>,
) -> Result<Attempt, Failure> {
    let deadline = case.deadline;
    if destination.paused {
        return Err(Failure::new(Code::DestinationPaused));
    }
    // Another destination's secrets are not waited for: one that hangs holds up its own deliveries alone.
    let target = deadline.limit(app.registry.target(destination)).await?;
    let Some(_slot) = app.slots.take(&destination.id, deadline.left()).await else {
        return Err(Failure::new(Code::NotStarted));
    };
    // The schedule ends with a real attempt: nothing holds the last one back.
    let leave = if app.queues.is_none() || case.is_last(app) {
        None
    } else {
        Some(app.circuits.ask(&target, SystemTime::now())?)
    };
    let attempt = post(app, &target, outcome, case).await?;
    if let Some(leave) = leave {
        leave.done(&attempt, SystemTime::now());
    }
    if attempt.result.as_ref().is_err_and(|failure| failure.code == Code::Unauthorized) {
        return Ok(Box::pin(after_refresh(app, &target, outcome, case, attempt)).await);
    }
    Ok(attempt)
}

/// A key that was rotated meanwhile gets its second chance at once, and only if there is a new one.
async fn after_refresh(app: &App, target: &Target, outcome: &Outcome, case: &Case<'_>, rejected: Attempt) -> Attempt {
    let fresh = tokio::time::timeout(case.deadline.left(), app.registry.refreshed(target)).await;
    let Ok(Some(fresh)) = fresh else { return rejected };
    let Ok(mut attempt) = post(app, &fresh, outcome, case).await else { return rejected };
    attempt.result = attempt.result.map_err(|failure| failure.with("fresh", ", also after fresh secrets were read"));
    attempt
}

async fn post(app: &App, target: &Target, outcome: &Outcome, case: &Case<'_>) -> Result<Attempt, Failure> {
    let timeout = AttemptTimeout::of(target.timeout, case.deadline.left()).ok_or(Failure::new(Code::NotStarted))?;
    // Boxed: most of a batch waits for its slot, and should take little memory meanwhile.
    Ok(Box::pin(app.webhook.post(target, &outcome.payload, timeout)).await)
}
