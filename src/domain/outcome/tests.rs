use super::*;
use serde_json::{Value, json};

fn example() -> Value {
    serde_json::from_str(include_str!("../../../events/matched.json")).unwrap()
}

fn parse(value: &Value) -> Result<Outcome, Rejected> {
    Outcome::parse(&Bytes::from(value.to_string()))
}

fn with(name: &str, value: Value) -> Result<Outcome, Rejected> {
    let mut outcome = example();
    outcome[name] = value;
    parse(&outcome)
}

fn paths(rejected: &Rejected) -> Vec<&str> {
    rejected.problems.iter().map(|problem| problem.path.as_str()).collect()
}

#[test]
fn the_documented_payload_raises_no_warning() {
    let outcome = parse(&example()).unwrap();
    let about = About {
        detection_id: Some("123".into()),
        detection_name: Some("Suspicious Login Attempts".into()),
        severity: Some(Severity::High),
        kind: Some(Kind::Matched),
        run_id: Some("run-456".into()),
        trace_id: Some("1-abc-def".into()),
        search_id: Some("search-abc-123".into()),
    };
    assert_eq!((outcome.detection_id.as_str(), outcome.about), ("123", about));
    assert!(outcome.warnings.is_empty());
}

#[test]
fn two_fields_make_an_outcome() {
    let outcome = parse(&json!({ "detection_id": 1, "outcome": "ERROR" })).unwrap();
    assert_eq!((outcome.severity(), outcome.kind()), (Severity::Unknown, Kind::Error));
    assert_eq!(outcome.about.severity, Some(Severity::Unknown));
    assert_eq!(
        outcome.warnings,
        [
            "severity",
            "detection_name",
            "match_count",
            "replay_link",
            "run_id",
            "run_type",
            "ran_at",
            "range_start",
            "range_end",
            "match_operator"
        ]
    );
}

#[test]
fn what_is_required_is_named_when_it_is_missing_or_mistyped() {
    for (outcome, expected) in [
        (json!({ "severity": "HIGH" }), &["detection_id", "outcome"][..]),
        (json!({ "detection_id": 1.5, "outcome": 3 }), &["detection_id", "outcome"]),
        (json!({ "detection_id": null, "outcome": "MATCHED" }), &["detection_id"]),
        (json!({ "detection_id": [1], "outcome": "MATCHED" }), &["detection_id"]),
        (json!({ "detection_id": true, "outcome": "MATCHED" }), &["detection_id"]),
        (json!({ "detection_id": 1, "outcome": ["MATCHED"] }), &["outcome"]),
        (json!({ "detection_id": 1, "outcome": null }), &["outcome"]),
    ] {
        assert_eq!(paths(&parse(&outcome).unwrap_err()), expected, "{outcome}");
    }
    let rejected = parse(&json!({ "detection_id": "1" })).unwrap_err();
    assert_eq!(rejected.problems[0].expected, "MATCHED, NOT_MATCHED or ERROR, but the field is missing");
}

#[test]
fn a_detection_id_is_a_string_or_a_whole_number() {
    for (json, id) in [
        ("77", "77"),
        ("77.0", "77"),
        ("7.7e1", "77"),
        ("-5", "-5"),
        ("99999999999999999999999999", "99999999999999999999999999"),
        ("\"det-7\"", "det-7"),
        ("\"077\"", "077"),
        ("\"77.0\"", "77.0"),
        ("\"\"", ""),
        ("\"\\ud800\"", "\u{fffd}\u{fffd}\u{fffd}"),
    ] {
        let text = format!("{{\"detection_id\":{json},\"outcome\":\"MATCHED\"}}");
        assert_eq!(Outcome::parse(&Bytes::from(text)).unwrap().detection_id, id, "{json}");
    }
    for json in ["77.5", "1e-1", "1e400", "1e99999999999999999999", "-0.5"] {
        let text = format!("{{\"detection_id\":{json},\"outcome\":\"MATCHED\"}}");
        assert_eq!(paths(&Outcome::parse(&Bytes::from(text)).unwrap_err()), ["detection_id"], "{json}");
    }
}

#[test]
fn the_key_of_a_route_is_whole_and_what_is_shown_is_short() {
    let outcome = with("detection_id", json!("x".repeat(5000))).unwrap();
    assert_eq!(outcome.detection_id.len(), 5000);
    assert_eq!(outcome.about.detection_id, Some(format!("{}…", "x".repeat(64))));
    let outcome = with("detection_name", json!("a\nb\u{1b}")).unwrap();
    assert_eq!(outcome.about.detection_name.as_deref(), Some("a\u{fffd}b\u{fffd}"));
}

