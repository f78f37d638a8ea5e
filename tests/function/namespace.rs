//! The guard with real names and real public addresses, in a network namespace that this test makes for itself.
//!
//! The outer test starts this very program again inside the namespace, where the ignored test `inside` does the work.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::failures::full_backlog_at;
use super::lines::snapshot;
use super::support::authority::{Authority, Options, serve_on};
use super::support::network::{Says, ips, name_server, run, run_inside, set_up};
use super::support::runtime::{Function, document, vars};
use super::support::samples::sample;

const PUBLIC: &str = "93.184.216.34";
const PUBLIC_V6: &str = "2606:2800:220::1";
/// The public address as DNS64 gives it to networks that have IPv6 alone (RFC 6147).
const PUBLIC_DNS64: &str = "64:ff9b::5db8:d822";
const PRIVATE: &str = "10.20.0.5";
const METADATA: &str = "169.254.169.254";

#[test]
fn names_and_addresses_are_checked_where_they_are_dialled() {
    run_inside("namespace::inside");
}

/// A listener that must not be touched; it counts who does.
async fn canary(address: &str) -> Arc<AtomicUsize> {
    let touched = Arc::new(AtomicUsize::new(0));
    let listener = TcpListener::bind(address).await.unwrap();
    let count = touched.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        }
    });
    touched
}

/// A receiver without TLS that answers every request with this head and no body.
async fn plain(address: &str, head: &'static str) {
    let listener = TcpListener::bind(address).await.unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 65536];
            let _ = stream.read(&mut request).await;
            let answer = format!("HTTP/1.1 {head}\r\nContent-Length: 0\r\n\r\n");
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
}

/// Where each name leads, look-up by look-up.
fn script() -> HashMap<&'static str, Vec<Vec<IpAddr>>> {
    HashMap::from([
        ("public.example", vec![ips(&[PUBLIC])]),
        (
            "rebind.example",
            vec![ips(&[PUBLIC]), ips(&["127.0.0.1"]), ips(&[METADATA]), ips(&["::1"]), ips(&["::ffff:127.0.0.1"])],
        ),
        ("private.example", vec![ips(&[PRIVATE])]),
        ("mixed.example", vec![ips(&["127.0.0.1", PUBLIC, METADATA])]),
        (
            "metadata.example",
            vec![ips(&[METADATA, "fd00:ec2::254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1", "::a9fe:a9fe"])],
        ),
        ("plain.example", vec![ips(&[PUBLIC_V6])]),
        ("empty.example", vec![vec![]]),
        ("half.example", vec![ips(&[PUBLIC])]),
        // No path leads there.
        ("lost.example", vec![ips(&["2600::1", PUBLIC])]),
        ("dual.example", vec![ips(&[PUBLIC_V6, PUBLIC])]),
        ("dns64.example", vec![ips(&[PUBLIC_DNS64])]),
    ])
}

/// A name server: each name has a list of answers, one per look-up, the last for all that follow. It counts look-ups.
async fn scripted_names(script: HashMap<&'static str, Vec<Vec<IpAddr>>>) -> Arc<Mutex<HashMap<String, usize>>> {
    let asked: Arc<Mutex<HashMap<String, usize>>> = Arc::default();
    let count = asked.clone();
    name_server(move |name, is_v6| {
        let mut asked = count.lock().unwrap();
        let looked_up = asked.entry(format!("{name} {is_v6}")).or_default();
        *looked_up += 1;
        match (name, script.get(name)) {
            ("silent.example" | "shared.example", _) => Says::Nothing,
            ("servfail.example", _) => Says::Code(2),
            ("half.example", _) if is_v6 => Says::Code(2),
            (_, Some(answers)) => Says::Addresses(answers[(*looked_up - 1).min(answers.len() - 1)].clone()),
            (_, None) => Says::Code(3),
        }
    })
    .await;
    asked
}

/// Sends the sample to a URL as many times as results are expected, and compares their codes.
async fn expect(url: &str, variables: &[(&str, &str)], codes: &[&str]) -> Vec<serde_json::Value> {
    let mut all = vars(&[("WEBHOOK_URL", url), ("WEBHOOK_TIMEOUT", "3")]);
    all.extend(vars(variables));
    let function = Function::start(all).await;
    for _ in codes {
        function.invoke(&sample("sqs.json")).await;
    }
    let results = function.results().await;
    let seen: Vec<_> = results.iter().map(|line| line["code"].as_str().unwrap_or("delivered")).collect();
    assert_eq!(seen, codes, "{url}: {results:?}");
    function.invocation_lines().await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "runs inside a network namespace, started by the test above"]
