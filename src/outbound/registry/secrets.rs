//! Puts the secrets in place that destinations refer to.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use secrecy::{ExposeSecret, SecretString};
use serde_json::value::RawValue;

use super::cache::{Cache, Want};
use super::{SecretsManager, secrets_manager};
use crate::domain::destination::Destination;
use crate::domain::json::{members_as_written, string};
use crate::domain::template::{Reference, Resolved, trimmed};

/// Referenced secrets, each read at most once per time to live.
#[derive(Debug)]
pub(super) struct Secrets {
    /// Without AWS's settings (a trial on a developer's machine) no reference has a value.
    service: Option<SecretsManager>,
    cache: Cache<SecretString>,
    /// The secret that holds the destinations themselves, with the keys of them all: none of them may send it.
    own: Option<String>,
}

/// The values that were found, and for what was not, why.
pub(super) struct Values {
    pub(super) resolved: Resolved,
    pub(super) missing: BTreeMap<Reference, String>,
}

impl Secrets {
    pub(super) fn new(service: Option<SecretsManager>, ttl: Duration, own: Option<String>) -> Self {
        Self { service, cache: Cache::new("referenced secrets", ttl), own }
    }

    /// Reads what the destinations refer to, all of it at once.
    pub(super) async fn values(&self, destinations: &[&Destination], want: Want) -> Values {
        let mut by_secret: BTreeMap<&str, Vec<&Reference>> = BTreeMap::new();
        let mut values = Values { resolved: Resolved::default(), missing: BTreeMap::new() };
        for reference in destinations.iter().flat_map(|destination| destination.references()) {
            if self.own.as_ref().is_some_and(|own| reference.names_secret(own)) {
                let reason = format!("the secret {} holds the destinations: refer to another one", reference.secret);
                values.missing.insert(reference.clone(), reason);
            } else {
                by_secret.entry(&reference.secret).or_default().push(reference);
            }
        }
        let texts = join_all(by_secret.keys().map(|id| self.text(id, want))).await;
        for (references, text) in by_secret.into_values().zip(texts) {
            for reference in references {
                let value = text.as_ref().map_err(Clone::clone).and_then(|text| pick(text, reference));
                match value {
                    Ok(value) => values.resolved.insert(reference.clone(), &value),
                    Err(reason) => drop(values.missing.insert(reference.clone(), reason)),
                }
            }
        }
        values
    }

    async fn text(&self, id: &str, want: Want) -> Result<SecretString, String> {
        let look_up = async {
            let service =
                self.service.as_ref().ok_or("references need AWS's region and credentials in the environment")?;
            Box::pin(secrets_manager::read(service, id)).await
        };
        Ok(self.cache.get(id, want, look_up).await?.value)
    }
}

/// The whole text, or one member where the text is a JSON object, as Secrets Manager's console writes them. An object
/// is never sent as a whole: it has the keys of others in it.
fn pick(text: &SecretString, reference: &Reference) -> Result<SecretString, String> {
    let secret = &reference.secret;
    let members = members_as_written(trimmed(text.expose_secret())).ok();
    let value = match (&reference.key, &members) {
        (None, None) => Ok(text.clone()),
        (None, Some(members)) => Err(format!("the secret {secret} is a JSON object: {}", advice(secret, members))),
        (Some(key), None) => Err(format!("the secret {secret} is no JSON object, so it has no key {key}")),
        (Some(key), Some(members)) => match members.iter().filter(|(name, _)| name == key).collect::<Vec<_>>()[..] {
            [] => Err(format!("the secret {secret} has no key {key}")),
            [(_, value)] => member(value).ok_or_else(|| format!("the key {key} of the secret {secret} is no text")),
            _ => Err(format!("the secret {secret} has the key {key} more than once")),
        },
    }?;
    if trimmed(value.expose_secret()).is_empty() {
        Err(format!("the value of {reference} is empty"))
    } else {
        Ok(value)
    }
}

