//! Rules about the repository that a machine can check.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends at what it does not expect")]

use std::path::{Path, PathBuf};

use detection_outcome_handler::domain::failure::{AwsReason, Code, Next};
use detection_outcome_handler::settings;

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
fn every_setting_is_documented_and_read() {
    let page = read("docs/settings.md");
    let names = settings::names();
    for name in &names {
        assert!(page.contains(&format!("| `{name}`")), "{name} is not in the table of docs/settings.md");
    }
    let listed = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`').map(|(name, _)| name));
    for name in listed {
        assert!(names.contains(name), "docs/settings.md names {name}, which nobody reads");
    }
}

/// The pages for people, by their paths.
fn pages() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = std::fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let docs = docs.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    let docs = docs.map(|path| format!("docs/{}", path.file_name().unwrap().to_str().unwrap()));
    let top = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md"].map(ToOwned::to_owned);
    let pages = docs.chain(top);
    pages.map(|path| (read(&path), path)).map(|(text, path)| (path, text)).collect()
}

#[test]
fn every_link_of_a_page_leads_somewhere() {
    // GitHub's anchors: lower case, spaces as hyphens, other signs left out.
    let anchor = |heading: &str| {
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.collect::<String>().to_lowercase().replace(' ', "-")
    };
    let mut lost = Vec::new();
    for (path, text) in pages() {
        for target in text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target) {
            if target.contains("://") {
                continue;
            }
            let (file, section) = target.split_once('#').unwrap_or((target, ""));
            let folder = Path::new(&path).parent().unwrap();
            let file = if file.is_empty() { PathBuf::from(&path) } else { folder.join(file) };
            let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
            let has_section = |text: String| {
                text.lines().any(|line| line.starts_with('#') && anchor(line.trim_start_matches(['#', ' '])) == section)
            };
            let leads = file.exists() && (section.is_empty() || std::fs::read_to_string(file).is_ok_and(has_section));
            if !leads {
                lost.push(format!("{path}: {target}"));
            }
        }
    }
    assert!(lost.is_empty(), "{lost:#?}");
}

#[test]
fn every_parameter_alarm_and_output_is_documented() {
    let template = read("template.yaml");
    let pages: String = pages().into_iter().map(|(_, text)| text).collect();
    let (mut section, mut named) = ("", 0);
    for line in template.lines() {
        if let Some(name) = line.strip_suffix(':').filter(|line| !line.starts_with([' ', '#'])) {
            section = name;
        }
        let Some(name) = line.strip_prefix("  ").and_then(|line| line.strip_suffix(':')) else { continue };
        let counts = matches!(section, "Parameters" | "Outputs") || (section == "Resources" && name.ends_with("Alarm"));
        if counts && name.bytes().all(|b| b.is_ascii_alphanumeric()) {
            assert!(pages.contains(&format!("`{name}")), "no page names {name}");
            named += 1;
        }
    }
    assert!(named > 50, "{named}");
}

#[test]
fn every_field_of_a_line_is_documented() {
    let page = read("docs/operations.md");
    let source = read("src/domain/report.rs");
    let (_, report) = source.split_once("pub struct Report {").unwrap();
    let (report, _) = report.split_once("\n}").unwrap();
    let fields = report.lines().filter_map(|line| line.trim().trim_start_matches("pub ").split_once(": "));
    let fields: Vec<_> = fields.map(|(name, _)| name).filter(|name| !name.starts_with(['/', '#'])).collect();
    assert!(fields.len() > 25, "{fields:?}");
    for name in fields.into_iter().filter(|name| *name != "acknowledged") {
        assert!(page.contains(&format!("`{name}`")), "docs/operations.md does not name {name}");
    }
}

#[test]
fn the_readme_is_short() {
    assert!(read("README.md").lines().count() <= 150);
}

