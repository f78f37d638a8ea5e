//! What became of a delivery in this invocation: the content of its result line and of the direct answer.

use std::fmt::Write as _;

use super::attempt::{AttemptResult, Timings};
use super::destination::{Destination, Filter};
use super::failure::Finding;
use super::outcome::Outcome;
use super::problem::label;
use super::record::Origin;
use super::verdict::{Verdict, verdict};

/// How a delivery ended for this invocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    Delivered,
    /// Not wanted by the destination's options.
    Filtered,
    /// No route: nobody was meant to get it, or somebody should have been.
    Unrouted,
    /// Not delivered and nowhere else: its source still has it, or learns of the failure.
    Kept,
    /// What came in is no outcome.
    Refused,
}

impl Settled {
    pub fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Filtered => "filtered",
            Self::Unrouted => "unrouted",
            Self::Kept => "kept",
            Self::Refused => "refused",
        }
    }
}

/// How grave a line is: ERROR when a person must act, WARN when it will be tried again, INFO otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gravity {
    Info,
    Warn,
    Error,
}

/// What became of one delivery, or of a record that has none.
#[derive(Debug, Clone)]
pub struct Report {
    pub settled: Settled,
    /// Whether the source may forget the record, as far as this delivery is concerned.
    pub acknowledged: bool,
    pub gravity: Gravity,
    pub destination: Option<String>,
    /// `scheme://host[:port]`.
    pub host: Option<String>,
    /// Number of the attempt over the delivery's life; nothing where there was no attempt.
    pub attempt: Option<u32>,
    pub status: Option<u16>,
    pub timings: Option<Timings>,
    pub finding: Option<Finding>,
    pub filter: Option<Filter>,
    /// What happens next to what is not settled.
    pub next: Option<&'static str>,
}

impl Report {
    fn new(settled: Settled, gravity: Gravity) -> Self {
        Self {
            settled,
            acknowledged: true,
            gravity,
            destination: None,
            host: None,
            attempt: None,
            status: None,
            timings: None,
            finding: None,
            filter: None,
            next: None,
        }
    }

    pub fn filtered(destination: &Destination, filter: Filter) -> Self {
        Self { filter: Some(filter), ..Self::new(Settled::Filtered, Gravity::Info) }
            .at(&destination.id, destination.endpoint.origin())
    }

    /// No route, and nobody has to hear of it.
    pub fn unrouted() -> Self {
        Self::new(Settled::Unrouted, Gravity::Info)
    }

    /// What a finding means for the source that handed the outcome over.
    pub fn of(finding: Finding, origin: Origin) -> Self {
        let verdict = verdict(&finding);
        let (settled, gravity) = match (&finding, verdict) {
            (_, Verdict::Delivered) => {
                return Self { finding: Some(finding), ..Self::new(Settled::Delivered, Gravity::Info) };
            }
            (Finding::Unrouted, _) => (Settled::Unrouted, Gravity::Error),
            (Finding::Refused(_), _) => (Settled::Refused, Gravity::Error),
            (_, Verdict::Permanent) => (Settled::Kept, Gravity::Error),
            (_, Verdict::Retry { .. } | Verdict::RefreshSecrets | Verdict::Keep) => {
                let tried_again = origin != Origin::Direct && !finding.needs_a_person();
                (Settled::Kept, if tried_again { Gravity::Warn } else { Gravity::Error })
            }
        };
        Self { acknowledged: false, next: Some(origin.next()), finding: Some(finding), ..Self::new(settled, gravity) }
    }

    #[must_use]
    pub fn at(mut self, destination: &str, host: &str) -> Self {
        self.destination = Some(destination.to_owned());
        self.host = Some(host.to_owned());
        self
    }

    #[must_use]
    pub fn attempted(mut self, attempt: u32, timings: Timings) -> Self {
        if let Some(Finding::Attempt(AttemptResult::Response { status, .. })) = &self.finding {
            self.status = Some(*status);
        }
        self.attempt = Some(attempt);
        self.timings = Some(timings);
        self
    }