/// A string's text, or a number as it is written: one that was read may come out as another one.
fn member(value: &RawValue) -> Option<SecretString> {
    let is_number = value.get().starts_with(|c: char| c == '-' || c.is_ascii_digit());
    if is_number { Some(value.get().into()) } else { string(value).map(Into::into) }
}

/// How to name a member of a JSON secret. Its first name is shown if it is one that a reference can have.
fn advice(secret: &str, members: &[(String, &RawValue)]) -> String {
    let first = members.first().and_then(|(name, _)| Reference::parse(&format!("{secret}#{name}")));
    let example = first.map_or_else(|| format!("{secret}#KEY"), |reference| reference.to_string());
    format!("name the member, such as {{{{secret:{example}}}}}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::endpoint::EndpointTemplate;

    fn picked(text: &str, reference: &str) -> Result<String, String> {
        let value = pick(&text.into(), &Reference::parse(reference).unwrap());
        value.map(|value| value.expose_secret().to_owned())
    }

    #[test]
    fn a_key_picks_a_member_and_no_key_takes_the_whole() {
        let json = r#"{"token":"SECRET","n":12345678901234567890123.10,"o":{}}"#;
        assert_eq!(picked("SECRET", "s").unwrap(), "SECRET");
        assert_eq!(picked(json, "s#token").unwrap(), "SECRET");
        assert_eq!(picked(&format!("\u{feff}{json}\r\n"), "s#token").unwrap(), "SECRET");
        assert_eq!(picked(json, "s#n").unwrap(), "12345678901234567890123.10");
    }

    #[test]
    fn a_value_that_cannot_be_used_is_described_not_shown() {
        for (text, reference, reason) in [
            (r#"{"token":"SECRET"}"#, "s#gone", "the secret s has no key gone"),
            (r#"{"token":{"a":"SECRET"}}"#, "s#token", "the key token of the secret s is no text"),
            (r#"{"token":"SECRET","token":"SECRET2"}"#, "s#token", "the secret s has the key token more than once"),
            ("SECRET", "s#token", "the secret s is no JSON object, so it has no key token"),
            (r#"["SECRET"]"#, "s#token", "the secret s is no JSON object, so it has no key token"),
            (r#"{"token":" "}"#, "s#token", "the value of s#token is empty"),
            (" \n", "s", "the value of s is empty"),
        ] {
            assert_eq!(picked(text, reference).unwrap_err(), reason);
        }
    }

    #[test]
    fn a_whole_json_secret_is_never_sent() {
        let advice = "the secret soc is a JSON object: name the member, such as";
        for (text, example) in [
            (r#"{"token":"SECRET","other":"SECRET"}"#, "{{secret:soc#token}}"),
            ("\u{feff} {\"token\":\"SECRET\"}\n", "{{secret:soc#token}}"),
            (r#"{"to ken":"SECRET"}"#, "{{secret:soc#KEY}}"),
            ("{}", "{{secret:soc#KEY}}"),
        ] {
            assert_eq!(picked(text, "soc").unwrap_err(), format!("{advice} {example}"));
        }
        assert_eq!(picked("{not JSON", "soc").unwrap(), "{not JSON");
    }

    #[tokio::test]
    async fn no_destination_refers_to_the_secret_of_them_all() {
        let endpoint = EndpointTemplate::parse("https://h/{{secret:prod/d#destinations}}").unwrap();
        let destination = Destination::new("soc", "destinations.soc", endpoint, 5);
        let arn = "arn:aws:secretsmanager:eu-west-1:1:secret:prod/d-AbCdEf";
        for own in ["prod/d", arn] {
            let secrets = Secrets::new(None, Duration::ZERO, Some(own.to_owned()));
            let reasons: Vec<_> = secrets.values(&[&destination], Want::Usable).await.missing.into_values().collect();
            assert_eq!(reasons, ["the secret prod/d holds the destinations: refer to another one"]);
        }
    }
}
