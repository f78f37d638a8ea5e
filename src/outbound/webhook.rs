//! One HTTP request to one destination. It states what happened and judges nothing.
//!
//! The client's error stays in here: its text holds the URL, and with it the secrets.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

use futures_util::future::BoxFuture;
use http::{HeaderValue, header};
use reqwest::Client;
use rustls::ClientConfig;
use tower_layer::Layer;
use tower_service::Service;

use super::cause::cause;
use super::excerpt;
use super::guard::Guard;
use super::secrets::Secrets;
use super::tls;
use super::trace::{self, Trace};
use crate::domain::address::{AllowedNetworks, Blocked};
use crate::domain::attempt::{Attempt, AttemptResult, Cause, Phase, Sent, Timings, retry_after};
use crate::domain::destination::Target;
use crate::domain::endpoint::{Endpoint, origin};
use crate::domain::outcome::Payload;
use crate::domain::signature::signature;

/// Sockets die while Lambda freezes the process between two invocations: a short idle time keeps few of them.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(4);

/// Less is not enough to connect and to be answered: an attempt would only make the delivery ambiguous.
const LEAST_USEFUL: Duration = Duration::from_millis(250);

/// The clients for webhooks, made once per cold start.
#[derive(Debug)]
pub struct Webhook {
    https: Guarded,
    /// A client of its own, because a resolver is not told the scheme that it resolves for.
    http: Guarded,
    tls: ClientConfig,
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

/// What ends an attempt that gets no response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// The destination's timeout.
    Timeout(Duration),
    /// What is left of the invocation, where that is less.
    Deadline(Duration),
}

impl Limit {
    /// The lesser of a destination's timeout and what is left of the invocation; nothing where too little is left.
    pub fn of(timeout: Duration, left: Duration) -> Option<Self> {
        if timeout <= left {
            Some(Self::Timeout(timeout))
        } else {
            Some(Self::Deadline(left)).filter(|_| left >= LEAST_USEFUL)
        }
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
                .pool_idle_timeout(POOL_IDLE_TIMEOUT)
                .user_agent(concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION")))
                .connector_layer(TimedLayer)
                .build()
                .map_err(|_| ClientUnavailable)?;
            Ok(Guarded { client, guard })
        };
        Ok(Self { https: guarded(false)?, http: guarded(true)?, tls })
    }

    /// The same without open connections and TLS sessions, so that every step of an attempt is taken.
    pub fn without_connections(&self) -> Result<Self, ClientUnavailable> {
        Self::new(&self.https.guard.allowed, tls::without_sessions(self.tls.clone()))
    }

    /// Why a target's address may never be connected to, as far as its URL tells.
    pub fn refusal(&self, target: &Target) -> Option<Blocked> {
        let Guarded { guard, .. } = self.guarded(&target.endpoint);
        guard.literal(target.endpoint.host())?.blocked
    }

    fn guarded(&self, endpoint: &Endpoint) -> &Guarded {
        if endpoint.is_plain_http() { &self.http } else { &self.https }
    }

