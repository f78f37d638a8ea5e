//! Tells whether a text that an endpoint wrote holds a secret of its destination.
//!
//! The answer is yes or no: a text is shown or withheld as a whole, and nothing is cut out of it. Both sides are
//! compared as lower-case ASCII letters and digits, without the escapes of URLs, JSON and HTML and without markup, so
//! that one comparison covers every usual spelling of an echo. An encoding of the endpoint's own is not covered.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::HeaderValue;
use url::Url;

use crate::domain::destination::Target;
use crate::domain::problem::printable;
use crate::domain::redirect::RedirectTo;

/// Letters and digits in a row that a text may not share with a secret.
const SECRET_RUN: usize = 8;

/// Fewer are in every answer by chance.
const LEAST_SECRET: usize = 4;

/// Letters and digits in a row that a text may not share with what is made of words: the URL's path and the payload.
const WORDS_RUN: usize = 16;

/// The longest origin: a scheme, a host's name of 253 bytes (RFC 1035, section 2.3.4) and a port.
const MAX_ORIGIN: usize = 267;

const WITHHELD: &str = "[withheld]";

/// A destination's secrets: its URL but for the origin, its header values, its signing keys and the signature.
#[derive(Default)]
pub(super) struct Secrets {
    /// Letters and digits of each, also of its base64 and hexadecimal forms.
    letters: Vec<Vec<u8>>,
    /// Secrets with fewer than [`LEAST_SECRET`] letters and digits, in lower case.
    signs: Vec<Vec<u8>>,
    path: Vec<u8>,
}

impl Secrets {
    /// `signature` is the one of this attempt. Its timestamp is no secret: every answer may tell the time.
    pub(super) fn of(target: &Target, signature: Option<&str>) -> Self {
        let url = target.endpoint.expose_url();
        let mut secrets = Self { path: url.path().into(), ..Self::default() };
        // A path is made of words, but what has a digit may be a key.
        for part in url.path().split('/').map(|part| unescape(part.as_bytes())) {
            if part.iter().any(u8::is_ascii_digit) {
                secrets.add(&part);
            }
        }
        for pair in url.query().unwrap_or_default().split('&') {
            let value = pair.split_once('=').map_or(pair, |(name, value)| if value.is_empty() { name } else { value });
            secrets.add(value.as_bytes());
        }
        if let Some((user, password)) = target.endpoint.expose_credentials() {
            for secret in [user, password, &format!("{user}:{password}")] {
                secrets.add(secret.as_bytes());
            }
        }
        for value in target.headers.values().filter_map(|value| value.to_str().ok()) {
            secrets.add_header(value);
        }
        for key in &target.signing_keys {
            secrets.add(key.expose());
        }
        secrets.add(signature.unwrap_or_default().as_bytes());
        secrets.letters.sort_unstable();
        secrets.letters.dedup();
        secrets
    }

    /// The value, and its parts: they are as secret as the whole, but for the scheme of `Bearer …` and the name of
    /// `token=…`. What is base64 (`Basic …`, RFC 7617) is also taken apart.
    fn add_header(&mut self, value: &str) {
        let credentials = value.split_once(' ').map_or(value, |(_scheme, credentials)| credentials);
        let mut parts = vec![value, credentials];
        for part in credentials.split([' ', ',', ';']) {
            let (_name, value) = part.split_once('=').unwrap_or(("", part));
            parts.extend([part, value].into_iter().chain(value.split(':')));
        }
        for part in parts {
            self.add(part.as_bytes());
            for decoded in BASE64_STANDARD.decode(part).iter().flat_map(|decoded| decoded.split(|byte| *byte == b':')) {
                self.add(decoded);
            }
        }
    }

    fn add(&mut self, secret: &[u8]) {
        for secret in layers(secret).into_iter().filter(|secret| secret.len() >= LEAST_SECRET) {
            let plain: Vec<_> = letters(&secret).collect();
            let base64 = letters(BASE64_STANDARD.encode(&secret).as_bytes()).collect();
            let half_bytes = secret.iter().flat_map(|byte| [byte >> 4, byte & 15]);
            let hex = half_bytes.map(|half| b"0123456789abcdef"[usize::from(half)]).collect();
            if plain.len() < LEAST_SECRET {
                self.signs.push(secret.to_ascii_lowercase());
            }
            self.letters.extend([plain, base64, hex].into_iter().filter(|letters| letters.len() >= LEAST_SECRET));
        }
    }

    /// Whether a text shares a secret, or a run of [`WORDS_RUN`] with the URL's path.
    pub(super) fn are_in(&self, text: &Foreign) -> bool {
        self.letters.iter().any(|secret| text.shares_secret(secret))
            || self.signs.iter().any(|secret| text.holds(secret))
            || text.shares_words(&self.path)
    }

