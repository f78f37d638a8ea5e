//! The outcome of a detection's run: what is an outcome, and what is read from it.

use bytes::Bytes;
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::failure::{Code, Failure};
use super::json::{Object, fit_for_sqs, is_integer, string, whole_number, word};
use super::problem::{Problem, printable, sentence};

/// An outcome that will be delivered.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub payload: Payload,
    /// The string, or the number's plain digits: the key by which a route is found, of any length.
    pub detection_id: String,
    /// `severity` and `kind` are always there.
    pub about: About,
    /// Names of documented fields that are missing or odd: the first [`MAX_WARNINGS`], in the order of their table.
    pub warnings: Vec<&'static str>,
}

/// What is sent, and the id that it is sent under.
#[derive(Debug, Clone)]
pub struct Payload {
    /// The outcome's JSON object as it came in, without what surrounds it.
    pub body: Bytes,
    /// Identity of the delivery, the same on every attempt (Standard Webhooks, "webhook-id").
    pub webhook_id: String,
}

/// What log lines and answers say about an outcome, as far as it could be read. Texts are fit to be shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct About {
    pub detection_id: Option<String>,
    pub detection_name: Option<String>,
    pub severity: Option<Severity>,
    pub kind: Option<Kind>,
    pub run_id: Option<String>,
    pub trace_id: Option<String>,
    pub search_id: Option<String>,
}

/// Something that came in and is not an outcome.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rejected {
    /// At least one.
    pub problems: Vec<Problem>,
    pub about: About,
    /// What to do about it, where that is another thing than to send a better outcome.
    pub fix: Option<&'static str>,
    /// Whether it is a whole event of unknown shape.
    pub is_unknown_event: bool,
}

impl Rejected {
    /// Why it is dead-lettered.
    pub fn failure(&self) -> Failure {
        let code = if self.is_unknown_event { Code::UnknownEvent } else { Code::InvalidOutcome };
        Failure::new(code).with("problems", sentence(&self.problems)).with_some("fix", self.fix)
    }
}

impl From<Problem> for Rejected {
    fn from(problem: Problem) -> Self {
        Self { problems: vec![problem], ..Self::default() }
    }
}

/// How grave a detection is; ordered, so that `min_severity` can be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Severity {
    Low,
    Medium,
    High,
    Critical,
    /// Missing, or a value that did not exist when this was built. It ranks highest: it passes every filter.
    #[serde(skip_deserializing)]
    Unknown,
}

impl Severity {
    pub const EXPECTED: &str = "CRITICAL, HIGH, MEDIUM or LOW";

    /// For log lines; an unknown value is not repeated, because it is the producer's text.
    pub fn name(self) -> &'static str {
        match self {
            Self::Critical => "CRITICAL",
            Self::High => "HIGH",
            Self::Medium => "MEDIUM",
            Self::Low => "LOW",
            Self::Unknown => "UNKNOWN",
        }
    }
}

/// What the run ended in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Kind {
    Matched,
    NotMatched,
    Error,
    /// A value that did not exist when this was built: treated as an alert, passes every filter.
    #[serde(skip_deserializing)]
    Unknown,
}

impl Kind {
    pub const EXPECTED: &str = "MATCHED, NOT_MATCHED or ERROR";

    /// Whether somebody must hear of it: everything but a run that found nothing.
    pub fn is_alert(self) -> bool {
        self != Self::NotMatched
    }
}

/// How many warnings an outcome carries at most, so that a log line stays short.
pub const MAX_WARNINGS: usize = 10;

type Check = fn(Option<&RawValue>) -> bool;

/// The documented fields that no delivery depends on, and what each must be to raise no warning.
const DOCUMENTED: [(&str, Check); 18] = [
    ("severity", |value| value.and_then(word::<Severity>).is_some()),
    ("outcome", |value| value.and_then(word::<Kind>).is_some()),
    ("detection_name", is_text),
    ("match_count", is_number),
    ("replay_link", is_text),
    ("run_id", is_text),
    ("run_type", |value| is_one_of(value, &["SCHEDULED", "MANUAL"])),
    ("ran_at", is_text),
    ("range_start", is_text),
    ("range_end", is_text),
    ("match_operator", is_text),
    ("match_threshold", is_number),
    ("match_eagerness", |value| is_one_of(value, &["EAGER", "EXHAUSTIVE"])),
    ("errors", |value| value.is_some_and(|value| value.get().starts_with('['))),
    ("description", |value| is_nothing(value) || is_text(value)),
    ("match_exhaustiveness", |value| is_nothing(value) || is_one_of(value, &["COMPLETED", "STOPPED_EARLY"])),
    ("search_id", |value| is_nothing(value) || is_text(value)),
    ("trace_id", |value| is_nothing(value) || is_text(value)),
];

