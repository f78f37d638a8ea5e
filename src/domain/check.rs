//! What a check of the whole registry found: the answer to whoever asked.

use serde::Serialize;

use super::code::Code;
use super::failure::Finding;
use super::problem::Problem;

/// Entries of a list in the answer; Lambda's answers are limited, and so is a reader's patience.
const SHOWN: usize = 100;

/// The answer to a check.
#[derive(Debug, Serialize)]
pub struct CheckReport {
    /// Always true: what was asked for.
    pub check: bool,
    /// Whether nothing is wrong.
    pub ok: bool,
    pub destinations: usize,
    pub routes: usize,
    /// How many there are; the list below is cut at a hundred.
    pub problems_total: usize,
    pub problems: Vec<Problem>,
    /// Ids of destinations that no route names, so that they get nothing; a hundred of them at most.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub destinations_without_route: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<&'static str>,
}

impl CheckReport {
    pub fn new(destinations: usize, routes: usize, mut problems: Vec<Problem>, mut without_route: Vec<String>) -> Self {
        let problems_total = problems.len();
        problems.truncate(SHOWN);
        without_route.truncate(SHOWN);
        Self {
            check: true,
            ok: problems_total == 0,
            destinations,
            routes,
            problems_total,
            problems,
            destinations_without_route: without_route,
            code: None,
            cause: None,
            remedy: None,
        }
    }

    /// The registry could not be read at all.
    pub fn failed(reason: String) -> Self {
        let finding = Finding::LookupFailed(reason);
        let code = finding.code();
        Self {
            ok: false,
            code: code.map(Code::name),
            cause: finding.cause(),
            remedy: code.map(Code::remedy),
            ..Self::new(0, 0, Vec::new(), Vec::new())
        }
    }
}
