//! Where destinations and routes are looked up, with the secrets that they refer to.

mod cache;
mod dynamodb;
mod file;
mod secrets;
mod secrets_manager;
mod survey;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_types::SdkConfig;
use secrecy::{ExposeSecret, SecretString};

use self::cache::{Cache, Known, Want};
use self::secrets::{Secrets, Values};
use super::aws::{LOOK_UPS, Service};
use crate::domain::destination::{Destination, Filter, Incomplete, Target, is_id};
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

/// A place with what is needed to read it.
enum Store {
    Single(Arc<Destination>),
    Text { source: TextSource, last: Mutex<Option<(SecretString, Arc<Document>)>> },
    Table { dynamodb: Service<aws_sdk_dynamodb::Client>, table: String },
}

/// A document that is one text.
enum TextSource {
    File(PathBuf),
    Secret { secrets_manager: SecretsManager, id: String },
}

/// Shared by the document and the secrets that its destinations refer to.
type SecretsManager = Arc<Service<aws_sdk_secretsmanager::Client>>;

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
        finding: Finding,
    },
}

impl Registry {
    pub fn new(place: Place, ttl: Duration, aws: &SdkConfig) -> Self {
        let secrets_manager = Arc::new(Service::new(aws, LOOK_UPS, aws_sdk_secretsmanager::Client::new));
        let text = |source| Store::Text { source, last: Mutex::default() };
        let references = aws.region().map(|_| secrets_manager.clone());
        let own = if let Place::Secret(id) = &place { Some(id.clone()) } else { None };
        let store = match place {
            Place::Single(destination) => Store::Single(destination),
            Place::File(path) => text(TextSource::File(path)),
            Place::Secret(id) => text(TextSource::Secret { secrets_manager, id }),
            Place::Table(table) => {
                Store::Table { dynamodb: Service::new(aws, LOOK_UPS, aws_sdk_dynamodb::Client::new), table }
            }
        };
        Self { store, documents: Cache::new("destinations", ttl), secrets: Secrets::new(references, ttl, own) }
    }

    /// The turns of an outcome; none at all means that there is no route.
    pub async fn lookup(&self, outcome: &Outcome) -> Result<Vec<Turn>, LookupError> {
        let Known { value: document, stale } = self.document(&outcome.detection_id, Want::Usable).await?;
        let turns = turns(&document, outcome);
        match stale {
            Some(reason) if turns.is_empty() => Err(LookupError(reason)),
            stale => Ok(turns.into_iter().map(|turn| doubted(turn, stale.as_ref())).collect()),
        }
    }

    /// The one destination that a delivery waits for, as it is now. Filters were applied when it was parked.
    pub async fn one(&self, id: &str) -> Result<Turn, LookupError> {
        let mut known = self.holding(id, Want::Usable).await?;
        if !known.value.destinations.contains_key(id) && is_id(id) {
            // Before a person is bothered, it is made sure that the destination is gone.
            known = self.holding(id, Want::Current).await?;
        }
        Ok(doubted(single_turn(&known.value, id), known.stale.as_ref()))
    }

    /// A destination as it is at this moment, for a probe.
    pub async fn anew(&self, id: &str) -> Result<Ready, LookupError> {
        let known = self.holding(id, Want::Current).await?;
        Ok(self.ready_with(probe_turn(&known.value, id), Want::Current).await)
    }

    /// Puts the secrets of a turn's destination in place. Another turn's secrets are not waited for.
    pub async fn ready(&self, turn: Turn) -> Ready {
        self.ready_with(turn, Want::Usable).await
    }

    async fn ready_with(&self, turn: Turn, want: Want) -> Ready {
        let send: Vec<_> = if let Turn::Send(to) = &turn { vec![&**to] } else { Vec::new() };
        let values = self.secrets.values(&send, want).await;
        ready(turn, &values)
    }

