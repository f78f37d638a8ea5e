//! A destinations document in a file beside the function.

use std::path::Path;

use secrecy::SecretString;

pub(super) async fn read(path: &Path) -> Result<SecretString, String> {
    let failed = |reason: String| format!("the file {} cannot be read: {reason}", path.display());
    let bytes = tokio::fs::read(path).await.map_err(|error| failed(error.kind().to_string()))?;
    String::from_utf8(bytes).map(SecretString::from).map_err(|_| failed("it is no UTF-8 text".to_owned()))
}
