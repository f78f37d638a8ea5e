//! Which destinations an outcome goes to.

use std::sync::Arc;

use serde_json::Value;

use super::destination::{Destination, Filter, ID_EXPECTED, is_id};
use super::document::Document;
use super::failure::{Code, Failure};
use super::outcome::Outcome;
use super::problem::{Problem, sentence};

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

/// One delivery to make, or why it cannot be made.
pub enum Delivery {
    /// A paused destination is one to send to, too: whoever sends asks it.
    Send(Arc<Destination>),
    Filtered(Arc<Destination>, Filter),
    Failed {
        /// An id that may be shown.
        destination: Option<String>,
        failure: Failure,
    },
}

impl Delivery {
    /// The destination's id, fit for a log line and a queue's attribute.
    pub fn id(&self) -> Option<&str> {
        match self {
            Self::Send(destination) | Self::Filtered(destination, _) => Some(&destination.id),
            Self::Failed { destination, .. } => destination.as_deref(),
        }
    }
}

/// Stands for an id that is none, as somebody wrote it: that may be anything, a secret too. No destination can have it.
const NO_ID: &str = "(invalid)";

/// An id as a log line and a queue's attribute may show it.
pub fn shown(id: &str) -> &str {
    if is_id(id) { id } else { NO_ID }
}

/// The deliveries of an outcome, as the document says. None at all means that there is no route.
pub fn deliveries(document: &Document, outcome: &Outcome) -> Vec<Delivery> {
    let to = |id: &String| match document.destinations.get(id) {
        Some(Ok(destination)) => match destination.filter(outcome) {
            Some(filter) => Delivery::Filtered(destination.clone(), filter),
            None => Delivery::Send(destination.clone()),
        },
        _ => match destination(document, id) {
            Ok(destination) => Delivery::Send(destination),
            Err(failure) => Delivery::Failed { destination: Some(shown(id).to_owned()), failure },
        },
    };
    let Some(routes) = &document.routes else {
        return document.destinations.keys().map(to).collect();
    };
    let Some(route) = routes.get(&outcome.detection_id).or_else(|| routes.get("*")) else {
        return Vec::new();
    };
    let mut deliveries: Vec<_> = route.destinations.iter().map(to).collect();
    if !route.problems.is_empty() {
        let failure = Failure::new(Code::RouteInvalid).with("problems", sentence(&route.problems));
        deliveries.push(Delivery::Failed { destination: None, failure });
    }
    deliveries
}

/// The destination of a delivery that waits, or of a fallback's copy, whatever the outcome: its filters were applied when
/// the delivery was written.
pub fn destination(document: &Document, id: &str) -> Result<Arc<Destination>, Failure> {
    match document.destinations.get(id) {
        None => Err(Failure::new(Code::DestinationUnknown)),
        Some(Err(problems)) => Err(Failure::new(Code::DestinationInvalid).with("problems", sentence(problems))),
        Some(Ok(destination)) if !destination.active => Err(Failure::new(Code::DestinationInactive)),
        Some(Ok(destination)) => Ok(destination.clone()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn document(routes: Option<Value>) -> Document {
        let url = "https://h/";
        let mut document = json!({ "destinations": {
            "soc": { "url": url }, "off": { "url": url, "active": false }, "bad": {},
            "high": { "url": url, "min_severity": "HIGH" }, "paused": { "url": url, "paused": true },
        } });
        document.as_object_mut().unwrap().extend(routes.map(|routes| ("routes".to_owned(), routes)));
        Document::parse(&document.to_string()).ok().unwrap()
    }

    /// Who gets it, and what becomes of it.
    fn told(delivery: &Delivery) -> String {
        let fate = match delivery {
            Delivery::Send(_) => "Send".to_owned(),
            Delivery::Filtered(_, filter) => format!("{filter:?}"),
            Delivery::Failed { failure, .. } => format!("{:?}", failure.code),
        };
        format!("{}: {fate}", delivery.id().unwrap_or_default())
    }

    #[test]
    fn a_route_gives_each_of_its_destinations_one_delivery() {
        let all = ["bad: DestinationInvalid", "high: MinSeverity", "off: Inactive", "paused: Send", "soc: Send"];
        for (routes, expected) in [
            (
                Some(json!({ "7": ["soc", "gone", "soc"], "*": ["off"] })),
                &["soc: Send", "gone: DestinationUnknown"][..],
            ),
            (Some(json!({ "7": ["soc", "NO ID"] })), &["soc: Send", ": RouteInvalid"]),
            (Some(json!({ "8": ["high"], "*": ["soc"] })), &["soc: Send"]),
            (Some(json!({ "8": ["high"] })), &[]),
            (None, &all),
        ] {
            let outcome = r#"{"detection_id":7,"outcome":"MATCHED","severity":"MEDIUM"}"#;
            let deliveries = deliveries(&document(routes), &Outcome::parse(&outcome.into()).unwrap());
            assert_eq!(deliveries.iter().map(told).collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn a_waiting_delivery_passes_filters_but_not_a_switch() {
        let code = |id| destination(&document(None), id).err().map(|failure| failure.code);
        let unknown = Some(Code::DestinationUnknown);
        let codes = ["high", "off", "gone", "https://h/SECRET"].map(code);
        assert_eq!(codes, [None, Some(Code::DestinationInactive), unknown, unknown]);
        assert_eq!(["soc", "https://h/SECRET"].map(shown), ["soc", "(invalid)"]);
    }
}
