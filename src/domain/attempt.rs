//! One HTTP request and what it met: facts only, judged in [`verdict`](super::verdict).

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use super::address::Blocked;

/// What an attempt met, and how long its parts took.
#[derive(Debug, Clone)]
pub struct Attempt {
    pub result: AttemptResult,
    pub timings: Timings,
    /// What the host led to; nothing on a connection that was open already.
    pub addresses: Vec<Address>,
}

/// An address that a host led to, and what the guard says about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    pub ip: IpAddr,
    pub blocked: Option<Blocked>,
}

/// The fact that an attempt ended in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttemptResult {
    /// A response's head arrived. Its body decides nothing.
    Response {
        status: u16,
        /// `Retry-After`, as a wait from now (RFC 9110, section 10.2.3).
        retry_after: Option<Duration>,
        /// `scheme://host[:port]` of `Location`; the rest of it may hold secrets.
        location_origin: Option<String>,
        /// What a failing endpoint said, without secrets.
        excerpt: Option<String>,
    },
    /// No response.
    Failed { cause: Cause, sent: Sent },
}

/// Whether the receiver may have got the payload although it did not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    Nothing,
    Maybe,
}

/// Why there was no response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// The host's name has no address, or the name servers failed.
    Dns,
    /// Every address of the host is blocked.
    Refused(Blocked),
    Connect(ConnectCause),
    Tls(TlsCause),
    /// The destination's timeout ended first.
    Timeout(Phase),
    /// The invocation's deadline ended first.
    Deadline(Phase),
    /// The connection ended after the request was begun.
    Lost,
    /// What came back is no HTTP response.
    Malformed,
}

/// How far an attempt had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Dns,
    Connect,
    Handshake,
    Response,
}

/// Why no TCP connection came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectCause {
    Refused,
    Reset,
    Unreachable,
    Other,
}

/// Why no TLS session came about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TlsCause {
    Expired {
        not_after: SystemTime,
    },
    NotYetValid {
        not_before: SystemTime,
    },
    /// No trusted authority issued the certificate; a self-signed one reads the same.
    UnknownIssuer,
    /// A certificate authority's own certificate, where the server's belongs.
    CaAsServer,
    WrongName {
        presented: Vec<String>,
    },
    /// Any other fault of the certificate.
    Certificate,
    /// No protocol version or cipher suite in common.
    Protocol,
    /// The port answers without TLS.
    PlainHttp,
    ClientCertificate,
    /// The connection ended during the handshake.
    Cut,
    Other,
}

/// How long the parts of an attempt took; a part that was not reached has no time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timings {
    pub dns: Option<Duration>,
    /// TCP alone, where TLS follows.
    pub tcp: Option<Duration>,
    /// TCP and TLS together.
    pub connect: Option<Duration>,
    /// From the connection to the response's head.
    pub first_byte: Option<Duration>,
    pub total: Duration,
}

/// A year: whoever asks for more means "never", and the schedule is over long before.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Reads `Retry-After`: seconds, or a date in any form of RFC 9110. Garbage is no wait.
pub fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
        // More digits than fit are still a wait: the longest.
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)).min(LONGEST_RETRY_AFTER));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default().min(LONGEST_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date_and_garbage_is_ignored() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        for (value, seconds) in [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("99999999999999999999999", Some(31_536_000)),
            ("Sat, 06 Nov 2094 08:49:37 GMT", Some(31_536_000)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
            ("Sunday, 06-Nov-94 08:50:37 GMT", Some(60)),
            ("Sun Nov  6 08:50:37 1994", Some(60)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("-5", None),
            ("1.5", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(retry_after(value, now), seconds.map(Duration::from_secs), "{value}");
        }
    }
}
