//! The destinations document: what an administrator writes, read with every problem named at once.
//!
//! A problem inside one destination or route is that one's alone: the others serve on. A document that cannot be read
//! as a whole (no JSON, another top level, no destinations) is an error. `destinations.schema.json` says the same to
//! editors.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, header};
use serde_json::value::RawValue;

use super::destination::{
    self, DEFAULT_FALLBACK_MINUTES, DEFAULT_TIMEOUT_SECONDS, Destination, Fallback, HEADER_BYTES_EXPECTED, ID_EXPECTED,
    MAX_FALLBACK_MINUTES, MAX_HEADER_BYTES, MAX_HEADERS, MAX_SIGNING_SECRETS, MAX_TIMEOUT_SECONDS, is_id,
};
use super::endpoint::{EndpointTemplate, header_name, header_value};
use super::json::{self, members_as_written, word};
use super::outcome::{Kind, Severity};
use super::problem::Problem;
use super::route::Route;
use super::signature::SigningKey;
use super::template::Template;

/// Destinations and routes, as far as they can be used, and what is wrong with the rest.
#[derive(Default)]
pub struct Document {
    /// By id; a destination with problems cannot be delivered to.
    pub destinations: BTreeMap<String, Result<Arc<Destination>, Vec<Problem>>>,
    /// By detection id, or `*`. Without any, every destination gets every outcome.
    pub routes: Option<BTreeMap<String, Route>>,
}

const ONCE: &str = "each member once";
/// Characters: what a table shows of it, and no second runbook.
const MAX_DESCRIPTION: usize = 1024;

impl Document {
    /// One destination, which gets everything.
    pub fn single(destination: Arc<Destination>) -> Self {
        Self { destinations: BTreeMap::from([(destination.id.clone(), Ok(destination))]), routes: None }
    }

    /// About how many bytes it takes in memory: a destination is kept as it is written, and as it is sent.
    pub fn size(&self) -> usize {
        const EACH: usize = 1024;
        let one = |destination: &Result<Arc<Destination>, _>| {
            EACH + destination.as_ref().map_or(0, |destination| 4 * destination.written)
        };
        EACH + self.destinations.values().map(one).sum::<usize>()
    }

    /// Reads a document; `Err` when it can serve nobody.
    pub fn parse(text: &str) -> Result<Self, Vec<Problem>> {
        // Editors on Windows write a byte order mark, which is none of JSON's characters.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let value: &RawValue = serde_json::from_str(text).map_err(|error| {
            vec![Problem::new("$", format!("valid JSON (see line {}, column {})", error.line(), error.column()))]
        })?;
        let mut top = Members::open("$", value, "an object with `destinations`")?;
        top.take("$schema", "", |_| Some(()));
        top.require("destinations", "an object of destinations by id");
        let destinations = top.take("destinations", "an object of destinations by id, at least one", |value| {
            entries(value).filter(|entries| !entries.is_empty())
        });
        let routes = top.take("routes", "an object of routes by detection id", entries);
        top.take("description", DESCRIPTION_EXPECTED, description);
        let problems = top.finish("destinations, routes, description");
        let Some(destinations) = destinations.filter(|_| problems.is_empty()) else { return Err(problems) };
        let destinations = destinations.into_iter().map(|(id, value)| {
            let path = format!("destinations.{}", destination::shown(&id));
            let destination = match value {
                Some(value) => parse_destination(&id, &path, value),
                None => Err(vec![Problem::new(path, ONCE)]),
            };
            (id, destination)
        });
        let routes = routes.map(|routes| {
            let routes = routes.into_iter().map(|(id, value)| {
                let path = format!("routes.{id}");
                let route = match value {
                    Some(value) => Route::parse(&path, &json::read(value).unwrap_or_default()),
                    None => Route { problems: vec![Problem::new(path, ONCE)], ..Route::default() },
                };
                (id, route)
            });
            routes.collect()
        });
        Ok(Self { destinations: destinations.collect(), routes }.checked())
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

    /// Takes out every destination whose fallback cannot be one. A fallback that has problems itself does exist.
    #[must_use]
    pub fn checked(mut self) -> Self {
        let usable = self.destinations.values().flatten();
        let problems: Vec<_> = usable.filter_map(|one| Some((one.id.clone(), self.fallback_problem(one)?))).collect();
        for (id, problem) in problems {
            self.destinations.insert(id, Err(vec![problem]));
        }
        self
    }

    fn fallback_problem(&self, destination: &Destination) -> Option<Problem> {
        let fallback = destination.fallback.as_ref()?;
        let expected = match self.destinations.get(&fallback.to) {
            _ if fallback.to == destination.id => "another destination than this one",
            None => "a destination that exists",
            Some(Ok(target)) if target.fallback.is_some() => "a destination that has no fallback itself",
            Some(_) => return None,
        };
        Some(Problem::new(format!("{}.fallback.to", destination.path), expected))
    }
}

