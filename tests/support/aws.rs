//! AWS's APIs on this machine: moto's server, or a port that answers as a store in trouble does.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OnceCell;

use super::dynamodb::attribute;
use super::receiver::read_request;
use super::runtime::{free_port, http_post_with, vars};

/// An AWS account at moto's server.
pub(crate) struct Aws {
    /// The server, if it is this account's own. It ends with this value.
    _server: Option<Child>,
    pub(crate) port: u16,
    id: String,
    access_key: String,
}

impl Aws {
    /// An account of its own, at the one server of this process.
    pub(crate) async fn start() -> Self {
        static MOTO: OnceCell<Aws> = OnceCell::const_new();
        static COUNT: AtomicUsize = AtomicUsize::new(1);
        let moto = MOTO.get_or_init(|| Self::start_as(&["moto_server"])).await;
        let id = format!("{:012}", COUNT.fetch_add(1, Ordering::Relaxed));
        // moto finds the account by the access key, which it gives to whoever assumes a role there.
        let role = format!("arn:aws:iam::{id}:role/test");
        let role = [("Action", "AssumeRole"), ("RoleArn", &*role), ("RoleSessionName", "test")];
        let access_key = element(&moto.query("sts", &role).await, "AccessKeyId");
        Self { _server: None, port: moto.port, id, access_key }
    }

