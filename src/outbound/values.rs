//! The payload's own words, which an endpoint may repeat.

use std::collections::HashSet;

use serde_json::Number;

use super::marks::LEAST;

/// More words than this are not looked for: the search takes their number times the answer's length.
const MAX_VALUES: usize = 1000;

/// The texts and numbers in a JSON text; nothing when they are too many, or one cannot be read.
///
/// Read as it is written and not as a value: a repeated member, a number too large and any depth are in it as well.
/// Members' names are not: an endpoint that names the member it dislikes says what is wrong.
pub(super) fn values(json: &str) -> Option<HashSet<String>> {
    let mut values = HashSet::new();
    let mut rest = json;
    loop {
        rest = rest.trim_start_matches(|character: char| character.is_ascii_whitespace() || is_structure(character));
        if rest.is_empty() {
            return Some(values);
        }
        let (token, after) = rest.split_at(token_length(rest));
        rest = after;
        let mut found = |value: String| values.extend(Some(value).filter(|value| value.len() >= LEAST));
        if token.starts_with('"') {
            if !rest.trim_ascii_start().starts_with(':') {
                // It cannot where it has a lone surrogate, which is no UTF-8.
                found(serde_json::from_str(token).ok()?);
            }
        } else if token.starts_with(|character: char| character == '-' || character.is_ascii_digit()) {
            // As an endpoint repeats it: read and written again, or as it came.
            if let Ok(number) = token.parse::<Number>() {
                found(number.to_string());
            }
            found(token.to_owned());
        }
        if values.len() > MAX_VALUES {
            return None;
        }
    }
}

fn is_structure(character: char) -> bool {
    matches!(character, '[' | ']' | '{' | '}' | ',' | ':')
}

/// How long the string, number or word is that a JSON text begins with.
fn token_length(json: &str) -> usize {
    let mut escaped = true;
    let end = if json.starts_with('"') {
        json.find(|character| {
            let ends = character == '"' && !escaped;
            // The first quote is skipped as if it were escaped.
            escaped = character == '\\' && !escaped;
            ends
        })
        .map(|last| last + 1)
    } else {
        json.find(|character: char| character.is_ascii_whitespace() || is_structure(character))
    };
    end.unwrap_or(json.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_and_number_is_found_wherever_it_stands() {
        let deep = format!("{}\"deepest\"{}", "[".repeat(500), "]".repeat(500));
        for (json, expected) in [
            (
                r#"{"name": "text", "name":"again" , "n" : [12345, -1.50, true, null, "x"]}"#,
                &["text", "again", "12345", "-1.5", "-1.50"][..],
            ),
            (r#"{"big":1e999,"after":"there"}"#, &["1e999", "there"]),
            (r#"["a\"b\\", "c\u00e9dille", "é\\\""]"#, &["a\"b\\", "cédille", "é\\\""]),
            (&deep, &["deepest"]),
            ("\"\"", &[]),
        ] {
            let expected: HashSet<_> = expected.iter().map(|&text| text.to_owned()).collect();
            assert_eq!(values(json).unwrap(), expected, "{json}");
        }
        assert_eq!(values(r#"{"a":"\ud800","b":"there"}"#), None);
    }

    #[test]
    fn too_many_values_are_not_looked_for() {
        let list =
            |count: usize| format!("[{}]", (0..count).map(|n| format!("{}", 10_000 + n)).collect::<Vec<_>>().join(","));
        assert_eq!(values(&list(MAX_VALUES)).map(|values| values.len()), Some(MAX_VALUES));
        assert_eq!(values(&list(MAX_VALUES + 1)), None);
        assert_eq!(
            values(&format!("[{}]", ["1", "12345"].repeat(100_000).join(","))).map(|values| values.len()),
            Some(1)
        );
    }
}
