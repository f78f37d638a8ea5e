//! One HTTP request to one destination. It states what happened; the failure's row judges it.
//!
//! The client's error stays in here and in `error`: its text holds the URL, and with it the secrets.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

use futures_util::future::BoxFuture;
use http::{HeaderName, HeaderValue, header};
use reqwest::Client;
use rustls::ClientConfig;
use tower_layer::layer_fn;
use tower_service::Service;
use url::Host;

use super::guard::{self, Guard};
use super::origins::Origins;
use super::progress::{self, Part, Progress, Steps};
use super::redact::{Secrets, redirect};
use super::{error, excerpt, tls};
use crate::domain::address::{AllowedNetworks, Blocked};
use crate::domain::attempt::{Address, Attempt, Timings, retry_after};
use crate::domain::destination::Target;
use crate::domain::endpoint::Endpoint;
use crate::domain::failure::{Code, Failure, in_words};
use crate::domain::outcome::Payload;
use crate::domain::signature::signature;

/// Sockets die while Lambda freezes the process between two invocations: a short idle time keeps few of them.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(4);

/// Less is not enough to connect and to be answered: an attempt would only leave open whether it was received.
const LEAST_USEFUL: Duration = Duration::from_millis(250);

/// Headers of a response. hyper's own limit, 100, is less than what some sites send, and would make a failure of a 200.
/// How long a head may be in all is hyper's to limit, at about 400 KiB.
const MAX_HEADERS: usize = 1024;

/// What is read of a success's body, so that a receiver that goes on writing is not cut off and its connection can be
/// used again. It decides nothing.
const DRAINED: usize = 64 << 10;
const DRAINED_FOR: Duration = Duration::from_secs(1);

/// Headers of Standard Webhooks.
const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// The clients for webhooks, made once per cold start.
#[derive(Debug)]
pub struct Webhook {
    https: Guarded,
    /// A client of its own, because a resolver is not told the scheme that it resolves for.
    http: Guarded,
    tls: ClientConfig,
    origins: Origins,
}

#[derive(Debug)]
struct Guarded {
    client: Client,
    guard: Guard,
}

/// The clients could not be made. It does not depend on any destination.
#[derive(Debug, thiserror::Error)]
#[error("the HTTP client cannot be built")]
pub struct ClientUnavailable;

/// How long an attempt may take, and what ends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttemptTimeout {
    time: Duration,
    /// The destination's timeout.
    configured: Duration,
}

impl AttemptTimeout {
    /// The destination's timeout, or what is left of the invocation where that is less; nothing where too little is left.
    pub fn of(configured: Duration, left: Duration) -> Option<Self> {
        let timeout = Self { time: configured.min(left), configured };
        Some(timeout).filter(|timeout| timeout.time >= LEAST_USEFUL.min(configured))
    }
}

