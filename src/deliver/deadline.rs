//! When Lambda stops the invocation, and what is kept back of the time before.

use std::time::{Duration, Instant, SystemTime};

use futures_util::FutureExt as _;

use crate::domain::failure::{Code, Failure};

/// Kept back at the end of an invocation: what is in flight goes to a queue then, and the answer goes out.
const RESERVE: Duration = Duration::from_secs(5);

/// Kept back of that for the answer alone: what is not written by then stays with its source.
const RESERVE_FOR_ANSWER: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    attempts_end: Instant,
    writes_end: Instant,
}

impl Deadline {
    /// From `Lambda-Runtime-Deadline-Ms`: milliseconds since 1970.
    pub fn of_invocation(deadline_ms: u64) -> Self {
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let (attempts, writes) = times(deadline_ms, since_1970);
        let now = Instant::now();
        Self { attempts_end: now + attempts, writes_end: now + writes }
    }

    /// What is left for attempts; nothing when only the reserve is left.
    pub fn left(&self) -> Duration {
        self.attempts_end.saturating_duration_since(Instant::now())
    }

    /// Limits what comes before an attempt to the time that is left: the attempt is else not started.
    pub fn limit<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> impl Future<Output = Result<T, Failure>> {
        tokio::time::timeout(self.left(), work).map(|done| done.unwrap_or_else(|_| Err(Failure::new(Code::NotStarted))))
    }

    /// What is left for writing to queues.
    pub fn left_for_writes(&self) -> Duration {
        self.writes_end.saturating_duration_since(Instant::now())
    }
}

/// The time for attempts, and for attempts and writes together.
fn times(deadline_ms: u64, since_1970: Duration) -> (Duration, Duration) {
    /// In 1970: nobody's clock says so, but `cargo lambda watch` sends a duration in the deadline's place.
    const ONE_YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
    let deadline = Duration::from_millis(deadline_ms);
    let left = if deadline < ONE_YEAR { deadline } else { deadline.saturating_sub(since_1970) };
    // A function with a very short timeout still gets half of it: a reserve of all its time would deliver nothing.
    let reserve = RESERVE.min(left / 2);
    (left.saturating_sub(reserve), left.saturating_sub(RESERVE_FOR_ANSWER.min(reserve / 2)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_seconds_are_kept_back_or_half_of_a_short_invocation() {
        let now = Duration::from_secs(1_800_000_000);
        let deadline = |left: u64| {
            let (attempts, writes) = times(u64::try_from(now.as_millis()).unwrap() + left, now);
            (attempts.as_millis(), writes.as_millis())
        };
        assert_eq!(deadline(330_000), (325_000, 329_000));
        assert_eq!(deadline(10_000), (5_000, 9_000));
        assert_eq!(deadline(3_000), (1_500, 2_250));
        assert_eq!(deadline(0), (0, 0));
    }

    #[test]
    fn a_deadline_in_the_past_leaves_nothing_and_a_small_number_is_a_duration() {
        let now = Duration::from_secs(1_800_000_000);
        assert_eq!(times(1_700_000_000_000, now).0, Duration::ZERO);
        let day = 24 * 60 * 60;
        for seconds in [600, 364 * day] {
            assert_eq!(times(seconds * 1000, now).0, Duration::from_secs(seconds - 5));
        }
        assert_eq!(times(366 * day * 1000, now).0, Duration::ZERO);
    }
}
