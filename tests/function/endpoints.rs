//! How the function calls AWS: under which authority, at which endpoint, and how often at once.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::support::authority::{Authority, Options, serve};
use super::support::aws::variables;
use super::support::network::{Says, name_server, run_inside, set_up};
use super::support::receiver::{Receiver, Reply, read_request};
use super::support::runtime::{Function, OwnRuntime, document, free_port, local, vars};
use super::support::samples::sample;

/// AWS's APIs, which answer every call with success and after a while, and keep connections open.
#[derive(Default)]
struct Endpoint {
    port: u16,
    requests: AtomicUsize,
    open: AtomicUsize,
    most_open: AtomicUsize,
    /// What `GetSecretValue` answers.
    secret: String,
    delay: Duration,
}

impl Endpoint {
    async fn start(secret: &Value, delay: Duration, tls: Option<TlsAcceptor>) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let endpoint = Arc::new(Self { port, secret: secret.to_string(), delay, ..Self::default() });
        let serving = endpoint.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (endpoint, tls) = (serving.clone(), tls.clone());
                tokio::spawn(async move {
                    endpoint.most_open.fetch_max(endpoint.open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    let _ = match tls {
                        None => endpoint.serve(stream).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => endpoint.serve(stream).await,
                            Err(_) => None,
                        },
                    };
                    endpoint.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        endpoint
    }

    async fn serve(&self, stream: impl AsyncRead + AsyncWrite + Unpin) -> Option<()> {
        let mut stream = BufReader::new(stream);
        loop {
            let (head, _) = read_request(&mut stream).await?;
            self.requests.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(self.delay).await;
            let answer = if head.contains("SendMessage") {
                json!({ "MessageId": "m" })
            } else if head.contains("BatchGetItem") {
                json!({ "Responses": {}, "UnprocessedKeys": {} })
            } else {
                json!({ "SecretString": self.secret })
            };
            let answer = answer.to_string();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", answer.len());
            stream.write_all((head + &answer).as_bytes()).await.ok()?;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_authority_vouches_for_its_own_side_alone() {
    let authority = Authority::new("sides");
    let bundle = authority.bundle.to_str().unwrap();
    let receiver = Receiver::start(Reply::Status(200)).await;
    let config = json!({ "destinations": { "soc": { "url": receiver.url() } } });
    let tls = TlsAcceptor::from(Arc::new(authority.server(|_| {}, &Options::usual())));
    let endpoint = Endpoint::start(&config, Duration::ZERO, Some(tls)).await;
    let private = serve(authority.server(|_| {}, &Options::usual())).await;
    for (name, aws_works) in [("EXTRA_CA_BUNDLE", false), ("AWS_CA_BUNDLE", true)] {
        let mut all = variables(endpoint.port, "secretsmanager:d");
        all.extend(vars(&[("AWS_ENDPOINT_URL", &format!("https://127.0.0.1:{}", endpoint.port)), (name, bundle)]));
        Function::start(all).await.invoke(&sample("sqs.json")).await;
        assert_eq!(receiver.requests().len(), usize::from(aws_works), "{name}");
        assert_eq!(endpoint.requests.load(Ordering::SeqCst), usize::from(aws_works), "{name}");

        let mut all = local(&format!("https://127.0.0.1:{private}/"));
        all.extend(vars(&[(name, bundle)]));
        let function = Function::start(all).await;
        function.invoke(&sample("sqs.json")).await;
        let line = function.results().await.remove(0);
        assert_eq!(line["code"].as_str(), aws_works.then_some("tls_unknown_issuer"), "{name}: {line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_writes_share_eight_connections_and_none_fails() {
    // Twelve rounds and a half, longer than the SDK waits for one call.
    let endpoint = Endpoint::start(&Value::Null, Duration::from_millis(700), None).await;
    let closed = format!("http://127.0.0.1:{}/", free_port());
    let destinations: serde_json::Map<_, _> = (0..100).map(|n| (format!("d{n}"), json!({ "url": closed }))).collect();
    let mut all = variables(endpoint.port, "");
    all[0] = document(&json!({ "destinations": destinations })).remove(0);
    let queue = |name| format!("http://127.0.0.1:{}/123456789012/{name}", endpoint.port);
    all.extend(vars(&[("RETRY_QUEUE_URL", &queue("retries")), ("DEAD_LETTER_QUEUE_URL", &queue("dead"))]));
    let told = OwnRuntime::start(all).await.invoke(&sample("matched.json"), Duration::from_secs(60)).await;
    assert_eq!(told.kind, "response", "{told:?}");
    assert_eq!(endpoint.requests.load(Ordering::SeqCst), 100);
    assert_eq!(endpoint.most_open.load(Ordering::SeqCst), 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_look_ups_share_sixteen_connections() {
    let endpoint = Endpoint::start(&Value::Null, Duration::from_millis(50), None).await;
    let mut event: Value = serde_json::from_str(&sample("sqs.json")).unwrap();
    let record = event["Records"][0].clone();
    let record = |n: u32| {
        let mut record = record.clone();
        record["messageId"] = format!("m{n}").into();
        let mut body: Value = serde_json::from_str(record["body"].as_str().unwrap()).unwrap();
        body["detection_id"] = n.into();
        record["body"] = body.to_string().into();
        record
    };
    event["Records"] = (0..100).map(record).collect();
    let runtime = OwnRuntime::start(variables(endpoint.port, "dynamodb:t")).await;
    runtime.invoke(&event.to_string(), Duration::from_secs(60)).await;
    assert_eq!(endpoint.requests.load(Ordering::SeqCst), 100);
    assert_eq!(endpoint.most_open.load(Ordering::SeqCst), 16);
}

#[test]
fn fips_and_dual_stack_endpoints_are_called_on_request() {
    run_inside("endpoints::inside");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "runs inside a network namespace, started by the test above"]
async fn inside() {
    set_up();
    let asked: Arc<Mutex<BTreeSet<String>>> = Arc::default();
    let names = asked.clone();
    name_server(move |name, _| {
        names.lock().unwrap().insert(name.to_owned());
        Says::Code(3)
    })
    .await;
    let config = json!({ "destinations": {
        "closed": { "url": "http://127.0.0.1:9/" }, "keyed": { "url": "http://127.0.0.1:9/{{secret:s}}" }
    } });
    for (variable, expected) in [
        (
            "",
            [
                "dynamodb.us-east-1.amazonaws.com",
                "secretsmanager.us-east-1.amazonaws.com",
                "sqs.us-east-1.amazonaws.com",
            ],
        ),
        (
            "AWS_USE_FIPS_ENDPOINT",
            [
                "dynamodb-fips.us-east-1.amazonaws.com",
                "secretsmanager-fips.us-east-1.amazonaws.com",
                "sqs-fips.us-east-1.amazonaws.com",
            ],
        ),
        // The usual endpoint of Secrets Manager has IPv6 addresses, and the SDK calls it then as well.
        (
            "AWS_USE_DUALSTACK_ENDPOINT",
            ["dynamodb.us-east-1.api.aws", "secretsmanager.us-east-1.amazonaws.com", "sqs.us-east-1.api.aws"],
        ),
    ] {
        asked.lock().unwrap().clear();
        for place in [document(&config).remove(0), vars(&[("DESTINATIONS", "dynamodb:t")]).remove(0)] {
            let mut all = variables(0, "");
            all.retain(|(name, _)| name != "AWS_ENDPOINT_URL");
            all[0] = place;
            let queue = |name| format!("https://sqs.us-east-1.amazonaws.com/123456789012/{name}");
            all.extend(vars(&[
                ("AWS_REGION", "us-east-1"),
                ("RETRY_QUEUE_URL", &queue("retries")),
                ("DEAD_LETTER_QUEUE_URL", &queue("dead")),
                (variable, "true"),
            ]));
            all.retain(|(name, _)| !name.is_empty());
            Function::start(all).await.invoke(&sample("sqs.json")).await;
        }
        assert!(asked.lock().unwrap().iter().eq(expected), "{variable}: {asked:?}");
    }
}
