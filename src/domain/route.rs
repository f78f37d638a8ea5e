//! Which destinations an outcome goes to.

use std::sync::Arc;

use serde_json::Value;

use super::destination::{Destination, Filter, ID_EXPECTED, is_id};
use super::document::Document;
use super::outcome::Outcome;
use super::problem::Problem;

/// The destinations of one detection, and what is wrong with the rest of the list.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Route {
    /// Where it is configured: the path that its problems are named by.
    pub path: String,
    pub destinations: Vec<String>,
    pub problems: Vec<Problem>,
}

impl Route {
    /// Reads a list of destination ids; a repeated id counts once.
    pub fn parse(path: &str, value: &Value) -> Self {
        let mut route = Self { path: path.to_owned(), ..Self::default() };
        let Some(ids) = value.as_array().filter(|ids| !ids.is_empty()) else {
            route.problems.push(Problem::new(path, "a list of destination ids, at least one"));
            return route;
        };
        for (index, id) in ids.iter().enumerate() {
            match id.as_str().filter(|id| is_id(id)) {
                None => route.problems.push(Problem::new(format!("{path}[{index}]"), ID_EXPECTED)),
                Some(id) if route.destinations.iter().any(|known| known == id) => {}
                Some(id) => route.destinations.push(id.to_owned()),
            }
        }
        route
    }
}

/// What becomes of an alert that has no route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unrouted {
    /// Somebody should have heard of it: a person must act.
    DeadLetter,
    /// It is acknowledged.
    Ignore,
}

/// One turn of an outcome: a destination, or what stands in its place.
pub enum Turn {
    Send(Arc<Destination>),
    Filtered(Arc<Destination>, Filter),
    /// Under maintenance: it waits without an attempt.
    Paused {
        id: String,
    },
    /// It waited for a destination that is no longer active.
    Inactive {
        id: String,
    },
    /// The destination has problems of its own.
    Invalid {
        id: String,
        problems: Vec<Problem>,
    },
    /// The route names a destination that does not exist.
    Unknown {
        id: String,
    },
    /// The route itself has problems.
    InvalidRoute {
        problems: Vec<Problem>,
    },
    /// It would be given up, but only by what is known from before: the registry cannot be read.
    Doubtful {
        id: Option<String>,
        reason: String,
    },
}

impl Turn {
    /// The destination's id, fit for a log line and a queue's attribute.
    pub fn id(&self) -> Option<&str> {
        match self {
            Self::Send(destination) | Self::Filtered(destination, _) => Some(&destination.id),
            Self::Paused { id } | Self::Inactive { id } | Self::Invalid { id, .. } | Self::Unknown { id } => Some(id),
            Self::InvalidRoute { .. } => None,
            Self::Doubtful { id, .. } => id.as_deref(),
        }
    }
}

/// Stands for an id that is none, as somebody wrote it: that may be anything, a secret too. No destination can have it.
const NO_ID: &str = "(invalid)";

fn shown(id: &str) -> String {
    if is_id(id) { id } else { NO_ID }.to_owned()
}

/// What the document says about an outcome. No turn at all means that there is no route.
pub fn turns(document: &Document, outcome: &Outcome) -> Vec<Turn> {
    let turn = |id: &String| match document.destinations.get(id) {
        None => Turn::Unknown { id: shown(id) },
        Some(Err(problems)) => Turn::Invalid { id: shown(id), problems: problems.clone() },
        Some(Ok(destination)) => match destination.filter(outcome) {
            Some(filter) => Turn::Filtered(destination.clone(), filter),
            None if destination.paused => Turn::Paused { id: id.clone() },
            None => Turn::Send(destination.clone()),
        },
    };
    let Some(routes) = &document.routes else {
        return document.destinations.keys().map(turn).collect();
    };
    let Some(route) = routes.get(&outcome.detection_id).or_else(|| routes.get("*")) else {
        return Vec::new();
    };
    let mut turns: Vec<_> = route.destinations.iter().map(turn).collect();
    if !route.problems.is_empty() {
        turns.push(Turn::InvalidRoute { problems: route.problems.clone() });
    }
    turns
}

/// What the document says about a probe: maintenance is no obstacle, it is the time for one.
pub fn probe_turn(document: &Document, id: &str) -> Turn {
    match (single_turn(document, id), document.destinations.get(id)) {
        (Turn::Paused { .. }, Some(Ok(destination))) => Turn::Send(destination.clone()),
        (turn, _) => turn,
    }
}

/// What the document says about a delivery that waited for one destination.
pub fn single_turn(document: &Document, id: &str) -> Turn {
    let entry = document.destinations.get(id);
    let id = shown(id);
    match entry {
        None => Turn::Unknown { id },
        Some(Err(problems)) => Turn::Invalid { id, problems: problems.clone() },
        Some(Ok(destination)) if !destination.active => Turn::Inactive { id },
        Some(Ok(destination)) if destination.paused => Turn::Paused { id },
        Some(Ok(destination)) => Turn::Send(destination.clone()),
    }
}
