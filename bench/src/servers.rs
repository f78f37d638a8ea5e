//! What the function talks to, on loopback: Lambda's Runtime API, receivers of webhooks, and as much of AWS as it calls.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// An authority of this run, and the certificate of every server here.
pub struct Authority {
    /// For `EXTRA_CA_BUNDLE` and `AWS_CA_BUNDLE`.
    pub pem: PathBuf,
    server: Arc<ServerConfig>,
}

impl Authority {
    /// P-256, as most public certificates have it.
    pub fn new(folder: &Path) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Another name than the server's: OpenSSL takes a certificate that names itself as its issuer for self-signed.
        params.distinguished_name.push(DnType::CommonName, "Authority of the benchmark");
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
        let pem = folder.join("authority.pem");
        std::fs::write(&pem, issuer.pem()).unwrap();
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![CertificateDer::from(certificate.der().to_vec())], key)
            .unwrap();
        Self { pem, server: Arc::new(server) }
    }
}

/// How often a server was called.
#[derive(Clone, Default)]
pub struct Counts {
    pub connections: Arc<AtomicUsize>,
    pub requests: Arc<AtomicUsize>,
}

impl Counts {
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }
}

/// Serves HTTP/1.1 with keep-alive; returns the base URL.
async fn serve<F: Future<Output = Response<Full<Bytes>>> + 'static>(
    authority: Option<&Authority>,
    counts: &Counts,
    answer: impl Fn(String, HeaderMap, Bytes) -> F + Clone + 'static,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tls = authority.map(|authority| TlsAcceptor::from(authority.server.clone()));
    let scheme = if tls.is_some() { "https" } else { "http" };
    let counts = counts.clone();
    tokio::task::spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counts.connections.fetch_add(1, Ordering::Relaxed);
            let _ = stream.set_nodelay(true);
            let (answer, counts, tls) = (answer.clone(), counts.clone(), tls.clone());
            let service = service_fn(move |request: Request<Incoming>| {
                let (answer, counts) = (answer.clone(), counts.clone());
                async move {
                    let (head, body) = request.into_parts();
                    let Ok(body) = body.collect().await else { return Ok(Response::default()) };
                    counts.requests.fetch_add(1, Ordering::Relaxed);
                    Ok::<_, Infallible>(answer(head.uri.path().to_owned(), head.headers, body.to_bytes()).await)
                }
            });
            tokio::task::spawn_local(async move {
                let http = hyper::server::conn::http1::Builder::new();
                // A client that goes away is no error here.
                let _ = match tls {
                    None => http.serve_connection(TokioIo::new(stream), service).await,
                    Some(tls) => match tls.accept(stream).await {
                        Ok(stream) => http.serve_connection(TokioIo::new(stream), service).await,
                        Err(_) => Ok(()),
                    },
                };
            });
        }
    });
    format!("{scheme}://{address}")
}

fn response(status: u16, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    Response::builder().status(status).body(Full::new(body.into())).unwrap()
}

/// What a receiver answers.
#[derive(Clone, Default)]
pub struct Reply {
    pub status: u16,
    pub body: &'static str,
    pub delay: Duration,
}

pub const OK: Reply = Reply { status: 200, body: "ok", delay: Duration::ZERO };

/// A receiver of webhooks, by its base URL.
pub async fn receiver(authority: Option<&Authority>, counts: &Counts, reply: Reply) -> String {
    serve(authority, counts, move |_, _, _| {
        let reply = reply.clone();
        async move {
            if !reply.delay.is_zero() {
                tokio::time::sleep(reply.delay).await;
            }
            response(reply.status, reply.body)
        }
    })
    .await
}

/// Answers the calls that the function makes as AWS does: one secret, and queues that take everything.
pub async fn aws(authority: Option<&Authority>, counts: &Counts, secret: String, delay: Duration) -> String {
    aws_noting(authority, counts, secret, delay, |_, _| ()).await
}

