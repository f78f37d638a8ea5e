use super::super::template::Resolved;
use super::*;
use serde_json::{Value, json};

fn parse(value: &Value) -> Result<Document, Vec<Problem>> {
    Document::parse(&value.to_string())
}

fn problems_of(value: &Value) -> Vec<String> {
    problems_in(&value.to_string()).into_iter().map(|problem| problem.path).collect()
}

fn problems_in(text: &str) -> Vec<Problem> {
    match Document::parse(text) {
        Ok(document) => document.problems(),
        Err(problems) => problems,
    }
}

fn soc(options: Value) -> Value {
    let mut destination = json!({ "url": "https://soc.example.com/hook?api_key=SECRET" });
    destination.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
    json!({ "destinations": { "soc": destination } })
}

/// A destination `soc` with this fallback, and `pager`.
fn with_pager(fallback: Value) -> Value {
    let mut document = soc(json!({ "fallback": fallback }));
    document["destinations"]["pager"] = json!({ "url": "https://pager/" });
    document
}

fn headers(count: usize, value: &str) -> Value {
    (0..count).map(|n| (format!("x-{n:02}"), value.into())).collect::<serde_json::Map<_, _>>().into()
}

/// Documents that both the parser and the schema accept.
fn good() -> Vec<Value> {
    vec![
        soc(json!({})),
        soc(json!({ "timeout": 1 })),
        soc(
            json!({ "timeout": 300, "active": false, "paused": true, "outcomes": ["MATCHED", "ERROR"], "min_severity": "HIGH" }),
        ),
        soc(json!({ "headers": { "X-Team": "blue", "Authorization": "Bearer SECRET" } })),
        soc(json!({ "url": "https://{{secret:a}}@h/{{secret:b#k}}", "headers": { "X-Key": "k {{secret:c}}" } })),
        soc(json!({ "signing_secrets": ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "{{secret:k#signing}}"] })),
        soc(json!({ "timeout": 30.0, "description": "ä".repeat(1024), "x-owner": ["blue"], "_comment": 5 })),
        json!({ "description": "ours", "x-rev": 7, "_": null, "$schema": "s", "destinations": { "a": { "url": "https://h/" } } }),
        with_pager(json!({ "to": "pager" })),
        with_pager(json!({ "to": "pager", "after_minutes": 0, "_why": "at once" })),
        with_pager(json!({ "to": "pager", "after_minutes": 1200 })),
        soc(json!({ "headers": headers(64, "v") })),
        soc(json!({ "signing_secrets": vec!["{{secret:k}}"; 10] })),
        json!({ "$schema": "destinations.schema.json", "destinations": { "a": { "url": "http://10.0.0.1/" } }, "routes": { "*": ["a"], "123": ["a", "a"] } }),
    ]
}

