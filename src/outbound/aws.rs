//! AWS's own clients. Their HTTP client shares nothing with the webhooks': the address guard would block a VPC endpoint,
//! which is a private address, and a receivers' authority (`EXTRA_CA_BUNDLE`) must not vouch for an endpoint of AWS.

use std::ops::Deref;
use std::sync::LazyLock;
use std::time::Duration;

use aws_sdk_secretsmanager::config::BehaviorVersion;
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use aws_smithy_types::retry::{ReconnectMode, RetryConfig};
use aws_smithy_types::timeout::TimeoutConfig;
use aws_types::SdkConfig;
use aws_types::region::Region;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::tls::{self, Authorities};
use super::webhook::ClientUnavailable;
use crate::domain::failure::{AwsReason, Code, Failure};
use crate::domain::problem::printable;

/// Writes to SQS at once. With every receiver down, 500 deliveries opened 600 TLS connections to it, and on a small
/// function many of their writes timed out.
pub(super) const WRITES: usize = 8;

/// Look-ups at once in DynamoDB, and in Secrets Manager: each has its own, so that one that hangs holds up no other.
pub(super) const LOOK_UPS: usize = 16;

/// The HTTP client under AWS's clients.
fn http_client(tls: &rustls::ClientConfig) -> Result<SharedHttpClient, ClientUnavailable> {
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(tls.clone())
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .connect_timeout(Duration::from_secs(2))
        // As for webhooks: sockets die while the process is frozen.
        .pool_idle_timeout(Duration::from_secs(4))
        .build()
        .map_err(|_| ClientUnavailable)?;
    let connector = SharedHttpConnector::new(Connector(client));
    Ok(http_client_fn(move |_, _| connector.clone()))
}

/// The configuration that all clients share: where AWS is and as whom it is called, as the environment says, and how it
/// is called. Makes no network calls.
pub fn config(settings: SdkConfig, authorities: &Authorities) -> Result<SdkConfig, ClientUnavailable> {
    let timeouts = TimeoutConfig::builder()
        .operation_attempt_timeout(Duration::from_secs(3))
        .operation_timeout(Duration::from_secs(8))
        .build();
    let retries = RetryConfig::standard()
        .with_max_attempts(3)
        .with_initial_backoff(Duration::from_millis(100))
        // The SDK would close a connection after an error of AWS, finds none of its own, and logs that as an error.
        .with_reconnect_mode(ReconnectMode::ReuseAllConnections);
    let http = http_client(&tls::config(authorities)?)?;
    let config = settings.into_builder().behavior_version(BehaviorVersion::latest()).http_client(http);
    Ok(config.retry_config(retries).timeout_config(timeouts).build())
}

/// A client of one of AWS's services, with a bound on the calls that run at once.
///
/// The client is made when it is first needed: for each, the SDK reads the list of AWS's partitions, which costs as much
/// as the rest of a cold start.
#[derive(Debug)]
pub(super) struct Service<C> {
    client: LazyLock<C, Box<dyn FnOnce() -> C + Send>>,
    pub(super) region: Option<Region>,
    places: Semaphore,
}

impl<C: 'static> Service<C> {
    pub(super) fn new(config: &SdkConfig, at_once: usize, new: fn(&SdkConfig) -> C) -> Self {
        let config = config.clone();
        let region = config.region().cloned();
        Self { client: LazyLock::new(Box::new(move || new(&config))), region, places: Semaphore::new(at_once) }
    }

    /// Waits for a place and returns the client, for one call.
    ///
    /// Callers wait out here and not in the connector, where the SDK's timeouts run: a call that waits among others
    /// would fail of the load alone. The invocation's deadline bounds the wait.
    pub(super) async fn client(&self) -> Permit<'_, C> {
        // The semaphore is never closed.
        let permit = self.places.acquire().await.ok();
        Permit { client: &self.client, _permit: permit }
    }
}

impl<C> Service<C> {
    /// For people: a name alone leaves open where it is.
    pub(super) fn region(&self) -> &str {
        self.region.as_ref().map_or("no region", Region::as_ref)
    }
}

/// A client that one call may use, for as long as it holds this.
pub(super) struct Permit<'a, C> {
    client: &'a C,
    _permit: Option<SemaphorePermit<'a>>,
}

impl<C> Deref for Permit<'_, C> {
    type Target = C;

    fn deref(&self) -> &C {
        self.client
    }
}

