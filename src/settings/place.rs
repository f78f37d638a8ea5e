//! The settings that say where destinations are kept.

use std::sync::Arc;

use super::{Environment, Reader};
use crate::domain::destination::{DEFAULT_TIMEOUT_SECONDS, Destination, MAX_TIMEOUT_SECONDS};
use crate::domain::endpoint::EndpointTemplate;
use crate::outbound::registry::Place;

/// Id of the destination that `WEBHOOK_URL` makes.
const DEFAULT_DESTINATION: &str = "default";

const PLACES: &str = "file:PATH, secretsmanager:NAME-OR-ARN or dynamodb:TABLE";

impl<E: Environment> Reader<'_, E> {
    pub(super) fn place(&mut self) -> Option<Place> {
        let timeout = self.webhook_timeout();
        match (self.get("DESTINATIONS"), self.get("WEBHOOK_URL")) {
            (Some(_), Some(_)) => {
                self.problem("WEBHOOK_URL", "one of DESTINATIONS and WEBHOOK_URL, not both");
                None
            }
            (None, None) => {
                self.problem("DESTINATIONS", format!("{PLACES}, but neither it nor WEBHOOK_URL is set"));
                None
            }
            (None, Some(url)) => self.single(&url, timeout),
            (Some(place), None) => {
                if self.get("WEBHOOK_TIMEOUT").is_some() {
                    let expected = "nothing beside DESTINATIONS: a destination's timeout is its option `timeout`";
                    self.problem("WEBHOOK_TIMEOUT", expected);
                }
                match place.split_once(':').filter(|(_, name)| !name.is_empty()) {
                    Some(("file", path)) => Some(Place::File(path.into())),
                    Some(("secretsmanager", id)) => Some(Place::Secret(id.to_owned())),
                    Some(("dynamodb", table)) => Some(Place::Table(table.to_owned())),
                    _ => {
                        self.problem("DESTINATIONS", PLACES);
                        None
                    }
                }
            }
        }
    }

    fn single(&mut self, url: &str, timeout: Option<u64>) -> Option<Place> {
        match EndpointTemplate::parse(url) {
            Ok(endpoint) => {
                let destination = Destination::new(DEFAULT_DESTINATION, "WEBHOOK_URL", endpoint, timeout?);
                Some(Place::Single(Arc::new(destination)))
            }
            Err(expected) => {
                self.problem("WEBHOOK_URL", expected);
                None
            }
        }
    }

    fn webhook_timeout(&mut self) -> Option<u64> {
        let Some(text) = self.get("WEBHOOK_TIMEOUT") else { return Some(DEFAULT_TIMEOUT_SECONDS) };
        let seconds = text.parse().ok().filter(|seconds| (1..=MAX_TIMEOUT_SECONDS).contains(seconds));
        if seconds.is_none() {
            self.problem("WEBHOOK_TIMEOUT", "a whole number of seconds from 1 to 300");
        }
        seconds
    }
}