    /// Starts moto as a program of the virtual environment, for moto's usual account.
    pub(crate) async fn start_as(command: &[&str]) -> Self {
        let port = free_port();
        let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin");
        // The end of its input ends it: that comes with this value, and with this process, whichever way that ends.
        #[expect(
            clippy::zombie_processes,
            reason = "it ends with this process, which has no end of its own to wait at"
        )]
        let server = Command::new("sh")
            .args(["-c", "\"$@\" & read -r _; kill $!", "sh"])
            .arg(programs.join(command[0]))
            .args(&command[1..])
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        for _ in 0..400 {
            if TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
                return Self { _server: Some(server), port, id: "123456789012".into(), access_key: "test".into() };
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("moto's server does not start: run `make tools`");
    }

    /// The ARN of a queue.
    pub(crate) fn arn(&self, queue: &str) -> String {
        format!("arn:aws:sqs:eu-west-1:{}:{queue}", self.id)
    }

    fn authorization(&self, service: &str) -> String {
        let key = &self.access_key;
        format!(
            "Authorization: AWS4-HMAC-SHA256 Credential={key}/20260101/eu-west-1/{service}/aws4_request, \
             SignedHeaders=host, Signature=0\r\n"
        )
    }

    /// Calls an API of the "JSON protocol" kind.
    pub(crate) async fn call(&self, target: &str, body: Value) -> Value {
        let service = match target.split(['_', '.']).next() {
            Some("DynamoDB") => "dynamodb",
            Some("AmazonSQS") => "sqs",
            _ => "secretsmanager",
        };
        let authorization = self.authorization(service);
        let headers = format!("X-Amz-Target: {target}\r\nContent-Type: application/x-amz-json-1.1\r\n{authorization}");
        let address = format!("127.0.0.1:{}", self.port);
        let (status, answer) = http_post_with(&address, "/", &headers, body.to_string().as_bytes()).await;
        let answer = serde_json::from_slice(&answer).unwrap_or_default();
        assert_eq!(status, 200, "{target}: {answer}");
        answer
    }

    pub(crate) async fn create_secret(&self, name: &str, value: &str) {
        self.call(
            "secretsmanager.CreateSecret",
            json!({ "Name": name, "SecretString": value, "ClientRequestToken": token() }),
        )
        .await;
    }

    pub(crate) async fn put_secret(&self, name: &str, value: &str) {
        self.call(
            "secretsmanager.PutSecretValue",
            json!({ "SecretId": name, "SecretString": value, "ClientRequestToken": token() }),
        )
        .await;
    }

    pub(crate) async fn create_table(&self, name: &str) {
        let key = json!([{ "AttributeName": "pk", "KeyType": "HASH" }]);
        let attributes = json!([{ "AttributeName": "pk", "AttributeType": "S" }]);
        let table = json!({ "TableName": name, "KeySchema": key, "AttributeDefinitions": attributes, "BillingMode": "PAY_PER_REQUEST" });
        self.call("DynamoDB_20120810.CreateTable", table).await;
    }

    /// Writes items of plain JSON, as `aws dynamodb put-item` would.
    pub(crate) async fn put_items(&self, table: &str, items: &[Value]) {
        for items in items.chunks(25) {
            let requests: Vec<_> =
                items.iter().map(|item| json!({ "PutRequest": { "Item": attribute(item)["M"] } })).collect();
            self.call("DynamoDB_20120810.BatchWriteItem", json!({ "RequestItems": { table: requests } })).await;
        }
    }

    /// Makes a queue and returns its URL.
    pub(crate) async fn create_queue(&self, name: &str) -> String {
        let answer = self.call("AmazonSQS.CreateQueue", json!({ "QueueName": name })).await;
        let url = answer["QueueUrl"].as_str().unwrap();
        // As it is reached from here, whatever name moto gives itself.
        format!("http://127.0.0.1:{}/{}", self.port, url.splitn(4, '/').nth(3).unwrap())
    }

    pub(crate) async fn send(&self, queue: &str, body: &str, attributes: Value) {
        let message = json!({ "QueueUrl": queue, "MessageBody": body, "MessageAttributes": attributes });
        self.call("AmazonSQS.SendMessage", message).await;
    }

    /// Receives what is visible, as records of the event that Lambda makes of it.
    pub(crate) async fn receive(&self, queue: &str) -> Vec<Value> {
        self.receive_some(queue, 10).await
    }

    pub(crate) async fn receive_some(&self, queue: &str, most: usize) -> Vec<Value> {
        let request = json!({
            "QueueUrl": queue, "MaxNumberOfMessages": most, "MessageAttributeNames": ["All"],
            "MessageSystemAttributeNames": ["All"], "AttributeNames": ["All"],
        });
        let answer = self.call("AmazonSQS.ReceiveMessage", request).await;
        let name = queue.rsplit('/').next().unwrap();
        let record = |message: &Value| {
            let attributes = message["MessageAttributes"].as_object().cloned().unwrap_or_default();
            let attributes: serde_json::Map<_, _> = attributes
                .into_iter()
                .map(|(name, value)| {
                    (name, json!({ "dataType": value["DataType"], "stringValue": value["StringValue"] }))
                })
                .collect();
            json!({
                "messageId": message["MessageId"], "receiptHandle": message["ReceiptHandle"], "body": message["Body"],
                "attributes": message["Attributes"], "messageAttributes": attributes, "eventSource": "aws:sqs",
                "eventSourceARN": self.arn(name), "awsRegion": "eu-west-1",
            })
        };
        answer["Messages"].as_array().map(|messages| messages.iter().map(record).collect()).unwrap_or_default()
    }

    /// Makes an SNS topic and returns its ARN.
    pub(crate) async fn create_topic(&self, name: &str) -> String {
        element(&self.query("sns", &[("Action", "CreateTopic"), ("Name", name)]).await, "TopicArn")
    }

    /// Subscribes a queue to a topic with raw message delivery.
    pub(crate) async fn subscribe_raw(&self, topic: &str, queue: &str) {
        let parameters = [
            ("Action", "Subscribe"),
            ("TopicArn", topic),
            ("Protocol", "sqs"),
            ("Endpoint", &self.arn(queue)),
            ("Attributes.entry.1.key", "RawMessageDelivery"),
            ("Attributes.entry.1.value", "true"),
        ];
        self.query("sns", &parameters).await;
    }

    pub(crate) async fn publish(&self, topic: &str, message: &str, attributes: &[(&str, &str)]) {
        let mut parameters = vec![
            ("Action".to_owned(), "Publish".to_owned()),
            ("TopicArn".into(), topic.into()),
            ("Message".into(), message.into()),
        ];
        for (index, (name, value)) in attributes.iter().enumerate() {
            let entry = format!("MessageAttributes.entry.{}", index + 1);
            parameters.push((format!("{entry}.Name"), (*name).to_owned()));
            parameters.push((format!("{entry}.Value.DataType"), "String".to_owned()));
            parameters.push((format!("{entry}.Value.StringValue"), (*value).to_owned()));
        }
        let parameters: Vec<_> = parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        self.query("sns", &parameters).await;
    }

    /// Calls an API of the "query protocol" kind.
    async fn query(&self, service: &str, parameters: &[(&str, &str)]) -> String {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
        let authorization = self.authorization(service);
        let headers = format!("Content-Type: application/x-www-form-urlencoded\r\n{authorization}");
        let address = format!("127.0.0.1:{}", self.port);
        let (status, answer) = http_post_with(&address, "/", &headers, body.as_bytes()).await;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert_eq!(status, 200, "{answer}");
        answer
    }

    /// Messages that are visible, delayed and in flight.
    pub(crate) async fn counts(&self, queue: &str) -> [u32; 3] {
        let answer =
            self.call("AmazonSQS.GetQueueAttributes", json!({ "QueueUrl": queue, "AttributeNames": ["All"] })).await;
        ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesDelayed", "ApproximateNumberOfMessagesNotVisible"]
            .map(|name| answer["Attributes"][name].as_str().unwrap().parse().unwrap())
    }

    /// Variables of a function whose destinations are kept here.
    pub(crate) fn variables(&self, place: &str) -> Vec<(String, String)> {
        self.variables_at(self.port, place)
    }

    /// The same by way of a relay.
    pub(crate) fn variables_at(&self, port: u16, place: &str) -> Vec<(String, String)> {
        let mut all = variables(port, place);
        all.retain(|(name, _)| name != "AWS_ACCESS_KEY_ID");
        all.extend(vars(&[("AWS_ACCESS_KEY_ID", &self.access_key)]));
        all
    }
}

