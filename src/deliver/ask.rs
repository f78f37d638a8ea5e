//! What an administrator asks before anything fails: a probe of one destination, a check of the whole registry.

use super::{App, Deadline};
use crate::domain::address::Blocked;
use crate::domain::check::CheckReport;
use crate::domain::destination::Target;
use crate::domain::failure::Finding;
use crate::domain::outcome::Payload;
use crate::domain::probe::{MESSAGE, ProbeReport};
use crate::domain::problem::{Problem, label};
use crate::outbound::registry::{LookupError, Ready, Survey};
use crate::outbound::webhook::Limit;
use crate::telemetry;

const TIME_IS_OVER: &str = "this function's time was over before all of it was read";

/// Sends the test message to one destination, from where the function runs. Nothing is parked or tried again.
pub async fn probe(app: &App, id: &str, request_id: &str, deadline: Deadline) -> ProbeReport {
    let report = probed(app, id, request_id, deadline).await;
    telemetry::probe(&report);
    report
}

async fn probed(app: &App, id: &str, request_id: &str, deadline: Deadline) -> ProbeReport {
    let shown = label(id, 64);
    let lookup = tokio::time::timeout(deadline.left(), app.registry.anew(id)).await;
    let (host, finding) = match lookup {
        Err(_) => (None, Finding::LookupFailed(TIME_IS_OVER.to_owned())),
        Ok(Err(error)) => (None, Finding::LookupFailed(error.to_string())),
        Ok(Ok(Ready::Send(target))) => match send(app, &target, request_id, deadline).await {
            Some(report) => return report,
            None => (Some(target.endpoint.origin().to_owned()), Finding::NotStarted),
        },
        Ok(Ok(Ready::Broken { finding })) => (None, finding),
        Ok(Ok(Ready::Filtered(..))) => (None, Finding::InactiveDestination),
    };
    ProbeReport::without_attempt(shown, host, &finding)
}

async fn send(app: &App, target: &Target, request_id: &str, deadline: Deadline) -> Option<ProbeReport> {
    // An open connection or a resumed session would hide what is asked for.
    let webhook = app.webhook.without_connections().ok()?;
    let limit = Limit::of(target.timeout, deadline.left())?;
    // An id of its own, so that an endpoint that drops duplicates takes every probe.
    let payload = Payload { webhook_id: format!("probe-{request_id}"), body: MESSAGE.into() };
    let attempt = webhook.post(target, &payload, limit).await;
    Some(ProbeReport::of(target.id.clone(), &target.endpoint, &attempt))
}

/// Reads everything that is configured and says what is wrong with it. Nothing is sent to any destination.
pub async fn check(app: &App, deadline: Deadline) -> CheckReport {
    let survey = tokio::time::timeout(deadline.left(), app.registry.survey()).await;
    let report = match survey {
        Err(_) => CheckReport::failed(TIME_IS_OVER.to_owned()),
        Ok(Err(error)) => CheckReport::failed(LookupError::to_string(&error)),
        Ok(Ok(survey)) => checked(app, survey),
    };
    telemetry::check(&report);
    report
}

fn checked(app: &App, survey: Survey) -> CheckReport {
    let Survey { destinations, routes, mut problems, without_route, targets } = survey;
    // What a name leads to is for a probe to find out; an address in the URL is judged by itself.
    problems.extend(targets.iter().filter_map(|(path, target)| {
        let expected = match app.webhook.refusal(target)? {
            Blocked::Forbidden => "an address that may be connected to; this one never may",
            Blocked::Private => "an address in a network of ALLOW_PRIVATE_CIDRS, or a public one",
            Blocked::PlainHttp => "https://, or an address in a network of ALLOW_PRIVATE_CIDRS",
        };
        Some(Problem::new(format!("{path}.url"), expected))
    }));
    CheckReport::new(destinations, routes, problems, without_route)
}
