//! The outcome of a detection's run: what is an outcome, and what is read from it.

use std::collections::HashMap;
use std::fmt::Write as _;

use bytes::Bytes;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::json::{is_integer, members, string};
use super::problem::{Problem, label};

/// An outcome that will be delivered: the payload, and the few facts that routing and log lines need.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub payload: Payload,
    /// The integer's digits or the string: a route is found by either.
    pub detection_id: String,
    pub detection_name: String,
    pub severity: Severity,
    pub kind: Kind,
    pub run_id: Option<String>,
    pub trace_id: Option<String>,
    pub search_id: Option<String>,
    /// What is unexpected but no reason to hold an alert back.
    pub oddities: Vec<Problem>,
}

/// What is sent, and the id it is sent under.
#[derive(Debug, Clone)]
pub struct Payload {
    /// The outcome's JSON object exactly as it came in, less the white space around it.
    pub body: Bytes,
    /// Identity of the delivery, the same on every attempt (Standard Webhooks, "webhook-id").
    pub webhook_id: String,
}

/// What came in but is no outcome.
#[derive(Debug, Clone)]
pub struct Refused {
    /// At least one.
    pub problems: Vec<Problem>,
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Self { problems: vec![problem] }
    }
}

/// How grave a detection is; ordered, so that `min_severity` can be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Low,
    Medium,
    High,
    Critical,
    /// A value that did not exist when this was built. It ranks highest: no filter holds it back.
    Unknown,
}

impl Severity {
    pub const EXPECTED: &str = "CRITICAL, HIGH, MEDIUM or LOW";

    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "CRITICAL" => Self::Critical,
            "HIGH" => Self::High,
            "MEDIUM" => Self::Medium,
            "LOW" => Self::Low,
            _ => return None,
        })
    }

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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Matched,
    NotMatched,
    Error,
    /// A value that did not exist when this was built: treated as an alert, passes every filter.
    Unknown,
}

impl Kind {
    pub const EXPECTED: &str = "MATCHED, NOT_MATCHED or ERROR";

    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "MATCHED" => Self::Matched,
            "NOT_MATCHED" => Self::NotMatched,
            "ERROR" => Self::Error,
            _ => return None,
        })
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Matched => "MATCHED",
            Self::NotMatched => "NOT_MATCHED",
            Self::Error => "ERROR",
            Self::Unknown => "UNKNOWN",
        }
    }

    /// Whether somebody must hear of it: everything but a run that found nothing.
    pub fn is_alert(self) -> bool {
        self != Self::NotMatched
    }
}

/// The fields that make a JSON object an outcome.
const REQUIRED: [&str; 6] = ["detection_id", "detection_name", "severity", "outcome", "match_count", "replay_link"];

/// Whether the object means to be an outcome: it has at least one of the fields that only outcomes have.
pub fn resembles(fields: &HashMap<String, &RawValue>) -> bool {
    REQUIRED.iter().any(|name| fields.contains_key(*name))
}

impl Outcome {
    /// Reads an outcome; `text` is everything the envelope held.
    pub fn parse(text: &Bytes) -> Result<Self, Refused> {
        let Ok(body) = std::str::from_utf8(text) else {
            return Err(Problem::new("$", "UTF-8 text").into());
        };
        // JSON's own white space, not Unicode's (RFC 8259, section 2).
        let body = body.trim_matches([' ', '\t', '\n', '\r']);
        let fields = members(body)?;
        let mut reader = Reader { fields: &fields, refused: Vec::new(), oddities: Vec::new() };
        let detection_id = reader.required("detection_id", "an integer or a string", |value| {
            string(value).or_else(|| is_integer(value.get()).then(|| value.get().to_owned()))
        });
        let detection_name = reader.required("detection_name", "a string", string);
        let severity = reader.required_value("severity", Severity::EXPECTED, Severity::parse, Severity::Unknown);
        let kind = reader.required_value("outcome", Kind::EXPECTED, Kind::parse, Kind::Unknown);
        reader.required("match_count", "an integer of at least 0", |value| {
            (is_integer(value.get()) && !value.get().starts_with('-')).then(String::new)
        });
        reader.required("replay_link", "a URL string", string);
        let run_id = reader.optional_string("run_id");
        let search_id = reader.nullable_string("search_id");
        let trace_id = reader.nullable_string("trace_id");
        reader.check_the_rest();

        if !reader.refused.is_empty() {
            return Err(Refused { problems: reader.refused });
        }
        Ok(Self {
            payload: Payload { webhook_id: webhook_id(run_id.as_deref(), body), body: text.slice_ref(body.as_bytes()) },
            detection_id: detection_id.unwrap_or_default(),
            detection_name: label(&detection_name.unwrap_or_default(), 200),
            severity,
            kind,
            run_id: run_id.map(|id| label(&id, 128)),
            trace_id: trace_id.map(|id| label(&id, 128)),
            search_id: search_id.map(|id| label(&id, 128)),
            oddities: reader.oddities,
        })
    }
}