/// The text of the first element with that name.
fn element(xml: &str, name: &str) -> String {
    let found = xml.split_once(&format!("<{name}>")).and_then(|(_, rest)| rest.split_once('<'));
    found.unwrap_or_else(|| panic!("{xml}")).0.to_owned()
}

/// Variables of a function that asks AWS at a port.
pub(crate) fn variables(port: u16, place: &str) -> Vec<(String, String)> {
    vars(&[
        ("DESTINATIONS", place),
        ("LOCAL_RECEIVERS", "true"),
        ("AWS_ENDPOINT_URL", &format!("http://127.0.0.1:{port}")),
        ("AWS_REGION", "eu-west-1"),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "SECRET"),
        ("AWS_SESSION_TOKEN", "SECRET"),
    ])
}

fn token() -> String {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    format!("{:032}", COUNT.fetch_add(1, Ordering::Relaxed))
}

/// The document's entries as items of a table that is replicated, so that DynamoDB adds an attribute to each.
pub(crate) fn items(document: &Value) -> Vec<Value> {
    let mut items = Vec::new();
    for (id, options) in document["destinations"].as_object().unwrap() {
        let mut item = if options.is_object() { options.clone() } else { json!({}) };
        item["pk"] = format!("destination#{id}").into();
        item["aws:rep:updatetime"] = 1.5.into();
        items.push(item);
    }
    for (id, route) in document["routes"].as_object().unwrap() {
        items.push(json!({ "pk": format!("route#{id}"), "destinations": route }));
    }
    items
}

/// What stands between the function and moto, and can be in trouble.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Trouble {
    /// AWS's answer to too many requests.
    Throttled,
    Error500,
    Silent,
    Closed,
    Denied,
    /// SQS's usual answer for a receipt that is no longer valid.
    NotInFlight,
    /// Status and body for a call, known by its name and request; status 0 closes the connection. Without an answer,
    /// the call is moto's.
    Scripted(fn(&str, &Value) -> Option<(u16, Value)>),
}

/// A relay to moto that counts requests, and answers as `trouble` says while it is on.
pub(crate) struct Relay {
    pub(crate) port: u16,
    pub(crate) trouble: Arc<AtomicBool>,
    requests: Arc<AtomicUsize>,
}

impl Relay {
    pub(crate) async fn start(to: u16, trouble: Trouble) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (on, requests) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (switch, count) = (on.clone(), requests.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(relay(stream, to, trouble, switch.clone(), count.clone()));
            }
        });
        Self { port, trouble: on, requests }
    }

    pub(crate) fn in_trouble(&self, on: bool) {
        self.trouble.store(on, Ordering::SeqCst);
    }

    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

/// One request per connection: simple, and the function's clients do not mind.
async fn relay(
    stream: TcpStream,
    to: u16,
    trouble: Trouble,
    on: Arc<AtomicBool>,
    count: Arc<AtomicUsize>,
) -> Option<()> {
    let mut stream = BufReader::new(stream);
    let (head, body) = read_request(&mut stream).await?;
    count.fetch_add(1, Ordering::SeqCst);
    if on.load(Ordering::SeqCst) {
        let message = "SECRET Value x for parameter ReceiptHandle is invalid. Reason: Message does not exist or is not \
                       available for visibility timeout change.";
        let error = |status, kind| Some((status, json!({ "__type": kind, "message": message })));
        let answer = match trouble {
            Trouble::NotInFlight => error(400, "InvalidParameterValue"),
            Trouble::Throttled => error(400, "ThrottlingException"),
            Trouble::Denied => error(400, "AccessDeniedException"),
            Trouble::Error500 => error(500, "InternalServiceError"),
            Trouble::Closed => return None,
            Trouble::Silent => std::future::pending().await,
            Trouble::Scripted(script) => {
                let target = head.lines().find(|line| line.to_ascii_lowercase().starts_with("x-amz-target:"))?;
                script(target.rsplit('.').next()?.trim(), &serde_json::from_slice(&body).ok()?)
            }
        };
        if let Some((status, answer)) = answer {
            let answer = answer.to_string();
            let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", answer.len());
            return if status == 0 { None } else { stream.write_all((head + &answer).as_bytes()).await.ok() };
        }
    }
    let mut upstream = TcpStream::connect(("127.0.0.1", to)).await.ok()?;
    let head = format!("{}\r\nConnection: close\r\n\r\n", head.trim_end());
    upstream.write_all(&[head.as_bytes(), &body].concat()).await.ok()?;
    let mut answer = Vec::new();
    upstream.read_to_end(&mut answer).await.ok()?;
    stream.write_all(&answer).await.ok()?;
    stream.shutdown().await.ok()
}
