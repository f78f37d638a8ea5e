//! How the same text looks when somebody else writes it.

use std::fmt::Write as _;

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde_json::Value;

/// A text as URLs, JSON and HTML spell it.
pub(super) fn spellings(text: &str) -> [String; 8] {
    let json = Value::from(text).to_string();
    let json = json.trim_matches('"');
    let html = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;");
    [
        text.to_owned(),
        percent_decode_str(text).decode_utf8_lossy().into_owned(),
        utf8_percent_encode(text, NON_ALPHANUMERIC).to_string(),
        // Python's JSON, and PHP's.
        ascii(json),
        ascii(json).replace('/', "\\/"),
        json.to_owned(),
        html.replace('\'', "&#39;"),
        html.replace('\'', "&#x27;"),
    ]
}

fn ascii(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for character in json.chars() {
        if character.is_ascii() {
            escaped.push(character);
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                let _ = write!(escaped, "\\u{unit:04x}");
            }
        }
    }
    escaped
}

/// What is left of a text without escapes, signs and case: its letters and digits.
pub(super) fn plain(text: &str) -> String {
    // Twice: what stood in a URL may stand in JSON now.
    let mut plain = decode(&decode(text));
    plain.retain(|character| character.is_ascii_alphanumeric());
    plain.make_ascii_lowercase();
    plain
}

/// A text without markup, which can stand in the middle of a word (`<wbr>`).
pub(super) fn without_tags(text: &str) -> String {
    let mut left = String::with_capacity(text.len());
    for (index, part) in text.split('<').enumerate() {
        match part.split_once('>') {
            Some((_, after)) if index > 0 => left.push_str(after),
            _ => left.push_str(part),
        }
    }
    left
}

fn decode(text: &str) -> String {
    let mut decoded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['%', '\\', '&']) {
        decoded.push_str(&rest[..at]);
        // What only looks like an escape is a sign, and no sign is compared.
        let (character, length) = escape(&rest[at..]).unwrap_or((' ', 1));
        decoded.push(character);
        rest = &rest[at + length..];
    }
    decoded + rest
}

/// The escape that a text begins with: what it means, and its length.
fn escape(text: &str) -> Option<(char, usize)> {
    let number = |digits: &str, radix| char::from_u32(u32::from_str_radix(digits, radix).ok()?);
    if let Some(rest) = text.strip_prefix("\\u") {
        return Some((number(rest.get(..4)?, 16)?, 6));
    }
    if let Some(rest) = text.strip_prefix("\\x") {
        return Some((number(rest.get(..2)?, 16)?, 4));
    }
    if let Some(rest) = text.strip_prefix('\\') {
        return rest.starts_with(['b', 'f', 'n', 'r', 't']).then_some((' ', 2));
    }
    if let Some(rest) = text.strip_prefix('%') {
        return Some((number(rest.get(..2)?, 16)?, 3));
    }
    // The longest numeric entity is `&#x10FFFF;`, the longest name in use `&NewLine;`.
    let end = text.bytes().take(12).position(|byte| byte == b';')?;
    let character = match text[1..end].strip_prefix('#') {
        Some(digits) => match digits.strip_prefix(['x', 'X']) {
            Some(digits) => number(digits, 16)?,
            None => number(digits, 10)?,
        },
        // Names stand for signs; letters with accents are not compared either.
        None => Some(' ').filter(|_| text[1..end].bytes().all(|byte| byte.is_ascii_alphabetic()))?,
    };
    Some((character, end + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_every_standard_escape_is_the_same() {
        for spelled in [
            "a/Bc+d'é9",
            "a%2FBc%2bd%27%C3%A99",
            "a%252FBc%252bd",
            r"a\/Bc\u002Bd\u0027\u00e99",
            r"\u0061/\x42c",
            "a&#x2F;Bc&#43;d&#39;&eacute;9",
            "a\nB\tc-d",
            r"a\nB\tc\u0026d",
            "&#97;Bc",
        ] {
            assert!("abcd9".starts_with(&plain(spelled)) && plain(spelled).len() >= 3, "{spelled}: {}", plain(spelled));
        }
        for odd in ["%", "%é", "%4", "\\", "\\u12", "\\ué", "&", "&;", "&#;", "&#x;", "&#xé;", "&é;", "100 % & more"]
        {
            assert!(plain(odd).len() <= 9, "{odd}");
        }
    }

    #[test]
    fn a_word_is_whole_again_without_the_markup_in_it() {
        assert_eq!(without_tags("QUE<wbr>RY<b class=x>SE</b>"), "QUERYSE");
        assert_eq!(without_tags("a > b, <QUE<br>RY"), "a > b, QUERY");
    }
}
