//! The lines there are.

use std::cell::RefCell;

use serde::Serialize;
use serde_json::json;

use crate::domain::failure::{Code, Failure, Level};
use crate::domain::problem::{Problem, printable};
use crate::domain::report::Report;

/// Writes one line: the sentence, and the facts as members of one JSON object.
///
/// tracing fixes the level of each place in the source, and the fields' names; the formatter takes `fields` as they are.
pub fn line(level: Level, message: &str, fields: &impl Serialize) {
    // Plain data: it can always be written as JSON.
    let fields = serde_json::to_string(fields).unwrap_or_default();
    match level {
        Level::Info => tracing::info!(fields, "{message}"),
        Level::Warn => tracing::warn!(fields, "{message}"),
        Level::Error => tracing::error!(fields, "{message}"),
    }
}

/// The result line of a delivery, or of a record that has none.
pub fn report(report: &Report) {
    line(report.level, &report.message, report);
}

/// The cold start is over.
pub fn started(registry: &str) {
    let version = env!("CARGO_PKG_VERSION");
    let message = format!("version {version} starts, with destinations from {registry}.");
    line(Level::Info, &message, &json!({ "version": version }));
}

/// What is wrong with single destinations and routes, said when a document is read and not at every outcome.
pub fn document_problems(source: &str, problems: &[Problem]) {
    /// Lines about one document; what is wrong a hundred times is usually wrong once.
    const SHOWN: usize = 100;
    for problem in problems.iter().take(SHOWN) {
        let message =
            format!("{source}: {problem}. Operator: correct it; nothing is delivered to what is named until then.");
        line(Level::Error, &message, &json!({ "path": problem.path }));
    }
    if problems.len() > SHOWN {
        line(Level::Error, &format!("{source}: {} more problems.", problems.len() - SHOWN), &json!({}));
    }
}

/// Known entries serve on although their store cannot be read.
pub fn serving_stale(what: &str, failure: &Failure) {
    let message = format!(
        "{what} cannot be looked up, so what is known serves on for up to 15 minutes: {}. Operator: {}.",
        failure.cause(),
        failure.remedy()
    );
    line(Level::Warn, &message, &json!({ "code": failure.row().name }));
}

/// A name that leads to allowed and to blocked addresses.
pub fn mixed_addresses(host: &str, blocked: usize) {
    let message = format!(
        "{} leads to {blocked} address(es) that may not be connected to, beside others that may; the others are used. \
         Operator: take the private or forbidden addresses out of the name.",
        printable(host, 253)
    );
    line(Level::Warn, &message, &json!({}));
}

/// The settings are wrong: the function does not start.
pub fn failed_start(problems: &str) {
    let failure = Failure::new(Code::InvalidSettings).with("problems", problems);
    let message = format!("NOT STARTED: {}. Operator: {}.", failure.cause(), failure.remedy());
    let (row, version) = (failure.row(), env!("CARGO_PKG_VERSION"));
    line(Level::Error, &message, &json!({ "code": row.name, "owner": row.owner.name(), "version": version }));
}

/// Started by hand.
pub fn not_inside_lambda() {
    let message = "This program runs inside AWS Lambda. To run it on this machine, use `cargo lambda watch`.";
    line(Level::Error, message, &json!({}));
}

/// The Runtime API went away, which ends the process.
pub fn stopped(reason: &str) {
    let message = format!("the connection to Lambda's Runtime API ended: {}.", printable(reason, 500));
    line(Level::Error, &message, &json!({}));
}

thread_local! {
    /// Where the last panic of this thread was. The panic's own text may hold anything, so it is not kept.
    static LAST_PANIC: RefCell<String> = RefCell::default();
}

/// A bug of ours; the result line of what was under way follows.
pub(super) fn panicked(location: Option<&std::panic::Location<'_>>) {
    let place = location.map(ToString::to_string).unwrap_or_default();
    let message = format!(
        "a bug in this function, at {place}; the next lines say what became of the alerts. Operator: send this line to the \
         maintainers of this function."
    );
    let version = env!("CARGO_PKG_VERSION");
    let row = Code::Panic.row();
    line(Level::Error, &message, &json!({ "code": row.name, "owner": row.owner.name(), "version": version }));
    LAST_PANIC.with(|last| last.replace(place));
}

/// File and line of the last panic of this thread.
pub fn last_panic() -> String {
    LAST_PANIC.with(|last| last.borrow().clone())
}
