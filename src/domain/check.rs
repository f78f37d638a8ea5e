//! What a check of the whole registry found: the answer to whoever asked.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_with::skip_serializing_none;

use super::document::Document;
use super::failure::Failure;
use super::problem::Problem;

/// Entries of a list in the answer; Lambda's answers are limited, and so is a reader's patience.
const SHOWN: usize = 100;

#[skip_serializing_none]
#[derive(Debug, Serialize)]
pub struct Check {
    /// Always true: what was asked for.
    pub check: bool,
    pub ok: bool,
    pub version: &'static str,
    pub destinations: usize,
    pub routes: usize,
    /// How many there are; the list below is cut at a hundred.
    pub problems_total: usize,
    pub problems: Vec<Problem>,
    /// Ids of destinations that no route names, so that they get nothing; a hundred of them at most.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub destinations_without_route: Vec<String>,
    /// Why the registry could not be read at all, and what to do.
    pub code: Option<&'static str>,
    pub cause: Option<String>,
    pub remedy: Option<String>,
}

impl Check {
    pub fn new(document: &Document, mut problems: Vec<Problem>) -> Self {
        let problems_total = problems.len();
        problems.truncate(SHOWN);
        let mut destinations_without_route = without_route(document);
        destinations_without_route.truncate(SHOWN);
        Self {
            check: true,
            ok: problems_total == 0,
            version: env!("CARGO_PKG_VERSION"),
            destinations: document.destinations.len(),
            routes: document.routes.as_ref().map_or(0, BTreeMap::len),
            problems_total,
            problems,
            destinations_without_route,
            code: None,
            cause: None,
            remedy: None,
        }
    }

    /// The registry could not be read at all.
    pub fn failed(failure: &Failure) -> Self {
        Self {
            ok: false,
            code: Some(failure.row().name),
            cause: Some(failure.cause()),
            remedy: Some(failure.remedy()),
            ..Self::new(&Document::default(), Vec::new())
        }
    }

    pub fn sentence(&self) -> String {
        let found = match (&self.cause, self.problems.first()) {
            (Some(cause), _) => format!("{cause}. Operator: {}.", self.remedy.as_deref().unwrap_or_default()),
            (None, None) => "nothing is wrong.".to_owned(),
            (None, Some(first)) => {
                let total = self.problems_total;
                format!("{total} problem(s); the answer lists them, the first is {first}. Operator: correct them.")
            }
        };
        format!("check of {} destination(s) and {} route(s): {found}", self.destinations, self.routes)
    }
}

/// A fallback gets what another destination misses, so it needs no route.
fn without_route(document: &Document) -> Vec<String> {
    let Some(routes) = &document.routes else { return Vec::new() };
    let mut named: BTreeSet<_> = routes.values().flat_map(|route| &route.destinations).collect();
    let destinations = document.destinations.values().flatten();
    named.extend(destinations.filter_map(|one| one.fallback.as_ref()).map(|fallback| &fallback.to));
    document.destinations.keys().filter(|id| !named.contains(id)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::failure::Code;

    #[test]
    fn a_failed_look_up_says_why_and_what_to_do() {
        let check = Check::failed(&Failure::of(Code::LookupFailed, "the secret soc", "no text", "give it a text"));
        let cause = "the destinations cannot be read from the secret soc: no text";
        assert_eq!((check.ok, check.code, check.cause.as_deref()), (false, Some("lookup_failed"), Some(cause)));
        let said = format!("check of 0 destination(s) and 0 route(s): {cause}. Operator: give it a text.");
        assert_eq!((check.sentence(), check.remedy.as_deref()), (said, Some("give it a text")));
    }

    #[test]
    fn who_has_neither_route_nor_fallback_is_named() {
        let text = r#"{
            "destinations": {
                "routed": { "url": "https://a/", "fallback": { "to": "stand-in" } },
                "stand-in": { "url": "https://b/" },
                "forgotten": { "url": "https://c/" }
            },
            "routes": { "*": ["routed"] }
        }"#;
        let mut document = Document::parse(text).unwrap();
        assert_eq!(Check::new(&document, Vec::new()).destinations_without_route, ["forgotten"]);
        document.routes = None;
        assert!(Check::new(&document, Vec::new()).destinations_without_route.is_empty(), "each gets every outcome");
    }
}
