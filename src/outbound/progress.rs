//! How far an attempt came, and how long each part took: reqwest tells neither.
//!
//! The resolver, the connector and the TLS session run in the attempt's own task, so a task-local reaches them all. The
//! request's body is read in the connection's task, and carries the progress along.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use crate::domain::attempt::{Address, Timings};

tokio::task_local! {
    static CURRENT: Progress;
}

/// The part of an attempt that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Dns,
    Connect,
    Handshake,
    Response,
}

/// Shared by an attempt and the parts that serve it.
#[derive(Clone, Default)]
pub(super) struct Progress(Arc<Mutex<Steps>>);

#[derive(Default, Clone)]
#[allow(clippy::struct_excessive_bools, reason = "each was steps or not, whatever the others")]
struct Steps {
    addresses: Vec<Address>,
    dns: Option<Duration>,
    resolving_since: Option<Instant>,
    connecting_since: Option<Instant>,
    connected: Option<(Instant, Duration)>,
    handshake_since: Option<Instant>,
    client_certificate: bool,
    self_signed: bool,
    about_an_intermediate: bool,
    certificate_expires: Option<SystemTime>,
    sending: bool,
}

impl Progress {
    /// Runs an attempt so that its parts can note what they see.
    pub(super) fn scope<F: Future>(self, attempt: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(self, attempt)
    }

    fn steps(&self) -> Steps {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(change: impl FnOnce(&mut Steps)) {
        // Outside an attempt there is nobody to tell: the pool may finish a connection that nobody waits for.
        let _ = CURRENT.try_with(|progress| change(&mut progress.0.lock().unwrap_or_else(PoisonError::into_inner)));
    }

    /// A request's body that tells when it is sent.
    pub(super) fn watch(&self, bytes: Bytes) -> Watched {
        Watched { bytes: Some(bytes), progress: self.clone() }
    }

    /// What the host led to.
    pub(super) fn addresses(&self) -> Vec<Address> {
        self.steps().addresses
    }

    /// How far the attempt has come.
    pub(super) fn phase(&self) -> Phase {
        let steps = self.steps();
        match steps {
            // Perhaps on a connection that became idle while the attempt's own was still being made.
            Steps { sending: true, .. } => Phase::Response,
            Steps { resolving_since: Some(_), dns: None, .. } => Phase::Dns,
            Steps { connected: None, handshake_since: Some(_), .. } => Phase::Handshake,
            Steps { connected: None, connecting_since: Some(_), .. } => Phase::Connect,
            // Connected, or on a connection that was open already.
            _ => Phase::Response,
        }
    }

    /// Whether the request goes out on a connection that was open already.
    pub(super) fn is_reused(&self) -> bool {
        self.steps().connecting_since.is_none()
    }

    /// Whether the endpoint's certificate is signed by its own key.
    pub(super) fn is_self_signed(&self) -> bool {
        self.steps().self_signed
    }

    /// Whether the dates of the endpoint's own certificate are right, and those of one above it are not.
    pub(super) fn is_about_an_intermediate(&self) -> bool {
        self.steps().about_an_intermediate
    }

    pub(super) fn certificate_expires(&self) -> Option<SystemTime> {
        self.steps().certificate_expires
    }

    /// Whether the server asked for a client certificate.
    pub(super) fn client_certificate_demanded(&self) -> bool {
        self.steps().client_certificate
    }

    pub(super) fn timings(&self, started: Instant, head_arrived: bool) -> Timings {
        let steps = self.steps();
        let total = started.elapsed();
        let less_dns = |took: Duration| took.saturating_sub(steps.dns.unwrap_or_default());
        let connected_at = steps.connected.map_or(started, |(at, _)| at);
        Timings {
            dns: steps.dns,
            connect: steps.connected.map(|(_, took)| less_dns(took)),
            first_byte: head_arrived.then(|| connected_at.elapsed()),
            total,
        }
    }
}

pub(super) fn connecting() {
    Progress::note(|steps| steps.connecting_since = Some(Instant::now()));
}

pub(super) fn connected() {
    Progress::note(|steps| {
        steps.connected = steps.connecting_since.map(|since| (Instant::now(), since.elapsed()));
    });
}

pub(super) fn resolving() {
    Progress::note(|steps| steps.resolving_since = Some(Instant::now()));
}

pub(super) fn resolved() {
    Progress::note(|steps| steps.dns = steps.resolving_since.map(|since| since.elapsed()));
}

pub(super) fn led_to(addresses: impl Iterator<Item = Address>) {
    Progress::note(|steps| steps.addresses.extend(addresses));
}

pub(super) fn handshake_begun() {
    // Of several addresses, the last one tried.
    Progress::note(|steps| steps.handshake_since = Some(Instant::now()));
}

pub(super) fn client_certificate_demanded() {
    Progress::note(|steps| steps.client_certificate = true);
}

pub(super) fn self_signed() {
    Progress::note(|steps| steps.self_signed = true);
}

pub(super) fn about_an_intermediate() {
    Progress::note(|steps| steps.about_an_intermediate = true);
}

pub(super) fn certificate_expires(at: SystemTime) {
    Progress::note(|steps| steps.certificate_expires = Some(at));
}

/// A request's body. A connection asks for it once the head is written.
pub(super) struct Watched {
    bytes: Option<Bytes>,
    progress: Progress,
}

impl Body for Watched {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.progress.0.lock().unwrap_or_else(PoisonError::into_inner).sending = true;
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
        let progress = Progress::default();
        let mut body = progress.watch(Bytes::from_static(b"{}"));
        assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(2), false));
        progress.clone().scope(async { connecting() }).await;
        assert_eq!(progress.phase(), Phase::Connect);
        let frame = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await;
        assert_eq!(frame.unwrap().unwrap().into_data().unwrap(), "{}");
        assert_eq!(progress.phase(), Phase::Response);
        assert!(body.is_end_stream());
    }
}
