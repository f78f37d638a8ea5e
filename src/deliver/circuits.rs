//! The circuit breakers of this process: one per destination that fails slowly.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use serde_json::json;

use crate::domain::attempt::Attempt;
use crate::domain::breaker::{Admission, Breaker, Change, Seen};
use crate::domain::destination::Target;
use crate::domain::failure::{Code, Failure, Level};
use crate::domain::report::clock;
use crate::telemetry;

/// By destination and URL: a mended URL starts afresh. One whose circuit is closed and that does not fail has none.
#[derive(Default)]
pub(super) struct Circuits(Mutex<HashMap<Key, Breaker>>);

type Key = (String, u64);

/// Leave to make an attempt. A trial's place is free again when it is dropped.
pub(super) struct Leave<'a> {
    circuits: &'a Circuits,
    key: Key,
    is_trial: bool,
}

/// How long after its end a delivery that met an open circuit comes back at the latest.
const AFTERWARDS: Duration = Duration::from_secs(60);

impl Circuits {
    /// Asks for an attempt; the failure says until when there is none.
    pub(super) fn ask(&self, target: &Target, now: SystemTime) -> Result<Leave<'_>, Failure> {
        let key = (target.id.clone(), target.endpoint.fingerprint());
        let admission = self.with(&key, false, |breaker| breaker.admit(since_1970(now)));
        let Some(Admission::Open { since, cause, until }) = admission else {
            return Ok(Leave { circuits: self, key, is_trial: admission == Some(Admission::Trial) });
        };
        let wait = until.saturating_sub(since_1970(now)) + AFTERWARDS.mul_f64(fastrand::f64());
        let failure = Failure::new(Code::CircuitOpen).with("cause", cause);
        let failure = failure.with("since", clock(SystemTime::UNIX_EPOCH + since, now));
        Err(Failure { no_later: Some(wait), ..failure })
    }

    /// Works on a breaker, which is made if it `is_needed`, and forgotten when it has nothing to remember.
    fn with<T>(&self, key: &Key, is_needed: bool, work: impl FnOnce(&mut Breaker) -> T) -> Option<T> {
        let mut circuits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let breaker = if is_needed { circuits.entry(key.clone()).or_default() } else { circuits.get_mut(key)? };
        let done = work(breaker);
        if breaker.is_idle() {
            circuits.remove(key);
        }
        Some(done)
    }
}

impl Leave<'_> {
    /// Takes note of what the attempt showed, and says in the log if that opened or closed the circuit.
    pub(super) fn done(mut self, attempt: &Attempt, now: SystemTime) {
        let seen = seen(attempt);
        let cause = attempt.result.as_ref().err().map(shared_cause).unwrap_or_default();
        let change = self.circuits.with(&self.key, !matches!(seen, Seen::Quick), |breaker| {
            breaker.record(seen, &cause, self.is_trial, since_1970(now), fastrand::f64())
        });
        self.is_trial = false;
        if let Some(change) = change.flatten() {
            let (level, message) = sentence(&self.key.0, &change, &cause, now);
            telemetry::line(level, &message, &json!({ "destination": self.key.0 }));
        }
    }
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        if self.is_trial {
            self.circuits.with(&self.key, false, Breaker::release);
        }
    }
}

/// What the log says of a change; `cause` is the last failure.
fn sentence(id: &str, change: &Change, cause: &str, now: SystemTime) -> (Level, String) {
    let at = |time: &Duration| clock(SystemTime::UNIX_EPOCH + *time, now);
    match change {
        Change::Opened { since, until } => {
            let (since, until) = (at(since), at(until));
            let message = format!(
                "{id} CIRCUIT OPEN until {until} UTC, failing since {since}: {cause}. Until then this execution \
                 environment makes no attempt, so that other destinations do not wait; the alerts for {id} wait in the \
                 retry queue. Nobody yet; if it goes on, endpoint owner: bring the endpoint back."
            );
            (Level::Warn, message)
        }
        Change::Closed { since, cause } => {
            let since = at(since);
            (Level::Info, format!("{id} CIRCUIT CLOSED: attempts go on; it failed since {since}: {cause}."))
        }
    }
}

/// The cause as other alerts share it: whether the endpoint may have received this one is no news of theirs.
fn shared_cause(failure: &Failure) -> String {
    Failure { maybe_received: false, excerpt: None, ..failure.clone() }.cause()
}

fn seen(attempt: &Attempt) -> Seen {
    match &attempt.result {
        Err(failure) if failure.status == Some(503) && !failure.retry_after.is_zero() => {
            Seen::Asked(failure.retry_after)
        }
        Err(failure) if failure.status.is_none() => Seen::Slow(attempt.timings.total),
        _ => Seen::Quick,
    }
}

