//! The outcome of a detection's run: what is an outcome, and what is read from it.

use std::collections::HashMap;
use std::fmt::{self, Write as _};

use bytes::Bytes;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::json::{is_integer, members, string};
use super::problem::{Problem, SHOWN, label, sentence};

mod fields;

use fields::Reader;

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
    pub oddities: Oddities,
}

/// The first of what is unexpected; the rest is counted, for an outcome may hold any number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Oddities {
    pub first: Vec<Problem>,
    pub more: usize,
}

impl Oddities {
    fn add(&mut self, problem: impl FnOnce() -> Problem) {
        if self.first.len() < SHOWN { self.first.push(problem()) } else { self.more += 1 }
    }
}

impl fmt::Display for Oddities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&sentence(&self.first))?;
        if self.more > 0 { write!(f, "; and {} more", self.more) } else { Ok(()) }
    }
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
#[derive(Debug, Clone, Default)]
pub struct Refused {
    /// At least one.
    pub problems: Vec<Problem>,
    /// What could be read all the same: whoever corrects the producer looks for the run.
    pub detection_id: Option<String>,
    pub detection_name: Option<String>,
    pub run_id: Option<String>,
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Self { problems: vec![problem], ..Self::default() }
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
        let mut reader = Reader::new(&fields);
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

        let detection_name = detection_name.map(|name| label(&name, 200));
        let shown_run_id = run_id.as_ref().map(|id| label(id, 128));
        if !reader.refused.is_empty() {
            let detection_id = detection_id.map(|id| label(&id, 64));
            return Err(Refused { problems: reader.refused, detection_id, detection_name, run_id: shown_run_id });
        }
        Ok(Self {
            payload: Payload { webhook_id: webhook_id(run_id.as_deref(), body), body: text.slice_ref(body.as_bytes()) },
            detection_id: detection_id.unwrap_or_default(),
            detection_name: detection_name.unwrap_or_default(),
            severity,
            kind,
            run_id: shown_run_id,
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

#[cfg(test)]
mod tests;