/// Documents that both refuse, and the path that is named.
fn bad() -> Vec<(Value, &'static str)> {
    vec![
        (json!([]), "$"),
        (json!({}), "destinations"),
        (json!({ "destinations": {} }), "destinations"),
        (json!({ "destinations": [] }), "destinations"),
        (json!({ "destinations": { "a": {"url": "https://h/"} }, "route": {} }), "route"),
        (json!({ "destinations": { "a": {"url": "https://h/"} }, "routes": [] }), "routes"),
        (json!({ "destinations": { "SOC": { "url": "https://h/" } } }), "destinations.SOC"),
        (json!({ "destinations": { "a": "https://h/" } }), "destinations.a"),
        (json!({ "destinations": { "a": {} } }), "destinations.a.url"),
        (soc(json!({ "url": "ftp://h/" })), "destinations.soc.url"),
        (soc(json!({ "url": 5 })), "destinations.soc.url"),
        (soc(json!({ "url": "https://a b/" })), "destinations.soc.url"),
        (soc(json!({ "timeout": 0 })), "destinations.soc.timeout"),
        (soc(json!({ "timeout": 301 })), "destinations.soc.timeout"),
        (soc(json!({ "timeout": "30" })), "destinations.soc.timeout"),
        (soc(json!({ "timeout": 1.5 })), "destinations.soc.timeout"),
        (soc(json!({ "timeout": null })), "destinations.soc.timeout"),
        (soc(json!({ "headers": null })), "destinations.soc.headers"),
        (soc(json!({ "paused": 1 })), "destinations.soc.paused"),
        (soc(json!({ "active": "no" })), "destinations.soc.active"),
        (soc(json!({ "outcomes": [] })), "destinations.soc.outcomes"),
        (soc(json!({ "outcomes": ["matched"] })), "destinations.soc.outcomes"),
        (soc(json!({ "outcomes": "MATCHED" })), "destinations.soc.outcomes"),
        (soc(json!({ "min_severity": "URGENT" })), "destinations.soc.min_severity"),
        (soc(json!({ "headers": [] })), "destinations.soc.headers"),
        (soc(json!({ "headers": { "X": 5 } })), "destinations.soc.headers.X"),
        (soc(json!({ "headers": { "X": "" } })), "destinations.soc.headers.X"),
        (soc(json!({ "signing_secrets": [] })), "destinations.soc.signing_secrets"),
        (soc(json!({ "signing_secrets": "whsec_x" })), "destinations.soc.signing_secrets"),
        (soc(json!({ "signing_secrets": [5] })), "destinations.soc.signing_secrets"),
        (soc(json!({ "signing_secrets": vec!["{{secret:k}}"; 11] })), "destinations.soc.signing_secrets"),
        (soc(json!({ "headers": headers(65, "v") })), "destinations.soc.headers"),
        (soc(json!({ "timeuot": 5 })), "destinations.soc.timeuot"),
        (soc(json!({ "aws:rep:updatetime": 5 })), "destinations.soc.aws:rep:updatetime"),
        (soc(json!({ "$schema": "s" })), "destinations.soc.$schema"),
        (soc(json!({ "description": 5 })), "destinations.soc.description"),
        (soc(json!({ "description": "x".repeat(1025) })), "destinations.soc.description"),
        (soc(json!({ "fallback": "pager" })), "destinations.soc.fallback"),
        (soc(json!({ "fallback": {} })), "destinations.soc.fallback.to"),
        (with_pager(json!({ "to": "PAGER" })), "destinations.soc.fallback.to"),
        (with_pager(json!({ "to": "pager", "after": 5 })), "destinations.soc.fallback.after"),
        (with_pager(json!({ "to": "pager", "after_minutes": -1 })), "destinations.soc.fallback.after_minutes"),
        (with_pager(json!({ "to": "pager", "after_minutes": 1201 })), "destinations.soc.fallback.after_minutes"),
        (with_pager(json!({ "to": "pager", "after_minutes": 0.5 })), "destinations.soc.fallback.after_minutes"),
        (json!({ "destinations": { "a": {"url": "https://h/"} }, "description": 5 }), "description"),
        (json!({ "destinations": { "a": {"url": "https://h/"} }, "routes": { "1": "a" } }), "routes.1"),
        (json!({ "destinations": { "a": {"url": "https://h/"} }, "routes": { "1": [] } }), "routes.1"),
        (json!({ "destinations": { "a": {"url": "https://h/"} }, "routes": { "1": ["a", "B!"] } }), "routes.1[1]"),
    ]
}

#[test]
fn a_single_destination_gets_everything() {
    let soc = parse(&soc(json!({}))).unwrap().destinations.remove("soc").unwrap().unwrap();
    let document = Document::single(soc);
    assert!(document.destinations["soc"].is_ok() && document.routes.is_none());
}

#[test]
fn good_documents_have_no_problems() {
    for value in good() {
        assert_eq!(problems_of(&value), [""; 0], "{value}");
    }
}

#[test]
fn every_bad_option_is_named_by_its_path() {
    for (value, path) in bad() {
        assert_eq!(problems_of(&value), [path], "{value}");
    }
    // What a schema cannot say.
    for (value, path) in [
        (soc(json!({ "headers": { "Host": "h" } })), "destinations.soc.headers.Host"),
        (soc(json!({ "headers": { "X-A": "1", "x-a": "2" } })), "destinations.soc.headers.x-a"),
        (soc(json!({ "url": "https://u:p@h/", "headers": { "Authorization": "x" } })), "destinations.soc.headers"),
        (soc(json!({ "url": "https://h:0/" })), "destinations.soc.url"),
        (soc(json!({ "signing_secrets": ["whsec_short"] })), "destinations.soc.signing_secrets[0]"),
        (soc(json!({ "url": "https://{{secret:a}}/" })), "destinations.soc.url"),
        (soc(json!({ "url": "https://h/{{secret:a b}}" })), "destinations.soc.url"),
        (soc(json!({ "headers": { "Transfer_Encoding": "chunked" } })), "destinations.soc.headers.Transfer_Encoding"),
        (soc(json!({ "headers": headers(5, &"v".repeat(1700)) })), "destinations.soc.headers"),
        (soc(json!({ "headers": { "X": "{{secret:}}" } })), "destinations.soc.headers.X"),
        (
            soc(json!({ "url": "https://{{secret:a}}@h/", "headers": { "Authorization": "x" } })),
            "destinations.soc.headers",
        ),
        (json!({ "destinations": { "a": {"url": "https://h/"} }, "routes": { "1": ["b"] } }), "routes.1"),
    ] {
        assert_eq!(problems_of(&value), [path], "{value}");
    }
}

