//! What template.yaml promises and no linter knows: that it fits the settings, the log's lines and itself.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends at what it does not expect")]

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use detection_outcome_handler::domain::backoff;
use detection_outcome_handler::settings;
use serde_norway::Value;

/// Fields of a log line: what metric filters and queries may ask for.
const LINE_FIELDS: [&str; 34] = [
    "level",
    "message",
    "timestamp",
    "result",
    "code",
    "owner",
    "destination",
    "endpoint",
    "severity",
    "outcome",
    "detection_id",
    "detection_name",
    "run_id",
    "message_id",
    "attempt",
    "next_attempt_at",
    "gives_up_at",
    "status",
    "addresses",
    "dns_ms",
    "connect_ms",
    "first_byte_ms",
    "total_ms",
    "maybe_received",
    "waiting_seconds",
    "fallback",
    "warnings",
    "trace_id",
    "search_id",
    "request_id",
    "xray_trace_id",
    "version",
    // Logs Insights' own.
    "@timestamp",
    "@message",
];

/// Values of a line's `result`.
const RESULTS: [&str; 7] = ["delivered", "retrying", "dead_lettered", "filtered", "ignored", "returned", "rejected"];

/// Settings for local runs, which a deployed function must not have.
const LOCAL_SETTINGS: [&str; 3] = ["WEBHOOK_URL", "WEBHOOK_TIMEOUT", "LOCAL_RECEIVERS"];

const QUEUES: [&str; 3] = ["OutcomeQueue", "RetryQueue", "DeadLetterQueue"];

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path))
        .unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn template() -> Value {
    serde_norway::from_str(&read("template.yaml")).unwrap()
}

/// The value under the tag of one of CloudFormation's short forms.
fn untagged(value: &Value) -> &Value {
    if let Value::Tagged(tagged) = value { &tagged.value } else { value }
}

fn at<'a>(value: &'a Value, path: &[&str]) -> &'a Value {
    path.iter().fold(value, |value, key| {
        untagged(value).get(*key).unwrap_or_else(|| panic!("the template has no {}", path.join(".")))
    })
}

fn property<'a>(template: &'a Value, resource: &str, path: &[&str]) -> &'a Value {
    at(at(template, &["Resources", resource, "Properties"]), path)
}

/// Name and entry of each member of a section.
fn section<'a>(template: &'a Value, name: &str) -> impl Iterator<Item = (&'a str, &'a Value)> {
    at(template, &[name]).as_mapping().unwrap().iter().map(|(name, entry)| (name.as_str().unwrap(), entry))
}

/// Name and properties of each resource of a type.
fn resources<'a>(template: &'a Value, kind: &str) -> Vec<(&'a str, &'a Value)> {
    let found: Vec<_> = section(template, "Resources")
        .filter(|(_, resource)| resource["Type"] == kind)
        .map(|(name, resource)| (name, &resource["Properties"]))
        .collect();
    assert!(!found.is_empty(), "no {kind}");
    found
}

/// Whether a value is `!Tag text`, such as `!Ref LogGroup`.
fn is(value: &Value, tag: &str, text: &str) -> bool {
    matches!(value, Value::Tagged(tagged) if tagged.tag == tag && tagged.value == text)
}

/// Each mapping in a value, however deep and under whatever tags.
fn mappings<'a>(value: &'a Value, found: &mut Vec<&'a Value>) {
    match untagged(value) {
        Value::Mapping(mapping) => {
            found.push(untagged(value));
            mapping.values().for_each(|value| mappings(value, found));
        }
        Value::Sequence(sequence) => sequence.iter().for_each(|value| mappings(value, found)),
        _ => {}
    }
}

/// The statements of all policies in a resource.
fn statements<'a>(template: &'a Value, resource: &str) -> Vec<&'a Value> {
    let mut found = Vec::new();
    mappings(at(template, &["Resources", resource]), &mut found);
    found.retain(|mapping| mapping.get("Effect").is_some());
    assert!(!found.is_empty(), "{resource} has no statements");
    found
}

/// The strings in a value, however deep.
fn strings(value: &Value) -> Vec<&str> {
    match untagged(value) {
        Value::String(text) => vec![text],
        Value::Sequence(sequence) => sequence.iter().flat_map(strings).collect(),
        Value::Mapping(mapping) => mapping.values().flat_map(strings).collect(),
        _ => Vec::new(),
    }
}

