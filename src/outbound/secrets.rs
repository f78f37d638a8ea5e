//! What of a destination is nobody's business, taken out of what its receiver wrote.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::marks::{LEAST, Marks, REMOVED};
use super::spelling::{plain, without_tags};
use crate::domain::destination::Target;
use crate::domain::problem::label;

/// Pieces of a secret that are recognised although the rest is missing.
const LEAST_PIECE: usize = 8;

/// A part of the path that is as long as this is no word.
const LEAST_KEY: usize = 16;

/// Letters and digits that tell a secret in spite of what stands between them. Fewer meet by chance.
const LEAST_PLAIN: usize = 6;

/// All of a destination's URL but the origin, its headers' values and its signing keys.
pub(super) struct Secrets {
    certain: Vec<String>,
    /// Parts of the URL that are words mostly, and secrets now and then.
    possible: Vec<String>,
}

impl Secrets {
    /// The signature is the one of this attempt.
    pub(super) fn of(target: &Target, signature: Option<&str>) -> Self {
        let url = target.endpoint.expose_url();
        let segments = url.path_segments().into_iter().flatten().map(ToOwned::to_owned);
        let (mut certain, mut possible): (Vec<_>, Vec<_>) = segments.partition(|segment| segment.len() >= LEAST_KEY);
        possible.extend([url[url::Position::BeforePath..].to_owned(), url.path().to_owned()]);
        possible.extend(url.query().map(ToOwned::to_owned));
        for (name, value) in url.query_pairs() {
            possible.push(name.into_owned());
            certain.push(value.into_owned());
        }
        if let Some((user, password)) = target.endpoint.expose_credentials() {
            certain.extend([user.to_owned(), password.to_owned(), format!("{user}:{password}")]);
        }
        for value in target.headers.values().filter_map(|value| value.to_str().ok()).chain(signature) {
            certain.push(value.to_owned());
            // "Bearer …", "token=…": the parts are as secret as the whole.
            certain.extend(value.split([' ', '=', ',', ';', ':']).map(ToOwned::to_owned));
        }
        for key in target.signing_keys.iter().map(|key| BASE64_STANDARD.encode(key.expose())) {
            certain.extend([format!("whsec_{key}"), key]);
        }
        certain.retain(|secret| secret.len() >= LEAST);
        let encoded: Vec<_> = certain.iter().flat_map(|secret| [BASE64_STANDARD.encode(secret), hex(secret)]).collect();
        certain.extend(encoded);
        Self { certain, possible }
    }

    /// Marks them in a text, whole and in pieces.
    pub(super) fn mark(&self, marks: &mut Marks) {
        let all = || self.certain.iter().chain(&self.possible).map(String::as_str);
        marks.pieces(all(), LEAST_PIECE);
        marks.values(all());
    }

    /// Whether a text still has one in it, escaped or in pieces. Words of a path are not looked for: they are written
    /// in two words as well.
    pub(super) fn are_in(&self, text: &str) -> bool {
        let has_digit = |secret: &&String| secret.bytes().any(|byte| byte.is_ascii_digit());
        found(self.certain.iter().chain(self.possible.iter().filter(has_digit)), text)
    }

    /// A name that a receiver has chosen, such as a host's. An ordinary word of the destination's path may be in it.
    pub(super) fn clean_name(&self, name: &str, max: usize) -> String {
        let mut marks = Marks::new(name);
        marks.pieces(self.certain.iter().map(String::as_str), LEAST_PIECE);
        marks.values(self.certain.iter().map(String::as_str));
        let cleaned = marks.remove(name.len());
        if found(self.certain.iter(), &cleaned) { REMOVED.to_owned() } else { label(&cleaned, max) }
    }
}

fn found<'s>(mut secrets: impl Iterator<Item = &'s String>, text: &str) -> bool {
    let texts = [plain(text), plain(&without_tags(text))];
    secrets.any(|secret| {
        let secret = plain(secret);
        secret.len() >= LEAST_PLAIN && texts.iter().any(|text| text.contains(&secret))
    })
}

fn hex(text: &str) -> String {
    text.bytes().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::domain::destination::Destination;
    use crate::domain::endpoint::{EndpointTemplate, header_value};
    use crate::domain::signature::SigningKey;
    use crate::domain::template::Resolved;

    pub(in super::super) const SIGNING_KEY: &str = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    pub(in super::super) const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    pub(in super::super) fn secrets_of(url: &str) -> Secrets {
        let mut target = Destination::new("soc", "p", EndpointTemplate::parse(url).unwrap(), 5)
            .complete(&Resolved::default())
            .ok()
            .unwrap();
        target.headers.insert("authorization", header_value("Bearer QUERY/S'ECRET&7").unwrap());
        target.signing_keys = vec![SigningKey::parse(SIGNING_KEY).unwrap()];
        Secrets::of(&target, Some(SIGNATURE))
    }

    #[test]
    fn a_word_of_the_path_is_no_secret_in_a_hosts_name() {
        let secrets =
            secrets_of("https://user7:passw0rd@h.example/portal/hook/0123456789abcdef?key=quer-y1&portal=yes");
        for name in ["https://portal.example.com", "https://hook.portal.example.com:8443"] {
            assert_eq!(secrets.clean_name(name, 253), name);
        }
        for (name, cleaned) in [
            ("https://user7.example", "https://[removed].example"),
            ("https://x-passw0rd.example", "https://x-[removed].example"),
            ("https://quer-y1.example", "https://[removed].example"),
            ("https://qu.er.y1.example", "[removed]"),
            ("https://89abcdef.example", "https://[removed].example"),
            ("https://mfkq9r8gkyqr.example", "https://[removed].example"),
        ] {
            assert_eq!(secrets.clean_name(name, 253), cleaned, "{name}");
        }
        let long = secrets.clean_name(&format!("https://{}", "x".repeat(60_000)), 253);
        assert_eq!((long.len(), long.ends_with("x…")), (256, true));
    }
}
