//! Where destinations and routes are looked up, with the secrets that they refer to.

mod cache;
mod dynamodb;
mod secrets;
mod survey;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_types::SdkConfig;
use secrecy::{ExposeSecret, SecretString};

use self::cache::{Cache, Cached};
use self::secrets::Secrets;
use super::aws::{LOOK_UPS, Service};
use crate::domain::destination::{Destination, Target, is_id};
use crate::domain::document::Document;
use crate::domain::failure::{Code, Failure};
use crate::domain::outcome::Outcome;
use crate::domain::problem::sentence;
use crate::domain::route::{self, Delivery};
use crate::telemetry;

pub use self::survey::Survey;

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

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Single(_) => f.write_str("WEBHOOK_URL"),
            Self::File(path) => write!(f, "the file {}", path.display()),
            Self::Secret(id) => write!(f, "the secret {id}"),
            Self::Table(table) => write!(f, "the table {table}"),
        }
    }
}

/// A place, ready to be asked.
pub struct Registry {
    store: Store,
    /// The place, as lines name it.
    name: String,
    documents: Cache<Arc<Document>>,
    secrets: Secrets,
    ttl: Duration,
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
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.cause())]
pub struct LookupError(pub Failure);

impl LookupError {
    /// A fault in what was read; `problems` says what is wrong, and `fix` what to do.
    fn new(what: impl Into<String>, problems: impl Into<String>, fix: &str) -> Self {
        let failure = Failure::new(Code::LookupFailed).with("what", what.into());
        Self(failure.with("problems", problems.into()).with("fix", fix))
    }
}

/// A detection id that is longer than any route's key (a DynamoDB key has 2,048 bytes at most) has the `*` route.
const MAX_DETECTION_ID: usize = 2048 - "route#".len();

impl Registry {
    pub fn new(place: Place, ttl: Duration, aws: &SdkConfig) -> Self {
        // An age of zero asks for the store's own answer; deliveries may use what was looked up beside them.
        let ttl = ttl.max(Duration::from_nanos(1));
        let secrets_manager = Arc::new(Service::new(aws, LOOK_UPS, aws_sdk_secretsmanager::Client::new));
        let text = |source| Store::Text { source, last: Mutex::default() };
        let references = aws.region().map(|_| secrets_manager.clone());
        let name = place.to_string();
        let own = if let Place::Secret(id) = &place { Some(id.clone()) } else { None };
        let store = match place {
            Place::Single(destination) => Store::Single(destination),
            Place::File(path) => text(TextSource::File(path)),
            Place::Secret(id) => text(TextSource::Secret { secrets_manager, id }),
            Place::Table(table) => {
                Store::Table { dynamodb: Service::new(aws, LOOK_UPS, aws_sdk_dynamodb::Client::new), table }
            }
        };
        let documents = Cache::new("the destinations", ttl, |document: &Arc<Document>| document.size());
        Self { store, name, documents, secrets: Secrets::new(references, ttl, own), ttl }
    }

    /// The deliveries of an outcome; none at all means that there is no route.
    pub async fn deliveries(&self, outcome: &Outcome) -> Result<Vec<Delivery>, LookupError> {
        let id = Some(&*outcome.detection_id).filter(|id| id.len() <= MAX_DETECTION_ID).unwrap_or("*");
        let Cached { value: document, stale } = self.document(id, self.ttl).await?;
        let deliveries = route::deliveries(&document, outcome);
        let Some(error) = stale else { return Ok(deliveries) };
        // A mistake in a stale route is nobody's delivery: it is told when the store can be read again.
        let deliveries = deliveries.into_iter().filter(|delivery| delivery.id().is_some());
        let deliveries: Vec<_> = deliveries.map(|delivery| unless_stale(delivery, Some(&error))).collect();
        if deliveries.is_empty() { Err(error) } else { Ok(deliveries) }
    }

    /// The delivery to one destination: a retry, or a fallback's.
    pub async fn delivery(&self, id: &str) -> Result<Delivery, LookupError> {
        let mut cached = self.holding(id, self.ttl).await?;
        if !cached.value.destinations.contains_key(id) && is_id(id) {
            // Before a person is bothered, it is made sure that the destination is gone.
            cached = self.holding(id, Duration::ZERO).await?;
        }
        Ok(unless_stale(route::delivery(&cached.value, id), cached.stale.as_ref()))
    }

    /// The delivery to a destination as it is configured at this moment: a probe's.
    pub async fn current(&self, id: &str) -> Result<Delivery, LookupError> {
        Ok(route::delivery(&self.holding(id, Duration::ZERO).await?.value, id))
    }

    /// A destination's target: with its secrets in place, none of them older than `max_age`.
    pub async fn resolve(&self, destination: &Destination, max_age: Duration) -> Result<Arc<Target>, Failure> {
        self.secrets.target(destination, |secret| self.secrets.read(secret, max_age)).await
    }

