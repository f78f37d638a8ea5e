//! Starts the function: under AWS's Runtime Interface Emulator (RIE), or under a Runtime API of this file's own where
//! RIE cannot do what a test needs (parallel invocations, trace ids, chosen deadlines).

use std::collections::HashMap;
use std::ops::Deref;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::sync::{Notify, oneshot};

const BINARY: &str = env!("CARGO_BIN_EXE_detection-outcome-handler");

/// A running function. It ends with this value.
pub(crate) struct Function {
    _child: Child,
    rie: String,
    log: Log,
}

/// Variables that every test sets: receivers are on loopback.
pub(crate) fn local(destination: &str) -> Vec<(String, String)> {
    vars(&[("WEBHOOK_URL", destination), ("LOCAL_RECEIVERS", "true")])
}

pub(crate) fn vars(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// A destinations document in a file of its own.
pub(crate) fn document(value: &Value) -> Vec<(String, String)> {
    static COUNT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let path =
        PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("destinations-{}-{count}.json", std::process::id()));
    std::fs::write(&path, value.to_string()).unwrap();
    vars(&[("DESTINATIONS", &format!("file:{}", path.display())), ("LOCAL_RECEIVERS", "true")])
}

fn rie() -> PathBuf {
    let name = if cfg!(target_arch = "aarch64") { "aws-lambda-rie-arm64" } else { "aws-lambda-rie-x86_64" };
    let lib = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(".venv/lib");
    let found = std::fs::read_dir(lib).ok().and_then(|entries| {
        entries
            .flatten()
            .map(|entry| entry.path().join("site-packages/samcli/local/rapid").join(name))
            .find(|path| path.exists())
    });
    found.expect("the Runtime Interface Emulator is missing: run `make tools`")
}

/// A port for a program that cannot choose one itself. It lies below those that the system hands out, and no other
/// test's process begins its search at the same place, so nobody takes it until that program does.
pub(crate) fn free_port() -> u16 {
    static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    loop {
        let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let port = u16::try_from(10_240 + (std::process::id() * 16 + count) % 20_000).unwrap();
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// What a program has written to its standard output so far.
pub(crate) struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn of(child: &mut Child) -> Self {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
        let sink = lines.clone();
        tokio::spawn(async move {
            while let Ok(Some(line)) = output.next_line().await {
                sink.lock().unwrap().push(line);
            }
        });
        Self(lines)
    }

    /// Everything, byte for byte.
    pub(crate) async fn output(&self) -> String {
        tokio::time::sleep(Duration::from_millis(60)).await;
        self.0.lock().unwrap().join("\n")
    }

    /// The function's lines; each must be one JSON object with the message first.
    pub(crate) async fn log(&self) -> Vec<Value> {
        parse_log(&self.output().await)
    }

    /// The lines that tell what became of a delivery or record.
    pub(crate) async fn results(&self) -> Vec<Value> {
        self.having("result").await
    }

    /// The lines of invocations: all but those of the cold start.
    pub(crate) async fn invocation_lines(&self) -> Vec<Value> {
        self.having("request_id").await
    }

    async fn having(&self, field: &str) -> Vec<Value> {
        let mut log = self.log().await;
        log.retain(|line| line.get(field).is_some());
        log
    }
}

/// Starts a program that ends with its `Child`, and collects what it writes.
pub(crate) fn start(command: &mut Command) -> (Child, Log) {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}; run `make tools`"));
    let log = Log::of(&mut child);
    (child, log)
}

impl Deref for Function {
    type Target = Log;

    fn deref(&self) -> &Log {
        &self.log
    }
}

impl Deref for OwnRuntime {
    type Target = Log;

    fn deref(&self) -> &Log {
        &self.log
    }
}

impl Function {
    /// Starts the function with a timeout of a minute, which a destination's own of 30 s fits into.
    pub(crate) async fn start(variables: Vec<(String, String)>) -> Self {
        Self::start_with_timeout(variables, 60).await
    }

