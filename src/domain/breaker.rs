//! A circuit breaker for one destination: after slow failures in a row it makes no attempts for a while.
//!
//! It exists for slow failures, because they cost everybody time: an invocation lasts as long as its slowest delivery.
//! Time is an argument, and the state is one process's own: each execution environment learns by itself.

use std::time::Duration;

/// An attempt that failed without an answer counts only if it took at least this long.
const SLOW: Duration = Duration::from_secs(1);

/// Slow failures in a row that open the circuit.
const FAILURES: u32 = 3;

/// Or the time that those in a row have taken together.
const TIME_LOST: Duration = Duration::from_secs(30);

/// How long the circuit stays open, the first time, the second …, each up to 20 % more.
const OPEN_SECONDS: [u64; 5] = [30, 60, 120, 300, 900];

/// A 503 with a `Retry-After` of at least this long opens it at once, until then.
const LEAST_ASKED: Duration = Duration::from_secs(60);
const LONGEST_ASKED: Duration = Duration::from_secs(15 * 60);

/// Times are spans since any fixed moment, by the wall clock: a monotonic clock may stand still while the process is
/// frozen.
#[derive(Debug, Default)]
pub struct Breaker {
    /// Slow failures in a row, and the time that they took.
    failures: u32,
    lost: Duration,
    /// Since when it fails, and how, for whoever reads the log.
    since: Duration,
    cause: String,
    /// How often it has opened in a row.
    opened: usize,
    /// While it is open: until when.
    until: Option<Duration>,
    trial: bool,
}

/// What an attempt showed of its destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// It delivered, or it answered, or it failed fast: it costs nobody time.
    Quick,
    /// No answer, after this time.
    Slow(Duration),
    /// An answer that asks for this much time.
    Asked(Duration),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    Pass,
    /// It is the trial: the only attempt until its result is known.
    Trial,
    /// No attempt: since when the destination fails, how, and when the next trial is due.
    Open {
        since: Duration,
        cause: String,
        until: Duration,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The circuit opened, or the trial's failure opened it once more.
    Opened { since: Duration, until: Duration },
    /// The circuit closed, which was open since then because of that.
    Closed { since: Duration, cause: String },
}

impl Breaker {
    pub fn admit(&mut self, now: Duration) -> Admission {
        match self.until {
            None => Admission::Pass,
            // A clock that was set back must not keep it open for longer than it ever would be.
            Some(until) if until.saturating_sub(now) > LONGEST_ASKED * 6 / 5 => {
                self.until = Some(now);
                self.admit(now)
            }
            Some(until) if now >= until && !self.trial => {
                self.trial = true;
                Admission::Trial
            }
            Some(until) => Admission::Open { since: self.since, cause: self.cause.clone(), until: until.max(now) },
        }
    }

    /// Whether nothing of its destination is known that matters.
    pub fn is_idle(&self) -> bool {
        self.failures == 0 && self.until.is_none() && !self.trial
    }

    /// A trial ended without a result: its invocation was over, or it panicked.
    pub fn release(&mut self) {
        self.trial = false;
    }

    /// Takes note of an attempt's result, and says what it changed, if anything. `jitter` is between 0 and 1.
    pub fn record(&mut self, seen: Seen, cause: &str, was_trial: bool, now: Duration, jitter: f64) -> Option<Change> {
        if was_trial {
            self.trial = false;
        }
        // While it is open, only the trial's failure opens it once more; attempts that were under way change nothing.
        let opens = self.until.is_none() || was_trial;
        let until = match seen {
            Seen::Asked(wait) if wait >= LEAST_ASKED => {
                self.note(cause, now, Duration::ZERO);
                now + wait.min(LONGEST_ASKED)
            }
            Seen::Slow(took) if took >= SLOW => {
                self.note(cause, now, took);
                let over = self.failures >= FAILURES || self.lost >= TIME_LOST || self.until.is_some();
                if !opens || !over {
                    return None;
                }
                let seconds = OPEN_SECONDS[self.opened.min(OPEN_SECONDS.len() - 1)];
                self.opened += 1;
                now + Duration::from_secs(seconds).mul_f64(1.0 + jitter.clamp(0.0, 1.0) / 5.0)
            }
            _ => {
                // The place of a trial that is under way is its own until it ends.
                let before = std::mem::replace(self, Self { trial: self.trial, ..Self::default() });
                return before.until.map(|_| Change::Closed { since: before.since, cause: before.cause });
            }
        };
        if !opens {
            return None;
        }
        self.until = Some(until);
        Some(Change::Opened { since: self.since, until })
    }

    fn note(&mut self, cause: &str, now: Duration, took: Duration) {
        if self.failures == 0 {
            self.since = now.saturating_sub(took);
        }
        self.failures = self.failures.saturating_add(1);
        self.lost = self.lost.saturating_add(took);
        cause.clone_into(&mut self.cause);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOWLY: Seen = Seen::Slow(Duration::from_secs(5));

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(1_000_000 + seconds)
    }

    fn is_open(breaker: &mut Breaker, now: Duration) -> bool {
        matches!(breaker.admit(now), Admission::Open { .. })
    }

    fn opened(times: usize) -> (Breaker, Duration) {
        let (mut breaker, mut now) = (Breaker::default(), at(0));
        for _ in 0..3 {
            breaker.record(SLOWLY, "c", false, now, 0.0);
        }
        for _ in 1..times {
            now = breaker.until.unwrap();
            assert_eq!(breaker.admit(now), Admission::Trial);
            breaker.record(SLOWLY, "c", true, now, 0.0);
        }
        (breaker, now)
    }