/// By the wall clock: a monotonic one may stand still while the process is frozen.
fn since_1970(time: SystemTime) -> Duration {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::attempt::Timings;
    use crate::domain::endpoint::Endpoint;

    const TIMEOUT: Duration = Duration::from_secs(30);

    fn target(url: &str) -> Target {
        let endpoint = Endpoint::parse(url).unwrap();
        let (headers, signing_keys) = (http::HeaderMap::new(), Vec::new());
        Target { id: "soc".into(), endpoint, timeout: TIMEOUT, headers, signing_keys }
    }

    fn attempt(result: Result<u16, Failure>, total: Duration) -> Attempt {
        let timings = Timings { total, ..Timings::default() };
        Attempt { result, timings, addresses: Vec::new(), certificate_expires: None }
    }

    fn timed_out() -> Attempt {
        let failure = Failure::new(Code::Timeout).with("endpoint", "https://a.example").with("limit", "30 s");
        attempt(Err(Failure { maybe_received: true, excerpt: Some("A SAID".into()), ..failure }), TIMEOUT)
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
    }

    /// Open since the first second, until 30 s after it at the earliest.
    fn opened(target: &Target) -> Circuits {
        let circuits = Circuits::default();
        circuits.ask(target, at(0)).ok().unwrap().done(&timed_out(), at(0));
        circuits
    }

    #[test]
    fn an_open_circuit_says_since_when_why_and_until_when() {
        let target = target("https://a.example/x");
        let circuits = opened(&target);
        let failure = circuits.ask(&target, at(10)).err().unwrap();
        assert_eq!((failure.code, failure.maybe_received), (Code::CircuitOpen, false));
        let (left, most) = (Duration::from_secs(20), Duration::from_secs(26 + 60));
        assert!(failure.no_later.is_some_and(|wait| wait >= left && wait <= most), "{:?}", failure.no_later);
        let cause = failure.cause();
        assert!(cause.contains("https://a.example"), "{cause}");
        assert!(!cause.contains("may have received") && !cause.contains("A SAID"), "{cause}");
        assert!(cause.contains(&clock(at(0) - TIMEOUT, at(10))), "{cause}");
    }

    #[test]
    fn a_change_is_told_with_its_times() {
        let [since, until] = [at(0), at(90)].map(since_1970);
        let (level, message) = sentence("soc", &Change::Opened { since, until }, "it is down", at(60));
        let [from, to] = [at(0), at(90)].map(|time| clock(time, at(60)));
        assert!(message.starts_with(&format!("soc CIRCUIT OPEN until {to} UTC, failing since {from}: it is down.")));
        assert_eq!(level, Level::Warn);
        let closed = Change::Closed { since, cause: "it was down".into() };
        let message = format!("soc CIRCUIT CLOSED: attempts go on; it failed since {from}: it was down.");
        assert_eq!(sentence("soc", &closed, "", at(60)), (Level::Info, message));
    }

    #[test]
    fn a_slow_answer_does_not_open_it() {
        let target = target("https://a.example/x");
        let circuits = Circuits::default();
        for _ in 0..5 {
            let failure = Failure::of_status(500, None).unwrap();
            circuits.ask(&target, at(0)).ok().unwrap().done(&attempt(Err(failure), TIMEOUT), at(0));
        }
        assert!(circuits.ask(&target, at(1)).is_ok());
    }

    #[test]
    fn a_mended_url_starts_afresh() {
        let circuits = opened(&target("https://a.example/x"));
        for url in ["https://b.example/x", "https://a.example/y", "https://u:p@a.example/x"] {
            assert!(circuits.ask(&target(url), at(1)).is_ok(), "{url}");
        }
        let other = Target { id: "soar".into(), ..target("https://a.example/x") };
        assert!(circuits.ask(&other, at(1)).is_ok(), "another destination has one of its own");
        assert!(circuits.ask(&target("https://a.example/x"), at(1)).is_err());
    }

    #[test]
    fn a_trial_is_alone_and_frees_its_place_when_dropped() {
        let target = target("https://a.example/x");
        let circuits = opened(&target);
        let trial = circuits.ask(&target, at(60)).ok().unwrap();
        let beside = circuits.ask(&target, at(60)).err().unwrap();
        assert!(beside.no_later.unwrap() <= AFTERWARDS, "it comes back soon: the trial may succeed");
        drop(trial);
        let trial = circuits.ask(&target, at(61)).ok().unwrap();
        trial.done(&attempt(Ok(200), Duration::from_millis(5)), at(62));
        assert!((0..20).map(|_| circuits.ask(&target, at(62))).all(|leave| leave.is_ok()));
        assert!(circuits.0.lock().unwrap().is_empty(), "everything is forgotten");
    }

    #[test]
    fn an_answer_that_asks_for_minutes_opens_it() {
        let target = target("https://a.example/x");
        for (status, asked, is_open) in [(503, 300, true), (503, 30, false), (500, 300, false), (429, 300, false)] {
            let circuits = Circuits::default();
            let failure = Failure::of_status(status, Some(Duration::from_secs(asked))).unwrap();
            let leave = circuits.ask(&target, at(0)).ok().unwrap();
            leave.done(&attempt(Err(failure), Duration::from_millis(5)), at(0));
            assert_eq!(circuits.ask(&target, at(290)).is_err(), is_open, "{status} {asked}");
            assert!(circuits.ask(&target, at(300)).is_ok(), "{status} {asked}");
        }
    }
}
