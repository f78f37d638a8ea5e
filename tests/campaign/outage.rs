//! The worst batch for a small function: ten outcomes with fifty destinations each, and nobody listens at any of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::process::Pid;
use serde_json::{Map, json};
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::support::authority::{Authority, Options};
use crate::support::aws::variables;
use crate::support::receiver::read_request;
use crate::support::runtime::{OwnRuntime, document, vars};
use crate::support::samples::example;
use crate::support::throttle::Throttle;

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_on_a_small_share_of_a_cpu_returns_nothing() {
    let authority = Authority::new("outage");
    let connections = Arc::new(AtomicUsize::new(0));
    let queues = format!("https://127.0.0.1:{}", sqs(&authority, connections.clone()).await);
    let destination = |n| (format!("team-{n}"), json!({ "url": format!("https://127.0.1.{}:9/", n + 1) }));
    let config = json!({ "destinations": (0..50).map(destination).collect::<Map<_, _>>() });
    let mut all = variables(0, &document(&config)[0].1);
    all.extend(vars(&[
        ("AWS_ENDPOINT_URL", &queues),
        ("AWS_CA_BUNDLE", authority.bundle.to_str().unwrap()),
        ("RETRY_QUEUE_URL", &format!("{queues}/123456789012/retries")),
        ("DEAD_LETTER_QUEUE_URL", &format!("{queues}/123456789012/letters")),
    ]));
    let runtime = OwnRuntime::start(all).await;
    let throttle = Throttle::start(Pid::from_raw(i32::try_from(runtime.pid().unwrap()).unwrap()).unwrap());
    let record = |n| json!({ "messageId": format!("m{n}"), "eventSource": "aws:sqs", "body": example() });
    let event = json!({ "Records": (0..10).map(record).collect::<Vec<_>>() }).to_string();
    let told = runtime.invoke(&event, Duration::from_secs(50)).await;
    drop(throttle);
    assert_eq!(told.body["batchItemFailures"], json!([]), "{told:?}");
    let results = runtime.results().await;
    let waiting = results.iter().filter(|line| line["result"] == "retrying").count();
    assert_eq!((results.len(), waiting), (500, 500), "{:?}", results.first());
    let connections = connections.load(Ordering::SeqCst);
    assert!(connections <= 100, "{connections} connections to SQS");
}

/// SQS inside its region: it takes whatever is written, after 10 ms.
async fn sqs(authority: &Authority, connections: Arc<AtomicUsize>) -> u16 {
    let acceptor = TlsAcceptor::from(Arc::new(authority.server(|_| {}, &Options::usual())));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            connections.fetch_add(1, Ordering::SeqCst);
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut stream = BufReader::new(acceptor.accept(stream).await.ok()?);
                while read_request(&mut stream).await.is_some() {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    stream
                        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n{\"MessageId\":\"m\"}")
                        .await
                        .ok()?;
                }
                Some(())
            });
        }
    });
    port
}
