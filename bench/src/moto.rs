//! AWS's APIs as others emulate them: moto's server, with a secret and a table of destinations.

use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

use crate::dynamodb::attribute;
use crate::setup::Setup;

/// The server. It ends with this value.
pub struct Moto {
    _child: Child,
    pub url: String,
}

impl Moto {
    pub async fn start(setup: &Setup) -> Self {
        // A port that is free now. moto cannot choose one itself.
        let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
        let child = Command::new(setup.root.join(".venv/bin/moto_server"))
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("moto's server: run `make tools`");
        for _ in 0..400 {
            if TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
                return Self { _child: child, url: format!("http://127.0.0.1:{port}") };
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("moto's server does not start");
    }

    /// Keeps a document as a secret, and as the items of a table.
    ///
    /// The peers read the table's entries from one attribute, `json`; the function has attributes for the options.
    pub async fn keep(&self, name: &str, document: &Value) {
        let secret =
            json!({ "Name": name, "SecretString": document.to_string(), "ClientRequestToken": "0".repeat(32) });
        self.call("secretsmanager", "secretsmanager.CreateSecret", &secret).await;
        let table = json!({
            "TableName": name,
            "KeySchema": [{ "AttributeName": "pk", "KeyType": "HASH" }],
            "AttributeDefinitions": [{ "AttributeName": "pk", "AttributeType": "S" }],
            "BillingMode": "PAY_PER_REQUEST",
        });
        self.call("dynamodb", "DynamoDB_20120810.CreateTable", &table).await;
        let members = |kind: &str| document[kind].as_object().cloned().unwrap_or_default();
        let destinations = members("destinations").into_iter().map(|(id, options)| {
            let mut item = options.clone();
            item["pk"] = format!("destination#{id}").into();
            item["x-json"] = options.to_string().into();
            item
        });
        let routes = members("routes").into_iter().map(|(detection, ids)| {
            json!({ "pk": format!("route#{detection}"), "x-json": ids.to_string(), "destinations": ids })
        });
        let items: Vec<_> = destinations.chain(routes).collect();
        for items in items.chunks(25) {
            let puts: Vec<_> =
                items.iter().map(|item| json!({ "PutRequest": { "Item": attribute(item)["M"] } })).collect();
            let request = json!({ "RequestItems": { name: puts } });
            self.call("dynamodb", "DynamoDB_20120810.BatchWriteItem", &request).await;
        }
    }

    async fn call(&self, service: &str, target: &str, body: &Value) {
        let address = self.url.trim_start_matches("http://");
        let stream = TcpStream::connect(address).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::task::spawn_local(connection);
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/{service}/aws4_request, SignedHeaders=host, Signature=0"
        );
        let request = hyper::Request::post("/")
            .header("Host", address)
            .header("X-Amz-Target", target)
            .header("Content-Type", "application/x-amz-json-1.1")
            .header("Authorization", authorization)
            .body(Full::new(Bytes::from(body.to_string())))
            .unwrap();
        let answer = sender.send_request(request).await.unwrap();
        assert!(answer.status().is_success(), "{target}: {}", answer.status());
    }
}