    pub(crate) async fn start_with_timeout(variables: Vec<(String, String)>, timeout_seconds: u32) -> Self {
        let (rie_port, api_port) = (free_port(), free_port());
        let rie_address = format!("127.0.0.1:{rie_port}");
        let mut command = Command::new(rie());
        command
            .args(["--log-level", "error", "--runtime-interface-emulator-address", &rie_address])
            .args(["--runtime-api-address", &format!("127.0.0.1:{api_port}"), BINARY])
            .env_clear()
            .env("AWS_LAMBDA_FUNCTION_TIMEOUT", timeout_seconds.to_string())
            .envs(variables);
        let (child, log) = start(&mut command);
        for _ in 0..200 {
            if TcpStream::connect(&rie_address).await.is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        Self { _child: child, rie: rie_address, log }
    }

    /// Invokes the function and returns what the caller gets: an answer, or an error with `errorMessage`.
    pub(crate) async fn invoke(&self, event: &str) -> Value {
        let path = "/2015-03-31/functions/function/invocations";
        let (status, body) = http_post(&self.rie, path, event.as_bytes()).await;
        serde_json::from_slice(&body)
            .unwrap_or_else(|_| panic!("HTTP {status}, no JSON: {}", String::from_utf8_lossy(&body)))
    }
}

pub(crate) fn parse_log(output: &str) -> Vec<Value> {
    // What the emulator itself prints around an invocation.
    let foreign = ["START RequestId", "END RequestId", "REPORT RequestId", "INIT_REPORT"];
    let ours = output.lines().filter(|line| !foreign.iter().any(|start| line.starts_with(start)));
    ours.map(|line| {
        assert!(line.starts_with("{\"level\":\""), "{line}");
        assert!(line.len() <= 8192, "a line of {} bytes", line.len());
        let value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(value["level"].is_string() && value["timestamp"].is_string(), "{line}");
        value
    })
    .collect()
}

async fn http_post(address: &str, path: &str, body: &[u8]) -> (u16, Vec<u8>) {
    http_post_with(address, path, "", body).await
}

pub(crate) async fn http_post_with(address: &str, path: &str, headers: &str, body: &[u8]) -> (u16, Vec<u8>) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    // At once: in two pieces, the second would wait for the first one's acknowledgement.
    stream.write_all(&[head.as_bytes(), body].concat()).await.unwrap();
    // moto's server waits 10 ms for more, unless it is told that there is none.
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("an HTTP response") + 4;
    let status = String::from_utf8_lossy(&answer[9..12]).parse().unwrap();
    let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
    let body =
        if head.contains("transfer-encoding: chunked") { dechunk(&answer[end..]) } else { answer[end..].to_vec() };
    (status, body)
}

fn dechunk(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = rest.windows(2).position(|window| window == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap(), 16).unwrap();
        if size == 0 {
            break;
        }
        body.extend_from_slice(&rest[end + 2..end + 2 + size]);
        rest = &rest[end + 4 + size..];
    }
    body
}

/// What the function told the Runtime API about an invocation, or about its start.
#[derive(Debug)]
pub(crate) struct Told {
    /// The request id, if it is about an invocation.
    pub(crate) id: String,
    /// `response`, `error` or `init`.
    pub(crate) kind: &'static str,
    pub(crate) body: Value,
}

struct Pending {
    id: String,
    headers: String,
    event: String,
    told: oneshot::Sender<Told>,
}

#[derive(Default)]
struct Api {
    waiting: Mutex<Vec<Pending>>,
    running: Mutex<HashMap<String, oneshot::Sender<Told>>>,
    init: Mutex<Option<Told>>,
    arrived: Notify,
    over: AtomicBool,
}

