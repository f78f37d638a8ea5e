//! JSON texts whose members are found and left as they were written.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer as _};
use serde_json::value::RawValue;

use super::problem::Problem;

/// A text that should be a JSON object, with the members that it has.
#[derive(Debug)]
pub struct Object<'a> {
    /// The text without what may surround it.
    pub json: &'a str,
    members: Vec<(Cow<'a, str>, &'a RawValue)>,
    /// Why the text is not a JSON object. The members that stand before the error are found all the same.
    pub problem: Option<Problem>,
}

impl<'a> Object<'a> {
    /// Scans a text once.
    pub fn read(text: &'a str) -> Self {
        let json = trimmed(text);
        let mut members = Vec::new();
        let mut reader = serde_json::Deserializer::from_str(json);
        let read = reader.deserialize_map(Collect(&mut members)).and_then(|()| reader.end());
        Self { json, members, problem: read.err().as_ref().map(problem) }
    }

    /// A member's value. Of a repeated name the last counts, as for most receivers.
    pub fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.members.iter().rev().find(|(known, _)| known == name).map(|(_, value)| *value)
    }

    /// The members' names in the order in which they stand.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.members.iter().map(|(name, _)| name.as_ref())
    }
}

/// A text without the JSON white space around it (RFC 8259, section 2, which is less than Unicode's) and without the
/// UTF-8 byte order mark that some producers write (section 8.1 allows to ignore it).
fn trimmed(text: &str) -> &str {
    const WHITE_SPACE: [char; 4] = [' ', '\t', '\n', '\r'];
    let text = text.trim_matches(WHITE_SPACE);
    text.strip_prefix('\u{feff}').unwrap_or(text).trim_start_matches(WHITE_SPACE)
}

fn problem(error: &serde_json::Error) -> Problem {
    let at = format!("line {}, column {}", error.line(), error.column());
    match error.classify() {
        serde_json::error::Category::Data => Problem::new("$", "a JSON object"),
        serde_json::error::Category::Eof => Problem::new("$", format!("complete JSON (it ends at {at})")),
        _ => Problem::new("$", format!("valid JSON (see {at})")),
    }
}

/// The members of a JSON object in the order in which they are written; a repeated name is there each time. `None` for
/// anything else.
pub fn members_as_written(text: &str) -> Option<Vec<(String, &RawValue)>> {
    let object = Object::read(text);
    let members = object.members.into_iter().map(|(name, value)| (name.into_owned(), value));
    object.problem.is_none().then(|| members.collect())
}

/// Collects members one by one, so that those before an error are kept.
struct Collect<'c, 'a>(&'c mut Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Visitor<'de> for Collect<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some((name, value)) = map.next_entry::<&RawValue, &RawValue>()? {
            self.0.push((decoded(name), value));
        }
        Ok(())
    }
}

/// A member's name, borrowed where it has no escapes.
fn decoded(name: &RawValue) -> Cow<'_, str> {
    match name.get().strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(plain) if !plain.contains('\\') => Cow::Borrowed(plain),
        _ => Cow::Owned(string(name).unwrap_or_default()),
    }
}

/// A JSON string's text; `None` for another type. Lone surrogates, which JSON can spell and Unicode text cannot hold
/// (RFC 8259, section 8.2), are replaced.
pub fn string(value: &RawValue) -> Option<String> {
    // Every number and list would be an error with a text of its own.
    if !value.get().starts_with('"') {
        return None;
    }
    let lossy = || serde_json::Deserializer::from_str(value.get()).deserialize_bytes(Lossy);
    serde_json::from_str(value.get()).or_else(|_| lossy()).ok()
}

/// Takes a JSON string as bytes, whose lone surrogates are no UTF-8.
struct Lossy;

impl Visitor<'_> for Lossy {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<String, E> {
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }
}

/// What a value is as a type that serde knows; `None` where it is something else.
pub fn read<'a, T: Deserialize<'a>>(value: &'a RawValue) -> Option<T> {
    serde_json::from_str(value.get()).ok()
}

/// What a JSON string names, such as a variant; `None` for any other text, and for another type.
pub fn word<T: DeserializeOwned>(value: &RawValue) -> Option<T> {
    value.get().starts_with('"').then(|| read(value)).flatten()
}

/// Whether a JSON value is written as an integer, of whatever size.
pub fn is_integer(json: &str) -> bool {
    let digits = json.strip_prefix('-').unwrap_or(json);
    !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
}

/// A JSON number without a fraction, in plain digits: `77`, `77.0` and `7.7e1` are "77". `None` for anything else, and
/// for what an exponent makes longer than 64 digits.
pub fn whole_number(json: &str) -> Option<String> {
    const LONGEST: usize = 64;
    if is_integer(json) {
        return Some(if json == "-0" { "0".to_owned() } else { json.to_owned() });
    }
    let (sign, number) = json.strip_prefix('-').map_or(("", json), |rest| ("-", rest));
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut digits = format!("{whole}{fraction}");
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    // Where the decimal point stands once the exponent has moved it.
    let point = i32::try_from(whole.len()).ok()?.checked_add(exponent.parse().ok()?)?;
    let point = usize::try_from(point).ok().filter(|point| *point <= LONGEST.max(whole.len()))?;
    let rest = digits.get(point..).unwrap_or_default();
    if rest.bytes().any(|b| b != b'0') {
        return None;
    }
    digits.extend(std::iter::repeat_n('0', point.saturating_sub(digits.len())));
    digits.truncate(point);
    Some(match digits.trim_start_matches('0') {
        "" => "0".to_owned(),
        digits => format!("{sign}{digits}"),
    })
}

