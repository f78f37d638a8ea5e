//! References to secrets, `{{secret:ID}}` and `{{secret:ID#KEY}}`, inside a destination's options.
//!
//! They may stand in a URL's userinfo, path and query and in header values, never in scheme, host or port: else
//! whoever writes a destination could have any secret sent to any host.

use std::collections::BTreeMap;
use std::fmt;

use secrecy::{ExposeSecret, SecretString};

/// What a reference names: a secret, and one key of it where the secret is a JSON object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    /// Name or ARN in Secrets Manager.
    pub secret: String,
    pub key: Option<String>,
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.key {
            Some(key) => write!(f, "{}#{key}", self.secret),
            None => f.write_str(&self.secret),
        }
    }
}

/// The values of references.
#[derive(Default, Clone)]
pub struct Resolved(BTreeMap<Reference, SecretString>);

impl Resolved {
    pub fn insert(&mut self, reference: Reference, value: SecretString) {
        self.0.insert(reference, value);
    }

    /// A reference's value. For the wire alone.
    pub fn get(&self, reference: &Reference) -> Option<&str> {
        self.0.get(reference).map(ExposeSecret::expose_secret)
    }
}

/// What a reference must look like; ends the sentence "expected …".
pub const EXPECTED: &str = "references such as {{secret:NAME}} or {{secret:NAME#KEY}}, closed and with a name";

/// A text cut at its references.
#[derive(Clone, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

#[derive(Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Reference(Reference),
}

impl Template {
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let (inside, after) = after.split_once("}}").ok_or(EXPECTED)?;
            let name = inside.strip_prefix("secret:").ok_or(EXPECTED)?;
            let (secret, key) = name.split_once('#').map_or((name, None), |(secret, key)| (secret, Some(key)));
            // The characters that Secrets Manager allows in a name (CreateSecret), and the colons of an ARN.
            let plain = |c: char| c.is_ascii_alphanumeric() || "/_+=.@-:".contains(c);
            if secret.is_empty() || !secret.chars().all(plain) || key.is_some_and(str::is_empty) {
                return Err(EXPECTED);
            }
            pieces.push(Piece::Text(before.to_owned()));
            pieces.push(Piece::Reference(Reference { secret: secret.to_owned(), key: key.map(ToOwned::to_owned) }));
            rest = after;
        }
        if rest.contains("}}") {
            return Err(EXPECTED);
        }
        pieces.push(Piece::Text(rest.to_owned()));
        Ok(Self(pieces))
    }

    pub fn references(&self) -> impl Iterator<Item = &Reference> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Reference(reference) => Some(reference),
            Piece::Text(_) => None,
        })
    }

    /// Where the references begin when each is filled with `length` bytes.
    pub fn positions(&self, length: usize) -> impl Iterator<Item = usize> {
        self.0
            .iter()
            .scan(0, move |end, piece| {
                let start = *end;
                *end += if let Piece::Text(text) = piece { text.len() } else { length };
                Some((start, piece))
            })
            .filter_map(|(start, piece)| matches!(piece, Piece::Reference(_)).then_some(start))
    }

    /// The text with every reference replaced by what `value` makes of it, or the first that it knows nothing of.
    pub fn fill<'a>(&'a self, mut value: impl FnMut(&'a Reference) -> Option<String>) -> Result<String, &'a Reference> {
        let mut filled = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => filled.push_str(text),
                Piece::Reference(reference) => filled.push_str(&value(reference).ok_or(reference)?),
            }
        }
        Ok(filled)
    }

    /// The text with every reference replaced by its value.
    pub fn resolve(&self, resolved: &Resolved) -> Result<String, &Reference> {
        self.fill(|reference| resolved.get(reference).map(ToOwned::to_owned))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_at_its_references_and_filled_again() {
        let template =
            Template::parse("a{{secret:prod/soc#token}}b{{secret:arn:aws:secretsmanager:eu-west-1:1:secret:x-AbCdEf}}")
                .unwrap();
        let names: Vec<_> = template.references().map(ToString::to_string).collect();
        assert_eq!(names, ["prod/soc#token", "arn:aws:secretsmanager:eu-west-1:1:secret:x-AbCdEf"]);
        assert_eq!(template.fill(|reference| Some(reference.key.clone().unwrap_or_default())), Ok("atokenb".into()));
        assert_eq!(template.resolve(&Resolved::default()).unwrap_err().to_string(), "prod/soc#token");
    }

    #[test]
    fn what_is_no_reference_is_refused() {
        for text in [
            "{{",
            "}}",
            "{{secret:}}",
            "{{secret:x",
            "{{x}}",
            "{{secret:x#}}",
            "{{secret:a b}}",
            "{{secret:{{secret:x}}}}",
            "{{ secret:x }}",
        ] {
            assert!(Template::parse(text).is_err(), "{text}");
        }
        assert!(Template::parse("{\"a\": {}}".trim_end_matches('}')).is_ok());
    }
}
