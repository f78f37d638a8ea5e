//! From an invocation to its answer.

use std::panic::AssertUnwindSafe;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::join_all;
use lambda_runtime::{Context, LambdaEvent};
use serde_json::value::RawValue;

use super::answer::{self, Answer, InvocationFailed};
use super::envelope::{Event, open};
use crate::deliver::{App, Deadline, answer_admin, record};
use crate::domain::record::{Origin, Record};
use crate::telemetry::Invocation;

/// Handles one invocation. A panic's text may hold anything, and the runtime would tell it to the caller: it ends here.
pub async fn handle(app: &App, event: LambdaEvent<Box<RawValue>>) -> Result<Answer, InvocationFailed> {
    let invocation = invocation(&event.context);
    let work = AssertUnwindSafe(invocation.scope(answer(app, event))).catch_unwind();
    work.await.unwrap_or(Err(InvocationFailed::Panic))
}

/// All records of an event are delivered together; each has its own fate.
async fn answer(app: &App, event: LambdaEvent<Box<RawValue>>) -> Result<Answer, InvocationFailed> {
    let deadline = Deadline::of_invocation(event.context.deadline);
    let received = Bytes::from(Box::<str>::from(event.payload).into_boxed_bytes());
    let (is_batch, records) = match open(&received) {
        Ok(Event::Outcomes { is_batch, records }) => (is_batch, records),
        Ok(Event::Admin(request)) => {
            // Boxed, as whatever is rare: the futures of every invocation stay small, which are moved many times.
            let answering = Box::pin(answer_admin(app, request, &event.context.request_id, deadline));
            return Ok(Answer::Admin(answering.await));
        }
        // It is dead-lettered as it came.
        Err(rejected) => {
            let unknown = Record::new(Origin::Direct, None, Err(rejected), received);
            let report = Box::pin(record(app, &unknown, deadline)).await;
            return if report.acknowledged() { answer::rejected(report) } else { Err(InvocationFailed::UnknownShape) };
        }
    };
    let reports = join_all(records.iter().map(|item| record(app, item, deadline))).await;
    if is_batch { answer::batch(&records, &reports) } else { answer::reports(reports) }
}

fn invocation(context: &Context) -> Invocation {
    // "Root=1-5759e988-…;Parent=…;Sampled=1": the header's form in X-Ray's documentation. Of what is not sampled, X-Ray
    // has nothing to show.
    let part = |header: &str, name: &str| {
        header.split(';').find_map(|part| part.trim().strip_prefix(name)).map(ToOwned::to_owned)
    };
    let root = |header: &String| part(header, "Root=").filter(|_| part(header, "Sampled=").as_deref() != Some("0"));
    Invocation { request_id: context.request_id.clone(), xray_trace_id: context.xray_trace_id.as_ref().and_then(root) }
}
