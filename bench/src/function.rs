//! A program under the mock Runtime API: the function, or what it is compared with.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use crate::servers::{Answer, RuntimeApi};
use crate::throttle::cpu;

/// How a program is started.
#[derive(Clone)]
pub struct Program {
    pub command: Vec<String>,
    pub variables: Vec<(String, String)>,
}

impl Program {
    pub fn new(command: &[&str]) -> Self {
        let own = |text: &&str| (*text).to_owned();
        let mut program = Self { command: command.iter().map(own).collect(), variables: Vec::new() };
        for (name, value) in [
            ("AWS_LAMBDA_FUNCTION_NAME", "detection-outcome-handler"),
            ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256"),
            ("AWS_LAMBDA_LOG_FORMAT", "JSON"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_DEFAULT_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("AWS_SESSION_TOKEN", "test"),
            ("LOCAL_RECEIVERS", "true"),
            ("PATH", "/usr/bin:/bin"),
        ] {
            program = program.with(name, value);
        }
        program
    }

    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.variables.push((name.to_owned(), value.into()));
        self
    }
}

/// A started program, idle between two events. It ends with this value.
pub struct Function {
    child: Child,
    api: RuntimeApi,
    /// From its start to its first `next`.
    pub init: Duration,
    output: PathBuf,
}

impl Function {
    /// Starts a program and waits until it asks for an event.
    pub async fn start(program: &Program, output: &Path) -> Self {
        let mut api = RuntimeApi::start().await;
        let file = std::fs::File::create(output).unwrap();
        let mut command = Command::new(&program.command[0]);
        command
            .args(&program.command[1..])
            .env_clear()
            .env("AWS_LAMBDA_RUNTIME_API", &api.address)
            .envs(program.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .kill_on_drop(true);
        let started = Instant::now();
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{:?}: {error}", program.command));
        let asked = tokio::select! {
            asked = api.asked() => asked.unwrap(),
            status = child.wait() => {
                panic!("{:?} ended: {status:?}\n{}", program.command, std::fs::read_to_string(output).unwrap())
            }
        };
        Self { child, api, init: asked - started, output: output.to_owned() }
    }

    /// Hands an event over and waits for the answer, and until the program asks for the next.
    pub async fn invoke(&mut self, event: &Bytes) -> Answer {
        let answer = tokio::time::timeout(Duration::from_mins(2), self.api.invoke(event.clone()));
        let answer = answer.await.ok().flatten().unwrap_or_else(|| panic!("no answer\n{}", self.output()));
        self.api.asked().await.unwrap();
        answer
    }

    /// The same; the event must be handled.
    pub async fn deliver(&mut self, event: &Bytes) -> Duration {
        let answer = self.invoke(event).await;
        let text = String::from_utf8_lossy(&answer.body);
        assert!(answer.succeeded && !text.contains("itemIdentifier"), "{text}\n{}", self.output());
        answer.took
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().and_then(|id| id.try_into().ok()).unwrap()).unwrap()
    }

    /// CPU time of all its threads so far.
    pub fn cpu(&self) -> Duration {
        cpu(self.pid())
    }

    /// Resident memory in bytes: now, and at most so far.
    pub fn memory(&self) -> (f64, f64) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let bytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            1024.0 * line.split_whitespace().next().unwrap().parse::<f64>().unwrap()
        };
        (bytes("VmRSS:"), bytes("VmHWM:"))
    }

    /// Everything on standard output so far.
    pub fn output(&self) -> String {
        std::fs::read_to_string(&self.output).unwrap()
    }

    /// Ends it as Lambda does, and waits for that.
    pub async fn end(mut self) {
        kill_process(self.pid(), Signal::TERM).unwrap();
        self.child.wait().await.unwrap();
    }
}
