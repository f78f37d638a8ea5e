//! One receiver: where an outcome is sent and under which conditions.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::{HeaderMap, HeaderName};

use super::endpoint::{Endpoint, EndpointTemplate, header_value};
use super::outcome::{Kind, Outcome, Severity};
use super::problem::{Problem, printable};
use super::signature::SigningKey;
use super::template::{Reference, Resolved, Template};

/// Seconds that an attempt may take when a destination does not say.
pub const DEFAULT_TIMEOUT_SECONDS: u64 = 30;
/// The platform promises its receivers at most five minutes.
pub const MAX_TIMEOUT_SECONDS: u64 = 300;
/// Minutes until a fallback gets an outcome when its destination does not say.
pub const DEFAULT_FALLBACK_MINUTES: u64 = 10;
/// As long as a delivery is tried again.
pub const MAX_FALLBACK_MINUTES: u64 = 20 * 60;
/// A rotation needs two; the header that carries the signatures must stay short.
pub const MAX_SIGNING_SECRETS: usize = 10;
/// Common servers take 100 headers (Apache's LimitRequestFields), the handler's own among them.
pub const MAX_HEADERS: usize = 64;
/// Names and values together. Common servers take 8 KiB for one header (nginx, Apache).
pub const MAX_HEADER_BYTES: usize = 8 * 1024;

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
    pub fallback: Option<Fallback>,
    /// Bytes of what was written, by which a cache weighs it.
    pub written: usize,
    /// The target of a destination without references, which is always the same.
    pub(super) ready: OnceLock<Arc<Target>>,
}

/// The destination that gets an outcome as well when this one does not take it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fallback {
    pub to: String,
    /// Age of the delivery from which on it is used.
    pub after: Duration,
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

/// A destination that is invalid with its secrets in place. The next rotation of one of these may mend it.
#[derive(Debug)]
pub struct Unusable {
    pub problem: Problem,
    pub references: Vec<Reference>,
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
            fallback: None,
            written: 0,
            ready: OnceLock::new(),
        }
    }

    /// The filter that holds this outcome back, if one does. Unknown values pass all of them.
    pub fn filter(&self, outcome: &Outcome) -> Option<Filter> {
        let unwanted = |kinds: &Vec<Kind>| outcome.kind() != Kind::Unknown && !kinds.contains(&outcome.kind());
        if !self.active {
            Some(Filter::Inactive)
        } else if self.outcomes.as_ref().is_some_and(unwanted) {
            Some(Filter::Outcomes)
        } else if self.min_severity.is_some_and(|least| outcome.severity() < least) {
            Some(Filter::MinSeverity)
        } else {
            None
        }
    }

    pub fn references(&self) -> BTreeSet<&Reference> {
        let headers = self.headers.iter().map(|(_, value)| value);
        let templates = headers.chain(&self.signing_secrets);
        self.endpoint.references().chain(templates.flat_map(Template::references)).collect()
    }

    /// The target to send to. It is made once where the destination refers to no secret.
    pub fn target(&self, resolved: &Resolved) -> Result<Arc<Target>, Unusable> {
        if let Some(target) = self.ready.get() {
            return Ok(target.clone());
        }
        let target = Arc::new(self.complete(resolved)?);
        if self.references().is_empty() {
            return Ok(self.ready.get_or_init(|| target).clone());
        }
        Ok(target)
    }

    pub fn complete(&self, resolved: &Resolved) -> Result<Target, Unusable> {
        let endpoint = self.endpoint.resolve(resolved);
        let endpoint = endpoint.map_err(|expected| self.invalid("url", expected, self.endpoint.references()))?;
        let mut headers = HeaderMap::with_capacity(self.headers.len());
        for (name, template) in &self.headers {
            let value = template.resolve(resolved).and_then(|value| header_value(&value));
            let value =
                value.map_err(|expected| self.invalid(&format!("headers.{name}"), expected, template.references()))?;
            headers.insert(name.clone(), value);
        }
        if headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum::<usize>() > MAX_HEADER_BYTES {
            let references = self.headers.iter().flat_map(|(_, value)| value.references());
            return Err(self.invalid("headers", HEADER_BYTES_EXPECTED, references));
        }
        let mut signing_keys = Vec::with_capacity(self.signing_secrets.len());
        for (index, template) in self.signing_secrets.iter().enumerate() {
            let key = template.resolve(resolved).and_then(|secret| SigningKey::parse(&secret));
            let key = key.map_err(|expected| {
                self.invalid(&format!("signing_secrets[{index}]"), expected, template.references())
            })?;
            signing_keys.push(key);
        }
        Ok(Target { id: self.id.clone(), endpoint, timeout: self.timeout, headers, signing_keys })
    }

    fn invalid<'a>(
        &self,
        part: &str,
        expected: &'static str,
        references: impl Iterator<Item = &'a Reference>,
    ) -> Unusable {
        let problem = Problem::new(format!("{}.{part}", self.path), expected);
        Unusable { problem, references: references.cloned().collect() }
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
    if is_id(id) { id.to_owned() } else { printable(id, SHOWN) }
}

/// What an id must look like; ends the sentence "expected …".
pub const ID_EXPECTED: &str = "an id of 1 to 64 characters a-z, 0-9, _ and -, the first a letter or digit";

/// What the headers together must be; ends the sentence "expected …".
pub const HEADER_BYTES_EXPECTED: &str = "names and values of at most 8 KiB together";

