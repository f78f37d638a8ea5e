//! Everything that is configured, read at once: for a check, never for an outcome.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::{Place, Registry};
use crate::domain::destination::Target;
use crate::domain::document::Document;
use crate::domain::failure::Failure;
use crate::domain::problem::Problem;

/// Destinations whose secrets are read at the same time.
const AT_ONCE: usize = 50;

/// What is configured, and what is wrong with it.
pub struct Survey {
    pub document: Arc<Document>,
    pub problems: Vec<Problem>,
    /// Destinations that can be used, with the path of each.
    pub targets: Vec<(String, Arc<Target>)>,
}

impl Registry {
    pub async fn survey(&self) -> Result<Survey, Failure> {
        let (document, mut problems) = match &self.place {
            Place::Table(table) => {
                let (document, problems) = Box::pin(self.table(table).read_all()).await?;
                (Arc::new(document), problems)
            }
            Place::Single(_) | Place::File(_) | Place::Secret(_) => {
                (self.document("route", "", Duration::ZERO).await?.value, Vec::new())
            }
        };
        problems.extend(document.problems());
        if document.routes.as_ref().is_some_and(|routes| !routes.contains_key("*")) {
            let path = if matches!(self.place, Place::Table(_)) { "route#*" } else { "routes.*" };
            problems.push(Problem::new(path, "a route for the detections that have none of their own"));
        }
        let mut targets = Vec::new();
        let usable: Vec<_> = document.destinations.values().flatten().collect();
        for destinations in usable.chunks(AT_ONCE) {
            let made = join_all(destinations.iter().map(|destination| self.resolve(destination, Duration::ZERO))).await;
            for (destination, target) in destinations.iter().zip(made) {
                match target {
                    Ok(target) => targets.push((destination.path.clone(), target)),
                    Err(failure) => {
                        let expected = format!("secrets that can be used: {}", failure.cause());
                        problems.push(Problem::new(&*destination.path, expected));
                    }
                }
            }
        }
        Ok(Survey { document, problems, targets })
    }
}
