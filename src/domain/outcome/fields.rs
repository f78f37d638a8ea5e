//! Reads the fields of an outcome and collects what is wrong with them.

use std::collections::HashMap;

use serde_json::value::RawValue;

use super::Oddities;
use crate::domain::json::{each, is_integer, members, string};
use crate::domain::problem::Problem;

/// Collects problems instead of stopping at the first: a producer fixes them all at once.
pub(super) struct Reader<'a> {
    fields: &'a HashMap<String, &'a RawValue>,
    pub(super) refused: Vec<Problem>,
    pub(super) oddities: Oddities,
}

impl<'a> Reader<'a> {
    pub(super) fn new(fields: &'a HashMap<String, &'a RawValue>) -> Self {
        Self { fields, refused: Vec::new(), oddities: Oddities::default() }
    }

    fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.fields.get(name).copied()
    }

    pub(super) fn required(
        &mut self,
        name: &str,
        expected: &'static str,
        read: fn(&RawValue) -> Option<String>,
    ) -> Option<String> {
        let Some(value) = self.get(name) else {
            self.refused.push(Problem::new(name, format!("{expected}, but the field is missing")));
            return None;
        };
        let read = read(value);
        if read.is_none() {
            self.refused.push(Problem::new(name, expected));
        }
        read
    }

    /// A new value on the producer's side must not cost an alert: it is an oddity, another type is refused.
    pub(super) fn required_value<T>(
        &mut self,
        name: &str,
        expected: &'static str,
        parse: fn(&str) -> Option<T>,
        unknown: T,
    ) -> T {
        let Some(text) = self.required(name, expected, string) else { return unknown };
        parse(&text).unwrap_or_else(|| {
            self.oddities.add(|| Problem::new(name, expected));
            unknown
        })
    }

    pub(super) fn optional_string(&mut self, name: &str) -> Option<String> {
        let text = string(self.get(name)?);
        if text.is_none() {
            self.oddities.add(|| Problem::new(name, "a string"));
        }
        text
    }

    pub(super) fn nullable_string(&mut self, name: &str) -> Option<String> {
        if self.get(name)?.get() == "null" { None } else { self.optional_string(name) }
    }

    fn optional_value(&mut self, name: &str, expected: &'static str, values: &[&str]) {
        let Some(value) = self.get(name) else { return };
        if !string(value).is_some_and(|text| values.contains(&text.as_str())) {
            self.oddities.add(|| Problem::new(name, expected));
        }
    }

    /// The fields that nothing here needs: looked at only to tell the producer what is unexpected about them.
    pub(super) fn check_the_rest(&mut self) {
        for name in ["description", "match_operator"] {
            self.optional_string(name);
        }
        for name in ["ran_at", "range_start", "range_end"] {
            if self.get(name).is_some_and(|value| !string(value).is_some_and(|text| resembles_timestamp(&text))) {
                self.oddities.add(|| Problem::new(name, "an ISO 8601 timestamp"));
            }
        }
        self.optional_value("run_type", "SCHEDULED or MANUAL", &["SCHEDULED", "MANUAL"]);
        self.optional_value("match_eagerness", "EAGER or EXHAUSTIVE", &["EAGER", "EXHAUSTIVE"]);
        if self.get("match_exhaustiveness").is_some_and(|value| value.get() != "null") {
            self.optional_value(
                "match_exhaustiveness",
                "COMPLETED, STOPPED_EARLY or null",
                &["COMPLETED", "STOPPED_EARLY"],
            );
        }
        if self.get("match_threshold").is_some_and(|value| !is_integer(value.get())) {
            self.oddities.add(|| Problem::new("match_threshold", "an integer"));
        }
        self.check_errors();
    }

    fn check_errors(&mut self) {
        let Some(value) = self.get("errors") else { return };
        let is_array = each(value, |index, error| {
            let Ok(error) = members(error.get()) else {
                let problem = || Problem::new(format!("errors[{index}]"), "an object with message, code and source");
                return self.oddities.add(problem);
            };
            for name in ["message", "code", "source"] {
                if error.get(name).is_none_or(|value| string(value).is_none()) {
                    self.oddities.add(|| Problem::new(format!("errors[{index}].{name}"), "a string"));
                }
            }
        });
        if !is_array {
            self.oddities.add(|| Problem::new("errors", "an array of {message, code, source}"));
        }
    }
}

/// Whether a text is written like a time of ISO 8601: a date, and perhaps a time of day, a fraction and a zone. Only the
/// form is looked at; a thirteenth month passes.
fn resembles_timestamp(text: &str) -> bool {
    /// More digits than anybody's clock has.
    const LONGEST: usize = 64;
    if text.len() > LONGEST {
        return false;
    }
    let form = |text: &str| text.replace(|c: char| c.is_ascii_digit(), "9");
    let (date, time) = text.split_once(['T', 't', ' ']).map_or((text, None), |(date, time)| (date, Some(time)));
    let is_time = |time: &str| {
        let (clock, zone) = time.split_at(time.find(['Z', 'z', '+', '-']).unwrap_or(time.len()));
        let (clock, fraction) = clock.split_once(['.', ',']).unwrap_or((clock, "0"));
        ["99:99:99", "99:99", "99", "999999", "9999"].contains(&form(clock).as_str())
            && ["", "Z", "z", "+99:99", "-99:99", "+9999", "-9999", "+99", "-99"].contains(&form(zone).as_str())
            && !fraction.is_empty()
            && fraction.bytes().all(|b| b.is_ascii_digit())
    };
    ["9999-99-99", "99999999"].contains(&form(date).as_str()) && time.is_none_or(is_time)
}
