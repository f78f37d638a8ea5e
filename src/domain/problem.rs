//! What is wrong with something a person or a producer wrote, and what was expected instead.

use std::borrow::Cow;
use std::fmt;

use icu_properties::CodePointMapData;
use icu_properties::props::GeneralCategory;
use serde::Serialize;

/// A wrong place in an input: where it is and what was expected there.
///
/// It has no room for the value that was found, because values may be secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// JSON path, name of a setting, or part of an envelope.
    pub path: String,
    /// What belongs there; ends the sentence "expected …".
    pub expected: Cow<'static, str>,
}

impl Problem {
    pub fn new(path: impl Into<String>, expected: impl Into<Cow<'static, str>>) -> Self {
        // It stands between backticks, and must not end them.
        Self { path: printable(&path.into().replace('`', "'"), 120), expected: expected.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // "$" is all of a text, which the sentence names anyway.
        match &*self.path {
            "$" => write!(f, "expected {}", self.expected),
            path => write!(f, "`{path}`: expected {}", self.expected),
        }
    }
}

/// How many problems one sentence names; the rest is counted, so that a log line stays below 8 KiB.
const SHOWN: usize = 10;

/// Several problems in one sentence.
pub fn sentence(problems: &[Problem]) -> String {
    let text = whole_sentence(&problems[..problems.len().min(SHOWN)]);
    if problems.len() > SHOWN { format!("{text}; and {} more", problems.len() - SHOWN) } else { text }
}

/// All problems in one sentence, for a list that is known to be short.
pub fn whole_sentence(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Foreign text as a log line or a queue's attribute may show it: control and format characters (Unicode's categories Cc
/// and Cf, line and paragraph separators) and what SQS refuses are replaced; at most `max` bytes.
pub fn printable(text: &str, max: usize) -> String {
    // Nearly every text is plain; the tables of Unicode are for the others.
    if text.len() <= max && text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return text.to_owned();
    }
    let mut shown = String::with_capacity(text.len().min(max));
    for c in text.chars() {
        let c = if is_invisible(c) { char::REPLACEMENT_CHARACTER } else { c };
        if shown.len() + c.len_utf8() > max {
            shown.push('…');
            break;
        }
        shown.push(c);
    }
    shown
}

fn is_invisible(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_control();
    }
    let category = CodePointMapData::<GeneralCategory>::new().get(c);
    matches!(
        category,
        GeneralCategory::Control
            | GeneralCategory::Format
            | GeneralCategory::LineSeparator
            | GeneralCategory::ParagraphSeparator
    ) || matches!(c, '\u{fffe}' | '\u{ffff}')
}

/// Foreign text inside a sentence: a JSON string, so that nothing in it can pass for a part of the sentence.
pub fn quoted(text: &str) -> String {
    // A string can always be written as JSON.
    serde_json::to_string(&printable(text, usize::MAX)).unwrap_or_default()
}

/// An id stands as it is where it cannot be taken for anything else.
pub fn plain_or_quoted(id: &str) -> String {
    let plain = !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_:/#".contains(&b));
    if plain { id.to_owned() } else { quoted(id) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printable_text_has_no_invisible_characters_and_a_limit() {
        assert_eq!(printable("a\nb\u{1b}[31m", 100), "a\u{fffd}b\u{fffd}[31m");
        for c in "\u{2066}\u{2069}\u{200b}\u{200e}\u{200f}\u{61c}\u{feff}\u{ad}\u{e0041}\u{2028}\u{202e}\u{85}\u{ffff}"
            .chars()
        {
            assert_eq!(printable(&c.to_string(), 9), "\u{fffd}", "{c:?}");
        }
        assert_eq!(printable("äää", 4), "ää…");
        assert_eq!(printable("äää", 6), "äää");
    }

    #[test]
    fn quoted_text_cannot_end_its_quotes() {
        assert_eq!(quoted("a\" DELIVERED"), "\"a\\\" DELIVERED\"");
    }

    #[test]
    fn a_sentence_names_the_first_problems_and_counts_the_rest() {
        let problems: Vec<_> = (0..11).map(|n| Problem::new(format!("p{n}"), "x")).collect();
        let ten = (0..10).map(|n| format!("`p{n}`: expected x")).collect::<Vec<_>>().join("; ");
        assert_eq!(sentence(&problems[..10]), ten);
        assert_eq!(sentence(&problems), format!("{ten}; and 1 more"));
        assert_eq!(whole_sentence(&problems), format!("{ten}; `p10`: expected x"));
    }

    #[test]
    fn an_id_is_quoted_unless_it_is_plain() {
        let shown = ["run-4_5:6/7#8", "", "a b", "a."].map(plain_or_quoted);
        assert_eq!(shown, ["run-4_5:6/7#8", r#""""#, r#""a b""#, r#""a.""#]);
    }
}
