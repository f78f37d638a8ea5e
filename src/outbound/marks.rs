//! A text that a receiver wrote, and what of it must not be shown.

use std::collections::{HashMap, HashSet};

use super::spelling::spellings;

/// What stands in the place of what was taken out.
pub(super) const REMOVED: &str = "[removed]";

/// Shorter texts are no secrets, and would turn every answer into holes.
pub(super) const LEAST: usize = 4;

pub(super) struct Marks<'a> {
    text: &'a str,
    /// Compared in lower case: many servers write what they repeat so.
    lower: String,
    /// Per byte of the text.
    marked: Vec<bool>,
}

impl<'a> Marks<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, lower: text.to_ascii_lowercase(), marked: vec![false; text.len()] }
    }

    /// Marks what the text has in common with a source, in pieces of at least `least` bytes.
    pub(super) fn pieces<'s>(&mut self, sources: impl IntoIterator<Item = &'s str>, least: usize) {
        let mut places: HashMap<&[u8], Vec<usize>> = HashMap::new();
        let mut likely = vec![false; 1 << 16];
        for (at, window) in self.lower.as_bytes().windows(least).enumerate() {
            places.entry(window).or_default().push(at);
            likely[sketch(window)] = true;
        }
        for source in sources {
            let source = source.to_ascii_lowercase();
            for window in source.as_bytes().windows(least).filter(|window| likely[sketch(window)]) {
                // A place is marked once: a source that repeats itself would take its length times the text's.
                for at in places.remove(window).unwrap_or_default() {
                    self.marked[at..at + least].fill(true);
                }
            }
        }
    }

    /// Marks whole values in the spellings that an echo has.
    pub(super) fn values<'s>(&mut self, values: impl IntoIterator<Item = &'s str>) {
        // No spelling is shorter than a third: `%41` is an `A`.
        for value in values.into_iter().filter(|value| value.len() / 3 <= self.text.len()) {
            let spelled: HashSet<_> = spellings(value).map(|spelling| spelling.to_ascii_lowercase()).into();
            for spelling in spelled.iter().filter(|spelling| spelling.len() >= LEAST) {
                for (at, found) in self.lower.match_indices(spelling) {
                    self.marked[at..at + found.len()].fill(true);
                }
            }
        }
    }

    /// The first `end` bytes of the text without what is marked.
    pub(super) fn remove(&self, end: usize) -> String {
        let mut left = String::new();
        let mut removing = false;
        for (at, character) in self.text.char_indices().take_while(|(at, _)| *at < end) {
            // A character is removed with any of its bytes.
            let marked = self.marked[at..at + character.len_utf8()].contains(&true);
            if !marked {
                left.push(character);
            } else if !removing {
                left.push_str(REMOVED);
            }
            removing = marked;
        }
        left
    }
}

/// A number of 16 bits for a piece's beginning. Most pieces of a payload, which may have millions, end here.
fn sketch(piece: &[u8]) -> usize {
    let beginning = piece.first_chunk().map_or(0, |beginning| u32::from_le_bytes(*beginning));
    // Fibonacci hashing (Knuth, section 6.4).
    (beginning.wrapping_mul(0x9e37_79b1) >> 16) as usize
}
