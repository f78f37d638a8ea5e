//! What was looked up, for as long as it may be used.
//!
//! Look-ups of one key at the same time share one request. While the store cannot be read, known entries serve on
//! (stale-if-error, RFC 5861).

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use crate::domain::failure::Failure;
use crate::telemetry;

/// How long known entries serve while their store cannot be read.
const STALE_FOR: Duration = Duration::from_secs(15 * 60);

/// While known entries serve, the store is asked again at most this often: each question may cost seconds.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// What the cache may hold; the oldest entries make room.
const MAX_ENTRIES: usize = 10_000;
const MAX_BYTES: usize = 16 << 20;

/// Values by key, each looked up anew after a time.
#[derive(Debug)]
pub(super) struct Cache<V> {
    /// Said in the warning when entries serve although their store is down.
    what: &'static str,
    ttl: Duration,
    /// About how many bytes a value takes.
    size: fn(&V) -> usize,
    entries: Mutex<Entries<V>>,
}

#[derive(Debug)]
struct Entries<V> {
    by_key: HashMap<Arc<str>, Arc<Entry<V>>>,
    /// In the order in which they came, with the bytes that they take.
    order: VecDeque<(Arc<str>, usize)>,
    bytes: usize,
}

/// The lock of an entry is held while it is looked up, so that everybody else waits for the same answer.
type Entry<V> = tokio::sync::Mutex<State<V>>;

#[derive(Debug)]
struct State<V> {
    known: Option<Known<V>>,
    failed: Option<(Failure, SystemTime)>,
    /// When it was last refreshed out of turn.
    refreshed: Option<SystemTime>,
}

/// Times are the wall clock's: a monotonic clock may stand still while Lambda has frozen the process.
#[derive(Debug)]
struct Known<V> {
    value: V,
    began: SystemTime,
    ended: SystemTime,
}

/// A value, and why it is an old one, if it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cached<V> {
    pub(super) value: V,
    /// The store cannot be read: nothing final may be concluded from what this value does not have.
    pub(super) stale: Option<Failure>,
}

impl<V: Clone> Cache<V> {
    pub(super) fn new(what: &'static str, ttl: Duration, size: fn(&V) -> usize) -> Self {
        let entries = Entries { by_key: HashMap::new(), order: VecDeque::new(), bytes: 0 };
        Self { what, ttl, size, entries: Mutex::new(entries) }
    }

    /// The value of a key, no older than `max_age`, or older while the store cannot be read. With an age of zero it is
    /// always the store's own, or an error.
    pub(super) async fn get(
        &self,
        key: &str,
        max_age: Duration,
        look_up: impl Future<Output = Result<V, Failure>>,
    ) -> Result<Cached<V>, Failure> {
        let asked = SystemTime::now();
        let entry = self.entry(key);
        let mut state = entry.lock().await;
        let known = state.known.as_ref().filter(|known| {
            // One that was looked up while this one waited for it is shared, however small the age.
            age(known.ended) < max_age || known.began >= asked || (known.ended >= asked && !max_age.is_zero())
        });
        if let Some(known) = known {
            return Ok(Cached { value: known.value.clone(), stale: None });
        }
        let old = state.known.as_ref().filter(|known| !max_age.is_zero() && age(known.ended) < self.ttl + STALE_FOR);
        let old = old.map(|known| known.value.clone());
        if let Some((error, at)) = &state.failed {
            // It failed while this one waited for it, or moments ago.
            match &old {
                Some(value) if age(*at) < ASK_AGAIN => {
                    return Ok(Cached { value: value.clone(), stale: Some(error.clone()) });
                }
                None if *at >= asked => return Err(error.clone()),
                _ => {}
            }
        }
        let began = SystemTime::now();
        match look_up.await {
            Ok(value) => {
                self.weigh(key, (self.size)(&value));
                state.failed = None;
                state.known = Some(Known { value: value.clone(), began, ended: SystemTime::now() });
                Ok(Cached { value, stale: None })
            }
            Err(error) => {
                state.failed = Some((error.clone(), SystemTime::now()));
                let Some(value) = old else { return Err(error) };
                telemetry::serving_stale(self.what, &error);
                Ok(Cached { value, stale: Some(error) })
            }
        }
    }

    /// The same, looked up anew at most once per time to live, whoever asks: a rotated secret is found at once, and an
    /// endpoint that rejects everybody does not cause a look-up each time.
    pub(super) async fn refresh(
        &self,
        key: &str,
        look_up: impl Future<Output = Result<V, Failure>>,
    ) -> Result<Cached<V>, Failure> {
        let entry = self.entry(key);
        let mut state = entry.lock().await;
        let max_age = if state.refreshed.is_none_or(|at| age(at) >= self.ttl) {
            state.refreshed = Some(SystemTime::now());
            Duration::ZERO
        } else {
            Duration::MAX
        };
        drop(state);
        self.get(key, max_age, look_up).await
    }

