use standardwebhooks::{Webhook, WebhookError};

fn verified<'a>(secret: &str, headers: &http::HeaderMap, body: &'a [u8]) -> Result<&'a [u8], WebhookError> {
    Webhook::new(secret)?.verify(body, headers)?;
    Ok(body)
}
