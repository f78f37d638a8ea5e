use super::*;
use std::collections::HashMap;

fn parse(variables: &[(&str, &str)]) -> Result<Settings, Vec<Problem>> {
    let variables: HashMap<_, _> = variables.iter().copied().collect();
    Settings::parse(&|name| variables.get(name).map(ToString::to_string))
}

/// The variables that are wrong.
fn wrong(variables: &[(&str, &str)]) -> Vec<String> {
    parse(variables).err().unwrap_or_default().into_iter().map(|problem| problem.path).collect()
}

const URL: (&str, &str) = ("WEBHOOK_URL", "https://soc.example.com/hook?key=SECRET");
const REGION: (&str, &str) = ("AWS_REGION", "eu-west-1");

#[test]
fn one_webhook_needs_a_url_and_nothing_else() {
    let settings = parse(&[URL]).ok().unwrap();
    assert_eq!((settings.registry_ttl.as_secs(), settings.max_attempts), (30, 12));
    assert!(settings.queues.is_none() && settings.unrouted == Unrouted::DeadLetter);
    let aws = &settings.aws;
    assert_eq!((aws.use_fips(), aws.use_dual_stack(), aws.endpoint_url()), (Some(false), Some(false), None));
    for (timeout, seconds) in [("300", 300), ("", 30)] {
        let Ok(Settings { place: Place::Single(destination), .. }) = parse(&[URL, ("WEBHOOK_TIMEOUT", timeout)]) else {
            panic!("{timeout}")
        };
        assert_eq!((destination.id.as_str(), destination.timeout.as_secs()), ("default", seconds));
    }
}

#[test]
fn nothing_set_is_an_error_that_says_what_to_set() {
    let problems = parse(&[]).err().unwrap();
    assert!(problems[0].to_string().contains("neither it nor WEBHOOK_URL is set"), "{}", problems[0]);
}

#[test]
fn every_wrong_variable_is_named_at_once_without_its_value() {
    let mut names = names();
    names.remove("DESTINATIONS");
    let all: Vec<_> = names.iter().map(|name| (name.as_str(), "ftp://SECRET")).collect();
    let problems = parse(&all).err().unwrap();
    let paths: Vec<_> = problems.iter().map(|problem| problem.path.split('[').next().unwrap()).collect();
    for name in &names {
        assert_eq!(paths.iter().filter(|path| *path == name).count(), 1, "{name}");
    }
    assert!(problems.iter().all(|problem| !problem.to_string().contains("SECRET")), "{problems:?}");
}

#[test]
fn an_empty_value_is_unset() {
    let names = names();
    let all: Vec<_> = names.iter().map(|name| (name.as_str(), if name == URL.0 { URL.1 } else { "" })).collect();
    assert_eq!(wrong(&all), [""; 0]);
}

#[test]
fn a_value_out_of_range_is_an_error() {
    for (name, values) in [
        ("WEBHOOK_TIMEOUT", &["0", "301", "-1", "1.5", "30s", " 30"][..]),
        ("REGISTRY_TTL_SECONDS", &["-1", "3601", "1.5"]),
        ("MAX_ATTEMPTS", &["0", "13"]),
        ("UNROUTED", &["drop"]),
        ("ALLOW_PLAIN_HTTP", &["yes", "1"]),
        ("LOCAL_RECEIVERS", &["yes"]),
        ("EXTRA_CA_BUNDLE", &["/nowhere", "/dev/null"]),
        ("AWS_CA_BUNDLE", &["/nowhere", "/dev/null"]),
        ("AWS_USE_FIPS_ENDPOINT", &["yes"]),
        ("AWS_USE_DUALSTACK_ENDPOINT", &["on"]),
        ("AWS_ENDPOINT_URL", &["localhost:4566", "ftp://localhost", "http://"]),
        ("AWS_LAMBDA_LOG_FORMAT", &["XML"]),
        ("AWS_LAMBDA_LOG_LEVEL", &["LOUD"]),
    ] {
        for value in values {
            assert_eq!(wrong(&[URL, (name, value)]), [name], "{value}");
        }
    }
}

#[test]
fn words_are_read_in_any_case() {
    for name in ["ALLOW_PLAIN_HTTP", "LOCAL_RECEIVERS", "AWS_USE_FIPS_ENDPOINT", "AWS_USE_DUALSTACK_ENDPOINT"] {
        for value in ["true", "True", "false", "FALSE"] {
            assert_eq!(wrong(&[URL, (name, value)]), [""; 0], "{name} {value}");
        }
    }
    let log = |format, level| {
        let variables = HashMap::from([("AWS_LAMBDA_LOG_FORMAT", format), ("AWS_LAMBDA_LOG_LEVEL", level)]);
        log_settings(&|name| variables.get(name).map(ToString::to_string))
    };
    for (format, level) in [("Text", "DEBUG"), ("text", "debug")] {
        assert_eq!((log(format, level).format, log(format, level).level), (Format::Text, LevelFilter::DEBUG));
    }
    assert_eq!((log("XML", "FATAL").format, log("XML", "FATAL").level), (Format::Json, LevelFilter::ERROR));
}