fn dashboard(template: &Value) -> serde_json::Value {
    let body = untagged(property(template, "Dashboard", &["DashboardBody"]));
    serde_json::from_str(body.as_str().unwrap()).unwrap()
}

// Settings, version, descriptions.

#[test]
fn the_template_sets_every_setting_but_the_local_ones() {
    let template = template();
    let variables = property(&template, "Function", &["Environment", "Variables"]).as_mapping().unwrap();
    let set: BTreeSet<_> = variables.keys().map(|name| name.as_str().unwrap()).collect();
    // Lambda sets its own from the function's configuration.
    let is_ours = |name: &&str| !name.starts_with("AWS_") && !LOCAL_SETTINGS.contains(name);
    let names = settings::names();
    let known: BTreeSet<_> = names.iter().map(String::as_str).filter(is_ours).collect();
    assert_eq!(set, known);
}

#[test]
fn the_log_is_json_because_the_metric_filters_read_it() {
    let template = template();
    assert_eq!(*property(&template, "Function", &["LoggingConfig", "LogFormat"]), "JSON");
    assert!(is(property(&template, "Function", &["LoggingConfig", "LogGroup"]), "Ref", "LogGroup"));
    let name = property(&template, "LogGroup", &["LogGroupName"]);
    assert!(is(name, "Sub", "/aws/lambda/${FunctionName}"), "{name:?}");
}

#[test]
fn the_version_is_the_one_in_cargo_toml() {
    let template = template();
    let version = at(&template, &["Mappings", "Release", "This", "Version"]);
    assert_eq!(*version, env!("CARGO_PKG_VERSION"));
    for place in
        [property(&template, "Function", &["Tags", "version"]), at(&template, &["Outputs", "Version", "Value"])]
    {
        assert_eq!(strings(place), ["Release", "This", "Version"]);
    }
}

#[test]
fn every_parameter_and_output_is_described() {
    let template = template();
    for (name, entry) in section(&template, "Parameters").chain(section(&template, "Outputs")) {
        assert!(entry.get("Description").is_some_and(|text| text.as_str().unwrap().len() > 20), "{name}");
    }
}

#[test]
fn every_parameter_stands_in_one_group_and_is_used() {
    let template = template();
    let groups = at(&template, &["Metadata", "AWS::CloudFormation::Interface", "ParameterGroups"]);
    let mut shown: Vec<_> =
        groups.as_sequence().unwrap().iter().flat_map(|group| strings(&group["Parameters"])).collect();
    shown.sort_unstable();
    let mut parameters: Vec<_> = section(&template, "Parameters").map(|(name, _)| name).collect();
    parameters.sort_unstable();
    assert_eq!(shown, parameters);
    let text = read("template.yaml");
    for name in parameters {
        assert!(text.contains(&format!("!Ref {name}")) || text.contains(&format!("${{{name}}}")), "{name} is not used");
    }
}

#[test]
fn patterns_refuse_what_would_allow_too_much() {
    let template = template();
    let accepts = |parameter: &str, value: &str| {
        let pattern = at(&template, &["Parameters", parameter, "AllowedPattern"]).as_str().unwrap();
        fancy_regex::Regex::new(pattern).unwrap().is_match(value).unwrap()
    };
    let secret = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:";
    let topic = "arn:aws:sns:eu-west-1:123456789012:";
    let rule = "arn:aws:events:eu-west-1:123456789012:rule/";
    for (parameter, accepted, refused) in [
        ("ReferencedSecretArns", format!("{secret}soc-*,{secret}team/soar-??????"), vec![format!("{secret}*")]),
        ("DestinationsSecretArn", format!("{secret}destinations-AbCdEf"), vec![format!("{secret}destinations-*")]),
        ("ProducerTopicArns", format!("{topic}a,{topic}b"), vec![format!("{topic}*"), format!("{topic}a.fifo")]),
        ("ProducerRuleArns", format!("{rule}bus/a"), vec![format!("{rule}*"), "arn:aws:events:*".to_owned()]),
        (
            "ProducerPrincipals",
            "123456789012,arn:aws:iam::123456789012:role/team/sender".to_owned(),
            vec!["arn:aws:iam::123456789012:role/*".to_owned(), "1234".to_owned()],
        ),
        ("ProducerOrganizationId", "o-a1b2c3d4e5".to_owned(), vec!["o-*".to_owned()]),
        ("KmsKeyArn", "arn:aws:kms:eu-west-1:123456789012:key/mrk-1a".to_owned(), vec!["alias/aws/sns".to_owned()]),
        ("SecretsKeyArns", "arn:aws:kms:eu-west-1:123456789012:key/1-a".to_owned(), vec![]),
        ("HeartbeatMinutes", "5".to_owned(), vec!["4".to_owned(), "05".to_owned(), "-5".to_owned()]),
        (
            "SubnetIds",
            "subnet-0a,subnet-1b".to_owned(),
            vec!["subnet-0a,".to_owned(), "subnet-0a subnet-1b".to_owned()],
        ),
    ] {
        assert!(accepts(parameter, &accepted), "{parameter}: {accepted}");
        for value in refused.iter().map(String::as_str).chain(["*", " ", ","]) {
            assert!(!accepts(parameter, value), "{parameter}: {value}");
        }
    }
}