    fn entry(&self, key: &str) -> Arc<Entry<V>> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = entries.by_key.get(key) {
            return entry.clone();
        }
        let (key, entry): (Arc<str>, _) =
            (key.into(), Arc::new(Entry::new(State { known: None, failed: None, refreshed: None })));
        entries.by_key.insert(key.clone(), entry.clone());
        entries.order.push_back((key, 0));
        entries.make_room();
        entry
    }

    /// Takes note of what a value takes, beside its key.
    fn weigh(&self, key: &str, size: usize) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let entries = &mut *entries;
        // New entries are at the end, and those that are looked up again move there.
        if let Some(index) = entries.order.iter().rposition(|(known, _)| &**known == key)
            && let Some((key, old)) = entries.order.remove(index)
        {
            let size = size + 2 * key.len();
            entries.bytes = entries.bytes - old + size;
            entries.order.push_back((key, size));
            entries.make_room();
        }
    }
}

impl<V> Entries<V> {
    fn make_room(&mut self) {
        while self.order.len() > 1 && (self.order.len() > MAX_ENTRIES || self.bytes > MAX_BYTES) {
            let Some((key, size)) = self.order.pop_front() else { return };
            self.by_key.remove(&key);
            self.bytes -= size;
        }
    }
}

/// A clock that was set back makes everything old, so that it is looked up again.
fn age(at: SystemTime) -> Duration {
    at.elapsed().unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::failure::Code;
    use std::sync::atomic::{AtomicU32, Ordering};

    const MINUTE: Duration = Duration::from_secs(60);

    /// Counts its calls; each gives the next number.
    #[derive(Default)]
    struct Store {
        calls: AtomicU32,
        down: std::sync::atomic::AtomicBool,
    }

    impl Store {
        async fn look_up(&self) -> Result<u32, Failure> {
            let call = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
            tokio::task::yield_now().await;
            if self.down.load(Ordering::Relaxed) { Err(down(call)) } else { Ok(call) }
        }
    }

    fn down(call: u32) -> Failure {
        Failure::new(Code::LookupFailed).with("problems", format!("down at call {call}"))
    }

    fn fresh(value: u32) -> Cached<u32> {
        Cached { value, stale: None }
    }

    fn cache(ttl: Duration) -> Cache<u32> {
        Cache::new("x", ttl, |_| 4)
    }

    #[tokio::test]
    async fn look_ups_at_the_same_time_share_one_request() {
        let (cache, store) = (cache(MINUTE), Store::default());
        let get = |key: &'static str| cache.get(key, MINUTE, store.look_up());
        let (a, b, c) = tokio::join!(get("k"), get("k"), get("other"));
        assert_eq!((a, b, c), (Ok(fresh(1)), Ok(fresh(1)), Ok(fresh(2))));
        store.down.store(true, Ordering::Relaxed);
        let (a, b) = tokio::join!(get("new"), get("new"));
        assert_eq!((a, b), (Err(down(3)), Err(down(3))));
        // A later question is asked again: nothing is known that could serve.
        assert_eq!(get("new").await, Err(down(4)));
    }

    #[tokio::test]
    async fn known_entries_serve_on_while_the_store_is_down() {
        let (cache, store) = (cache(Duration::from_nanos(1)), Store::default());
        let get = || cache.get("k", Duration::from_nanos(1), store.look_up());
        assert_eq!((get().await, get().await), (Ok(fresh(1)), Ok(fresh(2))));
        store.down.store(true, Ordering::Relaxed);
        for _ in 0..3 {
            assert_eq!(get().await, Ok(Cached { value: 2, stale: Some(down(3)) }));
        }
        // Asked once, and then left alone for a while.
        assert_eq!(store.calls.load(Ordering::Relaxed), 3);
    }

    #[tokio::test]
    async fn an_age_of_zero_is_looked_up_each_time_and_never_stale() {
        let (cache, store) = (cache(MINUTE), Store::default());
        for call in 1..=3 {
            assert_eq!(cache.get("k", Duration::ZERO, store.look_up()).await, Ok(fresh(call)));
        }
        store.down.store(true, Ordering::Relaxed);
        assert_eq!(cache.get("k", Duration::ZERO, store.look_up()).await, Err(down(4)));
        assert_eq!(cache.get("k", MINUTE, store.look_up()).await, Ok(fresh(3)));
    }

    #[tokio::test]
    async fn a_refresh_looks_up_once_per_time_to_live() {
        let (cache, store) = (cache(MINUTE), Store::default());
        assert_eq!(cache.get("k", MINUTE, store.look_up()).await, Ok(fresh(1)));
        for _ in 0..3 {
            assert_eq!(cache.refresh("k", store.look_up()).await, Ok(fresh(2)));
        }
        assert_eq!(cache.get("k", MINUTE, store.look_up()).await, Ok(fresh(2)));
    }

    #[tokio::test]
    async fn the_oldest_entries_make_room() {
        let cache: Cache<u32> = Cache::new("x", MINUTE, |_| 1 << 20);
        let store = Store::default();
        for key in 0..40 {
            cache.get(&key.to_string(), MINUTE, store.look_up()).await.unwrap();
        }
        let entries = cache.entries.lock().unwrap();
        assert!(entries.bytes <= MAX_BYTES && entries.by_key.len() == entries.order.len());
        assert!(entries.by_key.contains_key("39") && !entries.by_key.contains_key("0"));
    }
}