/// The page that says of every failure what follows from it; the table in the code is its only source.
fn failures_page() -> String {
    let mut page = String::from(
        "# Failures\n\n\
         Whenever an outcome is not delivered, its line in the log has a `code` from this list. The list is closed: it is generated\n\
         from the table in `src/domain/failure.rs`, and a test holds the two together.\n\n\
         - **retry**: the delivery waits in the retry queue, 12 attempts over about 20 hours. **wait**: it waits as long as the\n  \
           endpoint or the operator asks. **dead letter**: a person must act, then redrive. **return**: the outcome stays with its\n  \
           source, which hands it over again.\n\
         - The level is the one while it is retried; every dead letter is an ERROR. ERROR means that a person must act.\n\
         - Words in *italics* stand for the facts of the case.\n",
    );
    // A place with a text that stands where there is no fact: the text says more than the place's name.
    let shown = |text: &str| {
        let mut parts = text.split('{');
        let mut shown = parts.next().unwrap().to_owned();
        for part in parts {
            let (place, rest) = part.split_once('}').unwrap();
            match place.split_once('|') {
                Some((_, text)) if !text.is_empty() => shown += text,
                Some((name, _)) => shown += &format!("*{name}*"),
                None => shown += &format!("*{place}*"),
            }
            shown += rest;
        }
        shown.replace('|', "\\|")
    };
    for (group, codes) in Code::GROUPS {
        page += &format!(
            "\n## {group}\n\n| code | next | level | who acts | cause | remedy |\n|---|---|---|---|---|---|\n"
        );
        for row in codes.iter().map(|code| code.row()) {
            let next = match row.next {
                Next::Retry => "retry",
                Next::Wait => "wait",
                Next::DeadLetter => "dead letter",
                Next::Return => "return",
            };
            let level = format!("{:?}", row.level).to_uppercase();
            let (cause, remedy) = (shown(row.cause), shown(row.remedy));
            page += &format!("| `{}` | {next} | {level} | {} | {cause} | {remedy} |\n", row.name, row.owner.name());
        }
    }
    page += "\n## Reasons of AWS\n\nWhat stands for *problems* and *fix* where AWS does not do what it is asked. The level is that of a delivery\n\
             that waits; a look-up or a write that fails is always an ERROR.\n\n\
             | reason | level | cause | remedy |\n|---|---|---|---|\n";
    for reason in AwsReason::ALL {
        page += &format!(
            "| {} | {} | {} | {} |\n",
            reason.name().replace('_', " "),
            format!("{:?}", reason.level()).to_uppercase(),
            shown(reason.cause()),
            shown(reason.remedy())
        );
    }
    page
}

#[test]
fn the_page_of_failures_is_the_table_in_the_code() {
    let page = failures_page();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/failures.md"), &page).unwrap();
    }
    assert!(
        read("docs/failures.md") == page,
        "docs/failures.md is old: run UPDATE_DOCS=1 cargo test --profile shaped --test repository"
    );
}

/// A patch that no longer applies tests nothing.
#[test]
fn every_seeded_bug_fits_the_source() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/seeded-bugs");
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let patch = std::fs::read_to_string(&path).unwrap();
        let mut hunks = 0;
        for part in patch.split("\n--- a/").skip(1) {
            let (name, part) = part.split_once('\n').unwrap();
            let source = read(name);
            for hunk in part.split("\n@@ ").skip(1) {
                let lines = hunk.lines().skip(1).take_while(|line| !line.starts_with("diff "));
                let old = lines.filter_map(|line| line.strip_prefix([' ', '-'])).collect::<Vec<_>>().join("\n");
                assert!(source.contains(&old), "{} does not fit {name}", path.display());
                hunks += 1;
            }
        }
        assert!(hunks > 0, "{} changes nothing", path.display());
    }
}

#[test]
fn workflows_pin_their_actions_by_commit() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(".github/workflows");
    let mut pinned = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        for action in text.lines().filter_map(|line| line.trim().trim_start_matches("- ").strip_prefix("uses: ")) {
            let (_, commit) = action.split_once('@').unwrap();
            let (commit, version) = commit.split_once(" # v").unwrap_or_else(|| panic!("{action} names no version"));
            assert!(commit.len() == 40 && commit.bytes().all(|b| b.is_ascii_hexdigit()), "{action}");
            assert!(version.split('.').all(|part| part.parse::<u32>().is_ok()), "{action}");
            pinned += 1;
        }
    }
    assert!(pinned > 0);
}

#[test]
fn every_python_package_is_pinned_by_hash() {
    let makefile = read("Makefile");
    let lists = makefile.split("\nREQUIREMENTS := ").nth(1).unwrap().lines().next().unwrap();
    for list in lists.split(' ') {
        let locked = read(&format!("{list}.txt"));
        let entries: Vec<_> = locked.replace("\\\n", "").lines().map(ToOwned::to_owned).collect();
        for entry in &entries {
            assert!(entry.contains("==") && entry.contains(" --hash=sha256:"), "{list}.txt: {entry}");
        }
        for wanted in read(&format!("{list}.in")).lines().filter(|line| !line.starts_with('#')) {
            let is_locked = entries.iter().any(|entry| entry.starts_with(&format!("{wanted} ")));
            assert!(is_locked, "{list}.txt lacks {wanted}: run `make requirements`");
        }
    }
}
