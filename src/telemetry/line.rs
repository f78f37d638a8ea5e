//! The lines there are, and the fields each has.

use std::time::Duration;

use tracing::Value;

use crate::domain::attempt::Timings;
use crate::domain::check::CheckReport;
use crate::domain::code::Code;
use crate::domain::failure::Finding;
use crate::domain::outcome::{Kind, Severity};
use crate::domain::probe::ProbeReport;
use crate::domain::problem::{Problem, label};
use crate::domain::record::Record;
use crate::domain::report::{Gravity, Report};

/// An event whose level is known at run time only; tracing fixes the level of each place in the source.
macro_rules! at {
    ($gravity:expr, $($fields:tt)*) => {
        match $gravity {
            Gravity::Info => tracing::info!($($fields)*),
            Gravity::Warn => tracing::warn!($($fields)*),
            Gravity::Error => tracing::error!($($fields)*),
        }
    };
}

/// The result line of a delivery, or of a record that has none.
pub fn result(report: &Report, record: &Record) {
    let (outcome, refused) = (record.outcome.as_ref().ok(), record.outcome.as_ref().err());
    let message = record.message.as_ref().filter(|_| refused.is_some());
    let message_id = message.and_then(|message| message.id.as_ref()).map(|id| label(id, 128));
    let found_by = refused.map(|_| record.found_by()).filter(|text| !text.is_empty());
    let code = report.finding.as_ref().and_then(Finding::code);
    let cause = report.finding.as_ref().and_then(Finding::cause);
    let timings = report.timings.unwrap_or_default();
    let about = record.about();
    let warnings = outcome.map(|outcome| outcome.warnings.join(", ")).filter(|names| !names.is_empty());
    let detection_id = about.detection_id.as_deref().map(DetectionId::of);
    at!(
        report.gravity,
        result = report.settled.name(),
        code = code.map(Code::name),
        cause = cause.as_deref(),
        remedy = code.map(Code::remedy),
        excerpt = report.finding.as_ref().and_then(Finding::excerpt),
        next = report.next.as_deref(),
        detection_id = detection_id.as_ref().map(DetectionId::value),
        detection_name = about.detection_name.as_deref(),
        severity = about.severity.map(Severity::name),
        outcome = about.kind.map(Kind::name),
        run_id = about.run_id.as_deref(),
        message_id = message_id.as_deref(),
        destination = report.destination.as_deref(),
        host = report.host.as_deref(),
        attempt = report.attempt,
        attempts_max = report.attempts_max,
        status = report.status,
        dns_ms = timings.dns.map(milliseconds),
        connect_ms = timings.connect.map(milliseconds),
        first_byte_ms = timings.first_byte.map(milliseconds),
        total_ms = report.timings.map(|timings: Timings| milliseconds(timings.total)),
        ambiguous = report.finding.as_ref().filter(|finding| finding.is_ambiguous()).map(|_| true),
        warnings = warnings.as_deref(),
        trace_id = about.trace_id.as_deref(),
        search_id = about.search_id.as_deref(),
        deliveries = 1,
        attempts = report.timings.map(|_| 1),
        parked_age_seconds = report.parked_for.map(|age| age.as_secs()),
        dead_lettered = count(report.is_dead_letter()),
        critical_dead_lettered = count(report.is_dead_letter() && about.severity == Some(Severity::Critical)),
        "{}{}",
        found_by.map(|text| format!("{text}: ")).unwrap_or_default(),
        report.sentence(outcome)
    );
}

/// A metric that is there only when it counts: CloudWatch charges for what is there.
fn count(counts: bool) -> Option<u64> {
    counts.then_some(1)
}

/// A number stays a number in the log, as queries expect of it.
enum DetectionId {
    Number(i64),
    Text(String),
}

impl DetectionId {
    fn of(id: &str) -> Self {
        // "007" is another id than 7, and is found again only as it is written.
        let number = id.parse().ok().filter(|number: &i64| number.to_string() == id);
        number.map_or_else(|| Self::Text(label(id, 64)), Self::Number)
    }