    /// A document that holds this destination, if there is one.
    async fn holding(&self, id: &str, want: Want) -> Result<Known<Arc<Document>>, LookupError> {
        // A document that is one text holds them all, whatever the detection.
        let Store::Table { dynamodb, table } = &self.store else { return self.document("", want).await };
        if !is_id(id) {
            let nothing = Document { destinations: BTreeMap::new(), routes: None };
            return Ok(Known { value: Arc::new(nothing), stale: None });
        }
        let look_up = async {
            let document = Box::pin(dynamodb::read_one(dynamodb, table, id, want != Want::Usable)).await?;
            say_problems(&format!("the table {table}"), &document);
            Ok(Arc::new(document))
        };
        self.documents.get(&format!("destination#{id}"), want, look_up).await.map_err(LookupError)
    }

    /// The same destination as it is now, looked up anew, if that makes it another one that may be sent to. A rotated
    /// key is the usual reason why a receiver refuses.
    pub async fn refreshed(&self, used: &Target) -> Option<Arc<Target>> {
        let known = self.holding(&used.id, Want::Refreshed).await.ok()?;
        let Turn::Send(destination) = single_turn(&known.value, &used.id) else { return None };
        let values = self.secrets.values(&[&*destination], Want::Refreshed).await;
        destination.target(&values.resolved).ok().filter(|now| now.differs_from(used))
    }

    async fn document(&self, detection_id: &str, want: Want) -> Result<Known<Arc<Document>>, LookupError> {
        let key = match &self.store {
            Store::Single(destination) => {
                return Ok(Known { value: Arc::new(Document::single(destination.clone())), stale: None });
            }
            Store::Text { .. } => String::new(),
            Store::Table { .. } => format!("route#{detection_id}"),
        };
        self.documents.get(&key, want, self.read(detection_id)).await.map_err(LookupError)
    }

    async fn read(&self, detection_id: &str) -> Result<Arc<Document>, String> {
        match &self.store {
            Store::Single(destination) => Ok(Arc::new(Document::single(destination.clone()))),
            Store::Table { dynamodb, table } => {
                // Boxed: the SDK's futures are large, and most look-ups do without them.
                let document = Box::pin(dynamodb::read(dynamodb, table, detection_id)).await?;
                say_problems(&format!("the table {table}"), &document);
                Ok(Arc::new(document))
            }
            Store::Text { source, last } => {
                let (name, text) = match source {
                    TextSource::File(path) => (format!("the file {}", path.display()), file::read(path).await?),
                    TextSource::Secret { secrets_manager, id } => {
                        (format!("the secret {id}"), Box::pin(secrets_manager::read(secrets_manager, id)).await?)
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

/// While the store cannot be read, what is known from before may be delivered to, but nothing is given up because of it.
fn doubted(turn: Turn, stale: Option<&String>) -> Turn {
    let is_final = !matches!(turn, Turn::Send(_) | Turn::Filtered(..) | Turn::Paused { .. });
    match stale.filter(|_| is_final) {
        Some(reason) => Turn::Doubtful { id: turn.id().map(ToOwned::to_owned), reason: reason.clone() },
        None => turn,
    }
}

fn ready(turn: Turn, values: &Values) -> Ready {
    let broken = |finding| Ready::Broken { finding };
    match turn {
        Turn::Filtered(destination, filter) => Ready::Filtered(destination, filter),
        Turn::Paused { .. } => broken(Finding::Paused),
        Turn::Inactive { .. } => broken(Finding::InactiveDestination),
        Turn::Invalid { problems, .. } => broken(Finding::InvalidDestination(problems)),
        Turn::Unknown { .. } => broken(Finding::UnknownDestination),
        Turn::InvalidRoute { problems } => broken(Finding::InvalidRoute(problems)),
        Turn::Doubtful { reason, .. } => broken(Finding::LookupFailed(reason)),
        Turn::Send(destination) => match destination.target(&values.resolved) {
            Ok(target) => Ready::Send(target),
            Err(Incomplete::Invalid { problem, .. }) => broken(Finding::InvalidDestination(vec![problem])),
            Err(Incomplete::Unresolved(reference)) => {
                broken(Finding::UnresolvedSecret(values.missing.get(&reference).cloned().unwrap_or_default()))
            }
        },
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
