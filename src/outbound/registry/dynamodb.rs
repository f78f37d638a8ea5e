//! A DynamoDB table: one item per destination and one per route, so that ten thousand detections are no slower than
//! one. An outcome costs at most two reads, of its routes and then of their destinations; nothing is ever scanned.
//!
//! The key attribute `pk` is `destination#ID` or `route#DETECTION_ID` (`route#*` for the rest); the other attributes are
//! the options of the JSON document, and `destinations` for a route.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes};
use serde_json::value::to_raw_value;
use serde_json::{Map, Number, Value};

use crate::domain::destination::{Destination, shown};
use crate::domain::document::{Document, parse_destination};
use crate::domain::problem::Problem;
use crate::domain::route::Route;
use crate::outbound::aws::Service;

const KEY: &str = "pk";

/// What `BatchGetItem` takes at once.
const KEYS_AT_ONCE: usize = 100;

/// No item has a longer key, and DynamoDB refuses a request for one.
const MAX_KEY_BYTES: usize = 2048;

/// Answers with unprocessed keys (throttling) before the look-up counts as failed.
const ROUNDS: u32 = 6;

/// The part of the table that an outcome of this detection needs, as a document of its own.
pub(super) async fn read(service: &Service<Client>, table: &str, detection_id: &str) -> Result<Document, String> {
    let own = format!("route#{detection_id}");
    let mut keys = vec!["route#*".to_owned()];
    if own.len() <= MAX_KEY_BYTES {
        keys.push(own.clone());
    }
    let mut items = get(service, table, keys).await?;
    let (path, id) = if items.contains_key(&own) { (own, detection_id) } else { ("route#*".to_owned(), "*") };
    let Some(item) = items.remove(&path) else {
        return Ok(Document { destinations: BTreeMap::new(), routes: Some(BTreeMap::new()) });
    };
    let route = route(&path, &item);
    let mut destinations = BTreeMap::new();
    for ids in route.destinations.chunks(KEYS_AT_ONCE) {
        let keys = ids.iter().map(|id| format!("destination#{id}")).collect();
        for (key, item) in get(service, table, keys).await? {
            let Some(id) = key.strip_prefix("destination#") else { continue };
            destinations.insert(id.to_owned(), destination(id, item));
        }
    }
    Ok(Document { destinations, routes: Some(BTreeMap::from([(id.to_owned(), route)])) })
}

/// One destination, as a document of its own.
pub(super) async fn read_one(
    service: &Service<Client>,
    table: &str,
    id: &str,
    consistent: bool,
) -> Result<Document, String> {
    let key = format!("destination#{id}");
    let client = service.client().await;
    let answer =
        client.get_item().table_name(table).key(KEY, AttributeValue::S(key.clone())).consistent_read(consistent);
    let answer = answer
        .send()
        .await
        .map_err(|error| format!("the table {table} cannot be read: {}", super::reason(error.code())))?;
    let mut destinations = BTreeMap::new();
    if let Some(item) = answer.item {
        let mut item = object(item);
        item.remove(KEY);
        destinations.insert(id.to_owned(), destination(id, item));
    }
    Ok(Document { destinations, routes: None })
}

/// The whole table, and what is wrong with items that are neither destination nor route. It is read for a check alone,
/// never for an outcome.
pub(super) async fn read_all(service: &Service<Client>, table: &str) -> Result<(Document, Vec<Problem>), String> {
    let (mut destinations, mut routes, mut problems) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
    let client = service.client().await;
    let mut pages = client.scan().table_name(table).into_paginator().items().send();
    while let Some(item) = pages.next().await {
        let item =
            item.map_err(|error| format!("the table {table} cannot be read: {}", super::reason(error.code())))?;
        let mut item = object(item);
        let Some(Value::String(key)) = item.remove(KEY) else { continue };
        if let Some(id) = key.strip_prefix("destination#") {
            destinations.insert(id.to_owned(), destination(id, item));
        } else if let Some(id) = key.strip_prefix("route#") {
            routes.insert(id.to_owned(), route(&key, &item));
        } else {
            problems.push(Problem::new(key, "a key `destination#ID` or `route#DETECTION_ID`"));
        }
    }
    Ok((Document { destinations, routes: Some(routes) }, problems))
}

