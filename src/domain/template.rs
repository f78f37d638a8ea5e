//! References to secrets, `{{secret:NAME}}` and `{{secret:NAME#KEY}}`, inside a destination's options.

use std::collections::BTreeMap;
use std::fmt;

use secrecy::{ExposeSecret, SecretString};

/// What a reference names: a secret, and one member of it where the secret is a JSON object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    /// Name or ARN in Secrets Manager.
    pub secret: String,
    pub key: Option<String>,
}

/// What a reference must look like; ends the sentence "expected …".
pub const EXPECTED: &str = "references such as {{secret:NAME}} or {{secret:NAME#KEY}}, closed, of letters, digits \
                            and /_+=.@-: and of at most 512 characters";

const MAX_REFERENCE: usize = 512;

/// Why a text cannot be filled; ends the sentence "expected …".
const UNRESOLVED: &str = "references that all have a value";

impl Reference {
    /// Reads `NAME` or `NAME#KEY`.
    pub fn parse(text: &str) -> Option<Self> {
        let (secret, key) = text.split_once('#').map_or((text, None), |(secret, key)| (secret, Some(key)));
        let is_good = text.len() <= MAX_REFERENCE && is_name(secret) && key.is_none_or(is_name);
        is_good.then(|| Self { secret: secret.to_owned(), key: key.map(ToOwned::to_owned) })
    }

    /// Whether it names the secret `id`; each of the two is a name or an ARN.
    ///
    /// An ARN ends in the name, a hyphen and six random characters, which a partial ARN leaves out (Secrets Manager,
    /// "GetSecretValue", SecretId). A partial ARN whose name has that form itself matches more than it should.
    pub fn names_secret(&self, id: &str) -> bool {
        let names = names(id);
        self::names(&self.secret).iter().any(|name| names.contains(name))
    }
}

/// The names that a secret's id may stand for: of an ARN, with and without its last seven characters.
fn names(id: &str) -> Vec<&str> {
    let Some((_, name)) = id.strip_prefix("arn:").and_then(|arn| arn.split_once(":secret:")) else { return vec![id] };
    let short = name.rsplit_once('-').filter(|(_, suffix)| suffix.len() == 6).map(|(short, _)| short);
    std::iter::once(name).chain(short).collect()
}

/// The characters that Secrets Manager allows in a name (CreateSecret), and the colons of an ARN.
fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"/_+=.@-:".contains(&b))
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
    /// Keeps a value, without a byte order mark and white space around it: editors and `echo` leave them there.
    pub fn insert(&mut self, reference: Reference, value: &SecretString) {
        self.0.insert(reference, trimmed(value.expose_secret()).into());
    }

    /// A reference's value. For the wire alone.
    pub fn get(&self, reference: &Reference) -> Option<&str> {
        self.0.get(reference).map(ExposeSecret::expose_secret)
    }
}

/// A text without the byte order marks and the white space around it.
pub fn trimmed(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}')
}

/// A text cut at its references. Only `{{secret:` begins one; other braces are text.
#[derive(Clone, PartialEq, Eq)]
pub struct Template {
    /// Each reference, with the text before it.
    references: Vec<(String, Reference)>,
    /// The text after the last one.
    end: String,
}