/// A Runtime API as Lambda documents it (runtimes-api.html), with the function behind it.
pub(crate) struct OwnRuntime {
    child: Mutex<Child>,
    api: Arc<Api>,
    log: Log,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for OwnRuntime {
    fn drop(&mut self) {
        self.api.over.store(true, Ordering::SeqCst);
        self.server.abort();
    }
}

impl OwnRuntime {
    pub(crate) async fn start(variables: Vec<(String, String)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let api = Arc::new(Api::default());
        let served = api.clone();
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, served.clone()));
            }
        });
        let mut command = Command::new(BINARY);
        command
            .env_clear()
            .env("AWS_LAMBDA_RUNTIME_API", address.to_string())
            .env("AWS_LAMBDA_FUNCTION_NAME", "f")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "1")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128")
            .envs(variables);
        let (child, log) = start(&mut command);
        Self { child: Mutex::new(child), api, log, server }
    }

    /// Hands over an event with a deadline that is `left` away.
    pub(crate) async fn invoke(&self, event: &str, left: Duration) -> Told {
        let deadline = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap() + left;
        self.invoke_with_deadline(event, deadline.as_millis()).await
    }

    pub(crate) async fn invoke_with_deadline(&self, event: &str, deadline_ms: u128) -> Told {
        static COUNT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let id = format!("request-{}", COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
        let headers = format!(
            "Lambda-Runtime-Aws-Request-Id: {id}\r\nLambda-Runtime-Deadline-Ms: {deadline_ms}\r\n\
             Lambda-Runtime-Invoked-Function-Arn: arn:aws:lambda:eu-west-1:1:function:f\r\n\
             Lambda-Runtime-Trace-Id: Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Parent=9a9197af755a6419;Sampled=1\r\n"
        );
        let (told, answer) = oneshot::channel();
        self.api.waiting.lock().unwrap().push(Pending { id, headers, event: event.to_owned(), told });
        self.api.arrived.notify_waiters();
        tokio::time::timeout(Duration::from_secs(60), answer).await.expect("an answer within a minute").unwrap()
    }

    /// Waits for the process to end by itself; its exit code and what it told about its start.
    pub(crate) async fn ended(&self) -> (Option<i32>, Option<Told>) {
        for _ in 0..200 {
            let status = self.child.lock().unwrap().try_wait().unwrap();
            if let Some(status) = status {
                tokio::time::sleep(Duration::from_millis(60)).await;
                return (status.code(), self.api.init.lock().unwrap().take());
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("the function goes on running");
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.lock().unwrap().id()
    }

    /// A number that the system knows of the process (`/proc/PID/status`), such as `VmHWM`, the most memory that it has
    /// held, in KiB.
    pub(crate) fn status(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid().unwrap())).unwrap();
        let found = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        found
            .and_then(|value| value.split_whitespace().next()?.parse().ok())
            .unwrap_or_else(|| panic!("{name}: {status}"))
    }

    /// The processor time that the process has taken, in steps of 10 ms.
    pub(crate) fn processor_time(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid().unwrap())).unwrap();
        // proc_pid_stat(5): `utime` and `stime`, in hundredths of a second, are the twelfth and thirteenth after the name.
        let fields = stat.rsplit(')').next().unwrap().split_whitespace().skip(11).take(2);
        Duration::from_millis(10 * fields.map(|ticks| ticks.parse::<u64>().unwrap()).sum::<u64>())
    }

    /// Sends the process a signal, such as `-STOP`.
    pub(crate) async fn signal(&self, signal: &str) {
        if let Some(pid) = self.pid() {
            let _ = Command::new("kill").args([signal, &pid.to_string()]).stderr(Stdio::null()).status().await;
        }
    }

    /// Leaves the process as much memory as it has and a little more: too little for a thread's stack, so that looking a
    /// name up panics.
    pub(crate) async fn leave_no_room_for_threads(&self) {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let Some(pid) = self.pid() else { return };
        let pages = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
        let pages: u64 = pages.split(' ').next().and_then(|pages| pages.parse().ok()).unwrap_or(0);
        let limit = pages * 4096 + (3 << 19);
        let arguments = ["--pid", &pid.to_string(), &format!("--as={limit}")];
        let _ = Command::new("prlimit").args(arguments).status().await;
    }

    /// Whether the process has ended.
    pub(crate) fn is_gone(&self) -> bool {
        self.child.lock().unwrap().try_wait().unwrap().is_some()
    }

    /// Everything on standard output, when the process is ending.
    pub(crate) async fn lines_at_its_end(&self) -> Vec<String> {
        self.ended().await;
        std::mem::take(&mut self.log.0.lock().unwrap())
    }
}

async fn serve(stream: TcpStream, api: Arc<Api>) {
    let mut stream = BufReader::new(stream);
    while let Some((head, body)) = super::receiver::read_request(&mut stream).await {
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let (headers, answer) = if path.ends_with("/invocation/next") {
            let Some(pending) = next(&api).await else { return };
            api.running.lock().unwrap().insert(pending.id, pending.told);
            (pending.headers, pending.event)
        } else {
            let id = path.split('/').nth(4).unwrap_or_default();
            let told = |kind| Told { id: id.to_owned(), kind, body: serde_json::from_slice(&body).unwrap_or_default() };
            let kind = if path.ends_with("/response") { "response" } else { "error" };
            if path.ends_with("/init/error") {
                *api.init.lock().unwrap() = Some(told("init"));
            } else if let Some(sender) = api.running.lock().unwrap().remove(id) {
                let _ = sender.send(told(kind));
            }
            (String::new(), "{}".to_owned())
        };
        let head = format!(
            "HTTP/1.1 200 OK\r\n{headers}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            answer.len()
        );
        if stream.write_all((head + &answer).as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn next(api: &Api) -> Option<Pending> {
    while !api.over.load(Ordering::SeqCst) {
        let arrived = api.arrived.notified();
        if let Some(pending) = api.waiting.lock().unwrap().pop() {
            return Some(pending);
        }
        let _ = tokio::time::timeout(Duration::from_millis(100), arrived).await;
    }
    None
}