    /// The same with secrets as old as a delivery may use them.
    pub async fn target(&self, destination: &Destination) -> Result<Arc<Target>, Failure> {
        self.resolve(destination, self.ttl).await
    }

    /// The same destination looked up anew, if that makes another target of it. A rotated key is the usual reason why a
    /// receiver rejects the credentials.
    pub async fn refreshed(&self, used: &Target) -> Option<Arc<Target>> {
        let cached = self.refreshed_document(&used.id).await.ok()?;
        let Delivery::Send(destination) = route::delivery(&cached, &used.id) else { return None };
        let target = self.secrets.target(&destination, |secret| self.secrets.refresh(secret)).await;
        target.ok().filter(|target| target.differs_from(used))
    }

    /// A document that holds this destination, if there is one.
    async fn holding(&self, id: &str, max_age: Duration) -> Result<Cached<Arc<Document>>, LookupError> {
        // A document that is one text holds them all, whatever the detection.
        let Store::Table { dynamodb, table } = &self.store else { return self.document("", max_age).await };
        if !is_id(id) {
            let nothing = Document { destinations: BTreeMap::new(), routes: None };
            return Ok(Cached { value: Arc::new(nothing), stale: None });
        }
        let look_up = Box::pin(self.read_one(dynamodb, table, id, max_age.is_zero()));
        self.documents.get(&format!("destination#{id}"), max_age, look_up).await
    }

    async fn refreshed_document(&self, id: &str) -> Result<Arc<Document>, LookupError> {
        let cached = match &self.store {
            Store::Single(_) | Store::Text { .. } => self.documents.refresh("", self.read("")).await,
            Store::Table { dynamodb, table } => {
                let look_up = Box::pin(self.read_one(dynamodb, table, id, true));
                self.documents.refresh(&format!("destination#{id}"), look_up).await
            }
        };
        Ok(cached?.value)
    }

    async fn document(&self, detection_id: &str, max_age: Duration) -> Result<Cached<Arc<Document>>, LookupError> {
        let key = match &self.store {
            Store::Single(_) | Store::Text { .. } => String::new(),
            Store::Table { .. } => format!("route#{detection_id}"),
        };
        self.documents.get(&key, max_age, self.read(detection_id)).await
    }

    async fn read_one(
        &self,
        dynamodb: &Service<aws_sdk_dynamodb::Client>,
        table: &str,
        id: &str,
        consistent: bool,
    ) -> Result<Arc<Document>, LookupError> {
        let document = dynamodb::read_one(dynamodb, table, id, consistent).await?;
        self.say_problems(&document);
        Ok(Arc::new(document))
    }

    async fn read(&self, detection_id: &str) -> Result<Arc<Document>, LookupError> {
        match &self.store {
            Store::Single(destination) => Ok(Arc::new(Document::single(destination.clone()))),
            Store::Table { dynamodb, table } => {
                // Boxed: the SDK's futures are large, and most look-ups do without them.
                let document = Box::pin(dynamodb::read(dynamodb, table, detection_id)).await?;
                self.say_problems(&document);
                Ok(Arc::new(document))
            }
            Store::Text { source, last } => {
                let text = match source {
                    TextSource::File(path) => self.read_file(path).await?,
                    TextSource::Secret { secrets_manager, id } => {
                        Box::pin(secrets::read(secrets_manager, id, Code::LookupFailed)).await?
                    }
                };
                let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
                let same = last.as_ref().filter(|(known, _)| known.expose_secret() == text.expose_secret());
                if let Some((_, document)) = same {
                    return Ok(document.clone());
                }
                let document = Document::parse(text.expose_secret().as_bytes()).map_err(|problems| {
                    LookupError::new(
                        &*self.name,
                        format!("it is not a destinations document: {}", sentence(&problems)),
                        "correct what is named",
                    )
                })?;
                self.say_problems(&document);
                let document = Arc::new(document);
                *last = Some((text, document.clone()));
                Ok(document)
            }
        }
    }

    /// A destinations document in a file beside the function.
    async fn read_file(&self, path: &Path) -> Result<SecretString, LookupError> {
        let failed =
            |problems: String| LookupError::new(&*self.name, problems, "put a readable document there (DESTINATIONS)");
        let bytes =
            tokio::fs::read(path).await.map_err(|error| failed(format!("it cannot be read: {}", error.kind())))?;
        String::from_utf8(bytes).map(SecretString::from).map_err(|_| failed("it is not UTF-8 text".to_owned()))
    }

    fn say_problems(&self, document: &Document) {
        let problems = document.problems();
        if !problems.is_empty() {
            telemetry::document_problems(&self.name, &problems);
        }
    }
}

/// stale-if-error (RFC 5861): a stale entry is delivered to, and never a reason to dead-letter.
fn unless_stale(delivery: Delivery, stale: Option<&LookupError>) -> Delivery {
    match (delivery, stale) {
        (Delivery::Failed { destination, .. }, Some(error)) => {
            Delivery::Failed { destination, failure: error.0.clone() }
        }
        (delivery, _) => delivery,
    }
}
