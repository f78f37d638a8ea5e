//! What every measurement shares: places, the function's configuration, and events.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::function::Program;
use crate::servers::Authority;

/// Which build of the function is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Build {
    /// As it is deployed: `cargo lambda build --release`.
    Release,
    /// The same without its slow link: what the tests run.
    Shaped,
}

impl Build {
    pub fn name(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Shaped => "shaped",
        }
    }
}

/// Where things are, and who vouches for the servers here.
pub struct Setup {
    pub root: PathBuf,
    /// For files of a run.
    pub work: PathBuf,
    pub build: Build,
    pub authority: Authority,
}

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

pub fn work() -> PathBuf {
    root().join("target/bench")
}

/// A signing secret as Standard Webhooks writes them: 24 bytes.
pub const SIGNING_SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

impl Setup {
    pub fn new(build: Build) -> Self {
        let (root, work) = (root(), work());
        std::fs::create_dir_all(&work).unwrap();
        let authority = Authority::new(&work);
        Self { root, work, build, authority }
    }

    /// A built program by its package's name.
    pub fn binary(&self, name: &str) -> PathBuf {
        let path = match self.build {
            Build::Release => self.root.join("target/lambda").join(name).join("bootstrap"),
            Build::Shaped => self.root.join("target/shaped").join(name),
        };
        assert!(path.exists(), "{} is missing: use `make bench` or `make bench-gates`", path.display());
        path
    }

    pub fn output(&self) -> PathBuf {
        self.work.join("output.log")
    }

    pub fn hello(&self) -> Program {
        Program::new(&[self.binary("hello").to_str().unwrap()])
    }

    /// The function with a registry, and with queues at a stand-in for AWS.
    pub fn function(&self, destinations: &str, aws: &str) -> Program {
        Program::new(&[self.binary("detection-outcome-handler").to_str().unwrap()])
            .with("DESTINATIONS", destinations)
            .with("AWS_ENDPOINT_URL", aws)
            .with("RETRY_QUEUE_URL", format!("{aws}/123456789012/detection-outcomes-retry"))
            .with("DEAD_LETTER_QUEUE_URL", format!("{aws}/123456789012/detection-outcomes-dead"))
    }

    /// Lets a program trust the servers here.
    pub fn trusting(&self, program: Program) -> Program {
        let authority = self.authority.pem.to_str().unwrap();
        program.with("EXTRA_CA_BUNDLE", authority).with("AWS_CA_BUNDLE", authority)
    }

    /// The same with a document in a file.
    pub fn with_file(&self, document: &Value, aws: &str) -> Program {
        self.with_document("destinations", document, aws)
    }

    pub fn with_document(&self, name: &str, document: &Value, aws: &str) -> Program {
        let path = self.work.join(format!("{name}.json"));
        std::fs::write(&path, document.to_string()).unwrap();
        self.function(&format!("file:{}", path.display()), aws)
    }
}

/// A destination as people write them: a key in a header, and signatures.
pub fn destination(url: &str) -> Value {
    json!({
        "url": format!("{url}/hooks/T0001/B0001"),
        "headers": { "Authorization": "Bearer 0123456789abcdef0123456789abcdef" },
        "signing_secrets": [SIGNING_SECRET],
    })
}

/// A document with one destination for everything.
pub fn document(url: &str) -> Value {
    json!({ "destinations": { "soc": destination(url) }, "routes": { "*": ["soc"] } })
}

/// A document of `size` destinations, each with a route of its own; the last is `soc`, for everything else.
pub fn large_document(url: &str, size: usize) -> Value {
    let mut destinations = Map::new();
    let mut routes = Map::new();
    for index in 1..size {
        let id = format!("team-{index}");
        destinations.insert(id.clone(), destination("https://webhooks.example.com"));
        routes.insert((100_000 + index).to_string(), json!([id]));
    }
    destinations.insert("soc".into(), destination(url));
    routes.insert("*".into(), json!(["soc"]));
    json!({ "destinations": destinations, "routes": routes })
}

/// The platform's documented example, as one line.
pub fn outcome(root: &Path, detection_id: u64) -> Value {
    let text = std::fs::read_to_string(root.join("events/matched.json")).unwrap();
    let mut outcome: Value = serde_json::from_str(&text).unwrap();
    outcome["detection_id"] = detection_id.into();
    outcome
}

pub fn direct(root: &Path) -> Bytes {
    outcome(root, 123).to_string().into()
}

/// An event of SQS with that many outcomes, of detections 1, 2, 3 and so on.
pub fn batch(root: &Path, size: usize) -> Bytes {
    let record = |index| record("detection-outcomes", index, &outcome(root, index as u64 + 1).to_string(), &json!({}));
    json!({ "Records": (0..size).map(record).collect::<Vec<_>>() }).to_string().into()
}

/// A message of a queue, sent now and received once, as Lambda hands it over.
pub fn record(queue: &str, index: usize, body: &str, attributes: &Value) -> Value {
    // What has waited for days is dead-lettered.
    let sent = jiff::Timestamp::now().as_millisecond().to_string();
    json!({
        "messageId": format!("059f36b4-87a3-44ab-83d2-{index:012}"),
        "receiptHandle": format!("AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a1AQEBwJnKyrHigUMZj6rYigC{index:012}"),
        "body": body,
        "attributes": {
            "ApproximateReceiveCount": "1",
            "SentTimestamp": sent,
            "SenderId": "AIDAIENQZJOLO23YVJ4VO",
            "ApproximateFirstReceiveTimestamp": sent,
        },
        "messageAttributes": attributes,
        "md5OfBody": "e4e68fb7bd0e697a0ae8f1bb342846b3",
        "eventSource": "aws:sqs",
        "eventSourceARN": format!("arn:aws:sqs:us-east-1:123456789012:{queue}"),
        "awsRegion": "us-east-1",
    })
}
