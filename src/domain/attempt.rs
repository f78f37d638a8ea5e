//! One HTTP request and what came of it.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use super::address::Blocked;
use super::failure::Failure;

/// What came of an attempt, and how long its parts took.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// The status of a success, 200 to 299, or why there was none.
    pub result: Result<u16, Failure>,
    pub timings: Timings,
    /// What the host led to; nothing on a connection that was open already.
    pub addresses: Vec<Address>,
    /// The last day of the endpoint's certificate, if it was looked at.
    pub certificate_expires: Option<SystemTime>,
}

/// An address that a host led to, and why the guard blocks it, if it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    pub ip: IpAddr,
    pub blocked: Option<Blocked>,
}

/// How long the parts of an attempt took; a part that was not reached has no time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timings {
    pub dns: Option<Duration>,
    /// TCP and TLS together.
    pub connect: Option<Duration>,
    /// From the connection to the response's head.
    pub first_byte: Option<Duration>,
    pub total: Duration,
}

/// A year: whoever asks for more means "never", and the schedule is over long before.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Reads `Retry-After`: seconds, or a date in any form of RFC 9110. Garbage is no wait. Some endpoints write a fraction
/// of a second, which RFC 9110 does not know: it counts as a whole one.
pub fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    let (whole, fraction) = value.split_once('.').unwrap_or((value, ""));
    if !whole.is_empty() && whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) {
        let more = u64::from(fraction.bytes().any(|b| b != b'0'));
        // More digits than fit are still a wait: the longest.
        let seconds = whole.parse().unwrap_or(u64::MAX).saturating_add(more);
        return Some(Duration::from_secs(seconds).min(LONGEST_RETRY_AFTER));
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
            ("292.052427053", Some(293)),
            ("2.0", Some(2)),
            ("0.5", Some(1)),
            ("99999999999999999999999.9", Some(31_536_000)),
            ("-5", None),
            ("-0.5", None),
            ("1.2.3", None),
            (".5", None),
            ("1e3", None),
            ("Sun, 06 Nov 1994 08:50:37 UTC", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(retry_after(value, now), seconds.map(Duration::from_secs), "{value}");
        }
    }
}
