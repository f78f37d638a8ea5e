//! The environment, read once and whole: every problem is reported at once, none becomes a silent default.

mod place;

use std::time::Duration;

use tracing::level_filters::LevelFilter;

use crate::domain::address::AllowedNetworks;
use crate::domain::backoff::MAX_ATTEMPTS;
use crate::domain::problem::Problem;
use crate::domain::route::Unrouted;
use crate::outbound::aws::AwsSettings;
use crate::outbound::queues::QueueUrls;
use crate::outbound::registry::Place;
use crate::outbound::tls::{Authorities, authorities};
use crate::telemetry::{Format, LogSettings, MetricSettings};

/// The names of all settings, as template and README list them.
pub const NAMES: &[&str] = &[
    "DESTINATIONS",
    "WEBHOOK_URL",
    "WEBHOOK_TIMEOUT",
    "REGISTRY_TTL_SECONDS",
    "RETRY_QUEUE_URL",
    "DEAD_LETTER_QUEUE_URL",
    "MAX_ATTEMPTS",
    "UNROUTED",
    "ALLOW_PRIVATE_CIDRS",
    "EXTRA_CA_BUNDLE",
    "LOCAL_RECEIVERS",
    "METRICS_BY_DESTINATION",
    "AWS_LAMBDA_LOG_FORMAT",
    "AWS_LAMBDA_LOG_LEVEL",
];

/// The platform promises its users that changes take effect immediately.
const DEFAULT_REGISTRY_TTL: Duration = Duration::from_secs(30);

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
    pub aws: AwsSettings,
}

/// Reads one variable; unset and empty are the same.
pub trait Environment {
    fn get(&self, name: &str) -> Option<String>;
}

/// The process's own environment.
#[derive(Debug)]
pub struct ProcessEnvironment;

impl Environment for ProcessEnvironment {
    fn get(&self, name: &str) -> Option<String> {
        // A value that is no Unicode is read lossily: it then fails where it is parsed, by its name.
        std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
    }
}

/// Whether this process was started by Lambda or an emulator of it; outside there is nobody to serve.
pub fn is_inside_lambda(environment: &impl Environment) -> bool {
    environment.get("AWS_LAMBDA_RUNTIME_API").is_some_and(|address| !address.is_empty())
}

/// What Lambda's logging controls ask for. A wrong value leaves that part at its default and is reported by
/// [`Settings::parse`], which needs a working log to be read.
pub fn log_settings(environment: &impl Environment) -> LogSettings {
    let mut ignored = Vec::new();
    Reader { environment, problems: &mut ignored }.log_settings()
}

impl Settings {
    pub fn parse(environment: &impl Environment) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut reader = Reader { environment, problems: &mut problems };
        reader.log_settings();
        let place = reader.place();
        let registry_ttl = reader.registry_ttl();
        let queues = reader.queues();
        let max_attempts = reader.max_attempts();
        let unrouted = reader.unrouted();
        let allowed_networks = reader.allowed_networks();
        let extra_authorities = reader.extra_authorities();
        let aws = reader.aws(queues.is_some() || matches!(place, Some(Place::Secret(_) | Place::Table(_))));
        match place {
            Some(place) if problems.is_empty() => Ok(Self {
                place,
                registry_ttl,
                queues,
                max_attempts,
                unrouted,
                allowed_networks,
                extra_authorities,
                aws,
            }),
            _ => Err(problems),
        }
    }
}

struct Reader<'a, E> {
    environment: &'a E,
    problems: &'a mut Vec<Problem>,
}