    /// A name that a receiver has chosen, such as a host's or a certificate's, or `[withheld]`. One of more than `max`
    /// bytes is withheld unread.
    pub(super) fn name(&self, text: &str, max: usize) -> String {
        if text.len() > max || self.are_in(&Foreign::new(text)) { WITHHELD.to_owned() } else { printable(text, max) }
    }
}

/// Where a response redirects to, as far as it may be shown.
pub(super) fn redirect(called: &Url, location: Option<&HeaderValue>, secrets: &Secrets) -> RedirectTo {
    RedirectTo::of(called, location.map(HeaderValue::as_bytes), |origin| secrets.name(origin, MAX_ORIGIN))
}

/// A text that an endpoint wrote, ready to be compared.
pub(super) struct Foreign {
    /// The text, and what it reads as when escapes are taken off.
    pub(super) layers: Vec<Vec<u8>>,
    /// The letters and digits of each layer, with and without markup.
    letters: Vec<Vec<u8>>,
    secret_runs: Runs<SECRET_RUN>,
    words_runs: Runs<WORDS_RUN>,
}

impl Foreign {
    pub(super) fn new(text: &str) -> Self {
        let layers = layers(text.as_bytes());
        let bare = layers.iter().filter(|layer| layer.contains(&b'<')).map(|layer| without_markup(layer));
        let letters: Vec<Vec<u8>> = layers.iter().cloned().chain(bare).map(|layer| letters(&layer).collect()).collect();
        let (secret_runs, words_runs) = (Runs::of(&letters), Runs::of(&letters));
        Self { layers, letters, secret_runs, words_runs }
    }

    /// Whether it holds a text in lower case as it is.
    fn holds(&self, signs: &[u8]) -> bool {
        self.layers.iter().any(|layer| contains(&layer.to_ascii_lowercase(), signs))
    }

    /// Whether it holds a run of a secret's letters and digits, or all of a short secret.
    fn shares_secret(&self, secret: &[u8]) -> bool {
        if secret.len() < SECRET_RUN {
            self.letters.iter().any(|letters| contains(letters, secret))
        } else {
            self.secret_runs.meet(secret)
        }
    }

    /// Whether it shares a run of [`WORDS_RUN`] with a text whose escapes are those of a URL or JSON.
    pub(super) fn shares_words(&self, text: &[u8]) -> bool {
        self.words_runs.meet(&unescape(text))
    }
}

/// All runs of `N` letters and digits in some texts, each as one number.
struct Runs<const N: usize> {
    sorted: Vec<u128>,
    /// Whether a run with this sketch is there: spares most runs of a payload the search.
    likely: Vec<bool>,
}

impl<const N: usize> Runs<N> {
    fn of(texts: &[Vec<u8>]) -> Self {
        let mut sorted: Vec<_> = texts.iter().flat_map(|text| runs::<N>(text).skip(N - 1)).collect();
        sorted.sort_unstable();
        let mut likely = vec![false; 1 << 14];
        for run in &sorted {
            likely[sketch(*run)] = true;
        }
        Self { sorted, likely }
    }

    fn meet(&self, text: &[u8]) -> bool {
        runs::<N>(text).any(|run| self.likely[sketch(run)] && self.sorted.binary_search(&run).is_ok())
    }
}

/// The last `N` letters and digits, after each of them; at first there are fewer.
fn runs<const N: usize>(text: &[u8]) -> impl Iterator<Item = u128> {
    letters(text).scan(0, |run, letter| {
        *run = (*run << 8 | u128::from(letter)) & u128::MAX >> (128 - 8 * N);
        Some(*run)
    })
}

/// 14 bits that depend on all of a run (Fibonacci hashing: Knuth, section 6.4).
#[allow(clippy::cast_possible_truncation, reason = "both halves are used")]
fn sketch(run: u128) -> usize {
    let folded = (run >> 64) as u64 ^ (run as u64).rotate_left(29);
    (folded.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 50) as usize
}

fn letters(text: &[u8]) -> impl Iterator<Item = u8> {
    text.iter().filter(|byte| byte.is_ascii_alphanumeric()).map(u8::to_ascii_lowercase)
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// A text, and the same with one and two layers of escapes taken off: what stood in a URL may stand in JSON now.
fn layers(text: &[u8]) -> Vec<Vec<u8>> {
    let mut layers = vec![text.to_vec()];
    for depth in 0..2 {
        let next = unescape(&layers[depth]);
        if next == layers[depth] {
            break;
        }
        layers.push(next);
    }
    layers
}

fn unescape(text: &[u8]) -> Vec<u8> {
    let mut meaning = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'%' | b'\\' | b'&')) {
        meaning.extend_from_slice(&rest[..at]);
        rest = &rest[at..];
        let length = escape(rest, &mut meaning).unwrap_or_else(|| {
            meaning.push(rest[0]);
            1
        });
        rest = &rest[length..];
    }
    meaning.extend_from_slice(rest);
    meaning
}

