//! What became of a delivery in this invocation: the content of its result line and of the direct answer.

use std::fmt::Write as _;
use std::time::Duration;

use super::attempt::Timings;
use super::destination::{Destination, Filter};
use super::failure::Finding;
use super::outcome::{Kind, Outcome};
use super::problem::label;
use super::record::Origin;
use super::verdict::{Verdict, verdict};

/// How a delivery ended for this invocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    Delivered,
    /// Written to the retry queue for its next attempt.
    Parked,
    /// Still in the retry queue, hidden until its next attempt.
    Waiting,
    /// Written to the dead-letter queue: a person must act.
    DeadLettered,
    /// Not wanted by the destination's options.
    Filtered,
    /// No route, and nobody has to hear of it.
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
            Self::Parked => "parked",
            Self::Waiting => "waiting",
            Self::DeadLettered => "dead_lettered",
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
    /// Attempts that the delivery has over its life; nothing without queues, where its source decides.
    pub attempts_max: Option<u32>,
    pub status: Option<u16>,
    pub timings: Option<Timings>,
    pub finding: Option<Finding>,
    pub filter: Option<Filter>,
    /// How long it has been waiting in the retry queue, where it goes on doing so.
    pub parked_for: Option<Duration>,
    /// What happens next to what is not settled.
    pub next: Option<String>,
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
            attempts_max: None,
            status: None,
            timings: None,
            finding: None,
            filter: None,
            parked_for: None,
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
            (Finding::Refused(_), _) => (Settled::Refused, Gravity::Error),
            (_, Verdict::Permanent) => (Settled::Kept, Gravity::Error),
            (_, Verdict::Retry { .. } | Verdict::RefreshSecrets { .. } | Verdict::Keep) => {
                let tried_again = origin != Origin::Direct && !finding.needs_a_person();
                (Settled::Kept, if tried_again { Gravity::Warn } else { Gravity::Error })
            }
        };
        Self {
            acknowledged: false,
            next: Some(origin_next(origin).to_owned()),
            finding: Some(finding),
            ..Self::new(settled, gravity)
        }
    }

    /// A fault of ours: its message stays in its queue, hidden for a while.
    pub fn hidden(finding: Finding, wait: Duration) -> Self {
        let next = format!("it stays in its queue, next try in {}", in_words(wait));
        Self { next: Some(next), ..Self::of(finding, Origin::Sqs) }
    }

    /// It will be tried again after a wait: from the retry queue, parked there just now or waiting there already.
    pub fn again(settled: Settled, finding: Finding, wait: Duration) -> Self {
        let gravity = match finding {
            // On purpose.
            Finding::Paused => Gravity::Info,
            _ if finding.needs_a_person() => Gravity::Error,
            _ => Gravity::Warn,
        };
        let next = format!("next try in {}", in_words(wait));
        Self {
            acknowledged: settled == Settled::Parked,
            next: Some(next),
            finding: Some(finding),
            ..Self::new(settled, gravity)
        }
    }

    /// A person must act: it is in the dead-letter queue.
    pub fn dead_lettered(finding: Finding) -> Self {
        let settled = if matches!(finding, Finding::Refused(_)) { Settled::Refused } else { Settled::DeadLettered };
        let next = "it is in the dead-letter queue".to_owned();
        Self { next: Some(next), finding: Some(finding), ..Self::new(settled, Gravity::Error) }
    }

    #[must_use]
    pub fn at(mut self, destination: &str, host: &str) -> Self {
        self.destination = Some(destination.to_owned());
        self.host = Some(host.to_owned());
        self
    }

    #[must_use]
    pub fn attempted(mut self, attempt: u32, attempts_max: Option<u32>, timings: Timings) -> Self {
        self.status = self.finding.as_ref().and_then(Finding::status);
        self.attempt = Some(attempt);
        self.attempts_max = attempts_max;
        self.timings = Some(timings);
        self
    }

    /// Whether it now lies in the dead-letter queue.
    pub fn is_dead_letter(&self) -> bool {
        self.settled == Settled::DeadLettered || (self.settled == Settled::Refused && self.acknowledged)
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
                if let Some(timings) = self.timings.filter(|_| self.finding.as_ref().is_some_and(Finding::is_timeout)) {
                    let _ = write!(text, " (it was given {:.0} s)", timings.total.as_secs_f64());
                }
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
            if let Some(max) = self.attempts_max {
                let _ = write!(text, " of {max}");
            }
        }
        if let Some(outcome) = outcome {
            let _ = write!(text, ", for detection {}", label(&outcome.detection_id, 64));
            if let Some(name) = &outcome.about.detection_name {
                let _ = write!(text, " '{name}'");
            }
            if outcome.kind() == Kind::Error {
                text.push_str(", which itself failed (its outcome is ERROR)");
            }
        }
        if let Some(next) = &self.next {
            let _ = write!(text, "; {next}");
        }
        text.push('.');
        if let Some(code) = self.finding.as_ref().and_then(Finding::code) {
            let _ = write!(text, " {}", code.remedy());
        }
        text
    }
}

/// What happens next to an outcome that is neither delivered nor in a queue of ours.
fn origin_next(origin: Origin) -> &'static str {
    match origin {
        Origin::Direct => "the invocation fails, its caller has to try again",
        Origin::Sqs => "it stays in its queue and comes again after the visibility timeout",
        Origin::Sns | Origin::EventBridge => "the invocation fails, Lambda tries it again",
    }
}

/// A wait as a person says it.
fn in_words(wait: Duration) -> String {
    match wait.as_secs() {
        seconds @ 0..=119 => format!("{seconds} s"),
        seconds @ 120..=7199 => format!("{} m", (seconds + 30) / 60),
        seconds => format!("{:.1} h", Duration::from_secs(seconds).as_secs_f64() / 3600.0),
    }
}

#[cfg(test)]
mod tests;
