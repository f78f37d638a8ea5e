use super::*;
use std::collections::HashMap;

impl Environment for HashMap<&str, &str> {
    fn get(&self, name: &str) -> Option<String> {
        HashMap::get(self, name).map(ToString::to_string)
    }
}

fn paths(variables: &[(&str, &str)]) -> Vec<String> {
    let environment: HashMap<_, _> = variables.iter().copied().collect();
    let problems = Settings::parse(&environment).err().unwrap_or_default();
    problems.into_iter().map(|problem| problem.path).collect()
}

fn place(environment: &HashMap<&str, &str>) -> Option<Place> {
    Settings::parse(environment).ok().map(|settings| settings.place)
}

const URL: (&str, &str) = ("WEBHOOK_URL", "https://soc.example.com/hook?key=SECRET");

#[test]
fn one_webhook_needs_a_url_and_nothing_else() {
    assert_eq!(paths(&[URL]), [""; 0]);
    let environment: HashMap<_, _> = [URL, ("WEBHOOK_TIMEOUT", "300")].into();
    let Some(Place::Single(destination)) = place(&environment) else { panic!() };
    assert_eq!((destination.id.as_str(), destination.timeout.as_secs()), ("default", 300));
}

#[test]
fn nothing_set_is_an_error_that_says_what_to_set() {
    let problems = Settings::parse(&HashMap::new()).err().unwrap();
    assert!(problems[0].to_string().contains("neither it nor WEBHOOK_URL is set"), "{}", problems[0]);
}

#[test]
fn every_problem_is_reported_at_once_and_without_its_value() {
    let environment: HashMap<_, _> = [
        ("WEBHOOK_URL", "ftp://SECRET"),
        ("WEBHOOK_TIMEOUT", "SECRET"),
        ("ALLOW_PRIVATE_CIDRS", "10.0.0.0/8,SECRET"),
        ("LOCAL_RECEIVERS", "SECRET"),
        ("AWS_LAMBDA_LOG_FORMAT", "SECRET"),
        ("AWS_LAMBDA_LOG_LEVEL", "SECRET"),
    ]
    .into();
    let problems = Settings::parse(&environment).err().unwrap();
    assert_eq!(problems.len(), 6);
    assert!(problems.iter().all(|problem| !problem.to_string().contains("SECRET")), "{problems:?}");
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    assert_eq!(paths(&[URL, ("DESTINATIONS", "file:d.json")]), ["WEBHOOK_URL"]);
    assert_eq!(paths(&[("DESTINATIONS", "file:d.json"), ("WEBHOOK_TIMEOUT", "5")]), ["WEBHOOK_TIMEOUT"]);
}

#[test]
fn bad_values_are_errors_and_empty_ones_are_unset() {
    for timeout in ["0", "301", "-1", "1.5", "30s", " 30"] {
        assert_eq!(paths(&[URL, ("WEBHOOK_TIMEOUT", timeout)]), ["WEBHOOK_TIMEOUT"], "{timeout}");
    }
    for place in ["d.json", "file:", "s3:bucket", ":"] {
        assert_eq!(paths(&[("DESTINATIONS", place)]), ["DESTINATIONS"], "{place}");
    }
    assert_eq!(
        paths(&[
            URL,
            ("DESTINATIONS", ""),
            ("WEBHOOK_TIMEOUT", ""),
            ("ALLOW_PRIVATE_CIDRS", ""),
            ("LOCAL_RECEIVERS", "")
        ]),
        [""; 0]
    );
}

#[test]
fn local_receivers_refuse_to_start_in_a_real_lambda_only() {
    let local = ("LOCAL_RECEIVERS", "true");
    let task = ("LAMBDA_TASK_ROOT", "/var/task");
    assert_eq!(paths(&[URL, local]), [""; 0]);
    assert_eq!(paths(&[URL, local, task]), ["LOCAL_RECEIVERS"]);
    assert_eq!(paths(&[URL, local, task, ("AWS_SAM_LOCAL", "true")]), [""; 0]);
    assert_eq!(paths(&[URL, local, ("LAMBDA_TASK_ROOT", "/tmp/code")]), [""; 0]);
    assert_eq!(paths(&[URL, task]), [""; 0]);
}

#[test]
fn each_place_of_destinations_is_told_by_its_prefix() {
    for (text, place) in [
        ("file:/etc/d.json", "File"),
        ("secretsmanager:outcomes/destinations", "Secret"),
        ("secretsmanager:arn:aws:secretsmanager:eu-west-1:1:secret:d-AbCdEf", "Secret"),
        ("dynamodb:destinations", "Table"),
    ] {
        let environment: HashMap<_, _> = [("DESTINATIONS", text), ("AWS_REGION", "eu-west-1")].into();
        let name = match super::tests::place(&environment).unwrap() {
            Place::Single(_) => "Single",
            Place::File(_) => "File",
            Place::Secret(_) => "Secret",
            Place::Table(_) => "Table",
        };
        assert_eq!(name, place, "{text}");
    }
    for text in ["secretsmanager:", "dynamodb:", "dynamodb", "s3:bucket"] {
        assert_eq!(paths(&[("DESTINATIONS", text), ("AWS_REGION", "eu-west-1")]), ["DESTINATIONS"], "{text}");
    }
    for (name, value) in [
        ("REGISTRY_TTL_SECONDS", "-1"),
        ("REGISTRY_TTL_SECONDS", "3601"),
        ("UNROUTED", "drop"),
        ("MAX_ATTEMPTS", "0"),
        ("MAX_ATTEMPTS", "13"),
        ("EXTRA_CA_BUNDLE", "/nowhere"),
        ("EXTRA_CA_BUNDLE", "/dev/null"),
    ] {
        assert_eq!(paths(&[URL, (name, value)]), [name], "{value}");
    }
}

#[test]
fn queues_come_in_pairs() {
    let url = "https://sqs.eu-west-1.amazonaws.com/123456789012/q";
    let other = "https://sqs.eu-west-1.amazonaws.com/123456789012/d";
    let (retry, dead, region) =
        (("RETRY_QUEUE_URL", url), ("DEAD_LETTER_QUEUE_URL", other), ("AWS_REGION", "eu-west-1"));
    assert_eq!(paths(&[URL, retry, ("DEAD_LETTER_QUEUE_URL", url), region]), ["DEAD_LETTER_QUEUE_URL"], "the same");
    assert_eq!(paths(&[URL, retry, dead, region]), [""; 0]);
    assert_eq!(paths(&[URL, retry, region]), ["DEAD_LETTER_QUEUE_URL"]);
    assert_eq!(paths(&[URL, dead, region]), ["RETRY_QUEUE_URL"]);
    assert_eq!(paths(&[URL, retry, dead]), ["AWS_REGION"]);
    assert_eq!(paths(&[URL, retry, ("DEAD_LETTER_QUEUE_URL", "name"), region]), ["DEAD_LETTER_QUEUE_URL"]);
}
