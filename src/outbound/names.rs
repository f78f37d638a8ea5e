//! Host names, looked up by the system's resolver (`getaddrinfo`) on threads of their own.
//!
//! `getaddrinfo` cannot be cancelled: of an attempt that stops waiting, a thread goes on until the name servers answer
//! or time out. So look-ups of one name share one call, and few names are looked up at once.
//! An asynchronous resolver (hickory) needs no threads, but brings some 40 crates and reads `/etc` in its own way.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};

/// Names that are looked up at once. tokio has 512 threads for what blocks, and the registry's file needs one as well.
const AT_ONCE: usize = 64;

/// The process's look-ups: all its clients share the threads.
pub(super) static NAMES: LazyLock<Arc<Names>> =
    LazyLock::new(|| Names::new(|name| Ok((name, 0).to_socket_addrs()?.collect())));

/// A name leads to no address, or to none that may be dialled. The system gives its reason as text only, so one error
/// covers them all.
#[derive(Debug, thiserror::Error)]
#[error("the host name leads to no address that may be dialled")]
pub(super) struct NameUnresolved;

/// Look-ups that run, by name. A look-up is in it until its call has ended, whoever still waits for it.
pub(super) struct Names {
    system: fn(&str) -> io::Result<Vec<SocketAddr>>,
    running: Mutex<HashMap<String, watch::Receiver<Answer>>>,
    ended: Notify,
}

/// What a look-up found; nothing while it runs.
type Answer = Option<Result<Vec<SocketAddr>, ()>>;

impl Names {
    fn new(system: fn(&str) -> io::Result<Vec<SocketAddr>>) -> Arc<Self> {
        Arc::new(Self { system, running: Mutex::default(), ended: Notify::new() })
    }

    /// The addresses of a name, each with port 0. Panics where the system has no thread left for the look-up.
    pub(super) async fn addresses(self: &Arc<Self>, name: &str) -> Result<Vec<SocketAddr>, NameUnresolved> {
        let mut running = loop {
            // Made first, so that no end between the two is missed.
            let ended = self.ended.notified();
            if let Some(running) = self.join(name) {
                break running;
            }
            ended.await;
        };
        // The other side is dropped without an answer if the call panics.
        let answer = running.wait_for(Option::is_some).await.map_err(|_| NameUnresolved)?;
        answer.clone().and_then(Result::ok).ok_or(NameUnresolved)
    }

    /// The running look-up of a name, begun if there is none; nothing while as many names as may be are looked up.
    fn join(self: &Arc<Self>, name: &str) -> Option<watch::Receiver<Answer>> {
        let mut running = self.running();
        if let Some(receiver) = running.get(name) {
            return Some(receiver.clone());
        }
        if running.len() >= AT_ONCE {
            return None;
        }
        let (sender, receiver) = watch::channel(None);
        let (names, owned) = (self.clone(), name.to_owned());
        tokio::task::spawn_blocking(move || {
            // tokio keeps what it found no thread for, and may run it later: then nobody waits for it.
            if !sender.is_closed() {
                let call = Call { names, name: owned };
                let found = (call.names.system)(&call.name);
                sender.send_replace(Some(found.map_err(drop)));
            }
        });
        // Afterwards: where the system has no thread left, tokio panics above, and nobody may wait for this call.
        running.insert(name.to_owned(), receiver.clone());
        Some(receiver)
    }

    fn running(&self) -> MutexGuard<'_, HashMap<String, watch::Receiver<Answer>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call that runs. Dropping it makes room for another, after a panic as well.
struct Call {
    names: Arc<Names>,
    name: String,
}

impl Drop for Call {
    fn drop(&mut self) {
        self.names.running().remove(&self.name);
        self.names.ended.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use futures_util::future::join_all;

    const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

    async fn eventually(what: impl Fn() -> bool) {
        while !what() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn look_ups_of_one_name_share_one_call() {
        static CALLS: AtomicUsize = AtomicUsize::new(0);
        let names = Names::new(|name| {
            CALLS.fetch_add(1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(50));
            if name == "h" { Ok(vec![LOOPBACK]) } else { Err(io::ErrorKind::NotFound.into()) }
        });
        for found in join_all((0..100).map(|_| names.addresses("h"))).await {
            assert_eq!(found.unwrap(), [LOOPBACK]);
        }
        assert_eq!(CALLS.load(Ordering::SeqCst), 1);
        assert!(join_all((0..100).map(|_| names.addresses("none"))).await.iter().all(Result::is_err));
        assert_eq!(CALLS.load(Ordering::SeqCst), 2);
        // Nothing is remembered.
        names.addresses("h").await.unwrap();
        assert_eq!(CALLS.load(Ordering::SeqCst), 3);
    }

    #[tokio::test]
    async fn a_dropped_look_up_keeps_its_place_until_it_ends() {
        static GATE: Mutex<()> = Mutex::new(());
        static CALLS: AtomicUsize = AtomicUsize::new(0);
        let names = Names::new(|name| {
            CALLS.fetch_add(1, Ordering::SeqCst);
            if name != "later" {
                drop(GATE.lock());
            }
            Ok(vec![LOOPBACK])
        });
        let gate = GATE.lock();
        for n in 0..3 * AT_ONCE {
            let name = format!("{n}");
            let look_up = tokio::time::timeout(Duration::from_millis(1), names.addresses(&name));
            assert!(look_up.await.is_err());
        }
        eventually(|| CALLS.load(Ordering::SeqCst) == AT_ONCE).await;
        let later = tokio::spawn({
            let names = names.clone();
            async move { names.addresses("later").await }
        });
        // Of a name whose look-up runs, another attempt begins none.
        let again = tokio::time::timeout(Duration::from_millis(20), names.addresses("0"));
        assert!(again.await.is_err() && !later.is_finished());
        assert_eq!(CALLS.load(Ordering::SeqCst), AT_ONCE);
        drop(gate);
        later.await.unwrap().unwrap();
        eventually(|| names.running().is_empty()).await;
        assert_eq!(CALLS.load(Ordering::SeqCst), AT_ONCE + 1);
    }

    #[tokio::test]
    async fn a_panic_in_a_look_up_is_an_error_for_all_that_wait() {
        let names = Names::new(|name| if name == "bad" { panic!("as a test wants it") } else { Ok(vec![LOOPBACK]) });
        assert!(join_all((0..10).map(|_| names.addresses("bad"))).await.iter().all(Result::is_err));
        eventually(|| names.running().is_empty()).await;
        names.addresses("good").await.unwrap();
    }

    #[test]
    fn a_look_up_that_finds_no_thread_takes_no_place() {
        let names = Names::new(|_| Ok(vec![LOOPBACK]));
        // Outside of a runtime tokio panics as it does where the system has no thread left.
        for _ in 0..2 * AT_ONCE {
            let begun = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| names.join("h")));
            assert!(begun.is_err() && names.running().is_empty());
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert_eq!(runtime.block_on(names.addresses("h")).unwrap(), [LOOPBACK]);
    }
}