/// Appends the meaning of the escape that a text begins with, and returns the escape's length. For white space and named
/// characters that are not ASCII, a space will do.
fn escape(text: &[u8], meaning: &mut Vec<u8>) -> Option<usize> {
    let number = |digits: &[u8], radix| {
        digits.iter().try_fold(0, |number, digit| Some(number * radix + char::from(*digit).to_digit(radix)?))
    };
    let character = |digits: &[u8], radix| Some(char::from_u32(number(digits, radix)?).unwrap_or(' '));
    let (character, length) = match text {
        [b'%', digits @ ..] => {
            // A byte, and not always a whole character.
            meaning.push(u8::try_from(number(digits.get(..2)?, 16)?).ok()?);
            return Some(3);
        }
        // Capitals as well, for a server may have changed the case.
        [b'\\', b'u' | b'U', digits @ ..] => (character(digits.get(..4)?, 16)?, 6),
        [b'\\', b'x' | b'X', digits @ ..] => (character(digits.get(..2)?, 16)?, 4),
        [b'\\', sign, ..] if b"bfnrtBFNRT".contains(sign) => (' ', 2),
        [b'\\', sign @ (b'\\' | b'/' | b'"' | b'\''), ..] => (char::from(*sign), 2),
        [b'&', b'#' | b'A'..=b'Z' | b'a'..=b'z', ..] => {
            let rest = &text[1..];
            // The longest in use are `&#x10FFFF;` and `&NewLine;`.
            let end = rest.iter().take(10).position(|byte| !byte.is_ascii_alphanumeric() && *byte != b'#')?;
            let (name, b';') = (&rest[..end], rest[end]) else { return None };
            let character = match name {
                [b'#', b'x' | b'X', digits @ ..] => character(digits, 16)?,
                [b'#', digits @ ..] => character(digits, 10)?,
                b"amp" => '&',
                b"lt" => '<',
                b"gt" => '>',
                b"quot" => '"',
                b"apos" => '\'',
                _ => ' ',
            };
            (character, end + 2)
        }
        _ => return None,
    };
    meaning.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    Some(length)
}