#[test]
fn all_problems_are_listed_at_once_and_no_value_is_shown() {
    let value = json!({
        "destinations": {
            "a": { "url": "SECRET", "timeout": "SECRET", "active": "SECRET", "outcomes": ["SECRET"], "min_severity": "SECRET", "headers": { "X": "SECRET\n" } },
            "b": { "url": "https://h/" }
        },
        "routes": { "7": ["b", "SECRET"] }
    });
    let document = parse(&value).ok().unwrap();
    let problems = document.problems();
    assert_eq!(problems.len(), 7, "{problems:?}");
    assert!(!format!("{problems:?}").contains("SECRET"));
}

#[test]
fn a_broken_destination_or_route_leaves_the_others_usable() {
    let value = json!({
        "destinations": { "bad": { "url": "x" }, "good": { "url": "https://h/" } },
        "routes": { "1": ["good", "bad", "gone", "NO"] }
    });
    let document = parse(&value).ok().unwrap();
    assert!(document.destinations["bad"].is_err() && document.destinations["good"].is_ok());
    assert_eq!(document.routes.unwrap()["1"].destinations, ["good", "bad", "gone"]);
}

#[test]
fn text_that_is_no_json_is_refused_with_its_place_and_without_its_content() {
    let problems = Document::parse("{\n  \"destinations\": SECRET }").err().unwrap();
    assert_eq!(problems[0].expected, "valid JSON (see line 2, column 19)");
}

