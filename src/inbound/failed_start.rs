//! Tells Lambda why the function cannot start, so that whoever invoked it is told as well.

use lambda_runtime_api_client::body::Body;
use lambda_runtime_api_client::{BoxError, PooledClient, build_request};
use serde_json::json;

/// Reports the failure as the Runtime API's "initialization error". Best effort: the log line has said it already.
pub async fn report_failed_start(problems: &str) {
    let _ = report(problems).await;
}

async fn report(problems: &str) -> Result<(), BoxError> {
    let body = json!({ "errorType": "InvalidSettings", "errorMessage": problems }).to_string();
    let request = build_request()
        .method("POST")
        .uri("/2018-06-01/runtime/init/error")
        .header("lambda-runtime-function-error-type", "InvalidSettings")
        .body(Body::from(body))?;
    PooledClient::builder().build().call(request).await?;
    Ok(())
}
