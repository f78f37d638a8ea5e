//! Rules about the repository that a machine can check.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends at what it does not expect")]

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
fn no_file_has_two_jobs() {
    for (path, text) in all_sources() {
        assert!(text.lines().count() <= 300, "{path} has {} lines", text.lines().count());
    }
}

#[test]
fn every_setting_is_in_the_readme_and_every_one_of_ours_in_the_source() {
    let readme = read("README.md");
    let source = read("src/settings.rs") + &read("src/settings/place.rs");
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

#[test]
fn the_role_allows_no_wildcard() {
    let text = read("template.yaml");
    let policies = &text[text.find("  Role:").unwrap()..text.find("  Function:").unwrap()];
    for line in policies.lines().filter(|line| line.contains("Action:") || line.contains("Resource:")) {
        assert!(!line.contains('*'), "{line}");
    }
}
