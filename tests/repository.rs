//! Rules about the repository that a machine can check.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends at what it does not expect")]

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use detection_outcome_handler::domain::code::Code;
use detection_outcome_handler::settings;
use serde_norway::Value;

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path))
        .unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn all_sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    sources(&root, &mut found);
    let relative = |path: &PathBuf| path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
    found.iter().map(|path| (relative(path), std::fs::read_to_string(path).unwrap())).collect()
}

#[test]
fn imports_go_one_way() {
    let may_use: [(&str, &[&str]); 6] = [
        ("domain", &[]),
        ("telemetry", &["domain"]),
        ("outbound", &["domain", "telemetry"]),
        ("deliver", &["domain", "telemetry", "outbound"]),
        ("inbound", &["domain", "telemetry", "deliver"]),
        ("settings", &["domain", "telemetry", "outbound"]),
    ];
    for (path, text) in all_sources() {
        let layer = path.split(['/', '.']).next().unwrap();
        let Some((_, allowed)) = may_use.iter().find(|(name, _)| *name == layer) else {
            assert!(["main", "lib", "bin"].contains(&layer), "{path} is in no layer");
            continue;
        };
        for used in text
            .split("crate::")
            .skip(1)
            .map(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap())
        {
            assert!(used == layer || allowed.contains(&used), "{path} must not use {used}");
        }
    }
}

#[test]
fn the_domain_knows_no_clock_no_randomness_and_nobody_outside() {
    let rules = |path: &str| path.starts_with("domain") && !path.ends_with("tests.rs");
    for (path, text) in all_sources().iter().filter(|(path, _)| rules(path)) {
        let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        for word in
            ["::now()", "tokio::", "reqwest", "std::env", "std::fs", "std::net::Tcp", "aws_", "tracing::", "async fn"]
        {
            assert!(!text.contains(word), "{path} has {word}");
        }
    }
}

#[test]
fn only_the_settings_read_the_environment() {
    for (path, text) in all_sources() {
        let reads = ["env::var", "env::vars"].iter().any(|word| text.contains(word));
        assert!(!reads || path.starts_with("settings") || path.ends_with("tests.rs"), "{path}");
    }
}

#[test]
fn every_setting_is_in_the_readme_and_every_one_of_ours_in_the_source() {
    let readme = read("README.md");
    let source = read("src/settings.rs");
    for name in settings::NAMES {
        assert!(readme.contains(&format!("| `{name}`")), "{name} is not in the README's table");
        assert!(source.matches(&format!("\"{name}\"")).count() >= 2, "{name} is listed but not read");
    }
    let listed = readme.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`').map(|(name, _)| name));
    for name in listed.filter(|name| name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_')) {
        assert!(settings::NAMES.contains(&name), "the README names {name}, which nobody reads");
    }
}

#[test]
fn every_failure_is_documented_with_its_cause_and_remedy_and_none_besides() {
    let document = read("docs/failures.md");
    let row = |code: &Code| format!("| `{}` | {} | {} |", code.name(), code.cause(), code.remedy());
    for code in Code::ALL {
        assert!(document.contains(&row(code)), "docs/failures.md has no row\n{}", row(code));
    }
    assert_eq!(document.matches("\n| `").count(), Code::ALL.len());
}

fn template() -> Value {
    serde_norway::from_str(&read("template.yaml")).unwrap()
}

/// A value in the template, under the tags of CloudFormation's short forms.
fn at<'a>(value: &'a Value, path: &[&str]) -> &'a Value {
    path.iter().fold(value, |value, key| {
        let value = if let Value::Tagged(tagged) = value { &tagged.value } else { value };
        value.get(*key).unwrap_or_else(|| panic!("the template has no {}", path.join(".")))
    })
}

#[test]
fn the_function_ends_after_the_longest_timeout_and_the_queue_waits_six_times_as_long() {
    let template = template();
    let timeout = at(&template, &["Resources", "Function", "Properties", "Timeout"]).as_u64().unwrap();
    let visibility = at(&template, &["Resources", "OutcomeQueue", "Properties", "VisibilityTimeout"]).as_u64().unwrap();
    assert_eq!((timeout, visibility), (330, 1980));
    assert_eq!(visibility, 6 * timeout);
    let retries = at(&template, &["Resources", "RetryQueue", "Properties", "VisibilityTimeout"]).as_u64();
    assert_eq!(retries, Some(visibility));
    let package: toml::Table = read("Cargo.toml").parse().unwrap();
    assert_eq!(package["package"]["metadata"]["lambda"]["deploy"]["timeout"].as_integer(), Some(330));
}

