//! Where destinations and routes are looked up, with the secrets that they refer to.

mod cache;
mod dynamodb;
mod file;
mod reference;
mod secrets_manager;
mod survey;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_types::SdkConfig;
use secrecy::{ExposeSecret, SecretString};

use self::cache::Cache;
use self::reference::{Secrets, Values};
use crate::domain::destination::{Destination, Filter, Incomplete, Target};
use crate::domain::document::Document;
use crate::domain::failure::Finding;
use crate::domain::outcome::Outcome;
use crate::domain::problem::sentence;
use crate::domain::route::{Turn, probe_turn, single_turn, turns};
use crate::telemetry;

/// Where an administrator says that destinations are kept.
#[derive(Clone)]
pub enum Place {
    /// `WEBHOOK_URL`: one destination for every outcome.
    Single(Arc<Destination>),
    /// `DESTINATIONS=file:PATH`
    File(PathBuf),
    /// `DESTINATIONS=secretsmanager:ID`: the secret's value is the document.
    Secret(String),
    /// `DESTINATIONS=dynamodb:TABLE`
    Table(String),
}

/// A place, ready to be asked.
pub struct Registry {
    store: Store,
    documents: Cache<Arc<Document>>,
    secrets: Secrets,
}

/// A place with what is needed to read it. Only the chosen one's client is ever made.
enum Store {
    Single(Arc<Destination>),
    Text { source: TextSource, last: Mutex<Option<(SecretString, Arc<Document>)>> },
    Table { client: aws_sdk_dynamodb::Client, table: String },
}

/// A document that is one text.
enum TextSource {
    File(PathBuf),
    Secret { client: aws_sdk_secretsmanager::Client, id: String },
}

/// The look-up failed. That is never the same as "no destination": the source keeps the outcome.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct LookupError(String);

pub use self::survey::Survey;

/// One turn of an outcome, ready to be taken.
pub enum Ready {
    Send(Arc<Target>),
    Filtered(Arc<Destination>, Filter),
    /// It cannot be sent, whatever the receiver does.
    Broken {
        id: Option<String>,
        finding: Finding,
    },
}

impl Registry {
    pub fn new(place: Place, ttl: Duration, aws: &SdkConfig) -> Self {
        let secrets_manager = || aws_sdk_secretsmanager::Client::new(aws);
        let text = |source| Store::Text { source, last: Mutex::default() };
        let references = aws.region().map(|_| secrets_manager());
        let store = match place {
            Place::Single(destination) => Store::Single(destination),
            Place::File(path) => text(TextSource::File(path)),
            Place::Secret(id) => text(TextSource::Secret { client: secrets_manager(), id }),
            Place::Table(table) => Store::Table { client: aws_sdk_dynamodb::Client::new(aws), table },
        };
        Self { store, documents: Cache::new("destinations", ttl), secrets: Secrets::new(references, ttl) }
    }

    /// The turns of an outcome; none at all means that there is no route.
    pub async fn lookup(&self, outcome: &Outcome) -> Result<Vec<Ready>, LookupError> {
        let document = self.document(&outcome.detection_id, false).await?;
        let turns = turns(&document, outcome);
        let send: Vec<_> =
            turns.iter().filter_map(|turn| if let Turn::Send(to) = turn { Some(&**to) } else { None }).collect();
        let values = self.secrets.values(&send, false).await;
        Ok(turns.into_iter().map(|turn| ready(turn, &values)).collect())
    }

    /// The one destination that a delivery waits for, as it is now. Filters were applied when it was parked.
    pub async fn one(&self, id: &str) -> Result<Ready, LookupError> {
        let mut document = self.holding(id, false).await?;
        if !document.destinations.contains_key(id) {
            // Before a person is bothered, it is made sure that the destination is gone.
            document = self.holding(id, true).await?;
        }
        Ok(self.ready_one(single_turn(&document, id), false).await)
    }

    /// A destination as it is at this moment, for a probe.
    pub async fn anew(&self, id: &str) -> Result<Ready, LookupError> {
        let document = self.holding(id, true).await?;
        Ok(self.ready_one(probe_turn(&document, id), true).await)
    }

    async fn ready_one(&self, turn: Turn, anew: bool) -> Ready {
        let send: Vec<_> = if let Turn::Send(to) = &turn { vec![&**to] } else { Vec::new() };
        let values = self.secrets.values(&send, anew).await;
        ready(turn, &values)
    }

    /// A document that holds this destination, if there is one.
    async fn holding(&self, id: &str, anew: bool) -> Result<Arc<Document>, LookupError> {
        // A document that is one text holds them all, whatever the detection.
        let Store::Table { client, table } = &self.store else { return self.document("", anew).await };
        let key = format!("destination#{id}");
        let look_up = async {
            let document = Box::pin(dynamodb::read_one(client, table, id, anew)).await?;
            say_problems(&format!("the table {table}"), &document);
            Ok(Arc::new(document))
        };
        let document =
            if anew { self.documents.refresh(&key, look_up).await } else { self.documents.get(&key, look_up).await };
        document.map_err(LookupError)
    }

