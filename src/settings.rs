//! The environment, read once and whole: every problem is reported at once, none becomes a silent default.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_types::SdkConfig;
use aws_types::region::Region;
use tracing::level_filters::LevelFilter;
use url::Url;

use crate::domain::address::AllowedNetworks;
use crate::domain::backoff::MAX_ATTEMPTS;
use crate::domain::destination::{DEFAULT_TIMEOUT_SECONDS, Destination, MAX_TIMEOUT_SECONDS};
use crate::domain::endpoint::EndpointTemplate;
use crate::domain::problem::Problem;
use crate::domain::route::Unrouted;
use crate::outbound::queues::QueueUrls;
use crate::outbound::registry::Place;
use crate::outbound::tls::{Authorities, authorities};
use crate::telemetry::{Format, LogSettings};

/// The platform promises its users that changes take effect immediately.
const DEFAULT_REGISTRY_TTL_SECONDS: u64 = 30;

/// Id of the destination that `WEBHOOK_URL` makes.
const DEFAULT_DESTINATION: &str = "default";

/// What the environment says, beside logging.
pub struct Settings {
    pub place: Place,
    /// How long a looked-up destination or secret is used.
    pub registry_ttl: Duration,
    /// Where undelivered deliveries go; without queues the invocation fails.
    pub queues: Option<QueueUrls>,
    /// Attempts over a delivery's life.
    pub max_attempts: u32,
    pub unrouted: Unrouted,
    pub allowed_networks: AllowedNetworks,
    /// Authorities for receivers beside Mozilla's.
    pub extra_authorities: Authorities,
    /// Where AWS is and as whom it is called: what Lambda sets in every function's environment, and AWS's own options.
    pub aws: SdkConfig,
    /// Authorities for AWS's endpoints beside Mozilla's.
    pub aws_authorities: Authorities,
}

