//! Where destinations and routes are looked up.

mod file;

use std::path::PathBuf;
use std::sync::Arc;

use crate::domain::destination::Destination;
use crate::domain::document::Document;
use crate::domain::outcome::Outcome;
use crate::domain::route::{Turn, turns};
use file::FileRegistry;

/// Where an administrator says that destinations are kept.
#[derive(Debug)]
pub enum Place {
    /// `WEBHOOK_URL`: one destination for every outcome.
    Single(Box<Destination>),
    /// `DESTINATIONS=file:PATH`
    File(PathBuf),
}

/// A place, ready to be asked.
#[derive(Debug)]
pub enum Registry {
    /// One destination for every outcome.
    Single(Arc<Destination>),
    File(FileRegistry),
}

/// The look-up failed. That is never the same as "no destination": the source keeps the outcome.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct LookupError(pub(super) String);

impl Registry {
    pub fn new(place: Place) -> Self {
        match place {
            Place::Single(destination) => Self::Single(Arc::from(destination)),
            Place::File(path) => Self::File(FileRegistry::new(path)),
        }
    }

    /// The turns of an outcome; none at all means that there is no route.
    pub async fn lookup(&self, outcome: &Outcome) -> Result<Vec<Turn>, LookupError> {
        match self {
            Self::Single(destination) => Ok(vec![Turn::Send(destination.clone())]),
            Self::File(file) => {
                let document: Arc<Document> = file.document().await?;
                Ok(turns(&document, outcome))
            }
        }
    }
}
