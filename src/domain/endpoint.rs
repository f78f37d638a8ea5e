//! A webhook's URL and headers: what may be written, and what of it may be shown.

use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use http::{HeaderName, HeaderValue, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use url::{Host, Url};

use super::template::{Reference, Resolved, Template};

/// A webhook's URL. The whole of it is secret (Slack, Teams and others keep the key in the path) but for its origin.
#[derive(Clone, PartialEq, Eq)]
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
        // It also forgives a missing or third slash, and so takes a path for the host.
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
        if url.fragment().is_some() {
            return Err(
                "a URL without `#`, for what follows it is never sent (write it as %23 if it belongs to a key)",
            );
        }
        if let Some(Host::Domain(name)) = url.host()
            && !is_host_name(name)
        {
            return Err("a URL whose host is a name of letters, digits, hyphens and dots, or an address");
        }
        let origin = url.origin().ascii_serialization();
        let credentials = take_credentials(&mut url)?;
        // What is sent is a URI, which is stricter than a URL and shorter than 64 KiB (RFC 3986).
        http::Uri::try_from(url.as_str())
            .map_err(|_| "a URL that is shorter, and whose other characters are percent-encoded")?;
        Ok(Self { url, origin, credentials })
    }

    /// `scheme://host[:port]`: all of the URL that may be shown.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// A number that another URL or another user does not have.
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.url.as_str(), &self.credentials).hash(&mut hasher);
        hasher.finish()
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

/// Whether a name can be looked up and can stand in a certificate (RFC 1123, section 2.1, and the underscores that some
/// internal names have).
fn is_host_name(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    name.len() <= 253 && name.split('.').all(is_label)
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({})", self.origin)
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

/// A URL whose secrets are still references. Its origin is known and cannot change: else whoever writes a destination
/// could have any secret sent to any host.
#[derive(Clone)]
pub struct EndpointTemplate {
    text: Template,
    /// The URL with a word in place of each reference. Without references it is the URL itself.
    shape: Endpoint,
}

const MOVED: &str = "references in userinfo, path and query only: the host must be the same whatever their values";
const DOTS: &str = "a path without `.` and `..` as parts where references stand in the URL";

/// All that a value may need to have encoded: what is left are the unreserved characters (RFC 3986, section 2.3).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// In a path, a value may be several parts, as the key of a Slack webhook is.
const RESERVED_IN_PATH: &AsciiSet = &RESERVED.remove(b'/');

impl EndpointTemplate {
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let text = Template::parse(text)?;
        // Two different words for every reference: what differs in the origin came from one.
        let (shape, other) = (text.with("a1"), Endpoint::parse(&text.with("b2"))?);
        if text.references().next().is_some() && has_dot_segment(&shape) {
            return Err(DOTS);
        }
        let shape = Endpoint::parse(&shape)?;
        if shape.origin == other.origin { Ok(Self { text, shape }) } else { Err(MOVED) }
    }

    pub fn origin(&self) -> &str {
        &self.shape.origin
    }

    pub fn references(&self) -> impl Iterator<Item = &Reference> {
        self.text.references()
    }

    pub fn has_userinfo(&self) -> bool {
        self.shape.credentials.is_some()
    }

    /// The URL with its secrets, each percent-encoded, so that the receiver decodes exactly the value.
    pub fn resolve(&self, resolved: &Resolved) -> Result<Endpoint, &'static str> {
        if self.references().next().is_none() {
            return Ok(self.shape.clone());
        }
        let text = self.text.fill(|before, reference| {
            let reserved = if ends_in_path(before) { RESERVED_IN_PATH } else { RESERVED };
            resolved.get(reference).map(|value| utf8_percent_encode(value, reserved).to_string())
        });
        let text = text?;
        if has_dot_segment(&text) {
            return Err(DOTS);
        }
        let endpoint = Endpoint::parse(&text)?;
        if endpoint.origin == self.shape.origin { Ok(endpoint) } else { Err(MOVED) }
    }
}

/// Whether what follows this beginning of a URL stands in its path.
fn ends_in_path(before: &str) -> bool {
    before.split_once("://").is_some_and(|(_, rest)| rest.contains(['/', '\\']) && !rest.contains('?'))
}

/// Whether the parser of the URL standard would take a part out of the path (its "single-dot" and "double-dot URL path
/// segment"), so that another one is sent than was written.
fn has_dot_segment(url: &str) -> bool {
    let path = url.split('?').next().unwrap_or_default();
    let is_dots = |segment: &str| matches!(segment.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | "..");
    path.split(['/', '\\']).any(is_dots)
}

/// Reads the name of a header option; the error says what was expected.
pub fn header_name(name: &str) -> Result<HeaderName, &'static str> {
    let name = HeaderName::try_from(name).map_err(|_| "a header name of letters, digits and -")?;
    if is_reserved(&name) {
        return Err("another header: this one is set by the handler or belongs to the connection");
    }
    Ok(name)
}

/// Reads the value of a header option; the result is marked sensitive, so that no Debug output shows it.
pub fn header_value(value: &str) -> Result<HeaderValue, &'static str> {
    const EXPECTED: &str = "a value of visible ASCII characters, without space at its ends";
    let visible = !value.is_empty() && value.bytes().all(|b| (0x20..=0x7e).contains(&b)) && value.trim() == value;
    let mut value = HeaderValue::try_from(value).ok().filter(|_| visible).ok_or(EXPECTED)?;
    value.set_sensitive(true);
    Ok(value)
}

/// Headers that would contradict the payload, the connection (RFC 9110, section 7.6.1) or the delivery's identity.
/// Many servers take `_` for `-` (CGI, RFC 3875, section 4.1.18), and so does this.
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
    let name = name.as_str().replace('_', "-");
    RESERVED.iter().any(|reserved| *reserved == name.as_str())
        || name.starts_with("proxy-")
        || name.starts_with("webhook-")
}

#[cfg(test)]
mod tests;
