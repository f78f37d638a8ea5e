//! When a delivery that waits is tried again.
//!
//! The schedule is anchored at the time at which the delivery was written to the retry queue: the next try is the first
//! point that lies ahead. There is no counter, so throttled receives, crashes and duplicates do not shift it, and a
//! message that is redriven starts anew.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

/// Waits before the second, third … attempt, each ± 20 %.
const WAITS_SECONDS: [u64; 11] = [10, 30, 120, 300, 900, 1800, 3600, 7200, 14400, 21600, 21600];

/// Attempts over a delivery's life, when nothing says less: about 20 hours.
pub const MAX_ATTEMPTS: u32 = 12;

/// What SQS hides a message for at most (`ChangeMessageVisibility`), less what may pass until it is asked to.
pub const LONGEST_WAIT: Duration = Duration::from_secs(12 * 60 * 60 - 600);

/// Nothing expires silently: what is older is dead-lettered. SQS deletes it after 7 days, and may hide it for half a day.
pub const LONGEST_LIFE: Duration = Duration::from_secs(6 * 24 * 60 * 60);

/// Times are whole seconds on SQS's side, so a message may come this much before its point.
const ROUNDING: Duration = Duration::from_secs(1);

/// While a receiver asks to wait, at least this often it is asked again.
const LONGEST_PAUSE: Duration = Duration::from_secs(15 * 60);

/// Where it goes on asking for longer than the schedule lasts.
const LATE_PAUSE: Duration = Duration::from_secs(60 * 60);

/// The schedule of one delivery. Its jitter comes from the delivery's identity, so that every receive knows the same
/// points.
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    jitter: u64,
    max_attempts: u32,
}

impl Schedule {
    /// `identity` tells deliveries apart, such as webhook-id and destination.
    pub fn new(identity: (&str, &str), max_attempts: u32) -> Self {
        let mut hasher = DefaultHasher::new();
        identity.hash(&mut hasher);
        Self { jitter: hasher.finish(), max_attempts }
    }

    /// The attempts after the first: number, and when it is due after writing.
    fn points(self) -> impl Iterator<Item = (u32, Duration)> {
        let mut due = Duration::ZERO;
        (2..=self.max_attempts).zip(WAITS_SECONDS).map(move |(number, wait)| {
            let wait = Duration::from_secs(wait);
            due += wait;
            // 20 % of the wait, earlier to later; it does not move the points after it.
            let share = u32::try_from(self.jitter.rotate_left(number * 5) % 255).unwrap_or(127);
            (number, due.saturating_sub(wait / 5) + wait * 2 / 5 * share / 254)
        })
    }

    /// The number of the attempt that is made `elapsed` after writing.
    pub fn attempt(self, elapsed: Duration) -> u32 {
        self.points().take_while(|(_, due)| elapsed + ROUNDING >= *due).last().map_or(1, |(number, _)| number)
    }

    /// The wait for the next attempt, at least `at_least`; nothing when the schedule is over.
    pub fn next_attempt(self, elapsed: Duration, at_least: Duration) -> Option<Duration> {
        let (_, due) = self.points().find(|(_, due)| elapsed + ROUNDING < *due)?;
        Some(whole_seconds(due.saturating_sub(elapsed).max(at_least)))
    }

    /// When the last attempt is due, after writing.
    pub fn end(self) -> Duration {
        self.points().last().map_or(Duration::ZERO, |(_, due)| due)
    }

    /// The wait where a receiver or the operator asks for one (back-pressure), at least `at_least`. It never ends.
    pub fn pause(self, elapsed: Duration, at_least: Duration) -> Duration {
        let usual = self.next_attempt(elapsed, Duration::ZERO).map_or(LATE_PAUSE, |wait| wait.min(LONGEST_PAUSE));
        let wait = usual.max(at_least);
        // Upwards only: less than was asked for would be met by the same answer.
        whole_seconds(wait + wait / 10 * u32::try_from(self.jitter % 256).unwrap_or(0) / 255)
    }
}

/// Whole seconds, never at once, and no more than SQS takes.
pub fn whole_seconds(wait: Duration) -> Duration {
    let seconds = wait.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX);
    Duration::from_secs(seconds).clamp(Duration::from_secs(1), LONGEST_WAIT)
}

