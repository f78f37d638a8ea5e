//! What an administrator does with dead letters: `{"dead_letters": {…}}` and `{"redrive": {…}}`.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::support::aws::Aws;
use super::support::bench::LONG;
use super::support::receiver::read_request;
use super::support::runtime::{OwnRuntime, http_post_with, vars};
use super::support::samples::sample;

const LETTERS: [(&str, Option<&str>, &str); 5] = [
    ("{\"n\":1}", Some("soc"), "tls_expired"),
    ("{\"n\":2}", Some("soc"), "gone"),
    ("{\"n\": 3 }", Some("soc"), "tls_expired"),
    ("{\"n\":4}", Some("soar"), "tls_expired"),
    ("{\"n\":5}", None, "unrouted"),
];

/// A function with its queues, and what it asks of SQS.
struct Bench {
    aws: Aws,
    retry: String,
    dead_letter: String,
    runtime: OwnRuntime,
    calls: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Bench {
    async fn start(letters: &[(&str, Option<&str>, &str)]) -> Self {
        Self::start_with(letters, |_, _| None).await
    }

    /// `instead` answers a call, known by its name and its request, in moto's place.
    async fn start_with(
        letters: &[(&str, Option<&str>, &str)],
        instead: impl Fn(&str, &Value) -> Option<(u16, Value)> + Send + Sync + 'static,
    ) -> Self {
        let aws = Aws::start().await;
        let (retry, dead_letter) = (aws.create_queue("retries").await, aws.create_queue("dead-letters").await);
        let calls = Arc::default();
        let port = relay(&aws, Arc::clone(&calls), Arc::new(instead)).await;
        let mut all = aws.variables_at(port, "file:/no/such/file.json");
        all.extend(vars(&[("RETRY_QUEUE_URL", &retry), ("DEAD_LETTER_QUEUE_URL", &dead_letter)]));
        let bench = Self { aws, retry, dead_letter, runtime: OwnRuntime::start(all).await, calls };
        for (body, destination, code) in letters {
            bench.send(body, *destination, code).await;
        }
        bench
    }

    async fn send(&self, body: &str, destination: Option<&str>, code: &str) {
        let text = |value: &str| json!({ "DataType": "String", "StringValue": value });
        let mut attributes = json!({
            "outcome-code": text(code), "outcome-attempt": text("12"), "outcome-renewed": text("1"),
            "outcome-not-before": text("4000000000"), "tenant": text("x"),
        });
        if let Some(destination) = destination {
            attributes["outcome-destination"] = text(destination);
        }
        self.aws.send(&self.dead_letter, body, attributes).await;
    }

    async fn ask(&self, request: Value) -> Value {
        let told = self.runtime.invoke(&request.to_string(), LONG).await;
        assert_eq!(told.kind, "response", "{told:?}");
        told.body
    }

    /// Body, destination and group of what is in the retry queue. Other attributes would fail this.
    async fn retried(&self) -> Vec<(String, Option<String>)> {
        let mut seen: Vec<_> = self.aws.receive(&self.retry).await.iter().map(retried).collect();
        seen.sort();
        seen
    }

    /// Visible and hidden dead letters.
    async fn left(&self) -> (u32, u32) {
        let [visible, _, hidden] = self.aws.counts(&self.dead_letter).await;
        (visible, hidden)
    }

    fn called(&self, name: &str) -> Vec<Value> {
        let calls = self.calls.lock().unwrap();
        calls.iter().filter(|(called, _)| called == name).map(|(_, request)| request.clone()).collect()
    }
}

fn retried(record: &Value) -> (String, Option<String>) {
    let attributes = record["messageAttributes"].as_object().unwrap();
    let destination = attributes.get("outcome-destination").map(|value| value["stringValue"].as_str().unwrap());
    assert_eq!(attributes.len(), usize::from(destination.is_some()), "{record}");
    assert_eq!(record["attributes"]["MessageGroupId"].as_str(), destination, "{record}");
    (record["body"].as_str().unwrap().to_owned(), destination.map(ToOwned::to_owned))
}

type Instead = dyn Fn(&str, &Value) -> Option<(u16, Value)> + Send + Sync;

/// A port in front of moto that notes calls, and answers some of them itself.
async fn relay(aws: &Aws, calls: Arc<Mutex<Vec<(String, Value)>>>, instead: Arc<Instead>) -> u16 {
    let (to, queues) = (aws.port, aws.arn(""));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, to, queues.clone(), calls.clone(), instead.clone()));
        }
    });
    port
}