/// Reads one variable; unset and empty are the same.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Reads a variable of the process's own environment.
pub fn process_environment(name: &str) -> Option<String> {
    // A value that is no Unicode is read lossily: it then fails where it is parsed, by its name.
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

/// Whether this process was started by Lambda or an emulator of it; outside there is nobody to serve.
pub fn is_inside_lambda(environment: Environment<'_>) -> bool {
    Reader::new(environment).text("AWS_LAMBDA_RUNTIME_API").is_some()
}

/// What Lambda's logging controls ask for. A wrong value leaves that part at its default and is reported by
/// [`Settings::parse`], which needs a working log to be read.
pub fn log_settings(environment: Environment<'_>) -> LogSettings {
    Reader::new(environment).log_settings()
}

/// The names of all settings, as template and docs/settings.md list them: what is asked for, without what Lambda sets.
pub fn names() -> BTreeSet<String> {
    const OF_LAMBDA: [&str; 5] =
        ["AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"];
    let asked = RefCell::new(BTreeSet::new());
    let _ = Settings::parse(&|name| {
        asked.borrow_mut().insert(name.to_owned());
        None
    });
    asked.into_inner().into_iter().filter(|name| !OF_LAMBDA.contains(&&**name)).collect()
}

impl Settings {
    pub fn parse(environment: Environment<'_>) -> Result<Self, Vec<Problem>> {
        let mut reader = Reader::new(environment);
        reader.log_settings();
        let place = reader.place();
        let registry_ttl = reader
            .parse("REGISTRY_TTL_SECONDS", "a whole number of seconds from 0 to 3600", |text| number(text, 0..=3600));
        let queues = reader.queues();
        let max_attempts =
            reader.parse("MAX_ATTEMPTS", "a whole number from 1 to 12", |text| number(text, 1..=MAX_ATTEMPTS));
        let unrouted = reader.parse("UNROUTED", "dead-letter or ignore", |text| {
            one_of(text, &[("dead-letter", Unrouted::DeadLetter), ("ignore", Unrouted::Ignore)])
        });
        let allowed_networks = reader.allowed_networks();
        let extra_authorities = reader.authorities("EXTRA_CA_BUNDLE");
        let aws_authorities = reader.authorities("AWS_CA_BUNDLE");
        let aws = reader.aws(queues.is_some() || matches!(place, Some(Place::Secret(_) | Place::Table(_))));
        match place {
            Some(place) if reader.problems.is_empty() => Ok(Self {
                place,
                registry_ttl: Duration::from_secs(registry_ttl.unwrap_or(DEFAULT_REGISTRY_TTL_SECONDS)),
                queues,
                max_attempts: max_attempts.unwrap_or(MAX_ATTEMPTS),
                unrouted: unrouted.unwrap_or(Unrouted::DeadLetter),
                allowed_networks,
                extra_authorities,
                aws,
                aws_authorities,
            }),
            _ => Err(reader.problems),
        }
    }
}

/// Reads variables and collects what is wrong with them.
struct Reader<'a> {
    environment: Environment<'a>,
    problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    fn new(environment: Environment<'a>) -> Self {
        Self { environment, problems: Vec::new() }
    }

    /// The text of a variable. An empty one is unset.
    fn text(&self, name: &str) -> Option<String> {
        (self.environment)(name).filter(|value| !value.is_empty())
    }

    /// The value of a variable. One that `from_str` does not take is a problem; `expected` says what it takes.
    fn parse<T>(&mut self, name: &str, expected: &'static str, from_str: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let value = from_str(&self.text(name)?);
        if value.is_none() {
            self.problem(name, expected);
        }
        value
    }

    /// A variable that is `true` or `false`, as AWS's tools read theirs: in any case.
    fn flag(&mut self, name: &str) -> bool {
        self.parse(name, "true or false", |text| one_of(text, &[("true", true), ("false", false)])).unwrap_or(false)
    }

    fn problem(&mut self, name: &str, expected: impl Into<Cow<'static, str>>) {
        self.problems.push(Problem::new(name, expected));
    }

    fn log_settings(&mut self) -> LogSettings {
        let format = self.parse("AWS_LAMBDA_LOG_FORMAT", "JSON or Text", |text| {
            one_of(text, &[("JSON", Format::Json), ("Text", Format::Text)])
        });
        let level = self.parse("AWS_LAMBDA_LOG_LEVEL", "TRACE, DEBUG, INFO, WARN, ERROR or FATAL", |text| {
            let levels = [
                ("TRACE", LevelFilter::TRACE),
                ("DEBUG", LevelFilter::DEBUG),
                ("INFO", LevelFilter::INFO),
                ("WARN", LevelFilter::WARN),
                ("ERROR", LevelFilter::ERROR),
                // No line of ours is FATAL, but one that says why the function does not start must be seen.
                ("FATAL", LevelFilter::ERROR),
            ];
            one_of(text, &levels)
        });
        LogSettings { format: format.unwrap_or(Format::Json), level: level.unwrap_or(LevelFilter::INFO) }
    }

    /// Where destinations are kept.
    fn place(&mut self) -> Option<Place> {
        const PLACES: &str = "file:PATH, secretsmanager:NAME-OR-ARN or dynamodb:TABLE";
        let timeout = self.parse("WEBHOOK_TIMEOUT", "a whole number of seconds from 1 to 300", |text| {
            number(text, 1..=MAX_TIMEOUT_SECONDS)
        });
        match (self.text("DESTINATIONS"), self.text("WEBHOOK_URL")) {
            (Some(_), Some(_)) => self.problem("WEBHOOK_URL", "one of DESTINATIONS and WEBHOOK_URL, not both"),
            (None, None) => self.problem("DESTINATIONS", format!("{PLACES}, but neither it nor WEBHOOK_URL is set")),
            (None, Some(url)) => match EndpointTemplate::parse(&url) {
                Err(expected) => self.problem("WEBHOOK_URL", expected),
                Ok(endpoint) => {
                    let timeout = timeout.unwrap_or(DEFAULT_TIMEOUT_SECONDS);
                    let destination = Destination::new(DEFAULT_DESTINATION, "WEBHOOK_URL", endpoint, timeout);
                    return Some(Place::Single(Arc::new(destination)));
                }
            },
            (Some(_), None) => {
                if timeout.is_some() {
                    let expected = "nothing beside DESTINATIONS: a destination's timeout is its option `timeout`";
                    self.problem("WEBHOOK_TIMEOUT", expected);
                }
                return self.parse("DESTINATIONS", PLACES, place);
            }
        }
        None
    }

    fn queues(&mut self) -> Option<QueueUrls> {
        const URL: &str = "a standard queue's URL, such as https://sqs.eu-west-1.amazonaws.com/123456789012/name";
        let names = ["RETRY_QUEUE_URL", "DEAD_LETTER_QUEUE_URL"];
        let [retry, dead_letter] = names.map(|name| self.parse(name, URL, queue_url));
        match names.map(|name| self.text(name).is_some()) {
            [true, false] => {
                self.problem("DEAD_LETTER_QUEUE_URL", "a queue's URL beside RETRY_QUEUE_URL: both or neither");
            }
            [false, true] => {
                self.problem("RETRY_QUEUE_URL", "a queue's URL beside DEAD_LETTER_QUEUE_URL: both or neither");
            }
            _ => {}
        }
        if retry.is_some() && retry == dead_letter {
            let expected = "another queue than RETRY_QUEUE_URL: dead letters would be retried";
            self.problem("DEAD_LETTER_QUEUE_URL", expected);
        }
        Some(QueueUrls { retry: retry?, dead_letter: dead_letter? })
    }

    fn allowed_networks(&mut self) -> AllowedNetworks {
        let mut allowed = match self.text("ALLOW_PRIVATE_CIDRS") {
            None => AllowedNetworks::default(),
            Some(text) => AllowedNetworks::parse(&text, "ALLOW_PRIVATE_CIDRS").unwrap_or_else(|problems| {
                self.problems.extend(problems);
                AllowedNetworks::default()
            }),
        };
        allowed.plain_http = self.flag("ALLOW_PLAIN_HTTP");
        allowed.loopback = self.flag("LOCAL_RECEIVERS");
        if allowed.loopback && self.is_real_lambda() {
            let expected = "false: in Lambda, loopback is the Runtime API and the extensions, never a receiver";
            self.problem("LOCAL_RECEIVERS", expected);
        }
        allowed
    }

    /// Emulators leave `LAMBDA_TASK_ROOT` at another place or unset; SAM's container says what it is.
    fn is_real_lambda(&self) -> bool {
        self.text("LAMBDA_TASK_ROOT").is_some_and(|root| root.trim_end_matches('/') == "/var/task")
            && self.text("AWS_SAM_LOCAL").is_none()
    }

    fn authorities(&mut self, name: &str) -> Authorities {
        let expected = "a readable PEM file with at least one CERTIFICATE and nothing malformed";
        self.parse(name, expected, |path| authorities(path.as_ref())).unwrap_or_default()
    }

    /// Lambda sets most of these in every function; only what is kept in AWS cannot do without a region.
    fn aws(&mut self, is_needed: bool) -> SdkConfig {
        let region = self.text("AWS_REGION").or_else(|| self.text("AWS_DEFAULT_REGION"));
        if region.is_none() && is_needed {
            self.problem("AWS_REGION", "the region of the queues, secret or table; Lambda sets it by itself");
        }
        let endpoint_url = self.parse("AWS_ENDPOINT_URL", "an http:// or https:// URL", http_url);
        let [use_fips, use_dual_stack] = ["AWS_USE_FIPS_ENDPOINT", "AWS_USE_DUALSTACK_ENDPOINT"].map(|name| {
            let is_on = self.flag(name);
            if is_on && endpoint_url.is_some() {
                // The SDK would fail every call of it.
                self.problem(name, "false beside AWS_ENDPOINT_URL, which names the endpoint itself");
            }
            is_on
        });
        let [id, secret] =
            ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"].map(|name| self.text(name).unwrap_or_default());
        let credentials = Credentials::new(id, secret, self.text("AWS_SESSION_TOKEN"), None, "environment");
        // FIPS: the cryptography on this side (ring) has no certificate.
        let mut config = SdkConfig::builder().use_fips(use_fips).use_dual_stack(use_dual_stack);
        config.set_region(region.map(Region::new)).set_endpoint_url(endpoint_url);
        config.credentials_provider(SharedCredentialsProvider::new(credentials)).build()
    }
}

