//! Everything that is configured, read at once: for a check, never for an outcome.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::cache::Want;
use super::{LookupError, Ready, Registry, Store, dynamodb, ready};
use crate::domain::destination::{Destination, Target};
use crate::domain::document::Document;
use crate::domain::failure::Finding;
use crate::domain::problem::Problem;
use crate::domain::route::Turn;

/// Destinations whose secrets are read at the same time.
const AT_ONCE: usize = 50;

/// What is configured, and what is wrong with it.
pub struct Survey {
    pub destinations: usize,
    pub routes: usize,
    pub problems: Vec<Problem>,
    /// Destinations that no route names, so that they get nothing.
    pub without_route: Vec<String>,
    /// Destinations that can be used, with the path of each.
    pub targets: Vec<(String, Arc<Target>)>,
}

impl Registry {
    /// Reads everything anew.
    pub async fn survey(&self) -> Result<Survey, LookupError> {
        let (document, mut problems) = match &self.store {
            Store::Table { dynamodb, table } => {
                let (document, problems) = Box::pin(dynamodb::read_all(dynamodb, table)).await.map_err(LookupError)?;
                (Arc::new(document), problems)
            }
            Store::Single(_) | Store::Text { .. } => (self.document("", Want::Current).await?.value, Vec::new()),
        };
        problems.extend(document.problems());
        if document.routes.as_ref().is_some_and(|routes| !routes.contains_key("*")) {
            let path = if matches!(self.store, Store::Table { .. }) { "route#*" } else { "routes.*" };
            problems.push(Problem::new(path, "a route for the detections that have none of their own"));
        }
        let mut targets = Vec::new();
        let usable: Vec<_> = document.destinations.values().filter_map(|entry| entry.as_ref().ok()).collect();
        for destinations in usable.chunks(AT_ONCE) {
            self.fill(destinations, &mut targets, &mut problems).await;
        }
        Ok(Survey {
            destinations: document.destinations.len(),
            routes: document.routes.as_ref().map_or(0, std::collections::BTreeMap::len),
            problems,
            without_route: without_route(&document),
            targets,
        })
    }

    /// Puts the secrets of some destinations in place.
    async fn fill(
        &self,
        destinations: &[&Arc<Destination>],
        targets: &mut Vec<(String, Arc<Target>)>,
        problems: &mut Vec<Problem>,
    ) {
        let all: Vec<_> = destinations.iter().map(|destination| &***destination).collect();
        let values = self.secrets.values(&all, Want::Current).await;
        for destination in destinations {
            match ready(Turn::Send((*destination).clone()), &values) {
                Ready::Send(target) => targets.push((destination.path.clone(), target)),
                Ready::Broken { finding: Finding::UnresolvedSecret(reason), .. } => {
                    problems.push(Problem::new(&*destination.path, format!("secrets that can be read: {reason}")));
                }
                Ready::Broken { finding: Finding::InvalidDestination(more), .. } => problems.extend(more),
                Ready::Broken { .. } | Ready::Filtered(..) => {}
            }
        }
    }
}

fn without_route(document: &Document) -> Vec<String> {
    let Some(routes) = &document.routes else { return Vec::new() };
    let named: BTreeSet<_> = routes.values().flat_map(|route| &route.destinations).collect();
    document.destinations.keys().filter(|id| !named.contains(id)).cloned().collect()
}