#[test]
fn a_failed_message_is_reported_alone() {
    let template = template();
    let events = at(&template, &["Resources", "Function", "Properties", "Events"]);
    for (name, event) in events.as_mapping().unwrap() {
        let types = at(event, &["Properties", "FunctionResponseTypes"]);
        assert_eq!(types.get(0).and_then(Value::as_str), Some("ReportBatchItemFailures"), "{name:?}");
        assert!(
            event.get("Properties").unwrap().get("FilterCriteria").is_none(),
            "a filter deletes what it does not match"
        );
    }
}

#[test]
fn the_template_sets_settings_that_exist_and_never_a_url() {
    let template = template();
    let variables = at(&template, &["Resources", "Function", "Properties", "Environment", "Variables"]);
    for name in variables.as_mapping().unwrap().keys().map(|name| name.as_str().unwrap()) {
        assert!(settings::NAMES.contains(&name), "{name}");
        assert!(!["WEBHOOK_URL", "LOCAL_RECEIVERS"].contains(&name), "{name}");
    }
}

#[test]
fn what_the_local_run_sets_is_named_by_its_template_and_starts_the_function() {
    let environment: serde_json::Value = serde_json::from_str(&read("events/local-env.json")).unwrap();
    let template: Value = serde_norway::from_str(&read("demo/sam-local.yaml")).unwrap();
    for (function, variables) in environment.as_object().unwrap() {
        let named = at(&template, &["Resources", function, "Properties", "Environment", "Variables"]);
        let variables: HashMap<String, String> = serde_json::from_value(variables.clone()).unwrap();
        for name in variables.keys() {
            assert!(named.get(name.as_str()).is_some(), "SAM hands over no {name}, which the template does not name");
        }
        // As in SAM's container.
        let local = [("LAMBDA_TASK_ROOT", "/var/task"), ("AWS_SAM_LOCAL", "true"), ("AWS_REGION", "us-east-1")];
        let local = local.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let all = Variables(variables.into_iter().chain(local).collect());
        assert!(settings::Settings::parse(&all).is_ok());
    }
}

struct Variables(HashMap<String, String>);

impl settings::Environment for Variables {
    fn get(&self, name: &str) -> Option<String> {
        self.0.get(name).cloned()
    }
}

#[test]
fn every_parameter_and_output_is_described_and_the_group_of_logs_is_the_documented_one() {
    let template = template();
    for section in ["Parameters", "Outputs"] {
        for (name, entry) in at(&template, &[section]).as_mapping().unwrap() {
            assert!(entry.get("Description").is_some(), "{section} {name:?}");
        }
    }
    assert_eq!(at(&template, &["Parameters", "FunctionName", "Default"]).as_str(), Some("detection-outcome-handler"));
    let group = at(&template, &["Resources", "LogGroup", "Properties", "LogGroupName"]);
    assert!(format!("{group:?}").contains("/aws/lambda/${FunctionName}"));
    let queue = at(&template, &["Resources", "OutcomeQueue", "Properties"]);
    assert!(queue.get("QueueName").is_none(), "a fixed name breaks a second stack and every replacement");
}

/// Log lines that the function has written, as they are kept for their readers.
fn kept_lines() -> Vec<serde_json::Value> {
    let entries = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/snapshots")).unwrap();
    let line = |path: std::path::PathBuf| {
        let text = std::fs::read_to_string(path).unwrap();
        serde_json::from_str(&text[text.find("\n{").unwrap()..]).unwrap()
    };
    entries.map(|entry| line(entry.unwrap().path())).collect()
}

