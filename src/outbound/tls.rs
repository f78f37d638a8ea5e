//! The TLS configuration, and the three places where rustls lets us look on.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientSessionMemoryCache, ClientSessionStore, ResolvesClientCert, Resumption};
use rustls::client::{Tls12ClientSessionValue, Tls13ClientSessionValue, WebPkiServerVerifier};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, NamedGroup, RootCertStore, SignatureScheme,
};

use super::progress;
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
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|_| ClientUnavailable)?
        // "Dangerous" is any verifier but rustls's own, which ours wraps.
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Verifier::new(extra)?))
        .with_client_cert_resolver(Arc::new(NoClientCertificate));
    Ok(for_probe(config))
}

/// The same without sessions to resume, which would spare the server from showing its certificate.
pub(super) fn for_probe(mut config: ClientConfig) -> ClientConfig {
    config.resumption = Resumption::store(Arc::new(Sessions(ClientSessionMemoryCache::new(64))));
    config
}

/// Verifies certificates as rustls does, and notes on which day the server's expires, or that nobody else issued it.
#[derive(Debug)]
struct Verifier(Arc<WebPkiServerVerifier>);

impl Verifier {
    fn new(extra: &Authorities) -> Result<Self, ClientUnavailable> {
        let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.iter().chain(extra).cloned().collect() };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
        verifier.map(Self).map_err(|_| ClientUnavailable)
    }

    /// When a certificate expires; nothing where that is in the year 9999, which stands for "never" (RFC 5280, section
    /// 4.1.2.5).
    ///
    /// rustls names the time in one error alone, so the certificate is verified as if it were the year 9999. Its dates
    /// are looked at before any signature, which makes this as cheap as parsing it.
    fn expiry(&self, certificate: &CertificateDer<'_>, name: &ServerName<'_>) -> Option<SystemTime> {
        const YEAR_9999: Duration = Duration::from_secs(253_370_764_800);
        match self.0.verify_server_cert(certificate, &[], name, &[], UnixTime::since_unix_epoch(YEAR_9999)) {
            Err(Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })) => {
                Some(SystemTime::UNIX_EPOCH + Duration::from_secs(not_after.as_secs()))
            }
            _ => None,
        }
    }
}

/// Whether a certificate of the chain has expired or is not valid yet.
fn is_out_of_date(verified: &Result<ServerCertVerified, Error>) -> bool {
    use CertificateError as Fault;
    let Err(Error::InvalidCertificate(fault)) = verified else { return false };
    matches!(fault, Fault::ExpiredContext { .. } | Fault::NotValidYetContext { .. })
}

/// Whether a certificate names itself as its issuer.
fn is_self_signed(certificate: &CertificateDer<'_>) -> bool {
    webpki::EndEntityCert::try_from(certificate).is_ok_and(|certificate| certificate.issuer() == certificate.subject())
}

/// Signatures that this function cannot verify and offers all the same, last of all: a server that has no other key then
/// shows its certificate, and the failure says so. Else the server ends the handshake without a reason.
const UNSUPPORTED: [SignatureScheme; 2] = [SignatureScheme::ECDSA_NISTP521_SHA512, SignatureScheme::ED448];

fn can_verify(signature: &DigitallySignedStruct) -> Result<(), Error> {
    if UNSUPPORTED.contains(&signature.scheme) {
        return Err(rustls::PeerIncompatible::NoSignatureSchemesInCommon.into());
    }
    Ok(())
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.0.verify_server_cert(certificate, intermediates, name, ocsp, now);
        if verified.is_err() && is_self_signed(certificate) {
            progress::note(|steps| steps.self_signed = true);
        }
        // By itself, the certificate fails for its own dates before it fails for its missing issuer.
        if is_out_of_date(&verified) && !is_out_of_date(&self.0.verify_server_cert(certificate, &[], name, ocsp, now)) {
            progress::note(|steps| steps.about_an_intermediate = true);
        }
        let verified = verified?;
        if let Some(expiry) = self.expiry(certificate, name) {
            progress::note(|steps| steps.certificate_expires = Some(expiry));
        }
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        can_verify(signature)?;
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        can_verify(signature)?;
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        [self.0.supported_verify_schemes().as_slice(), &UNSUPPORTED].concat()
    }
}

/// Has no certificate to show, but remembers that one was asked for.
#[derive(Debug)]
struct NoClientCertificate;

impl ResolvesClientCert for NoClientCertificate {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        progress::note(|steps| steps.client_certificate = true);
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

/// Keeps sessions for resumption. With TLS 1.3 on, each handshake begins by asking for the server's key exchange: that
/// tells that TCP stands, which reqwest's connector does not say.
#[derive(Debug)]
struct Sessions(ClientSessionMemoryCache);

impl ClientSessionStore for Sessions {
    fn kx_hint(&self, server: &ServerName<'_>) -> Option<NamedGroup> {
        progress::note(|steps| steps.handshaking = true);
        self.0.kx_hint(server)
    }

    fn set_kx_hint(&self, server: ServerName<'static>, group: NamedGroup) {
        self.0.set_kx_hint(server, group);
    }

    fn set_tls12_session(&self, server: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.0.set_tls12_session(server, value);
    }

    fn tls12_session(&self, server: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.0.tls12_session(server)
    }

    fn remove_tls12_session(&self, server: &ServerName<'static>) {
        self.0.remove_tls12_session(server);
    }

    fn insert_tls13_ticket(&self, server: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.0.insert_tls13_ticket(server, value);
    }

    fn take_tls13_ticket(&self, server: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.0.take_tls13_ticket(server)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbound::progress::Progress;
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};

    #[tokio::test]
    async fn a_verified_certificate_tells_when_it_expires() {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let anchor = webpki::anchor_from_trusted_cert(issuer.der()).unwrap().to_owned();
        let trusted = Verifier::new(&vec![anchor]).unwrap();
        let name = ServerName::try_from("soc.example").unwrap();
        let expiry = async |verifier: &Verifier, year| {
            let mut params = CertificateParams::new(vec!["soc.example".to_owned()]).unwrap();
            params.not_after = date_time_ymd(year, 12, 31);
            let leaf = params.signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap();
            let progress = Progress::default();
            let verify = async { verifier.verify_server_cert(leaf.der(), &[], &name, &[], UnixTime::now()) };
            (progress.clone().scope(verify).await.is_ok(), progress.steps().certificate_expires)
        };
        let day = httpdate::parse_http_date("Sun, 31 Dec 2084 00:00:00 GMT").unwrap();
        assert_eq!(expiry(&trusted, 2084).await, (true, Some(day)));
        assert_eq!(expiry(&trusted, 9999).await, (true, None));
        assert_eq!(expiry(&trusted, 2020).await, (false, None));
        assert_eq!(expiry(&Verifier::new(&Vec::new()).unwrap(), 2084).await, (false, None));
    }
}
