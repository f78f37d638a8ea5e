//! The events of `events/`, and outcomes made of them.

use serde_json::Value;

pub(crate) fn sample(name: &str) -> String {
    let path = format!("{}/events/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The platform's example of an outcome.
pub(crate) fn example() -> String {
    sample("matched.json")
}

/// The beginning of the SHA-256 of `example()` without its last line break.
pub(crate) const WEBHOOK_ID: &str = "6ebdea1b1af7f70ace7a8fae4aedd91e";

/// The example with some fields changed.
pub(crate) fn outcome(changes: Value) -> String {
    let mut outcome: Value = serde_json::from_str(&example()).unwrap();
    outcome.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    outcome.to_string()
}
