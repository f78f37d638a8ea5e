//! Metrics, as CloudWatch takes them out of a log line: its Embedded Metric Format.
//!
//! A metric is a number of the result line, declared in the line's member `_aws`. Nothing is buffered or sent, so nothing
//! outlives the invocation. Names and units are fixed here, and dimensions have few values: each combination is paid for.

use std::time::{Duration, SystemTime};

use serde_json::{Map, Value, json};

const NAMESPACE: &str = "DetectionOutcomeHandler";

/// The dimension that tells two stacks in one account apart.
const FUNCTION: &str = "function";

/// What metrics are told apart by.
#[derive(Debug, Clone, Default)]
pub struct MetricSettings {
    /// `AWS_LAMBDA_FUNCTION_NAME`
    pub function: String,
    /// Whether deliveries, attempts and latency are counted by destination, too. CloudWatch charges for each.
    pub by_destination: bool,
}

/// Numbers of the result line, and what they are told apart by beside the function.
struct Group {
    /// Names and units.
    metrics: &'static [(&'static str, &'static str)],
    /// A set of dimensions each; the empty one is the sum over all.
    by: &'static [&'static [&'static str]],
    by_destination: &'static [&'static [&'static str]],
}

const GROUPS: &[Group] = &[
    Group { metrics: &[("deliveries", "Count")], by: &[&["result"]], by_destination: &[&["destination", "result"]] },
    Group {
        metrics: &[("attempts", "Count"), ("total_ms", "Milliseconds"), ("parked_age_seconds", "Seconds")],
        by: &[&[]],
        by_destination: &[&["destination"]],
    },
    Group { metrics: &[("dead_lettered", "Count")], by: &[&[], &["code"]], by_destination: &[] },
    Group { metrics: &[("critical_dead_lettered", "Count")], by: &[&[]], by_destination: &[] },
];

fn is_metric(name: &str) -> bool {
    GROUPS.iter().flat_map(|group| group.metrics).any(|(metric, _)| *metric == name)
}

/// Whether a field of the result line is there as a metric alone.
pub(super) fn is_metric_alone(name: &str) -> bool {
    name != "total_ms" && is_metric(name)
}

/// The members that make metrics of a line's numbers; none for a line that has no result.
pub(super) fn members(
    fields: &[(&'static str, Value)],
    settings: &MetricSettings,
    now: SystemTime,
) -> Option<Map<String, Value>> {
    let has = |name: &str| fields.iter().any(|(field, _)| *field == name);
    if settings.function.is_empty() {
        return None;
    }
    let directive = |group: &Group| {
        let metric = |(name, unit): &(&str, &str)| has(name).then(|| json!({ "Name": name, "Unit": unit }));
        let metrics: Vec<_> = group.metrics.iter().filter_map(metric).collect();
        let by_destination = if settings.by_destination { group.by_destination } else { &[] };
        let sets = group.by.iter().chain(by_destination).filter(|set| set.iter().all(|name| has(name)));
        let sets: Vec<Vec<_>> = sets.map(|set| std::iter::once(&FUNCTION).chain(*set).collect()).collect();
        (!metrics.is_empty()).then(|| json!({ "Namespace": NAMESPACE, "Dimensions": sets, "Metrics": metrics }))
    };
    let directives: Vec<_> = GROUPS.iter().filter_map(directive).collect();
    if directives.is_empty() {
        return None;
    }
    let since_1970 = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let timestamp = u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX);
    let metadata = json!({ "Timestamp": timestamp, "CloudWatchMetrics": directives });
    Some(Map::from_iter([
        (FUNCTION.to_owned(), Value::from(settings.function.as_str())),
        ("_aws".to_owned(), metadata),
    ]))
}

/// A line with metrics and what they are told apart by, for a log whose lines are text.
pub(super) fn line(fields: &[(&'static str, Value)], settings: &MetricSettings, now: SystemTime) -> Option<Value> {
    let mut line = members(fields, settings, now)?;
    let is_part = |name: &str| is_metric(name) || ["result", "code", "destination"].contains(&name);
    line.extend(
        fields.iter().filter(|(name, _)| is_part(name)).map(|(name, value)| ((*name).to_owned(), value.clone())),
    );
    Some(line.into())
}
