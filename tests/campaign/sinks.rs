//! The receivers: one for each way to fail, on real sockets.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rcgen::{CertificateParams, IsCa, date_time_ymd};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::version;

use crate::kinds::{Connection, Fault, Kind, Name, Odd, Tls};
use crate::ledger::{Act, Ledger};
use crate::support::authority::{Authority, Options};
use crate::support::network::{Says, ips, name_server};
use crate::support::receiver::{Reply, Request, read_request, send};

/// Where the receivers are.
pub(crate) struct Sinks {
    http: u16,
    ports: HashMap<String, u16>,
    pub(crate) bundle: PathBuf,
}

impl Sinks {
    pub(crate) fn url(&self, kind: &Kind) -> String {
        let name = &kind.name;
        match kind.fault {
            Fault::Name(_) => format!("http://{name}.test:{}/{name}", self.http),
            Fault::Tls(_) => format!("https://127.0.0.1:{}/{name}", self.ports[name]),
            Fault::Connection(_) => format!("http://127.0.0.1:{}/{name}", self.ports[name]),
            _ => format!("http://127.0.0.1:{}/{name}", self.http),
        }
    }
}

pub(crate) async fn start(ledger: &Arc<Ledger>) -> Sinks {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let http = listener.local_addr().unwrap().port();
    let keeper = ledger.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(plain(stream, keeper.clone(), true));
        }
    });
    let authority = Arc::new(Authority::new("campaign"));
    let mut ports = HashMap::new();
    for kind in &ledger.plan.kinds {
        let port = match kind.fault {
            Fault::Tls(how) => tls(how, kind.name.clone(), ledger.clone(), &authority).await,
            Fault::Connection(how) => connection(how, kind.name.clone(), ledger.clone()).await,
            _ => continue,
        };
        ports.insert(kind.name.clone(), port);
    }
    names(ledger.clone()).await;
    Sinks { http, ports, bundle: authority.bundle.clone() }
}

/// Serves the requests of one connection, or only the first.
async fn plain(stream: TcpStream, ledger: Arc<Ledger>, keep: bool) {
    let mut stream = BufReader::new(stream);
    while let Some((head, body)) = read_request(&mut stream).await {
        match act(&mut stream, ledger.arrived(&Request { head, body })).await {
            Next::Go if keep => {}
            Next::Go | Next::End => return,
            Next::Reset => {
                let _ = stream.get_ref().set_zero_linger();
                return;
            }
        }
    }
}

enum Next {
    Go,
    End,
    Reset,
}

async fn act<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut BufReader<S>, act: Act) -> Next {
    let reply = match act {
        Act::Take => Reply::Status(200),
        Act::Crowded => Reply::Raw("HTTP/1.1 429 X\r\nRetry-After: 14400\r\nContent-Length: 0\r\n\r\n"),
        Act::Refuse(429) => Reply::Raw("HTTP/1.1 429 X\r\nRetry-After: 3600\r\nContent-Length: 0\r\n\r\n"),
        Act::Refuse(503) => Reply::Raw("HTTP/1.1 503 X\r\nRetry-After: 120\r\nContent-Length: 0\r\n\r\n"),
        Act::Refuse(status) => Reply::Status(status),
        Act::Odd(odd) => match odd {
            Odd::EndlessBody => Reply::EndlessBody(200),
            Odd::EndlessError => Reply::EndlessBody(500),
            Odd::CutBody => Reply::Raw("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\ncut"),
            Odd::CutError => Reply::Raw("HTTP/1.1 500 X\r\nContent-Length: 100\r\n\r\ncut"),
            Odd::SlowHead => Reply::SlowHead,
            Odd::HalfHead => Reply::HalfHead,
            Odd::Garbage => Reply::Raw("\u{1}\u{2}garbage\r\n\r\n"),
            Odd::ManyHeaders => Reply::ManyHeaders,
            Odd::Close => Reply::Close,
            Odd::Reset => return Next::Reset,
            Odd::NoHead => return stall(stream, "").await,
            Odd::HalfHeadThenSilence => return stall(stream, "HTTP/1.1 200 OK\r\nContent-").await,
            Odd::StalledBody => return stall(stream, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n").await,
            Odd::SilentClose => {
                let _ = send(stream, Reply::Status(200)).await;
                // Long enough for the answer to be read, short enough to meet the next request.
                tokio::time::sleep(Duration::from_millis(3)).await;
                return Next::End;
            }
        },
    };
    if send(stream, reply).await.is_some() { Next::Go } else { Next::End }
}

/// Says so much and then nothing, until the other side has enough of it.
async fn stall<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut BufReader<S>, begin: &str) -> Next {
    let _ = stream.write_all(begin.as_bytes()).await;
    let _ = stream.flush().await;
    let mut rest = [0; 64];
    while let Ok(Ok(1..)) = tokio::time::timeout(Duration::from_secs(60), stream.read(&mut rest)).await {}
    Next::End
}

/// Two of three connections meet the fault, the third is as it should be.
fn is_faulty(turn: &AtomicUsize) -> bool {
    turn.fetch_add(1, Ordering::Relaxed) % 3 != 2
}

