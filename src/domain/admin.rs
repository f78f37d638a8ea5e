//! What an administrator asks by invoking the function directly, and what is answered about dead letters.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::destination::{ID_EXPECTED, is_id};
use super::json::Object;
use super::problem::{Problem, printable};
use super::report::rfc3339;

/// A request. Only a direct invocation carries one: whoever may send outcomes must not be able to make one.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// `{"probe": "soc"}` tests one destination.
    Probe(String),
    /// `{"check": true}` tests everything that is configured.
    Check(bool),
    /// `{"dead_letters": {…}}` lists the selected dead letters.
    DeadLetters(Selection),
    /// `{"redrive": {…}}` delivers the selected dead letters once more.
    Redrive(Redrive),
}

/// Which dead letters are meant. What is absent selects all; `-` selects the letters that have none, as in the list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with `destination`, `code`, both or neither")]
pub struct Selection {
    pub destination: Option<String>,
    pub code: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with `destination`, `code`, `to` or `all`")]
pub struct Redrive {
    pub destination: Option<String>,
    pub code: Option<String>,
    /// The destination to deliver to, in place of each letter's own.
    pub to: Option<String>,
    /// All letters: a forgotten filter must not deliver everything again.
    #[serde(default)]
    pub all: bool,
}

/// How a letter without a destination or code is listed and selected. No id and no code has this form.
const NONE: &str = "-";

impl Request {
    /// Reads an event. `None` when it is no request; a wrong request is a problem to answer with.
    pub fn parse(event: &Object<'_>) -> Option<Result<Self, Problem>> {
        const NAMES: [&str; 4] = ["probe", "check", "dead_letters", "redrive"];
        let name = NAMES.into_iter().find(|name| event.get(name).is_some())?;
        if let Some(other) = event.names().find(|other| *other != name) {
            return Some(Err(Problem::new(other, format!("nothing beside `{name}` in one invocation"))));
        }
        let read = serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_str(event.json));
        let read = read.map_err(|error| {
            let path = error.path().to_string();
            // Without serde_json's line and column, which mean little in an event of one line.
            let reason = error.into_inner().to_string();
            let reason = reason.split(" at line ").next().unwrap_or_default().to_owned();
            Problem::new(path, format!("what the function's documentation shows: {reason}"))
        });
        Some(read.and_then(Self::checked))
    }

    fn checked(self) -> Result<Self, Problem> {
        match &self {
            Self::Check(false) => Err(Problem::new("check", "true")),
            Self::Redrive(Redrive { to: Some(to), .. }) if !is_id(to) => Err(Problem::new("redrive.to", ID_EXPECTED)),
            Self::Redrive(Redrive { destination: None, code: None, all: false, .. }) => Err(Problem::new(
                "redrive",
                "a destination, a code or both to select by, or \"all\": true for all dead letters",
            )),
            _ => Ok(self),
        }
    }
}

impl Selection {
    pub fn takes(&self, destination: Option<&str>, code: Option<&str>) -> bool {
        let is = |wanted: &Option<String>, found: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| wanted == found.unwrap_or(NONE))
        };
        is(&self.destination, destination) && is(&self.code, code)
    }
}

/// The answer to `dead_letters`.
#[derive(Debug, Serialize)]
pub struct DeadLetters {
    /// The selected letters by destination and code, the largest group first.
    pub dead_letters: Vec<Group>,
    /// Letters that were read, selected or not.
    pub scanned: u64,
    /// Letters in the queue, those that are hidden at the moment among them. SQS counts roughly.
    pub about_in_queue: u64,
    /// Whether all of them were read. What a redrive looked at is hidden for 10 minutes, and a list takes 25 s at most.
    pub complete: bool,
}

/// Dead letters of one destination with one code.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Group {
    /// The destination's id; `-` for whole outcomes, which have none.
    pub destination: String,
    /// The failure's code; `-` for messages that SQS itself moved.
    pub code: String,
    pub count: u64,
    /// When the oldest was sent, RFC 3339 in UTC.
    pub oldest: String,
}