impl Template {
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let mut references = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{secret:") {
            let (inside, after) = after.split_once("}}").ok_or(EXPECTED)?;
            references.push((before.to_owned(), Reference::parse(inside).ok_or(EXPECTED)?));
            rest = after;
        }
        Ok(Self { references, end: rest.to_owned() })
    }

    pub fn references(&self) -> impl Iterator<Item = &Reference> {
        self.references.iter().map(|(_, reference)| reference)
    }

    /// The text with every reference replaced by what `value` makes of it and of the filled text before it.
    pub fn fill(&self, value: impl Fn(&str, &Reference) -> Option<String>) -> Result<String, &'static str> {
        let mut filled = String::new();
        for (before, reference) in &self.references {
            filled.push_str(before);
            let value = value(&filled, reference).ok_or(UNRESOLVED)?;
            filled.push_str(&value);
        }
        Ok(filled + &self.end)
    }

    /// The text with the same word in place of every reference.
    pub fn with(&self, word: &str) -> String {
        self.fill(|_, _| Some(word.to_owned())).unwrap_or_default()
    }

    /// The text with every reference replaced by its value.
    pub fn resolve(&self, resolved: &Resolved) -> Result<String, &'static str> {
        self.fill(|_, reference| resolved.get(reference).map(ToOwned::to_owned))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference(text: &str) -> Reference {
        Reference::parse(text).unwrap()
    }

    #[test]
    fn a_text_is_cut_at_its_references_and_filled_again() {
        let template =
            Template::parse("a{{secret:prod/soc#token}}b{{secret:arn:aws:secretsmanager:eu-west-1:1:secret:x-AbCdEf}}")
                .unwrap();
        let names: Vec<_> = template.references().map(ToString::to_string).collect();
        assert_eq!(names, ["prod/soc#token", "arn:aws:secretsmanager:eu-west-1:1:secret:x-AbCdEf"]);
        assert_eq!(template.with("-"), "a-b-");
        assert_eq!(template.resolve(&Resolved::default()), Err(UNRESOLVED));
    }

    #[test]
    fn an_unclosed_or_malformed_reference_is_a_problem() {
        let long = format!("{{{{secret:{}#k}}}}", "a".repeat(511));
        for text in [
            "{{secret:",
            "{{secret:}}",
            "{{secret:x",
            "{{secret:x}",
            "{{secret:#k}}",
            "{{secret:x#}}",
            "{{secret:x#a#b}}",
            "{{secret:a b}}",
            "{{secret:x#a b}}",
            "{{secret:ä}}",
            "{{secret:x#\"}}",
            "{{secret:{{secret:x}}}}",
            &long,
        ] {
            assert!(Template::parse(text).is_err(), "{text}");
        }
        assert!(Template::parse(&long.replace("aa#", "a#")).is_ok());
    }

    #[test]
    fn braces_that_begin_no_reference_are_text() {
        for text in ["{{", "}}", "{{x}}", "{{vault:x}}", "{{ secret:x }}", r#"{"a":{"b":1}}"#] {
            let template = Template::parse(text).unwrap();
            assert_eq!((template.references().count(), template.with("-").as_str()), (0, text));
        }
        let template = Template::parse(r#"{"a":{"b":"{{secret:x}}"}}"#).unwrap();
        assert_eq!(template.with("-"), r#"{"a":{"b":"-"}}"#);
    }

    #[test]
    fn a_value_has_no_white_space_and_no_mark_around_it() {
        let mut resolved = Resolved::default();
        for value in ["tok en", " tok en\n", "\u{feff}tok en\r\n", "\t\u{feff} tok en"] {
            resolved.insert(reference("s"), &value.into());
            assert_eq!(resolved.get(&reference("s")), Some("tok en"), "{value:?}");
        }
    }

    #[test]
    fn a_secret_is_known_by_its_name_and_its_arns() {
        const ARN: &str = "arn:aws:secretsmanager:eu-west-1:1:secret:prod/d";
        let full = format!("{ARN}-AbCdEf");
        let other = format!("{ARN}-other-AbCdEf");
        let ids = ["prod/d", ARN, &full];
        for (own, named) in ids.iter().flat_map(|own| ids.map(|named| (own, named))) {
            assert!(reference(named).names_secret(own), "{own} {named}");
            assert!(reference(&format!("{named}#k")).names_secret(own), "{own} {named}");
        }
        for named in ["prod", "prod/d-other", "prod/d-AbCdEf-", "d", &other] {
            assert!(ids.iter().all(|own| !reference(named).names_secret(own)), "{named}");
        }
    }
}
