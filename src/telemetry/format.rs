//! How a line is written: one JSON object, or text for a terminal.

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
}

/// Sends every line to standard output, which Lambda forwards to CloudWatch. Once per process.
pub fn init(settings: &LogSettings) {
    let third_party = settings.level.min(LevelFilter::WARN);
    let targets = Targets::new()
        .with_target(env!("CARGO_CRATE_NAME"), settings.level)
        .with_default(third_party)
        // It repeats every failed invocation's error, which has its result lines already.
        .with_target("lambda_runtime::layers::panic", LevelFilter::OFF);
    let layer = tracing_subscriber::fmt::layer().event_format(Lines(settings.format)).with_writer(std::io::stdout);
    std::panic::set_hook(Box::new(|panic| super::lines::panicked(panic.location())));
    // Fails only if a subscriber is set already, which then stays.
    let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer).with(targets));
}

struct Lines(Format);

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut line = Line::default();
        event.record(&mut line);
        let level = event.metadata().level().as_str();
        Invocation::add_to(&mut line.fields);
        match self.0 {
            // Lambda's level filter needs `level` and an RFC 3339 `timestamp` at the top of the object.
            Format::Json => {
                let timestamp = jiff::Timestamp::try_from(SystemTime::now()).unwrap_or_default();
                // A string can always be written as JSON.
                let message = serde_json::to_string(&line.message).unwrap_or_default();
                write!(writer, "{{\"level\":\"{level}\",\"message\":{message},\"timestamp\":\"{timestamp:.3}\"")?;
                if !line.fields.is_empty() {
                    write!(writer, ",{}", line.fields)?;
                }
                writeln!(writer, "}}")
            }
            // Logs Insights finds the JSON fragment by itself.
            Format::Text => writeln!(writer, "{level} {} {{{}}}", line.message.replace(['\n', '\r'], " "), line.fields),
        }
    }
}

/// A line's sentence, and its fields as the inside of a JSON object.
#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

/// Adds a member to the inside of a JSON object.
pub(super) fn add(fields: &mut String, name: &str, value: &str) {
    let comma = if fields.is_empty() { "" } else { "," };
    let _ = write!(fields, "{comma}\"{name}\":{}", Value::from(value));
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            let _ = write!(self.message, "{value:?}");
        } else {
            add(&mut self.fields, field.name(), &format!("{value:?}"));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.message.push_str(value),
            // Our own lines bring all of them as one object.
            "fields" => self
                .fields
                .push_str(value.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or_default()),
            name => add(&mut self.fields, name, value),
        }
    }
}