/// Reads one destination; every problem is named by its path. Whether its fallback exists is for
/// [`Document::checked`] to say.
pub fn parse_destination(id: &str, path: &str, value: &RawValue) -> Result<Arc<Destination>, Vec<Problem>> {
    let mut options = Members::open(path, value, "an object with `url`")?;
    if !is_id(id) {
        options.problems.push(Problem::new(path, ID_EXPECTED));
    }
    options.require("url", "a URL");
    let endpoint = options.take_with("url", |path, value| {
        let endpoint = json::read::<String>(value).ok_or("a URL string").and_then(|url| EndpointTemplate::parse(&url));
        endpoint.map_err(|expected| vec![Problem::new(path, expected)])
    });
    let timeout = options.take("timeout", "a whole number of seconds from 1 to 300", |value| {
        whole_number(value).filter(|seconds| (1..=MAX_TIMEOUT_SECONDS).contains(seconds))
    });
    let active = options.take("active", "true or false", json::read);
    let paused = options.take("paused", "true or false", json::read);
    let outcomes = options.take("outcomes", "a list of MATCHED, NOT_MATCHED and ERROR, at least one", |value| {
        let kinds: Option<Vec<Kind>> = json::read::<Vec<&RawValue>>(value)?.into_iter().map(word).collect();
        kinds.filter(|kinds| !kinds.is_empty())
    });
    let min_severity = options.take("min_severity", Severity::EXPECTED, word);
    let headers = options.take_with("headers", headers).unwrap_or_default();
    let signing_secrets = options.take_with("signing_secrets", signing_secrets).unwrap_or_default();
    let fallback = options.take_with("fallback", fallback);
    options.take("description", DESCRIPTION_EXPECTED, description);
    if endpoint.as_ref().is_some_and(EndpointTemplate::has_userinfo)
        && headers.iter().any(|(name, _)| name == header::AUTHORIZATION)
    {
        let expected = "no Authorization beside userinfo in the URL: one of the two";
        options.problems.push(Problem::new(format!("{path}.headers"), expected));
    }
    let problems = options.finish(
        "url, timeout, active, paused, outcomes, min_severity, headers, signing_secrets, fallback, description",
    );
    let Some(endpoint) = endpoint.filter(|_| problems.is_empty()) else { return Err(problems) };
    Ok(Arc::new(Destination {
        active: active.unwrap_or(true),
        paused: paused.unwrap_or(false),
        outcomes,
        min_severity,
        headers,
        signing_secrets,
        fallback,
        written: value.get().len(),
        ..Destination::new(id, path, endpoint, timeout.unwrap_or(DEFAULT_TIMEOUT_SECONDS))
    }))
}

fn headers(path: &str, value: &RawValue) -> Result<Vec<(HeaderName, Template)>, Vec<Problem>> {
    let Some(members) = members_as_written(value.get()) else {
        return Err(vec![Problem::new(path, "an object of header values by name")]);
    };
    if members.len() > MAX_HEADERS {
        return Err(vec![Problem::new(path, "at most 64 headers")]);
    }
    let (mut headers, mut problems, mut bytes) = (Vec::<(HeaderName, Template)>::new(), Vec::new(), 0);
    for (name, value) in &members {
        let value = json::read::<String>(value);
        bytes += name.len() + value.as_ref().map_or(0, String::len);
        match header(name, value) {
            Ok((known, _)) if headers.iter().any(|(name, _)| *name == known) => problems
                .push(Problem::new(format!("{path}.{name}"), "each header once, whatever the case of its letters")),
            Ok(header) => headers.push(header),
            Err(expected) => problems.push(Problem::new(format!("{path}.{name}"), expected)),
        }
    }
    if bytes > MAX_HEADER_BYTES {
        problems.push(Problem::new(path, HEADER_BYTES_EXPECTED));
    }
    if problems.is_empty() { Ok(headers) } else { Err(problems) }
}

fn header(name: &str, value: Option<String>) -> Result<(HeaderName, Template), &'static str> {
    let template = Template::parse(&value.ok_or("a string")?)?;
    header_value(&template.with("x"))?;
    Ok((header_name(name)?, template))
}