/// The same, and shows each call to `note`: its action and its request.
pub async fn aws_noting(
    authority: Option<&Authority>,
    counts: &Counts,
    secret: String,
    delay: Duration,
    note: impl Fn(&str, &Value) + Clone + 'static,
) -> String {
    serve(authority, counts, move |_, headers, body| {
        let (secret, note) = (secret.clone(), note.clone());
        async move {
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            let action = headers.get("x-amz-target").and_then(|name| name.to_str().ok()).unwrap_or_default();
            let action = action.rsplit('.').next().unwrap_or_default();
            let request: Value = serde_json::from_slice(&body).unwrap_or_default();
            note(action, &request);
            let ids = || {
                let entries = request["Entries"].as_array().cloned().unwrap_or_default();
                entries
                    .into_iter()
                    .map(|entry| json!({ "Id": entry["Id"], "MessageId": "m", "MD5OfMessageBody": "" }))
                    .collect::<Vec<_>>()
            };
            let answer = match action {
                "GetSecretValue" => {
                    json!({ "ARN": "arn", "Name": "destinations", "VersionId": "v", "SecretString": secret })
                }
                "SendMessage" => json!({ "MessageId": "8d4f6a9c-7e67-4b8b-9d0f-0123456789ab", "MD5OfMessageBody": "" }),
                "SendMessageBatch" | "ChangeMessageVisibilityBatch" => json!({ "Successful": ids(), "Failed": [] }),
                "ChangeMessageVisibility" => json!({}),
                other => panic!("the function calls {other}, which this stand-in for AWS does not know"),
            };
            response(200, answer.to_string())
        }
    })
    .await
}

/// Lambda's Runtime API for one process, which it hands one event at a time.
pub struct RuntimeApi {
    /// `host:port`, as `AWS_LAMBDA_RUNTIME_API` has it.
    pub address: String,
    events: mpsc::UnboundedSender<Event>,
    asked: mpsc::UnboundedReceiver<Instant>,
}

struct Event {
    body: Bytes,
    answer: oneshot::Sender<Answer>,
}

/// What the function answered.
pub struct Answer {
    pub body: Bytes,
    /// From the event's being handed over to its answer.
    pub took: Duration,
    pub succeeded: bool,
}

impl RuntimeApi {
    pub async fn start() -> Self {
        let (events, waiting) = mpsc::unbounded_channel::<Event>();
        let (asks, asked) = mpsc::unbounded_channel();
        let waiting = Arc::new(Mutex::new(waiting));
        let running = Arc::new(std::sync::Mutex::new(None::<(Instant, oneshot::Sender<Answer>)>));
        let url = serve(None, &Counts::default(), move |path, _, body| {
            let (asks, waiting, running) = (asks.clone(), waiting.clone(), running.clone());
            async move {
                if path.ends_with("/next") {
                    let _ = asks.send(Instant::now());
                    let Some(event) = waiting.lock().await.recv().await else { return response(500, "") };
                    *running.lock().unwrap() = Some((Instant::now(), event.answer));
                    return next(event.body);
                }
                let succeeded = path.ends_with("/response");
                if let Some((since, answer)) = running.lock().unwrap().take() {
                    let _ = answer.send(Answer { body, took: since.elapsed(), succeeded });
                } else {
                    eprintln!("{path}: {}", String::from_utf8_lossy(&body));
                }
                response(202, "")
            }
        })
        .await;
        Self { address: url.trim_start_matches("http://").to_owned(), events, asked }
    }

    /// Waits until the function asks for an event.
    pub async fn asked(&mut self) -> Option<Instant> {
        self.asked.recv().await
    }

    /// Hands an event over; the function must have asked for it.
    pub async fn invoke(&self, body: Bytes) -> Option<Answer> {
        let (answer, answered) = oneshot::channel();
        self.events.send(Event { body, answer }).ok()?;
        answered.await.ok()
    }
}

fn next(event: Bytes) -> Response<Full<Bytes>> {
    /// As the template's function has it.
    const TIMEOUT: Duration = Duration::from_secs(330);
    let deadline = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap() + TIMEOUT;
    Response::builder()
        .header("Lambda-Runtime-Aws-Request-Id", "8476a536-e9f4-11e8-9739-2dfe598c3fcd")
        .header("Lambda-Runtime-Deadline-Ms", deadline.as_millis().to_string())
        .header(
            "Lambda-Runtime-Invoked-Function-Arn",
            "arn:aws:lambda:us-east-1:123456789012:function:detection-outcome-handler",
        )
        .header("Lambda-Runtime-Trace-Id", "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Parent=9a9197af755a6419;Sampled=1")
        .header("Content-Type", "application/json")
        .body(Full::new(event))
        .unwrap()
}