/// Attributes `aws:…` are DynamoDB's own, such as those of global tables.
fn destination(id: &str, mut item: Map<String, Value>) -> Result<Arc<Destination>, Vec<Problem>> {
    item.retain(|name, _| !name.starts_with("aws:"));
    let path = format!("destination#{}", shown(id));
    // JSON with names that are strings is always written.
    let text = to_raw_value(&item).map_err(|_| vec![Problem::new(&*path, "JSON")])?;
    parse_destination(id, &path, &text)
}

fn route(key: &str, item: &Map<String, Value>) -> Route {
    Route::parse(&format!("{key}.destinations"), item.get("destinations").unwrap_or(&Value::Null))
}

/// Items by key, without the key attribute. What the table has not is left out.
async fn get(
    service: &Service<Client>,
    table: &str,
    keys: Vec<String>,
) -> Result<HashMap<String, Map<String, Value>>, String> {
    let failed = |reason: String| format!("the table {table} cannot be read: {reason}");
    let mut items = HashMap::new();
    let mut wanted = keys_of(&keys).map_err(failed)?;
    for round in 0..ROUNDS {
        if round > 0 {
            tokio::time::sleep(Duration::from_millis(50 << round)).await;
        }
        let answer = service
            .client()
            .await
            .batch_get_item()
            .request_items(table, wanted)
            .send()
            .await
            .map_err(|error| failed(super::reason(error.code())))?;
        for item in answer.responses.into_iter().flat_map(HashMap::into_values).flatten() {
            let mut item = object(item);
            if let Some(Value::String(key)) = item.remove(KEY) {
                items.insert(key, item);
            }
        }
        match answer.unprocessed_keys.unwrap_or_default().remove(table) {
            Some(rest) if !rest.keys.is_empty() => wanted = rest,
            _ => return Ok(items),
        }
    }
    Err(failed("it is throttled; raise its capacity".to_owned()))
}

fn keys_of(keys: &[String]) -> Result<KeysAndAttributes, String> {
    let mut unique: Vec<_> = keys.to_vec();
    unique.sort_unstable();
    unique.dedup();
    let keys = unique.into_iter().map(|key| HashMap::from([(KEY.to_owned(), AttributeValue::S(key))])).collect();
    KeysAndAttributes::builder().set_keys(Some(keys)).build().map_err(|error| error.to_string())
}

fn object(attributes: HashMap<String, AttributeValue>) -> Map<String, Value> {
    attributes.into_iter().map(|(name, value)| (name, json(value))).collect()
}

/// The same value in JSON. Binary data has none, and no option takes it.
fn json(value: AttributeValue) -> Value {
    let strings = |texts: Vec<String>| Value::Array(texts.into_iter().map(Value::String).collect());
    match value {
        AttributeValue::S(text) => Value::String(text),
        AttributeValue::N(number) => number.parse::<Number>().map_or(Value::Null, Value::Number),
        AttributeValue::Bool(value) => Value::Bool(value),
        AttributeValue::M(members) => Value::Object(object(members)),
        AttributeValue::L(items) => Value::Array(items.into_iter().map(json).collect()),
        AttributeValue::Ss(texts) => strings(texts),
        _ => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_become_the_same_json() {
        let text = |text: &str| AttributeValue::S(text.to_owned());
        let value = AttributeValue::M(HashMap::from([
            ("s".to_owned(), text("x")),
            ("n".to_owned(), AttributeValue::N("30".to_owned())),
            ("b".to_owned(), AttributeValue::Bool(false)),
            ("l".to_owned(), AttributeValue::L(vec![text("a"), AttributeValue::Null(true)])),
            ("ss".to_owned(), AttributeValue::Ss(vec!["a".to_owned()])),
        ]));
        assert_eq!(json(value), serde_json::json!({ "s": "x", "n": 30, "b": false, "l": ["a", null], "ss": ["a"] }));
    }
}
