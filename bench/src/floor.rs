//! The floor: a bare POST of the same bytes on an open connection, with hyper and nothing else.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::setup;

const EXCHANGES: u32 = 500;

/// CPU time of one exchange in microseconds, measured in a process of its own.
pub async fn run(url: &str) -> f64 {
    let output = Command::new(std::env::current_exe().unwrap()).args(["floor", url]).output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}

/// The process's own part: POSTs, and prints the CPU time of each.
pub async fn post(url: &str) {
    let (scheme, address) = url.split_once("://").unwrap();
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let mut sender = if scheme == "https" {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(setup::work().join("authority.pem")).unwrap()).unwrap();
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_root_certificates(roots).with_no_client_auth();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        connect(TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()).await
    } else {
        connect(stream).await
    };
    let body = setup::direct(&setup::root());
    let mut since = 0;
    for exchange in 0..2 * EXCHANGES {
        if exchange == EXCHANGES {
            since = own_cpu();
        }
        let request = hyper::Request::post("/hooks/T0001/B0001")
            .header("Host", address)
            .header("Content-Type", "application/json")
            .body(Full::new(body.clone()))
            .unwrap();
        let answer = sender.send_request(request).await.unwrap();
        answer.into_body().collect().await.unwrap();
        sender.ready().await.unwrap();
    }
    println!("{}", (own_cpu() - since) as f64 / 1e3 / f64::from(EXCHANGES));
}

async fn connect(
    stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + 'static,
) -> SendRequest<Full<Bytes>> {
    let (sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
    tokio::task::spawn_local(connection);
    sender
}

fn own_cpu() -> u64 {
    std::fs::read_to_string("/proc/self/schedstat").unwrap().split(' ').next().unwrap().parse().unwrap()
}