impl Webhook {
    pub fn new(allowed: &Arc<AllowedNetworks>, tls: ClientConfig) -> Result<Self, ClientUnavailable> {
        let guarded = |plain_http| {
            let guard = Guard::new(allowed.clone(), plain_http);
            let client = Client::builder()
                .tls_backend_preconfigured(tls.clone())
                .dns_resolver(Arc::new(guard.clone()))
                .https_only(!plain_http)
                // Defaults that would be wrong here: ten redirects, the environment's proxies, two silent retries.
                .redirect(reqwest::redirect::Policy::none())
                .no_proxy()
                .retry(reqwest::retry::never())
                .referer(false)
                .http1_only()
                // A receiver that says 200 has it, however badly it writes its headers.
                .http1_allow_obsolete_multiline_headers_in_responses(true)
                .http1_allow_spaces_after_header_name_in_responses(true)
                .http1_ignore_invalid_headers_in_responses(true)
                .http1_max_headers(MAX_HEADERS)
                .pool_idle_timeout(POOL_IDLE_TIMEOUT)
                .user_agent(concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION")))
                .connector_layer(layer_fn(Timed))
                .build()
                .map_err(|_| ClientUnavailable)?;
            Ok(Guarded { client, guard })
        };
        Ok(Self { https: guarded(false)?, http: guarded(true)?, tls, origins: Origins::default() })
    }

    /// The same for a probe: without open connections and TLS sessions, so that every step of an attempt is taken.
    pub fn for_probe(&self) -> Result<Self, ClientUnavailable> {
        Self::new(&self.https.guard.allowed, tls::for_probe(self.tls.clone()))
    }

    /// Why a target's address may never be connected to, as far as its URL tells.
    pub fn blocked(&self, target: &Target) -> Option<Blocked> {
        let Guarded { guard, .. } = self.guarded(&target.endpoint);
        guard.literal(target.endpoint.host())?.blocked
    }

    fn guarded(&self, endpoint: &Endpoint) -> &Guarded {
        if endpoint.is_plain_http() { &self.http } else { &self.https }
    }

    /// POSTs the payload. One timer covers everything from the name's resolution to the response's head.
    pub async fn post(&self, target: &Target, payload: &Payload, timeout: AttemptTimeout) -> Attempt {
        let Guarded { client, guard } = self.guarded(&target.endpoint);
        let literal = guard.literal(target.endpoint.host());
        let blocked = literal.as_ref().and_then(guard::blocked);
        let post = Post { target, payload, timeout, signed: signed(target, payload), progress: Progress::default() };
        let attempt = |result: Result<u16, Failure>, steps: Steps, timings| Attempt {
            result: result.map_err(|failure| post.with_facts(failure, &steps.addresses)),
            timings,
            addresses: literal.into_iter().chain(steps.addresses).collect(),
            certificate_expires: steps.certificate_expires,
        };
        if let Some(blocked) = blocked {
            return attempt(Err(blocked), Steps::default(), Timings::default());
        }
        let request = post.request(client, self.origins.keep_alive(target.endpoint.origin()));
        let started = Instant::now();
        let response = tokio::time::timeout(timeout.time, post.progress.clone().scope(request.send())).await;
        let steps = post.progress.steps();
        let timings = steps.timings(started, matches!(response, Ok(Ok(_))));
        let left = timeout.time.saturating_sub(started.elapsed());
        let result = match response {
            // The status line decides.
            Ok(Ok(response)) if response.status().is_success() => {
                let status = response.status().as_u16();
                drain(response, left).await;
                Ok(status)
            }
            Ok(Ok(response)) => Err(post.refused(response, left).await),
            Ok(Err(error)) => Err(error::failure(&error, &steps, &post.secrets())),
            Err(_) => Err(timed_out(timeout, steps.part())),
        };
        attempt(result, steps, timings)
    }
}

/// One request, and what its failure may have to say.
struct Post<'a> {
    target: &'a Target,
    payload: &'a Payload,
    timeout: AttemptTimeout,
    /// A signature and the time that it is of, for a target with keys.
    signed: Option<(u64, String)>,
    progress: Progress,
}

