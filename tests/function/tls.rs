//! Servers that get TLS wrong, each in its own way, and one that gets it right.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, date_time_ymd};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::version;

use super::failures::{assert_readable, message};
use super::support::authority::{Authority, Options, serve};
use super::support::network::run;
use super::support::receiver::read_request;
use super::support::runtime::{Function, free_port, local, vars};
use super::support::samples::sample;

/// Answers the first bytes with others, and then closes or holds the connection.
async fn odd_server(answer: &'static [u8], hold: bool) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut hello = [0; 4096];
                let _ = stream.read(&mut hello).await;
                let _ = stream.write_all(answer).await;
                if hold {
                    std::future::pending::<()>().await;
                }
            });
        }
    });
    port
}

async fn result_at(host: &str, port: u16, authority: &Authority) -> Value {
    let mut variables = local(&format!("https://{host}:{port}/SECRET"));
    variables.extend(vars(&[("WEBHOOK_TIMEOUT", "2"), ("EXTRA_CA_BUNDLE", authority.bundle.to_str().unwrap())]));
    let function = Function::start(variables).await;
    function.invoke(&sample("sqs.json")).await;
    function.results().await.remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_authority_is_trusted_by_its_bundle_alone() {
    let authority = Authority::new("trusted");
    let port = serve(authority.server(|_| {}, &Options::usual())).await;
    let line = result_at("127.0.0.1", port, &authority).await;
    assert_eq!(line["result"], "delivered", "{line}");
    let line = result_at("localhost", port, &authority).await;
    assert_eq!(line["result"], "delivered", "{line}");
    let line = result_at("127.0.0.1", port, &Authority::new("another")).await;
    assert_eq!(line["code"], "tls_unknown_issuer", "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_byte_order_mark_hides_no_authority() {
    let (first, second) = (Authority::new("marked"), Authority::new("unmarked"));
    let pem = |authority: &Authority| std::fs::read_to_string(&authority.bundle).unwrap();
    std::fs::write(&first.bundle, format!("\u{feff}{}\u{feff}{}", pem(&first), pem(&second))).unwrap();
    for authority in [&first, &second] {
        let port = serve(authority.server(|_| {}, &Options::usual())).await;
        let line = result_at("127.0.0.1", port, &first).await;
        assert_eq!(line["result"], "delivered", "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_renewed_under_its_name_is_unknown() {
    let old = Authority::new("renewed");
    let port = serve(old.server(|_| {}, &Options::usual())).await;
    let line = result_at("127.0.0.1", port, &Authority::new("renewed")).await;
    assert_eq!(line["code"], "tls_unknown_issuer", "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_names_of_a_certificate_show_no_secret() {
    let authority = Authority::new("names");
    let names = ["10.0.0.1", "SECRETSECRETSECRET.example", "a.example"].map(str::to_owned);
    let names = CertificateParams::new(names).unwrap().subject_alt_names;
    let port = serve(authority.server(|params| params.subject_alt_names = names, &Options::usual())).await;
    let mut variables = local(&format!("https://127.0.0.1:{port}/SECRETSECRETSECRET"));
    variables.extend(vars(&[("EXTRA_CA_BUNDLE", authority.bundle.to_str().unwrap())]));
    let function = Function::start(variables).await;
    function.invoke(&sample("sqs.json")).await;
    let line = function.results().await.remove(0);
    assert!(message(&line).contains("is for 10.0.0.1, [withheld], a.example,"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_on_the_connection_of_another_may_have_arrived() {
    let authority = Authority::new("shared");
    let acceptor = TlsAcceptor::from(std::sync::Arc::new(authority.server(|_| {}, &Options::usual())));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = BufReader::new(acceptor.accept(stream).await.unwrap());
        // The second one never gets through the handshake, and the first connection takes its request.
        let _held = listener.accept().await.unwrap();
        read_request(&mut stream).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        read_request(&mut stream).await.unwrap();
        std::future::pending::<()>().await;
    });
    let mut variables = local(&format!("https://127.0.0.1:{port}/"));
    variables.extend(vars(&[("WEBHOOK_TIMEOUT", "2"), ("EXTRA_CA_BUNDLE", authority.bundle.to_str().unwrap())]));
    let function = Function::start(variables).await;
    let mut event: Value = serde_json::from_str(&sample("sqs.json")).unwrap();
    let record = event["Records"][0].clone();
    event["Records"].as_array_mut().unwrap().push(record);
    function.invoke(&event.to_string()).await;
    let mut results = function.results().await;
    results.sort_by_key(|line| line["result"].to_string());
    assert_eq!(results[0]["result"], "delivered", "{results:?}");
    assert_eq!((results[1]["code"].as_str(), results[1]["maybe_received"].as_bool()), (Some("timeout"), Some(true)));
}

/// A server that gets it wrong.
pub(crate) struct Wrong {
    /// Its name among the snapshots.
    pub(crate) name: &'static str,
    pub(crate) code: &'static str,
    /// What the sentence says of this very case.
    pub(crate) says: &'static str,
    pub(crate) port: u16,
    /// It ends with this value.
    _server: Option<Child>,
}

pub(crate) async fn wrong_servers(authority: &Authority) -> Vec<Wrong> {
    let mut all = Vec::new();
    let mut add = |name, code, says, port| all.push(Wrong { name, code, says, port, _server: None });
    let with = |change: fn(&mut CertificateParams)| serve(authority.server(change, &Options::usual()));
    let expired = with(|params| params.not_after = date_time_ymd(2020, 2, 1)).await;
    add("tls-expired", "tls_expired", "expired on 01 Feb 2020", expired);
    let not_yet = with(|params| params.not_before = date_time_ymd(2090, 2, 1)).await;
    add("tls-not-yet-valid", "tls_not_yet_valid", "valid only from 01 Feb 2090", not_yet);
    let other_names = with(|params| {
        let names = CertificateParams::new(["a.example", "b.example"].map(str::to_owned)).unwrap();
        params.subject_alt_names = names.subject_alt_names;
    });
    add("tls-wrong-name", "tls_wrong_name", "is for a.example, b.example", other_names.await);
    let no_names = with(|params| params.subject_alt_names.clear()).await;
    add("tls-wrong-name-none", "tls_wrong_name", "no subject alternative name", no_names);
    let unknown = serve(Authority::new("unknown").server(|_| {}, &Options::usual())).await;
    add("tls-unknown-issuer", "tls_unknown_issuer", "no authority that this function trusts", unknown);
    let self_signed = serve(authority.self_signed(IsCa::NoCa)).await;
    add("tls-unknown-issuer-self-signed", "tls_unknown_issuer", "it is self-signed", self_signed);
    let as_server = serve(authority.self_signed(IsCa::Ca(BasicConstraints::Unconstrained))).await;
    add("tls-ca-as-server", "tls_ca_as_server", "CA:FALSE", as_server);
    let for_clients = with(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]).await;
    add("tls-certificate", "tls_certificate", "not meant for a server", for_clients);
    for (name, version) in
        [("tls-client-certificate-13", &version::TLS13), ("tls-client-certificate-12", &version::TLS12)]
    {
        let demanding = serve(authority.server(|_| {}, &Options::demanding(version))).await;
        add(name, "tls_client_certificate", "demands a client certificate", demanding);
    }
    let plain = odd_server(b"HTTP/1.1 400 Bad Request\r\n\r\n", false).await;
    add("tls-plain-http", "tls_plain_http", "answers without TLS", plain);
    add("tls-cut", "tls_cut", "closed the connection", odd_server(b"", false).await);
    add("tls-timeout", "tls_timeout", "within 2 s", odd_server(b"", true).await);
    // Alerts of RFC 8446, section 6.2. A server for TLS 1.1 and older answers protocol_version, one without a cipher
    // suite in common handshake_failure.
    add("tls-protocol", "tls_protocol", "TLS 1.2", odd_server(&[21, 3, 1, 0, 2, 2, 70], false).await);
    add("tls-protocol-failure", "tls_protocol", "TLS 1.2", odd_server(&[21, 3, 3, 0, 2, 2, 40], false).await);
    add("tls-failed", "tls_failed", "InternalError", odd_server(&[21, 3, 3, 0, 2, 2, 80], false).await);
    add("tls-failed-name", "tls_failed", "unrecognized_name", odd_server(&[21, 3, 3, 0, 2, 2, 112], false).await);

    // Keys and versions that rcgen and rustls do not have.
    let usual = Issuer { certificate: authority.bundle.clone(), key: file(authority, "key") };
    std::fs::write(&usual.key, authority.issuer.key().serialize_pem()).unwrap();
    let unsupported = Issuer { certificate: file(authority, "p521.pem"), key: file(authority, "p521.key") };
    openssl_certificate(P521, &unsupported, None);
    let old: &[_] = &["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"];
    for (name, code, says, key, issuer, options) in [
        ("tls-protocol-old", "tls_protocol", "TLS 1.2", P256, &usual, old),
        // It finds no signature algorithm for its key among ours: handshake_failure as well.
        ("tls-unsupported-p521", "tls_unsupported", "P-384", P521, &usual, &[]),
        ("tls-unsupported", "tls_unsupported", "P-384", P256, &unsupported, &[]),
        (
            "tls-unknown-issuer-weak-key",
            "tls_unknown_issuer",
            "if its key is RSA, of 2048 bits or more",
            "rsa:1024",
            &usual,
            &old[1..],
        ),
    ] {
        let own = Issuer { certificate: file(authority, &format!("{name}.pem")), key: file(authority, name) };
        openssl_certificate(key, &own, Some(issuer));
        let (server, port) = openssl_server(&own, options).await;
        all.push(Wrong { name, code, says, port, _server: Some(server) });
    }
    // Now that it is written, the function is to trust this authority, too.
    let both = [&usual, &unsupported].map(|issuer| std::fs::read_to_string(&issuer.certificate).unwrap());
    std::fs::write(&authority.bundle, both.concat()).unwrap();
    all
}

const P256: &str = "ec -pkeyopt ec_paramgen_curve:prime256v1";
const P521: &str = "ec -pkeyopt ec_paramgen_curve:secp521r1";

/// A certificate and its key in PEM files.
struct Issuer {
    certificate: PathBuf,
    key: PathBuf,
}

fn file(authority: &Authority, name: &str) -> PathBuf {
    authority.bundle.with_extension(name)
}

/// Makes a key, and a certificate of an authority, or one of an authority itself.
fn openssl_certificate(key: &str, to: &Issuer, issuer: Option<&Issuer>) {
    let (certificate, key_file) = (to.certificate.display(), to.key.display());
    let name = if issuer.is_some() { "server" } else { "authority" };
    let issuer = issuer.map_or_else(String::new, |issuer| {
        let (certificate, key) = (issuer.certificate.display(), issuer.key.display());
        format!(
            "-CA {certificate} -CAkey {key} \
             -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE"
        )
    });
    run(&format!(
        "openssl req -x509 -newkey {key} -nodes -keyout {key_file} -out {certificate} -subj /CN={name} -days 30 {issuer}"
    ));
}

/// OpenSSL's own server.
async fn openssl_server(own: &Issuer, options: &[&str]) -> (Child, u16) {
    let port = free_port();
    let server = Command::new("openssl")
        .args(["s_server", "-www", "-accept", &format!("127.0.0.1:{port}"), "-cert"])
        .arg(&own.certificate)
        .arg("-key")
        .arg(&own.key)
        .args(options)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("OpenSSL's command");
    for _ in 0..200 {
        if TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
            return (server, port);
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("OpenSSL's server does not start");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_cause_of_a_failed_handshake_is_told_apart() {
    let authority = Authority::new("causes");
    for wrong in wrong_servers(&authority).await {
        let line = result_at("127.0.0.1", wrong.port, &authority).await;
        println!("{} {line}", wrong.name);
        assert_readable(&line, wrong.code);
        assert_eq!(line["result"], "returned");
        assert_eq!(line.get("maybe_received"), None, "nothing was sent: {line}");
        assert!(message(&line).contains(wrong.says), "{} is not in {line}", wrong.says);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_intermediate_out_of_date_is_named_as_one() {
    let authority = Authority::new("intermediates");
    for (years, code, says) in [
        ((2020, 2084), None, ""),
        ((2010, 2015), Some("tls_expired"), "the intermediate certificate of https://127.0.0.1:"),
        ((2084, 2090), Some("tls_not_yet_valid"), "the intermediate certificate of https://127.0.0.1:"),
    ] {
        let config = authority.server_below(|params| {
            (params.not_before, params.not_after) = (date_time_ymd(years.0, 2, 1), date_time_ymd(years.1, 2, 1));
        });
        let line = result_at("127.0.0.1", serve(config).await, &authority).await;
        assert_eq!(line["code"].as_str(), code, "{line}");
        assert!(line["message"].as_str().unwrap().contains(says), "{line}");
    }
    let config = authority.server(|params| params.not_after = date_time_ymd(2020, 2, 1), &Options::usual());
    let line = result_at("127.0.0.1", serve(config).await, &authority).await;
    assert!(line["message"].as_str().unwrap().contains("the certificate of https://127.0.0.1:"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_server_for_an_old_protocol_alone_is_named() {
    // OpenSSL still speaks TLS 1.1 when its security level is lowered.
    let authority = Authority::new("old");
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &authority.issuer).unwrap();
    let path = authority.bundle.with_extension("server.pem");
    std::fs::write(&path, certificate.pem() + &key.serialize_pem()).unwrap();
    let port = super::support::runtime::free_port();
    let script = format!(
        "import socket, ssl\n\
         context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)\n\
         context.set_ciphers('ALL:@SECLEVEL=0')\n\
         context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1\n\
         context.load_cert_chain('{}')\n\
         server = socket.create_server(('127.0.0.1', {port}))\n\
         while True:\n\
         \x20   try: context.wrap_socket(server.accept()[0], server_side=True)\n\
         \x20   except OSError: pass\n",
        path.display()
    );
    let python = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/python");
    let _server =
        tokio::process::Command::new(python).args(["-W", "ignore", "-c", &script]).kill_on_drop(true).spawn().unwrap();
    for _ in 0..200 {
        if tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    let line = result_at("127.0.0.1", port, &authority).await;
    assert_eq!(line["code"], "tls_protocol", "{line}");
}
