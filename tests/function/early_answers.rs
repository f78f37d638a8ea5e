//! Receivers that answer before they have read a large body.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use super::support::authority::{Authority, Options};
use super::support::runtime::{OwnRuntime, local, vars};

/// What the receiver does once it has answered.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Then {
    /// Closes at once: what is unread makes its system send a reset (RFC 9293, section 3.10.4).
    Closes,
    /// The same after the time that an answer takes over a network.
    ClosesLater,
    /// Ends its own side and reads on until the sender ends (RFC 9112, section 9.6).
    ReadsOn,
}

const TRIES: usize = 50;

/// Answers 413 when it has read the request's head.
async fn receiver(tls: Option<ServerConfig>, then: Then) -> u16 {
    let acceptor = tls.map(|config| TlsAcceptor::from(Arc::new(config)));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                match acceptor {
                    Some(acceptor) => answer_early(acceptor.accept(stream).await?, then).await,
                    None => answer_early(stream, then).await,
                }
            });
        }
    });
    port
}

async fn answer_early<S: AsyncRead + AsyncWrite + Unpin>(stream: S, then: Then) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
    }
    if then == Then::ClosesLater {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    stream.write_all(b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").await?;
    stream.flush().await?;
    if then == Then::ReadsOn {
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(8 << 20), &mut tokio::io::sink()).await?;
    }
    Ok(())
}

/// How many of the tries ended as the endpoint's 413, and how many as a lost connection.
async fn outcomes(url: &str, authority: &Authority) -> (usize, usize) {
    let mut variables = local(url);
    variables.extend(vars(&[("EXTRA_CA_BUNDLE", authority.bundle.to_str().unwrap())]));
    let function = OwnRuntime::start(variables).await;
    let outcome = json!({ "detection_id": 1, "outcome": "MATCHED", "description": "x".repeat(1 << 20) }).to_string();
    for _ in 0..TRIES {
        function.invoke(&outcome, Duration::from_secs(60)).await;
    }
    let lines = function.results().await;
    let count = |code: &str| lines.iter().filter(|line| line["code"] == code).count();
    let (answered, lost) = (count("refused_by_endpoint"), count("connection_lost"));
    assert_eq!((lines.len(), answered + lost), (TRIES, TRIES), "{:?}", lines.first());
    assert!(lines.iter().all(|line| (line["status"] == 413) == (line["code"] == "refused_by_endpoint")));
    (answered, lost)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_before_the_body_is_read_counts() {
    let authority = Authority::new("early");
    for then in [Then::ReadsOn, Then::ClosesLater, Then::Closes] {
        for scheme in ["http", "https"] {
            let tls = (scheme == "https").then(|| authority.server(|_| {}, &Options::usual()));
            let url = format!("{scheme}://127.0.0.1:{}/hook", receiver(tls, then).await);
            let (answered, lost) = outcomes(&url, &authority).await;
            println!("{scheme} {then:?}: 413 {answered}, connection_lost {lost}");
            // One that closes at once loses its answer now and then: hyper gives up at the first failed write.
            assert!(lost == 0 || then != Then::ReadsOn, "{scheme}: {lost} of {TRIES} lost");
        }
    }
}
