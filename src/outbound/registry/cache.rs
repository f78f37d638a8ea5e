//! What was looked up, for as long as it may be used.
//!
//! Look-ups of the same thing at the same time share one request. While the store is down, what was known serves on.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use crate::telemetry;

/// How long known entries serve while their store cannot be read.
const STALE_FOR: Duration = Duration::from_secs(15 * 60);

/// While known entries serve, the store is asked again at most this often: each question may cost seconds.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// Entries beyond which old ones are dropped when a new one comes.
const MANY: usize = 10_000;

/// Values by key, each looked up anew after a time.
#[derive(Debug)]
pub(super) struct Cache<V> {
    /// Said in the warning when entries serve although their store is down.
    what: &'static str,
    ttl: Duration,
    entries: Mutex<HashMap<String, Arc<Entry<V>>>>,
}

/// The lock of an entry is held while it is looked up, so that everybody else waits for the same answer.
type Entry<V> = tokio::sync::Mutex<State<V>>;

#[derive(Debug)]
struct State<V> {
    known: Option<Looked<V>>,
    failed: Option<(String, SystemTime)>,
    /// When it was last looked up out of turn.
    refreshed: Option<SystemTime>,
}

/// Times are the wall clock's: a monotonic clock may stand still while Lambda has frozen the process.
#[derive(Debug)]
struct Looked<V> {
    value: V,
    began: SystemTime,
    ended: SystemTime,
}

/// How new a value must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    /// Known for less than the time to live; for longer while the store is down.
    Usable,
    /// The same, but looked up anew once per time to live, whoever asks.
    Refreshed,
    /// As it is now. While the store is down there is none.
    Current,
}

/// A value, and why it is an old one, if it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known<V> {
    pub(super) value: V,
    /// The store cannot be read: nothing final may be concluded from what this value does not have.
    pub(super) stale: Option<String>,
}

impl<V: Clone> Cache<V> {
    pub(super) fn new(what: &'static str, ttl: Duration) -> Self {
        Self { what, ttl, entries: Mutex::default() }
    }

    /// The value of a key, looked up where it is not known well enough.
    pub(super) async fn get(
        &self,
        key: &str,
        want: Want,
        look_up: impl Future<Output = Result<V, String>>,
    ) -> Result<Known<V>, String> {
        let asked = SystemTime::now();
        let entry = self.entry(key);
        let mut state = entry.lock().await;
        let will_do = |known: &&Looked<V>| match want {
            // One that was looked up while this one waited for it is shared, however short the time to live.
            Want::Usable => age(known.ended) < self.ttl || known.ended >= asked,
            Want::Refreshed => state.refreshed.is_some_and(|at| age(at) < self.ttl) || known.ended >= asked,
            Want::Current => known.began >= asked,
        };
        if let Some(known) = state.known.as_ref().filter(will_do) {
            return Ok(Known { value: known.value.clone(), stale: None });
        }
        let old = state.known.as_ref().filter(|known| age(known.ended) < self.ttl + STALE_FOR);
        let old = old.filter(|_| want != Want::Current).map(|known| known.value.clone());
        if let Some((reason, at)) = &state.failed {
            // It failed while this one waited for it, or moments ago.
            match &old {
                Some(value) if age(*at) < ASK_AGAIN => {
                    return Ok(Known { value: value.clone(), stale: Some(reason.clone()) });
                }
                None if *at >= asked => return Err(reason.clone()),
                _ => {}
            }
        }
        let began = SystemTime::now();
        if want != Want::Usable {
            state.refreshed = Some(began);
        }
        match look_up.await {
            Ok(value) => {
                state.failed = None;
                state.known = Some(Looked { value: value.clone(), began, ended: SystemTime::now() });
                Ok(Known { value, stale: None })
            }
            Err(reason) => {
                state.failed = Some((reason.clone(), SystemTime::now()));
                let Some(value) = old else { return Err(reason) };
                telemetry::serving_stale(self.what, &reason);
                Ok(Known { value, stale: Some(reason) })
            }
        }
    }

    fn entry(&self, key: &str) -> Arc<Entry<V>> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= MANY && !entries.contains_key(key) {
            // Those in use are held by somebody else as well.
            entries.retain(|_, entry| {
                Arc::strong_count(entry) > 1 || entry.try_lock().is_ok_and(|state| state.is_recent(self.ttl))
            });
        }
        entries.entry(key.to_owned()).or_insert_with(|| Arc::new(Entry::new(State::default()))).clone()
    }
}