async fn answer(
    stream: TcpStream,
    to: u16,
    queues: String,
    calls: Arc<Mutex<Vec<(String, Value)>>>,
    instead: Arc<Instead>,
) -> Option<()> {
    let mut stream = BufReader::new(stream);
    let (head, body) = read_request(&mut stream).await?;
    let target = head.lines().find(|line| line.to_ascii_lowercase().starts_with("x-amz-target:"))?;
    let name = target.rsplit('.').next()?.trim();
    let request: Value = serde_json::from_slice(&body).ok()?;
    calls.lock().unwrap().push((name.to_owned(), request.clone()));
    let (status, answer) = if let Some(answer) = instead(name, &request) {
        answer
    } else {
        let authorization = head.lines().find(|line| line.to_ascii_lowercase().starts_with("authorization:"))?;
        let headers = format!("{target}\r\n{authorization}\r\nContent-Type: application/x-amz-json-1.0\r\n");
        let (status, answer) = http_post_with(&format!("127.0.0.1:{to}"), "/", &headers, &body).await;
        (status, serde_json::from_slice(&answer).ok()?)
    };
    let answer = if name == "ReceiveMessage" { with_source(&request, answer, &queues) } else { answer };
    let answer = answer.to_string();
    let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", answer.len());
    stream.write_all((head + &answer).as_bytes()).await.ok()
}

/// moto does not say, as SQS does, from which queue it moved a message itself: here the message's body says so.
fn with_source(request: &Value, mut answer: Value, queues: &str) -> Value {
    let asked = request["MessageSystemAttributeNames"].as_array().cloned().unwrap_or_default();
    for message in answer["Messages"].as_array_mut().into_iter().flatten() {
        let body: Value = serde_json::from_str(message["Body"].as_str().unwrap()).unwrap_or_default();
        if let Some(queue) = body["moved_from"].as_str().filter(|_| asked.contains(&json!("DeadLetterQueueSourceArn")))
        {
            message["Attributes"]["DeadLetterQueueSourceArn"] = format!("{queues}{queue}").into();
        }
    }
    answer
}

