//! A destinations document in a file beside the function.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use super::LookupError;
use crate::domain::document::Document;
use crate::domain::problem::sentence;
use crate::telemetry;

/// Reads the file at every look-up, and parses it again only when it has changed.
#[derive(Debug)]
pub struct FileRegistry {
    path: PathBuf,
    last: Mutex<Option<(Vec<u8>, Arc<Document>)>>,
}

impl FileRegistry {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, last: Mutex::new(None) }
    }

    pub(super) async fn document(&self) -> Result<Arc<Document>, LookupError> {
        let place = self.path.display();
        let text = tokio::fs::read(&self.path)
            .await
            .map_err(|error| LookupError(format!("{place} cannot be read: {}", error.kind())))?;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, document)) = last.as_ref().filter(|(known, _)| *known == text) {
            return Ok(document.clone());
        }
        let document =
            Document::parse(&text).map_err(|problems| LookupError(format!("{place}: {}", sentence(&problems))))?;
        let problems = document.problems();
        if !problems.is_empty() {
            telemetry::document_problems(&place.to_string(), &problems);
        }
        let document = Arc::new(document);
        *last = Some((text, document.clone()));
        Ok(document)
    }
}