#[test]
fn what_can_be_read_of_a_rejected_outcome_is_kept() {
    let mut outcome = example();
    outcome["severity"] = "CRITICAL".into();
    let whole = parse(&outcome).unwrap().about;
    let cut = outcome.to_string();
    let cut = Outcome::parse(&Bytes::from(cut.trim_end_matches('}').to_owned())).unwrap_err();
    assert_eq!(cut.about, whole, "it ends too early");
    outcome.as_object_mut().unwrap().remove("outcome");
    let rejected = parse(&outcome).unwrap_err();
    assert_eq!(rejected.about, About { kind: None, ..whole });
    let rejected = parse(&json!({ "detection_id": "x".repeat(500), "severity": 5, "run_id": "a\nb" })).unwrap_err();
    assert!(rejected.about.detection_id.unwrap().len() < 70);
    assert_eq!((rejected.about.severity, rejected.about.kind), (Some(Severity::Unknown), None));
    assert_eq!(rejected.about.run_id.as_deref(), Some("a\u{fffd}b"));
}

#[test]
fn what_is_not_a_json_object_is_rejected_with_the_place() {
    for (text, expected) in [
        ("", "complete JSON"),
        ("{\"a\":", "complete JSON (it ends at line 1, column 5)"),
        ("{\"a\" 1}", "valid JSON (see line 1, column 6)"),
        ("[1]", "a JSON object"),
        ("\"text\"", "a JSON object"),
        ("null", "a JSON object"),
        ("{} {}", "valid JSON"),
        ("{\"a\nb\": 1}", "valid JSON"),
    ] {
        let rejected = Outcome::parse(&Bytes::from(text)).unwrap_err();
        assert!(rejected.problems[0].expected.starts_with(expected), "{text}: {}", rejected.problems[0]);
        assert_eq!((rejected.problems.len(), rejected.is_unknown_event), (1, false));
    }
    let rejected = Outcome::parse(&Bytes::from_static(b"{\"detection_id\":\"\xff\"}")).unwrap_err();
    assert_eq!(rejected.problems, [Problem::new("$", "UTF-8 text")]);
}

#[test]
fn odd_documented_fields_are_delivered_with_a_warning() {
    for (name, odd) in [
        ("severity", vec![json!("URGENT"), json!("high"), json!(5), json!(null)]),
        ("outcome", vec![json!("PARTIAL"), json!("matched"), json!("")]),
        ("detection_name", vec![json!(5), json!(null)]),
        ("match_count", vec![json!(3.0), json!("5"), json!(null), json!(2.5)]),
        ("replay_link", vec![json!(null)]),
        ("run_id", vec![json!(456), json!(null)]),
        ("run_type", vec![json!("REPLAY"), json!(null)]),
        ("ran_at", vec![json!(1_736_935_200)]),
        ("range_start", vec![json!(null)]),
        ("range_end", vec![json!({})]),
        ("match_operator", vec![json!(1)]),
        ("match_threshold", vec![json!("0"), json!(0.5)]),
        ("match_eagerness", vec![json!("LAZY")]),
        ("errors", vec![json!({}), json!(null), json!("[]")]),
        ("description", vec![json!(5)]),
        ("match_exhaustiveness", vec![json!("PARTLY"), json!(0)]),
        ("search_id", vec![json!(7)]),
        ("trace_id", vec![json!(7)]),
    ] {
        for value in odd {
            let outcome = with(name, value.clone()).unwrap();
            assert_eq!(outcome.warnings, [name], "{name} = {value}");
            assert!(outcome.kind().is_alert());
        }
        let mut missing = example();
        missing.as_object_mut().unwrap().remove(name);
        match (name, parse(&missing)) {
            ("outcome", rejected) => assert_eq!(paths(&rejected.unwrap_err()), ["outcome"]),
            ("description" | "match_exhaustiveness" | "search_id" | "trace_id", outcome) => {
                assert!(outcome.unwrap().warnings.is_empty(), "{name}");
            }
            (_, outcome) => assert_eq!(outcome.unwrap().warnings, [name]),
        }
    }
}

#[test]
fn documented_nulls_open_sets_and_foreign_fields_raise_no_warning() {
    for (name, value) in [
        ("description", json!(null)),
        ("match_exhaustiveness", json!(null)),
        ("search_id", json!(null)),
        ("trace_id", json!(null)),
        ("match_operator", json!("BETWEEN")),
        ("description", json!("")),
        ("errors", json!([{ "message": "m" }, 5])),
        ("tenant", json!({"Records": []})),
    ] {
        assert!(with(name, value.clone()).unwrap().warnings.is_empty(), "{name} = {value}");
    }
    let text = example().to_string().replace("\"match_count\":5", "\"match_count\":99999999999999999999999999");
    assert!(Outcome::parse(&Bytes::from(text)).unwrap().warnings.is_empty());
}

