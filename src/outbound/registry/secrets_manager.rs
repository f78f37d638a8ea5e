//! AWS Secrets Manager: the destinations document as one secret, and the secrets that destinations refer to.

use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::error::ProvideErrorMetadata;
use secrecy::SecretString;

use crate::outbound::aws::Service;

/// Reads the current value of a secret. The error says what to look at, and nothing of the value.
pub(super) async fn read(service: &Service<Client>, id: &str) -> Result<SecretString, String> {
    let answer = service
        .client()
        .await
        .get_secret_value()
        .secret_id(id)
        .send()
        .await
        .map_err(|error| format!("the secret {id} cannot be read: {}", super::reason(error.code())))?;
    answer.secret_string.map(SecretString::from).ok_or_else(|| format!("the secret {id} has no text value"))
}
