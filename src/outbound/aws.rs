//! AWS's own clients, on an HTTP client that shares the webhooks' TLS configuration and nothing else of theirs: the
//! guard would refuse a VPC endpoint, which is a private address.

use std::time::Duration;

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_secretsmanager::config::BehaviorVersion;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::retry::{ReconnectMode, RetryConfig};
use aws_smithy_types::timeout::TimeoutConfig;
use aws_types::SdkConfig;
use aws_types::region::Region;
use secrecy::{ExposeSecret, SecretString};

use super::webhook::ClientUnavailable;

/// Where AWS is and as whom it is called: what Lambda sets in every function's environment.
#[derive(Debug, Clone, Default)]
pub struct AwsSettings {
    pub region: Option<String>,
    /// Another endpoint than AWS's, for emulators.
    pub endpoint_url: Option<String>,
    pub access_key_id: String,
    pub secret_access_key: SecretString,
    pub session_token: Option<SecretString>,
}

/// What carries the requests of AWS's clients.
pub fn http_client(tls: &rustls::ClientConfig) -> Result<SharedHttpClient, ClientUnavailable> {
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
    Ok(SharedHttpClient::new(Connector(client)))
}

/// What every AWS client is made of. Making it calls nobody.
pub fn config(settings: &AwsSettings, tls: &rustls::ClientConfig) -> Result<SdkConfig, ClientUnavailable> {
    let credentials = Credentials::new(
        &settings.access_key_id,
        settings.secret_access_key.expose_secret(),
        settings.session_token.as_ref().map(|token| token.expose_secret().to_owned()),
        None,
        "environment",
    );
    let timeouts = TimeoutConfig::builder()
        .operation_attempt_timeout(Duration::from_secs(3))
        .operation_timeout(Duration::from_secs(8))
        .build();
    let retries = RetryConfig::standard()
        .with_max_attempts(3)
        .with_initial_backoff(Duration::from_millis(100))
        // The SDK would close a connection after an error of AWS, finds none of its own, and logs that as an error.
        .with_reconnect_mode(ReconnectMode::ReuseAllConnections);
    let mut config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .http_client(http_client(tls)?)
        .retry_config(retries)
        .timeout_config(timeouts);
    config.set_region(settings.region.clone().map(Region::new));
    config.set_endpoint_url(settings.endpoint_url.clone());
    Ok(config.build())
}

/// Carries the SDK's requests over reqwest. Bodies are whole on both sides: all of them are small.
#[derive(Debug, Clone)]
struct Connector(reqwest::Client);

impl HttpClient for Connector {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

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
    let response = client.execute(request).await.map_err(failed)?;
    let mut answer = http::Response::builder().status(response.status());
    if let Some(headers) = answer.headers_mut() {
        headers.clone_from(response.headers());
    }
    let body = response.bytes().await.map_err(failed)?;
    let answer = answer.body(SdkBody::from(body)).map_err(|error| ConnectorError::other(error.into(), None))?;
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
