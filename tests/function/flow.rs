//! Back-pressure, the circuit breaker and fallbacks: what is written to moto's SQS, in which order, after which wait.

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use detection_outcome_handler::domain::backoff::{MAX_ATTEMPTS, Schedule};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::support::aws::Aws;
use super::support::bench::{LONG, aged};
use super::support::receiver::{Receiver, Reply, Request, read_request};
use super::support::runtime::{OwnRuntime, document, vars};
use super::support::samples::{WEBHOOK_ID, example};

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

/// A write to a queue, as the function asked for it.
#[derive(Clone, Debug, PartialEq)]
struct Write {
    /// The queue and what is obeyed of the message: `retry soc renewed`, or `hide` for a message that stays.
    what: String,
    /// Seconds until the message is to come again.
    wait: u64,
    /// Why, for a person.
    code: Option<String>,
}

type Refuses = Box<dyn Fn(&Write) -> bool + Send>;

/// Between the function and moto: notes each write, lets a new message out at once, and refuses what a test says.
struct Tap {
    port: u16,
    writes: Arc<Mutex<Vec<Write>>>,
    refuses: Arc<Mutex<Refuses>>,
}

impl Tap {
    async fn start(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let writes: Arc<Mutex<Vec<Write>>> = Arc::default();
        let refuses: Arc<Mutex<Refuses>> = Arc::new(Mutex::new(Box::new(|_| false)));
        let (noted, refused) = (writes.clone(), refuses.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(relay(stream, to, noted.clone(), refused.clone()));
            }
        });
        Self { port, writes, refuses }
    }
}

async fn relay(stream: TcpStream, to: u16, noted: Arc<Mutex<Vec<Write>>>, refuses: Arc<Mutex<Refuses>>) -> Option<()> {
    let mut stream = BufReader::new(stream);
    let (head, body) = read_request(&mut stream).await?;
    let mut body: Value = serde_json::from_slice(&body).ok()?;
    if let Some(write) = write(&head, &mut body) {
        let is_refused = refuses.lock().unwrap()(&write);
        noted.lock().unwrap().push(write);
        if is_refused {
            let answer = json!({ "__type": "AccessDeniedException", "message": "a test" }).to_string();
            let head = format!("HTTP/1.1 400 X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", answer.len());
            return stream.write_all((head + &answer).as_bytes()).await.ok();
        }
    }
    let body = body.to_string();
    let kept = head.lines().filter(|line| !line.to_ascii_lowercase().starts_with("content-length:"));
    let mut request: String = kept.flat_map(|line| [line, "\r\n"]).collect();
    request += &format!("Content-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
    let mut upstream = TcpStream::connect(("127.0.0.1", to)).await.ok()?;
    upstream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    upstream.read_to_end(&mut answer).await.ok()?;
    stream.write_all(&answer).await.ok()?;
    stream.shutdown().await.ok()
}

/// What a request writes, if it does. Its delay is taken out: it is noted, and nobody has to wait for it.
fn write(head: &str, body: &mut Value) -> Option<Write> {
    let head = head.to_ascii_lowercase();
    let attribute = |body: &Value, name: &str| {
        body["MessageAttributes"][format!("outcome-{name}")]["StringValue"].as_str().map(ToOwned::to_owned)
    };
    if head.contains("amazonsqs.changemessagevisibility") {
        return Some(Write { what: "hide".into(), wait: body["VisibilityTimeout"].as_u64()?, code: None });
    }
    if !head.contains("amazonsqs.sendmessage") {
        return None;
    }
    let delay = body.as_object_mut()?.remove("DelaySeconds").and_then(|delay| delay.as_u64()).unwrap_or(0);
    let due = attribute(body, "not-before").map(|due| due.parse::<u64>().unwrap().saturating_sub(now().as_secs()));
    let mut what = body["QueueUrl"].as_str()?.rsplit('/').next()?.to_owned();
    for name in ["destination", "renewed", "fallback-sent", "fallback-for"] {
        match attribute(body, name) {
            Some(value) if name == "destination" => what += &format!(" {value}"),
            Some(value) if name == "fallback-for" => what += &format!(" fallback-for {value}"),
            Some(_) => what += &format!(" {name}"),
            None => {}
        }
    }
    Some(Write { what, wait: delay.max(due.unwrap_or(0)), code: attribute(body, "code") })
}

fn now() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap()
}