/// Counts dead letters by destination and code.
#[derive(Debug, Default)]
pub struct Groups(BTreeMap<(String, String), Group>);

impl Groups {
    pub fn add(&mut self, destination: Option<&str>, code: Option<&str>, sent: SystemTime) {
        // Attributes may be anybody's text of any length.
        let shown = |text: Option<&str>| printable(text.unwrap_or(NONE), 64);
        let (destination, code) = (shown(destination), shown(code));
        // Times of this form sort as text.
        let sent = rfc3339(sent);
        let group = self.0.entry((destination.clone(), code.clone()));
        let group = group.or_insert_with(|| Group { destination, code, count: 0, oldest: sent.clone() });
        group.count += 1;
        group.oldest = sent.min(std::mem::take(&mut group.oldest));
    }

    /// The largest first; equal ones by name.
    pub fn sorted(self) -> Vec<Group> {
        let mut groups: Vec<_> = self.0.into_values().collect();
        groups.sort_by_key(|group| std::cmp::Reverse(group.count));
        groups
    }
}

/// The answer to `redrive`.
#[skip_serializing_none]
#[derive(Debug, Default, Serialize)]
pub struct Redriven {
    pub scanned: u64,
    /// Letters that were sent to the retry queue.
    pub moved: u64,
    /// Letters that could not be sent. They stay in the dead-letter queue.
    pub failed: u64,
    /// Letters in the dead-letter queue now, the hidden ones among them. SQS counts roughly.
    pub about_left: Option<u64>,
    /// How many of these are hidden, because a redrive looked at them in the last 10 minutes.
    pub about_hidden: Option<u64>,
    /// What went wrong first, and what to do about it.
    pub error: Option<String>,
}

