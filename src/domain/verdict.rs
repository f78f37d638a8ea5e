//! The one place that decides what follows from a finding.
//!
//! Matched without `_` on our own enums: a new finding breaks the build until somebody has judged it.

use std::time::Duration;

use super::attempt::{AttemptResult, Cause, ConnectCause, Phase, TlsCause};
use super::failure::Finding;

/// What follows from a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The receiver has it.
    Delivered,
    /// Another attempt may succeed, not before the given wait.
    Retry { at_least: Duration },
    /// Rotated secrets are the usual cause: try again with fresh ones, else as [`Verdict::Retry`].
    RefreshSecrets { at_least: Duration },
    /// The same request would fail again: a person must act.
    Permanent,
    /// Our own fault, or nothing was begun: the outcome stays where it came from.
    Keep,
}

/// 429 without a usable `Retry-After`, or with a shorter one.
const RATE_LIMIT_WAIT: Duration = Duration::from_secs(60);

pub fn verdict(finding: &Finding) -> Verdict {
    match finding {
        Finding::Attempt(AttemptResult::Response { status, retry_after, .. }) => {
            of_status(*status, retry_after.unwrap_or_default())
        }
        Finding::Attempt(AttemptResult::Failed { cause, .. }) => of_cause(cause),
        Finding::InvalidDestination(_)
        | Finding::InvalidRoute(_)
        | Finding::UnknownDestination
        | Finding::InactiveDestination
        | Finding::Unrouted
        | Finding::Refused(_) => Verdict::Permanent,
        // A secret that is missing now is usually being rotated, or Secrets Manager is down.
        // A panic is bounded by the schedule like any other failure, and harms no neighbour.
        Finding::UnresolvedSecret(_) | Finding::Paused | Finding::Panic => Verdict::Retry { at_least: Duration::ZERO },
        Finding::NotStarted | Finding::LookupFailed(_) | Finding::NotWritten { .. } => Verdict::Keep,
    }
}

fn of_status(status: u16, retry_after: Duration) -> Verdict {
    match status {
        200..=299 => Verdict::Delivered,
        // Never followed: most clients turn the POST into a GET and take the login page's 200 for a delivery.
        300..=399 => Verdict::Permanent,
        401 | 403 | 407 => Verdict::RefreshSecrets { at_least: retry_after },
        404 | 408 | 409 | 421 | 423 | 424 | 425 => Verdict::Retry { at_least: retry_after },
        429 => Verdict::Retry { at_least: retry_after.max(RATE_LIMIT_WAIT) },
        // With 410 the receiver asks to stop; of the others it would refuse the same bytes again.
        400..=499 => Verdict::Permanent,
        501 | 505 | 506 | 508 | 510 | 511 => Verdict::Permanent,
        500..=599 => Verdict::Retry { at_least: retry_after },
        // 1xx as the final status, or a number that HTTP does not define: unknown, so not lost.
        _ => Verdict::Retry { at_least: Duration::ZERO },
    }
}

