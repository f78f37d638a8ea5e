//! One receiver: where an outcome is sent and under which conditions.

use std::collections::BTreeSet;
use std::time::Duration;

use http::{HeaderMap, HeaderName};

use super::endpoint::{Endpoint, EndpointTemplate, Unfilled, header_value};
use super::outcome::{Kind, Outcome, Severity};
use super::problem::{Problem, label};
use super::reference::{Reference, Resolved, Template};
use super::signature::SigningKey;

/// Seconds that an attempt may take when a destination does not say.
pub const DEFAULT_TIMEOUT_SECONDS: u64 = 30;
/// The platform promises its receivers at most five minutes.
pub const MAX_TIMEOUT_SECONDS: u64 = 300;

/// A receiver as it is configured: its secrets are still references.
#[derive(Clone)]
pub struct Destination {
    pub id: String,
    /// Where it is configured: the path that its problems are named by.
    pub path: String,
    pub endpoint: EndpointTemplate,
    pub timeout: Duration,
    /// Whether anything is sent at all.
    pub active: bool,
    /// Whether deliveries wait without an attempt (maintenance).
    pub paused: bool,
    /// The kinds that are sent; all of them where it is not given.
    pub outcomes: Option<Vec<Kind>>,
    /// The least severity that is sent.
    pub min_severity: Option<Severity>,
    pub headers: Vec<(HeaderName, Template)>,
    /// Keys that every request is signed with.
    pub signing_secrets: Vec<Template>,
}

/// A receiver with its secrets in place, ready for an attempt.
#[derive(Clone)]
pub struct Target {
    pub id: String,
    pub endpoint: Endpoint,
    /// Limit of one attempt, from the name's resolution to the response's head.
    pub timeout: Duration,
    /// Sent as they are; marked sensitive, so that no Debug output shows their values.
    pub headers: HeaderMap,
    pub signing_keys: Vec<SigningKey>,
}

impl Target {
    /// Whether a request to the other would be another one in what a receiver judges credentials by.
    pub fn differs_from(&self, other: &Self) -> bool {
        self.endpoint != other.endpoint || self.headers != other.headers || self.signing_keys != other.signing_keys
    }
}

/// Why an outcome is not sent to a destination that its route names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filter {
    Inactive,
    Outcomes,
    MinSeverity,
}

/// Why a destination cannot be used now.
#[derive(Debug)]
pub enum Incomplete {
    /// A secret that it refers to has no value at the moment.
    Unresolved(Reference),
    /// With its secrets in place it has problems.
    Invalid(Vec<Problem>),
}

impl Destination {
    /// A destination with nothing but an endpoint and a timeout.
    pub fn new(id: &str, path: &str, endpoint: EndpointTemplate, timeout_seconds: u64) -> Self {
        Self {
            id: id.to_owned(),
            path: path.to_owned(),
            endpoint,
            timeout: Duration::from_secs(timeout_seconds),
            active: true,
            paused: false,
            outcomes: None,
            min_severity: None,
            headers: Vec::new(),
            signing_secrets: Vec::new(),
        }
    }

    /// The filter that holds this outcome back, if one does. Unknown values pass all of them.
    pub fn filter(&self, outcome: &Outcome) -> Option<Filter> {
        let unwanted = |kinds: &Vec<Kind>| outcome.kind != Kind::Unknown && !kinds.contains(&outcome.kind);
        if !self.active {
            Some(Filter::Inactive)
        } else if self.outcomes.as_ref().is_some_and(unwanted) {
            Some(Filter::Outcomes)
        } else if self.min_severity.is_some_and(|least| outcome.severity < least) {
            Some(Filter::MinSeverity)
        } else {
            None
        }
    }

    /// The secrets that it refers to.
    pub fn references(&self) -> BTreeSet<&Reference> {
        let headers = self.headers.iter().map(|(_, value)| value);
        let templates = headers.chain(&self.signing_secrets);
        self.endpoint.references().chain(templates.flat_map(Template::references)).collect()
    }