    #[test]
    fn three_slow_failures_or_thirty_lost_seconds_open_it() {
        for (took, needed) in [(2, 3), (15, 2), (30, 1), (300, 1)] {
            let mut breaker = Breaker::default();
            for attempt in 1..=needed {
                assert_eq!(breaker.admit(at(0)), Admission::Pass);
                let change = breaker.record(Seen::Slow(Duration::from_secs(took)), "c", false, at(0), 0.0);
                assert_eq!(change.is_some(), attempt == needed, "{took}");
            }
            assert!(is_open(&mut breaker, at(0)), "{took}");
        }
    }

    #[test]
    fn quick_failures_and_answers_never_open_it_and_reset_the_count() {
        let mut breaker = Breaker::default();
        for _ in 0..10 {
            for seen in [
                SLOWLY,
                SLOWLY,
                Seen::Quick,
                Seen::Slow(Duration::from_millis(999)),
                Seen::Asked(Duration::from_secs(59)),
            ] {
                assert_eq!(breaker.record(seen, "c", false, at(0), 0.0), None);
            }
        }
        assert_eq!(breaker.admit(at(0)), Admission::Pass);
    }

    #[test]
    fn it_stays_open_longer_each_time_up_to_a_quarter_of_an_hour() {
        for (times, seconds) in [(1, 30), (2, 60), (3, 120), (4, 300), (5, 900), (9, 900)] {
            let (breaker, now) = opened(times);
            assert_eq!(breaker.until, Some(now + Duration::from_secs(seconds)), "{times}");
        }
        let mut breaker = Breaker::default();
        let change = breaker.record(Seen::Slow(TIME_LOST), "c", false, at(30), 1.0);
        assert_eq!(change, Some(Change::Opened { since: at(0), until: at(66) }));
    }

    #[test]
    fn one_trial_at_a_time_and_its_success_forgets_everything() {
        let (mut breaker, _) = opened(3);
        let now = breaker.until.unwrap();
        assert_eq!(breaker.admit(now), Admission::Trial);
        assert!(is_open(&mut breaker, now));
        breaker.release();
        assert_eq!(breaker.admit(now), Admission::Trial, "a trial that was dropped frees its place");
        assert!(matches!(breaker.record(Seen::Quick, "", true, now, 0.0), Some(Change::Closed { .. })));
        assert_eq!(breaker.admit(now), Admission::Pass);
        for _ in 0..3 {
            breaker.record(SLOWLY, "c", false, now, 0.0);
        }
        assert_eq!(breaker.until, Some(now + Duration::from_secs(30)), "the first time again");
    }

    #[test]
    fn a_503_that_asks_for_minutes_opens_it_until_then() {
        for (asked, open) in [(60, 60), (600, 600), (86_400, 900)] {
            let mut breaker = Breaker::default();
            let change = breaker.record(Seen::Asked(Duration::from_secs(asked)), "c", false, at(0), 0.0);
            assert_eq!(change, Some(Change::Opened { since: at(0), until: at(open) }));
            let again = breaker.record(Seen::Asked(Duration::from_secs(asked)), "c", false, at(1), 0.0);
            assert_eq!(again, None, "it is said once");
        }
    }

    #[test]
    fn attempts_under_way_when_it_opens_change_nothing() {
        let (mut breaker, _) = opened(1);
        let until = breaker.until;
        assert_eq!(breaker.record(SLOWLY, "c", false, at(20), 0.0), None);
        assert_eq!(breaker.until, until);
    }

    #[test]
    fn a_success_closes_it_although_a_trial_is_under_way() {
        let (mut breaker, now) = opened(2);
        let until = breaker.until.unwrap();
        assert_eq!(breaker.admit(until), Admission::Trial);
        let change = breaker.record(Seen::Quick, "", false, until, 0.0);
        assert_eq!(
            change,
            Some(Change::Closed { since: at(0).saturating_sub(Duration::from_secs(5)), cause: "c".into() })
        );
        assert!(!breaker.is_idle(), "the trial's place is taken");
        for _ in 0..3 {
            breaker.record(SLOWLY, "c", false, until, 0.0);
        }
        let later = until + Duration::from_secs(3600);
        assert!(now < later && is_open(&mut breaker, later), "no second trial beside it");
        breaker.release();
        assert_eq!(breaker.admit(later), Admission::Trial);
    }

    #[test]
    fn a_trial_that_ends_late_counts_as_any_other() {
        let (mut breaker, _) = opened(1);
        let until = breaker.until.unwrap();
        assert_eq!(breaker.admit(until), Admission::Trial);
        breaker.record(Seen::Quick, "", false, until, 0.0);
        assert_eq!(breaker.record(SLOWLY, "c", true, until, 0.0), None, "one failure of three");
        assert_eq!(breaker.admit(until), Admission::Pass);
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_keep_it_open() {
        let (mut breaker, _) = opened(1);
        assert_eq!(breaker.admit(Duration::from_secs(5)), Admission::Trial);
    }

    #[test]
    fn it_is_idle_until_it_fails_slowly_and_after_a_success() {
        let mut breaker = Breaker::default();
        assert!(breaker.is_idle() && !opened(1).0.is_idle());
        for (seen, is_idle) in [(Seen::Slow(Duration::from_millis(999)), true), (SLOWLY, false), (Seen::Quick, true)] {
            breaker.record(seen, "c", false, at(0), 0.0);
            assert_eq!(breaker.is_idle(), is_idle, "{seen:?}");
        }
    }

    #[test]
    fn the_longest_wait_is_obeyed_and_a_longer_one_is_not() {
        let (mut breaker, now) = opened(5);
        breaker.until = Some(now + Duration::from_secs(1080));
        assert!(is_open(&mut breaker, now));
        let before = now.saturating_sub(Duration::from_secs(1));
        assert_eq!(breaker.admit(before), Admission::Trial, "the clock was set back");
    }
}
