//! What an administrator asks: a probe of one destination, a check of everything, the dead letters, a redrive.

use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde_json::json;

use super::{App, Deadline};
use crate::domain::address::Blocked;
use crate::domain::admin::{DeadLetters, Redrive, Redriven, Request, Selection};
use crate::domain::attempt::Attempt;
use crate::domain::check::Check;
use crate::domain::destination::Destination;
use crate::domain::failure::{Code, Failure, Level};
use crate::domain::outcome::Payload;
use crate::domain::problem::{Problem, printable};
use crate::domain::report::{Report, Subject, Told};
use crate::outbound::dead_letters;
use crate::outbound::registry::Survey;
use crate::outbound::webhook::AttemptTimeout;
use crate::telemetry;

const TIME_IS_OVER: &str = "this function's time was over before all of it was read";

const NO_QUEUES: &str = "no queues are configured; set RETRY_QUEUE_URL and DEAD_LETTER_QUEUE_URL";

/// The message that the platform documents for testing an endpoint.
const TEST_MESSAGE: &str = r#"{"test":"message","detection_name":"Test Detection"}"#;

#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Answer {
    Probe(Box<Probe>),
    Check(Check),
    DeadLetters(DeadLetters),
    Redrive(Redriven),
    /// The request is wrong or could not be carried out: what was expected, or what to do.
    Error {
        error: String,
    },
}

/// The answer to a probe: a delivery's report, without a result.
#[derive(Debug, Serialize)]
pub struct Probe {
    pub probe: String,
    /// Whether the endpoint took the test message.
    pub ok: bool,
    #[serde(flatten)]
    pub told: Told,
}

/// Does what is asked. A wrong request is answered too: a failed invocation would be repeated where it is asynchronous.
pub async fn answer(app: &App, request: Result<Request, Problem>, request_id: &str, deadline: Deadline) -> Answer {
    let answer = match request {
        Ok(Request::Probe(id)) => Ok(Answer::Probe(Box::new(probe(app, &id, request_id, deadline).await))),
        Ok(Request::Check(_)) => Ok(Answer::Check(check(app, deadline).await)),
        Ok(Request::DeadLetters(selection)) => list(app, &selection, deadline).await.map(Answer::DeadLetters),
        Ok(Request::Redrive(of)) => redrive(app, &of, deadline).await.map(Answer::Redrive),
        Err(problem) => Err(problem.to_string()),
    };
    answer.unwrap_or_else(|error| {
        telemetry::line(Level::Warn, &format!("request not carried out: {error}."), &json!({}));
        Answer::Error { error }
    })
}

async fn list(app: &App, selection: &Selection, deadline: Deadline) -> Result<DeadLetters, String> {
    let queues = app.queues.as_ref().ok_or(NO_QUEUES)?;
    let left = deadline.left();
    tokio::time::timeout(left, dead_letters::list(queues, selection, left)).await.map_err(|_| TIME_IS_OVER)?
}

async fn redrive(app: &App, of: &Redrive, deadline: Deadline) -> Result<Redriven, String> {
    let queues = app.queues.as_ref().ok_or(NO_QUEUES)?;
    let redriven = dead_letters::redrive(queues, of, deadline.left()).await;
    let level = if redriven.error.is_some() { Level::Warn } else { Level::Info };
    telemetry::line(level, &redriven.sentence(of), &json!({}));
    Ok(redriven)
}

/// Sends the test message to one destination, from where the function runs. Nothing is kept or tried again.
async fn probe(app: &App, id: &str, request_id: &str, deadline: Deadline) -> Probe {
    let (destination, result) = match deadline.limit(app.registry.current(id)).await {
        Ok(destination) => {
            let result = send_test(app, &destination, request_id, deadline).await;
            (Some(destination), result)
        }
        Err(failure) => (None, Err(failure)),
    };
    let id = printable(id, 64);
    let tried = result.as_ref().ok();
    let subject = Subject {
        destination: Some(&id),
        endpoint: destination.as_ref().map(|destination| destination.endpoint.origin()),
        tried,
        ..Subject::default()
    };
    let failure = result.as_ref().map_or_else(Some, |attempt| attempt.result.as_ref().err());
    let report = Report::probe(&subject, failure, SystemTime::now());
    telemetry::report(&report);
    Probe { probe: id.clone(), ok: failure.is_none(), told: report.into() }
}

async fn send_test(
    app: &App,
    destination: &Destination,
    request_id: &str,
    deadline: Deadline,
) -> Result<Attempt, Failure> {
    let not_started = || Failure::new(Code::NotStarted);
    let target = deadline.limit(app.registry.resolve(destination, Duration::ZERO)).await?;
    // An open connection or a resumed session would hide what is asked for.
    let webhook = app.webhook.for_probe().map_err(|_| not_started())?;
    let timeout = AttemptTimeout::of(target.timeout, deadline.left()).ok_or_else(not_started)?;
    // An id of its own, so that an endpoint that drops duplicates takes every probe.
    let payload = Payload { webhook_id: format!("probe-{request_id}"), body: TEST_MESSAGE.into() };
    Ok(webhook.post(&target, &payload, timeout).await)
}

/// Reads everything that is configured and says what is wrong with it. Nothing is sent to any destination.
async fn check(app: &App, deadline: Deadline) -> Check {
    // What an attempt may take at most in an invocation of this function: this one has just begun.
    let left = deadline.left();
    let check = match deadline.limit(app.registry.survey()).await {
        Err(failure) => Check::failed(&failure),
        Ok(survey) => checked(app, survey, left),
    };
    let level = if check.ok { Level::Info } else { Level::Warn };
    let fields = check.code.map_or(json!({}), |code| json!({ "code": code }));
    telemetry::line(level, &check.sentence(), &fields);
    check
}

fn checked(app: &App, survey: Survey, longest: Duration) -> Check {
    // The check itself took a moment of it: that must not be held against a destination.
    let longest = longest + Duration::from_millis(500);
    let Survey { document, mut problems, targets } = survey;
    for (path, target) in &targets {
        // What a name leads to is for a probe to find out; an address in the URL is checked by itself.
        let blocked = app.webhook.blocked(target).map(|blocked| match blocked {
            Blocked::Forbidden => "an address that may be connected to; this one never may",
            Blocked::Private => "an address in a network of ALLOW_PRIVATE_CIDRS, or a public one",
            Blocked::PlainHttp => "https://, or an address in a network of ALLOW_PRIVATE_CIDRS, or ALLOW_PLAIN_HTTP",
        });
        problems.extend(blocked.map(|expected| Problem::new(format!("{path}.url"), expected)));
        if target.timeout > longest {
            let expected =
                format!("at most {} s, or a longer time for the function (LongestTimeout)", longest.as_secs());
            problems.push(Problem::new(format!("{path}.timeout"), expected));
        }
    }
    Check::new(&document, problems)
}
