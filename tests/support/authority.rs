//! A private certificate authority, and servers with certificates of it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion, version};

/// A private authority, and the file that makes the function trust it.
pub(crate) struct Authority {
    pub(crate) issuer: CertifiedIssuer<'static, KeyPair>,
    pub(crate) bundle: PathBuf,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let bundle = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}.pem", std::process::id()));
        std::fs::write(&bundle, issuer.pem()).unwrap();
        Self { issuer, bundle }
    }

    /// A server's configuration with a certificate of this authority.
    pub(crate) fn server(&self, change: impl FnOnce(&mut CertificateParams), options: &Options) -> ServerConfig {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        self.config(vec![certificate.der().clone()], key, options)
    }

    /// The same with a certificate of an intermediate authority, which the server shows as well.
    pub(crate) fn server_below(&self, change: impl FnOnce(&mut CertificateParams)) -> ServerConfig {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "intermediate");
        change(&mut params);
        let issuer = CertifiedIssuer::signed_by(params, KeyPair::generate().unwrap(), &self.issuer).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
        self.config(vec![certificate.der().clone(), issuer.der().clone()], key, &Options::usual())
    }

    /// The same with a certificate that nobody vouches for.
    pub(crate) fn self_signed(&self, is_ca: IsCa) -> ServerConfig {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.is_ca = is_ca;
        let certificate = params.self_signed(&key).unwrap();
        self.config(vec![certificate.der().clone()], key, &Options::usual())
    }

    fn config(&self, chain: Vec<CertificateDer<'static>>, key: KeyPair, options: &Options) -> ServerConfig {
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let builder =
            ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(&options.versions).unwrap();
        let builder = if options.demand_client_certificate {
            let mut roots = RootCertStore::empty();
            roots.add(self.issuer.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        } else {
            builder.with_no_client_auth()
        };
        builder.with_single_cert(chain, PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()))).unwrap()
    }
}

pub(crate) struct Options {
    pub(crate) versions: Vec<&'static SupportedProtocolVersion>,
    pub(crate) demand_client_certificate: bool,
}

impl Options {
    pub(crate) fn usual() -> Self {
        Self { versions: vec![&version::TLS13, &version::TLS12], demand_client_certificate: false }
    }

    pub(crate) fn demanding(version: &'static SupportedProtocolVersion) -> Self {
        Self { versions: vec![version], demand_client_certificate: true }
    }
}

/// Serves 200 over TLS.
pub(crate) async fn serve(config: ServerConfig) -> u16 {
    serve_on("127.0.0.1:0".parse().unwrap(), config).await
}

/// The same at a chosen address.
pub(crate) async fn serve_on(address: SocketAddr, config: ServerConfig) -> u16 {
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(address).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut stream = acceptor.accept(stream).await.ok()?;
                let mut request = vec![0; 65536];
                // The request fits into one read or is not looked at further.
                let _ = stream.read(&mut request).await.ok()?;
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.ok()
            });
        }
    });
    port
}
