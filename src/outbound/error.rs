//! The HTTP client's error, turned into a failure. Only types are looked at, never text.

use std::error::Error;
use std::io;
use std::time::{Duration, SystemTime};

use rustls::{AlertDescription, CertificateError};

use super::guard::{self, NameUnresolved};
use super::progress::{Part, Steps};
use super::redact::Secrets;
use crate::domain::failure::{Code, Failure};
use crate::domain::report::day;

/// Linux: the process has no file descriptor left (EMFILE), or the system has none (ENFILE).
const NO_DESCRIPTOR: [i32; 2] = [24, 23];

/// Why there was no response, as far as the error tells.
pub(super) fn failure(error: &(dyn Error + 'static), steps: &Steps, secrets: &Secrets) -> Failure {
    let part = steps.part();
    let chain = chain(error);
    if chain.clone().any(<dyn Error>::is::<NameUnresolved>) {
        return steps.addresses.iter().rev().find_map(guard::blocked).unwrap_or(Failure::new(Code::Dns));
    }
    if let Some(error) = chain.clone().find_map(|error| error.downcast_ref::<rustls::Error>()) {
        let failure = tls_failure(error, steps, secrets);
        // A TLS 1.3 server judges the client's certificate after our side of the handshake is over: the request is on
        // its way, but nobody reads it.
        let maybe_received = part == Part::Response && failure.code != Code::TlsClientCertificate;
        return Failure { maybe_received, ..failure };
    }
    let io = chain.clone().find_map(|error| error.downcast_ref::<io::Error>());
    match part {
        Part::Dns => Failure::new(Code::Dns),
        Part::Connect => {
            let kind = io.map_or_else(|| "no reason is given".to_owned(), |error| error.kind().to_string());
            Failure::new(connect_code(io)).with("kind", kind)
        }
        Part::Handshake if steps.client_certificate => Failure::new(Code::TlsClientCertificate),
        Part::Handshake => Failure::new(Code::TlsCut),
        Part::Response => {
            let malformed = chain.clone().any(|error| error.downcast_ref().is_some_and(hyper::Error::is_parse));
            // On a connection that was open already, the bytes may be left over from the answer before.
            let code = if malformed && !steps.is_reused() { Code::MalformedResponse } else { Code::ConnectionLost };
            Failure { maybe_received: true, ..Failure::new(code) }
        }
    }
}

/// An error and what caused it. `io::Error::source` skips the error that it wraps, so that one is visited first.
fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> + Clone {
    std::iter::successors(Some(error), |&error| {
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        wrapped.map(|error| error as &(dyn Error + 'static)).or_else(|| error.source())
    })
}

fn connect_code(error: Option<&io::Error>) -> Code {
    use io::ErrorKind as Kind;
    let Some(error) = error else { return Code::ConnectFailed };
    if error.raw_os_error().is_some_and(|number| NO_DESCRIPTOR.contains(&number)) {
        return Code::OutOfDescriptors;
    }
    match error.kind() {
        Kind::ConnectionRefused => Code::ConnectRefused,
        Kind::ConnectionReset | Kind::ConnectionAborted | Kind::BrokenPipe => Code::ConnectReset,
        Kind::HostUnreachable | Kind::NetworkUnreachable | Kind::NetworkDown => Code::ConnectUnreachable,
        _ => Code::ConnectFailed,
    }
}

fn tls_failure(error: &rustls::Error, steps: &Steps, secrets: &Secrets) -> Failure {
    use AlertDescription as Alert;
    use rustls::Error as Tls;
    let detail = |text: &str| Failure::new(Code::TlsFailed).with("detail", text);
    match error {
        Tls::InvalidCertificate(error) => certificate_failure(error, steps, secrets),
        // The first bytes of an HTTP/1.1 answer are no TLS record.
        Tls::InvalidMessage(rustls::InvalidMessage::InvalidContentType) => Failure::new(Code::TlsPlainHttp),
        Tls::AlertReceived(Alert::CertificateRequired) => Failure::new(Code::TlsClientCertificate),
        Tls::AlertReceived(_) if steps.client_certificate => Failure::new(Code::TlsClientCertificate),
        Tls::PeerIncompatible(rustls::PeerIncompatible::NoSignatureSchemesInCommon) => {
            Failure::new(Code::TlsUnsupported)
        }
        Tls::PeerIncompatible(_)
        | Tls::AlertReceived(Alert::ProtocolVersion | Alert::HandshakeFailure | Alert::InsufficientSecurity) => {
            Failure::new(Code::TlsProtocol)
        }
        Tls::AlertReceived(Alert::CloseNotify | Alert::UserCanceled) => Failure::new(Code::TlsCut),
        Tls::AlertReceived(Alert::UnrecognisedName) => {
            detail("the endpoint does not know this host name (TLS error unrecognized_name)")
        }
        Tls::AlertReceived(alert) => detail(&format!("the endpoint ended it with the TLS error {alert:?}")),
        Tls::InvalidMessage(_) | Tls::InappropriateMessage { .. } | Tls::InappropriateHandshakeMessage { .. } => {
            detail("the endpoint does not keep to the TLS protocol")
        }
        Tls::PeerMisbehaved(_) => detail("the endpoint breaks a rule of the TLS protocol"),
        Tls::DecryptError => detail("the endpoint's messages cannot be decrypted"),
        // rustls's own enum is open: what it adds is a failed handshake until it is told apart here.
        _ => detail("rustls gives no reason by type"),
    }
}

fn certificate_failure(error: &CertificateError, steps: &Steps, secrets: &Secrets) -> Failure {
    let dated = |code, time: &rustls::pki_types::UnixTime| {
        let date = day(SystemTime::UNIX_EPOCH + Duration::from_secs(time.as_secs()));
        let which = steps.about_an_intermediate.then_some("intermediate ");
        Failure::new(code).with("date", date).with_some("which", which)
    };
    match error {
        CertificateError::ExpiredContext { not_after, .. } => dated(Code::TlsExpired, not_after),
        CertificateError::NotValidYetContext { not_before, .. } => dated(Code::TlsNotYetValid, not_before),
        // A private authority that was renewed under its old name is found by that name, and then its key does not fit.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            let issuer = steps.self_signed.then_some(": it is self-signed");
            Failure::new(Code::TlsUnknownIssuer).with_some("issuer", issuer)
        }
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            Failure::new(Code::TlsUnsupported)
        }
        CertificateError::NotValidForNameContext { presented, .. } => wrong_name(presented, secrets),
        CertificateError::NotValidForName => wrong_name(&[], secrets),
        // Passed on without a name of its own.
        CertificateError::Other(other) if matches!(other.0.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity)) => {
            Failure::new(Code::TlsCaAsServer)
        }
        other => Failure::new(Code::TlsCertificate).with("detail", detail(other)),
    }
}

