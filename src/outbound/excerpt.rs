//! What a failing endpoint says: the one free text of a receiver that reaches the log.

use std::time::Duration;

use http::{HeaderMap, header};

use super::redact::{Foreign, Secrets};
use crate::domain::outcome::Payload;
use crate::domain::problem::printable;

/// How much of a failure's body is read, in bytes, and for how long.
const MAX_READ: usize = 512;
const READ_FOR: Duration = Duration::from_secs(1);

/// How much of it is shown, in bytes.
const MAX_SHOWN: usize = 256;

/// The end of a body that was cut, in bytes. A secret may begin there; with so much behind them, its first letters are
/// recognised in the longest escapes (8 of up to 12 bytes), so what is shown ends before it.
const CUT_END: usize = 128;

/// A larger payload is not compared, in bytes: nothing is shown. A comparison takes 40 instructions for each of its bytes
/// (110 where all are escapes), and a failure may take no more than 2 million.
const MAX_COMPARED: usize = 8 * 1024;

/// So many characters of base64 in a row are a key, or hide one.
const KEY_RUN: usize = 20;

/// The beginning of a failure's body, and whether that is all of it.
pub(super) async fn read(mut response: reqwest::Response, left: Duration) -> (Vec<u8>, bool) {
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
    (bytes, is_whole)
}

impl Secrets {
    /// One line of at most [`MAX_SHOWN`] bytes from a failing answer. Nothing where the body is not text, or shares
    /// anything with the destination's secrets or the payload.
    pub(super) fn excerpt(&self, head: &HeaderMap, body: &[u8], is_whole: bool, payload: &Payload) -> Option<String> {
        let encoding = head.get(header::CONTENT_ENCODING);
        let is_encoded = encoding.is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity"));
        if is_encoded || payload.body.len() > MAX_COMPARED {
            return None;
        }
        let text = String::from_utf8_lossy(body);
        let (text, shown, more) = if is_html(head, &text) {
            let title = title(&text)?;
            (title, title, "")
        } else if is_whole {
            (&*text, &*text, "")
        } else {
            (&*text, &text[..text.floor_char_boundary(text.len().saturating_sub(CUT_END))], "…")
        };
        let line = printable(&(shown.split_whitespace().collect::<Vec<_>>().join(" ") + more), MAX_SHOWN);
        let says_something = line.contains(char::is_alphanumeric);
        let is_text = line.matches('\u{fffd}').count() * 10 < line.chars().count();
        let may_be_shown = || {
            let text = Foreign::new(text);
            !has_key(&text) && !self.are_in(&text) && !text.shares_words(&payload.body)
        };
        (says_something && is_text && may_be_shown()).then_some(line)
    }
}

fn is_html(head: &HeaderMap, text: &str) -> bool {
    let begins = |text: &str, with: &str| text.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with));
    let text = text.trim_start_matches('\u{feff}').trim_start();
    let content_type = head.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type.is_some_and(|value| begins(value, "text/html"))
        || begins(text, "<!doctype html")
        || begins(text, "<html")
}

fn title(html: &str) -> Option<&str> {
    let lower = html.to_ascii_lowercase();
    let start = lower.find("<title")?;
    let start = start + lower[start..].find('>')? + 1;
    let end = start + lower[start..].find("</title")?;
    Some(&html[start..end])
}

