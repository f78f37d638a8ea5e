//! Where destinations and routes are looked up, with the secrets that they refer to.

mod cache;
mod dynamodb;
mod secrets;
mod survey;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_types::SdkConfig;
use secrecy::{ExposeSecret, SecretString};

use self::cache::{Cache, Cached};
use self::dynamodb::Table;
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
    place: Place,
    dynamodb: Service<aws_sdk_dynamodb::Client>,
    secrets: Secrets,
    documents: Cache<Arc<Document>>,
    /// Of a place whose document is one text: the text that was read last, and its document.
    last: Mutex<Option<(SecretString, Arc<Document>)>>,
    ttl: Duration,
}

/// A detection id that is longer than any route's key (a DynamoDB key has 2,048 bytes at most) has the `*` route.
const MAX_DETECTION_ID: usize = 2048 - "route#".len();

/// An error is a look-up that failed. That is never the same as "no destination": the source keeps the outcome.
impl Registry {
    pub fn new(place: Place, ttl: Duration, aws: &SdkConfig) -> Self {
        // An age of zero asks for the store's own answer; deliveries may use what was looked up beside them.
        let ttl = ttl.max(Duration::from_nanos(1));
        let own = if let Place::Secret(id) = &place { Some(id.clone()) } else { None };
        Self {
            place,
            dynamodb: Service::new(aws, LOOK_UPS, aws_sdk_dynamodb::Client::new),
            secrets: Secrets::new(aws, ttl, own),
            documents: Cache::new("the destinations", ttl, |document| document.size()),
            last: Mutex::default(),
            ttl,
        }
    }

    /// The deliveries of an outcome; none at all means that there is no route.
    pub async fn deliveries(&self, outcome: &Outcome) -> Result<Vec<Delivery>, Failure> {
        let id = Some(&*outcome.detection_id).filter(|id| id.len() <= MAX_DETECTION_ID).unwrap_or("*");
        let Cached { value: document, stale } = self.document("route", id, self.ttl).await?;
        let deliveries = route::deliveries(&document, outcome);
        let Some(error) = stale else { return Ok(deliveries) };
        // A mistake in a stale route is nobody's delivery: it is told when the store can be read again.
        let deliveries = deliveries.into_iter().filter(|delivery| delivery.id().is_some());
        let deliveries: Vec<_> = deliveries.map(|delivery| unless_stale(delivery, &error)).collect();
        if deliveries.is_empty() { Err(error) } else { Ok(deliveries) }
    }

    /// The destination of a delivery that waits, or of a fallback's copy.
    pub async fn destination(&self, id: &str) -> Result<Arc<Destination>, Failure> {
        let mut cached = self.holding(id, self.ttl).await?;
        if !cached.value.destinations.contains_key(id) && is_id(id) {
            // Before a person is bothered, it is made sure that the destination is gone.
            cached = self.holding(id, Duration::ZERO).await?;
        }
        route::destination(&cached.value, id).map_err(|failure| cached.stale.unwrap_or(failure))
    }

    /// A destination as it is configured at this moment, for a probe.
    pub async fn current(&self, id: &str) -> Result<Arc<Destination>, Failure> {
        route::destination(&self.holding(id, Duration::ZERO).await?.value, id)
    }

    /// A destination's target: with its secrets in place, none of them older than `max_age`.
    pub async fn resolve(&self, destination: &Destination, max_age: Duration) -> Result<Arc<Target>, Failure> {
        self.secrets.target(destination, Some(max_age)).await
    }

    /// The same with secrets as old as a delivery may use them.
    pub async fn target(&self, destination: &Destination) -> Result<Arc<Target>, Failure> {
        self.resolve(destination, self.ttl).await
    }

    /// The same destination looked up anew, if that makes another target of it. A rotated key is the usual reason why a
    /// receiver rejects the credentials.
    pub async fn refreshed(&self, used: &Target) -> Option<Arc<Target>> {
        let key = self.key("destination", &used.id);
        let document = self.documents.refresh(&key, self.read(&key, true)).await.ok()?.value;
        let destination = route::destination(&document, &used.id).ok()?;
        self.secrets.target(&destination, None).await.ok().filter(|target| target.differs_from(used))
    }

    /// A document that holds this destination, if there is one.
    async fn holding(&self, id: &str, max_age: Duration) -> Result<Cached<Arc<Document>>, Failure> {
        if matches!(self.place, Place::Table(_)) && !is_id(id) {
            return Ok(Cached { value: Arc::default(), stale: None });
        }
        self.document("destination", id, max_age).await
    }

    async fn document(&self, kind: &str, id: &str, max_age: Duration) -> Result<Cached<Arc<Document>>, Failure> {
        let key = self.key(kind, id);
        self.documents.get(&key, max_age, self.read(&key, max_age.is_zero())).await
    }

    /// The key of a document: a table's own, or none where one document holds everything.
    fn key(&self, kind: &str, id: &str) -> String {
        if matches!(self.place, Place::Table(_)) { format!("{kind}#{id}") } else { String::new() }
    }

    async fn read(&self, key: &str, consistent: bool) -> Result<Arc<Document>, Failure> {
        // Boxed: the SDK's futures are large, and most look-ups do without them.
        let text = match &self.place {
            Place::Single(destination) => return Ok(Arc::new(Document::single(destination.clone()))),
            Place::Table(table) => {
                let document = Box::pin(self.table(table).read(key, consistent)).await?;
                self.say_problems(&document);
                return Ok(Arc::new(document));
            }
            Place::File(path) => self.read_file(path).await?,
            Place::Secret(id) => Box::pin(self.secrets.read(id, Code::LookupFailed)).await?,
        };
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let same = last.as_ref().filter(|(known, _)| known.expose_secret() == text.expose_secret());
        if let Some((_, document)) = same {
            return Ok(document.clone());
        }
        let document = Document::parse(text.expose_secret()).map_err(|problems| {
            let problems = format!("it is not a destinations document: {}", sentence(&problems));
            Failure::of(Code::LookupFailed, &self.place, problems, "correct the document")
        })?;
        self.say_problems(&document);
        let document = Arc::new(document);
        *last = Some((text, document.clone()));
        Ok(document)
    }

    /// A destinations document in a file beside the function.
    async fn read_file(&self, path: &Path) -> Result<SecretString, Failure> {
        let failed = |problems: String| {
            Failure::of(Code::LookupFailed, &self.place, problems, "put a readable document there (DESTINATIONS)")
        };
        let bytes =
            tokio::fs::read(path).await.map_err(|error| failed(format!("it cannot be read: {}", error.kind())))?;
        String::from_utf8(bytes).map(SecretString::from).map_err(|_| failed("it is not UTF-8 text".to_owned()))
    }

    fn table<'a>(&'a self, name: &'a str) -> Table<'a> {
        Table { dynamodb: &self.dynamodb, name }
    }

    fn say_problems(&self, document: &Document) {
        let problems = document.problems();
        if !problems.is_empty() {
            telemetry::document_problems(&self.place.to_string(), &problems);
        }
    }
}

/// stale-if-error (RFC 5861): a stale entry is delivered to, and never a reason to dead-letter.
fn unless_stale(delivery: Delivery, stale: &Failure) -> Delivery {
    match delivery {
        Delivery::Failed { destination, .. } => Delivery::Failed { destination, failure: stale.clone() },
        delivery => delivery,
    }
}