impl<V> Default for State<V> {
    fn default() -> Self {
        Self { known: None, failed: None, refreshed: None }
    }
}

impl<V> State<V> {
    fn is_recent(&self, ttl: Duration) -> bool {
        self.known.as_ref().is_some_and(|known| age(known.ended) < ttl)
    }
}

/// A clock that was set back makes everything old, so that it is looked up again.
fn age(at: SystemTime) -> Duration {
    at.elapsed().unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// Counts its calls; each gives the next number.
    #[derive(Default)]
    struct Store {
        calls: AtomicU32,
        down: std::sync::atomic::AtomicBool,
    }

    impl Store {
        async fn look_up(&self) -> Result<u32, String> {
            let call = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
            tokio::task::yield_now().await;
            if self.down.load(Ordering::Relaxed) { Err(format!("down at call {call}")) } else { Ok(call) }
        }
    }

    fn fresh(value: u32) -> Known<u32> {
        Known { value, stale: None }
    }

    #[tokio::test]
    async fn look_ups_at_the_same_time_share_one_request_and_its_failure() {
        for ttl in [Duration::ZERO, Duration::from_secs(60)] {
            let (cache, store) = (Cache::new("x", ttl), Store::default());
            let (a, b, c) = tokio::join!(
                cache.get("k", Want::Usable, store.look_up()),
                cache.get("k", Want::Usable, store.look_up()),
                cache.get("other", Want::Usable, store.look_up())
            );
            assert_eq!((a, b, c), (Ok(fresh(1)), Ok(fresh(1)), Ok(fresh(2))));

            store.down.store(true, Ordering::Relaxed);
            let (a, b) = tokio::join!(
                cache.get("new", Want::Usable, store.look_up()),
                cache.get("new", Want::Usable, store.look_up())
            );
            assert_eq!((a, b), (Err("down at call 3".into()), Err("down at call 3".into())));
            // A later question is asked again: nothing is known that could serve.
            assert_eq!(cache.get("new", Want::Usable, store.look_up()).await, Err("down at call 4".into()));
        }
    }

    #[tokio::test]
    async fn known_entries_serve_on_while_the_store_is_down_and_are_called_stale() {
        let (cache, store) = (Cache::new("x", Duration::ZERO), Store::default());
        assert_eq!(cache.get("k", Want::Usable, store.look_up()).await, Ok(fresh(1)));
        assert_eq!(cache.get("k", Want::Usable, store.look_up()).await, Ok(fresh(2)));
        store.down.store(true, Ordering::Relaxed);
        let stale = Ok(Known { value: 2, stale: Some("down at call 3".into()) });
        for want in [Want::Usable, Want::Refreshed, Want::Usable] {
            assert_eq!(cache.get("k", want, store.look_up()).await, stale);
        }
        // Asked once, and then left alone for a while.
        assert_eq!(store.calls.load(Ordering::Relaxed), 3);
    }

    #[tokio::test]
    async fn what_must_be_current_is_looked_up_each_time_and_never_old() {
        let (cache, store) = (Cache::new("x", Duration::from_secs(60)), Store::default());
        for call in 1..=3 {
            assert_eq!(cache.get("k", Want::Current, store.look_up()).await, Ok(fresh(call)));
        }
        store.down.store(true, Ordering::Relaxed);
        assert_eq!(cache.get("k", Want::Current, store.look_up()).await, Err("down at call 4".into()));
        assert_eq!(cache.get("k", Want::Usable, store.look_up()).await, Ok(fresh(3)));
    }

    #[tokio::test]
    async fn a_refresh_looks_up_once_per_time_to_live() {
        let (cache, store) = (Cache::new("x", Duration::from_secs(60)), Store::default());
        assert_eq!(cache.get("k", Want::Usable, store.look_up()).await, Ok(fresh(1)));
        for _ in 0..3 {
            assert_eq!(cache.get("k", Want::Refreshed, store.look_up()).await, Ok(fresh(2)));
        }
        assert_eq!(cache.get("k", Want::Usable, store.look_up()).await, Ok(fresh(2)));
    }
}