#[test]
fn the_sample_configuration_gives_parameters_that_exist() {
    let template = template();
    let sample: toml::Table = read("samconfig.toml.example").parse().unwrap();
    let mut given = 0;
    for environment in ["default", "second"] {
        for parameter in sample[environment]["deploy"]["parameters"]["parameter_overrides"].as_array().unwrap() {
            let (name, value) = parameter.as_str().unwrap().split_once('=').unwrap();
            let parameter = at(&template, &["Parameters", name]);
            if let Some(pattern) = parameter.get("AllowedPattern") {
                let pattern = fancy_regex::Regex::new(pattern.as_str().unwrap()).unwrap();
                assert!(pattern.is_match(value).unwrap(), "{name}={value}");
            }
            if let Some(allowed) = parameter.get("AllowedValues") {
                assert!(strings(allowed).contains(&value), "{name}={value}");
            }
            given += 1;
        }
    }
    assert!(given > 5);
}

// Timeouts, queues, mappings.

#[test]
fn timeouts_follow_the_longest_timeout() {
    let template = template();
    let choices = strings(at(&template, &["Parameters", "LongestTimeout", "AllowedValues"]));
    assert_eq!(choices, ["30", "60", "120", "300"]);
    for choice in &choices {
        let row = at(&template, &["Mappings", "ByLongestTimeout", choice]);
        let function = row["Function"].as_u64().unwrap();
        assert_eq!(function, choice.parse::<u64>().unwrap() + 30);
        assert_eq!(row["Visibility"].as_u64(), Some(6 * function));
    }
    let looked_up = |resource, name, column| {
        let value = property(&template, resource, &[name]);
        assert_eq!(strings(value), ["ByLongestTimeout", "LongestTimeout", column], "{resource}");
    };
    looked_up("Function", "Timeout", "Function");
    looked_up("OutcomeQueue", "VisibilityTimeout", "Visibility");
    looked_up("RetryQueue", "VisibilityTimeout", "Visibility");
    // What cargo-lambda deploys without the template.
    let package: toml::Table = read("Cargo.toml").parse().unwrap();
    assert_eq!(package["package"]["metadata"]["lambda"]["deploy"]["timeout"].as_integer(), Some(330));
}

#[test]
fn sqs_dead_letters_only_what_the_function_cannot() {
    const SIX_DAYS: u64 = 6 * 24 * 3600;
    let template = template();
    let longest = at(&template, &["Mappings", "ByLongestTimeout", "300", "Visibility"]).as_u64().unwrap();
    // Receives of a message that the function gives back each time, until it dead-letters it by its age.
    let (mut age, mut returned) = (0, 0);
    while age < SIX_DAYS {
        returned += 1;
        age += backoff::after_our_fault(returned).as_secs();
    }
    // Of one that its endpoint asks to wait: every 15 minutes for 20 hours, then hourly, and its first attempts.
    let waiting = 20 * 4 + (SIX_DAYS / 3600 - 20) + 12;
    for (queue, receives) in [("OutcomeQueue", u64::from(returned)), ("RetryQueue", waiting)] {
        let count = property(&template, queue, &["RedrivePolicy", "maxReceiveCount"]).as_u64().unwrap();
        let retention = property(&template, queue, &["MessageRetentionPeriod"]).as_u64().unwrap();
        assert!(receives < count, "{queue}: {receives} receives of our own, {count} allowed");
        assert!(count * longest < retention, "{queue}: a record that kills the process expires first");
    }
}