#[test]
fn the_body_is_kept_byte_for_byte_without_what_surrounds_it() {
    let text = r#"{ "detection_id":  7,"detection_name":"\u00e9\ud800","severity":"LOW",
        "outcome":"ERROR","match_count":0,"replay_link":"","x":1.50e+1, "\ud800":1,"\u00e9":null }"#;
    for around in
        [text.to_owned(), format!("\r\n\t {text} \n"), format!("\u{feff}{text}"), format!(" \u{feff}\n{text}\n")]
    {
        let whole = Bytes::from(around);
        let body = Outcome::parse(&whole).unwrap().payload.body;
        assert_eq!(body, text.as_bytes());
        assert!(whole.as_ptr_range().contains(&body.as_ptr()), "no copy");
    }
}

#[test]
fn what_sqs_refuses_is_spelled_before_the_first_attempt() {
    let text = "{\"detection_id\":1,\"outcome\":\"ERROR\",\"\u{fffe}\":\"a\\\\\u{ffff}\"}";
    let payload = Outcome::parse(&Bytes::from(text)).unwrap().payload;
    let spelled = r#"{"detection_id":1,"outcome":"ERROR","\ufffe":"a\\\uffff"}"#;
    assert_eq!(payload.body, spelled.as_bytes());
    let (sent, received): (Value, Value) =
        (serde_json::from_slice(&payload.body).unwrap(), serde_json::from_str(text).unwrap());
    assert_eq!(sent, received);
    assert_eq!(payload.webhook_id, Outcome::parse(&payload.body).unwrap().payload.webhook_id, "also from the queue");
}

#[test]
fn the_webhook_id_is_a_digest_of_the_body_alone() {
    let id = |text: &str| Outcome::parse(&Bytes::from(text.to_owned())).unwrap().payload.webhook_id;
    let text = r#"{"detection_id":1,"outcome":"ERROR","run_id":"r"}"#;
    // printf '%s' '{"detection_id":1,"outcome":"ERROR","run_id":"r"}' | sha256sum | head -c 32
    assert_eq!(id(text), "7fbb5e63c31f93a05037d56fe899b7f8");
    assert_eq!(id(&format!("\u{feff} {text}\n")), id(text));
    assert_ne!(id(&text.replace(":1,", ":2,")), id(text), "the run's id is not enough");
}

#[test]
fn the_last_of_a_repeated_field_counts() {
    let text =
        r#"{"detection_id":1,"severity":"LOW","outcome":5,"outcome":"ERROR","severity":"CRITICAL","detection_id":2}"#;
    let outcome = Outcome::parse(&Bytes::from(text)).unwrap();
    assert_eq!(
        (outcome.detection_id.as_str(), outcome.severity(), outcome.kind()),
        ("2", Severity::Critical, Kind::Error)
    );
}

#[test]
fn unknown_values_pass_every_filter_and_count_as_an_alert() {
    assert!(Severity::Unknown > Severity::Critical);
    assert!(Kind::Unknown.is_alert() && !Kind::NotMatched.is_alert());
}

#[test]
fn deep_nesting_in_an_unknown_field_is_delivered() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let text = example().to_string().replacen('{', &format!("{{\"deep\":{deep},"), 1);
    assert!(Outcome::parse(&Bytes::from(text)).is_ok());
}

#[test]
fn severities_and_kinds_are_read_and_shown_by_name() {
    let severities = ["LOW", "MEDIUM", "HIGH", "CRITICAL", "UNKNOWN", "URGENT"];
    let severities = severities.map(|name| with("severity", json!(name)).unwrap().severity());
    assert!(severities.is_sorted());
    assert_eq!(severities.map(Severity::name), ["LOW", "MEDIUM", "HIGH", "CRITICAL", "UNKNOWN", "UNKNOWN"]);
    let kinds = ["MATCHED", "NOT_MATCHED", "ERROR", "UNKNOWN", "PARTIAL"];
    let kinds = kinds.map(|name| with("outcome", json!(name)).unwrap().kind());
    assert_eq!(json!(kinds), json!(["MATCHED", "NOT_MATCHED", "ERROR", "UNKNOWN", "UNKNOWN"]));
}

#[test]
fn a_field_that_only_outcomes_have_makes_a_resemblance() {
    for name in ["detection_id", "detection_name", "severity", "outcome", "match_count", "replay_link"] {
        assert!(resembles(&Object::read(&json!({ name: null }).to_string())), "{name}");
    }
    assert!(!resembles(&Object::read(r#"{"run_id":"r","description":"d","Records":[]}"#)));
}