fn signing_secrets(path: &str, value: &RawValue) -> Result<Vec<Template>, Vec<Problem>> {
    let secrets = json::read::<Vec<String>>(value).filter(|secrets| (1..=MAX_SIGNING_SECRETS).contains(&secrets.len()));
    let Some(secrets) = secrets else { return Err(vec![Problem::new(path, "a list of 1 to 10 signing secrets")]) };
    let (mut templates, mut problems) = (Vec::new(), Vec::new());
    for (index, secret) in secrets.iter().enumerate() {
        // What has a reference is judged when its value is known.
        let template = Template::parse(secret).and_then(|template| {
            let is_known = template.references().next().is_none();
            if is_known { SigningKey::parse(secret).map(|_| template) } else { Ok(template) }
        });
        match template {
            Ok(template) => templates.push(template),
            Err(expected) => problems.push(Problem::new(format!("{path}[{index}]"), expected)),
        }
    }
    if problems.is_empty() { Ok(templates) } else { Err(problems) }
}

fn fallback(path: &str, value: &RawValue) -> Result<Fallback, Vec<Problem>> {
    let mut members = Members::open(path, value, "an object with `to`")?;
    members.require("to", ID_EXPECTED);
    let to = members.take("to", ID_EXPECTED, |value| json::read::<String>(value).filter(|id| is_id(id)));
    let minutes = members.take("after_minutes", "a whole number of minutes from 0 to 1200", |value| {
        whole_number(value).filter(|minutes| *minutes <= MAX_FALLBACK_MINUTES)
    });
    let problems = members.finish("to, after_minutes");
    let Some(to) = to.filter(|_| problems.is_empty()) else { return Err(problems) };
    Ok(Fallback { to, after: Duration::from_secs(60 * minutes.unwrap_or(DEFAULT_FALLBACK_MINUTES)) })
}

/// A text for people, which nothing here reads.
fn description(value: &RawValue) -> Option<()> {
    json::read::<String>(value).filter(|text| text.chars().count() <= MAX_DESCRIPTION).map(drop)
}

const DESCRIPTION_EXPECTED: &str = "a text of at most 1024 characters";

/// A whole number, also one that is written as `30.0`.
fn whole_number(value: &RawValue) -> Option<u64> {
    json::whole_number(value.get())?.parse().ok()
}

/// The values of an object by name; none for a member that is written more than once.
fn entries(value: &RawValue) -> Option<BTreeMap<String, Option<&RawValue>>> {
    let mut entries = BTreeMap::new();
    for (name, value) in members_as_written(value.get())? {
        entries.entry(name).and_modify(|known| *known = None).or_insert(Some(value));
    }
    Some(entries)
}

/// The options of an object, taken one by one; what is left at the end is none.
struct Members<'a> {
    path: &'a str,
    left: Vec<(String, &'a RawValue)>,
    problems: Vec<Problem>,
}

impl<'a> Members<'a> {
    /// Leaves out names that begin with `x-` or `_`: they are notes of people and tools.
    fn open(path: &'a str, value: &'a RawValue, expected: &'static str) -> Result<Self, Vec<Problem>> {
        let mut left = members_as_written(value.get()).ok_or_else(|| vec![Problem::new(path, expected)])?;
        left.retain(|(name, _)| !name.starts_with("x-") && !name.starts_with('_'));
        Ok(Self { path, left, problems: Vec::new() })
    }

    fn path_to(&self, name: &str) -> String {
        if self.path == "$" { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    fn require(&mut self, name: &str, expected: &'static str) {
        if !self.left.iter().any(|(member, _)| member == name) {
            self.problems.push(Problem::new(self.path_to(name), format!("{expected}, but it is missing")));
        }
    }

    /// Reads a value that is good or bad as a whole.
    fn take<T>(&mut self, name: &str, expected: &'static str, read: impl Fn(&'a RawValue) -> Option<T>) -> Option<T> {
        self.take_with(name, |path, value| read(value).ok_or_else(|| vec![Problem::new(path, expected)]))
    }

    /// Reads a value that names its problems.
    fn take_with<T>(&mut self, name: &str, read: impl Fn(&str, &'a RawValue) -> Result<T, Vec<Problem>>) -> Option<T> {
        let path = self.path_to(name);
        let values: Vec<_> = self.left.extract_if(.., |(member, _)| member == name).collect();
        let result = match values[..] {
            [] => return None,
            [(_, value)] => read(&path, value),
            _ => Err(vec![Problem::new(path, ONCE)]),
        };
        result.map_err(|problems| self.problems.extend(problems)).ok()
    }

    /// What is wrong with all that was taken, and with what is left.
    fn finish(mut self, known: &str) -> Vec<Problem> {
        for (name, _) in &self.left {
            let problem = Problem::new(self.path_to(name), format!("no such option; the options are {known}"));
            if !self.problems.contains(&problem) {
                self.problems.push(problem);
            }
        }
        self.problems
    }
}

#[cfg(test)]
mod tests;