#[test]
fn a_failed_message_is_reported_alone_and_none_is_filtered() {
    let template = template();
    let events = property(&template, "Function", &["Events"]).as_mapping().unwrap();
    assert_eq!(events.len(), 2);
    for (name, event) in events {
        assert_eq!(
            strings(at(event, &["Properties", "FunctionResponseTypes"])),
            ["ReportBatchItemFailures"],
            "{name:?}"
        );
        // A filter deletes what it does not match.
        assert!(event["Properties"].get("FilterCriteria").is_none(), "{name:?}");
    }
}

#[test]
fn outcomes_outlive_the_stack() {
    let template = template();
    for name in QUEUES.into_iter().chain(["DestinationsTable"]) {
        let resource = at(&template, &["Resources", name]);
        assert_eq!(resource["DeletionPolicy"], "RetainExceptOnCreate", "{name}");
        assert_eq!(resource["UpdateReplacePolicy"], "Retain", "{name}");
    }
    for queue in QUEUES {
        let properties = &template["Resources"][queue]["Properties"];
        assert!(properties.get("QueueName").is_none(), "a fixed name breaks a second stack and every replacement");
    }
}

#[test]
fn each_queue_has_one_encryption_and_takes_tls_alone() {
    let template = template();
    for queue in QUEUES {
        let names = |value: &Value| strings(value).join(" ");
        assert_eq!(names(property(&template, queue, &["KmsMasterKeyId"])), "HasKey KmsKeyArn AWS::NoValue");
        let managed = property(&template, queue, &["SqsManagedSseEnabled"]);
        assert_eq!(untagged(managed)[2], true);
        assert_eq!(names(managed), "HasKey AWS::NoValue");
        let policies: Vec<_> = resources(&template, "AWS::SQS::QueuePolicy")
            .into_iter()
            .filter(|(_, properties)| is(&properties["Queues"][0], "Ref", queue))
            .collect();
        let [(policy, _)] = policies[..] else { panic!("{queue} has {} policies", policies.len()) };
        let all = statements(&template, policy);
        let denial = all.iter().find(|statement| statement["Effect"] == "Deny").unwrap();
        assert_eq!(denial["Condition"]["Bool"]["aws:SecureTransport"], "false");
        assert_eq!((&denial["Principal"], &denial["Action"]), (&Value::from("*"), &Value::from("sqs:*")));
        for statement in all {
            assert!(is(&statement["Resource"], "GetAtt", &format!("{queue}.Arn")), "{policy}");
            let is_allowed = statement["Effect"] == "Allow";
            assert!(!is_allowed || statement.get("Condition").is_some(), "{policy} lets anyone in");
        }
    }
}

#[test]
fn a_heartbeat_is_an_outcome_that_differs_each_time() {
    let template = template();
    // CloudFormation's YAML 1.1 reads it as false without the quotes; the parser here would not.
    assert!(read("template.yaml").contains("FlexibleTimeWindow: { Mode: \"OFF\" }"));
    let input = property(&template, "Heartbeat", &["Target", "Input"]).as_str().unwrap();
    let outcome: serde_json::Value = serde_json::from_str(input).unwrap();
    assert_eq!((&outcome["detection_id"], &outcome["outcome"]), (&"heartbeat".into(), &"NOT_MATCHED".into()));
    assert_eq!(outcome["run_id"], "<aws.scheduler.execution-id>");
}

// Roles.

#[test]
fn the_roles_allow_no_wildcard_but_what_lambda_needs_in_a_vpc() {
    let template = template();
    let actions = |statement: &Value| strings(&statement["Action"]).join(" ");
    for role in ["Role", "HeartbeatRole"] {
        for statement in statements(&template, role).into_iter().filter(|statement| statement["Effect"] == "Allow") {
            assert!(!actions(statement).contains('*'), "{role}: {statement:?}");
            if let Some(resource) = statement.get("Resource") {
                let is_for_lambda = statement.get("Sid").is_some_and(|sid| sid == "ForLambda");
                assert_eq!(strings(resource).iter().any(|text| text.contains('*')), is_for_lambda, "{statement:?}");
            }
        }
        let boundary = property(&template, role, &["PermissionsBoundary"]);
        assert_eq!(strings(boundary), ["HasBoundary", "PermissionsBoundaryArn", "AWS::NoValue"]);
    }
    let all = statements(&template, "Role");
    let named = |sid: &str| *all.iter().find(|statement| statement.get("Sid").is_some_and(|name| name == sid)).unwrap();
    let (allowed, denied) = (named("ForLambda"), named("NotForTheCode"));
    assert_eq!((&denied["Effect"], actions(denied)), (&Value::from("Deny"), actions(allowed)));
    let source = &denied["Condition"]["ArnEquals"]["lambda:SourceFunctionArn"];
    assert!(strings(source)[0].ends_with(":function:${FunctionName}"), "{source:?}");
}

