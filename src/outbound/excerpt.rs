//! What a failing endpoint says: the one free text that reaches the log.
//!
//! An endpoint may repeat what it was sent, so everything secret of that very destination and every value of the
//! payload is taken out first, in the spellings that an echo has. What this does not cover: a secret that the
//! endpoint encodes in a way of its own.

use std::collections::HashMap;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde_json::Value;

use crate::domain::destination::Target;
use crate::domain::outcome::Payload;
use crate::domain::problem::label;

/// How much of a failure's body is read, and for how long.
const MAX_READ: usize = 4096;
const READ_FOR: Duration = Duration::from_secs(1);

/// How much of it is shown.
const MAX_SHOWN: usize = 256;

/// Shorter texts are no secrets, and would turn every answer into holes.
const LEAST: usize = 4;

/// Pieces of a secret or of the payload that are recognised although the rest is missing.
const LEAST_RUN_OF_SECRET: usize = 8;
const LEAST_RUN_OF_PAYLOAD: usize = 24;

/// The beginning of a failure's body.
pub(super) async fn read(mut response: reqwest::Response, left: Duration) -> Vec<u8> {
    let mut body = Vec::new();
    let reading = async {
        while body.len() < MAX_READ {
            let Ok(Some(chunk)) = response.chunk().await else { break };
            body.extend_from_slice(&chunk[..chunk.len().min(MAX_READ - body.len())]);
        }
    };
    // What came in time is enough.
    let _ = tokio::time::timeout(left.min(READ_FOR), reading).await;
    body
}

/// What may be shown of a body; nothing where nothing is left.
pub(super) fn excerpt(body: &[u8], target: &Target, payload: &Payload) -> Option<String> {
    let cleaned = clean(&String::from_utf8_lossy(body), target, Some(payload));
    let line = cleaned.split_whitespace().collect::<Vec<_>>().join(" ");
    // What was cut while it was read may end in half a secret: its end must be far from what is shown.
    let is_safe = body.len() < MAX_READ || line.len() > 2 * MAX_SHOWN;
    Some(label(&line, MAX_SHOWN)).filter(|shown| is_safe && !shown.is_empty() && shown != REMOVED)
}

const REMOVED: &str = "[removed]";

/// Takes the destination's secrets and the payload's values out of a text that a receiver wrote, in whatever case of
/// letters: many servers write what they repeat in lower case.
pub(super) fn clean(text: &str, target: &Target, payload: Option<&Payload>) -> String {
    let lower = text.to_ascii_lowercase();
    let mut marks = vec![false; text.len()];
    let mut whole = secrets(target);
    for secret in &whole {
        mark_runs(&lower, &secret.to_ascii_lowercase(), LEAST_RUN_OF_SECRET, &mut marks);
    }
    if let Some(payload) = payload {
        let payload = String::from_utf8_lossy(&payload.body);
        mark_runs(&lower, &payload.to_ascii_lowercase(), LEAST_RUN_OF_PAYLOAD, &mut marks);
        values(&serde_json::from_str(&payload).unwrap_or_default(), &mut whole);
    }
    for spelling in whole.iter().flat_map(|value| spellings(value)).filter(|spelling| spelling.len() >= LEAST) {
        for (at, found) in lower.match_indices(&spelling.to_ascii_lowercase()) {
            marks[at..at + found.len()].fill(true);
        }
    }
    remove(text, &marks)
}

/// Marks what the text has in common with the source, in pieces of at least `least` bytes.
fn mark_runs(text: &str, source: &str, least: usize, marks: &mut [bool]) {
    let mut places: HashMap<&[u8], Vec<usize>> = HashMap::new();
    for (at, window) in text.as_bytes().windows(least).enumerate() {
        places.entry(window).or_default().push(at);
    }
    for at in source.as_bytes().windows(least).filter_map(|window| places.get(window)).flatten() {
        marks[*at..at + least].fill(true);
    }
}

fn remove(text: &str, marks: &[bool]) -> String {
    let mut left = String::with_capacity(text.len());
    let mut removing = false;
    for (at, character) in text.char_indices() {
        // A character is removed with any of its bytes.
        let marked = marks[at..at + character.len_utf8()].contains(&true);
        if !marked {
            left.push(character);
        } else if !removing {
            left.push_str(REMOVED);
        }
        removing = marked;
    }
    left
}