/// Spells as JSON escapes the characters that SQS refuses: all but #x9, #xA, #xD, #x20 to #xD7FF, #xE000 to #xFFFD and
/// #x10000 to #x10FFFF (SendMessage, "MessageBody"). In valid JSON only U+FFFE and U+FFFF can be among them, and only
/// inside strings, so that the escapes mean the same.
pub fn fit_for_sqs(text: &Bytes) -> Bytes {
    let is_refused = |c: char| matches!(c, '\u{fffe}' | '\u{ffff}') || (c < ' ' && !matches!(c, '\t' | '\n' | '\r'));
    // The two beyond ASCII begin with this byte in UTF-8; hardly any text has one.
    let may_be_refused = |byte: &u8| *byte < b' ' || *byte == 0xef;
    match std::str::from_utf8(text) {
        Ok(characters) if text.iter().any(may_be_refused) && characters.contains(is_refused) => {
            let mut spelled = String::with_capacity(text.len() + 16);
            for c in characters.chars() {
                if is_refused(c) {
                    spelled.push_str(&format!("\\u{:04x}", u32::from(c)));
                } else {
                    spelled.push(c);
                }
            }
            spelled.into()
        }
        _ => text.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_number_is_written_in_plain_digits() {
        let long = "9".repeat(3000);
        for (json, expected) in [
            ("77", Some("77")),
            ("77.0", Some("77")),
            ("77.000", Some("77")),
            ("7.7e1", Some("77")),
            ("0.77E+2", Some("77")),
            ("7700e-2", Some("77")),
            ("1e3", Some("1000")),
            ("-77.0", Some("-77")),
            ("0", Some("0")),
            ("-0", Some("0")),
            ("-0.0", Some("0")),
            (&long, Some(&*long)),
            ("9007199254740993.0", Some("9007199254740993")),
            ("77.5", None),
            ("7.75e1", None),
            ("1e-1", None),
            ("1e65", None),
            ("1e999999999999999999", None),
            ("1e-999999999999999999", None),
            ("1e2147483647", None),
            ("true", None),
            ("\"77\"", None),
            ("[7]", None),
        ] {
            assert_eq!(whole_number(json).as_deref(), expected, "{json}");
        }
        assert_eq!(whole_number("1e63").unwrap().len(), 64);
    }

    #[test]
    fn the_last_of_a_repeated_name_counts() {
        let object = Object::read(r#"{"a":1,"b":2,"\u0061":3}"#);
        assert_eq!(object.get("a").unwrap().get(), "3");
        assert_eq!(object.names().collect::<Vec<_>>(), ["a", "b", "a"]);
        assert!(object.get("c").is_none() && object.problem.is_none());
    }

    #[test]
    fn members_before_an_error_are_found() {
        for text in [r#"{"a":1,"b":[2"#, r#"{"a":1,"b"}"#, r#"{"a":1} x"#, "{\"a\":1,\"b\n\":2}"] {
            let object = Object::read(text);
            assert_eq!(object.get("a").map(RawValue::get), Some("1"), "{text}");
            assert!(object.problem.is_some() && object.get("b").is_none(), "{text}");
        }
    }

    #[test]
    fn only_json_white_space_and_one_byte_order_mark_are_trimmed() {
        for text in ["{}", " \r\n\t{} \n", "\u{feff}{}", " \u{feff} {} "] {
            assert_eq!((Object::read(text).json, Object::read(text).problem), ("{}", None), "{text:?}");
        }
        for text in ["\u{feff}\u{feff}{}", "\u{a0}{}", "{}\u{feff}", "{}\0"] {
            assert!(Object::read(text).problem.is_some(), "{text:?}");
        }
    }

    #[test]
    fn what_sqs_refuses_is_spelled_as_an_escape() {
        let spelled = |text: &str| String::from_utf8(fit_for_sqs(&Bytes::from(text.to_owned())).to_vec()).unwrap();
        assert_eq!(spelled("a\u{fffe}\\\\\u{ffff}b"), r"a\ufffe\\\uffffb");
        assert_eq!(spelled("\0\u{1f}\t\n\r\u{7f}\u{fffd}\u{1ffff}"), "\\u0000\\u001f\t\n\r\u{7f}\u{fffd}\u{1ffff}");
        assert_eq!(spelled("\u{1}"), r"\u0001");
        let plain = Bytes::from_static(b"{}");
        assert_eq!(fit_for_sqs(&plain).as_ptr(), plain.as_ptr(), "no copy");
    }

    #[test]
    fn only_a_list_has_items() {
        let count = |json| read::<Vec<&RawValue>>(serde_json::from_str(json).unwrap()).map(|items| items.len());
        assert_eq!(["[1, [2]]", "[]", "{}", "null"].map(count), [Some(2), Some(0), None, None]);
    }
}