/// A function with its queues, and receivers that answer as the paths of their URLs say.
struct Flow {
    aws: Aws,
    outcome: String,
    retry: String,
    tap: Tap,
    file: std::path::PathBuf,
    runtime: OwnRuntime,
    receiver: Receiver,
    lines: AtomicUsize,
}

/// What an invocation did.
#[derive(Debug)]
struct Done {
    failed: usize,
    /// Result lines.
    lines: Vec<Value>,
    writes: Vec<Write>,
}

impl Done {
    fn writes(&self) -> Vec<&str> {
        self.writes.iter().map(|write| write.what.as_str()).collect()
    }

    fn line(&self) -> &Value {
        assert_eq!(self.lines.len(), 1, "{self:?}");
        &self.lines[0]
    }

    fn said(&self) -> (&str, &str) {
        ["result", "code"].map(|name| self.line()[name].as_str().unwrap_or_default()).into()
    }

    /// The wait of its last write.
    #[track_caller]
    fn waits(&self, range: RangeInclusive<u64>) {
        assert!(self.writes.last().is_some_and(|write| range.contains(&write.wait)), "{range:?}: {self:?}");
    }
}

fn replies(request: &Request) -> Reply {
    match request.head.split(' ').nth(1).unwrap_or_default() {
        "/429" => Reply::Status(429),
        "/429-for-2-hours" => Reply::Raw("HTTP/1.1 429 X\r\nRetry-After: 7200\r\nContent-Length: 0\r\n\r\n"),
        "/429-for-a-year" => Reply::Raw("HTTP/1.1 429 X\r\nRetry-After: 99999999\r\nContent-Length: 0\r\n\r\n"),
        "/503" => Reply::Status(503),
        "/410" => Reply::Status(410),
        "/silence" => Reply::Silence,
        _ => Reply::Status(200),
    }
}

impl Flow {
    /// `config` makes the document from the receiver's address.
    async fn start(config: impl Fn(&str) -> Value, more: &[(&str, &str)]) -> Self {
        let receiver = Receiver::start_scripted(replies).await;
        let base = format!("http://127.0.0.1:{}", receiver.port);
        let (place, aws) = (document(&config(&base)).remove(0).1, Aws::start().await);
        Self::start_on(receiver, aws, &place, more).await
    }

    async fn start_on(receiver: Receiver, aws: Aws, place: &str, more: &[(&str, &str)]) -> Self {
        let outcome = aws.create_queue("outcomes").await;
        let (retry, dead_letter) = (aws.create_queue("retry").await, aws.create_queue("dead-letter").await);
        let tap = Tap::start(aws.port).await;
        let mut all = aws.variables_at(tap.port, place);
        let queues = [("RETRY_QUEUE_URL", &*retry), ("DEAD_LETTER_QUEUE_URL", &*dead_letter)];
        all.extend(vars(&queues));
        all.extend(vars(&[("REGISTRY_TTL_SECONDS", "0")]));
        all.extend(vars(more));
        let runtime = OwnRuntime::start(all).await;
        let file = place.trim_start_matches("file:").into();
        Self { aws, outcome, retry, tap, file, runtime, receiver, lines: AtomicUsize::new(0) }
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.receiver.port)
    }

    fn configure(&self, config: &Value) {
        std::fs::write(&self.file, config.to_string()).unwrap();
    }

    /// A message of the outcome queue.
    async fn fresh(&self) -> Value {
        self.message(&self.outcome, &[]).await
    }

    /// A message that waits for `id` in the retry queue since so many seconds, with these attributes of the function.
    async fn waiting(&self, id: &str, age: u64, marks: &[&str]) -> Value {
        let marks: Vec<_> = [("destination", id)].into_iter().chain(marks.iter().map(|name| (*name, "true"))).collect();
        aged(self.message(&self.retry, &marks).await, Duration::from_secs(age))
    }

    async fn message(&self, queue: &str, attributes: &[(&str, &str)]) -> Value {
        let attributes: serde_json::Map<_, _> = attributes
            .iter()
            .map(|(name, value)| (format!("outcome-{name}"), json!({ "DataType": "String", "StringValue": value })))
            .collect();
        // What is left there of before.
        while !self.aws.receive(queue).await.is_empty() {}
        self.aws.send(queue, &example(), attributes.into()).await;
        self.aws.receive(queue).await.remove(0)
    }

    /// What the function has written to the retry queue, received.
    async fn written(&self) -> Vec<Value> {
        self.aws.receive(&self.retry).await
    }

    /// Hands records over as an event source mapping does.
    async fn hand(&self, records: &[Value]) -> Done {
        self.hand_within(records, LONG).await
    }

    async fn hand_within(&self, records: &[Value], left: Duration) -> Done {
        self.tap.writes.lock().unwrap().clear();
        let told = self.runtime.invoke(&json!({ "Records": records }).to_string(), left).await;
        assert_eq!(told.kind, "response", "{told:?}");
        let results = self.runtime.results().await;
        let seen = self.lines.swap(results.len(), Ordering::SeqCst);
        let lines = results.into_iter().skip(seen).collect();
        let failed = told.body["batchItemFailures"].as_array().unwrap().len();
        Done { failed, lines, writes: self.tap.writes.lock().unwrap().clone() }
    }

    async fn hand_waiting(&self, id: &str, age: u64, marks: &[&str]) -> Done {
        let record = self.waiting(id, age, marks).await;
        self.hand(&[record]).await
    }

    fn refuse(&self, refuses: impl Fn(&Write) -> bool + Send + 'static) {
        *self.tap.refuses.lock().unwrap() = Box::new(refuses);
    }

    /// How many requests came to a path.
    fn requests(&self, path: &str) -> usize {
        let begin = format!("POST /{path} ");
        self.receiver.requests().iter().filter(|request| request.head.starts_with(&begin)).count()
    }
}

