//! JSON that is looked into without being read as a whole: what is not needed stays as it was written.

use std::collections::HashMap;

use serde::Deserializer as _;
use serde_json::value::RawValue;

use super::problem::Problem;

/// The members of a JSON object, unparsed. Of a repeated name the last counts, as for most receivers.
pub fn members(text: &str) -> Result<HashMap<String, &RawValue>, Problem> {
    Ok(members_as_written(text)?.into_iter().collect())
}

/// The members of a JSON object, unparsed, in the order in which they are written; a repeated name is there each time.
pub fn members_as_written(text: &str) -> Result<Vec<(String, &RawValue)>, Problem> {
    let members: serde_json::Result<Members<'_>> = serde_json::from_str(text);
    members.map(|members| members.0).map_err(|error| {
        let at = format!("line {}, column {}", error.line(), error.column());
        match error.classify() {
            serde_json::error::Category::Data => Problem::new("$", "a JSON object"),
            serde_json::error::Category::Eof => Problem::new("$", format!("complete JSON (it ends at {at})")),
            _ => Problem::new("$", format!("valid JSON (see {at})")),
        }
    })
}

struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> serde::Deserialize<'de> for Members<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some((name, value)) = map.next_entry::<WobblyText, &RawValue>()? {
                    members.push((name.0, value));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

/// Looks at each item of a JSON array, unparsed and never all at once; says whether it is an array.
pub fn each(array: &RawValue, look: impl FnMut(usize, &RawValue)) -> bool {
    struct Visitor<F>(F);
    impl<'de, F: FnMut(usize, &RawValue)> serde::de::Visitor<'de> for Visitor<F> {
        type Value = ();
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an array")
        }
        fn visit_seq<A: serde::de::SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
            let mut index = 0;
            while let Some(item) = items.next_element::<&RawValue>()? {
                (self.0)(index, item);
                index += 1;
            }
            Ok(())
        }
    }
    serde_json::Deserializer::from_str(array.get()).deserialize_seq(Visitor(look)).is_ok()
}

/// A JSON string's text, or nothing for another type. Lone surrogates, which JSON can spell and Unicode text
/// cannot hold (RFC 8259, section 8.2), are replaced: they are no reason to refuse.
pub fn string(value: &RawValue) -> Option<String> {
    serde_json::from_str(value.get()).ok().or_else(|| {
        let bytes: serde_json::Result<WobblyText> = serde_json::from_str(value.get());
        bytes.ok().map(|text| text.0)
    })
}

/// A text with its lone surrogates replaced.
struct WobblyText(String);

impl<'de> serde::Deserialize<'de> for WobblyText {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = WobblyText;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a string")
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<WobblyText, E> {
                Ok(WobblyText(String::from_utf8_lossy(bytes).into_owned()))
            }
        }
        deserializer.deserialize_bytes(Visitor)
    }
}

/// Whether a JSON value is written as an integer, of whatever size.
pub fn is_integer(json: &str) -> bool {
    let digits = json.strip_prefix('-').unwrap_or(json);
    !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
}
