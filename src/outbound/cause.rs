//! The HTTP client's error, turned into a typed cause. Only types are looked at, never text.

use std::error::Error;
use std::io;
use std::time::{Duration, SystemTime};

use rustls::{AlertDescription, CertificateError};

use super::guard::AddressBlocked;
use super::names::NameUnresolved;
use super::secrets::Secrets;
use super::trace::Trace;
use crate::domain::attempt::{Cause, ConnectCause, Phase, Sent, TlsCause};

/// Why there was no response, and whether the request may have arrived.
pub(super) fn cause(error: &(dyn Error + 'static), trace: &Trace, secrets: &Secrets) -> (Cause, Sent) {
    let phase = trace.phase();
    let chain = Chain(Some(error));
    if let Some(AddressBlocked(blocked)) = chain.clone().find_map(|error| error.downcast_ref()) {
        return (Cause::Refused(*blocked), Sent::Nothing);
    }
    if chain.clone().any(<dyn Error>::is::<NameUnresolved>) {
        return (Cause::Dns, Sent::Nothing);
    }
    if let Some(error) = chain.clone().find_map(|error| error.downcast_ref::<rustls::Error>()) {
        let cause = tls_cause(error, trace.client_certificate_demanded(), secrets);
        // A TLS 1.3 server judges the client's certificate after our side of the handshake is over: the request is
        // on its way, but nobody reads it.
        let nothing = phase != Phase::Response || cause == TlsCause::ClientCertificate;
        return (Cause::Tls(cause), if nothing { Sent::Nothing } else { Sent::Maybe });
    }
    let io = chain.clone().find_map(|error| error.downcast_ref::<io::Error>()).map(io::Error::kind);
    match phase {
        Phase::Dns => (Cause::Dns, Sent::Nothing),
        Phase::Connect => (Cause::Connect(connect_cause(io)), Sent::Nothing),
        Phase::Handshake if trace.client_certificate_demanded() => {
            (Cause::Tls(TlsCause::ClientCertificate), Sent::Nothing)
        }
        Phase::Handshake => (Cause::Tls(TlsCause::Cut), Sent::Nothing),
        Phase::Response => {
            let malformed = chain.clone().any(|error| error.downcast_ref().is_some_and(hyper::Error::is_parse));
            (if malformed { Cause::Malformed } else { Cause::Lost }, Sent::Maybe)
        }
    }
}

/// An error and what caused it. `io::Error::source` skips the error that it wraps, so that one is visited first.
#[derive(Clone)]
struct Chain<'a>(Option<&'a (dyn Error + 'static)>);

impl<'a> Iterator for Chain<'a> {
    type Item = &'a (dyn Error + 'static);

    fn next(&mut self) -> Option<Self::Item> {
        let error = self.0?;
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        self.0 = wrapped.map(|error| error as &(dyn Error + 'static)).or_else(|| error.source());
        Some(error)
    }
}

fn connect_cause(kind: Option<io::ErrorKind>) -> ConnectCause {
    match kind {
        Some(io::ErrorKind::ConnectionRefused) => ConnectCause::Refused,
        Some(io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe) => {
            ConnectCause::Reset
        }
        Some(io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable | io::ErrorKind::NetworkDown) => {
            ConnectCause::Unreachable
        }
        _ => ConnectCause::Other,
    }
}

fn tls_cause(error: &rustls::Error, client_certificate_demanded: bool, secrets: &Secrets) -> TlsCause {
    match error {
        rustls::Error::InvalidCertificate(error) => certificate_cause(error, secrets),
        // The first bytes of an HTTP/1.1 answer are no TLS record.
        rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType) => TlsCause::PlainHttp,
        rustls::Error::AlertReceived(AlertDescription::CertificateRequired) => TlsCause::ClientCertificate,
        rustls::Error::AlertReceived(_) if client_certificate_demanded => TlsCause::ClientCertificate,
        rustls::Error::PeerIncompatible(_)
        | rustls::Error::AlertReceived(
            AlertDescription::ProtocolVersion
            | AlertDescription::HandshakeFailure
            | AlertDescription::InsufficientSecurity,
        ) => TlsCause::Protocol,
        rustls::Error::AlertReceived(AlertDescription::CloseNotify | AlertDescription::UserCanceled) => TlsCause::Cut,
        // rustls's own enum is open: what it adds is a failed handshake until it is told apart here.
        _ => TlsCause::Other,
    }
}

fn certificate_cause(error: &CertificateError, secrets: &Secrets) -> TlsCause {
    let time = |time: &rustls::pki_types::UnixTime| SystemTime::UNIX_EPOCH + Duration::from_secs(time.as_secs());
    match error {
        CertificateError::ExpiredContext { not_after, .. } => TlsCause::Expired { not_after: time(not_after) },
        CertificateError::NotValidYetContext { not_before, .. } => {
            TlsCause::NotYetValid { not_before: time(not_before) }
        }
        // A private authority that was renewed under its old name is found by that name, and then its key does not fit.
        CertificateError::UnknownIssuer
        | CertificateError::BadSignature
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => TlsCause::UnknownIssuer,
        CertificateError::NotValidForNameContext { presented, .. } => {
            TlsCause::WrongName { presented: plain_names(presented, secrets) }
        }
        CertificateError::NotValidForName => TlsCause::WrongName { presented: Vec::new() },
        // Passed on without a name of its own.
        CertificateError::Other(other) if matches!(other.0.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity)) => {
            TlsCause::CaAsServer
        }
        _ => TlsCause::Certificate,
    }
}

/// The names are written as `DnsName("a.example")` and `IpAddress(10.0.0.1)`, and by the server's owner: they are cut
/// and cleaned.
fn plain_names(presented: &[String], secrets: &Secrets) -> Vec<String> {
    presented
        .iter()
        .map(|name| {
            let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(name);
            secrets.clean_name(inner.trim_matches('"'), 100)
        })
        .collect()
}
