//! Puts the secrets in place that destinations refer to.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_secretsmanager::Client;
use futures_util::future::join_all;
use secrecy::{ExposeSecret, SecretString};

use super::cache::{Cache, Want};
use super::secrets_manager;
use crate::domain::destination::Destination;
use crate::domain::json::{members, string};
use crate::domain::reference::{Reference, Resolved};

/// Referenced secrets, each read at most once per time to live.
#[derive(Debug)]
pub(super) struct Secrets {
    /// Without AWS's settings (a trial on a developer's machine) no reference has a value.
    client: Option<Client>,
    cache: Cache<SecretString>,
}

/// The values that were found, and for what was not, why.
pub(super) struct Values {
    pub(super) resolved: Resolved,
    pub(super) missing: BTreeMap<Reference, String>,
}

impl Secrets {
    pub(super) fn new(client: Option<Client>, ttl: Duration) -> Self {
        Self { client, cache: Cache::new("referenced secrets", ttl) }
    }

    /// Reads what the destinations refer to, all of it at once.
    pub(super) async fn values(&self, destinations: &[&Destination], want: Want) -> Values {
        let mut by_secret: BTreeMap<&str, Vec<&Reference>> = BTreeMap::new();
        for reference in destinations.iter().flat_map(|destination| destination.references()) {
            by_secret.entry(&reference.secret).or_default().push(reference);
        }
        let texts = join_all(by_secret.keys().map(|id| self.text(id, want))).await;
        let mut values = Values { resolved: Resolved::default(), missing: BTreeMap::new() };
        for (references, text) in by_secret.into_values().zip(texts) {
            for reference in references {
                let value = text.as_ref().map_err(Clone::clone).and_then(|text| pick(text, reference));
                match value {
                    Ok(value) => values.resolved.insert(reference.clone(), value),
                    Err(reason) => drop(values.missing.insert(reference.clone(), reason)),
                }
            }
        }
        values
    }

    async fn text(&self, id: &str, want: Want) -> Result<SecretString, String> {
        let look_up = async {
            let client =
                self.client.as_ref().ok_or("references need AWS's region and credentials in the environment")?;
            Box::pin(secrets_manager::read(client, id)).await
        };
        Ok(self.cache.get(id, want, look_up).await?.value)
    }
}

/// The whole text, or one member where the text is a JSON object, as Secrets Manager's console writes them.
fn pick(text: &SecretString, reference: &Reference) -> Result<SecretString, String> {
    let Some(key) = &reference.key else { return Ok(text.clone()) };
    let members = members(text.expose_secret())
        .map_err(|_| format!("the secret {} is no JSON object, so it has no key {key}", reference.secret))?;
    match members.get(key) {
        Some(value) => match string(value) {
            Some(text) => Ok(text.into()),
            // As it is written: a number that was read may come out as another one.
            None if value.get().starts_with(|c: char| c == '-' || c.is_ascii_digit()) => Ok(value.get().into()),
            None => Err(format!("the key {key} of the secret {} is no text", reference.secret)),
        },
        None => Err(format!("the secret {} has no key {key}", reference.secret)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_picks_a_member_and_no_key_takes_the_whole() {
        let reference = |key: Option<&str>| Reference { secret: "s".into(), key: key.map(Into::into) };
        let text = SecretString::from(r#"{"token":"SECRET","n":12345678901234567890123.10,"o":{}}"#);
        let value = |key| pick(&text, &reference(key)).map(|value| value.expose_secret().to_owned());
        assert_eq!(value(None).unwrap(), text.expose_secret());
        assert_eq!(value(Some("token")).unwrap(), "SECRET");
        assert_eq!(value(Some("n")).unwrap(), "12345678901234567890123.10");
        for (text, key) in [
            (text.expose_secret(), "o"),
            (text.expose_secret(), "gone"),
            ("SECRET", "token"),
            ("[\"SECRET\"]", "token"),
        ] {
            let error = pick(&text.into(), &reference(Some(key))).unwrap_err();
            assert!(!error.contains("SECRET"), "{error}");
        }
    }
}