    /// The same destination as it is now, looked up anew, if that makes it another one. A rotated key is the usual
    /// reason why a receiver refuses.
    pub async fn refreshed(&self, used: &Target, outcome: &Outcome) -> Option<Arc<Target>> {
        let document = self.document(&outcome.detection_id, true).await.ok()?;
        let destination = document.destinations.get(&used.id)?.as_ref().ok()?;
        let values = self.secrets.values(&[destination], true).await;
        destination.complete(&values.resolved).ok().filter(|now| now.differs_from(used)).map(Arc::new)
    }

    async fn document(&self, detection_id: &str, anew: bool) -> Result<Arc<Document>, LookupError> {
        let (key, look_up) = match &self.store {
            Store::Single(destination) => return Ok(Arc::new(Document::single(destination.clone()))),
            Store::Text { .. } => ("", self.read(detection_id)),
            Store::Table { .. } => (detection_id, self.read(detection_id)),
        };
        let document =
            if anew { self.documents.refresh(key, look_up).await } else { self.documents.get(key, look_up).await };
        document.map_err(LookupError)
    }

    async fn read(&self, detection_id: &str) -> Result<Arc<Document>, String> {
        match &self.store {
            Store::Single(destination) => Ok(Arc::new(Document::single(destination.clone()))),
            Store::Table { client, table } => {
                // Boxed: the SDK's futures are large, and most look-ups do without them.
                let document = Box::pin(dynamodb::read(client, table, detection_id)).await?;
                say_problems(&format!("the table {table}"), &document);
                Ok(Arc::new(document))
            }
            Store::Text { source, last } => {
                let (name, text) = match source {
                    TextSource::File(path) => (format!("the file {}", path.display()), file::read(path).await?),
                    TextSource::Secret { client, id } => {
                        (format!("the secret {id}"), Box::pin(secrets_manager::read(client, id)).await?)
                    }
                };
                let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some((_, document)) =
                    last.as_ref().filter(|(known, _)| known.expose_secret() == text.expose_secret())
                {
                    return Ok(document.clone());
                }
                let document = Document::parse(text.expose_secret().as_bytes())
                    .map_err(|problems| format!("{name} is no destinations document: {}", sentence(&problems)))?;
                say_problems(&name, &document);
                let document = Arc::new(document);
                *last = Some((text, document.clone()));
                Ok(document)
            }
        }
    }
}

fn ready(turn: Turn, values: &Values) -> Ready {
    let broken = |id: String, finding| Ready::Broken { id: Some(id), finding };
    match turn {
        Turn::Filtered(destination, filter) => Ready::Filtered(destination, filter),
        Turn::Paused { id } => broken(id, Finding::Paused),
        Turn::Inactive { id } => broken(id, Finding::InactiveDestination),
        Turn::Invalid { id, problems } => broken(id, Finding::InvalidDestination(problems)),
        Turn::Unknown { id } => broken(id, Finding::UnknownDestination),
        Turn::InvalidRoute { problems } => Ready::Broken { id: None, finding: Finding::InvalidRoute(problems) },
        Turn::Send(destination) => match destination.complete(&values.resolved) {
            Ok(target) => Ready::Send(Arc::new(target)),
            Err(Incomplete::Invalid(problems)) => broken(destination.id.clone(), Finding::InvalidDestination(problems)),
            Err(Incomplete::Unresolved(reference)) => {
                let reason = values.missing.get(&reference).cloned().unwrap_or_default();
                broken(destination.id.clone(), Finding::UnresolvedSecret(reason))
            }
        },
    }
}

impl Ready {
    /// The destination's id.
    pub fn id(&self) -> Option<&str> {
        match self {
            Self::Send(target) => Some(&target.id),
            Self::Filtered(destination, _) => Some(&destination.id),
            Self::Broken { id, .. } => id.as_deref(),
        }
    }
}

fn say_problems(name: &str, document: &Document) {
    let problems = document.problems();
    if !problems.is_empty() {
        telemetry::document_problems(name, &problems);
    }
}

/// AWS's error code (such as AccessDeniedException), with what to do about the usual ones. AWS's messages are left
/// out: they repeat identities that are nobody's business in a log.
fn reason(code: Option<&str>) -> String {
    match code {
        Some("AccessDeniedException") => "AccessDeniedException: allow the function's role to read it".to_owned(),
        Some("ResourceNotFoundException") => "ResourceNotFoundException: there is none in this region".to_owned(),
        Some(code) => code.to_owned(),
        None => "AWS does not answer; in a VPC, check the route or the endpoint to it".to_owned(),
    }
}
