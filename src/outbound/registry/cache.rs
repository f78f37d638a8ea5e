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
    /// Times are the wall clock's: a monotonic clock may stand still while Lambda has frozen the process.
    known: Option<(V, SystemTime)>,
    failed: Option<(String, SystemTime)>,
    /// When it was last looked up out of turn.
    refreshed: Option<SystemTime>,
}

impl<V: Clone> Cache<V> {
    pub(super) fn new(what: &'static str, ttl: Duration) -> Self {
        Self { what, ttl, entries: Mutex::default() }
    }

    /// The value of a key, looked up if it is not known or known for too long.
    pub(super) async fn get(&self, key: &str, look_up: impl Future<Output = Result<V, String>>) -> Result<V, String> {
        let asked = SystemTime::now();
        let entry = self.entry(key);
        let mut state = entry.lock().await;
        if let Some((value, _)) = state.known.as_ref().filter(|(_, at)| age(*at) < self.ttl) {
            return Ok(value.clone());
        }
        self.look_up(&mut state, asked, look_up).await
    }

    /// The value of a key, looked up although it is fresh; at most once per time to live, whoever asks.
    pub(super) async fn refresh(
        &self,
        key: &str,
        look_up: impl Future<Output = Result<V, String>>,
    ) -> Result<V, String> {
        let asked = SystemTime::now();
        let entry = self.entry(key);
        let mut state = entry.lock().await;
        if let Some((value, _)) = state.known.as_ref().filter(|_| state.refreshed.is_some_and(|at| age(at) < self.ttl))
        {
            return Ok(value.clone());
        }
        state.refreshed = Some(asked);
        self.look_up(&mut state, asked, look_up).await
    }

    async fn look_up(
        &self,
        state: &mut State<V>,
        asked: SystemTime,
        look_up: impl Future<Output = Result<V, String>>,
    ) -> Result<V, String> {
        let old =
            state.known.as_ref().filter(|(_, at)| age(*at) < self.ttl + STALE_FOR).map(|(value, _)| value.clone());
        if let Some((reason, at)) = &state.failed {
            // It failed while this one waited for it, or moments ago.
            match &old {
                Some(value) if age(*at) < ASK_AGAIN => return Ok(value.clone()),
                None if *at >= asked => return Err(reason.clone()),
                _ => {}
            }
        }
        match look_up.await {
            Ok(value) => {
                state.failed = None;
                state.known = Some((value.clone(), SystemTime::now()));
                Ok(value)
            }
            Err(reason) => {
                state.failed = Some((reason.clone(), SystemTime::now()));
                let Some(value) = old else { return Err(reason) };
                telemetry::serving_stale(self.what, &reason);
                Ok(value)
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
        self.known.as_ref().is_some_and(|(_, at)| age(*at) < ttl)
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

    #[tokio::test]
    async fn look_ups_at_the_same_time_share_one_request_and_its_failure() {
        let (cache, store) = (Cache::new("x", Duration::from_secs(60)), Store::default());
        let (a, b, c) = tokio::join!(
            cache.get("k", store.look_up()),
            cache.get("k", store.look_up()),
            cache.get("other", store.look_up())
        );
        assert_eq!((a, b, c), (Ok(1), Ok(1), Ok(2)));

        store.down.store(true, Ordering::Relaxed);
        let (a, b) = tokio::join!(cache.get("new", store.look_up()), cache.get("new", store.look_up()));
        assert_eq!((a, b), (Err("down at call 3".into()), Err("down at call 3".into())));
        // A later question is asked again: nothing is known that could serve.
        assert_eq!(cache.get("new", store.look_up()).await, Err("down at call 4".into()));
    }

    #[tokio::test]
    async fn known_entries_serve_on_while_the_store_is_down() {
        let (cache, store) = (Cache::new("x", Duration::ZERO), Store::default());
        assert_eq!(cache.get("k", store.look_up()).await, Ok(1));
        assert_eq!(cache.get("k", store.look_up()).await, Ok(2));
        store.down.store(true, Ordering::Relaxed);
        for _ in 0..5 {
            assert_eq!(cache.get("k", store.look_up()).await, Ok(2));
        }
        // Asked once, and then left alone for a while.
        assert_eq!(store.calls.load(Ordering::Relaxed), 3);
    }

    #[tokio::test]
    async fn a_refresh_looks_up_once_per_time_to_live() {
        let (cache, store) = (Cache::new("x", Duration::from_secs(60)), Store::default());
        assert_eq!(cache.get("k", store.look_up()).await, Ok(1));
        for _ in 0..3 {
            assert_eq!(cache.refresh("k", store.look_up()).await, Ok(2));
        }
        assert_eq!(cache.get("k", store.look_up()).await, Ok(2));
    }
}