async fn tls(how: Tls, name: String, ledger: Arc<Ledger>, authority: &Authority) -> u16 {
    let usual = Options::usual();
    let acceptor = |config| Some(TlsAcceptor::from(Arc::new(config)));
    let wrong = match how {
        Tls::Expired => acceptor(authority.server(|p| p.not_after = date_time_ymd(2020, 2, 1), &usual)),
        Tls::NotYetValid => acceptor(authority.server(|p| p.not_before = date_time_ymd(2090, 2, 1), &usual)),
        Tls::WrongName => acceptor(authority.server(
            |p| p.subject_alt_names = CertificateParams::new(vec!["a.example".into()]).unwrap().subject_alt_names,
            &usual,
        )),
        Tls::UnknownIssuer => acceptor(authority.self_signed(IsCa::NoCa)),
        Tls::ClientCertificate => acceptor(authority.server(|_| {}, &Options::demanding(&version::TLS13))),
        Tls::None | Tls::PlainHttp | Tls::Cut | Tls::Stalled => None,
    };
    let right = TlsAcceptor::from(Arc::new(authority.server(|_| {}, &usual)));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let turn = AtomicUsize::new(0);
        while let Ok((stream, _)) = listener.accept().await {
            let fault = if how != Tls::None && is_faulty(&turn) { how } else { Tls::None };
            if fault != Tls::None {
                ledger.count(&name);
            }
            let (wrong, right, ledger) = (wrong.clone(), right.clone(), ledger.clone());
            tokio::spawn(async move {
                let mut stream = stream;
                match fault {
                    Tls::None => {
                        let mut stream = BufReader::new(right.accept(stream).await.ok()?);
                        let (head, body) = read_request(&mut stream).await?;
                        act(&mut stream, ledger.arrived(&Request { head, body })).await;
                        stream.shutdown().await.ok()
                    }
                    Tls::PlainHttp => stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.ok(),
                    Tls::Cut => stream.read(&mut [0; 4096]).await.ok().map(drop),
                    Tls::Stalled => {
                        stall(&mut BufReader::new(stream), "").await;
                        None
                    }
                    _ => {
                        // The client ends it; a demanded certificate is missed only with the first read.
                        let mut stream = wrong?.accept(stream).await.ok()?;
                        stream.read(&mut [0; 64]).await.ok().map(drop)
                    }
                }
            });
        }
    });
    port
}

async fn connection(how: Connection, name: String, ledger: Arc<Ledger>) -> u16 {
    if how == Connection::Reset {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let turn = AtomicUsize::new(0);
            while let Ok((stream, _)) = listener.accept().await {
                if is_faulty(&turn) {
                    ledger.count(&name);
                    let _ = stream.set_zero_linger();
                } else {
                    tokio::spawn(plain(stream, ledger.clone(), false));
                }
            }
        });
        return port;
    }
    // Nobody else is in this namespace, so the port stays free while nobody listens there.
    let port = if how == Connection::Refused { 4001 } else { 4002 };
    tokio::spawn(async move {
        loop {
            let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
            socket.set_reuse_address(true).unwrap();
            // A process that is just being started may still hold the last one.
            while socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], port)).into()).is_err() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            socket.set_nonblocking(true).unwrap();
            if how == Connection::Refused {
                tokio::time::sleep(Duration::from_millis(1000)).await;
                socket.listen(128).unwrap();
            } else {
                socket.listen(0).unwrap();
                let fill: Vec<_> = (0..4).map(|_| fill(port)).collect();
                tokio::time::sleep(Duration::from_millis(1500)).await;
                drop(fill);
            }
            let listener = TcpListener::from_std(socket.into()).unwrap();
            let serve = async {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(plain(stream, ledger.clone(), false));
                }
            };
            let _ = tokio::time::timeout(Duration::from_millis(500), serve).await;
        }
    });
    port
}

/// A connection that takes a place in the listener's queue.
fn fill(port: u16) -> socket2::Socket {
    let client = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    client.set_nonblocking(true).unwrap();
    let _ = client.connect(&std::net::SocketAddr::from(([127, 0, 0, 1], port)).into());
    client
}

/// Names that lead nowhere for two of three seconds, or to addresses that must not be dialled.
async fn names(ledger: Arc<Ledger>) {
    let begun = std::time::Instant::now();
    let turn = AtomicUsize::new(0);
    name_server(move |name, is_v6| {
        let name = name.trim_end_matches(".test");
        let Some(Fault::Name(how)) = ledger.plan.kind(name).map(|kind| ledger.plan.kinds[kind].fault.clone()) else {
            return Says::Code(3);
        };
        let faulty = begun.elapsed().as_secs() % 3 != 2;
        let here = ips(&["127.0.0.1"]);
        let (is_fault, says) = match how {
            Name::Unknown => (faulty, Says::Code(3)),
            Name::ServerFailure => (faulty, Says::Code(2)),
            Name::Silent => (faulty, Says::Nothing),
            Name::Private => (true, Says::Addresses(ips(&["10.9.9.9"]))),
            Name::Mixed => (true, Says::Addresses(ips(&["10.9.9.9", "127.0.0.1", "169.254.169.254"]))),
            Name::Flipping => (is_faulty(&turn), Says::Addresses(ips(&["169.254.169.254", "fd00:ec2::254"]))),
        };
        if is_fault && !is_v6 {
            ledger.count(name);
        }
        if is_fault { says } else { Says::Addresses(here) }
    })
    .await;
}
