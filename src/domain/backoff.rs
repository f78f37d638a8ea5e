//! When a parked delivery is tried again.
//!
//! The schedule is anchored at the time at which the delivery was parked: the next try is the first point that lies
//! ahead. There is no counter, so throttled receives, crashes and duplicates do not shift it, and a message that an
//! operator moves back begins a new life by itself.

use std::time::Duration;

/// Waits before the second, third … attempt, each ± 20 %.
const WAITS_SECONDS: [u64; 11] = [10, 30, 120, 300, 900, 1800, 3600, 7200, 14400, 21600, 21600];

/// Attempts over a delivery's life, when nothing says less: about 20 hours.
pub const MAX_ATTEMPTS: u32 = 12;

/// What SQS can hide a message for at most (`ChangeMessageVisibility`), less what may pass until it is asked to.
pub const LONGEST_WAIT: Duration = Duration::from_secs(12 * 60 * 60 - 600);

/// Times are whole seconds on SQS's side, so a message may come this much before its point.
const ROUNDING: Duration = Duration::from_secs(1);

/// A point of the schedule: the attempt's number, when it is due after parking, and how much earlier or later it may come.
fn points() -> impl Iterator<Item = (u32, Duration, Duration)> {
    let mut due = Duration::ZERO;
    (2..).zip(WAITS_SECONDS).map(move |(number, wait)| {
        let wait = Duration::from_secs(wait);
        due += wait;
        (number, due, wait / 5)
    })
}

/// The number of the attempt that is made `elapsed` after parking.
pub fn attempt_number(elapsed: Duration) -> u32 {
    let reached = |(_, due, jitter): &(u32, Duration, Duration)| elapsed + ROUNDING >= due.saturating_sub(*jitter);
    points().take_while(reached).last().map_or(1, |(number, ..)| number)
}

/// How long to wait for the next attempt, or nothing when the schedule is over.
///
/// `at_least` is what the receiver asked for; `random` is between 0 and 1.
pub fn next_attempt(elapsed: Duration, at_least: Duration, max_attempts: u32, random: f64) -> Option<Duration> {
    let made = attempt_number(elapsed);
    let (_, due, jitter) = points().find(|(number, ..)| *number > made && *number <= max_attempts)?;
    let point = due.saturating_sub(jitter) + jitter.mul_f64(2.0 * random.clamp(0.0, 1.0));
    let wait = point.saturating_sub(elapsed).max(at_least).min(LONGEST_WAIT);
    // Whole seconds, and never at once.
    Some(
        Duration::from_secs(wait.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX)).max(Duration::from_secs(1)),
    )
}

/// How long a message stays hidden after a fault of ours: 30 s, doubling to an hour.
pub fn after_our_fault(receive_count: u32) -> Duration {
    Duration::from_secs(30 << receive_count.saturating_sub(1).min(7)).min(Duration::from_secs(3600))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Duration = Duration::ZERO;

    #[test]
    fn a_delivery_has_twelve_attempts_over_twenty_hours_whatever_the_jitter() {
        for random in [0.0, 0.5, 1.0, 0.123] {
            let (mut elapsed, mut attempts) = (NONE, 1);
            while let Some(wait) = next_attempt(elapsed, NONE, MAX_ATTEMPTS, random) {
                elapsed += wait;
                attempts += 1;
                assert_eq!(attempt_number(elapsed), attempts, "{random}: after {elapsed:?}");
            }
            assert_eq!(attempts, 12);
            assert!((18..=22).contains(&(elapsed.as_secs() / 3600)), "{elapsed:?}");
        }
    }

    #[test]
    fn the_schedule_is_anchored_and_skips_what_has_passed() {
        assert_eq!(next_attempt(NONE, NONE, 12, 0.5), Some(Duration::from_secs(10)));
        assert_eq!(next_attempt(Duration::from_secs(10), NONE, 12, 0.5), Some(Duration::from_secs(30)));
        // Throttled for an hour: the next point ahead, not the next in turn.
        assert_eq!(attempt_number(Duration::from_secs(3600)), 7);
        assert_eq!(next_attempt(Duration::from_secs(3600), NONE, 12, 0.5), Some(Duration::from_secs(6760 - 3600)));
        // A duplicate receive right after an attempt changes nothing.
        assert_eq!(next_attempt(Duration::from_secs(11), NONE, 12, 0.5), Some(Duration::from_secs(29)));
    }

    #[test]
    fn a_receiver_may_ask_for_more_but_not_for_ever() {
        assert_eq!(next_attempt(NONE, Duration::from_secs(600), 12, 0.5), Some(Duration::from_secs(600)));
        assert_eq!(next_attempt(NONE, Duration::from_secs(5), 12, 0.5), Some(Duration::from_secs(10)));
        assert_eq!(next_attempt(NONE, Duration::MAX, 12, 0.5), Some(LONGEST_WAIT));
    }

    #[test]
    fn fewer_attempts_cut_the_schedule() {
        assert_eq!(next_attempt(NONE, NONE, 1, 0.5), None);
        assert_eq!(next_attempt(Duration::from_secs(10), NONE, 2, 0.5), None);
        assert_eq!(next_attempt(Duration::from_secs(1_000_000), NONE, 12, 0.5), None);
    }

    #[test]
    fn our_own_faults_wait_longer_each_time_up_to_an_hour() {
        let seconds: Vec<_> = [0, 1, 2, 3, 7, 8, 50].map(|count| after_our_fault(count).as_secs()).into();
        assert_eq!(seconds, [30, 30, 60, 120, 1920, 3600, 3600]);
    }
}
