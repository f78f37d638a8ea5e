//! Receivers that do what real ones do, and what hostile ones might.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// What a receiver does with a request.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    Status(u16),
    /// These bytes instead of a well-formed answer.
    Raw(&'static str),
    /// Answers after a while.
    Slow(Duration, u16),
    /// Never answers.
    Silence,
    /// Sends the head byte by byte, forever.
    SlowHead,
    /// A good head, and then a body without end.
    EndlessBody(u16),
    /// Closes the connection when the request is read.
    Close,
    /// Resets the connection when the request is read.
    Reset,
    /// Half of the head, then the end.
    HalfHead,
    ManyHeaders,
}

/// A receiver on loopback; it ends with this value.
pub(crate) struct Receiver {
    pub(crate) port: u16,
    requests: Arc<Mutex<Vec<Request>>>,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Receiver {
    pub(crate) async fn start(reply: Reply) -> Self {
        Self::start_scripted(move |_| reply.clone()).await
    }

    /// Answers each request as the script says for it.
    pub(crate) async fn start_scripted(script: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (seen, script) = (requests.clone(), Arc::new(script));
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, script.clone(), seen.clone()));
            }
        });
        Self { port, requests, server }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/hook", self.port)
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

/// Reads one HTTP request; nothing when the connection ends first.
pub(crate) async fn read_request<S: AsyncRead + Unpin>(stream: &mut BufReader<S>) -> Option<(String, Vec<u8>)> {
    let mut head = String::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        if line == "\r\n" {
            break;
        }
        head.push_str(&line);
    }
    let header = |name: &str| {
        head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix(name).map(|value| value.trim().to_owned()))
    };
    let mut body = Vec::new();
    if header("transfer-encoding:").is_some() {
        loop {
            let mut size = String::new();
            stream.read_line(&mut size).await.ok()?;
            let size = usize::from_str_radix(size.trim(), 16).ok()?;
            let mut chunk = vec![0; size + 2];
            stream.read_exact(&mut chunk).await.ok()?;
            if size == 0 {
                break;
            }
            body.extend_from_slice(&chunk[..size]);
        }
    } else {
        body = vec![0; header("content-length:").and_then(|length| length.parse().ok()).unwrap_or(0)];
        stream.read_exact(&mut body).await.ok()?;
    }
    Some((head, body))
}

type Script = dyn Fn(&Request) -> Reply + Send + Sync;

async fn answer(stream: TcpStream, script: Arc<Script>, seen: Arc<Mutex<Vec<Request>>>) {
    let mut stream = BufReader::new(stream);
    while let Some((head, body)) = read_request(&mut stream).await {
        let request = Request { head, body };
        let reply = script(&request);
        seen.lock().unwrap().push(request);
        if matches!(reply, Reply::Reset) {
            // A socket that is closed with no lingering sends a reset (RFC 9293, section 3.10.4).
            let _ = stream.get_ref().set_zero_linger();
            return;
        }
        if send(&mut stream, reply).await.is_none() {
            return;
        }
    }
}

/// `None` when the connection is to be closed.
pub(crate) async fn send<S: AsyncWrite + Unpin>(stream: &mut S, reply: Reply) -> Option<()> {
    match reply {
        Reply::Status(status) => status_line(stream, status, "").await,
        Reply::Raw(text) => {
            stream.write_all(text.as_bytes()).await.ok()?;
            None
        }
        Reply::Slow(wait, status) => {
            tokio::time::sleep(wait).await;
            status_line(stream, status, "").await
        }
        Reply::Silence => std::future::pending().await,
        Reply::SlowHead => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nX-Slow: ").await.ok()?;
            loop {
                stream.write_all(b"x").await.ok()?;
                stream.flush().await.ok()?;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        Reply::EndlessBody(status) => {
            let head = format!("HTTP/1.1 {status} X\r\nContent-Length: 99999999999\r\n\r\n");
            stream.write_all(head.as_bytes()).await.ok()?;
            loop {
                stream.write_all(&[b'x'; 16384]).await.ok()?;
            }
        }
        Reply::Close | Reply::Reset => None,
        Reply::HalfHead => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-").await.ok()?;
            None
        }
        Reply::ManyHeaders => {
            let headers = "X-Many: y\r\n".repeat(10_000);
            status_line(stream, 200, &headers).await
        }
    }
}

async fn status_line<S: AsyncWrite + Unpin>(stream: &mut S, status: u16, headers: &str) -> Option<()> {
    let text = format!("HTTP/1.1 {status} X\r\n{headers}Content-Length: 0\r\n\r\n");
    stream.write_all(text.as_bytes()).await.ok()
}