/// How long a message stays hidden after a fault of ours: 30 s, doubling to an hour.
pub fn after_our_fault(receive_count: u32) -> Duration {
    Duration::from_secs(30 << receive_count.saturating_sub(1).min(7)).min(Duration::from_secs(3600))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Duration = Duration::ZERO;
    const HOUR: u64 = 3600;

    fn schedule(id: &str) -> Schedule {
        Schedule::new((id, "soc"), MAX_ATTEMPTS)
    }

    #[test]
    fn twelve_attempts_over_twenty_hours_whatever_the_jitter() {
        for id in ["a", "b", "c", "0", "d41d8cd98f00b204e9800998ecf8427e"] {
            let (schedule, mut elapsed, mut attempts) = (schedule(id), NONE, 1);
            while let Some(wait) = schedule.next_attempt(elapsed, NONE) {
                elapsed += wait;
                attempts += 1;
                assert_eq!(schedule.attempt(elapsed), attempts, "{id}: after {elapsed:?}");
            }
            assert_eq!(attempts, 12);
            assert!((18..=22).contains(&(elapsed.as_secs() / HOUR)), "{elapsed:?}");
            assert!(elapsed.abs_diff(schedule.end()) <= Duration::from_secs(1));
        }
    }

    #[test]
    fn each_wait_is_within_a_fifth_of_its_length() {
        let mut seen = std::collections::HashSet::new();
        for id in 0..200 {
            let wait = schedule(&id.to_string()).next_attempt(NONE, NONE).unwrap().as_secs();
            assert!((8..=12).contains(&wait), "{wait}");
            seen.insert(wait);
        }
        assert!(seen.len() >= 4, "{seen:?}");
    }

    #[test]
    fn the_schedule_is_anchored_and_skips_what_has_passed() {
        let schedule = schedule("a");
        // Throttled for an hour: the next point ahead, not the next in turn.
        assert_eq!(schedule.attempt(Duration::from_secs(HOUR)), 7);
        let next = schedule.next_attempt(Duration::from_secs(HOUR), NONE).unwrap().as_secs();
        assert!((6760 - 720 - HOUR..=6760 + 720 - HOUR).contains(&next), "{next}");
        // A duplicate receive after an attempt leads to the same point.
        let (at, later) = (Duration::from_secs(100), Duration::from_secs(105));
        let point = |elapsed: Duration| elapsed + schedule.next_attempt(elapsed, NONE).unwrap();
        assert_eq!(point(at), point(later));
    }

    #[test]
    fn a_receiver_may_ask_for_more_but_not_for_ever() {
        let wait = |at_least| schedule("a").next_attempt(NONE, at_least);
        assert_eq!(wait(Duration::from_secs(600)), Some(Duration::from_secs(600)));
        assert!(wait(Duration::from_secs(5)).unwrap() >= Duration::from_secs(8));
        assert_eq!(wait(Duration::MAX), Some(LONGEST_WAIT));
    }

    #[test]
    fn fewer_attempts_cut_the_schedule() {
        let cut = |max_attempts| Schedule::new(("a", "soc"), max_attempts);
        assert_eq!((cut(1).next_attempt(NONE, NONE), cut(1).end()), (None, NONE));
        assert!(cut(2).next_attempt(NONE, NONE).is_some());
        assert_eq!(cut(2).next_attempt(Duration::from_secs(13), NONE), None);
        assert_eq!(cut(12).next_attempt(Duration::from_secs(1_000_000), NONE), None);
    }

    #[test]
    fn back_pressure_never_ends_and_waits_no_less_than_asked() {
        let pause = |elapsed, at_least| {
            schedule("a").pause(Duration::from_secs(elapsed), Duration::from_secs(at_least)).as_secs()
        };
        assert!((60..=66).contains(&pause(0, 60)), "{}", pause(0, 60));
        assert!((900..=990).contains(&pause(10 * HOUR, 60)));
        assert!((3600..=3960).contains(&pause(40 * HOUR, 60)));
        assert!((7200..=7920).contains(&pause(0, 7200)));
        assert_eq!(pause(0, 1_000_000), LONGEST_WAIT.as_secs());
    }

    #[test]
    fn our_own_faults_wait_longer_each_time_up_to_an_hour() {
        let seconds: Vec<_> = [0, 1, 2, 3, 7, 8, 50].map(|count| after_our_fault(count).as_secs()).into();
        assert_eq!(seconds, [30, 30, 60, 120, 1920, 3600, 3600]);
    }

    #[test]
    fn each_point_has_a_jitter_of_its_own() {
        let points = |jitter| Schedule { jitter, max_attempts: 4 }.points().map(|(_, due)| due.as_millis());
        assert_eq!(points(0).collect::<Vec<_>>(), [8000, 34_000, 136_000], "a fifth earlier");
        assert_eq!(points(1).collect::<Vec<_>>(), [8062, 40_047, 139_023]);
    }

    #[test]
    fn a_message_may_come_a_second_before_its_point() {
        let schedule = Schedule { jitter: 0, max_attempts: 3 };
        let times = [6999, 7000].map(Duration::from_millis);
        assert_eq!(times.map(|at| schedule.attempt(at)), [1, 2]);
        assert_eq!(times.map(|at| schedule.next_attempt(at, NONE).unwrap().as_secs()), [2, 27]);
    }

    #[test]
    fn a_pause_is_up_to_a_tenth_longer_than_asked() {
        let pause = |jitter| Schedule { jitter, max_attempts: 12 }.pause(NONE, Duration::from_secs(100)).as_secs();
        assert_eq!([0, 255, 256].map(pause), [100, 110, 100]);
        assert_eq!((LONGEST_WAIT.as_secs(), LONGEST_LIFE.as_secs()), (42_600, 518_400));
    }
}