/// Everything in a destination that is nobody's business: all of its URL but the origin, and its headers' values.
fn secrets(target: &Target) -> Vec<String> {
    let url = target.endpoint.expose_url();
    let mut secrets = vec![url[url::Position::BeforePath..].to_owned(), url.path().to_owned()];
    secrets.extend(url.path_segments().into_iter().flatten().map(ToOwned::to_owned));
    secrets.extend(url.query().map(ToOwned::to_owned));
    secrets.extend(url.query_pairs().flat_map(|(name, value)| [name.into_owned(), value.into_owned()]));
    secrets.extend(url.fragment().map(ToOwned::to_owned));
    if let Some((user, password)) = target.endpoint.expose_credentials() {
        secrets.extend([user.to_owned(), password.to_owned(), BASE64_STANDARD.encode(format!("{user}:{password}"))]);
    }
    for value in target.headers.values().filter_map(|value| value.to_str().ok()) {
        secrets.push(value.to_owned());
        // "Bearer …", "token=…": the parts are as secret as the whole.
        secrets.extend(value.split([' ', '=', ',', ';', ':']).map(ToOwned::to_owned));
    }
    secrets
}

/// The payload's texts and longer numbers.
fn values(payload: &Value, found: &mut Vec<String>) {
    match payload {
        Value::String(text) => found.push(text.clone()),
        Value::Number(number) => found.push(number.to_string()),
        Value::Array(items) => items.iter().for_each(|item| values(item, found)),
        Value::Object(members) => members.values().for_each(|value| values(value, found)),
        Value::Null | Value::Bool(_) => {}
    }
}

fn spellings(secret: &str) -> [String; 5] {
    let json = Value::from(secret).to_string();
    [
        secret.to_owned(),
        percent_decode_str(secret).decode_utf8_lossy().into_owned(),
        utf8_percent_encode(secret, NON_ALPHANUMERIC).to_string(),
        json.trim_matches('"').to_owned(),
        secret.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::destination::Destination;
    use crate::domain::endpoint::{EndpointTemplate, header_value};
    use crate::domain::reference::Resolved;
    use bytes::Bytes;

    fn target() -> Target {
        let url = "https://user:p%40ssw0rd@h.example/T0KEN/x?api_key=K%2FEY1#fragm";
        let mut target = Destination::new("soc", "p", EndpointTemplate::parse(url).unwrap(), 5)
            .complete(&Resolved::default())
            .ok()
            .unwrap();
        target.headers.insert("authorization", header_value("Bearer B3ARER").unwrap());
        target
    }

    fn payload() -> Payload {
        let text = Bytes::from_static(include_bytes!("../../events/matched.json"));
        crate::domain::outcome::Outcome::parse(&text).unwrap().payload
    }

    fn shown(body: &str) -> Option<String> {
        excerpt(body.as_bytes(), &target(), &payload())
    }

    #[test]
    fn an_excerpt_says_what_the_endpoint_dislikes() {
        assert_eq!(
            shown("{\"error\":\"field 'severity'\n is unknown\"}").unwrap(),
            "{\"error\":\"field 'severity' is unknown\"}"
        );
        assert_eq!(shown("  "), None);
        assert_eq!(shown(&"x".repeat(300)).unwrap(), format!("{}…", "x".repeat(256)));
    }

    #[test]
    fn secrets_and_the_payload_are_taken_out_in_every_spelling_of_an_echo() {
        for echo in [
            "/T0KEN/x?api_key=K%2FEY1",
            "t0ken",
            "K/EY1",
            "k%2Fey1",
            "Bearer B3ARER",
            "B3ARER",
            "p@ssw0rd",
            "p%40ssw0rd",
            "dXNlcjpwQHNzdzByZA==",
            "https://app.query.ai/replay/123",
            "Multiple failed login attempts detected",
            "search-abc-123",
            "run-456",
        ] {
            let text = shown(&format!("bad: <{echo}>")).unwrap();
            assert_eq!(text, "bad: <[removed]>", "{echo}");
        }
    }

    #[test]
    fn half_a_secret_at_the_end_of_what_was_read_is_not_shown() {
        let body = format!("{}T0K", " ".repeat(MAX_READ - 3));
        assert_eq!(shown(&body), None);
        assert_eq!(shown("bad: ?api_key=K%2F…").unwrap(), "bad: [removed]…");
    }
}
