//! What a failing endpoint says: the one free text that reaches the log.
//!
//! An endpoint may repeat what it was sent, so everything secret of that very destination and every value of the
//! payload is taken out first, in the spellings that an echo has. Where a secret might be left, nothing is shown. What
//! this does not cover: a secret that the endpoint encodes in a way of its own.

use std::time::Duration;

use super::marks::{Marks, REMOVED};
use super::secrets::Secrets;
use super::values::values;
use crate::domain::outcome::Payload;
use crate::domain::problem::label;

/// How much of a failure's body is read, and for how long.
const MAX_READ: usize = 4096;
const READ_FOR: Duration = Duration::from_secs(1);

/// How much of it is shown.
const MAX_SHOWN: usize = 256;

/// Pieces of the payload that are recognised although the rest is missing.
const LEAST_PIECE: usize = 24;

/// The beginning of a failure's body.
pub(super) struct Body {
    bytes: Vec<u8>,
    /// Whether that is all of it. Else it may end in the middle of a secret.
    is_whole: bool,
}

pub(super) async fn read(mut response: reqwest::Response, left: Duration) -> Body {
    let mut bytes = Vec::new();
    let reading = async {
        while bytes.len() < MAX_READ {
            let Ok(chunk) = response.chunk().await else { return false };
            let Some(chunk) = chunk else { return true };
            bytes.extend_from_slice(&chunk[..chunk.len().min(MAX_READ - bytes.len())]);
        }
        false
    };
    // What came in time is enough.
    let is_whole = tokio::time::timeout(left.min(READ_FOR), reading).await.unwrap_or(false);
    Body { bytes, is_whole }
}

/// What may be shown of a body; nothing where nothing is left.
pub(super) fn excerpt(body: &Body, secrets: &Secrets, payload: &Payload) -> Option<String> {
    let text = String::from_utf8_lossy(&body.bytes);
    let payload = str::from_utf8(&payload.body).ok()?;
    let mut marks = Marks::new(&text);
    secrets.mark(&mut marks);
    marks.pieces([payload], LEAST_PIECE);
    marks.values(values(payload)?.iter().map(String::as_str));
    let (end, more) = if body.is_whole { (text.len(), "") } else { (certain_end(&text), "…") };
    let cleaned = marks.remove(end) + more;
    let line = cleaned.split_whitespace().collect::<Vec<_>>().join(" ");
    let says_something = line.replace(REMOVED, "").contains(char::is_alphanumeric);
    (says_something && !secrets.are_in(&line)).then(|| label(&line, MAX_SHOWN))
}