/// The words of a Logs Insights query that must be fields of the lines it looks at.
fn fields_of(query: &str) -> Vec<String> {
    const LANGUAGE: [&str; 18] = [
        "filter",
        "fields",
        "stats",
        "sort",
        "limit",
        "in",
        "as",
        "by",
        "desc",
        "asc",
        "count",
        "earliest",
        "latest",
        "pct",
        "max",
        "ispresent",
        "and",
        "or",
    ];
    let query =
        query.split_once("' | ").map_or(query, |(source, rest)| if source.contains("SOURCE") { rest } else { query });
    // Every second piece is a quoted value.
    let bare: String = query.split(['"', '\'']).step_by(2).collect::<Vec<_>>().join(" ");
    let words: Vec<_> = bare
        .split(|c: char| !(c.is_ascii_alphanumeric() || "_@".contains(c)))
        .filter(|word| !word.is_empty())
        .collect();
    let aliases: Vec<_> = words.windows(2).filter(|pair| pair[0] == "as").map(|pair| pair[1]).collect();
    let is_field = |word: &&str| {
        !LANGUAGE.contains(word)
            && !aliases.contains(word)
            && !word.starts_with('@')
            && !word.bytes().all(|b| b.is_ascii_digit())
    };
    words.into_iter().filter(is_field).map(ToOwned::to_owned).collect()
}

#[test]
fn queries_ask_for_fields_and_results_that_lines_have() {
    let lines = kept_lines();
    let template = template();
    let resources = at(&template, &["Resources"]);
    let body = at(&template, &["Resources", "Dashboard", "Properties", "DashboardBody"]);
    let Value::Tagged(body) = body else { panic!("{body:?}") };
    let board: serde_json::Value = serde_json::from_str(body.value.as_str().unwrap()).unwrap();
    let widgets = board["widgets"].as_array().unwrap();
    let mut queries: Vec<_> = widgets.iter().filter_map(|widget| widget["properties"]["query"].as_str()).collect();
    let definitions =
        resources.as_mapping().unwrap().values().filter(|resource| resource["Type"] == "AWS::Logs::QueryDefinition");
    queries.extend(definitions.map(|resource| resource["Properties"]["QueryString"].as_str().unwrap()));
    assert_eq!(queries.len(), 4);
    for query in queries {
        let fields = fields_of(query);
        assert!(fields.len() >= 3, "{query}");
        for field in fields {
            assert!(lines.iter().any(|line| line.get(&field).is_some()), "no line has {field}: {query}");
        }
        let quoted = query
            .split(['"', '\''])
            .skip(1)
            .step_by(2)
            .filter(|text| text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'));
        for result in quoted {
            let known = ["kept"].contains(&result) || lines.iter().any(|line| line["result"] == result);
            assert!(known, "no line has the result {result}: {query}");
        }
    }
}

#[test]
fn alarms_and_dashboard_look_at_metrics_that_lines_carry_and_every_alarm_tells_somebody() {
    let metrics: Vec<String> = kept_lines()
        .iter()
        .flat_map(|line| line["_aws"]["CloudWatchMetrics"].as_array().cloned().unwrap_or_default())
        .flat_map(|directive| directive["Metrics"].as_array().cloned().unwrap())
        .map(|metric| metric["Name"].as_str().unwrap().to_owned())
        .collect();
    let text = read("template.yaml");
    let template = template();
    let resources = at(&template, &["Resources"]).as_mapping().unwrap();
    let mut alarms = 0;
    for (name, resource) in resources.iter().filter(|(_, resource)| resource["Type"] == "AWS::CloudWatch::Alarm") {
        alarms += 1;
        let properties = &resource["Properties"];
        assert_eq!(properties["AlarmActions"].as_sequence().unwrap().len(), 2, "{name:?}");
        assert!(text.contains(&format!("${{{}.Arn}}", name.as_str().unwrap())), "{name:?} is not on the dashboard");
        if properties["Namespace"] == "DetectionOutcomeHandler" {
            assert!(metrics.iter().any(|metric| properties["MetricName"] == metric.as_str()), "{name:?}");
        }
    }
    assert_eq!(alarms, 7);
    for part in text.split("\"DetectionOutcomeHandler\", \"").skip(1) {
        let name = part.split('"').next().unwrap();
        assert!(metrics.iter().any(|metric| metric == name), "{name}");
    }
}

#[test]
fn the_role_allows_no_wildcard() {
    let text = read("template.yaml");
    let policies = &text[text.find("  Role:").unwrap()..text.find("  Function:").unwrap()];
    for line in policies.lines().filter(|line| line.contains("Action:") || line.contains("Resource:")) {
        assert!(!line.contains('*'), "{line}");
    }
}
