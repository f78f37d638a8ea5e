//! One receiver: where an outcome is sent and under which conditions.

use std::fmt;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use percent_encoding::percent_decode_str;
use url::{Host, Url};

use super::outcome::{Kind, Outcome, Severity};
use super::problem::Problem;

/// Seconds that an attempt may take when a destination does not say.
pub const DEFAULT_TIMEOUT_SECONDS: u64 = 30;
/// The platform promises its receivers at most five minutes.
pub const MAX_TIMEOUT_SECONDS: u64 = 300;

/// A configured receiver.
#[derive(Debug, Clone)]
pub struct Destination {
    pub id: String,
    pub endpoint: Endpoint,
    /// Limit of one attempt, from the name's resolution to the response's head.
    pub timeout: Duration,
    /// Whether anything is sent at all.
    pub active: bool,
    /// The kinds that are sent; all of them where it is not given.
    pub outcomes: Option<Vec<Kind>>,
    /// The least severity that is sent.
    pub min_severity: Option<Severity>,
    /// Sent as they are; marked sensitive, so that no Debug output shows their values.
    pub headers: HeaderMap,
}

/// Why an outcome is not sent to a destination that its route names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filter {
    Inactive,
    Outcomes,
    MinSeverity,
}

impl Destination {
    /// A destination with nothing but an endpoint and a timeout.
    pub fn new(id: &str, endpoint: Endpoint, timeout_seconds: u64) -> Self {
        Self {
            id: id.to_owned(),
            endpoint,
            timeout: Duration::from_secs(timeout_seconds),
            active: true,
            outcomes: None,
            min_severity: None,
            headers: HeaderMap::new(),
        }
    }

    /// The filter that holds this outcome back, if one does. Unknown values pass all of them.
    pub fn filter(&self, outcome: &Outcome) -> Option<Filter> {
        let unwanted = |kinds: &Vec<Kind>| outcome.kind != Kind::Unknown && !kinds.contains(&outcome.kind);
        if !self.active {
            Some(Filter::Inactive)
        } else if self.outcomes.as_ref().is_some_and(unwanted) {
            Some(Filter::Outcomes)
        } else if self.min_severity.is_some_and(|least| outcome.severity < least) {
            Some(Filter::MinSeverity)
        } else {
            None
        }
    }
}

/// Destination ids: `[a-z0-9][a-z0-9_-]{0,63}`. They stand in log lines and queue attributes.
pub fn is_id(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    text.len() <= 64
        && text.bytes().next().is_some_and(plain)
        && text.bytes().all(|b| plain(b) || b == b'_' || b == b'-')
}

/// What an id must look like; ends the sentence "expected …".
pub const ID_EXPECTED: &str = "an id of 1 to 64 characters a-z, 0-9, _ and -, the first a letter or digit";

/// A webhook's URL. The whole of it is secret (Slack, Teams and others keep the key in the path) but for its origin.
#[derive(Clone)]
pub struct Endpoint {
    url: Url,
    origin: String,
    credentials: Option<(String, String)>,
}

impl Endpoint {
    /// Reads a URL; the error says what was expected, never what was found.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        // The parser of the URL standard silently drops tabs and line ends, and trims the rest.
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err("a URL without spaces and control characters (write a space as %20)");
        }
        if text.contains("{{") {
            return Err("a URL without `{{`: nothing here resolves references");
        }
        // The parser also forgives a missing or third slash, and so takes a path for the host.
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err("an absolute URL such as https://soc.example.com/webhook");
        };
        if !["https", "http"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
            return Err("a URL that starts with https:// (or http:// inside an allowed private network)");
        }
        if rest.starts_with(['/', '\\']) {
            return Err("a URL with a host");
        }
        let mut url = Url::parse(text).map_err(|_| "an absolute URL such as https://soc.example.com/webhook")?;
        if url.port() == Some(0) {
            return Err("a URL with a port of 1 to 65535");
        }
        let Some(host) = url.host_str().filter(|host| !host.is_empty()) else {
            return Err("a URL with a host");
        };
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        let origin = format!("{}://{host}{port}", url.scheme());
        let credentials = take_credentials(&mut url)?;
        Ok(Self { url, origin, credentials })
    }

    /// `scheme://host[:port]`: all of the URL that may be shown.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    pub fn host(&self) -> Option<Host<&str>> {
        self.url.host()
    }

    pub fn is_plain_http(&self) -> bool {
        self.url.scheme() == "http"
    }

    /// The URL without its userinfo. It is for the wire alone.
    pub fn expose_url(&self) -> &Url {
        &self.url
    }

    /// User and password for Basic authentication (RFC 7617), from the URL's userinfo. For the wire alone.
    pub fn expose_credentials(&self) -> Option<(&str, &str)> {
        self.credentials.as_ref().map(|(user, password)| (user.as_str(), password.as_str()))
    }
}