fn denied(name: &str, what: &str) -> Option<(u16, Value)> {
    (name == what).then(|| (400, json!({ "__type": "com.amazonaws.sqs#AccessDenied", "message": "SECRET" })))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_groups_dead_letters_and_leaves_them_visible() {
    let bench = Bench::start(&LETTERS).await;
    let mut answer = bench.ask(serde_json::from_str(&sample("dead-letters.json")).unwrap()).await;
    for group in answer["dead_letters"].as_array_mut().unwrap() {
        let oldest = group.as_object_mut().unwrap().remove("oldest").unwrap();
        let oldest = oldest.as_str().unwrap();
        assert!(oldest.starts_with("20") && oldest.len() == 20 && oldest.ends_with('Z'), "{oldest}");
    }
    let group = |destination, code, count| json!({ "destination": destination, "code": code, "count": count });
    let groups = [
        group("soc", "tls_expired", 2),
        group("-", "unrouted", 1),
        group("soar", "tls_expired", 1),
        group("soc", "gone", 1),
    ];
    assert_eq!(answer, json!({ "dead_letters": groups, "scanned": 5, "about_in_queue": 5, "complete": true }));
    assert_eq!(bench.left().await, (5, 0));
    for (filter, count) in [(json!({ "destination": "soc", "code": "gone" }), 1), (json!({ "destination": "-" }), 1)] {
        let answer = bench.ask(json!({ "dead_letters": filter })).await;
        assert_eq!((&answer["dead_letters"][0]["count"], &answer["scanned"]), (&json!(count), &json!(5)), "{answer}");
    }
    // What somebody else has received cannot be read.
    bench.aws.receive_some(&bench.dead_letter, 2).await;
    let answer = bench.ask(json!({ "dead_letters": {} })).await;
    assert_eq!(
        [&answer["scanned"], &answer["about_in_queue"], &answer["complete"]],
        [&json!(3), &json!(5), &json!(false)]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redrive_moves_what_is_selected_and_hides_the_rest() {
    let bench = Bench::start(&LETTERS).await;
    let request: Value = serde_json::from_str(&sample("redrive.json")).unwrap();
    let answer = bench.ask(request.clone()).await;
    let expected = json!({ "scanned": 5, "moved": 2, "failed": 0, "about_left": 3, "about_hidden": 3 });
    assert_eq!(answer, expected);
    let soc = || Some("soc".to_owned());
    assert_eq!(bench.retried().await, [("{\"n\": 3 }".into(), soc()), ("{\"n\":1}".into(), soc())]);
    assert_eq!(bench.left().await, (0, 3));
    for receive in bench.called("ReceiveMessage") {
        assert_eq!((&receive["VisibilityTimeout"], &receive["WaitTimeSeconds"]), (&json!(600), &json!(1)));
    }
    let again = bench.ask(request).await;
    assert_eq!((&again["scanned"], &again["about_hidden"]), (&json!(0), &json!(3)), "each is looked at once: {again}");

    let line = bench.runtime.invocation_lines().await.remove(0);
    let message = "redrive: 2 dead letters of soc with code tls_expired were sent for delivery again, about 3 are left \
                   (about 3 of them hidden for up to 10 minutes).";
    assert_eq!((line["level"].as_str(), line["message"].as_str()), (Some("INFO"), Some(message)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redrive_can_choose_another_destination() {
    let bench = Bench::start(&LETTERS).await;
    let answer = bench.ask(json!({ "redrive": { "all": true, "to": "soc2" } })).await;
    assert_eq!((&answer["moved"], &answer["about_left"]), (&json!(5), &json!(0)), "{answer}");
    let retried = bench.retried().await;
    assert_eq!(retried.len(), 5);
    assert!(retried.iter().all(|(_, destination)| destination.as_deref() == Some("soc2")), "{retried:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_outcome_is_redriven_without_a_destination() {
    let bench = Bench::start(&LETTERS).await;
    bench.ask(json!({ "redrive": { "destination": "-" } })).await;
    assert_eq!(bench.retried().await, [("{\"n\":5}".into(), None)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redrive_drops_what_a_producer_wrote() {
    let (outcomes, retries) = (r#"{"moved_from":"outcomes"}"#, r#"{"moved_from":"retries"}"#);
    let bench = Bench::start(&[(outcomes, Some("soc"), "x"), (retries, Some("soc"), "dns")]).await;
    let listed = bench.ask(json!({ "dead_letters": { "destination": "-", "code": "-" } })).await;
    assert_eq!(listed["dead_letters"][0]["count"], 1, "{listed}");
    let answer = bench.ask(json!({ "redrive": { "all": true } })).await;
    assert_eq!(answer["moved"], 2, "{answer}");
    assert_eq!(bench.retried().await, [(outcomes.into(), None), (retries.into(), Some("soc".into()))]);
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_sent_after_a_redrive_began_are_left_alone() {
    let bench = Bench::start(&LETTERS).await;
    let new = async {
        tokio::time::sleep(Duration::from_millis(700)).await;
        bench.send("{\"n\":6}", Some("soc"), "gone").await;
    };
    let (answer, ()) = tokio::join!(bench.ask(json!({ "redrive": { "all": true } })), new);
    assert_eq!([&answer["scanned"], &answer["moved"], &answer["about_left"]], [&json!(6), &json!(5), &json!(1)]);
    assert_eq!(bench.left().await, (1, 0), "and it can be seen at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_is_deleted_only_after_it_is_sent() {
    // None can be sent.
    let bench = Bench::start_with(&LETTERS, |name, _| denied(name, "SendMessageBatch")).await;
    let answer = bench.ask(json!({ "redrive": { "all": true } })).await;
    assert_eq!([&answer["moved"], &answer["failed"], &answer["about_left"]], [&json!(0), &json!(5), &json!(5)]);
    let error = "sqs:SendMessage on retries: AccessDenied; give the function's role this permission";
    assert_eq!(answer["error"], error);
    assert_eq!((bench.left().await, bench.called("DeleteMessageBatch").len()), ((5, 0), 0));
    let line = bench.runtime.invocation_lines().await.remove(0);
    let message = line["message"].as_str().unwrap();
    assert!(line["level"] == "WARN" && message.ends_with(&format!("5 could not be sent. {error}.")), "{line}");

    // One of them cannot.
    let bench = Bench::start_with(&LETTERS, |name, request| {
        let of = |entry: &Value| json!({ "Id": entry["Id"], "MessageId": "m", "MD5OfMessageBody": "", "Code": "Odd", "SenderFault": true });
        let entries = request["Entries"].as_array().filter(|_| name == "SendMessageBatch")?;
        let (bad, good): (Vec<_>, Vec<_>) = entries.iter().partition(|entry| entry["MessageBody"] == "{\"n\":2}");
        let all = |entries: Vec<&Value>| entries.into_iter().map(of).collect::<Vec<_>>();
        Some((200, json!({ "Successful": all(good), "Failed": all(bad) })))
    })
    .await;
    let answer = bench.ask(json!({ "redrive": { "destination": "soc" } })).await;
    assert_eq!(
        [&answer["moved"], &answer["failed"], &answer["error"]],
        [&json!(2), &json!(1), &json!("sqs:SendMessage on retries: Odd")]
    );
    assert_eq!(bench.left().await, (1, 2), "it can be seen at once");
    assert_eq!(bench.aws.receive(&bench.dead_letter).await[0]["body"], "{\"n\":2}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_that_cannot_be_deleted_is_told() {
    let bench = Bench::start_with(&LETTERS, |name, _| denied(name, "DeleteMessageBatch")).await;
    let answer = bench.ask(json!({ "redrive": { "code": "gone" } })).await;
    assert_eq!((&answer["moved"], bench.left().await), (&json!(1), (0, 5)));
    let error = answer["error"].as_str().unwrap();
    assert!(error.starts_with("sqs:DeleteMessage on dead-letters: AccessDenied; give"), "{error}");
    assert!(error.ends_with("(letters that were sent are still in the dead-letter queue, too)"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_permission_is_named() {
    for (call, permission) in [
        ("ReceiveMessage", "sqs:ReceiveMessage"),
        ("GetQueueAttributes", "sqs:GetQueueAttributes"),
        ("ChangeMessageVisibilityBatch", "sqs:ChangeMessageVisibility"),
    ] {
        let bench = Bench::start_with(&LETTERS, move |name, _| denied(name, call)).await;
        let answer = bench.ask(json!({ "dead_letters": {} })).await;
        let expected = format!("{permission} on dead-letters: AccessDenied; give the function's role this permission");
        assert_eq!(answer, json!({ "error": expected }));
        assert!(bench.runtime.invocation_lines().await[0]["message"].as_str().unwrap().contains(permission));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn large_letters_are_sent_in_batches_that_sqs_takes() {
    let large = "x".repeat(400 << 10);
    let bench = Bench::start(&[(&*large, Some("soc"), "gone"); 5]).await;
    let answer = bench.ask(json!({ "redrive": { "all": true } })).await;
    assert_eq!((&answer["moved"], answer.get("error")), (&json!(5), None), "{answer}");
    let batches = bench.called("SendMessageBatch");
    assert!(batches.iter().all(|batch| batch["Entries"].as_array().unwrap().len() <= 2) && batches.len() >= 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redrive_ends_before_the_invocation_does() {
    let endless = |name: &str, _: &Value| {
        let letter = json!({ "MessageId": "m", "ReceiptHandle": "r", "Body": "{}", "MD5OfBody": "" });
        (name == "ReceiveMessage").then(|| (200, json!({ "Messages": [letter] })))
    };
    let bench = Bench::start_with(&[], endless).await;
    let left = Duration::from_secs(10);
    for request in [json!({ "redrive": { "code": "gone" } }), json!({ "dead_letters": { "code": "gone" } })] {
        let begun = Instant::now();
        let told = bench.runtime.invoke(&request.to_string(), left).await;
        assert!(begun.elapsed() < left && told.body["scanned"].as_u64() > Some(10), "{told:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_request_is_answered_with_what_belongs_there() {
    let bench = Bench::start(&LETTERS).await;
    for (request, error) in [
        (json!({ "redrive": {} }), "`redrive`: expected a destination, a code or both to select by, or \"all\": true"),
        (
            json!({ "redrive": { "destinaton": "soc" } }),
            "unknown field `destinaton`, expected one of `destination`, `code`, `to`, `all`",
        ),
        (json!({ "redrive": { "all": true, "to": "A B" } }), "`redrive.to`: expected an id"),
        (json!({ "dead_letters": { "code": 5 } }), "dead_letters.code"),
        (json!({ "probe": 5 }), "`probe`"),
        (json!({ "check": "yes" }), "`check`: expected"),
    ] {
        let answer = bench.ask(request).await;
        assert!(answer["error"].as_str().unwrap().contains(error), "{answer}");
    }
    assert!(bench.calls.lock().unwrap().is_empty());
    let log = bench.runtime.invocation_lines().await;
    assert!(log.len() == 6 && log.iter().all(|line| line["level"] == "WARN"), "{log:?}");
}
