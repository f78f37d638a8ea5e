//! How a line is written: JSON with the message first, or text for a terminal.

use std::fmt::{self, Write as _};
use std::time::SystemTime;

use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;

use super::emf::{self, MetricSettings};
use super::invocation::Invocation;

/// Lambda's two log formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Json,
    Text,
}

/// What Lambda's advanced logging controls ask for.
#[derive(Debug, Clone)]
pub struct LogSettings {
    pub format: Format,
    pub level: LevelFilter,
    pub metrics: MetricSettings,
}

/// Sends every line to standard output, which Lambda forwards to CloudWatch. Once per process.
pub fn init(settings: LogSettings) {
    let third_party = settings.level.min(LevelFilter::WARN);
    let targets = Targets::new()
        .with_target(env!("CARGO_CRATE_NAME"), settings.level)
        .with_default(third_party)
        // It repeats every failed invocation's error, which has its result lines already.
        .with_target("lambda_runtime::layers::panic", LevelFilter::OFF);
    let layer = tracing_subscriber::fmt::layer().event_format(Lines(settings)).with_writer(std::io::stdout);
    std::panic::set_hook(Box::new(|panic| super::line::panicked(panic.location())));
    // Fails only if a subscriber is set already, which then stays.
    let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer).with(targets));
}

struct Lines(LogSettings);

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let now = SystemTime::now();
        let level = event.metadata().level().as_str();
        let timestamp = humantime::format_rfc3339_millis(now);
        let LogSettings { format, metrics, .. } = &self.0;
        match format {
            Format::Json => {
                // Lambda's level filter needs `level` and an RFC 3339 `timestamp` at the top of the object.
                write!(
                    writer,
                    "{{\"message\":{},\"level\":\"{level}\",\"timestamp\":\"{timestamp}\"",
                    Value::from(fields.message)
                )?;
                for (name, value) in &fields.others {
                    write!(writer, ",\"{name}\":{value}")?;
                }
                for (name, value) in Invocation::fields() {
                    write!(writer, ",\"{name}\":{}", Value::from(value))?;
                }
                for (name, value) in emf::members(&fields.others, metrics, now).into_iter().flatten() {
                    write!(writer, ",\"{name}\":{value}")?;
                }
                writeln!(writer, "}}")
            }
            Format::Text => {
                write!(writer, "{timestamp} {level:5} {}", single_line(&fields.message))?;
                let is_new = |name: &str| !SAID_IN_THE_SENTENCE.contains(&name) && !emf::is_metric_alone(name);
                for (name, value) in fields.others.iter().filter(|(name, _)| is_new(name)) {
                    match value {
                        Value::String(text) => write!(writer, " {name}={}", single_line(text))?,
                        value => write!(writer, " {name}={value}")?,
                    }
                }
                for (name, value) in Invocation::fields() {
                    write!(writer, " {name}={value}")?;
                }
                writeln!(writer)?;
                match emf::line(&fields.others, metrics, now) {
                    Some(metrics) => writeln!(writer, "{metrics}"),
                    None => Ok(()),
                }
            }
        }
    }
}

/// Fields that a reader of the text format has read already.
const SAID_IN_THE_SENTENCE: [&str; 9] =
    ["cause", "remedy", "next", "detection_id", "detection_name", "destination", "host", "attempt", "status"];

fn single_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

#[derive(Default)]
struct Fields {
    message: String,
    others: Vec<(&'static str, Value)>,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            let _ = write!(self.message, "{value:?}");
        } else {
            self.others.push((field.name(), format!("{value:?}").into()));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.message.push_str(value);
        } else {
            self.others.push((field.name(), value.into()));
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.others.push((field.name(), value.into()));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.others.push((field.name(), value.into()));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.others.push((field.name(), value.into()));
    }
}