#[test]
fn a_member_that_is_written_twice_is_a_problem_at_its_path() {
    const A: &str = r#""a": { "url": "https://h/" }"#;
    for (text, path) in [
        (format!(r#"{{ "destinations": {{ {A} }}, "destinations": {{ {A} }} }}"#), "destinations"),
        (format!(r#"{{ "destinations": {{ {A} }}, "routes": {{}}, "routes": {{}} }}"#), "routes"),
        (format!(r#"{{ "destinations": {{ {A}, {A} }} }}"#), "destinations.a"),
        (format!(r#"{{ "destinations": {{ {A} }}, "routes": {{ "1": ["a"], "*": ["a"], "1": ["a"] }} }}"#), "routes.1"),
        (
            r#"{ "destinations": { "a": { "url": "https://h/", "url": "https://SECRET/" } } }"#.to_owned(),
            "destinations.a.url",
        ),
        (
            r#"{ "destinations": { "a": { "url": "https://h/", "timeuot": 1, "timeuot": 2 } } }"#.to_owned(),
            "destinations.a.timeuot",
        ),
        (
            r#"{ "destinations": { "a": { "url": "https://h/", "headers": { "X-A": "1", "X-A": "2" } } } }"#.to_owned(),
            "destinations.a.headers.X-A",
        ),
        (
            format!(
                r#"{{ "destinations": {{ {A}, "b": {{ "url": "https://h/", "fallback": {{ "to": "a", "to": "a" }} }} }} }}"#
            ),
            "destinations.b.fallback.to",
        ),
    ] {
        let problems = problems_in(&text);
        assert_eq!(problems.iter().map(|problem| problem.path.as_str()).collect::<Vec<_>>(), [path], "{text}");
        assert!(!problems[0].to_string().contains("SECRET"));
    }
    // Notes are not read, so none of them wins.
    let notes = format!(r#"{{ "_": 1, "_": 2, "destinations": {{ {A} }} }}"#);
    assert!(problems_in(&notes).is_empty());
}

#[test]
fn a_repeated_entry_leaves_the_others_usable() {
    let text = r#"{
        "destinations": { "a": { "url": "https://a/" }, "b": { "url": "https://b/" }, "a": { "url": "https://c/" } },
        "routes": { "123": ["b"], "*": ["b"], "123": ["a"] }
    }"#;
    let document = Document::parse(text).ok().unwrap();
    assert!(document.destinations["a"].is_err() && document.destinations["b"].is_ok());
    let routes = document.routes.as_ref().unwrap();
    assert_eq!((routes["123"].destinations.len(), &*routes["*"].destinations), (0, &["b".to_owned()][..]));
    let problems: Vec<_> = document.problems().iter().map(ToString::to_string).collect();
    assert_eq!(problems, ["`destinations.a`: expected each member once", "`routes.123`: expected each member once"]);
}

#[test]
fn a_header_value_of_another_type_is_told_to_be_a_string() {
    let problems = problems_in(&soc(json!({ "headers": { "X-N": 5 } })).to_string());
    assert_eq!(problems, [Problem::new("destinations.soc.headers.X-N", "a string")]);
}

#[test]
fn braces_in_a_header_are_sent_as_written() {
    let document = parse(&soc(json!({ "headers": { "X-Meta": "{\"a\":{\"b\":1}}" } }))).ok().unwrap();
    let soc = document.destinations["soc"].as_ref().unwrap();
    let target = soc.target(&Resolved::default()).ok().unwrap();
    assert_eq!(target.headers["x-meta"], r#"{"a":{"b":1}}"#);
}

#[test]
fn a_byte_order_mark_before_the_document_is_ignored() {
    let text = format!("\u{feff}{}", soc(json!({})));
    assert!(problems_in(&text).is_empty());
}

#[test]
fn a_fallback_is_another_destination_without_one() {
    let to = |id: &str| json!({ "url": "https://h/", "fallback": { "to": id } });
    let plain = json!({ "url": "https://h/" });
    for (destinations, bad) in [
        (json!({ "a": to("b"), "b": plain }), vec![]),
        (json!({ "a": to("c"), "b": to("c"), "c": plain }), vec![]),
        // That it is broken is the other one's problem.
        (json!({ "a": to("b"), "b": 5 }), vec!["destinations.b"]),
        (json!({ "a": to("a") }), vec!["destinations.a.fallback.to"]),
        (json!({ "a": to("b") }), vec!["destinations.a.fallback.to"]),
        (json!({ "a": to("b"), "b": to("c"), "c": plain }), vec!["destinations.a.fallback.to"]),
        (json!({ "a": to("b"), "b": to("a") }), vec!["destinations.a.fallback.to", "destinations.b.fallback.to"]),
    ] {
        assert_eq!(problems_of(&json!({ "destinations": destinations })), bad, "{destinations}");
    }
    let document = parse(&with_pager(json!({ "to": "pager" }))).ok().unwrap();
    let fallback = document.destinations["soc"].as_ref().unwrap().fallback.clone();
    assert_eq!(fallback, Some(Fallback { to: "pager".into(), after: Duration::from_secs(600) }));
}

#[test]
fn the_schema_accepts_and_refuses_what_the_parser_does() {
    let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/destinations.schema.json"));
    let schema: Value = serde_json::from_str(text).unwrap();
    jsonschema::meta::validate(&schema).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    for value in good() {
        assert!(validator.is_valid(&value), "{value}");
    }
    for (value, path) in bad() {
        assert!(!validator.is_valid(&value), "{path}: {value}");
    }
}

#[test]
fn every_option_of_a_destination_is_read() {
    let value = soc(json!({
        "outcomes": ["ERROR"], "min_severity": "HIGH", "headers": { "X": "1" }, "signing_secrets": ["{{secret:k}}"]
    }));
    let document = parse(&value).ok().unwrap();
    let soc = document.destinations["soc"].as_ref().unwrap();
    assert_eq!((soc.outcomes.as_deref(), soc.min_severity), (Some(&[Kind::Error][..]), Some(Severity::High)));
    assert_eq!((soc.headers.len(), soc.signing_secrets.len()), (1, 1));
    assert_eq!(document.size(), 2 * 1024 + 4 * value["destinations"]["soc"].to_string().len());
}

#[test]
fn names_and_values_of_headers_fill_8_kib_together() {
    let problems = |length| problems_of(&soc(json!({ "headers": { "x-k": "v".repeat(length) } })));
    assert_eq!([problems(8192 - 3), problems(8192 - 2)], [vec![], vec!["destinations.soc.headers".to_owned()]]);
}

#[test]
fn a_fallback_to_itself_is_told_as_such() {
    let value = json!({ "destinations": { "a": { "url": "https://h/", "fallback": { "to": "a" } } } });
    let expected = Problem::new("destinations.a.fallback.to", "another destination than this one");
    assert_eq!(problems_in(&value.to_string()), [expected]);
}