#[test]
fn the_function_may_do_what_each_queue_asks_for() {
    let template = template();
    let all = statements(&template, "Role");
    let may = |action: &str, queue: &str| {
        let arn = format!("{queue}.Arn");
        let resources = |statement: &&&Value| strings(&statement["Resource"]).contains(&arn.as_str());
        all.iter().filter(resources).any(|statement| strings(&statement["Action"]).contains(&action))
    };
    for action in ["ReceiveMessage", "DeleteMessage", "ChangeMessageVisibility", "GetQueueAttributes"] {
        for queue in QUEUES {
            assert!(may(&format!("sqs:{action}"), queue), "{action} {queue}");
        }
    }
    assert!(may("sqs:SendMessage", "RetryQueue") && may("sqs:SendMessage", "DeadLetterQueue"));
    assert!(!may("sqs:SendMessage", "OutcomeQueue"), "nothing is sent to the queue that it came from");
}

// Metrics, alarms, queries, dashboard.

/// Metric name → its dimensions, from the metric filters.
fn metrics(template: &Value) -> HashMap<&str, Vec<&str>> {
    let filters = resources(template, "AWS::Logs::MetricFilter");
    let count = filters.len();
    let metrics: HashMap<_, _> = filters
        .into_iter()
        .map(|(name, filter)| {
            let [transformation] = &filter["MetricTransformations"].as_sequence().unwrap()[..] else {
                panic!("{name}")
            };
            let namespace = &transformation["MetricNamespace"];
            assert!(is(namespace, "Sub", "DetectionOutcomeHandler/${FunctionName}"), "{name}: {namespace:?}");
            let dimensions = transformation.get("Dimensions").and_then(Value::as_sequence);
            let dimensions = dimensions.into_iter().flatten().map(|dimension| dimension["Key"].as_str().unwrap());
            (transformation["MetricName"].as_str().unwrap(), dimensions.collect())
        })
        .collect();
    assert_eq!(metrics.len(), count, "two filters make one metric");
    metrics
}

#[test]
fn metric_filters_ask_for_fields_and_results_of_lines() {
    for (name, filter) in resources(&template(), "AWS::Logs::MetricFilter") {
        assert!(is(&filter["LogGroupName"], "Ref", "LogGroup"), "{name}");
        let pattern = filter["FilterPattern"].as_str().unwrap();
        assert!(pattern.starts_with("{ ") && pattern.ends_with(" }"), "{pattern}");
        let word = |text: &str| text.split(|c: char| c != '_' && !c.is_ascii_alphanumeric()).next().unwrap().to_owned();
        let asked: Vec<_> = pattern.split("$.").skip(1).map(word).collect();
        assert!(asked.iter().all(|field| LINE_FIELDS.contains(&field.as_str())), "{pattern}");
        for condition in pattern.split("$.result = \"").skip(1) {
            assert!(RESULTS.contains(&word(condition).as_str()), "{pattern}");
        }
        // A line without the field of a value or dimension must not match.
        let transformation = &filter["MetricTransformations"][0];
        let dimensions = transformation.get("Dimensions").and_then(Value::as_sequence);
        for (dimension, field) in
            dimensions.into_iter().flatten().map(|d| (d["Key"].as_str(), d["Value"].as_str().unwrap())).chain(
                [(None, transformation["MetricValue"].as_str().unwrap())]
                    .into_iter()
                    .filter(|(_, value)| *value != "1"),
            )
        {
            let field = field.strip_prefix("$.").unwrap();
            assert!(asked.iter().any(|asked| asked == field), "{name} takes {field} unasked");
            assert!(dimension.is_none_or(|key| key == field), "{name}");
        }
        // AWS: three dimensions at most, and no default value beside one.
        let dimensions = dimensions.map_or(0, Vec::len);
        assert!(dimensions <= 3 && transformation.get("DefaultValue").is_none(), "{name}");
    }
}