#[test]
fn settings_that_contradict_each_other_are_an_error() {
    let endpoint = ("AWS_ENDPOINT_URL", "http://127.0.0.1:4566");
    let (fips, dual_stack) = (("AWS_USE_FIPS_ENDPOINT", "true"), ("AWS_USE_DUALSTACK_ENDPOINT", "true"));
    for (variables, names) in [
        (&[URL, ("DESTINATIONS", "file:d.json")][..], &["WEBHOOK_URL"][..]),
        (&[("DESTINATIONS", "file:d.json"), ("WEBHOOK_TIMEOUT", "5")], &["WEBHOOK_TIMEOUT"]),
        (&[URL, endpoint, fips, dual_stack], &[fips.0, dual_stack.0]),
        (&[URL, endpoint, ("AWS_USE_FIPS_ENDPOINT", "false")], &[]),
        (&[URL, fips, dual_stack], &[]),
    ] {
        assert_eq!(wrong(variables), names);
    }
}

#[test]
fn local_receivers_refuse_to_start_in_a_real_lambda_only() {
    let local = ("LOCAL_RECEIVERS", "true");
    let task = ("LAMBDA_TASK_ROOT", "/var/task");
    assert_eq!(wrong(&[URL, local]), [""; 0]);
    assert_eq!(wrong(&[URL, local, task]), ["LOCAL_RECEIVERS"]);
    assert_eq!(wrong(&[URL, local, task, ("AWS_SAM_LOCAL", "true")]), [""; 0]);
    assert_eq!(wrong(&[URL, local, ("LAMBDA_TASK_ROOT", "/tmp/code")]), [""; 0]);
    assert_eq!(wrong(&[URL, task]), [""; 0]);
}

#[test]
fn each_place_of_destinations_is_told_by_its_prefix() {
    for (text, place) in [
        ("file:/etc/d.json", "File"),
        ("secretsmanager:outcomes/destinations", "Secret"),
        ("secretsmanager:arn:aws:secretsmanager:eu-west-1:1:secret:d-AbCdEf", "Secret"),
        ("dynamodb:destinations", "Table"),
    ] {
        let name = match parse(&[("DESTINATIONS", text), REGION]).ok().unwrap().place {
            Place::Single(_) => "Single",
            Place::File(_) => "File",
            Place::Secret(_) => "Secret",
            Place::Table(_) => "Table",
        };
        assert_eq!(name, place, "{text}");
    }
    for text in ["d.json", "file:", ":", "secretsmanager:", "dynamodb:", "dynamodb", "s3:bucket"] {
        assert_eq!(wrong(&[("DESTINATIONS", text), REGION]), ["DESTINATIONS"], "{text}");
    }
}

#[test]
fn what_is_kept_in_aws_needs_a_region() {
    for place in ["secretsmanager:d", "dynamodb:d"] {
        assert_eq!(wrong(&[("DESTINATIONS", place)]), ["AWS_REGION"], "{place}");
        assert_eq!(wrong(&[("DESTINATIONS", place), ("AWS_DEFAULT_REGION", "eu-west-1")]), [""; 0], "{place}");
    }
}

#[test]
fn queues_come_in_pairs() {
    let url = "https://sqs.eu-west-1.amazonaws.com/123456789012/q";
    let other = "https://sqs.eu-west-1.amazonaws.com/123456789012/d";
    let (retry, dead) = (("RETRY_QUEUE_URL", url), ("DEAD_LETTER_QUEUE_URL", other));
    for (variables, names) in [
        (&[URL, retry, ("DEAD_LETTER_QUEUE_URL", url), REGION][..], &["DEAD_LETTER_QUEUE_URL"][..]),
        (&[URL, retry, dead, REGION], &[]),
        (&[URL, retry, REGION], &["DEAD_LETTER_QUEUE_URL"]),
        (&[URL, dead, REGION], &["RETRY_QUEUE_URL"]),
        (&[URL, retry, dead], &["AWS_REGION"]),
        (&[URL, retry, ("DEAD_LETTER_QUEUE_URL", "name"), REGION], &["DEAD_LETTER_QUEUE_URL"]),
        (&[URL, retry, ("DEAD_LETTER_QUEUE_URL", "https://sqs/name"), REGION], &["DEAD_LETTER_QUEUE_URL"]),
        (&[URL, ("RETRY_QUEUE_URL", "https://sqs/123456789012/q.fifo"), dead, REGION], &["RETRY_QUEUE_URL"]),
    ] {
        assert_eq!(wrong(variables), names, "{variables:?}");
    }
}
