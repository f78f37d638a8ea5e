//! When Lambda stops the invocation, and what is kept back of the time before.

use std::time::{Duration, Instant, SystemTime};

/// Kept back at the end of an invocation, for the answer.
const RESERVE: Duration = Duration::from_secs(5);

/// The end of an invocation.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    attempts_end: Instant,
}

impl Deadline {
    /// From `Lambda-Runtime-Deadline-Ms`: milliseconds since 1970.
    pub fn of_invocation(deadline_ms: u64) -> Self {
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { attempts_end: Instant::now() + time_for_attempts(deadline_ms, since_1970) }
    }

    /// What is left for attempts; nothing when only the reserve is left.
    pub fn left(&self) -> Duration {
        self.attempts_end.saturating_duration_since(Instant::now())
    }
}

fn time_for_attempts(deadline_ms: u64, since_1970: Duration) -> Duration {
    /// In 1970: nobody's clock says so, but `cargo lambda watch` sends a duration in the deadline's place.
    const ONE_YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
    let deadline = Duration::from_millis(deadline_ms);
    let left = if deadline < ONE_YEAR { deadline } else { deadline.saturating_sub(since_1970) };
    // A function with a very short timeout still gets half of it: a reserve of all its time would deliver nothing.
    left.saturating_sub(RESERVE.min(left / 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_seconds_are_kept_back_or_half_of_a_short_invocation() {
        let now = Duration::from_secs(1_800_000_000);
        let deadline = |left: u64| time_for_attempts(u64::try_from(now.as_millis()).unwrap() + left, now);
        assert_eq!(deadline(330_000), Duration::from_secs(325));
        assert_eq!(deadline(10_000), Duration::from_secs(5));
        assert_eq!(deadline(3_000), Duration::from_millis(1_500));
        assert_eq!(deadline(0), Duration::ZERO);
    }

    #[test]
    fn a_deadline_in_the_past_leaves_nothing_and_a_small_number_is_a_duration() {
        let now = Duration::from_secs(1_800_000_000);
        assert_eq!(time_for_attempts(1_700_000_000_000, now), Duration::ZERO);
        assert_eq!(time_for_attempts(600_000, now), Duration::from_secs(595));
    }
}