fn detail(error: &CertificateError) -> &'static str {
    match error {
        CertificateError::BadEncoding => "it is not well-formed",
        CertificateError::Revoked => "it is revoked",
        CertificateError::UnhandledCriticalExtension => "it has a critical extension that this function does not know",
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "it is not meant for a server (extended key usage without serverAuth)"
        }
        _ => "its chain breaks a rule of RFC 5280",
    }
}

/// The names are written as `DnsName("a.example")` and `IpAddress(10.0.0.1)`, by the server's owner: each is cut, and
/// shown only if it holds nothing secret.
fn wrong_name(presented: &[String], secrets: &Secrets) -> Failure {
    const SHOWN: usize = 4;
    /// The longest name (RFC 1035, section 2.3.4). A longer one is withheld unread.
    const LONGEST: usize = 253;
    let wrong = |names: &str, advice| Failure::new(Code::TlsWrongName).with("names", names).with("advice", advice);
    if presented.is_empty() {
        let advice = "have the endpoint owner issue a certificate with this host as a subject alternative name";
        return wrong("names no host (it has no subject alternative name)", advice);
    }
    let plain = |name: &String| {
        let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(name);
        secrets.name(inner.trim_matches('"'), LONGEST)
    };
    let mut shown = presented.iter().take(SHOWN).map(plain).collect::<Vec<_>>().join(", ");
    if presented.len() > SHOWN {
        shown.push_str(&format!(" and {} more", presented.len() - SHOWN));
    }
    let advice = "use a name that it covers in the destination's `url`, or have the endpoint owner add this host to it";
    wrong(&format!("is for {shown}, not for this host"), advice)
}