    fn value(&self) -> &dyn Value {
        match self {
            Self::Number(number) => number,
            Self::Text(text) => text,
        }
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// What a probe found. It is no delivery, so it has no `result`.
pub fn probe(report: &ProbeReport) {
    let place = report.host.as_ref().map(|host| format!(" ({host})")).unwrap_or_default();
    let (cause, remedy) = (report.cause.as_deref().unwrap_or("the endpoint took the test message"), report.remedy);
    at!(
        if report.ok { Gravity::Info } else { Gravity::Warn },
        probe = report.probe,
        code = report.code,
        cause = report.cause.as_deref(),
        remedy,
        host = report.host.as_deref(),
        status = report.status,
        "probe of {}{place}: {cause}.{}",
        report.probe,
        remedy.map(|remedy| format!(" {remedy}")).unwrap_or_default()
    );
}

/// What a check found.
pub fn check(report: &CheckReport) {
    let first = report.problems.first().map(|problem| format!(" The answer lists them; the first is {problem}."));
    let found = match (&report.cause, report.problems_total) {
        (Some(cause), _) => format!("{cause}. {}", report.remedy.unwrap_or_default()),
        (None, 0) => "nothing is wrong.".to_owned(),
        (None, count) => format!("{count} problem(s).{}", first.unwrap_or_default()),
    };
    at!(
        if report.ok { Gravity::Info } else { Gravity::Warn },
        check = true,
        code = report.code,
        problems = report.problems_total as u64,
        "check of {} destination(s) and {} route(s): {found}",
        report.destinations,
        report.routes
    );
}

/// What is wrong with single destinations and routes, said when a document is read and not at every outcome.
pub fn document_problems(source: &str, problems: &[Problem]) {
    /// Lines about one document; what is wrong a hundred times is usually wrong once.
    const SHOWN: usize = 100;
    for problem in problems.iter().take(SHOWN) {
        tracing::error!(
            path = problem.path,
            "{source}: {problem}. What is named is not delivered to until it is corrected."
        );
    }
    if problems.len() > SHOWN {
        tracing::error!("{source}: and {} more problems.", problems.len() - SHOWN);
    }
}

/// Known entries serve on although their store cannot be read.
pub fn serving_stale(what: &str, reason: &str) {
    tracing::warn!(
        cause = reason,
        "{what} cannot be looked up, those known from before serve on for up to 15 minutes: {reason}."
    );
}

/// A name that resolves to allowed and to refused addresses.
pub fn mixed_addresses(host: &str, refused: usize) {
    tracing::warn!(
        "{} resolves to {refused} address(es) that may not be connected to, beside others that may; the others are used. \
         Remove the private or forbidden addresses from the name.",
        label(host, 253)
    );
}

/// The settings are wrong: the function does not start.
pub fn failed_start(problems: &str) {
    tracing::error!(
        code = Code::InvalidSettings.name(),
        cause = problems,
        remedy = Code::InvalidSettings.remedy(),
        "{}: {problems}. {}",
        Code::InvalidSettings.cause(),
        Code::InvalidSettings.remedy()
    );
}

/// Started by hand.
pub fn not_inside_lambda() {
    tracing::error!("This program runs inside AWS Lambda. To run it on this machine, use `cargo lambda watch`.");
}

/// The Runtime API went away, which ends the process.
pub fn stopped(reason: &str) {
    tracing::error!("the connection to Lambda's Runtime API ended: {}", label(reason, 500));
}

/// A bug of ours; the result line of what was under way follows. The panic's text may hold anything, so it is not
/// printed.
pub(super) fn panicked(location: Option<&std::panic::Location<'_>>) {
    let place = location.map(ToString::to_string).unwrap_or_default();
    tracing::error!(code = Code::Panic.name(), "{} at {place}. {}", Code::Panic.cause(), Code::Panic.remedy());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_detection_id_is_a_number_only_if_it_is_written_as_one() {
        for (id, number) in
            [("7", Some(7)), ("-7", Some(-7)), ("007", None), ("+5", None), ("-0", None), ("det-7", None)]
        {
            let shown = match DetectionId::of(id) {
                DetectionId::Number(number) => Some(number),
                DetectionId::Text(text) => {
                    assert_eq!(text, id);
                    None
                }
            };
            assert_eq!(shown, number, "{id}");
        }
    }
}