impl<E: Environment> Reader<'_, E> {
    fn get(&self, name: &str) -> Option<String> {
        self.environment.get(name).filter(|value| !value.is_empty())
    }

    fn problem(&mut self, name: &str, expected: impl Into<std::borrow::Cow<'static, str>>) {
        self.problems.push(Problem::new(name, expected));
    }

    fn log_settings(&mut self) -> LogSettings {
        let format = match self.get("AWS_LAMBDA_LOG_FORMAT").map(|value| value.to_ascii_lowercase()).as_deref() {
            None | Some("json") => Format::Json,
            Some("text") => Format::Text,
            Some(_) => {
                self.problem("AWS_LAMBDA_LOG_FORMAT", "JSON or Text");
                Format::Json
            }
        };
        let level = match self.get("AWS_LAMBDA_LOG_LEVEL").map(|value| value.to_ascii_uppercase()).as_deref() {
            None | Some("INFO") => LevelFilter::INFO,
            Some("TRACE") => LevelFilter::TRACE,
            Some("DEBUG") => LevelFilter::DEBUG,
            Some("WARN") => LevelFilter::WARN,
            // Nothing here is fatal and goes on; a failure to start must be seen all the same.
            Some("ERROR" | "FATAL") => LevelFilter::ERROR,
            Some(_) => {
                self.problem("AWS_LAMBDA_LOG_LEVEL", "TRACE, DEBUG, INFO, WARN, ERROR or FATAL");
                LevelFilter::INFO
            }
        };
        let metrics = MetricSettings {
            function: self.get("AWS_LAMBDA_FUNCTION_NAME").unwrap_or_default(),
            by_destination: self.flag("METRICS_BY_DESTINATION"),
        };
        LogSettings { format, level, metrics }
    }

    fn registry_ttl(&mut self) -> Duration {
        let Some(text) = self.get("REGISTRY_TTL_SECONDS") else { return DEFAULT_REGISTRY_TTL };
        let seconds: Option<u64> = text.parse().ok().filter(|seconds| *seconds <= 3600);
        if seconds.is_none() {
            self.problem("REGISTRY_TTL_SECONDS", "a whole number of seconds from 0 to 3600");
        }
        seconds.map_or(DEFAULT_REGISTRY_TTL, Duration::from_secs)
    }

    fn queues(&mut self) -> Option<QueueUrls> {
        let mut url = |name: &str| {
            let url = self.get(name)?;
            let is_queue =
                ["https://", "http://"].iter().any(|scheme| url.starts_with(scheme)) && url.split('/').count() >= 5;
            if !is_queue {
                self.problem(name, "a queue's URL, such as https://sqs.eu-west-1.amazonaws.com/123456789012/name");
            }
            Some(url)
        };
        match (url("RETRY_QUEUE_URL"), url("DEAD_LETTER_QUEUE_URL")) {
            (Some(retry), Some(dead_letter)) if retry == dead_letter => {
                self.problem(
                    "DEAD_LETTER_QUEUE_URL",
                    "another queue than RETRY_QUEUE_URL: dead letters would be retried",
                );
                None
            }
            (Some(retry), Some(dead_letter)) => Some(QueueUrls { retry, dead_letter }),
            (None, None) => None,
            (Some(_), None) => {
                self.problem("DEAD_LETTER_QUEUE_URL", "a queue's URL beside RETRY_QUEUE_URL: both or neither");
                None
            }
            (None, Some(_)) => {
                self.problem("RETRY_QUEUE_URL", "a queue's URL beside DEAD_LETTER_QUEUE_URL: both or neither");
                None
            }
        }
    }

    fn max_attempts(&mut self) -> u32 {
        let Some(text) = self.get("MAX_ATTEMPTS") else { return MAX_ATTEMPTS };
        let attempts = text.parse().ok().filter(|attempts| (1..=MAX_ATTEMPTS).contains(attempts));
        if attempts.is_none() {
            self.problem("MAX_ATTEMPTS", "a whole number from 1 to 12");
        }
        attempts.unwrap_or(MAX_ATTEMPTS)
    }

    fn unrouted(&mut self) -> Unrouted {
        match self.get("UNROUTED").as_deref() {
            None | Some("dead-letter") => Unrouted::DeadLetter,
            Some("ignore") => Unrouted::Ignore,
            Some(_) => {
                self.problem("UNROUTED", "dead-letter or ignore");
                Unrouted::DeadLetter
            }
        }
    }

    /// Lambda sets these in every function; only a place in AWS cannot do without a region.
    fn aws(&mut self, is_needed: bool) -> AwsSettings {
        let region = self.get("AWS_REGION").or_else(|| self.get("AWS_DEFAULT_REGION"));
        if region.is_none() && is_needed {
            self.problem("AWS_REGION", "the region of the queues, secret or table; Lambda sets it by itself");
        }
        AwsSettings {
            region,
            endpoint_url: self.get("AWS_ENDPOINT_URL"),
            access_key_id: self.get("AWS_ACCESS_KEY_ID").unwrap_or_default(),
            secret_access_key: self.get("AWS_SECRET_ACCESS_KEY").unwrap_or_default().into(),
            session_token: self.get("AWS_SESSION_TOKEN").map(Into::into),
        }
    }

    fn allowed_networks(&mut self) -> AllowedNetworks {
        let allowed =
            match self.get("ALLOW_PRIVATE_CIDRS").map(|text| AllowedNetworks::parse(&text, "ALLOW_PRIVATE_CIDRS")) {
                None => AllowedNetworks::default(),
                Some(Ok(allowed)) => allowed,
                Some(Err(problems)) => {
                    self.problems.extend(problems);
                    AllowedNetworks::default()
                }
            };
        let local = self.flag("LOCAL_RECEIVERS");
        if local && self.is_real_lambda() {
            let expected = "false: in Lambda, loopback is the Runtime API and the extensions, never a receiver";
            self.problem("LOCAL_RECEIVERS", expected);
        }
        if local { allowed.with_loopback() } else { allowed }
    }

    fn flag(&mut self, name: &str) -> bool {
        match self.get(name).as_deref() {
            None | Some("false") => false,
            Some("true") => true,
            Some(_) => {
                self.problem(name, "true or false");
                false
            }
        }
    }

    fn extra_authorities(&mut self) -> Authorities {
        let Some(path) = self.get("EXTRA_CA_BUNDLE") else { return Authorities::new() };
        authorities(path.as_ref()).unwrap_or_else(|expected| {
            self.problem("EXTRA_CA_BUNDLE", expected);
            Authorities::new()
        })
    }

    /// Emulators leave `LAMBDA_TASK_ROOT` at another place or unset; SAM's container says what it is.
    fn is_real_lambda(&self) -> bool {
        self.get("LAMBDA_TASK_ROOT").is_some_and(|root| root.trim_end_matches('/') == "/var/task")
            && self.get("AWS_SAM_LOCAL").is_none()
    }
}

#[cfg(test)]
mod tests;
