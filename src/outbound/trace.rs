//! What the parts of one attempt noticed: reqwest tells neither how far it came nor how long each part took.
//!
//! The parts run inside the attempt's own task, so a task-local reaches them all: the resolver, the connector and
//! the TLS session.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::domain::attempt::{Address, Phase, Timings};

tokio::task_local! {
    static TRACE: Trace;
}

/// Shared by an attempt and the parts that serve it.
#[derive(Clone, Default)]
pub(super) struct Trace(Arc<Mutex<Noticed>>);

#[derive(Default, Clone)]
struct Noticed {
    addresses: Vec<Address>,
    dns: Option<Duration>,
    resolving_since: Option<Instant>,
    connecting_since: Option<Instant>,
    connected: Option<(Instant, Duration)>,
    handshake_since: Option<Instant>,
    client_certificate: bool,
}

impl Trace {
    /// Runs an attempt so that its parts can note what they see.
    pub(super) async fn scope<F: Future>(self, attempt: F) -> F::Output {
        TRACE.scope(self, attempt).await
    }

    fn noticed(&self) -> Noticed {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(change: impl FnOnce(&mut Noticed)) {
        // Outside an attempt there is nobody to tell: the pool may finish a connection that nobody waits for.
        let _ = TRACE.try_with(|trace| change(&mut trace.0.lock().unwrap_or_else(PoisonError::into_inner)));
    }

    /// What the host led to.
    pub(super) fn addresses(&self) -> Vec<Address> {
        self.noticed().addresses
    }

    /// How far the attempt has come.
    pub(super) fn phase(&self) -> Phase {
        let noticed = self.noticed();
        match noticed {
            Noticed { resolving_since: Some(_), dns: None, .. } => Phase::Dns,
            Noticed { connected: None, handshake_since: Some(_), .. } => Phase::Handshake,
            Noticed { connected: None, connecting_since: Some(_), .. } => Phase::Connect,
            // Connected, or on a connection that was open already.
            _ => Phase::Response,
        }
    }

    /// Whether the server asked for a client certificate.
    pub(super) fn client_certificate_demanded(&self) -> bool {
        self.noticed().client_certificate
    }

    pub(super) fn timings(&self, started: Instant, head_arrived: bool) -> Timings {
        let noticed = self.noticed();
        let total = started.elapsed();
        let less_dns = |took: Duration| took.saturating_sub(noticed.dns.unwrap_or_default());
        let connected_at = noticed.connected.map_or(started, |(at, _)| at);
        Timings {
            dns: noticed.dns,
            tcp: noticed.handshake_since.zip(noticed.connecting_since).map(|(end, since)| end - since).map(less_dns),
            connect: noticed.connected.map(|(_, took)| less_dns(took)),
            first_byte: head_arrived.then(|| connected_at.elapsed()),
            total,
        }
    }
}

pub(super) fn connecting() {
    Trace::note(|noticed| noticed.connecting_since = Some(Instant::now()));
}

pub(super) fn connected() {
    Trace::note(|noticed| {
        noticed.connected = noticed.connecting_since.map(|since| (Instant::now(), since.elapsed()));
    });
}

pub(super) fn resolving() {
    Trace::note(|noticed| noticed.resolving_since = Some(Instant::now()));
}

pub(super) fn resolved() {
    Trace::note(|noticed| noticed.dns = noticed.resolving_since.map(|since| since.elapsed()));
}

pub(super) fn led_to(addresses: impl Iterator<Item = Address>) {
    Trace::note(|noticed| noticed.addresses.extend(addresses));
}

pub(super) fn handshake_begun() {
    // Of several addresses, the last one tried.
    Trace::note(|noticed| noticed.handshake_since = Some(Instant::now()));
}

pub(super) fn client_certificate_demanded() {
    Trace::note(|noticed| noticed.client_certificate = true);
}
