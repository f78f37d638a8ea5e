//! Servers that get TLS wrong on purpose.

use std::sync::Arc;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::runtime::{Function, local, vars};
use super::samples::sample;

async fn failure_at(port: u16) -> Value {
    let mut variables = local(&format!("https://127.0.0.1:{port}/SECRET"));
    variables.extend(vars(&[("WEBHOOK_TIMEOUT", "2")]));
    let function = Function::start(variables).await;
    function.invoke(&sample("sqs.json")).await;
    let line = function.results().await.remove(0);
    assert_eq!((line.get("ambiguous"), line["result"].as_str()), (None, Some("kept")), "{line}");
    line
}

/// A server with a certificate of its own making.
async fn server(is_ca: bool) -> u16 {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    if is_ca {
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    }
    let certificate = params.self_signed(&key).unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der())),
        )
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move { acceptor.accept(stream).await.map(drop) });
        }
    });
    port
}

/// A server that answers the first bytes with others, and then closes or holds the connection.
async fn odd_server(answer: &'static [u8], hold: bool) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut hello = [0; 4096];
                let _ = stream.read(&mut hello).await;
                let _ = stream.write_all(answer).await;
                if hold {
                    std::future::pending::<()>().await;
                }
            });
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn the_causes_of_a_failed_handshake_are_told_apart() {
    for (port, code) in [
        (server(false).await, "tls_unknown_issuer"),
        (server(true).await, "tls_ca_as_server"),
        (odd_server(b"HTTP/1.1 400 Bad Request\r\n\r\n", false).await, "tls_plain_http"),
        (odd_server(b"", false).await, "tls_cut"),
        (odd_server(b"", true).await, "tls_timeout"),
        // Fatal alert: protocol_version (RFC 8446, section 6).
        (odd_server(&[21, 3, 3, 0, 2, 2, 70], false).await, "tls_protocol"),
    ] {
        let line = failure_at(port).await;
        assert_eq!((line["code"].as_str(), line["level"].as_str()), (Some(code), Some("WARN")), "{line}");
    }
}