#[test]
fn a_filter_that_may_be_switched_off_silences_no_alarm() {
    let template = template();
    let metrics = metrics(&template);
    for (name, alarm) in resources(&template, "AWS::CloudWatch::Alarm") {
        if alarm.get("Namespace").is_some_and(|namespace| strings(namespace)[0].starts_with("DetectionOutcomeHandler"))
        {
            assert!(is(&alarm["Namespace"], "Sub", "DetectionOutcomeHandler/${FunctionName}"), "{name}");
            let metric = alarm["MetricName"].as_str().unwrap();
            assert_eq!(metrics.get(metric), Some(&vec![]), "{name} looks at {metric}");
            assert!(alarm.get("Dimensions").is_none(), "{name}");
        }
    }
}

#[test]
fn every_alarm_tells_of_its_beginning_and_its_end() {
    let template = template();
    let board = dashboard(&template);
    let shown: Vec<_> = board["widgets"][0]["properties"]["alarms"].as_array().unwrap().iter().collect();
    let alarms = resources(&template, "AWS::CloudWatch::Alarm");
    assert_eq!(shown.len(), alarms.len());
    for (name, alarm) in alarms {
        let told = ["HasAlarmEmail AlarmTopic AWS::NoValue", "HasAlarmTopic AlarmTopicArn AWS::NoValue"];
        for actions in ["AlarmActions", "OKActions"] {
            let actions = alarm[actions].as_sequence().unwrap();
            assert_eq!(actions.iter().map(|action| strings(action).join(" ")).collect::<Vec<_>>(), told, "{name}");
        }
        assert_eq!(alarm["TreatMissingData"], "notBreaching", "{name}");
        assert!(shown.iter().any(|arn| **arn == format!("${{{name}.Arn}}")), "{name} is not on the dashboard");
    }
}

#[test]
fn what_an_alarm_advises_exists() {
    let template = template();
    let queries: Vec<_> = resources(&template, "AWS::Logs::QueryDefinition")
        .iter()
        .map(|(_, query)| strings(&query["Name"])[0].split_once('/').unwrap().1)
        .collect();
    for (name, alarm) in resources(&template, "AWS::CloudWatch::Alarm") {
        let advice = alarm["AlarmDescription"].as_str().unwrap();
        let after = |mark: &'static str| advice.split(mark).skip(1);
        for query in after("saved query \"") {
            assert!(queries.contains(&query.split('"').next().unwrap()), "{name}");
        }
        for output in after("(output ") {
            at(&template, &["Outputs", output.split(')').next().unwrap(), "Value"]);
        }
        // An event begins a sentence's part, what it holds follows a colon.
        let pieces: Vec<_> = advice.split("{\"").collect();
        for event in pieces.windows(2).filter(|pair| !pair[0].ends_with(": ")).map(|pair| pair[1]) {
            let event = event.split('"').next().unwrap();
            assert!(["check", "probe", "dead_letters", "redrive"].contains(&event), "{name}: {event}");
        }
        let parameter = section(&template, "Parameters").any(|(parameter, _)| advice.contains(parameter));
        assert!(parameter || advice.contains("{\"") || advice.contains("saved query"), "{name} advises nothing");
    }
}

#[test]
fn returned_outcomes_ring_within_the_hour_they_come_back_in() {
    let template = template();
    let alarm = |name| property(&template, "OutcomesReturnedAlarm", &[name]).as_u64().unwrap();
    let longest = backoff::after_our_fault(u32::MAX).as_secs();
    assert!(alarm("Period") > longest, "a period without a receive would look like a recovery");
    assert_eq!((alarm("Threshold"), alarm("EvaluationPeriods")), (600, 1));
}