/// A text without tags, which can stand in the middle of a word (`<wbr>`).
fn without_markup(text: &[u8]) -> Vec<u8> {
    let mut left = Vec::with_capacity(text.len());
    for (index, part) in text.split(|byte| *byte == b'<').enumerate() {
        let tag = part.iter().position(|byte| *byte == b'>').filter(|_| index > 0);
        left.extend_from_slice(tag.map_or(part, |end| &part[end + 1..]));
    }
    left
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

    pub(in super::super) fn secrets_of(url: &str, header: &str) -> Secrets {
        let mut target = Destination::new("soc", "p", EndpointTemplate::parse(url).unwrap(), 5)
            .complete(&Resolved::default())
            .ok()
            .unwrap();
        target.headers.insert("authorization", header_value(header).unwrap());
        target.signing_keys = vec![SigningKey::parse(SIGNING_KEY).unwrap()];
        Secrets::of(&target, Some(SIGNATURE))
    }

    #[test]
    fn an_escape_reads_as_what_it_stands_for() {
        for spelled in [
            "a/Bc+d'é9",
            "a%2FBc%2bd%27%C3%A99",
            "a%252FBc%252bd%2527%25C3%25A99",
            r"a\/Bc\u002Bd\u0027\u00e99",
            r"\u0061/\x42c+%64'\u00e99",
            "a&#x2F;Bc&#43;d&#39;&#233;9",
            "&#97;/&#X42;c+d&apos;é9",
            "a/Bc+d&amp;#39;é9",
            r"a\\/Bc+d'é9",
        ] {
            assert!(layers(spelled.as_bytes()).iter().any(|layer| letters(layer).eq(*b"abcd9")), "{spelled}");
        }
        assert_eq!(unescape(b"&lt;%D0%BF&gt;&quot;&amp;&nbsp;\\n"), "<п>\"&  ".as_bytes());
        for odd in
            ["%", "%é", "%4", "%+4", "\\", "\\u12", "\\ué", "\\q", "&", "&;x", "&#;", "&#xé;", "&é;", "100 % & more"]
        {
            assert!(letters(&unescape(odd.as_bytes())).eq(letters(odd.as_bytes())), "{odd}");
        }
    }

    #[test]
    fn a_word_is_whole_again_without_the_markup_in_it() {
        assert_eq!(without_markup(b"QUE<wbr>RY<b class=x>SE</b>"), b"QUERYSE");
        assert_eq!(without_markup(b"a > b, <QUE<br>RY"), b"a > b, QUERY");
    }

    #[test]
    fn a_header_is_secret_in_its_parts_but_not_in_its_scheme() {
        for (header, text, found) in [
            ("Bearer s3cr3t", "bearer", false),
            ("Bearer s3cr3t", "S3-CR3T", true),
            ("token=s3cr3t", "invalid token", false),
            ("token=s3cr3t", "s3cr3t", true),
            ("Digest username=\"mufasa\", opaque=\"5ccc\"", "opaque", false),
            ("Digest username=\"mufasa\", opaque=\"5ccc\"", "Mufasa", true),
            ("Digest username=\"mufasa\", opaque=\"5ccc\"", "5ccc", true),
            ("a1b2:c3d4", "c3d4", true),
            ("Basic c2llbTpwQHNzLXcwcmQ=", "no user 'siem'", true),
            ("Basic c2llbTpwQHNzLXcwcmQ=", "p@ss-w0rd", true),
            ("Basic c2llbTpwQHNzLXcwcmQ=", "Basic authentication", false),
            ("long-enough-to-have-runs", "…ENOUGH to…", true),
            ("long-enough-to-have-runs", "enough", false),
            ("!!$$", "bad: !!$$.", true),
            ("!!$$", "bad: !$", false),
            ("1.0.0", "version 1.0.0", true),
            ("abc", "abc", false),
        ] {
            assert_eq!(secrets_of("https://h.example/", header).are_in(&Foreign::new(text)), found, "{header}: {text}");
        }
    }

    #[test]
    fn a_url_is_secret_where_it_holds_a_key() {
        for (url, text, found) in [
            ("https://h.example/services/T00/a8f3k2j9", "Cannot POST /services/", false),
            ("https://h.example/services/T00/a8f3k2j9", "\"path\":\"/services/T00/a8f3k2j9\"", true),
            ("https://h.example/services/T00/a8f3k2j9", "a8f3k2j9", true),
            ("https://h.example/detection-outcomes", "a detection without outcomes", false),
            ("https://h.example/detection-outcomes", "/Detection-Outcomes", true),
            ("https://h.example/?key=quer-y1&n=1", "no key given", false),
            ("https://h.example/?key=quer-y1&n=1", "bad key: QUERY1", true),
            ("https://h.example/?s3cr3t", "s3cr3t", true),
            ("https://h.example/?k=%D0%BA%D0%BB%D1%8E%D1%87", "bad: ключ", true),
            ("https://h.example/?k=%D0%BA%D0%BB%D1%8E%D1%87", r"bad: \u043a\u043b\u044e\u0447", true),
            ("https://user7:p%40ssw0rd@h.example/", "user7", true),
            ("https://user7:p%40ssw0rd@h.example/", "p@ssw0rd", true),
            ("https://user7:p%40ssw0rd@h.example/", "h.example", false),
        ] {
            assert_eq!(secrets_of(url, "none-here").are_in(&Foreign::new(text)), found, "{url}: {text}");
        }
    }

    #[test]
    fn a_name_is_shown_or_withheld() {
        let secrets = secrets_of("https://u5er:passw0rd@h.example/portal/hook?key=quer-y1", "Bearer x-1234-abcd-5678");
        for name in ["https://portal.example.com", "https://hook.portal.example.com:8443"] {
            assert_eq!(secrets.name(name, 253), name);
        }
        for name in [
            "https://u5er.example",
            "https://x-passw0rd.example",
            "https://qu.er.y1.example",
            "https://1234abcd.example",
            "https://mfkq9r8g.example",
            &"x".repeat(254),
        ] {
            assert_eq!(secrets.name(name, 253), "[withheld]", "{name}");
        }
        assert_eq!(secrets.name("a\nb", 253), "a\u{fffd}b");
    }

    #[test]
    fn a_redirect_does_not_name_a_host_made_of_secrets() {
        let secrets = secrets_of("https://h.example/hook?key=quer-y1", "none-here");
        let to = |location: &str| {
            let location = HeaderValue::from_str(location).unwrap();
            redirect(&Url::parse("https://h.example/hook?key=quer-y1").unwrap(), Some(&location), &secrets).place
        };
        assert_eq!(to("https://x.example/query1"), "to another origin, https://x.example");
        assert_eq!(to("https://query1.example/"), "to another origin, [withheld]");
        assert_eq!(to("https://query1.example/login"), "to a login page at [withheld]");
        assert_eq!(to("/hook/?key=quer-y1"), "to the same URL with a slash added at its end");
    }
}
