//! The destinations document: what an administrator writes, read with every problem named at once.
//!
//! A problem inside one destination or route is that one's alone: the others serve on. Only a document that says
//! nothing reliable as a whole (no JSON, another top level, no destinations) is refused.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::HeaderName;
use serde_json::{Map, Value};

use super::destination::{self, DEFAULT_TIMEOUT_SECONDS, Destination, MAX_TIMEOUT_SECONDS, is_id};
use super::endpoint::{EndpointTemplate, header_name, header_value};
use super::outcome::{Kind, Severity};
use super::problem::Problem;
use super::reference::Template;
use super::route::Route;
use super::signature::SigningKey;

/// Destinations and routes, as far as they can be used, and what is wrong with the rest.
pub struct Document {
    /// By id; a destination with problems cannot be delivered to.
    pub destinations: BTreeMap<String, Result<Arc<Destination>, Vec<Problem>>>,
    /// By detection id, or `*`. Without any, every destination gets every outcome.
    pub routes: Option<BTreeMap<String, Route>>,
}

/// Where the outcomes of detections are sent.
#[cfg_attr(
    test,
    derive(schemars::JsonSchema),
    schemars(title = "Destinations of detection-outcome-handler", deny_unknown_fields)
)]
#[expect(dead_code, reason = "read member by member, so that every problem is found; the schema is made of it")]
struct TopLevel {
    /// Lets an editor find this schema; not read.
    #[cfg_attr(test, schemars(rename = "$schema"))]
    schema: Option<String>,
    /// Receivers by id (a-z, 0-9, _ and -, at most 64 characters).
    #[cfg_attr(test, schemars(extend("minProperties" = 1, "propertyNames" = {"pattern": "^[a-z0-9][a-z0-9_-]{0,63}$"})))]
    destinations: BTreeMap<String, Options>,
    /// Ids of the destinations of a detection, by `detection_id`; `*` is for detections without a route of their own.
    /// Without routes every destination gets every outcome.
    #[cfg_attr(test, schemars(extend("additionalProperties" = {
        "type": "array", "minItems": 1, "items": {"type": "string", "pattern": "^[a-z0-9][a-z0-9_-]{0,63}$"}
    })))]
    routes: Option<BTreeMap<String, Vec<String>>>,
}

/// One receiver.
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
struct Options {
    /// Where outcomes are POSTed: https://, or http:// inside an allowed private network. Userinfo becomes Basic
    /// authentication. All of it but the origin is treated as a secret.
    #[cfg_attr(test, schemars(with = "String", regex(pattern = "^[Hh][Tt][Tt][Pp][Ss]?://[^\\s/]\\S*$")))]
    url: Option<String>,
    /// Limit of one attempt in seconds; 30 by default.
    #[cfg_attr(test, schemars(range(min = 1, max = 300)))]
    timeout: Option<u64>,
    /// `false`: nothing is sent, and the log says so.
    active: Option<bool>,
    /// `true` during maintenance: nothing is sent, what comes waits in the retry queue.
    paused: Option<bool>,
    /// The kinds of outcome that are sent; all of them by default.
    #[cfg_attr(test, schemars(extend("minItems" = 1, "items" = {"enum": ["MATCHED", "NOT_MATCHED", "ERROR"]})))]
    outcomes: Option<Vec<String>>,
    /// The least severity that is sent.
    #[cfg_attr(test, schemars(extend("enum" = ["CRITICAL", "HIGH", "MEDIUM", "LOW"])))]
    min_severity: Option<String>,
    /// Further headers: visible ASCII, none of the connection's or the handler's own. `{{secret:NAME}}` and
    /// `{{secret:NAME#KEY}}` may stand in values, and in the URL's userinfo, path and query.
    #[cfg_attr(test, schemars(extend("additionalProperties" = {"type": "string", "minLength": 1})))]
    headers: Option<Map<String, Value>>,
    /// Secrets of Standard Webhooks signatures (whsec_…), best as references. Each signs every request, so that a key
    /// can be rotated: add the new one, let the receiver have it, remove the old one.
    #[cfg_attr(test, schemars(extend("minItems" = 1, "items" = {"type": "string", "minLength": 1})))]
    signing_secrets: Option<Vec<String>>,
}

impl Document {
    /// One destination, which gets everything.
    pub fn single(destination: Arc<Destination>) -> Self {
        Self { destinations: BTreeMap::from([(destination.id.clone(), Ok(destination))]), routes: None }
    }