/// A call that failed, as a failure of this code; `what` was asked for.
pub(super) fn failure(code: Code, what: &str, error: &impl ProvideErrorMetadata) -> Failure {
    let reason = reason(error.code(), error.message());
    Failure::of_aws(code, what, reason, &printable(error.code().unwrap_or_default(), 64))
}

const NOT_FOUND: [&str; 3] = ["ResourceNotFound", "NonExistentQueue", "QueueDoesNotExist"];

/// Reasons, each by parts of AWS's error code and, where some share a code, of the message in lower case. The first row
/// that fits counts; the empty part is in every code.
const REASONS: [(AwsReason, &[&str], &[&str]); 13] = [
    (AwsReason::KmsDenied, &["Kms", "KMS"], &[]),
    (AwsReason::KmsDenied, &["AccessDenied"], &["kms"]),
    (AwsReason::AccessDenied, &["AccessDenied", "NotAuthorized", "AuthorizationError"], &[]),
    (AwsReason::Deleted, &[""], &["marked for deletion", "marked deleted", "scheduled for deletion"]),
    (AwsReason::Deleted, &["QueueDeletedRecently"], &[]),
    (AwsReason::NoVersion, &NOT_FOUND, &["staging label", "awscurrent"]),
    (AwsReason::NotFound, &NOT_FOUND, &[]),
    (AwsReason::Throttled, &["Throttl", "TooManyRequests", "SlowDown", "OverLimit"], &[]),
    (AwsReason::Throttled, &["RequestLimitExceeded", "ProvisionedThroughputExceeded"], &[]),
    (AwsReason::NoCredentials, &["UnrecognizedClient", "InvalidClientTokenId", "ExpiredToken"], &[]),
    (AwsReason::NoCredentials, &["InvalidSignature", "SignatureDoesNotMatch", "IncompleteSignature"], &[]),
    (AwsReason::NoCredentials, &["MissingAuthenticationToken"], &[]),
    (AwsReason::Internal, &["InternalServ", "InternalError", "InternalFailure", "ServiceUnavailable"], &[]),
];

/// Why a call failed. The message is not shown, because it repeats identities that are nobody's business in a log.
pub(super) fn reason(code: Option<&str>, message: Option<&str>) -> AwsReason {
    let Some(code) = code else { return AwsReason::NoPath };
    let message = message.unwrap_or_default().to_ascii_lowercase();
    let fits = |(_, codes, words): &&(_, &[&str], &[&str])| {
        codes.iter().any(|part| code.contains(part))
            && (words.is_empty() || words.iter().any(|word| message.contains(word)))
    };
    REASONS.iter().find(fits).map_or(AwsReason::Other, |(reason, ..)| *reason)
}

/// Carries the SDK's requests over reqwest. Bodies are whole on both sides: all of them are small.
#[derive(Debug, Clone)]
struct Connector(reqwest::Client);

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let client = self.0.clone();
        HttpConnectorFuture::new(async move { send(&client, request).await })
    }
}

async fn send(client: &reqwest::Client, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
    let request = request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?;
    let request = request.map(|body| reqwest::Body::from(body.bytes().unwrap_or_default().to_vec()));
    let request = reqwest::Request::try_from(request).map_err(|error| ConnectorError::user(error.into()))?;
    let mut response = client.execute(request).await.map_err(failed)?;
    let mut answer = http::Response::new(SdkBody::empty());
    *answer.status_mut() = response.status();
    *answer.headers_mut() = std::mem::take(response.headers_mut());
    *answer.body_mut() = response.bytes().await.map_err(failed)?.into();
    HttpResponse::try_from(answer).map_err(|error| ConnectorError::other(error.into(), None))
}

/// The SDK tries again what it knows to be a matter of time or of the connection.
#[expect(
    clippy::disallowed_types,
    reason = "AWS's own endpoints have no secret in their URLs; it is cut off all the same"
)]
fn failed(error: reqwest::Error) -> ConnectorError {
    let error = error.without_url();
    if error.is_timeout() { ConnectorError::timeout(error.into()) } else { ConnectorError::io(error.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test]
    async fn a_client_is_made_once_on_first_need() {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let config = config(SdkConfig::builder().build(), &Authorities::new()).unwrap();
        let service = Service::new(&config, 2, |_| MADE.fetch_add(1, Ordering::SeqCst));
        assert_eq!(MADE.load(Ordering::SeqCst), 0);
        let (_first, _second) = (service.client().await, service.client().await);
        assert_eq!(MADE.load(Ordering::SeqCst), 1);
        assert_eq!(service.places.available_permits(), 0);
    }
}
