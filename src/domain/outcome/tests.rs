use super::*;
use serde_json::{Value, json};

fn example() -> Value {
    serde_json::from_str(include_str!("../../../events/matched.json")).unwrap()
}

fn parse(value: &Value) -> Result<Outcome, Refused> {
    Outcome::parse(&Bytes::from(value.to_string()))
}

fn with(name: &str, value: Value) -> Result<Outcome, Refused> {
    let mut outcome = example();
    outcome[name] = value;
    parse(&outcome)
}

fn paths(problems: &[Problem]) -> Vec<&str> {
    problems.iter().map(|problem| problem.path.as_str()).collect()
}

#[test]
fn the_documented_payload_is_an_outcome_without_oddities() {
    let outcome = parse(&example()).unwrap();
    assert_eq!(outcome.detection_id, "123");
    assert_eq!(outcome.payload.webhook_id, "run-456");
    assert_eq!((outcome.severity, outcome.kind), (Severity::High, Kind::Matched));
    assert_eq!(outcome.oddities, Oddities::default());
}

#[test]
fn the_body_is_kept_byte_for_byte_without_the_white_space_around_it() {
    let text = r#"{ "detection_id":  7,"detection_name":"\u00e9\ud800","severity":"LOW",
        "outcome":"ERROR","match_count":0,"replay_link":"","x":1.50e+1, "\ud800":1,"\u00e9":null }"#;
    let outcome = Outcome::parse(&Bytes::from(format!("\r\n\t {text} \n"))).unwrap();
    assert_eq!(outcome.payload.body, text.as_bytes());
}

#[test]
fn every_missing_or_mistyped_required_field_is_named_at_once() {
    let refused = parse(&json!({"detection_id": 1.5, "severity": 3, "match_count": -1})).unwrap_err();
    assert_eq!(
        paths(&refused.problems),
        ["detection_id", "detection_name", "severity", "outcome", "match_count", "replay_link"]
    );
    for (name, value) in [
        ("detection_id", json!(null)),
        ("detection_name", json!(5)),
        ("outcome", json!(["MATCHED"])),
        ("match_count", json!("5")),
        ("match_count", json!(2.5)),
        ("replay_link", json!(null)),
    ] {
        assert_eq!(paths(&with(name, value.clone()).unwrap_err().problems), [name], "{name} = {value}");
    }
}

#[test]
fn what_could_be_read_of_a_refused_outcome_is_kept() {
    let refused = with("severity", json!(5)).unwrap_err();
    assert_eq!(
        [refused.detection_id.as_deref(), refused.detection_name.as_deref(), refused.run_id.as_deref()],
        [Some("123"), Some("Suspicious Login Attempts"), Some("run-456")]
    );
    let refused = parse(&json!({ "detection_id": "x".repeat(500), "run_id": "a\nb" })).unwrap_err();
    assert!(refused.detection_id.unwrap().len() < 100 && refused.detection_name.is_none());
    assert_eq!(refused.run_id.as_deref(), Some("a\u{fffd}b"));
}

#[test]
fn what_is_no_json_object_is_refused_with_the_place() {
    for (text, expected) in [
        ("", "complete JSON"),
        ("{\"a\":", "complete JSON (it ends at line 1, column 5)"),
        ("{\"a\" 1}", "valid JSON (see line 1, column 6)"),
        ("[1]", "a JSON object"),
        ("\"text\"", "a JSON object"),
        ("null", "a JSON object"),
        ("{} {}", "valid JSON"),
    ] {
        let refused = Outcome::parse(&Bytes::from(text)).unwrap_err();
        assert!(refused.problems[0].expected.starts_with(expected), "{text}: {}", refused.problems[0]);
    }
}