impl Post<'_> {
    fn request(&self, client: &Client, keep_alive: bool) -> reqwest::RequestBuilder {
        let endpoint = &self.target.endpoint;
        let mut request = client.post(endpoint.expose_url().clone());
        if let Some((user, password)) = endpoint.expose_credentials() {
            request = request.basic_auth(user, Some(password));
        }
        request = request
            .headers(self.target.headers.clone())
            .header(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .header(WEBHOOK_ID, &self.payload.webhook_id);
        if let Some((timestamp, signature)) = &self.signed {
            request = request.header(WEBHOOK_TIMESTAMP, *timestamp).header(WEBHOOK_SIGNATURE, signature);
        }
        if !keep_alive {
            request = request.header(header::CONNECTION, HeaderValue::from_static("close"));
        }
        request.body(reqwest::Body::wrap(self.progress.watch(self.payload.body.clone())))
    }

    fn secrets(&self) -> Secrets {
        Secrets::of(self.target, self.signed.as_ref().map(|(_, signature)| signature.as_str()))
    }

    /// What every failure of an attempt may say: where it went, and how long it was given.
    fn with_facts(&self, failure: Failure, led_to: &[Address]) -> Failure {
        let endpoint = &self.target.endpoint;
        let host = endpoint.host().map(|host| host.to_string()).unwrap_or_default();
        let is_name = matches!(endpoint.host(), Some(Host::Domain(_)));
        let leads =
            if is_name { format!("the host name {host} leads to ") } else { "the `url` has the address ".to_owned() };
        let port = endpoint.expose_url().port_or_known_default().unwrap_or_default();
        let addresses: Vec<_> =
            led_to.iter().filter(|address| address.blocked.is_none()).map(|a| a.ip.to_string()).collect();
        let at = if addresses.is_empty() { String::new() } else { format!(" ({}, port {port})", addresses.join(", ")) };
        failure
            .with("openssl", format_args!("`openssl s_client -connect {host}:{port} -servername {host}`"))
            .with("endpoint", endpoint.origin())
            .with("host", host)
            .with("leads", leads)
            .with("port", port)
            .with("at", at)
            .with("limit", in_words(self.timeout.time))
            .with("timeout", in_words(self.timeout.configured))
            .with("webhook_id", &self.payload.webhook_id)
    }

    /// An answer other than 2xx, with what its head asks for and what its body says.
    async fn refused(&self, response: reqwest::Response, left: Duration) -> Failure {
        let secrets = self.secrets();
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let asked = headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
        let asked = asked.and_then(|value| retry_after(value, SystemTime::now()));
        // Only 2xx is no failure, and that was told apart.
        let mut failure = Failure::of_status(status, asked).unwrap_or(Failure::new(Code::UnexpectedStatus));
        if failure.code == Code::Redirect {
            let to = redirect(self.target.endpoint.expose_url(), headers.get(header::LOCATION), &secrets);
            failure = failure.with("advice", to.advice).with("location", to.place);
        }
        let (body, is_whole) = excerpt::read(response, left).await;
        let excerpt = secrets.excerpt(&headers, &body, is_whole, self.payload);
        if status == 413 {
            // RFC 9110, section 15.5.14: "Content Too Large".
            failure = failure.with("reason", format_args!(" (its {} bytes are too many)", self.payload.body.len()));
        } else if body.is_empty() {
            failure = failure.with("reason", "; it gives no reason");
        }
        Failure { excerpt, ..failure }
    }
}

fn signed(target: &Target, payload: &Payload) -> Option<(u64, String)> {
    if target.signing_keys.is_empty() {
        return None;
    }
    // Of this attempt: receivers refuse old timestamps (Standard Webhooks, "Webhook Headers").
    let timestamp = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    Some((timestamp, signature(&target.signing_keys, &payload.webhook_id, timestamp, &payload.body)))
}

fn timed_out(timeout: AttemptTimeout, part: Part) -> Failure {
    let code = match part {
        _ if timeout.time < timeout.configured => Code::Deadline,
        Part::Dns => Code::DnsTimeout,
        Part::Connect => Code::ConnectTimeout,
        Part::Handshake => Code::TlsTimeout,
        Part::Response => Code::Timeout,
    };
    Failure { maybe_received: part == Part::Response, ..Failure::new(code) }
}

/// Reads the rest of a success, whatever it is.
async fn drain(mut response: reqwest::Response, left: Duration) {
    let reading = async {
        let mut read = 0;
        while let Ok(Some(chunk)) = response.chunk().await {
            read += chunk.len();
            if read > DRAINED {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(left.min(DRAINED_FOR), reading).await;
}

/// A connector that notes when a connection begins and when it stands.
#[derive(Clone)]
struct Timed<S>(S);

impl<S, R> Service<R> for Timed<S>
where
    S: Service<R>,
    S::Future: Send + 'static,
    S::Response: Send,
    S::Error: Send,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, target: R) -> Self::Future {
        let connecting = self.0.call(target);
        Box::pin(async move {
            progress::note(Steps::connecting);
            let connection = connecting.await?;
            progress::note(Steps::connected);
            Ok(connection)
        })
    }
}
