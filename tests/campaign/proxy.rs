//! Between the function and moto: compresses time, and fails as AWS does.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::ledger::Ledger;
use crate::plan::number;
use crate::support::aws::Aws;
use crate::support::receiver::read_request;

/// Of a hundred writes and look-ups, so many fail.
const FAILING: u32 = 5;

/// Seconds for which a redrive hides letters here.
const HIDDEN_BY_REDRIVE: u64 = 10;

/// The SDK tries a request so many times.
const TRIES: u32 = 3;

/// The function's clock runs as ours does; its waits are divided by this.
#[derive(Clone, Copy)]
pub(crate) struct Clock(pub(crate) f64);

impl Clock {
    /// What a wait is here, in the whole seconds that SQS knows.
    fn compressed(self, seconds: u64) -> u128 {
        Duration::from_secs(seconds).div_f64(self.0).as_millis().div_ceil(1000)
    }

    /// For messages that are to become too old: six days in less than a minute of a full campaign.
    pub(crate) fn hurried(self) -> Self {
        Self(self.0 * 20.0)
    }

    /// A moment of ours as the function is to see it: as far away as it would be without compression.
    pub(crate) fn stretched(self, at_ms: f64) -> f64 {
        now_ms() + (at_ms - now_ms()) * self.0
    }

    /// The reverse, for a moment that the function names.
    fn here(self, at_ms: f64) -> f64 {
        now_ms() + (at_ms - now_ms()) / self.0
    }
}

pub(crate) fn now_ms() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64() * 1000.0
}

/// moto's SQS. Requests take turns: it is not made for several at once, and would lose messages by itself.
pub(crate) struct Sqs {
    pub(crate) aws: Aws,
    pub(crate) turn: tokio::sync::Mutex<()>,
}

struct Proxy {
    sqs: Arc<Sqs>,
    secrets: u16,
    ledger: Arc<Ledger>,
    clock: Clock,
    random: Mutex<StdRng>,
    /// Writes that fail, and for how many more tries.
    failing: Mutex<HashMap<String, u32>>,
}

pub(crate) async fn start(sqs: Arc<Sqs>, secrets: u16, ledger: Arc<Ledger>, clock: Clock) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let random = Mutex::new(StdRng::seed_from_u64(ledger.plan.seed ^ 1));
    let proxy = Arc::new(Proxy { sqs, secrets, ledger, clock, random, failing: Mutex::default() });
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let proxy = proxy.clone();
            tokio::spawn(async move {
                let mut stream = BufReader::new(stream);
                let (head, body) = read_request(&mut stream).await?;
                let answer = proxy.answer(&head, body).await?;
                stream.write_all(&answer).await.ok()?;
                stream.shutdown().await.ok()
            });
        }
    });
    port
}

enum Trouble {
    Denied,
    Failing,
    Closed,
    /// Done, but the answer is lost.
    AnswerLost,
    Slow,
}