    /// Reads a document; `Err` when it can serve nobody.
    pub fn parse(text: &[u8]) -> Result<Self, Vec<Problem>> {
        let value: Value = serde_json::from_slice(text).map_err(|error| {
            vec![Problem::new("$", format!("valid JSON (see line {}, column {})", error.line(), error.column()))]
        })?;
        let mut problems = Vec::new();
        let Some(mut top) = Members::open("$", value, "an object with `destinations`", &mut problems) else {
            return Err(problems);
        };
        top.take("$schema", "a string", string);
        let destinations = top.take("destinations", "an object of destinations by id", object);
        let routes = top.take("routes", "an object of routes by detection id", object);
        top.finish("destinations, routes");
        match destinations {
            None if problems.is_empty() => {
                problems.push(Problem::new("destinations", "an object of destinations by id"));
            }
            Some(entries) if entries.is_empty() => {
                problems.push(Problem::new("destinations", "at least one destination"));
            }
            Some(entries) if problems.is_empty() => {
                return Ok(Self {
                    destinations: entries
                        .into_iter()
                        .map(|(id, value)| {
                            (
                                id.clone(),
                                parse_destination(&id, &format!("destinations.{}", destination::shown(&id)), value),
                            )
                        })
                        .collect(),
                    routes: routes.map(|routes| {
                        routes
                            .into_iter()
                            .map(|(id, value)| (id.clone(), Route::parse(&format!("routes.{id}"), &value)))
                            .collect()
                    }),
                });
            }
            _ => {}
        }
        Err(problems)
    }

    /// Everything that is wrong with single destinations and routes, missing destinations included.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems: Vec<_> =
            self.destinations.values().filter_map(|entry| entry.as_ref().err()).flatten().cloned().collect();
        for route in self.routes.iter().flat_map(BTreeMap::values) {
            problems.extend(route.problems.iter().cloned());
            for id in route.destinations.iter().filter(|id| !self.destinations.contains_key(*id)) {
                problems.push(Problem::new(&*route.path, format!("destinations that exist; `{id}` does not")));
            }
        }
        problems
    }
}

/// Reads one destination; every problem is named by its path.
pub fn parse_destination(id: &str, path: &str, value: Value) -> Result<Arc<Destination>, Vec<Problem>> {
    let mut problems = Vec::new();
    if !is_id(id) {
        problems.push(Problem::new(path, destination::ID_EXPECTED));
    }
    let Some(options) = Options::read(path, value, &mut problems) else { return Err(problems) };
    let url_path = format!("{path}.url");
    let endpoint = match &options.url {
        Some(url) => {
            EndpointTemplate::parse(url).map_err(|expected| problems.push(Problem::new(url_path, expected))).ok()
        }
        // Of the wrong type, and named already.
        None if problems.iter().any(|problem| problem.path == url_path) => None,
        None => {
            problems.push(Problem::new(url_path, "a URL, but the option is missing"));
            None
        }
    };
    let headers = parse_headers(path, options.headers, &mut problems);
    let signing_secrets = parse_signing_secrets(path, options.signing_secrets.unwrap_or_default(), &mut problems);
    if endpoint.as_ref().is_some_and(EndpointTemplate::has_userinfo)
        && headers.iter().any(|(name, _)| name == http::header::AUTHORIZATION)
    {
        let expected = "no Authorization beside userinfo in the URL: one of the two";
        problems.push(Problem::new(format!("{path}.headers"), expected));
    }
    match endpoint {
        Some(endpoint) if problems.is_empty() => Ok(Arc::new(Destination {
            active: options.active.unwrap_or(true),
            paused: options.paused.unwrap_or(false),
            outcomes: options.outcomes.map(|names| names.iter().filter_map(|name| Kind::parse(name)).collect()),
            min_severity: options.min_severity.as_deref().and_then(Severity::parse),
            headers,
            signing_secrets,
            ..Destination::new(id, path, endpoint, options.timeout.unwrap_or(DEFAULT_TIMEOUT_SECONDS))
        })),
        _ => Err(problems),
    }
}

