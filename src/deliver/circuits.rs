//! The circuit breakers of this process: one per destination that fails slowly.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

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
        let admission = self.with(|circuits| circuits.get_mut(&key).map(|breaker| breaker.admit(since_1970(now))));
        match admission {
            None | Some(Admission::Pass) => Ok(Leave { circuits: self, key, is_trial: false }),
            Some(Admission::Trial) => Ok(Leave { circuits: self, key, is_trial: true }),
            Some(Admission::Open { since, cause, until }) => {
                let at = |time| clock(SystemTime::UNIX_EPOCH + time, now);
                let wait = until.saturating_sub(since_1970(now)) + AFTERWARDS.mul_f64(fastrand::f64());
                let failure = Failure::new(Code::CircuitOpen).with("cause", cause);
                let failure = failure.with("since", at(since)).with("trial", format_args!("{} UTC", at(until)));
                Err(Failure { no_later: Some(wait), ..failure })
            }
        }
    }

    fn with<T>(&self, work: impl FnOnce(&mut HashMap<Key, Breaker>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Leave<'_> {
    /// Takes note of what the attempt showed, and says in the log if that opened or closed the circuit.
    pub(super) fn done(mut self, attempt: &Attempt, now: SystemTime) {
        let seen = seen(attempt);
        // Of every delivery that meets it, not of this one.
        let plain = |failure: &Failure| Failure { maybe_received: false, excerpt: None, ..failure.clone() }.cause();
        let cause = attempt.result.as_ref().err().map(plain).unwrap_or_default();
        let change = self.circuits.with(|circuits| {
            let breaker = circuits.entry(self.key.clone()).or_default();
            let change = breaker.record(seen, &cause, self.is_trial, since_1970(now), fastrand::f64());
            if breaker.is_idle() {
                circuits.remove(&self.key);
            }
            change
        });
        self.is_trial = false;
        let id = &self.key.0;
        match change {
            Change::None => {}
            Change::Opened { until } => {
                let until = clock(SystemTime::UNIX_EPOCH + until, now);
                let message = format!(
                    "{id} CIRCUIT OPEN until {until} UTC: {cause}. This environment makes no attempt until then, \
                     so that other destinations do not wait; its alerts wait in the retry queue."
                );
                telemetry::breaker(Level::Warn, id, &message);
            }
            Change::Closed => {
                telemetry::breaker(Level::Info, id, &format!("{id} CIRCUIT CLOSED: the endpoint answers again."));
            }
        }
    }
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        if self.is_trial {
            self.circuits.with(|circuits| circuits.get_mut(&self.key).map(Breaker::release));
        }
    }
}

fn seen(attempt: &Attempt) -> Seen {
    match &attempt.result {
        Err(failure) if failure.status == Some(503) => Seen::Asked(failure.retry_after),
        Err(failure) if failure.status.is_none() => Seen::Slow(attempt.timings.total),
        _ => Seen::Quick,
    }
}

/// By the wall clock: a monotonic one may stand still while the process is frozen.
fn since_1970(time: SystemTime) -> Duration {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}
