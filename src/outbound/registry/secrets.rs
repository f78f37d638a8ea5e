//! The secrets that destinations refer to, in AWS Secrets Manager.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_secretsmanager::Client;
use aws_types::SdkConfig;
use futures_util::future::join_all;
use secrecy::{ExposeSecret, SecretString};
use serde_json::value::RawValue;

use super::cache::Cache;
use crate::domain::destination::{Destination, Target, Unusable};
use crate::domain::failure::{AwsReason, Code, Failure};
use crate::domain::json::{members_as_written, string};
use crate::domain::template::{Reference, Resolved, trimmed};
use crate::outbound::aws::{LOOK_UPS, Service, failure};

/// Referenced secrets, each read at most once per time to live.
#[derive(Debug)]
pub(super) struct Secrets {
    secrets_manager: Service<Client>,
    cache: Cache<SecretString>,
    /// The secret that holds the destinations themselves, with the keys of them all: none of them may send it.
    own: Option<String>,
}

impl Secrets {
    pub(super) fn new(aws: &SdkConfig, ttl: Duration, own: Option<String>) -> Self {
        let cache = Cache::new("a referenced secret", ttl, |text: &SecretString| text.expose_secret().len());
        Self { secrets_manager: Service::new(aws, LOOK_UPS, Client::new), cache, own }
    }

    /// A destination with its secrets in place, each read once, all of them at the same time. None is older than
    /// `max_age`; without one, each is read anew, but at most once per time to live.
    pub(super) async fn target(
        &self,
        destination: &Destination,
        max_age: Option<Duration>,
    ) -> Result<Arc<Target>, Failure> {
        let mut by_secret: BTreeMap<&str, Vec<&Reference>> = BTreeMap::new();
        for reference in destination.references() {
            let secret = &reference.secret;
            if self.own.as_ref().is_some_and(|own| reference.names_secret(own)) {
                return Err(self.unresolved(secret, "it holds the destinations themselves", "refer to another secret"));
            }
            by_secret.entry(secret).or_default().push(reference);
        }
        let read = async |id| match max_age {
            Some(max_age) => self.cache.get(id, max_age, self.look_up(id)).await,
            None => self.cache.refresh(id, self.look_up(id)).await,
        };
        let texts = join_all(by_secret.keys().copied().map(read)).await;
        let mut resolved = Resolved::default();
        for ((secret, references), text) in by_secret.into_iter().zip(texts) {
            let text = text?.value;
            for reference in references {
                let value = pick(&text, reference);
                let value = value.map_err(|problem| {
                    self.unresolved(secret, problem, "correct the secret, or the reference to it")
                })?;
                resolved.insert(reference.clone(), &value);
            }
        }
        destination.target(&resolved).map_err(|Unusable { problem, references }| {
            let names: Vec<_> = references.iter().map(ToString::to_string).collect();
            let problem = format_args!("with its value in place, {problem}");
            self.unresolved(names.join(", "), problem, "correct the value, or the destination")
        })
    }

    fn unresolved(&self, secret: impl Display, problems: impl Display, fix: &str) -> Failure {
        Failure::of(Code::SecretUnresolved, self.what(secret), problems, fix)
    }

    fn what(&self, secret: impl Display) -> String {
        format!("the secret {secret} in {}", self.secrets_manager.region())
    }

    /// A referenced secret. Without AWS's settings (a trial on a developer's machine) none has a value.
    async fn look_up(&self, id: &str) -> Result<SecretString, Failure> {
        if self.secrets_manager.region.is_none() {
            return Err(self.unresolved(
                id,
                "AWS's region and credentials are not in the environment",
                "set AWS_REGION and credentials; Lambda does so by itself",
            ));
        }
        Box::pin(self.read(id, Code::SecretUnresolved)).await
    }

    /// Reads the current value of a secret. `code` is the failure that it is if it cannot be read.
    pub(super) async fn read(&self, id: &str, code: Code) -> Result<SecretString, Failure> {
        let client = self.secrets_manager.client().await;
        let answer = client.get_secret_value().secret_id(id).send().await;
        let answer = answer.map_err(|error| failure(code, &self.what(id), &error))?;
        let text = answer.secret_string.map(SecretString::from);
        text.ok_or_else(|| Failure::of_aws(code, &self.what(id), AwsReason::NoText, ""))
    }
}

/// The whole text, or one member where the text is a JSON object, as Secrets Manager's console writes them. An object
/// is never sent as a whole: it has the keys of others in it.
fn pick(text: &SecretString, reference: &Reference) -> Result<SecretString, String> {
    let secret = &reference.secret;
    let members = members_as_written(trimmed(text.expose_secret()));
    let value = match (&reference.key, &members) {
        (None, None) => Ok(text.clone()),
        (None, Some(members)) => Err(format!("it is a JSON object: {}", advice(secret, members))),
        (Some(key), None) => Err(format!("it is not a JSON object, so it has no member `{key}`")),
        (Some(key), Some(members)) => match members.iter().filter(|(name, _)| name == key).collect::<Vec<_>>()[..] {
            [] => Err(format!("it has no member `{key}`")),
            [(_, value)] => member(value).ok_or_else(|| format!("its member `{key}` is not text")),
            _ => Err(format!("it has the member `{key}` more than once")),
        },
    }?;
    if trimmed(value.expose_secret()).is_empty() { Err("its value is empty".to_owned()) } else { Ok(value) }
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
            (r#"{"token":"SECRET"}"#, "s#gone", "it has no member `gone`"),
            (r#"{"token":{"a":"SECRET"}}"#, "s#token", "its member `token` is not text"),
            (r#"{"token":"SECRET","token":"SECRET2"}"#, "s#token", "it has the member `token` more than once"),
            ("SECRET", "s#token", "it is not a JSON object, so it has no member `token`"),
            (r#"["SECRET"]"#, "s#token", "it is not a JSON object, so it has no member `token`"),
            (r#"{"token":" "}"#, "s#token", "its value is empty"),
            (" \n", "s", "its value is empty"),
        ] {
            assert_eq!(picked(text, reference).unwrap_err(), reason);
        }
    }

    #[test]
    fn a_whole_json_secret_is_never_sent() {
        let advice = "it is a JSON object: name the member, such as";
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
            let secrets = Secrets::new(&SdkConfig::builder().build(), Duration::ZERO, Some(own.to_owned()));
            let target = secrets.target(&destination, Some(Duration::from_secs(1))).await;
            assert!(target.err().unwrap().cause().contains("holds the destinations themselves"));
        }
    }
}