/// When the last attempt of the example's delivery is due, in seconds after it was written.
fn end(id: &str) -> u64 {
    Schedule::new((WEBHOOK_ID, id), MAX_ATTEMPTS).end().as_secs()
}

fn since_1970(line: &Value, name: &str) -> u64 {
    let time: jiff::Timestamp = line[name].as_str().unwrap_or_else(|| panic!("{name}: {line}")).parse().unwrap();
    time.as_second().try_into().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn back_pressure_waits_as_asked_and_ends_after_six_days() {
    let config = |base: &str| {
        let to = |path: &str| json!({ "url": format!("{base}/{path}") });
        json!({
            "destinations": {
                "limited": to("429"), "patient": to("429-for-2-hours"), "endless": to("429-for-a-year"),
                "resting": { "url": format!("{base}/200"), "paused": true },
            },
            "routes": { "*": ["limited", "resting"] }
        })
    };
    let flow = Flow::start(config, &[]).await;
    let fresh = flow.hand(&[flow.fresh().await]).await;
    let mut waits: Vec<_> = fresh.writes.iter().map(|write| (&*write.what, write.wait)).collect();
    waits.sort_unstable();
    assert!(matches!(waits[..], [("retry limited", 60..=66), ("retry resting", 8..=14)]), "{waits:?}");
    assert_eq!(fresh.failed, 0, "in the retry queue is acknowledged");

    for (id, age, range) in [
        // The next point lies sooner than a 429 may be asked again.
        ("limited", 5, 60..=66),
        ("limited", 10 * HOUR, 900..=990),
        ("limited", 30 * HOUR, 3600..=3960),
        ("limited", 130 * HOUR, 3600..=3960),
        ("patient", 5, 7200..=7920),
        ("patient", 30 * HOUR, 7200..=7920),
        ("endless", 5, 42_000..=43_200),
        // The next point: 30 s and 10 s after it was written, each a fifth earlier or later.
        ("resting", 15, 17..=35),
        ("resting", 10 * HOUR, 900..=990),
        ("resting", 30 * HOUR, 3600..=3960),
    ] {
        let done = flow.hand_waiting(id, age, &[]).await;
        assert_eq!((done.failed, done.writes()), (1, vec!["hide"]), "{id} {age}");
        done.waits(range);
        let (line, code) = (done.line(), if id == "resting" { "destination_paused" } else { "rate_limited" });
        assert_eq!(done.said(), ("retrying", code), "{id} {age}");
        assert_eq!(line.get("attempt").is_some(), id != "resting", "a paused destination is not tried: {line}");
        let (until, sent) = (since_1970(line, "gives_up_at"), now().as_secs() - age);
        assert!(until.abs_diff(sent + 6 * DAY) < 60, "{until} {sent}");
    }
    assert_eq!(flow.requests("200"), 0, "nothing is sent to a paused destination");

    for (id, code) in [("limited", "rate_limited"), ("resting", "destination_paused")] {
        let done = flow.hand_waiting(id, 6 * DAY + 60, &[]).await;
        assert_eq!((done.failed, done.said()), (0, ("dead_lettered", code)));
        assert_eq!(done.writes[0], Write { what: format!("dead-letter {id}"), wait: 0, code: Some(code.into()) });
        assert_eq!(done.writes.len(), 1, "{done:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_returned_is_dead_lettered_after_six_days() {
    let flow = Flow::start(|_| json!([]), &[]).await;
    for (age, result, writes) in
        [(5 * DAY, "returned", &["hide"][..]), (6 * DAY + 60, "dead_lettered", &["dead-letter"])]
    {
        let age = Duration::from_secs(age);
        let done = flow.hand(&[aged(flow.fresh().await, age)]).await;
        assert_eq!((done.said(), done.writes()), ((result, "lookup_failed"), writes.to_vec()));
        // The same for a delivery that waits.
        let done = flow.hand(&[aged(flow.waiting("soc", 0, &[]).await, age)]).await;
        assert_eq!((done.said().0, done.failed), (result, usize::from(result == "returned")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_kept_from_its_attempts_is_renewed_once() {
    let config = |base: &str| {
        let to = |path: &str| json!({ "url": format!("{base}/{path}") });
        json!({ "destinations": { "soc": to("503"), "gone": to("410") } })
    };
    let flow = Flow::start(config, &[]).await;
    let end = end("soc");
    assert!((18 * HOUR..22 * HOUR).contains(&end), "{end}");

    let done = flow.hand_waiting("soc", end + 50 * 60, &[]).await;
    assert_eq!((done.said(), done.writes()), (("dead_lettered", "server_error"), vec!["dead-letter soc"]));
    let done = flow.hand_waiting("soc", end + 61 * 60, &[]).await;
    assert_eq!((done.said(), done.writes()), (("retrying", "server_error"), vec!["retry soc renewed"]));
    assert_eq!(done.failed, 0, "written anew, and only then acknowledged");
    done.waits(8..=12);
    let renewed = flow.written().await.remove(0);
    assert_eq!(renewed["body"], example().trim());
    let again = flow.hand(&[aged(renewed.clone(), Duration::from_secs(100))]).await;
    assert_eq!((again.said().0, again.writes()), ("retrying", vec!["hide"]), "it has a schedule of its own");
    let again = flow.hand(&[aged(renewed, Duration::from_secs(end + 61 * 60))]).await;
    assert_eq!((again.said().0, again.writes()), ("dead_lettered", vec!["dead-letter soc renewed"]), "once");

    for (id, age, marks, result, write) in [
        ("gone", 40 * HOUR, &[][..], "dead_lettered", "dead-letter gone"),
        ("soc", 6 * DAY + 60, &[], "dead_lettered", "dead-letter soc"),
        ("soc", 5 * DAY, &["fallback-sent"], "retrying", "retry soc renewed fallback-sent"),
    ] {
        let done = flow.hand_waiting(id, age, marks).await;
        assert_eq!((done.said().0, done.writes()), (result, vec![write]), "{id} {age}");
    }

    // What cannot be renewed stays as it is.
    flow.refuse(|write| write.what.contains("renewed"));
    let done = flow.hand_waiting("soc", 40 * HOUR, &[]).await;
    assert_eq!((done.failed, done.said()), (1, ("returned", "queue_failed")), "{done:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fallback_gets_what_its_destination_does_not_take() {
    let config = |base: &str| {
        let fallback = json!({ "to": "pager" });
        let to = |path: &str| json!({ "url": format!("{base}/{path}"), "fallback": fallback });
        json!({
            "destinations": { "soc": to("503"), "limited": to("429"), "pager": { "url": format!("{base}/200") } },
            "routes": { "*": ["soc"] }
        })
    };
    let flow = Flow::start(config, &[]).await;
    let done = flow.hand(&[flow.fresh().await]).await;
    assert_eq!(done.writes(), ["retry soc"], "not yet");
    done.waits(8..=12);
    // The next points are about 460 s and 1360 s after it was written.
    for (age, range) in [(200, 198..=322), (450, 1..=151), (561, 36..=40), (595, 2..=6)] {
        let done = flow.hand_waiting("soc", age, &[]).await;
        assert_eq!((done.failed, done.writes()), (1, vec!["hide"]), "{age}");
        done.waits(range);
    }

    let done = flow.hand_waiting("soc", 601, &[]).await;
    assert_eq!(done.writes(), ["retry pager fallback-for soc", "retry soc fallback-sent"], "the copy goes first");
    assert_eq!((done.writes[0].wait, done.failed), (0, 0), "at once, and the old message is done");
    done.waits(8..=12);
    assert_eq!(done.said(), ("retrying", "server_error"));
    assert!(
        done.line()["message"].as_str().unwrap().contains("a copy of the alert goes to its fallback pager"),
        "{done:?}"
    );
    let written = flow.written().await;
    let of = |id: &str| {
        let is = |record: &&Value| record["messageAttributes"]["outcome-destination"]["stringValue"] == id;
        written.iter().find(is).unwrap().clone()
    };
    let copy = flow.hand(&[of("pager")]).await;
    let (line, writes) = (copy.line(), copy.writes());
    assert_eq!((&line["result"], &line["fallback"], writes.len()), (&json!("delivered"), &json!("soc"), 0), "{line}");
    let request = flow.receiver.requests().pop().unwrap();
    assert_eq!((request.header("webhook-id"), &*request.body), (Some(WEBHOOK_ID), example().trim().as_bytes()));
    for age in [601, 5000] {
        let again = flow.hand(&[aged(of("soc"), Duration::from_secs(age))]).await;
        assert_eq!((again.failed, again.writes()), (1, vec!["hide"]), "made once");
    }

    let done = flow.hand_waiting("limited", 601, &[]).await;
    assert_eq!(done.writes(), ["retry pager fallback-for limited", "retry limited fallback-sent"]);
    done.waits(60..=66);
    let done = flow.hand_waiting("soc", 40 * HOUR, &["renewed", "fallback-sent"]).await;
    assert_eq!(done.writes(), ["dead-letter soc renewed fallback-sent"]);
    let done = flow.hand_waiting("soc", 40 * HOUR, &[]).await;
    assert_eq!(done.writes(), ["retry pager fallback-for soc", "retry soc renewed fallback-sent"], "one successor");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_sends_its_copy_first() {
    let config = |base: &str| {
        let url = |path: &str| format!("{base}/{path}");
        json!({
            "destinations": {
                "gone": { "url": url("410"), "fallback": { "to": "pager", "after_minutes": 1200 } },
                "now": { "url": url("503"), "fallback": { "to": "pager", "after_minutes": 0 } },
                "pager": { "url": url("200") },
            },
            "routes": { "*": ["gone"], "123": ["now"] }
        })
    };
    let flow = Flow::start(config, &[]).await;
    let both = ["retry pager fallback-for gone", "dead-letter gone fallback-sent"];
    for age in [0, 100] {
        let done = flow.hand_waiting("gone", age, &[]).await;
        assert_eq!((done.failed, done.said().0, done.writes()), (0, "dead_lettered", both.to_vec()));
    }
    let done = flow.hand_waiting("gone", 100, &["fallback-sent"]).await;
    assert_eq!(done.writes(), ["dead-letter gone fallback-sent"]);

    // After no minutes, the first failure has it already.
    let done = flow.hand(&[flow.fresh().await]).await;
    assert_eq!(done.writes(), ["retry pager fallback-for now", "retry now fallback-sent"]);
    done.waits(8..=12);

    // After a partial write everything is repeated: the copy twice, never a loss.
    for refused in [both[0], both[1]] {
        flow.refuse(move |write| write.what == refused);
        let done = flow.hand_waiting("gone", 100, &[]).await;
        let written: Vec<_> = both.iter().take_while(|what| **what != refused).chain([&refused]).copied().collect();
        assert_eq!((done.failed, done.said()), (1, ("returned", "queue_failed")));
        assert_eq!(done.writes(), written, "nothing is written after what fails");
        flow.refuse(|_| false);
        let again = flow.hand_waiting("gone", 100, &[]).await;
        assert_eq!((again.failed, again.writes()), (0, both.to_vec()));
    }
    let successor = "retry now fallback-sent";
    flow.refuse(move |write| write.what == successor);
    let done = flow.hand_waiting("now", 100, &[]).await;
    assert_eq!((done.failed, done.writes()), (1, vec!["retry pager fallback-for now", successor]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fallback_is_not_flooded() {
    let config = |base: &str| {
        let to = |id: &str| json!({ "url": format!("{base}/503"), "fallback": { "to": id, "after_minutes": 0 } });
        let with = |mut destination: Value, name: &str, value: Value| {
            destination[name] = value;
            destination
        };
        let plain = json!({ "url": format!("{base}/200") });
        json!({
            "destinations": {
                "resting": with(to("pager"), "paused", json!(true)),
                "off": with(to("pager"), "active", json!(false)),
                "to-critical": to("critical"), "to-errors": to("errors"), "to-off": to("no-pager"),
                "to-resting": to("resting-pager"), "to-broken": to("broken"),
                "pager": plain.clone(),
                "critical": with(plain.clone(), "min_severity", json!("CRITICAL")),
                "errors": with(plain.clone(), "outcomes", json!(["ERROR"])),
                "no-pager": with(plain.clone(), "active", json!(false)),
                "resting-pager": with(plain.clone(), "paused", json!(true)),
                "broken": with(plain, "timeout", json!(0)),
            },
            "routes": { "*": ["off"] }
        })
    };
    let flow = Flow::start(config, &[]).await;
    for (id, age, writes) in [
        // Switching a destination off must not flood another.
        ("resting", 2 * HOUR, &["hide"][..]),
        ("resting", 6 * DAY + 60, &["dead-letter resting"]),
        ("off", 100, &["dead-letter off"]),
        // Its own filters are asked, and a fallback that is not sent to leaves no mark.
        ("to-critical", 100, &["hide"]),
        ("to-errors", 100, &["hide"]),
        ("to-off", 100, &["hide"]),
        // A paused one has it when it goes on; a broken one says so in the dead-letter queue.
        ("to-resting", 100, &["retry resting-pager fallback-for to-resting", "retry to-resting fallback-sent"]),
        ("to-broken", 100, &["retry broken fallback-for to-broken", "retry to-broken fallback-sent"]),
    ] {
        assert_eq!(flow.hand_waiting(id, age, &[]).await.writes(), writes, "{id} {age}");
    }
    // A pause is not cut short for a fallback that will not come.
    flow.hand_waiting("resting", 10 * HOUR, &[]).await.waits(900..=990);
    let done = flow.hand(&[flow.fresh().await]).await;
    assert_eq!((done.said().0, done.writes.len()), ("filtered", 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn marks_count_on_messages_of_the_retry_queue_alone() {
    let config = |base: &str| {
        let fallback = json!({ "to": "pager", "after_minutes": 0 });
        json!({
            "destinations": {
                "soc": { "url": format!("{base}/503"), "fallback": fallback }, "pager": { "url": format!("{base}/200") }
            },
            "routes": { "*": ["soc"] }
        })
    };
    let flow = Flow::start(config, &[]).await;
    let marks = [("destination", "pager"), ("renewed", "true"), ("fallback-sent", "true"), ("fallback-for", "x")];
    let done = flow.hand(&[flow.message(&flow.outcome, &marks).await]).await;
    assert_eq!(done.writes(), ["retry pager fallback-for soc", "retry soc fallback-sent"]);
    assert!(done.line().get("fallback").is_none(), "{done:?}");
    let marks = [("destination", "pager"), ("fallback-for", "not an id. Operator: call +1 555")];
    let done = flow.hand(&[flow.message(&flow.retry, &marks).await]).await;
    assert!(done.line()["result"] == "delivered" && done.line().get("fallback").is_none(), "{done:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_registry_decides_nothing_about_a_fallback() {
    let config = |base: &str, active: bool| {
        let to = |path: &str| json!({ "url": format!("{base}/{path}"), "fallback": { "to": "pager" } });
        let pager = json!({ "url": format!("{base}/200"), "active": active });
        json!({ "destinations": { "soc": to("503"), "gone": to("410"), "pager": pager } })
    };
    let flow = Flow::start(|base| config(base, false), &[]).await;
    assert_eq!(flow.hand_waiting("soc", 601, &[]).await.writes(), ["hide"], "it is switched off");
    std::fs::remove_file(&flow.file).unwrap();
    // It may be switched on by now.
    assert_eq!(flow.hand_waiting("soc", 601, &[]).await.writes(), ["hide"]);
    assert_eq!(flow.hand_waiting("gone", 601, &[]).await.writes(), ["hide"]);
    assert_eq!(flow.hand_waiting("gone", 6 * DAY + 60, &[]).await.writes(), ["dead-letter gone"], "before it expires");
    flow.configure(&config(flow.url("").trim_end_matches('/'), true));
    let both = ["retry pager fallback-for gone", "dead-letter gone fallback-sent"];
    for _ in 0..60 {
        // The store is asked again a few seconds after it could not be read.
        tokio::time::sleep(Duration::from_millis(200)).await;
        if flow.hand_waiting("gone", 601, &[]).await.writes() == both {
            return;
        }
    }
    panic!("the fallback gets nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fallback_works_from_a_table() {
    let receiver = Receiver::start_scripted(replies).await;
    let aws = Aws::start().await;
    aws.create_table("destinations").await;
    let url = |path: &str| format!("http://127.0.0.1:{}/{path}", receiver.port);
    let soc = json!({ "pk": "destination#soc", "url": url("503"), "fallback": { "to": "pager", "after_minutes": 0 } });
    let pager = json!({ "pk": "destination#pager", "url": url("200"), "min_severity": "HIGH" });
    let route = json!({ "pk": "route#*", "destinations": ["soc"] });
    aws.put_items("destinations", &[soc, pager, route]).await;
    let flow = Flow::start_on(receiver, aws, "dynamodb:destinations", &[]).await;
    let both = ["retry pager fallback-for soc", "retry soc fallback-sent"];
    assert_eq!(flow.hand(&[flow.fresh().await]).await.writes(), both);
    assert_eq!(flow.hand_waiting("soc", 100, &[]).await.writes(), both);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_that_panics_has_its_fallback() {
    let receiver = Receiver::start_scripted(replies).await;
    let aws = Aws::start().await;
    // A name needs a thread to be looked up; a secret does not, unlike a file.
    let [soc, pager] = ["localhost", "127.0.0.1"].map(|host| format!("http://{host}:{}/200", receiver.port));
    let soc = json!({ "url": soc, "fallback": { "to": "pager", "after_minutes": 0 } });
    let document = json!({ "destinations": { "soc": soc, "pager": { "url": pager } }, "routes": { "*": ["soc"] } });
    aws.create_secret("destinations", &document.to_string()).await;
    let flow = Flow::start_on(receiver, aws, "secretsmanager:destinations", &[]).await;
    assert_eq!(flow.hand_waiting("pager", 0, &[]).await.said().0, "delivered");
    let record = flow.fresh().await;
    flow.runtime.leave_no_room_for_threads().await;
    let done = flow.hand(&[record]).await;
    assert_eq!(done.said(), ("retrying", "panic"), "{done:?}");
    assert_eq!(done.writes(), ["retry pager fallback-for soc", "retry soc fallback-sent"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_circuit_costs_nobody_time() {
    let config = |base: &str| {
        let url = |path: &str| format!("{base}/{path}");
        json!({
            "destinations": {
                "slow": { "url": url("silence"), "timeout": 1, "fallback": { "to": "well", "after_minutes": 60 } },
                "well": { "url": url("200") },
            },
            "routes": { "*": ["slow", "well"] }
        })
    };
    let flow = Flow::start(config, &[]).await;
    let mut waiting = Vec::new();
    for _ in 0..3 {
        waiting.push(flow.waiting("slow", 15, &[]).await);
    }
    let done = flow.hand(&waiting).await;
    assert!(done.lines.iter().all(|line| line["code"] == "timeout" && line["attempt"] == 2), "{done:?}");
    let log = flow.runtime.log().await;
    let opened: Vec<_> = log.iter().filter(|line| line["message"].as_str().unwrap().contains("CIRCUIT OPEN")).collect();
    assert_eq!((opened.len(), &opened[0]["level"], &opened[0]["destination"]), (1, &json!("WARN"), &json!("slow")));
    let message = opened[0]["message"].as_str().unwrap();
    assert!(message.contains("since") && message.contains("did not answer within 1 s"), "{message}");

    let (tried, begun) = (flow.requests("silence"), Instant::now());
    let fresh = flow.hand(&[flow.fresh().await]).await;
    assert!(begun.elapsed() < Duration::from_millis(900), "{:?}", begun.elapsed());
    let line = fresh.lines.iter().find(|line| line["destination"] == "slow").unwrap();
    assert_eq!([&line["result"], &line["code"]], [&json!("retrying"), &json!("circuit_open")]);
    assert!(["attempt", "total_ms", "status"].iter().all(|name| line.get(name).is_none()), "{line}");
    assert!(line["message"].as_str().unwrap().contains("did not answer within 1 s"), "{line}");
    assert_eq!(fresh.lines.iter().find(|line| line["destination"] == "well").unwrap()["result"], "delivered");
    assert_eq!((fresh.failed, fresh.writes()), (0, vec!["retry slow"]));
    fresh.waits(1..=12);
    // Its next point is about 1360 s after it was written, the circuit's end 30 to 36 s ahead, and a minute more.
    let done = flow.hand_waiting("slow", 500, &[]).await;
    assert_eq!((done.failed, done.said()), (1, ("retrying", "circuit_open")));
    done.waits(10..=97);
    let done = flow.hand_waiting("slow", 3601, &[]).await;
    assert_eq!(done.writes(), ["retry well fallback-for slow", "retry slow fallback-sent"], "as for any failure");
    assert_eq!(flow.requests("silence"), tried, "no attempt was made");

    // Every dead letter has a real last attempt.
    for age in [end("slow"), end("slow") + 600, 6 * DAY + 60] {
        let done = flow.hand_waiting("slow", age, &["fallback-sent"]).await;
        assert_eq!(
            (done.said(), done.writes()),
            (("dead_lettered", "timeout"), vec!["dead-letter slow fallback-sent"])
        );
    }
    let old = aged(flow.fresh().await, Duration::from_secs(6 * DAY + 60));
    let done = flow.hand(&[old]).await;
    assert!(done.lines.iter().any(|line| line["code"] == "timeout" && line["result"] == "dead_lettered"), "{done:?}");
    assert_eq!(flow.requests("silence"), tried + 4);

    // A person who asks gets an answer from the endpoint, and a mended URL starts afresh.
    let probe = flow.runtime.invoke(r#"{"probe":"slow"}"#, LONG).await;
    assert_eq!((&probe.body["ok"], &probe.body["code"]), (&json!(false), &json!("timeout")));
    assert_eq!(flow.requests("silence"), tried + 5);
    flow.configure(&json!({ "destinations": { "slow": { "url": flow.url("mended") } } }));
    let done = flow.hand_waiting("slow", 500, &[]).await;
    assert_eq!((done.said().0, flow.requests("mended")), ("delivered", 1));
    flow.configure(&json!({ "destinations": { "slow": { "url": flow.url("silence"), "timeout": 1 } } }));
    assert_eq!(flow.hand_waiting("slow", 500, &[]).await.said().1, "circuit_open");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_attempt_is_made_and_sixteen_at_once() {
    let config =
        |base: &str| json!({ "destinations": { "slow": { "url": format!("{base}/silence"), "timeout": 300 } } });
    let flow = Flow::start(config, &[("MAX_ATTEMPTS", "1")]).await;
    let mut records = Vec::new();
    for _ in 0..20 {
        records.push(flow.fresh().await);
    }
    // Half of a short invocation is kept back, so the attempts end after three seconds.
    let done = flow.hand_within(&records, Duration::from_secs(6)).await;
    let of = |code: &str, result: &str| {
        done.lines.iter().filter(|line| line["code"] == code && line["result"] == result).count()
    };
    assert_eq!((of("deadline", "dead_lettered"), of("not_started", "retrying")), (16, 4), "{:?}", done.lines);
    assert_eq!((done.failed, flow.requests("silence")), (0, 16), "what was not tried has its attempt still to come");
    // The one attempt that there is asks no circuit breaker.
    let record = flow.fresh().await;
    let done = flow.hand_within(&[record], Duration::from_secs(3)).await;
    assert_eq!((done.said(), flow.requests("silence")), (("dead_lettered", "deadline"), 17));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_queues_nothing_holds_an_attempt_back() {
    let receiver = Receiver::start(Reply::Silence).await;
    let config = json!({ "destinations": { "slow": { "url": receiver.url(), "timeout": 1 } } });
    let runtime = OwnRuntime::start(document(&config)).await;
    for _ in 0..4 {
        assert_eq!(runtime.invoke(&example(), LONG).await.kind, "error");
    }
    assert_eq!(receiver.requests().len(), 4);
    let log = runtime.log().await;
    assert!(log.iter().all(|line| !line["message"].as_str().unwrap().contains("CIRCUIT")), "{log:?}");
}
