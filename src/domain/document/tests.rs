use super::*;
use serde_json::json;

fn parse(value: &Value) -> Result<Document, Vec<Problem>> {
    Document::parse(value.to_string().as_bytes())
}

fn problems_of(value: &Value) -> Vec<String> {
    match parse(value) {
        Ok(document) => document.problems(),
        Err(problems) => problems,
    }
    .into_iter()
    .map(|problem| problem.path)
    .collect()
}

fn soc(options: Value) -> Value {
    let mut destination = json!({ "url": "https://soc.example.com/hook?api_key=SECRET" });
    destination.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
    json!({ "destinations": { "soc": destination } })
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
        (soc(json!({ "timeuot": 5 })), "destinations.soc.timeuot"),
        (json!({ "destinations": { "a": {"url": "https://h/"} }, "routes": { "1": "a" } }), "routes.1"),
        (json!({ "destinations": { "a": {"url": "https://h/"} }, "routes": { "1": [] } }), "routes.1"),
        (json!({ "destinations": { "a": {"url": "https://h/"} }, "routes": { "1": ["a", "B!"] } }), "routes.1[1]"),
    ]
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
        (soc(json!({ "url": "https://h/{{vault:a}}" })), "destinations.soc.url"),
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
    let problems = Document::parse(b"{\n  \"destinations\": SECRET }").err().unwrap();
    assert_eq!(problems[0].expected, "valid JSON (see line 2, column 19)");
}

fn schema() -> Value {
    let mut schema = serde_json::to_value(schemars::schema_for!(TopLevel)).unwrap();
    forbid_null(&mut schema);
    schema
}

/// An option may be left out, but `null` is no value for it.
fn forbid_null(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            if let Some(Value::Array(types)) = members.get_mut("type") {
                types.retain(|name| name != "null");
                let only = types.remove(0);
                members["type"] = only;
            }
            members.values_mut().for_each(forbid_null);
        }
        Value::Array(items) => items.iter_mut().for_each(forbid_null),
        _ => {}
    }
}

/// `UPDATE_SCHEMA=1 cargo test schema` writes the file anew.
#[test]
fn the_published_schema_is_the_one_of_the_types() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/destinations.schema.json");
    let text = serde_json::to_string_pretty(&schema()).unwrap() + "\n";
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    assert_eq!(std::fs::read_to_string(path).unwrap(), text, "run UPDATE_SCHEMA=1 cargo test schema");
}

#[test]
fn the_schema_accepts_and_refuses_what_the_parser_does() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    for value in good() {
        assert!(validator.is_valid(&value), "{value}");
    }
    for (value, path) in bad() {
        assert!(!validator.is_valid(&value), "{path}: {value}");
    }
}