/// The value of the word that a text is, in any case.
fn one_of<T: Copy>(text: &str, words: &[(&str, T)]) -> Option<T> {
    words.iter().find(|(word, _)| text.eq_ignore_ascii_case(word)).map(|(_, value)| *value)
}

fn number<T: FromStr + PartialOrd>(text: &str, range: RangeInclusive<T>) -> Option<T> {
    text.parse().ok().filter(|number| range.contains(number))
}

fn place(text: &str) -> Option<Place> {
    match text.split_once(':').filter(|(_, name)| !name.is_empty())? {
        ("file", path) => Some(Place::File(path.into())),
        ("secretsmanager", id) => Some(Place::Secret(id.to_owned())),
        ("dynamodb", table) => Some(Place::Table(table.to_owned())),
        _ => None,
    }
}

/// A FIFO queue delays no single message (SendMessage, "DelaySeconds"), as a retry needs it.
fn queue_url(text: &str) -> Option<String> {
    http_url(text).filter(|url| url.split('/').count() >= 5 && url.rsplit('.').next() != Some("fifo"))
}

/// The text as it is written, if it is the URL of a host.
fn http_url(text: &str) -> Option<String> {
    let url = Url::parse(text).ok()?;
    (matches!(url.scheme(), "http" | "https") && url.has_host()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests;