fn of_cause(cause: &Cause) -> Verdict {
    match cause {
        Cause::Refused(_) => Verdict::Permanent,
        Cause::Dns
        | Cause::Connect(
            ConnectCause::Refused | ConnectCause::Reset | ConnectCause::Unreachable | ConnectCause::Other,
        )
        | Cause::Tls(
            // A wrong certificate is usually renewed within hours.
            TlsCause::Expired { .. }
            | TlsCause::NotYetValid { .. }
            | TlsCause::UnknownIssuer
            | TlsCause::CaAsServer
            | TlsCause::WrongName { .. }
            | TlsCause::Certificate
            | TlsCause::Protocol
            | TlsCause::PlainHttp
            | TlsCause::ClientCertificate
            | TlsCause::Cut
            | TlsCause::Other,
        )
        | Cause::Timeout(Phase::Dns | Phase::Connect | Phase::Handshake | Phase::Response)
        | Cause::Deadline(Phase::Dns | Phase::Connect | Phase::Handshake | Phase::Response)
        | Cause::Lost
        | Cause::Malformed => Verdict::Retry { at_least: Duration::ZERO },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::address::Blocked;
    use crate::domain::attempt::Sent;
    use crate::domain::outcome::Rejected;
    use std::time::SystemTime;

    const NOW: Verdict = Verdict::Retry { at_least: Duration::ZERO };

    fn of_response(status: u16, retry_after: Option<u64>) -> Verdict {
        verdict(&Finding::Attempt(AttemptResult::Response {
            status,
            retry_after: retry_after.map(Duration::from_secs),
            location_origin: None,
            excerpt: None,
        }))
    }

    #[test]
    fn every_status_has_its_verdict() {
        for status in 0..=1000 {
            let expected = match status {
                200..=299 => Verdict::Delivered,
                401 | 403 | 407 => Verdict::RefreshSecrets { at_least: Duration::ZERO },
                404 | 409 | 421 | 408 | 423 | 424 | 425 => NOW,
                429 => Verdict::Retry { at_least: Duration::from_secs(60) },
                501 | 505 | 506 | 508 | 510 | 511 => Verdict::Permanent,
                500 | 502 | 503 | 504 | 507 | 509 | 520..=527 | 529 | 530 => NOW,
                512..=519 | 528 | 531..=599 => NOW,
                300..=499 => Verdict::Permanent,
                _ => NOW,
            };
            assert_eq!(of_response(status, None), expected, "{status}");
        }
    }

    #[test]
    fn retry_after_delays_what_is_tried_again_and_nothing_else() {
        for status in [404, 408, 409, 421, 423, 424, 425, 500, 502, 503, 504, 599] {
            assert_eq!(of_response(status, Some(90)), Verdict::Retry { at_least: Duration::from_secs(90) }, "{status}");
        }
        let wait = Duration::from_secs(90);
        assert_eq!(of_response(401, Some(90)), Verdict::RefreshSecrets { at_least: wait });
        assert_eq!(of_response(429, Some(5)), Verdict::Retry { at_least: Duration::from_secs(60) });
        assert_eq!(of_response(429, Some(500)), Verdict::Retry { at_least: Duration::from_secs(500) });
        for status in [301, 400, 410, 422, 501] {
            assert_eq!(of_response(status, Some(90)), Verdict::Permanent, "{status}");
        }
    }

    #[test]
    fn what_met_no_response_is_tried_again_unless_policy_refused_it() {
        let then = SystemTime::UNIX_EPOCH;
        let causes = [
            Cause::Dns,
            Cause::Connect(ConnectCause::Refused),
            Cause::Connect(ConnectCause::Reset),
            Cause::Connect(ConnectCause::Unreachable),
            Cause::Connect(ConnectCause::Other),
            Cause::Tls(TlsCause::Expired { not_after: then }),
            Cause::Tls(TlsCause::NotYetValid { not_before: then }),
            Cause::Tls(TlsCause::UnknownIssuer),
            Cause::Tls(TlsCause::CaAsServer),
            Cause::Tls(TlsCause::WrongName { presented: vec![] }),
            Cause::Tls(TlsCause::Certificate),
            Cause::Tls(TlsCause::Protocol),
            Cause::Tls(TlsCause::PlainHttp),
            Cause::Tls(TlsCause::ClientCertificate),
            Cause::Tls(TlsCause::Cut),
            Cause::Tls(TlsCause::Other),
            Cause::Timeout(Phase::Dns),
            Cause::Timeout(Phase::Connect),
            Cause::Timeout(Phase::Handshake),
            Cause::Timeout(Phase::Response),
            Cause::Deadline(Phase::Response),
            Cause::Lost,
            Cause::Malformed,
        ];
        for cause in causes {
            for sent in [Sent::Nothing, Sent::Maybe] {
                let result = AttemptResult::Failed { cause: cause.clone(), sent };
                assert_eq!(verdict(&Finding::Attempt(result)), NOW, "{cause:?}");
            }
        }
        for refusal in [Blocked::Forbidden, Blocked::Private, Blocked::PlainHttp] {
            let result = AttemptResult::Failed { cause: Cause::Refused(refusal), sent: Sent::Nothing };
            assert_eq!(verdict(&Finding::Attempt(result)), Verdict::Permanent, "{refusal:?}");
        }
    }

    #[test]
    fn failures_without_an_attempt_are_a_persons_to_fix_or_stay_in_their_queue() {
        for finding in [
            Finding::InvalidDestination(vec![]),
            Finding::InvalidRoute(vec![]),
            Finding::UnknownDestination,
            Finding::InactiveDestination,
            Finding::Unrouted,
            Finding::Refused(Rejected::default()),
        ] {
            assert_eq!(verdict(&finding), Verdict::Permanent, "{finding:?}");
        }
        for finding in [Finding::UnresolvedSecret(String::new()), Finding::Paused, Finding::Panic] {
            assert_eq!(verdict(&finding), NOW, "{finding:?}");
        }
        for finding in [Finding::NotStarted, Finding::LookupFailed(String::new())] {
            assert_eq!(verdict(&finding), Verdict::Keep, "{finding:?}");
        }
    }
}