    /// POSTs the payload. One timer covers everything from the name's resolution to the response's head.
    pub async fn post(&self, target: &Target, payload: &Payload, limit: Limit) -> Attempt {
        let endpoint = &target.endpoint;
        let Guarded { client, guard } = self.guarded(endpoint);
        let literal = guard.literal(endpoint.host());
        if let Some(refusal) = literal.and_then(|address| address.blocked) {
            let result = AttemptResult::Failed { cause: Cause::Refused(refusal), sent: Sent::Nothing };
            return Attempt { result, timings: Timings::default(), addresses: literal.into_iter().collect() };
        }
        let trace = Trace::default();
        let signed = Signed::new(target, payload);
        let request = request(client, target, payload, signed.as_ref(), &trace);
        let secrets = || Secrets::of(target, signed.as_ref().map(|signed| signed.signature.as_str()));
        let started = Instant::now();
        let (Limit::Timeout(time) | Limit::Deadline(time)) = limit;
        let response = tokio::time::timeout(time, trace.clone().scope(request.send())).await;
        let timings = trace.timings(started, matches!(response, Ok(Ok(_))));
        let result = match response {
            // The status line decides; of a success nothing more is read.
            Ok(Ok(response)) if response.status().is_success() => {
                let status = response.status().as_u16();
                AttemptResult::Response { status, retry_after: None, location_origin: None, excerpt: None }
            }
            Ok(Ok(response)) => {
                failed(response, target, &secrets(), payload, time.saturating_sub(started.elapsed())).await
            }
            Ok(Err(error)) => {
                let (cause, sent) = cause(&error, &trace, &secrets());
                AttemptResult::Failed { cause, sent }
            }
            Err(_) => {
                let phase = trace.phase();
                let cause = match limit {
                    Limit::Timeout(_) => Cause::Timeout(phase),
                    Limit::Deadline(_) => Cause::Deadline(phase),
                };
                AttemptResult::Failed {
                    cause,
                    sent: if phase == Phase::Response { Sent::Maybe } else { Sent::Nothing },
                }
            }
        };
        let addresses = literal.into_iter().chain(trace.addresses()).collect();
        Attempt { result, timings, addresses }
    }
}

/// A signature and the time that it is of.
struct Signed {
    timestamp: u64,
    signature: String,
}

impl Signed {
    fn new(target: &Target, payload: &Payload) -> Option<Self> {
        if target.signing_keys.is_empty() {
            return None;
        }
        // Of this attempt: receivers refuse old timestamps (Standard Webhooks, "Webhook Headers").
        let timestamp = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let signature = signature(&target.signing_keys, &payload.webhook_id, timestamp, &payload.body);
        Some(Self { timestamp, signature })
    }
}

fn request(
    client: &Client,
    target: &Target,
    payload: &Payload,
    signed: Option<&Signed>,
    trace: &Trace,
) -> reqwest::RequestBuilder {
    let endpoint = &target.endpoint;
    let mut request = client.post(endpoint.expose_url().clone());
    if let Some((user, password)) = endpoint.expose_credentials() {
        request = request.basic_auth(user, Some(password));
    }
    request = request
        .headers(target.headers.clone())
        .header(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))
        .header("webhook-id", &payload.webhook_id);
    if let Some(Signed { timestamp, signature }) = signed {
        request = request.header("webhook-timestamp", *timestamp).header("webhook-signature", signature);
    }
    request.body(reqwest::Body::wrap(trace.watch(payload.body.clone())))
}

/// A failure, with what its head asks for and a little of what its body says.
async fn failed(
    response: reqwest::Response,
    target: &Target,
    secrets: &Secrets,
    payload: &Payload,
    left: Duration,
) -> AttemptResult {
    let text = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    let status = response.status().as_u16();
    let retry_after = text(header::RETRY_AFTER).and_then(|value| retry_after(value, SystemTime::now()));
    let location_origin = text(header::LOCATION)
        .and_then(|location| target.endpoint.expose_url().join(location).ok())
        .and_then(|location| origin(&location))
        // A host can be made of what was sent, and longer than any name (RFC 1035, section 2.3.4).
        .map(|origin| secrets.clean_name(&origin, 253));
    let excerpt = excerpt::excerpt(&excerpt::read(response, left).await, secrets, payload);
    AttemptResult::Response { status, retry_after, location_origin, excerpt }
}

/// Tells the trace when a connection begins and when it stands.
#[derive(Clone)]
struct TimedLayer;

impl<S> Layer<S> for TimedLayer {
    type Service = Timed<S>;

    fn layer(&self, connector: S) -> Timed<S> {
        Timed(connector)
    }
}

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
            trace::connecting();
            let connection = connecting.await?;
            trace::connected();
            Ok(connection)
        })
    }
}