#[cfg(test)]
mod tests {
    use super::*;

    fn destination(url: &str) -> Destination {
        Destination::new("soc", "destinations.soc", EndpointTemplate::parse(url).unwrap(), 30)
    }

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
        let mut destination = destination("https://h/{{secret:a}}");
        destination.headers.push((http::header::AUTHORIZATION, Template::parse("Bearer {{secret:b#k}}").unwrap()));
        let names: Vec<_> = destination.references().iter().map(ToString::to_string).collect();
        assert_eq!(names, ["a", "b#k"]);

        let reference = |text| Reference::parse(text).unwrap();
        let mut resolved = Resolved::default();
        resolved.insert(reference("a"), &"path".into());
        let unusable = destination.complete(&resolved).err().unwrap();
        assert_eq!(unusable.references, [reference("b#k")]);
        resolved.insert(reference("b#k"), &"token\n".into());
        let target = destination.complete(&resolved).ok().unwrap();
        assert_eq!(target.headers["authorization"], "Bearer token");
    }

    #[test]
    fn a_problem_of_a_value_names_its_secret() {
        let mut destination = destination("https://h/{{secret:a}}");
        destination.headers.push((http::header::AUTHORIZATION, Template::parse("Bearer {{secret:b#k}}").unwrap()));
        destination.signing_secrets.push(Template::parse("{{secret:c}}").unwrap());
        let long = "SECRET".repeat(2000);
        let key = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        for (values, path, names) in [
            (["..", "x", key], "url", ["a"]),
            (["x", "SECRET\nx", key], "headers.authorization", ["b#k"]),
            (["x", &long, key], "headers", ["b#k"]),
            (["x", "x", "SECRET"], "signing_secrets[0]", ["c"]),
        ] {
            let mut resolved = Resolved::default();
            for (name, value) in ["a", "b#k", "c"].into_iter().zip(values) {
                resolved.insert(Reference::parse(name).unwrap(), &value.into());
            }
            let Err(Unusable { problem, references }) = destination.complete(&resolved) else { panic!() };
            assert_eq!(problem.path, format!("destinations.soc.{path}"));
            assert_eq!(references.iter().map(ToString::to_string).collect::<Vec<_>>(), names);
            assert!(!problem.expected.contains("SECRET"), "{problem}");
        }
    }

    #[test]
    fn a_destination_without_references_is_completed_once() {
        let resolved = Resolved::default();
        let plain = destination("https://h/x");
        assert!(Arc::ptr_eq(&plain.target(&resolved).ok().unwrap(), &plain.target(&resolved).ok().unwrap()));

        let referring = destination("https://h/{{secret:a}}");
        for value in ["one", "two"] {
            let mut resolved = Resolved::default();
            resolved.insert(Reference::parse("a").unwrap(), &value.into());
            let target = referring.target(&resolved).ok().unwrap();
            assert_eq!(target.endpoint.expose_url().as_str(), format!("https://h/{value}"));
        }
    }

    #[test]
    fn targets_differ_by_endpoint_headers_or_keys_alone() {
        let target = || destination("https://h/x").complete(&Resolved::default()).ok().unwrap();
        let differs = |change: fn(&mut Target)| {
            let mut changed = target();
            change(&mut changed);
            target().differs_from(&changed)
        };
        assert!(!differs(|target| target.timeout = Duration::ZERO));
        assert!(differs(|target| target.endpoint = Endpoint::parse("https://h/y").unwrap()));
        assert!(differs(|target| drop(target.headers.insert("x", http::HeaderValue::from_static("v")))));
        assert!(differs(|target| target.signing_keys.push(SigningKey::parse(&"A".repeat(32)).unwrap())));
    }

    #[test]
    fn filters_hold_back_what_they_name_and_no_unknown_value() {
        let mut destination = destination("https://h/");
        let filter = |destination: &Destination, kind, severity| {
            let outcome = format!(r#"{{"detection_id":1,"outcome":"{kind}","severity":"{severity}"}}"#);
            destination.filter(&Outcome::parse(&outcome.into()).unwrap())
        };
        assert_eq!(filter(&destination, "NOT_MATCHED", "LOW"), None);
        destination.min_severity = Some(Severity::High);
        let filtered = ["MEDIUM", "HIGH", "CRITICAL", "URGENT"].map(|severity| filter(&destination, "ERROR", severity));
        assert_eq!(filtered, [Some(Filter::MinSeverity), None, None, None]);
        destination.outcomes = Some(vec![Kind::Error]);
        let filtered = ["MATCHED", "ERROR", "PARTIAL"].map(|kind| filter(&destination, kind, "HIGH"));
        assert_eq!(filtered, [Some(Filter::Outcomes), None, None]);
        destination.active = false;
        assert_eq!(filter(&destination, "ERROR", "HIGH"), Some(Filter::Inactive));
    }

    #[test]
    fn values_of_secrets_fill_the_headers_up_to_8_kib() {
        let mut destination = destination("https://h/");
        destination.headers.push((HeaderName::from_static("x-k"), Template::parse("{{secret:a}}").unwrap()));
        let fits = |length| {
            let mut resolved = Resolved::default();
            resolved.insert(Reference::parse("a").unwrap(), &"v".repeat(length).into());
            destination.complete(&resolved).is_ok()
        };
        assert!(fits(8192 - 3) && !fits(8192 - 2));
    }
}
