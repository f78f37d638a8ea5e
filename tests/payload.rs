//! `docs/payload.schema.json` beside what the function accepts. What arrives at an endpoint is held to it in
//! `tests/function/receivers.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends at what it does not expect")]

use bytes::Bytes;
use detection_outcome_handler::domain::outcome::Outcome;
use jsonschema::Validator;
use proptest::prelude::*;
use serde_json::{Value, json};

fn schema() -> Validator {
    let schema: Value = serde_json::from_str(include_str!("../docs/payload.schema.json")).unwrap();
    jsonschema::meta::validate(&schema).unwrap();
    jsonschema::validator_for(&schema).unwrap()
}

fn sample() -> Value {
    serde_json::from_str(include_str!("../events/matched.json")).unwrap()
}

/// The names of the fields that the function warns of; `None` when it rejects the outcome.
fn warnings(outcome: &Value) -> Option<Vec<&'static str>> {
    Outcome::parse(&Bytes::from(outcome.to_string())).ok().map(|outcome| outcome.warnings)
}

/// The sample with some fields set, or left out where the value is `None`.
fn changed(changes: &[(&str, Option<Value>)]) -> Value {
    let mut outcome = sample();
    for (name, value) in changes {
        let fields = outcome.as_object_mut().unwrap();
        match value {
            Some(value) => fields.insert((*name).to_owned(), value.clone()),
            None => fields.remove(*name),
        };
    }
    outcome
}

#[test]
fn the_schema_accepts_what_the_platform_documents() {
    let optional = ["description", "match_exhaustiveness", "search_id", "trace_id"];
    for outcome in [
        sample(),
        // The platform's own example of a test message has none of these.
        changed(&optional.map(|name| (name, None))),
        changed(&[("match_exhaustiveness", Some(json!(null))), ("search_id", Some(json!(null)))]),
        changed(&[("outcome", Some(json!("ERROR"))), ("errors", Some(json!([{ "message": "m", "code": "TIMEOUT" }])))]),
        changed(&[("a_new_field", Some(json!({ "deep": [1] })))]),
    ] {
        assert!(schema().is_valid(&outcome), "{outcome}");
        assert_eq!(warnings(&outcome), Some(vec![]), "{outcome}");
    }
}

#[test]
fn the_schema_names_what_the_platform_does_not_send() {
    let schema = schema();
    let required = schema_fields("required");
    for name in &required {
        assert!(!schema.is_valid(&changed(&[(name, None)])), "without {name}");
    }
    for (name, value) in [
        ("detection_id", json!("123")),
        ("detection_id", json!(1.5)),
        ("severity", json!("high")),
        ("severity", json!("INFO")),
        ("outcome", json!("MATCH")),
        ("match_count", json!("5")),
        ("match_count", json!(-1)),
        ("match_threshold", json!(0.5)),
        ("replay_link", json!(null)),
        ("ran_at", json!(1_736_935_200)),
        ("run_type", json!("CRON")),
        ("errors", json!(null)),
        ("errors", json!(["Query timeout exceeded"])),
        ("match_eagerness", json!("LAZY")),
        ("match_exhaustiveness", json!("PARTLY")),
        ("trace_id", json!(5)),
    ] {
        assert!(!schema.is_valid(&changed(&[(name, Some(value.clone()))])), "{name}: {value}");
    }
    for outcome in [json!([sample()]), json!("text"), json!({ "test": "message", "detection_name": "Test Detection" })]
    {
        assert!(!schema.is_valid(&outcome), "{outcome}");
    }
}

fn schema_fields(key: &str) -> Vec<String> {
    let schema: Value = serde_json::from_str(include_str!("../docs/payload.schema.json")).unwrap();
    match &schema[key] {
        Value::Array(names) => names.iter().map(|name| name.as_str().unwrap().to_owned()).collect(),
        Value::Object(fields) => fields.keys().cloned().collect(),
        _ => panic!("no {key}"),
    }
}

#[test]
fn the_page_and_the_schema_list_the_same_fields() {
    let page = include_str!("../docs/receivers.md");
    let section = page.split("\n## ").find(|section| section.starts_with("The payload")).unwrap();
    let row = |line: &'static str| Some(line.strip_prefix("| `")?.split_once("` | ")?.0);
    let listed: Vec<_> = section.lines().filter_map(row).collect();
    assert_eq!(listed, schema_fields("properties"));
}

#[test]
fn a_fraction_of_zero_is_beyond_the_schema() {
    // To JSON Schema, 3.0 is an integer (2020-12, section 6.1.1); many a receiver's parser makes it a float.
    let outcome = changed(&[("match_count", Some(json!(3.0)))]);
    assert!(schema().is_valid(&outcome));
    assert_eq!(warnings(&outcome), Some(vec!["match_count"]));
}

/// A value that fits some field, or none.
fn any_value() -> impl Strategy<Value = Value> {
    const WORDS: [&str; 12] = [
        "CRITICAL",
        "LOW",
        "INFO",
        "MATCHED",
        "ERROR",
        "SCHEDULED",
        "EAGER",
        "EXHAUSTIVE",
        "COMPLETED",
        "STOPPED_EARLY",
        "",
        "é",
    ];
    prop_oneof![
        proptest::sample::select(&WORDS[..]).prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        Just(json!(0.5)),
        Just(json!(null)),
        Just(json!(true)),
        Just(json!([])),
        Just(json!([{ "message": "m", "code": "c", "source": "s" }])),
        Just(json!({})),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_the_schema_accepts_raises_no_warning(
        changes in proptest::collection::vec(
            (proptest::sample::select(schema_fields("properties")), proptest::option::of(any_value())), 0..4,
        )
    ) {
        thread_local!(static SCHEMA: Validator = schema());
        let changes: Vec<_> = changes.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
        let outcome = changed(&changes);
        if SCHEMA.with(|schema| schema.is_valid(&outcome)) {
            prop_assert_eq!(warnings(&outcome), Some(vec![]), "{}", outcome);
        }
    }
}