impl Proxy {
    async fn answer(&self, head: &str, body: Vec<u8>) -> Option<Vec<u8>> {
        let target =
            head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("x-amz-target: ").map(str::to_owned));
        match target.as_deref().unwrap_or_default() {
            "amazonsqs.sendmessage" => self.write(head, &body, "SendMessage").await,
            "amazonsqs.changemessagevisibility" => self.write(head, &body, "ChangeMessageVisibility").await,
            target if target.starts_with("amazonsqs.") => self.redrive(head, &body).await,
            _ => self.look_up(head, &body).await,
        }
    }

    async fn write(&self, head: &str, body: &[u8], what: &str) -> Option<Vec<u8>> {
        let mut request: Value = serde_json::from_slice(body).ok()?;
        let outcome: Vec<usize> = request["MessageBody"].as_str().and_then(number).into_iter().collect();
        let is_letter = request["QueueUrl"].as_str().unwrap_or_default().ends_with("dead-letters");
        let what = if is_letter {
            "dead-letter write"
        } else if what == "SendMessage" {
            "retry write"
        } else {
            "visibility change"
        };
        for name in ["DelaySeconds", "VisibilityTimeout"] {
            if let Some(seconds) = request[name].as_u64() {
                request[name] = json!(self.clock.compressed(seconds));
            }
        }
        if let Some(due) = request["MessageAttributes"]["outcome-not-before"]["StringValue"].as_str() {
            let here = self.clock.here(due.parse::<f64>().unwrap() * 1000.0);
            request["MessageAttributes"]["outcome-not-before"]["StringValue"] = format!("{here:.0}").into();
        }
        let has = |name: &str| request["MessageAttributes"].get(name).is_some();
        for (name, what) in [("outcome-renewed", "renewed"), ("outcome-fallback-for", "copy for a fallback")] {
            if !is_letter && has(name) {
                self.ledger.count(what);
            }
        }
        let key = format!("{what} {outcome:?} {} {}", request["ReceiptHandle"], request["MessageAttributes"]);
        let trouble = self.trouble(&key);
        if trouble.is_some() {
            self.ledger.count(&format!("{what} fails"));
            // The record fails, and with it comes again what was delivered of it.
            self.ledger.excuse(&outcome);
        }
        match trouble {
            None => {}
            Some(Trouble::Denied) => return Some(refusal(400, "AccessDeniedException")),
            Some(Trouble::Failing) => return Some(refusal(500, "InternalFailure")),
            Some(Trouble::Closed) => return None,
            Some(Trouble::Slow) => tokio::time::sleep(Duration::from_millis(400)).await,
            Some(Trouble::AnswerLost) => {
                self.forward_in_turn(head, &request).await;
                return None;
            }
        }
        let begun = std::time::Instant::now();
        let answer = self.forward_in_turn(head, &request).await;
        if begun.elapsed() > Duration::from_secs(2) {
            // moto is slow: the SDK may have tried again, or the function given up.
            self.ledger.excuse(&outcome);
        }
        answer
    }

    /// What a redrive asks for. A letter that is sent may come a second time: its deletion may be missed.
    async fn redrive(&self, head: &str, body: &[u8]) -> Option<Vec<u8>> {
        let mut request: Value = serde_json::from_slice(body).ok()?;
        let outcomes = request["Entries"].as_array().into_iter().flatten();
        let outcomes: Vec<_> = outcomes.filter_map(|entry| number(entry["MessageBody"].as_str()?)).collect();
        for _ in &outcomes {
            self.ledger.count("redriven");
        }
        self.ledger.excuse(&outcomes);
        if request.get("WaitTimeSeconds").is_some() {
            // moto would keep everybody else waiting; and what was received and not moved is to be seen again.
            request["WaitTimeSeconds"] = json!(0);
            request["VisibilityTimeout"] = json!(HIDDEN_BY_REDRIVE);
        }
        self.forward_in_turn(head, &request).await
    }

    /// Whether a write is to fail; one that fails for good fails for all the SDK's tries.
    fn trouble(&self, key: &str) -> Option<Trouble> {
        let mut failing = self.failing.lock().unwrap();
        if let Some(left) = failing.get_mut(key).filter(|left| **left > 0) {
            *left -= 1;
            return Some(Trouble::Failing);
        }
        let mut random = self.random.lock().unwrap();
        if random.random_range(0..100) >= FAILING {
            return None;
        }
        Some(match random.random_range(0..5) {
            0 => Trouble::Denied,
            1 => {
                failing.insert(key.to_owned(), TRIES - 1);
                Trouble::Failing
            }
            2 => Trouble::Closed,
            3 => Trouble::AnswerLost,
            _ => Trouble::Slow,
        })
    }

    /// The registry: down, slow, or with something else in it than destinations.
    async fn look_up(&self, head: &str, body: &[u8]) -> Option<Vec<u8>> {
        let request: Value = serde_json::from_slice(body).ok()?;
        let roll = self.random.lock().unwrap().random_range(0..10 * FAILING);
        if request["SecretId"] == "destinations" && roll < 9 {
            self.ledger.count(["registry down", "registry slow", "registry corrupt"][roll as usize % 3]);
            let secret = |text: &str| {
                let answer = json!({ "ARN": "a", "Name": "destinations", "VersionId": "v", "SecretString": text });
                Some(response(200, &answer.to_string()))
            };
            match roll {
                0 => return Some(refusal(500, "InternalServiceError")),
                3 => return Some(refusal(400, "ThrottlingException")),
                6 => return None,
                2 => return secret("{ \"destinations\": {"),
                5 => return secret("[]"),
                8 => return secret(r#"{"destinations":{},"routes":{}}"#),
                _ => tokio::time::sleep(Duration::from_millis(1200)).await,
            }
        }
        forward(self.secrets, head, body).await
    }

    async fn forward_in_turn(&self, head: &str, request: &Value) -> Option<Vec<u8>> {
        let _turn = self.sqs.turn.lock().await;
        forward(self.sqs.aws.port, head, request.to_string().as_bytes()).await
    }
}

fn refusal(status: u16, kind: &str) -> Vec<u8> {
    response(status, &json!({ "__type": kind, "message": "campaign" }).to_string())
}

fn response(status: u16, body: &str) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status} X\r\nContent-Type: application/x-amz-json-1.1\r\nConnection: close\r\n");
    format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

async fn forward(port: u16, head: &str, body: &[u8]) -> Option<Vec<u8>> {
    let mut upstream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    let kept = head.lines().filter(|line| {
        let line = line.to_ascii_lowercase();
        !line.is_empty() && !["content-length:", "connection:"].iter().any(|name| line.starts_with(name))
    });
    let mut request: String = kept.flat_map(|line| [line, "\r\n"]).collect();
    request += &format!("Content-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    // At once: in two pieces, the second would wait for the first one's acknowledgement.
    upstream.write_all(&[request.as_bytes(), body].concat()).await.ok()?;
    // moto's server waits 10 ms for more, unless it is told that there is none.
    upstream.shutdown().await.ok()?;
    let mut answer = Vec::new();
    upstream.read_to_end(&mut answer).await.ok()?;
    Some(answer)
}
