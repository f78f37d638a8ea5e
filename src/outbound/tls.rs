//! The TLS configuration, and the two places where rustls lets us look on.

use std::path::Path;
use std::sync::Arc;

use rustls::client::{ClientSessionMemoryCache, ClientSessionStore, ResolvesClientCert, Resumption};
use rustls::client::{Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, TrustAnchor};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, NamedGroup, RootCertStore, SignatureScheme};

use super::trace;
use super::webhook::ClientUnavailable;

/// Certificate authorities.
pub type Authorities = Vec<TrustAnchor<'static>>;

/// Reads the authorities in a PEM file; nothing where it cannot be read, is malformed or has no `CERTIFICATE`.
pub fn authorities(path: &Path) -> Option<Authorities> {
    let text = std::fs::read(path).ok()?;
    // Some editors begin a file with a byte order mark, which would hide the first line and with it a certificate.
    let text = String::from_utf8_lossy(&text).replace('\u{feff}', "");
    let anchor = |certificate| Some(webpki::anchor_from_trusted_cert(&certificate).ok()?.to_owned());
    let anchors: Authorities = CertificateDer::pem_slice_iter(text.as_bytes())
        .map(|certificate| anchor(certificate.ok()?))
        .collect::<Option<_>>()?;
    Some(anchors).filter(|anchors| !anchors.is_empty())
}

/// TLS 1.2 and 1.3 with Mozilla's roots and further ones. Receivers and AWS have a configuration each.
/// There is no switch that turns verification off.
pub fn config(extra: &Authorities) -> Result<ClientConfig, ClientUnavailable> {
    let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.iter().chain(extra).cloned().collect() };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|_| ClientUnavailable)?
        .with_root_certificates(roots)
        .with_client_cert_resolver(Arc::new(NoClientCertificate));
    Ok(without_sessions(config))
}

/// The same without sessions to resume, which would spare the server from showing its certificate.
pub(super) fn without_sessions(mut config: ClientConfig) -> ClientConfig {
    config.resumption = Resumption::store(Arc::new(Sessions(ClientSessionMemoryCache::new(64))));
    config
}

/// Has no certificate to show, but remembers that one was asked for.
#[derive(Debug)]
struct NoClientCertificate;

impl ResolvesClientCert for NoClientCertificate {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        trace::client_certificate_demanded();
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

/// Keeps sessions for resumption. Its first use in a connection tells that TCP stands and the handshake begins,
/// which reqwest's connector does not say.
#[derive(Debug)]
struct Sessions(ClientSessionMemoryCache);

impl ClientSessionStore for Sessions {
    fn kx_hint(&self, server: &ServerName<'_>) -> Option<NamedGroup> {
        trace::handshake_begun();
        self.0.kx_hint(server)
    }

    fn set_kx_hint(&self, server: ServerName<'static>, group: NamedGroup) {
        self.0.set_kx_hint(server, group);
    }

    fn set_tls12_session(&self, server: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.0.set_tls12_session(server, value);
    }

    fn tls12_session(&self, server: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        trace::handshake_begun();
        self.0.tls12_session(server)
    }

    fn remove_tls12_session(&self, server: &ServerName<'static>) {
        self.0.remove_tls12_session(server);
    }

    fn insert_tls13_ticket(&self, server: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.0.insert_tls13_ticket(server, value);
    }

    fn take_tls13_ticket(&self, server: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        trace::handshake_begun();
        self.0.take_tls13_ticket(server)
    }
}
