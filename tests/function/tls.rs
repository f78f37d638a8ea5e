//! Servers that get TLS wrong, each in its own way, and one that gets it right.

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, date_time_ymd};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::version;

use super::support::authority::{Authority, Options, serve};
use super::support::receiver::read_request;
use super::support::runtime::{Function, local, vars};
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
async fn an_authority_that_was_renewed_under_its_name_is_an_unknown_one() {
    let old = Authority::new("renewed");
    let port = serve(old.server(|_| {}, &Options::usual())).await;
    let line = result_at("127.0.0.1", port, &Authority::new("renewed")).await;
    assert_eq!(line["code"], "tls_unknown_issuer", "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificates_names_are_plain_and_hold_no_secret() {
    let authority = Authority::new("names");
    let names = ["10.0.0.1", "SECRETSECRETSECRET.example", "a.example"].map(str::to_owned);
    let names = CertificateParams::new(names).unwrap().subject_alt_names;
    let port = serve(authority.server(|params| params.subject_alt_names = names, &Options::usual())).await;
    let mut variables = local(&format!("https://127.0.0.1:{port}/SECRETSECRETSECRET"));
    variables.extend(vars(&[("EXTRA_CA_BUNDLE", authority.bundle.to_str().unwrap())]));
    let function = Function::start(variables).await;
    function.invoke(&sample("sqs.json")).await;
    let line = function.results().await.remove(0);
    let cause = line["cause"].as_str().unwrap();
    assert!(cause.contains("it is for 10.0.0.1, [removed].example, a.example"), "{cause}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_went_out_on_anothers_connection_while_its_own_was_being_made_may_have_arrived() {
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

/// Servers that get it wrong: the port of each, the code of its fault, and what the cause says of this very case.
pub(crate) async fn wrong_servers(authority: &Authority) -> Vec<(u16, &'static str, &'static str)> {
    vec![
        (
            serve(authority.server(|p| p.not_after = date_time_ymd(2020, 2, 1), &Options::usual())).await,
            "tls_expired",
            "01 Feb 2020",
        ),
        (
            serve(authority.server(|p| p.not_before = date_time_ymd(2090, 2, 1), &Options::usual())).await,
            "tls_not_yet_valid",
            "01 Feb 2090",
        ),
        (
            serve(authority.server(
                |p| {
                    p.subject_alt_names =
                        CertificateParams::new(vec!["a.example".into(), "b.example".into()]).unwrap().subject_alt_names;
                },
                &Options::usual(),
            ))
            .await,
            "tls_wrong_name",
            "it is for a.example, b.example",
        ),
        (serve(authority.self_signed(IsCa::NoCa)).await, "tls_unknown_issuer", ""),
        (serve(authority.self_signed(IsCa::Ca(BasicConstraints::Unconstrained))).await, "tls_ca_as_server", ""),
        (
            serve(authority.server(
                |p| p.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth],
                &Options::usual(),
            ))
            .await,
            "tls_certificate",
            "",
        ),
        (serve(authority.server(|_| {}, &Options::demanding(&version::TLS13))).await, "tls_client_certificate", ""),
        (serve(authority.server(|_| {}, &Options::demanding(&version::TLS12))).await, "tls_client_certificate", ""),
        (odd_server(b"HTTP/1.1 400 Bad Request\r\n\r\n", false).await, "tls_plain_http", ""),
        (odd_server(b"", false).await, "tls_cut", ""),
        (odd_server(b"", true).await, "tls_timeout", ""),
        // What a server for TLS 1.1 and older answers: the alert protocol_version (RFC 8446, section 6.2).
        (odd_server(&[21, 3, 1, 0, 2, 2, 70], false).await, "tls_protocol", ""),
        // … and one without a cipher suite in common: handshake_failure.
        (odd_server(&[21, 3, 3, 0, 2, 2, 40], false).await, "tls_protocol", ""),
        // internal_error: nothing that a name would help with.
        (odd_server(&[21, 3, 3, 0, 2, 2, 80], false).await, "tls_failed", ""),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_cause_of_a_failed_handshake_is_told_apart() {
    let authority = Authority::new("causes");
    for (port, code, detail) in wrong_servers(&authority).await {
        let line = result_at("127.0.0.1", port, &authority).await;
        assert_eq!(
            (line["code"].as_str(), line["level"].as_str(), line["result"].as_str()),
            (Some(code), Some("WARN"), Some("returned")),
            "{line}"
        );
        assert_eq!(line.get("maybe_received"), None, "nothing was sent: {line}");
        assert!(line["cause"].as_str().unwrap().contains(detail), "{line}");
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