    /// Puts the secrets in place.
    pub fn complete(&self, resolved: &Resolved) -> Result<Target, Incomplete> {
        let problem = |part: &str, expected: &'static str| {
            let expected = format!("{expected}, also with the referenced secrets in place");
            Incomplete::Invalid(vec![Problem::new(format!("{}.{part}", self.path), expected)])
        };
        let endpoint = self.endpoint.resolve(resolved).map_err(|error| match error {
            Unfilled::Missing(reference) => Incomplete::Unresolved(reference.clone()),
            Unfilled::Invalid(expected) => problem("url", expected),
        })?;
        let mut headers = HeaderMap::with_capacity(self.headers.len());
        for (name, value) in &self.headers {
            let value = value.resolve(resolved).map_err(|reference| Incomplete::Unresolved(reference.clone()))?;
            let value = header_value(&value).map_err(|expected| problem(&format!("headers.{name}"), expected))?;
            headers.insert(name.clone(), value);
        }
        let mut signing_keys = Vec::with_capacity(self.signing_secrets.len());
        for (index, secret) in self.signing_secrets.iter().enumerate() {
            let secret = secret.resolve(resolved).map_err(|reference| Incomplete::Unresolved(reference.clone()))?;
            let key = SigningKey::parse(&secret);
            signing_keys.push(key.map_err(|expected| problem(&format!("signing_secrets[{index}]"), expected))?);
        }
        Ok(Target { id: self.id.clone(), endpoint, timeout: self.timeout, headers, signing_keys })
    }
}

/// Destination ids: `[a-z0-9][a-z0-9_-]{0,63}`. They stand in log lines and queue attributes.
pub fn is_id(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    text.len() <= 64
        && text.bytes().next().is_some_and(plain)
        && text.bytes().all(|b| plain(b) || b == b'_' || b == b'-')
}

/// An id as its problems show it: what is no id may be anything, a whole URL too.
pub fn shown(id: &str) -> String {
    const SHOWN: usize = 12;
    if is_id(id) { id.to_owned() } else { label(id, SHOWN) }
}

/// What an id must look like; ends the sentence "expected …".
pub const ID_EXPECTED: &str = "an id of 1 to 64 characters a-z, 0-9, _ and -, the first a letter or digit";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_lower_case_and_short() {
        for id in ["a", "0", "soc-1_x", &"a".repeat(64)] {
            assert!(is_id(id), "{id}");
        }
        for id in ["", "-a", "_a", "A", "a.b", "ä", &"a".repeat(65)] {
            assert!(!is_id(id), "{id}");
        }
    }

    #[test]
    fn secrets_are_put_in_place_or_named() {
        let mut destination =
            Destination::new("soc", "destinations.soc", EndpointTemplate::parse("https://h/{{secret:a}}").unwrap(), 30);
        destination.headers.push((http::header::AUTHORIZATION, Template::parse("Bearer {{secret:b#k}}").unwrap()));
        let names: Vec<_> = destination.references().iter().map(ToString::to_string).collect();
        assert_eq!(names, ["a", "b#k"]);

        let reference = |secret: &str, key: Option<&str>| Reference { secret: secret.into(), key: key.map(Into::into) };
        let mut resolved = Resolved::default();
        resolved.insert(reference("a", None), "path".into());
        let Err(Incomplete::Unresolved(missing)) = destination.complete(&resolved) else { panic!() };
        assert_eq!(missing, reference("b", Some("k")));
        resolved.insert(reference("b", Some("k")), "token".into());
        let target = destination.complete(&resolved).ok().unwrap();
        assert_eq!(target.headers["authorization"], "Bearer token");
        resolved.insert(reference("b", Some("k")), "to\nken".into());
        let Err(Incomplete::Invalid(problems)) = destination.complete(&resolved) else { panic!() };
        assert_eq!(problems[0].path, "destinations.soc.headers.authorization");
    }
}
