//! What a delivery's turn met, and what is to be said about it.

use std::time::SystemTime;

use super::address::Blocked;
use super::attempt::{Attempt, AttemptResult, Cause, ConnectCause, Phase, Sent, TlsCause};
use super::code::Code;
use super::outcome::Rejected;
use super::problem::{Problem, sentence};

/// What a delivery's turn met: an attempt's result, or why there was none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    Attempt(AttemptResult),
    /// The invocation's deadline came before the attempt could begin.
    NotStarted,
    InvalidDestination(Vec<Problem>),
    InvalidRoute(Vec<Problem>),
    UnknownDestination,
    /// Parked for a destination that is no longer active.
    InactiveDestination,
    /// The destination is under maintenance: parked without an attempt.
    Paused,
    /// A secret that the destination refers to has no value at the moment; the text says why.
    UnresolvedSecret(String),
    /// No route, although somebody must hear of the outcome.
    Unrouted,
    /// What came in is no outcome.
    Refused(Rejected),
    /// The registry could not be read; the text says why.
    LookupFailed(String),
    /// A bug of ours.
    Panic,
    /// What was to be parked or dead-lettered could not be written to its queue.
    NotWritten {
        finding: Box<Finding>,
        reason: String,
        too_large: bool,
    },
}

impl Attempt {
    pub fn finding(&self) -> Finding {
        Finding::Attempt(self.result.clone())
    }
}

impl Finding {
    /// The failure's name; nothing for a delivery that succeeded.
    pub fn code(&self) -> Option<Code> {
        Some(match self {
            Self::Attempt(AttemptResult::Response { status, .. }) => return of_status(*status),
            Self::Attempt(AttemptResult::Failed { cause, .. }) => of_cause(cause),
            Self::NotStarted => Code::NotStarted,
            Self::InvalidDestination(_) => Code::DestinationInvalid,
            Self::InvalidRoute(_) => Code::RouteInvalid,
            Self::UnknownDestination => Code::DestinationUnknown,
            Self::InactiveDestination => Code::DestinationInactive,
            Self::Paused => Code::DestinationPaused,
            Self::UnresolvedSecret(_) => Code::SecretUnresolved,
            Self::NotWritten { too_large: true, .. } => Code::TooLargeToPark,
            Self::NotWritten { too_large: false, .. } => Code::QueueFailed,
            Self::Unrouted => Code::Unrouted,
            Self::Refused(rejected) if rejected.is_unknown_event => Code::UnknownEvent,
            Self::Refused(_) => Code::InvalidOutcome,
            Self::LookupFailed(_) => Code::LookupFailed,
            Self::Panic => Code::Panic,
        })
    }

    /// The failure's cause, with what is known of this very case.
    pub fn cause(&self) -> Option<String> {
        let code = self.code()?;
        let cause = code.cause();
        Some(match self {
            Self::Attempt(AttemptResult::Response { status, retry_after, location_origin, .. }) => {
                let mut text = format!("HTTP {status}: {cause}");
                if let Some(origin) = location_origin.as_ref().filter(|_| code == Code::Redirect) {
                    text.push_str(&format!(" (to {origin})"));
                }
                if let Some(wait) = retry_after.filter(|wait| !wait.is_zero()) {
                    text.push_str(&format!(" (it asks to wait {} s)", wait.as_secs()));
                }
                text
            }
            Self::Attempt(AttemptResult::Failed { cause: Cause::Tls(tls), .. }) => match tls {
                TlsCause::Expired { not_after } => format!("{cause} (on {})", date(*not_after)),
                TlsCause::NotYetValid { not_before } => format!("{cause} (it is from {})", date(*not_before)),
                TlsCause::WrongName { presented } => format!("{cause} ({})", names(presented)),
                _ => cause.to_owned(),
            },
            Self::InvalidDestination(problems)
            | Self::InvalidRoute(problems)
            | Self::Refused(Rejected { problems, .. }) => {
                format!("{cause}: {}", sentence(problems))
            }
            Self::LookupFailed(reason) | Self::UnresolvedSecret(reason) => format!("{cause}: {reason}"),
            Self::NotWritten { finding, reason, too_large } => {
                let before = finding.cause().map(|before| format!("{before}; then ")).unwrap_or_default();
                let why = if *too_large { String::new() } else { format!(": {reason}") };
                format!("{before}{cause}{why}")
            }
            _ => cause.to_owned(),
        })
    }