    /// One sentence (or two, with the remedy) that is enough by itself.
    pub fn sentence(&self, outcome: Option<&Outcome>) -> String {
        let mut text = String::new();
        match (&self.destination, &self.host) {
            (Some(id), Some(host)) => text.push_str(&format!("{id} ({host}): ")),
            (Some(id), None) => text.push_str(&format!("{id}: ")),
            _ => {}
        }
        match (self.settled, self.finding.as_ref().and_then(Finding::cause)) {
            (_, Some(cause)) => {
                text.push_str(&cause);
                if let Some(excerpt) = self.finding.as_ref().and_then(Finding::excerpt) {
                    let _ = write!(text, " (it says: {excerpt})");
                }
            }
            (Settled::Filtered, _) => text.push_str(match self.filter {
                Some(Filter::Outcomes) => "not sent, the destination's `outcomes` leave it out",
                Some(Filter::MinSeverity) => "not sent, it is below the destination's `min_severity`",
                Some(Filter::Inactive) | None => "not sent, the destination is inactive",
            }),
            (Settled::Unrouted, _) => text.push_str("not sent, there is no route for it"),
            (..) => {
                text.push_str("delivered");
                if let (Some(status), Some(timings)) = (self.status, self.timings) {
                    let _ = write!(text, ", HTTP {status} after {} ms", timings.total.as_millis());
                }
            }
        }
        if let Some(attempt) = self.attempt.filter(|_| self.settled != Settled::Delivered) {
            let _ = write!(text, ", attempt {attempt}");
        }
        if let Some(outcome) = outcome {
            let _ = write!(text, ", for detection {} '{}'", label(&outcome.detection_id, 64), outcome.detection_name);
        }
        if let Some(next) = self.next {
            let _ = write!(text, "; {next}");
        }
        text.push('.');
        if let Some(code) = self.finding.as_ref().and_then(Finding::code) {
            let _ = write!(text, " {}", code.remedy());
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::attempt::{Cause, ConnectCause, Sent};
    use crate::domain::endpoint::EndpointTemplate;

    fn soc() -> Destination {
        Destination::new("soc", "p", EndpointTemplate::parse("https://soc.example.com/SECRET").unwrap(), 30)
    }

    fn outcome() -> Outcome {
        Outcome::parse(&bytes::Bytes::from_static(include_bytes!("../../events/matched.json"))).unwrap()
    }

    fn refused_connection() -> Finding {
        Finding::Attempt(AttemptResult::Failed { cause: Cause::Connect(ConnectCause::Refused), sent: Sent::Nothing })
    }

    #[test]
    fn a_failures_sentence_names_destination_cause_detection_next_and_remedy() {
        let report = Report::of(refused_connection(), Origin::Sqs)
            .at("soc", soc().endpoint.origin())
            .attempted(2, Timings::default());
        assert_eq!(
            report.sentence(Some(&outcome())),
            "soc (https://soc.example.com): connection refused, attempt 2, for detection 123 'Suspicious Login Attempts'; \
             it stays in its queue and comes again after the visibility timeout. \
             Verify the URL and the firewall rules: nothing listens there, or it is blocked."
        );
        assert!(!report.acknowledged);
    }

    #[test]
    fn gravity_tells_whether_a_person_must_act() {
        let of_status = |status| {
            Report::of(
                Finding::Attempt(AttemptResult::Response {
                    status,
                    retry_after: None,
                    location_origin: None,
                    excerpt: None,
                }),
                Origin::Sqs,
            )
        };
        for (status, gravity) in [
            (200, Gravity::Info),
            (503, Gravity::Warn),
            (401, Gravity::Error),
            (404, Gravity::Error),
            (410, Gravity::Error),
            (301, Gravity::Error),
            (429, Gravity::Warn),
        ] {
            assert_eq!(of_status(status).gravity, gravity, "{status}");
            assert_eq!(of_status(status).acknowledged, status == 200, "{status}");
        }
        assert_eq!(Report::of(refused_connection(), Origin::Direct).gravity, Gravity::Error);
        assert_eq!(Report::of(refused_connection(), Origin::Sns).gravity, Gravity::Warn);
        assert_eq!(Report::of(Finding::NotStarted, Origin::Sqs).gravity, Gravity::Warn);
        assert_eq!(Report::of(Finding::LookupFailed("x".into()), Origin::Sqs).gravity, Gravity::Error);
    }

    #[test]
    fn what_is_held_back_on_purpose_is_acknowledged_and_says_why() {
        for (filter, reason) in
            [(Filter::Inactive, "inactive"), (Filter::Outcomes, "`outcomes`"), (Filter::MinSeverity, "`min_severity`")]
        {
            let report = Report::filtered(&soc(), filter);
            assert!(report.acknowledged && report.sentence(None).contains(reason));
        }
        assert!(Report::unrouted().acknowledged);
        assert!(!Report::of(Finding::Unrouted, Origin::Sqs).acknowledged);
    }
}