/// Where a text that was cut ends for certain: what follows may be the beginning of a secret, too short to tell.
fn certain_end(text: &str) -> usize {
    let last_word = text.rfind(char::is_whitespace).unwrap_or(0);
    last_word.min(text.len().saturating_sub(LEAST_PIECE - 1))
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::prelude::BASE64_STANDARD;
    use bytes::Bytes;

    use super::*;
    use crate::domain::outcome::Outcome;
    use crate::outbound::secrets::tests::{SIGNATURE, SIGNING_KEY, secrets_of};

    const URL: &str = "https://user:p%40ssw0rd@h.example/T0KEN/x?api_key=K%2FEY1";

    fn shown_of(body: &str, is_whole: bool, payload: String) -> Option<String> {
        let payload = Outcome::parse(&Bytes::from(payload)).unwrap().payload;
        excerpt(&Body { bytes: body.into(), is_whole }, &secrets_of(URL), &payload)
    }

    fn shown(body: &str) -> Option<String> {
        shown_of(body, true, include_str!("../../events/matched.json").to_owned())
    }

    fn outcome(rest: &str) -> String {
        include_str!("../../events/matched.json").replacen('{', &format!("{{{rest},"), 1)
    }

    #[test]
    fn an_excerpt_says_what_the_endpoint_dislikes() {
        assert_eq!(
            shown("{\"error\":\"field 'severity'\n is unknown\"}").unwrap(),
            "{\"error\":\"field 'severity' is unknown\"}"
        );
        assert_eq!(shown("invalid API key").unwrap(), "invalid API key");
        assert_eq!(shown("  "), None);
        assert_eq!(shown(&"x".repeat(300)).unwrap(), format!("{}…", "x".repeat(256)));
    }

    #[test]
    fn secrets_and_the_payload_are_taken_out_in_every_spelling_of_an_echo() {
        for echo in [
            "/T0KEN/x?api_key=K%2FEY1",
            "t0ken",
            "K/EY1",
            r"K\/EY1",
            "k%2Fey1",
            "Bearer QUERY/S'ECRET&7",
            "QUERY/S'ECRET&7",
            "p@ssw0rd",
            "p%40ssw0rd",
            "dXNlcjpwQHNzdzByZA==",
            SIGNATURE,
            SIGNING_KEY,
            &format!("whsec_{SIGNING_KEY}"),
            &BASE64_STANDARD.encode("p@ssw0rd"),
            "704073737730726",
            "https://app.query.ai/replay/123",
            r"https:\/\/app.query.ai\/replay\/123",
            "Multiple failed login attempts detected",
            "search-abc-123",
            "run-456",
        ] {
            let text = shown(&format!("bad: <{echo}>")).unwrap();
            assert_eq!(text, "bad: <[removed]>", "{echo}");
        }
    }

    #[test]
    fn nothing_is_shown_where_a_secret_is_left_in_pieces_or_escapes() {
        for echo in [
            "QUERY&#x2F;S&#39;ECRET&amp;7",
            r"QUERY\/S\u0027ECRET\u00267",
            "QUE<wbr>RY/S'E\nCRET&7",
            "q u e r y s e c r e t 7",
            "QUERY%252FS%2527ECRET%25267",
            "<QUE<br>RY S ECRET 7>",
            "Q\0U\0E\0R\0Y\0/\0S\0'\0E\0C\0R\0E\0T\0&\x007",
            "p&#64;ssw0&#114;d",
        ] {
            assert_eq!(shown(&format!("bad: {echo}")), None, "{echo}");
        }
    }

    #[test]
    fn half_a_secret_at_the_end_of_what_was_read_is_not_shown() {
        let cut = |body: &str| shown_of(body, false, outcome("\"x\":\"some words in a row\""));
        assert_eq!(cut("T0K"), None);
        assert_eq!(cut("the request was refused, bad key: QUERY/S").unwrap(), "the request was re…");
        assert_eq!(cut("upstream is down, because of some words in a").unwrap(), "upstream is down, bec…");
        assert_eq!(cut(&format!("bad: {}", "x".repeat(4000))).unwrap(), "bad:…");
        assert_eq!(shown("bad: ?api_key=K%2F…").unwrap(), "bad: [removed]…");
    }

    #[test]
    fn an_echo_is_taken_out_whatever_else_the_payload_holds() {
        for rest in [
            r#""big":1e999"#.to_owned(),
            r#""x":"other""#.to_owned(),
            format!("\"deep\":{}1{}", "[".repeat(100), "]".repeat(100)),
        ] {
            let payload = outcome(&format!("{rest},\"x\":\"first-of-two\",\"x\":\"other\""));
            assert_eq!(shown_of("bad: first-of-two", true, payload).unwrap(), "bad: [removed]", "{rest}");
        }
        assert_eq!(shown_of("bad: whatever", true, outcome(r#""x":"\ud800""#)), None);
    }

    #[test]
    fn a_payload_and_an_answer_that_repeat_themselves_take_no_time() {
        // One by the other, these would be compared for minutes.
        let payload = outcome(&format!("\"x\":\"{}\"", "x".repeat(8 << 20)));
        assert_eq!(shown_of(&"x".repeat(MAX_READ), true, payload), None);
    }
}