impl Options {
    fn read(path: &str, value: Value, problems: &mut Vec<Problem>) -> Option<Self> {
        let mut members = Members::open(path, value, "an object with `url`", problems)?;
        let options = Self {
            url: members.take("url", "a URL string", string),
            timeout: members.take("timeout", "a whole number of seconds from 1 to 300", |value| {
                value.as_u64().filter(|seconds| (1..=MAX_TIMEOUT_SECONDS).contains(seconds))
            }),
            active: members.take("active", "true or false", |value| value.as_bool()),
            paused: members.take("paused", "true or false", |value| value.as_bool()),
            outcomes: members.take("outcomes", "a list of MATCHED, NOT_MATCHED and ERROR, at least one", |value| {
                let names: Option<Vec<_>> = value.as_array()?.iter().map(|name| string(name.clone())).collect();
                names.filter(|names| !names.is_empty() && names.iter().all(|name| Kind::parse(name).is_some()))
            }),
            min_severity: members.take("min_severity", Severity::EXPECTED, |value| {
                string(value).filter(|name| Severity::parse(name).is_some())
            }),
            headers: members.take("headers", "an object of header values by name", object),
            signing_secrets: members.take("signing_secrets", "a list of signing secrets, at least one", |value| {
                let secrets: Option<Vec<_>> = value.as_array()?.iter().map(|secret| string(secret.clone())).collect();
                secrets.filter(|secrets| !secrets.is_empty())
            }),
        };
        members.finish("url, timeout, active, paused, outcomes, min_severity, headers, signing_secrets");
        Some(options)
    }
}

fn parse_headers(
    path: &str,
    headers: Option<Map<String, Value>>,
    problems: &mut Vec<Problem>,
) -> Vec<(HeaderName, Template)> {
    let mut parsed: Vec<(HeaderName, Template)> = Vec::new();
    for (name, value) in headers.into_iter().flatten() {
        match parse_header(&name, value.as_str().unwrap_or_default()) {
            Ok((name, _)) if parsed.iter().any(|(known, _)| *known == name) => problems.push(Problem::new(
                format!("{path}.headers.{name}"),
                "each header once, whatever the case of its letters",
            )),
            Ok(header) => parsed.push(header),
            Err(expected) => problems.push(Problem::new(format!("{path}.headers.{name}"), expected)),
        }
    }
    parsed
}

fn parse_signing_secrets(path: &str, secrets: Vec<String>, problems: &mut Vec<Problem>) -> Vec<Template> {
    let mut parsed = Vec::new();
    for (index, secret) in secrets.into_iter().enumerate() {
        // A reference is judged when its value is known.
        let template = Template::parse(&secret).and_then(|template| {
            let is_known = template.references().next().is_none();
            if is_known { SigningKey::parse(&secret).map(|_| template) } else { Ok(template) }
        });
        match template {
            Ok(template) => parsed.push(template),
            Err(expected) => problems.push(Problem::new(format!("{path}.signing_secrets[{index}]"), expected)),
        }
    }
    parsed
}

fn parse_header(name: &str, value: &str) -> Result<(HeaderName, Template), &'static str> {
    let template = Template::parse(value)?;
    header_value(&template.fill(|_| Some("x".to_owned())).unwrap_or_default())?;
    Ok((header_name(name)?, template))
}

fn string(value: Value) -> Option<String> {
    if let Value::String(text) = value { Some(text) } else { None }
}

fn object(value: Value) -> Option<Map<String, Value>> {
    if let Value::Object(members) = value { Some(members) } else { None }
}

/// The members of an object, taken one by one; what is left at the end was not known.
struct Members<'a> {
    path: &'a str,
    left: Map<String, Value>,
    problems: &'a mut Vec<Problem>,
}

impl<'a> Members<'a> {
    fn open(path: &'a str, value: Value, expected: &'static str, problems: &'a mut Vec<Problem>) -> Option<Self> {
        let Value::Object(left) = value else {
            problems.push(Problem::new(path, expected));
            return None;
        };
        Some(Self { path, left, problems })
    }

    fn path_to(&self, name: &str) -> String {
        if self.path == "$" { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    fn take<T>(&mut self, name: &str, expected: &'static str, read: impl Fn(Value) -> Option<T>) -> Option<T> {
        let read = read(self.left.remove(name)?);
        if read.is_none() {
            self.problems.push(Problem::new(self.path_to(name), expected));
        }
        read
    }

    fn finish(self, known: &'static str) {
        for name in self.left.keys() {
            self.problems.push(Problem::new(self.path_to(name), format!("no such option; the options are {known}")));
        }
    }
}

#[cfg(test)]
mod tests;
