//! What the parts of one attempt noticed: reqwest tells neither how far it came nor how long each part took.
//!
//! The parts run inside the attempt's own task, so a task-local reaches them all: the resolver, the connector and
//! the TLS session. The request's body is read in the connection's task, and takes the trace along.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

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
    certificate_expires: Option<SystemTime>,
    sending: bool,
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

    /// A request's body that tells when it is sent.
    pub(super) fn watch(&self, bytes: Bytes) -> Watched {
        Watched { bytes: Some(bytes), trace: self.clone() }
    }

    /// What the host led to.
    pub(super) fn addresses(&self) -> Vec<Address> {
        self.noticed().addresses
    }

    /// How far the attempt has come.
    pub(super) fn phase(&self) -> Phase {
        let noticed = self.noticed();
        match noticed {
            // Perhaps on a connection that became idle while the attempt's own was still being made.
            Noticed { sending: true, .. } => Phase::Response,
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

    /// When the server's certificate expires; nothing without TLS, and on a session that was resumed.
    #[cfg_attr(not(test), expect(dead_code, reason = "for the report of a probe"))]
    pub(super) fn certificate_expires(&self) -> Option<SystemTime> {
        self.noticed().certificate_expires
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

pub(super) fn certificate_expires(at: SystemTime) {
    Trace::note(|noticed| noticed.certificate_expires = Some(at));
}

/// A request's body. A connection asks for it once the head is written.
pub(super) struct Watched {
    bytes: Option<Bytes>,
    trace: Trace,
}

impl Body for Watched {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.trace.0.lock().unwrap_or_else(PoisonError::into_inner).sending = true;
        Poll::Ready(self.bytes.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    /// Exact, so that the request has a `Content-Length`.
    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_sent_on_another_connection_than_its_own_may_have_arrived() {
        let trace = Trace::default();
        let mut body = trace.watch(Bytes::from_static(b"{}"));
        assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(2), false));
        trace.clone().scope(async { connecting() }).await;
        assert_eq!(trace.phase(), Phase::Connect);
        let frame = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await;
        assert_eq!(frame.unwrap().unwrap().into_data().unwrap(), "{}");
        assert_eq!(trace.phase(), Phase::Response);
        assert!(body.is_end_stream());
    }
}