fn text(value: Option<&RawValue>) -> Option<String> {
    value.and_then(string)
}

fn is_text(value: Option<&RawValue>) -> bool {
    value.is_some_and(|value| value.get().starts_with('"'))
}

fn is_number(value: Option<&RawValue>) -> bool {
    value.is_some_and(|value| is_integer(value.get()))
}

fn is_one_of(value: Option<&RawValue>, known: &[&str]) -> bool {
    text(value).is_some_and(|text| known.contains(&text.as_str()))
}

/// Missing or null.
fn is_nothing(value: Option<&RawValue>) -> bool {
    value.is_none_or(|value| value.get() == "null")
}

/// Whether an object means to be an outcome: it has at least one of the fields that only outcomes have.
pub fn resembles(object: &Object<'_>) -> bool {
    const TELLING: [&str; 6] = ["detection_id", "detection_name", "severity", "outcome", "match_count", "replay_link"];
    TELLING.iter().any(|name| object.get(name).is_some())
}

impl Outcome {
    /// Reads an outcome from a text of its own.
    pub fn parse(text: &Bytes) -> Result<Self, Rejected> {
        let json = std::str::from_utf8(text).map_err(|_| Problem::new("$", "UTF-8 text"))?;
        let object = Object::read(json);
        Self::read(text.slice_ref(object.json.as_bytes()), &object)
    }

    /// Reads an outcome from its object; `body` is the object's text.
    pub fn read(body: Bytes, object: &Object<'_>) -> Result<Self, Rejected> {
        let shown = |name: &str, max| text(object.get(name)).map(|text| printable(&text, max));
        let detection_id = object.get("detection_id");
        let detection_id = detection_id.and_then(|value| string(value).or_else(|| whole_number(value.get())));
        let outcome = object.get("outcome").filter(|value| is_text(Some(value)));
        let mut about = About {
            detection_id: detection_id.as_ref().map(|id| printable(id, 64)),
            detection_name: shown("detection_name", 200),
            severity: object.get("severity").map(|value| word(value).unwrap_or(Severity::Unknown)),
            kind: outcome.map(|value| word(value).unwrap_or(Kind::Unknown)),
            run_id: shown("run_id", 128),
            trace_id: shown("trace_id", 128),
            search_id: shown("search_id", 128),
        };
        let problems = problems(object, detection_id.is_some(), about.kind.is_some());
        let Some(detection_id) = detection_id.filter(|_| problems.is_empty()) else {
            return Err(Rejected { problems, about, ..Rejected::default() });
        };
        about.severity.get_or_insert(Severity::Unknown);
        let warnings = DOCUMENTED.iter().filter(|(name, is_as_documented)| !is_as_documented(object.get(name)));
        let warnings = warnings.map(|(name, _)| *name).take(MAX_WARNINGS).collect();
        Ok(Self { payload: Payload::new(&body), detection_id, about, warnings })
    }

    pub fn severity(&self) -> Severity {
        self.about.severity.unwrap_or(Severity::Unknown)
    }

    pub fn kind(&self) -> Kind {
        self.about.kind.unwrap_or(Kind::Unknown)
    }
}

/// Why an object is not an outcome: all reasons, so that a producer mends them at once.
fn problems(object: &Object<'_>, has_id: bool, has_kind: bool) -> Vec<Problem> {
    if let Some(problem) = &object.problem {
        return vec![problem.clone()];
    }
    let required = [("detection_id", "a string or a whole number", has_id), ("outcome", Kind::EXPECTED, has_kind)];
    let wrong = required.into_iter().filter(|(.., is_there)| !is_there);
    wrong
        .map(|(name, expected, _)| match object.get(name) {
            Some(_) => Problem::new(name, expected),
            None => Problem::new(name, format!("{expected}, but the field is missing")),
        })
        .collect()
}

impl Payload {
    /// The body as every attempt sends it. The retry queue must be able to carry it, so what SQS refuses is spelled
    /// here, once. The id comes from the content, so that nobody can borrow the id of another outcome.
    pub fn new(body: &Bytes) -> Self {
        let body = fit_for_sqs(body);
        let digest = digest(&SHA256, &body);
        let first: [u8; 16] = std::array::from_fn(|index| digest.as_ref()[index]);
        let webhook_id = format!("{:032x}", u128::from_be_bytes(first));
        Self { body, webhook_id }
    }
}

#[cfg(test)]
mod tests;