#[test]
fn new_values_and_odd_optional_fields_are_delivered_with_a_warning() {
    for (name, value, path) in [
        ("severity", json!("URGENT"), "severity"),
        ("outcome", json!("PARTIAL"), "outcome"),
        ("run_type", json!("REPLAY"), "run_type"),
        ("run_id", json!(456), "run_id"),
        ("description", json!(null), "description"),
        ("ran_at", json!(1_736_935_200), "ran_at"),
        ("range_start", json!("yesterday"), "range_start"),
        ("match_threshold", json!("0"), "match_threshold"),
        ("match_exhaustiveness", json!("PARTLY"), "match_exhaustiveness"),
        ("trace_id", json!(7), "trace_id"),
        ("errors", json!({}), "errors"),
        ("errors", json!([{"message": "m", "code": 5, "source": "s"}]), "errors[0].code"),
        ("errors", json!(["text"]), "errors[0]"),
    ] {
        let outcome = with(name, value.clone()).unwrap();
        assert_eq!(paths(&outcome.oddities.first), [path], "{name} = {value}");
    }
}

#[test]
fn a_time_that_is_not_written_like_one_is_an_oddity() {
    for time in [
        "2025-01-15T10:00:00Z",
        "2025-01-15T10:00:00.123456789+01:00",
        "2025-01-15t10:00:00,5z",
        "2025-01-15 10:00:00-0530",
        "2025-01-15T10:00",
        "2025-01-15",
        "20250115T100000Z",
    ] {
        assert_eq!(with("ran_at", json!(time)).unwrap().oddities, Oddities::default(), "{time}");
    }
    let long = "0".repeat(100);
    for wrong in ["yesterday", "", "2025", "15.01.2025", "1736935200", "2025-01-15T", "2025-01-15T10:00:00.Z", &long] {
        let outcome = with("range_end", json!(wrong)).unwrap();
        assert_eq!(paths(&outcome.oddities.first), ["range_end"], "{wrong}");
    }
}

#[test]
fn of_any_number_of_oddities_the_first_are_kept_and_the_rest_is_counted() {
    let outcome = with("errors", json!(vec![json!({}); 1000])).unwrap();
    assert_eq!((outcome.oddities.first.len(), outcome.oddities.more), (10, 2990));
    let text = outcome.oddities.to_string();
    assert!(text.starts_with("`errors[0].message`: expected a string; "), "{text}");
    assert!(text.ends_with("`errors[3].message`: expected a string; and 2990 more"), "{text}");
}

#[test]
fn documented_nulls_open_sets_and_foreign_fields_are_no_oddity() {
    for (name, value) in [
        ("match_exhaustiveness", json!(null)),
        ("search_id", json!(null)),
        ("trace_id", json!(null)),
        ("match_operator", json!("BETWEEN")),
        ("description", json!("")),
        ("detection_id", json!("det-7")),
        ("tenant", json!({"Records": []})),
    ] {
        assert_eq!(with(name, value.clone()).unwrap().oddities, Oddities::default(), "{name} = {value}");
    }
}

#[test]
fn a_run_id_that_cannot_stand_in_a_header_is_replaced_by_a_digest_of_the_payload() {
    for run_id in ["", "with space", "ümlaut", "a\nb", &"x".repeat(129)] {
        let outcome = with("run_id", json!(run_id)).unwrap();
        let digest = outcome.payload.webhook_id.strip_prefix("sha256-").unwrap();
        assert_eq!(digest.len(), 64);
        assert_eq!(outcome.payload.webhook_id, with("run_id", json!(run_id)).unwrap().payload.webhook_id);
    }
    assert_eq!(with("run_id", json!("x".repeat(128))).unwrap().payload.webhook_id, "x".repeat(128));
}

#[test]
fn unknown_values_pass_every_filter_and_count_as_an_alert() {
    assert!(Severity::Unknown > Severity::Critical);
    assert!(Kind::Unknown.is_alert() && !Kind::NotMatched.is_alert());
}

#[test]
fn an_integer_may_be_larger_than_any_of_ours() {
    let text = example().to_string().replace("\"match_count\":5", "\"match_count\":99999999999999999999999999");
    assert!(Outcome::parse(&Bytes::from(text)).is_ok());
}

#[test]
fn deep_nesting_in_an_unknown_field_does_not_refuse_an_outcome() {
    let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
    let text = example().to_string().replacen('{', &format!("{{\"deep\":{deep},"), 1);
    assert!(Outcome::parse(&Bytes::from(text)).is_ok());
}