/// `run_id` where it can stand in a header as it is, else a digest of the payload.
fn webhook_id(run_id: Option<&str>, body: &str) -> String {
    let plain = |id: &&str| {
        (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
    };
    if let Some(id) = run_id.filter(plain) {
        return id.to_owned();
    }
    let mut id = String::from("sha256-");
    for byte in Sha256::digest(body) {
        let _ = write!(id, "{byte:02x}");
    }
    id
}

/// Collects problems instead of stopping at the first: a producer fixes them all at once.
struct Reader<'a> {
    fields: &'a HashMap<String, &'a RawValue>,
    refused: Vec<Problem>,
    oddities: Vec<Problem>,
}

impl<'a> Reader<'a> {
    fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.fields.get(name).copied()
    }

    fn required(
        &mut self,
        name: &str,
        expected: &'static str,
        read: fn(&RawValue) -> Option<String>,
    ) -> Option<String> {
        let Some(value) = self.get(name) else {
            self.refused.push(Problem::new(name, format!("{expected}, but the field is missing")));
            return None;
        };
        let read = read(value);
        if read.is_none() {
            self.refused.push(Problem::new(name, expected));
        }
        read
    }

    /// A new value on the producer's side must not cost an alert: it is an oddity, another type is refused.
    fn required_value<T>(&mut self, name: &str, expected: &'static str, parse: fn(&str) -> Option<T>, unknown: T) -> T {
        let Some(text) = self.required(name, expected, string) else { return unknown };
        parse(&text).unwrap_or_else(|| {
            self.oddities.push(Problem::new(name, expected));
            unknown
        })
    }

    fn optional_string(&mut self, name: &str) -> Option<String> {
        let text = string(self.get(name)?);
        if text.is_none() {
            self.oddities.push(Problem::new(name, "a string"));
        }
        text
    }

    fn nullable_string(&mut self, name: &str) -> Option<String> {
        if self.get(name)?.get() == "null" { None } else { self.optional_string(name) }
    }

    fn optional_value(&mut self, name: &str, expected: &'static str, values: &[&str]) {
        let Some(value) = self.get(name) else { return };
        if !string(value).is_some_and(|text| values.contains(&text.as_str())) {
            self.oddities.push(Problem::new(name, expected));
        }
    }

    /// The fields that nothing here needs: looked at only to tell the producer what is unexpected about them.
    fn check_the_rest(&mut self) {
        for name in ["description", "ran_at", "range_start", "range_end", "match_operator"] {
            self.optional_string(name);
        }
        self.optional_value("run_type", "SCHEDULED or MANUAL", &["SCHEDULED", "MANUAL"]);
        self.optional_value("match_eagerness", "EAGER or EXHAUSTIVE", &["EAGER", "EXHAUSTIVE"]);
        if self.get("match_exhaustiveness").is_some_and(|value| value.get() != "null") {
            self.optional_value(
                "match_exhaustiveness",
                "COMPLETED, STOPPED_EARLY or null",
                &["COMPLETED", "STOPPED_EARLY"],
            );
        }
        if self.get("match_threshold").is_some_and(|value| !is_integer(value.get())) {
            self.oddities.push(Problem::new("match_threshold", "an integer"));
        }
        self.check_errors();
    }

    fn check_errors(&mut self) {
        let Some(value) = self.get("errors") else { return };
        let Ok(errors) = serde_json::from_str::<Vec<&RawValue>>(value.get()) else {
            self.oddities.push(Problem::new("errors", "an array of {message, code, source}"));
            return;
        };
        for (index, error) in errors.iter().enumerate() {
            let Ok(error) = members(error.get()) else {
                self.oddities.push(Problem::new(format!("errors[{index}]"), "an object with message, code and source"));
                continue;
            };
            for name in ["message", "code", "source"] {
                if error.get(name).is_none_or(|value| string(value).is_none()) {
                    self.oddities.push(Problem::new(format!("errors[{index}].{name}"), "a string"));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