fn has_key(text: &Foreign) -> bool {
    let in_key = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte);
    text.layers.iter().any(|layer| layer.split(|byte| !in_key(*byte)).any(|run| run.len() >= KEY_RUN))
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
    use bytes::Bytes;
    use http::HeaderValue;
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::outbound::redact::tests::{SIGNATURE, SIGNING_KEY, secrets_of};

    const URL: &str = "https://user:p%40ssw0rd@h.example/T0KEN/x?api_key=K%2FEY1";
    const HEADER: &str = "Bearer QUERY/S'ECRET&7";
    const PAYLOAD: &str = include_str!("../../events/matched.json");

    fn payload(body: &str) -> Payload {
        Payload { body: Bytes::from(body.to_owned()), webhook_id: String::new() }
    }

    fn shown_with(head: &[(&'static str, &str)], body: &[u8], is_whole: bool, sent: &str) -> Option<String> {
        let head = head.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_str(value).unwrap()));
        secrets_of(URL, HEADER).excerpt(&head.collect(), body, is_whole, &payload(sent))
    }

    fn shown(body: &str) -> Option<String> {
        shown_with(&[], body.as_bytes(), true, PAYLOAD)
    }

    #[test]
    fn an_excerpt_says_what_the_endpoint_dislikes() {
        for (body, line) in [
            ("{\"error\":\"field 'severity'\n is unknown\"}", "{\"error\":\"field 'severity' is unknown\"}"),
            ("invalid API key", "invalid API key"),
            ("The bearer token is expired.\r\n", "The bearer token is expired."),
            ("unknown detection_name and run_type, run-456", "unknown detection_name and run_type, run-456"),
            (
                "a\u{1b}[31m red \u{202e}alert was not expected here",
                "a\u{fffd}[31m red \u{fffd}alert was not expected here",
            ),
            ("request 7f3a91d2-5c2b-4d1e-9b1f-0a1b2c3d4e5f", "request 7f3a91d2-5c2b-4d1e-9b1f-0a1b2c3d4e5f"),
            (&"no more ".repeat(60), &format!("{}…", "no more ".repeat(32))),
        ] {
            assert_eq!(shown(body).as_deref(), Some(line));
        }
        for nothing in ["", " \r\n ", "---", "{}"] {
            assert_eq!(shown(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn an_echo_of_a_secret_is_withheld_in_every_spelling() {
        for echo in [
            "/T0KEN/x?api_key=K%2FEY1",
            "t0ken",
            "K/EY1",
            r"K\/EY1",
            "k%2Fey1",
            "Bearer QUERY/S'ECRET&7",
            "RY/S'ECRET",
            "p@ssw0rd",
            "p%40ssw0rd",
            "dXNlcjpwQHNzdzByZA==",
            "dXNlcjpw-QHNzdzByZA",
            SIGNATURE,
            &SIGNATURE[20..30],
            SIGNING_KEY,
            &SIGNING_KEY.to_lowercase()[..8],
            &format!("whsec_{SIGNING_KEY}"),
            &BASE64_STANDARD.encode("p@ssw0rd"),
            "704073737730726",
            "QUERY&#x2F;S&#39;ECRET&amp;7",
            r"QUERY\/S\u0027ECRET\u00267",
            "QUE<wbr>RY/S'E\nCRET&7",
            r"QUE\u003cwbr\u003eRY/S'E<br>CRET&7",
            "q u e r y s e c r e t 7",
            "QUERY%252FS%2527ECRET%25267",
            "<QUE<br>RY S ECRET 7>",
            "Q\0U\0E\0R\0Y\0/\0S\0'\0E\0C\0R\0E\0T\0&\x007",
            "p&#64;ssw0&#114;d",
        ] {
            let body = format!("what was sent is not right, because of a very bad: [{echo}]");
            assert_eq!(shown(&body), None, "{echo}");
        }
        assert_eq!(shown("Q2F1c2Uga2V5IGlzIG5v"), None, "twenty characters of base64");
        assert!(shown("Q2F1c2Uga2V5IGlzIG5").is_some(), "nineteen");
    }

    #[test]
    fn an_echo_of_the_payload_is_withheld() {
        for echo in [
            "Multiple failed login attempts detected",
            "failed login attempts",
            "multiple_failed_log",
            r"https:\/\/app.query.ai\/replay\/123",
            "https%3A%2F%2Fapp.query.ai%2Freplay",
            r#"\"range_start\":\"2025-01"#,
            r"Multiple\u0020failed\u0020login",
        ] {
            assert_eq!(shown(&format!("bad: {echo}")), None, "{echo}");
        }
        for few in ["search-abc-123", "failed login", "GREATER_THAN"] {
            assert!(shown(&format!("bad: {few}")).is_some(), "{few}");
        }
        let escaped = r#"{"x":"caf\u00e9\nau\tlait\/et\\croissants"}"#;
        for echo in ["café\nau\tlait/et\\croissants", r"caf\u00e9\nau\tlait\/et\\croissants"] {
            assert_eq!(shown_with(&[], echo.as_bytes(), true, escaped), None, "{echo}");
        }
    }

    #[test]
    fn only_text_is_shown() {
        for (head, body, is_shown) in [
            (&[][..], &b"out of disk"[..], true),
            (&[("content-encoding", "Identity")], b"out of disk", true),
            (&[("content-encoding", "gzip")], b"out of disk", false),
            (&[("content-encoding", "br")], b"out of disk", false),
            (&[], b"out of d\xe4\xe4k, try again later", true),
            (&[], b"out\xff of\xff disk", false),
            (&[], b"o\0u\0t\0 \0o\0f\0 \0d\0i\0s\0k\0", false),
        ] {
            assert_eq!(shown_with(head, body, true, PAYLOAD).is_some(), is_shown, "{body:?}");
        }
    }

    #[test]
    fn of_html_the_title_is_shown() {
        let html = [("content-type", "text/html; charset=utf-8")];
        let block =
            format!("<html><head><TITLE lang=en>Access\n denied</Title></head>{}", "<p>QUERY/S'ECRET&7".repeat(9));
        for (head, body, line) in [
            (&[][..], &*block, Some("Access denied")),
            (&[], &format!("\u{feff}\n<!DOCTYPE html>{block}"), Some("Access denied")),
            (&html, "<title>502 Bad Gateway</title>", Some("502 Bad Gateway")),
            (&html, "out of disk", None),
            (&html, "<title>out of", None),
            (&html, "<title>K/EY1 is bad</title>", None),
            (&[("content-type", "application/json")], "{\"title\":\"x\"}", Some("{\"title\":\"x\"}")),
        ] {
            for is_whole in [true, false] {
                let is_html = !body.starts_with('{');
                let shown = shown_with(head, body.as_bytes(), is_whole || !is_html, PAYLOAD);
                assert_eq!(shown.as_deref(), line, "{body}");
            }
        }
    }

    #[test]
    fn a_cut_body_shows_no_beginning_of_a_secret() {
        let cut = |body: &str| shown_with(&[], body.as_bytes(), false, PAYLOAD);
        assert_eq!(cut("the request was refused, bad key: QUERY/S"), None);
        let long = "no more words ".repeat(20);
        for secret in ["QUERY/S'ECRET&7", "p@ssw0rd", "&#x51;&#x55;&#x45;&#x52;&#x59;&#x53;&#x45;&#x43;&#x52;"] {
            for length in 1..=secret.len() {
                let line = cut(&format!("{long}{}", &secret[..length])).map(|line| line.replace('…', ""));
                assert!(line.is_none_or(|line| long.starts_with(&line)), "{length}");
            }
        }
        assert_eq!(cut(&"no more ".repeat(20)).unwrap(), "no more no more no more no more…");
        assert_eq!(cut(&"é ".repeat(65)).unwrap(), "é ".repeat(22).trim_end().to_owned() + "…");
    }

    #[test]
    fn a_payload_that_is_too_large_to_compare_withholds() {
        let sent = |length: usize| format!("\"{}\"", "x".repeat(length - 2));
        // Fifteen in common, again and again.
        let body = format!("{} no", "x".repeat(15)).repeat(20);
        assert!(shown_with(&[], body.as_bytes(), true, &sent(MAX_COMPARED)).is_some());
        assert_eq!(shown_with(&[], body.as_bytes(), true, &sent(MAX_COMPARED + 1)), None);
        assert_eq!(shown_with(&[], "x".repeat(16).as_bytes(), true, &sent(MAX_COMPARED)), None);
    }

    fn json(text: &str) -> String {
        let quoted = Value::from(text).to_string();
        quoted[1..quoted.len() - 1].to_owned()
    }

    fn html(text: &str) -> String {
        text.replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;")
            .replace('"', "&quot;")
            .replace('\'', "&#39;")
    }

    fn broken(text: &str, by: &str) -> String {
        text.split_inclusive(|_| true).collect::<Vec<_>>().join(by)
    }

    /// Escapes may be escaped once more; the last four are not made of escapes.
    const ESCAPES: usize = 10;
    #[allow(clippy::format_collect, reason = "a secret is short")]
    const SPELLINGS: [fn(&str) -> String; 14] = [
        str::to_owned,
        str::to_lowercase,
        json,
        html,
        |text| json(text).replace('/', "\\/"),
        |text| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string(),
        |text| text.bytes().map(|byte| format!("%{byte:02x}")).collect(),
        |text| text.chars().map(|c| format!("\\u{:04X}", u32::from(c))).collect(),
        |text| text.chars().map(|c| format!("&#{};", u32::from(c))).collect(),
        |text| text.chars().map(|c| format!("&#x{:x};", u32::from(c))).collect(),
        str::to_uppercase,
        |text| BASE64_STANDARD.encode(text),
        |text| BASE64_URL_SAFE_NO_PAD.encode(text),
        |text| text.bytes().map(|byte| format!("{byte:02x}")).collect(),
    ];

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

        #[test]
        fn a_body_with_a_secret_is_never_shown(
            // Without a backslash, which may begin an escape in one spelling of a short secret and not in another.
            secret in r"[!-\[\]-~]([ -\[\]-~]{2,20})[!-\[\]-~]",
            in_query: bool,
            spellings in (0..ESCAPES, 0..SPELLINGS.len()),
            around in ("[a-z ,:\"]{0,40}", "[a-z ,:\"]{0,40}"),
        ) {
            // What looks like an escape is most of a secret with hardly any letters.
            let letters = secret.bytes().filter(u8::is_ascii_alphanumeric).count();
            prop_assume!(letters >= 4 || !secret.contains(['%', '&']));
            let secrets = if in_query {
                let value = utf8_percent_encode(&secret, NON_ALPHANUMERIC);
                secrets_of(&format!("https://h.example/hook?key={value}"), "none-here")
            } else {
                secrets_of("https://h.example/hook", &format!("Bearer {secret}"))
            };
            let echo = SPELLINGS[spellings.0](&SPELLINGS[spellings.1](&secret));
            prop_assume!(echo.len() < 420);
            let body = format!("{} {echo} {}", around.0, around.1);
            let shown = secrets.excerpt(&HeaderMap::new(), body.as_bytes(), true, &payload("{}"));
            prop_assert_eq!(shown, None, "{:?} in {:?}", secret, body);
        }

        #[test]
        fn a_broken_secret_is_never_shown(
            secret in "[A-Za-z0-9]{4}[!-~]{0,20}",
            by in prop::sample::select(vec![" ", "\n", "\r\n  ", "<wbr>", "<b class=\"x\">", "\u{200b}", ".", "\\n"]),
        ) {
            let secrets = secrets_of("https://h.example/hook", &format!("Bearer {secret}"));
            let body = format!("bad key: {}, it says", broken(&secret, by));
            prop_assume!(body.len() <= MAX_READ);
            prop_assert_eq!(secrets.excerpt(&HeaderMap::new(), body.as_bytes(), true, &payload("{}")), None);
        }
    }
}