    /// The status of the endpoint's answer, if there was one.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Attempt(AttemptResult::Response { status, .. }) => Some(*status),
            Self::NotWritten { finding, .. } => finding.status(),
            _ => None,
        }
    }

    /// What the endpoint itself said about it.
    pub fn excerpt(&self) -> Option<&str> {
        match self {
            Self::Attempt(AttemptResult::Response { excerpt, .. }) => excerpt.as_deref(),
            Self::NotWritten { finding, .. } => finding.excerpt(),
            _ => None,
        }
    }

    /// Whether a person must act although the delivery will be tried again: a wrong key or path rarely mends itself.
    pub fn needs_a_person(&self) -> bool {
        matches!(
            self.code(),
            Some(
                Code::Unauthorized
                    | Code::NotFound
                    | Code::SecretUnresolved
                    | Code::LookupFailed
                    | Code::TooLargeToPark
                    | Code::QueueFailed
                    | Code::Panic
            )
        )
    }

    /// Whether something was tried: policy forbids it before anybody is asked.
    pub fn is_attempt(&self) -> bool {
        match self {
            Self::Attempt(result) => !matches!(result, AttemptResult::Failed { cause: Cause::Refused(_), .. }),
            Self::NotWritten { finding, .. } => finding.is_attempt(),
            _ => false,
        }
    }

    /// Whether the destination's timeout ended the attempt.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Attempt(AttemptResult::Failed { cause: Cause::Timeout(_), .. }))
    }

    /// Whether the receiver may have got the payload all the same.
    pub fn is_ambiguous(&self) -> bool {
        match self {
            Self::Attempt(AttemptResult::Failed { sent, .. }) => *sent == Sent::Maybe,
            Self::NotWritten { finding, .. } => finding.is_ambiguous(),
            _ => false,
        }
    }
}

fn of_status(status: u16) -> Option<Code> {
    Some(match status {
        200..=299 => return None,
        300..=399 => Code::Redirect,
        401 | 403 | 407 => Code::Unauthorized,
        404 => Code::NotFound,
        410 => Code::Gone,
        429 => Code::RateLimited,
        408 | 409 | 421 | 423 | 424 | 425 => Code::Busy,
        400..=499 => Code::Rejected,
        501 | 505 | 506 | 508 | 510 | 511 => Code::Unsupported,
        500..=599 => Code::ServerError,
        _ => Code::UnexpectedStatus,
    })
}

fn of_cause(cause: &Cause) -> Code {
    match cause {
        Cause::Dns => Code::Dns,
        Cause::Refused(Blocked::Forbidden) => Code::AddressForbidden,
        Cause::Refused(Blocked::Private) => Code::AddressPrivate,
        Cause::Refused(Blocked::PlainHttp) => Code::PlainHttp,
        Cause::Connect(ConnectCause::Refused) => Code::ConnectRefused,
        Cause::Connect(ConnectCause::Reset) => Code::ConnectReset,
        Cause::Connect(ConnectCause::Unreachable) => Code::ConnectUnreachable,
        Cause::Connect(ConnectCause::Other) => Code::ConnectFailed,
        Cause::Tls(TlsCause::Expired { .. }) => Code::TlsExpired,
        Cause::Tls(TlsCause::NotYetValid { .. }) => Code::TlsNotYetValid,
        Cause::Tls(TlsCause::UnknownIssuer) => Code::TlsUnknownIssuer,
        Cause::Tls(TlsCause::CaAsServer) => Code::TlsCaAsServer,
        Cause::Tls(TlsCause::WrongName { .. }) => Code::TlsWrongName,
        Cause::Tls(TlsCause::Certificate) => Code::TlsCertificate,
        Cause::Tls(TlsCause::Protocol) => Code::TlsProtocol,
        Cause::Tls(TlsCause::PlainHttp) => Code::TlsPlainHttp,
        Cause::Tls(TlsCause::ClientCertificate) => Code::TlsClientCertificate,
        Cause::Tls(TlsCause::Cut) => Code::TlsCut,
        Cause::Tls(TlsCause::Other) => Code::TlsFailed,
        Cause::Timeout(Phase::Dns) => Code::DnsTimeout,
        Cause::Timeout(Phase::Connect) => Code::ConnectTimeout,
        Cause::Timeout(Phase::Handshake) => Code::TlsTimeout,
        Cause::Timeout(Phase::Response) => Code::Timeout,
        Cause::Deadline(_) => Code::Deadline,
        Cause::Lost => Code::ConnectionLost,
        Cause::Malformed => Code::MalformedResponse,
    }
}

/// The day of a certificate's limit, in the form of HTTP dates.
fn date(time: SystemTime) -> String {
    httpdate::fmt_http_date(time)
}

fn names(presented: &[String]) -> String {
    const SHOWN: usize = 4;
    let mut text = if presented.is_empty() { "it names nothing".to_owned() } else { "it is for ".to_owned() };
    text.push_str(&presented.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", "));
    if presented.len() > SHOWN {
        text.push_str(&format!(" and {} more", presented.len() - SHOWN));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_has_no_failure_and_every_other_status_has_one() {
        for status in 0..=1000 {
            let finding = Finding::Attempt(AttemptResult::Response {
                status,
                retry_after: None,
                location_origin: None,
                excerpt: None,
            });
            assert_eq!(finding.code().is_none(), (200..=299).contains(&status), "{status}");
        }
    }

    #[test]
    fn a_redirect_names_the_host_and_a_wrong_name_names_the_right_ones() {
        let redirect = Finding::Attempt(AttemptResult::Response {
            status: 302,
            retry_after: None,
            location_origin: Some("https://login.example.com".into()),
            excerpt: None,
        });
        assert!(redirect.cause().unwrap().ends_with("(to https://login.example.com)"));
        let wrong_name = Finding::Attempt(AttemptResult::Failed {
            cause: Cause::Tls(TlsCause::WrongName { presented: vec!["a.example".into(), "b.example".into()] }),
            sent: Sent::Nothing,
        });
        assert!(wrong_name.cause().unwrap().ends_with("(it is for a.example, b.example)"));
    }
}
