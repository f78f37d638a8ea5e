//! How far an attempt came, and how long each part took: reqwest tells neither.
//!
//! The resolver, the connector and the TLS session run in the attempt's own task, so a task-local reaches them all. The
//! request's body is read in the connection's task, and carries the progress along.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
pub(super) enum Part {
    Dns,
    Connect,
    Handshake,
    Response,
}

/// Shared by an attempt and the parts that serve it.
#[derive(Clone, Default)]
pub(super) struct Progress(Arc<Mutex<Steps>>);

/// What the parts of an attempt saw.
#[derive(Default, Clone)]
#[allow(clippy::struct_excessive_bools, reason = "each was seen or not, whatever the others")]
pub(super) struct Steps {
    /// What the host led to.
    pub(super) addresses: Vec<Address>,
    dns: Option<Duration>,
    resolving_since: Option<Instant>,
    connecting_since: Option<Instant>,
    connected: Option<(Instant, Duration)>,
    /// Whether a handshake began.
    pub(super) handshaking: bool,
    /// Whether the server asked for a client certificate.
    pub(super) client_certificate: bool,
    /// Whether the endpoint's certificate is signed by its own key.
    pub(super) self_signed: bool,
    /// Whether the dates of the endpoint's own certificate are right, and those of one above it are not.
    pub(super) about_an_intermediate: bool,
    pub(super) certificate_expires: Option<SystemTime>,
    sending: bool,
}

impl Progress {
    /// Runs an attempt so that its parts can note what they see.
    pub(super) fn scope<F: Future>(self, attempt: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(self, attempt)
    }

    pub(super) fn steps(&self) -> Steps {
        self.lock().clone()
    }

    /// A request's body that tells when it is sent.
    pub(super) fn watch(&self, bytes: Bytes) -> Watched {
        Watched { bytes: Some(bytes), progress: self.clone() }
    }

    fn lock(&self) -> MutexGuard<'_, Steps> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes note of what a part of the current attempt sees.
pub(super) fn note(change: impl FnOnce(&mut Steps)) {
    // Outside an attempt there is nobody to tell: the pool may finish a connection that nobody waits for.
    let _ = CURRENT.try_with(|progress| change(&mut progress.lock()));
}

impl Steps {
    pub(super) fn resolving(&mut self) {
        self.resolving_since = Some(Instant::now());
    }

    pub(super) fn resolved(&mut self) {
        self.dns = self.resolving_since.map(|since| since.elapsed());
    }

    pub(super) fn connecting(&mut self) {
        self.connecting_since = Some(Instant::now());
    }

    pub(super) fn connected(&mut self) {
        self.connected = self.connecting_since.map(|since| (Instant::now(), since.elapsed()));
    }

    pub(super) fn part(&self) -> Part {
        match self {
            // Perhaps on a connection that became idle while the attempt's own was still being made.
            Self { sending: true, .. } => Part::Response,
            Self { resolving_since: Some(_), dns: None, .. } => Part::Dns,
            Self { connected: None, handshaking: true, .. } => Part::Handshake,
            Self { connected: None, connecting_since: Some(_), .. } => Part::Connect,
            // Connected, or on a connection that was open already.
            _ => Part::Response,
        }
    }

    /// Whether the request goes out on a connection that was open already.
    pub(super) fn is_reused(&self) -> bool {
        self.connecting_since.is_none()
    }

    pub(super) fn timings(&self, started: Instant, head_arrived: bool) -> Timings {
        let less_dns = |took: Duration| took.saturating_sub(self.dns.unwrap_or_default());
        let connected_at = self.connected.map_or(started, |(at, _)| at);
        Timings {
            dns: self.dns,
            connect: self.connected.map(|(_, took)| less_dns(took)),
            first_byte: head_arrived.then(|| connected_at.elapsed()),
            total: started.elapsed(),
        }
    }
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
        self.progress.lock().sending = true;
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
        progress.clone().scope(async { note(Steps::connecting) }).await;
        assert_eq!(progress.steps().part(), Part::Connect);
        let frame = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await;
        assert_eq!(frame.unwrap().unwrap().into_data().unwrap(), "{}");
        assert_eq!(progress.steps().part(), Part::Response);
        assert!(body.is_end_stream());
    }
}