async fn inside() {
    set_up();
    for address in [PUBLIC, PRIVATE, METADATA] {
        run(&format!("ip addr add {address}/32 dev lo"));
    }
    for address in [PUBLIC_V6, PUBLIC_DNS64] {
        run(&format!("ip -6 addr add {address}/128 dev lo nodad"));
    }

    let authority = Authority::new("namespace");
    let names = [
        "public.example",
        "rebind.example",
        "mixed.example",
        "private.example",
        "half.example",
        "lost.example",
        "dual.example",
        "dns64.example",
    ];
    for address in [format!("{PUBLIC}:443"), format!("{PRIVATE}:443"), format!("[{PUBLIC_DNS64}]:443")] {
        let config = authority.server(
            |params| {
                params.subject_alt_names =
                    rcgen::CertificateParams::new(names.map(str::to_owned)).unwrap().subject_alt_names;
            },
            &Options::usual(),
        );
        serve_on(address.parse::<SocketAddr>().unwrap(), config).await;
    }
    plain(&format!("{PRIVATE}:80"), "307 X\r\nLocation: http://169.254.169.254/latest/").await;
    plain(&format!("[{PUBLIC_V6}]:80"), "200 OK").await;
    let _silent = full_backlog_at(&format!("[{PUBLIC_V6}]:443"));
    let untouchable = [
        canary("127.0.0.1:443").await,
        canary("127.0.0.1:80").await,
        canary(&format!("{METADATA}:80")).await,
        canary(&format!("{METADATA}:443")).await,
        canary(&format!("{PUBLIC}:80")).await,
        canary("[::1]:443").await,
    ];
    let asked = scripted_names(script()).await;
    let trusted = ("EXTRA_CA_BUNDLE", authority.bundle.to_str().unwrap());
    let private = ("ALLOW_PRIVATE_CIDRS", "10.20.0.0/16");

    expect("https://public.example/", &[trusted], &["delivered"]).await;
    // One look-up per attempt: nothing can change between the check and the connection.
    assert!(asked.lock().unwrap().iter().all(|(_, count)| *count == 1), "{asked:?}");
    expect(
        "https://rebind.example/",
        &[trusted],
        &["delivered", "address_forbidden", "address_forbidden", "address_forbidden", "address_forbidden"],
    )
    .await;
    expect("https://private.example/", &[trusted], &["address_private"]).await;
    expect("https://private.example/", &[trusted, private], &["delivered"]).await;
    expect("http://private.example/", &[private], &["redirect"]).await;
    // A name with its last dot, whose certificate has none (RFC 6066, section 3).
    expect("https://public.example./", &[trusted], &["delivered"]).await;
    // One family of addresses does not resolve, has no path, or does not answer.
    for name in ["half", "lost", "dual", "dns64"] {
        expect(&format!("https://{name}.example/"), &[trusted], &["delivered"]).await;
    }
    let log = expect("https://mixed.example/", &[trusted], &["delivered"]).await;
    assert!(
        log.iter()
            .any(|line| line["level"] == "WARN"
                && line["message"].as_str().unwrap().contains("mixed.example leads to 2")),
        "{log:?}"
    );
    expect("https://metadata.example/", &[private], &["address_forbidden"]).await;
    expect("http://public.example/", &[private], &["plain_http"]).await;
    let plain_http = ("ALLOW_PLAIN_HTTP", "true");
    expect("http://plain.example/", &[], &["plain_http"]).await;
    expect("http://plain.example/", &[plain_http], &["delivered"]).await;
    expect(&format!("http://[{PUBLIC_V6}]/"), &[plain_http], &["delivered"]).await;
    expect("http://metadata.example/", &[plain_http], &["address_forbidden"]).await;
    expect("http://private.example/", &[plain_http], &["address_private"]).await;
    expect("https://unknown.example/", &[], &["dns"]).await;
    expect("https://servfail.example/", &[], &["dns"]).await;
    expect("https://empty.example/", &[], &["dns"]).await;
    let log = expect("https://silent.example/", &[], &["dns_timeout"]).await;
    snapshot("dns-timeout", &log[0]);
    let log = expect("https://8.8.8.8/", &[], &["connect_unreachable"]).await;
    snapshot("connect-unreachable", &log[0]);
    let destination = |n| (format!("d{n}"), json!({ "url": "https://shared.example/", "timeout": 1 }));
    let destinations: serde_json::Map<_, _> = (0..100).map(destination).collect();
    let function = Function::start(document(&json!({ "destinations": destinations }))).await;
    function.invoke(&sample("sqs.json")).await;
    assert!(function.results().await.iter().all(|line| line["code"] == "dns_timeout"));
    // The system's resolver asks once more only after five seconds.
    assert_eq!(asked.lock().unwrap()["shared.example false"], 1, "a hundred attempts share one look-up");
    for touched in &untouchable {
        assert_eq!(touched.load(Ordering::SeqCst), 0);
    }
}