impl Redriven {
    pub fn sentence(&self, redrive: &Redrive) -> String {
        let part = |text: &str, value: &Option<String>| {
            value.as_deref().map(|value| format!(" {text} {}", printable(value, 64))).unwrap_or_default()
        };
        let mut text = format!(
            "redrive: {} dead letter{}{}{} {} sent{} for delivery again",
            self.moved,
            if self.moved == 1 { "" } else { "s" },
            part("of", &redrive.destination),
            part("with code", &redrive.code),
            if self.moved == 1 { "was" } else { "were" },
            part("to", &redrive.to),
        );
        if let Some(left) = self.about_left {
            text += &format!(", about {left} are left");
        }
        if let Some(hidden) = self.about_hidden.filter(|hidden| *hidden > 0) {
            text += &format!(" (about {hidden} of them hidden for up to 10 minutes)");
        }
        text.push('.');
        if self.failed > 0 {
            text += &format!(" {} could not be sent.", self.failed);
        }
        if let Some(error) = &self.error {
            text += &format!(" {error}.");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<Result<Request, String>> {
        Some(Request::parse(&Object::read(text))?.map_err(|problem| problem.to_string()))
    }

    #[test]
    fn each_request_is_read() {
        let text = |text: &str| Some(text.to_owned());
        let soc = Selection { destination: text("soc"), code: None };
        let redrive = Redrive { destination: text("soc"), ..Redrive::default() };
        for (event, request) in [
            (r#"{"probe":"soc"}"#, Request::Probe("soc".into())),
            (r#"{"check":true}"#, Request::Check(true)),
            (r#"{"dead_letters":{}}"#, Request::DeadLetters(Selection::default())),
            (r#"{"dead_letters":{"destination":"soc"}}"#, Request::DeadLetters(soc)),
            (r#"{"redrive":{"destination":"soc"}}"#, Request::Redrive(redrive)),
            (
                r#"{"redrive":{"code":"gone","to":"soc2","all":false}}"#,
                Request::Redrive(Redrive { code: text("gone"), to: text("soc2"), ..Redrive::default() }),
            ),
            (r#"{"redrive":{"all":true}}"#, Request::Redrive(Redrive { all: true, ..Redrive::default() })),
        ] {
            assert_eq!(parse(event), Some(Ok(request)), "{event}");
        }
        assert_eq!(parse(r#"{"anything":"else"}"#), None);
    }

    #[test]
    fn a_wrong_request_names_the_field_and_what_belongs_there() {
        for (event, path, expected) in [
            (r#"{"probe":5}"#, "`probe`", "invalid type: integer `5`, expected a string"),
            (r#"{"check":false}"#, "`check`", "expected true"),
            (r#"{"probe":"soc","check":true}"#, "`check`", "expected nothing beside `probe` in one invocation"),
            (r#"{"redrive":{"all":true},"to":"soc"}"#, "`to`", "expected nothing beside `redrive` in one invocation"),
            (r#"{"dead_letters":true}"#, "`dead_letters`", "expected an object with `destination`"),
            (
                r#"{"dead_letters":{"all":true}}"#,
                "dead_letters",
                "unknown field `all`, expected `destination` or `code`",
            ),
            (
                r#"{"redrive":{"destinaton":"x"}}"#,
                "redrive",
                "unknown field `destinaton`, expected one of `destination`",
            ),
            (r#"{"redrive":{"destination":7}}"#, "redrive.destination", "expected a string"),
            (r#"{"redrive":{"code":"x","all":"yes"}}"#, "redrive.all", "expected a boolean"),
            (r#"{"redrive":{"to":"soc2"}}"#, "`redrive`", "expected a destination, a code or both"),
            (r#"{"redrive":{"all":false}}"#, "`redrive`", "or \"all\": true for all dead letters"),
            (r#"{"redrive":{"all":true,"to":"NOT AN ID"}}"#, "`redrive.to`", "expected an id of 1 to 64 characters"),
        ] {
            let told = parse(event).unwrap().unwrap_err();
            assert!(told.contains(path) && told.contains(expected), "{event}: {told}");
        }
    }

    #[test]
    fn a_selection_takes_what_the_list_shows() {
        let (soc, gone) = (Some("soc"), Some("gone"));
        for (destination, code, letter, taken) in [
            (None, None, (soc, gone), true),
            (soc, None, (soc, gone), true),
            (soc, None, (Some("soar"), gone), false),
            (soc, gone, (soc, Some("dns")), false),
            (Some("-"), None, (None, gone), true),
            (Some("-"), None, (soc, gone), false),
            (None, Some("-"), (None, None), true),
            (None, gone, (None, None), false),
        ] {
            let selection = Selection { destination: destination.map(Into::into), code: code.map(Into::into) };
            assert_eq!(selection.takes(letter.0, letter.1), taken, "{selection:?} {letter:?}");
        }
    }

    #[test]
    fn letters_are_counted_by_destination_and_code() {
        let at = |seconds: u64| SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000 + seconds);
        let mut groups = Groups::default();
        groups.add(None, None, at(0));
        for seconds in [9, 5, 7] {
            groups.add(Some("soc"), Some("gone"), at(seconds));
        }
        let group = |destination: &str, code: &str, count, oldest: &str| Group {
            destination: destination.into(),
            code: code.into(),
            count,
            oldest: oldest.into(),
        };
        let expected = [group("soc", "gone", 3, "2023-11-14T22:13:25Z"), group("-", "-", 1, "2023-11-14T22:13:20Z")];
        assert_eq!(groups.sorted(), expected);
    }

    #[test]
    fn a_redrive_is_told_in_one_sentence() {
        let text = |text: &str| Some(text.to_owned());
        let mut redrive = Redrive { destination: text("soc"), code: text("gone"), ..Redrive::default() };
        let mut redriven = Redriven { moved: 12, about_left: Some(3), about_hidden: Some(0), ..Redriven::default() };
        let said = "redrive: 12 dead letters of soc with code gone were sent for delivery again, about 3 are left.";
        assert_eq!(redriven.sentence(&redrive), said);
        redrive = Redrive { to: text("soc2"), ..Redrive::default() };
        (redriven.moved, redriven.failed, redriven.about_hidden) = (1, 2, Some(3));
        redriven.error = text("Why");
        let said = "redrive: 1 dead letter was sent to soc2 for delivery again, about 3 are left \
                    (about 3 of them hidden for up to 10 minutes). 2 could not be sent. Why.";
        assert_eq!(redriven.sentence(&redrive), said);
    }
}