/// Userinfo is taken out of the URL and decoded: a client that is handed a URL without secrets cannot print them.
fn take_credentials(url: &mut Url) -> Result<Option<(String, String)>, &'static str> {
    if url.username().is_empty() && url.password().is_none() {
        return Ok(None);
    }
    let decode = |text: &str| {
        let text = percent_decode_str(text).decode_utf8();
        text.map(String::from).map_err(|_| "userinfo in the URL that is UTF-8 when percent-decoded")
    };
    let credentials = (decode(url.username())?, decode(url.password().unwrap_or_default())?);
    if credentials.0.contains(':') {
        return Err("a user name without a colon in the URL (RFC 7617)");
    }
    // Neither fails on an http or https URL with a host.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    Ok(Some(credentials))
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({})", self.origin)
    }
}

/// Reads one header option; the error says which part is wrong and what was expected.
pub fn parse_header(path: &str, name: &str, value: &str) -> Result<(HeaderName, HeaderValue), Problem> {
    let Ok(name) = HeaderName::try_from(name) else {
        return Err(Problem::new(path, "a header name of letters, digits and -"));
    };
    if is_reserved(&name) {
        return Err(Problem::new(path, "another header: this one is set by the handler or belongs to the connection"));
    }
    let visible = !value.is_empty() && value.bytes().all(|b| (0x20..=0x7e).contains(&b)) && value.trim() == value;
    if !visible || value.contains("{{") {
        return Err(Problem::new(path, "a value of visible ASCII characters, without `{{`"));
    }
    let mut value = HeaderValue::try_from(value).map_err(|_| Problem::new(path, "a header value"))?;
    value.set_sensitive(true);
    Ok((name, value))
}

/// Headers that would contradict the payload, the connection (RFC 9110, section 7.6.1) or the delivery's identity.
fn is_reserved(name: &HeaderName) -> bool {
    const RESERVED: [HeaderName; 9] = [
        header::HOST,
        header::CONTENT_LENGTH,
        header::CONTENT_TYPE,
        header::TRANSFER_ENCODING,
        header::CONNECTION,
        header::TE,
        header::TRAILER,
        header::UPGRADE,
        header::EXPECT,
    ];
    RESERVED.contains(name) || name.as_str().starts_with("proxy-") || name.as_str().starts_with("webhook-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_shows_its_origin_and_nothing_else() {
        let endpoint =
            Endpoint::parse("https://user:p%40ss&%2B+=word@soc.example.com:8443/T0/SECRET?api_key=SECRET#SECRET")
                .unwrap();
        assert_eq!(endpoint.origin(), "https://soc.example.com:8443");
        assert_eq!(format!("{endpoint:?}"), "Endpoint(https://soc.example.com:8443)");
        assert_eq!(endpoint.expose_credentials(), Some(("user", "p@ss&++=word")));
        assert!(!endpoint.expose_url().as_str().contains("user"));
    }

    #[test]
    fn the_origin_leaves_out_the_default_port_and_keeps_ipv6_brackets() {
        for (text, origin) in [
            ("https://SOC.example.com:443/x", "https://soc.example.com"),
            ("http://[::1]:8080/", "http://[::1]:8080"),
            ("https://2130706433/", "https://127.0.0.1"),
            ("https://bücher.example/", "https://xn--bcher-kva.example"),
        ] {
            assert_eq!(Endpoint::parse(text).unwrap().origin(), origin);
        }
    }

    #[test]
    fn what_is_no_webhook_url_is_refused_without_repeating_it() {
        for text in [
            "",
            "soc.example.com/x",
            "/x",
            "ftp://h/",
            "file:///etc/passwd",
            "javascript:alert(1)",
            "https://",
            "https:///x",
            "https:h/x",
            "https:\\\\h/x",
            "https://h:0/",
            "https://h:70000/",
            "https://a b/",
            "https://h/a\tb",
            "https://h/\r\nX: y",
            " https://h/",
            "https://h/{{secret:SECRET}}",
            "https://h/\u{7f}",
            "https://[::1",
            "https://user%3Ax:y@h/",
            "https://%ff:x@h/",
        ] {
            let expected = Endpoint::parse(text).unwrap_err();
            assert!(!expected.contains("SECRET"), "{text}: {expected}");
        }
    }

    #[test]
    fn headers_of_the_connection_and_of_the_handler_are_refused() {
        for name in [
            "Host",
            "content-length",
            "Content-Type",
            "transfer-encoding",
            "Connection",
            "TE",
            "Trailer",
            "Upgrade",
            "Expect",
            "Proxy-Authorization",
            "webhook-id",
            "Webhook-Signature",
            "",
            "a b",
            "ü",
        ] {
            assert!(parse_header("p", name, "v").is_err(), "{name}");
        }
        for value in ["", " v", "v ", "a\nb", "ü", "a\tb", "{{secret:x}}"] {
            assert!(parse_header("p", "X-Key", value).is_err(), "{value:?}");
        }
        let (_, value) = parse_header("p", "Authorization", "Bearer SECRET").unwrap();
        assert_eq!(format!("{value:?}"), "Sensitive");
    }

    #[test]
    fn ids_are_lower_case_and_short() {
        for id in ["a", "0", "soc-1_x", &"a".repeat(64)] {
            assert!(is_id(id), "{id}");
        }
        for id in ["", "-a", "_a", "A", "a.b", "ä", &"a".repeat(65)] {
            assert!(!is_id(id), "{id}");
        }
    }
}