#[test]
fn the_dashboard_shows_every_metric_of_the_log() {
    let template = template();
    let metrics = metrics(&template);
    let mut shown = BTreeSet::new();
    let namespace = "DetectionOutcomeHandler/${FunctionName}";
    let board = dashboard(&template);
    for widget in board["widgets"].as_array().unwrap() {
        for line in widget["properties"]["metrics"].as_array().into_iter().flatten() {
            if let Some(search) = line[0]["expression"].as_str() {
                let (_, schema) = search.split_once(&format!("{{\"{namespace}\",")).expect(search);
                let (dimensions, rest) = schema.split_once("} MetricName=\"").unwrap();
                let metric = rest.split('"').next().unwrap();
                assert_eq!(metrics[metric], dimensions.split(',').collect::<Vec<_>>(), "{search}");
                shown.insert(metric.to_owned());
            } else if line[0] == namespace {
                let metric = line[1].as_str().unwrap();
                assert!(metrics[metric].is_empty(), "{metric} has dimensions");
                shown.insert(metric.to_owned());
            }
        }
    }
    assert_eq!(shown, metrics.into_keys().map(ToOwned::to_owned).collect());
    // Names of dashboards are global.
    let name = property(&template, "Dashboard", &["DashboardName"]);
    assert!(is(name, "Sub", "${FunctionName}-${AWS::Region}"), "{name:?}");
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
    // Every second piece is a quoted value.
    let bare: String = query.split(['"', '\'']).step_by(2).collect::<Vec<_>>().join(" ");
    let words: Vec<_> = bare
        .split(|c: char| !(c.is_ascii_alphanumeric() || "_@".contains(c)))
        .filter(|word| !word.is_empty())
        .collect();
    let aliases: Vec<_> = words.windows(2).filter(|pair| pair[0] == "as").map(|pair| pair[1]).collect();
    let is_field =
        |word: &&str| !LANGUAGE.contains(word) && !aliases.contains(word) && !word.bytes().all(|b| b.is_ascii_digit());
    words.into_iter().filter(is_field).map(ToOwned::to_owned).collect()
}

#[test]
fn queries_ask_for_fields_and_results_of_lines() {
    let template = template();
    let board = dashboard(&template);
    let widgets = board["widgets"].as_array().unwrap().iter();
    let mut queries: Vec<_> = widgets
        .filter_map(|widget| widget["properties"]["query"].as_str()?.strip_prefix("SOURCE '${LogGroup}' | "))
        .collect();
    for (name, query) in resources(&template, "AWS::Logs::QueryDefinition") {
        assert!(is(&query["LogGroupNames"][0], "Ref", "LogGroup"), "{name}");
        queries.push(query["QueryString"].as_str().unwrap());
    }
    assert_eq!(queries.len(), 4);
    for query in queries {
        let fields = fields_of(query);
        assert!(fields.len() >= 3, "{query}");
        assert!(fields.iter().all(|field| LINE_FIELDS.contains(&field.as_str())), "{fields:?}");
        if let Some((_, list)) = query.split_once("result in [") {
            let asked: Vec<_> =
                list.split(']').next().unwrap().split(", ").map(|text| text.trim_matches(['"', '\''])).collect();
            assert_eq!(asked, ["retrying", "dead_lettered", "returned", "rejected"]);
        }
    }
}

// Outputs and the local template.

#[test]
fn commands_invoke_the_function_and_move_no_messages() {
    let template = template();
    let mut events = BTreeSet::new();
    for (name, output) in section(&template, "Outputs") {
        let value = strings(&output["Value"]).join(" ");
        assert!(!value.contains("message-move-task"), "{name}: a move keeps attributes that are then obeyed");
        let Some((_, payload)) = value.split_once("--payload '") else { continue };
        let event: serde_json::Value = serde_json::from_str(payload.split('\'').next().unwrap()).unwrap();
        events.extend(event.as_object().unwrap().keys().cloned());
        // The CLI gives up after a minute and invokes again.
        assert!(value.contains("--cli-read-timeout 0"), "{name}");
    }
    assert_eq!(events.into_iter().collect::<Vec<_>>(), ["check", "dead_letters", "probe", "redrive"]);
}

#[test]
fn the_local_template_names_what_the_local_run_sets() {
    let environment: serde_json::Value = serde_json::from_str(&read("events/local-env.json")).unwrap();
    let template: Value = serde_norway::from_str(&read("demo/sam-local.yaml")).unwrap();
    for (function, variables) in environment.as_object().unwrap() {
        let named = property(&template, function, &["Environment", "Variables"]);
        let variables: HashMap<String, String> = serde_json::from_value(variables.clone()).unwrap();
        for name in variables.keys() {
            assert!(named.get(name.as_str()).is_some(), "SAM hands over no {name}, which the template does not name");
        }
        // As in SAM's container.
        let local = [("LAMBDA_TASK_ROOT", "/var/task"), ("AWS_SAM_LOCAL", "true"), ("AWS_REGION", "us-east-1")];
        let local = local.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let all: HashMap<_, _> = variables.into_iter().chain(local).collect();
        assert!(settings::Settings::parse(&|name| all.get(name).cloned()).is_ok());
    }
}
