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
use crate::domain::failure::{AwsReason, Code, Failure};
use crate::domain::problem::Problem;
use crate::domain::route::Route;
use crate::outbound::aws::{Service, failure};

use super::LookupError;

const KEY: &str = "pk";

/// What `BatchGetItem` takes at once.
const KEYS_AT_ONCE: usize = 100;

/// Answers with unprocessed keys (throttling) before the look-up counts as failed.
const ROUNDS: u32 = 6;

/// The part of the table that an outcome of this detection needs, as a document of its own.
pub(super) async fn read(service: &Service<Client>, table: &str, detection_id: &str) -> Result<Document, LookupError> {
    let own = format!("route#{detection_id}");
    let mut items = get(service, table, vec![own.clone(), "route#*".to_owned()], false).await?;
    let (path, id) = if items.contains_key(&own) { (own, detection_id) } else { ("route#*".to_owned(), "*") };
    let Some(item) = items.remove(&path) else {
        return Ok(Document { destinations: BTreeMap::new(), routes: Some(BTreeMap::new()) });
    };
    let route = route(&path, &item);
    let destinations = destinations(service, table, route.destinations.clone(), false).await?;
    Ok(Document { destinations, routes: Some(BTreeMap::from([(id.to_owned(), route)])) }.checked())
}

/// One destination, and its fallback if it has one, as a document of its own.
pub(super) async fn read_one(
    service: &Service<Client>,
    table: &str,
    id: &str,
    consistent: bool,
) -> Result<Document, LookupError> {
    let destinations = destinations(service, table, vec![id.to_owned()], consistent).await?;
    Ok(Document { destinations, routes: None }.checked())
}

/// The whole table, and what is wrong with items that are neither destination nor route. It is read for a check alone,
/// never for an outcome.
pub(super) async fn read_all(service: &Service<Client>, table: &str) -> Result<(Document, Vec<Problem>), LookupError> {
    let (mut destinations, mut routes, mut problems) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
    let client = service.client().await;
    let mut pages = client.scan().table_name(table).into_paginator().items().send();
    while let Some(item) = pages.next().await {
        let item = item.map_err(|error| failed(service, table, error.code(), error.message()))?;
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
    Ok((Document { destinations, routes: Some(routes) }.checked(), problems))
}

type Destinations = BTreeMap<String, Result<Arc<Destination>, Vec<Problem>>>;

/// Destinations by their ids, and the fallbacks that they name. An id that the table has not is left out.
async fn destinations(
    service: &Service<Client>,
    table: &str,
    ids: Vec<String>,
    consistent: bool,
) -> Result<Destinations, LookupError> {
    let mut destinations = Destinations::new();
    let mut wanted = ids;
    // A fallback has none itself, so the second round is the last.
    for _ in 0..2 {
        let keys = wanted.iter().map(|id| format!("destination#{id}")).collect();
        for (key, item) in get(service, table, keys, consistent).await? {
            if let Some(id) = key.strip_prefix("destination#") {
                destinations.insert(id.to_owned(), destination(id, item));
            }
        }
        let fallbacks = destinations.values().flatten().filter_map(|one| one.fallback.as_ref());
        wanted = fallbacks.map(|fallback| fallback.to.clone()).filter(|id| !destinations.contains_key(id)).collect();
        if wanted.is_empty() {
            break;
        }
    }
    Ok(destinations)
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
    mut keys: Vec<String>,
    consistent: bool,
) -> Result<HashMap<String, Map<String, Value>>, LookupError> {
    keys.sort_unstable();
    keys.dedup();
    let mut items = HashMap::new();
    for keys in keys.chunks(KEYS_AT_ONCE) {
        let mut wanted = keys_of(keys, consistent);
        let mut round = 0;
        while let Some(request) = wanted.take() {
            if round == ROUNDS {
                let what = what(service, table);
                return Err(LookupError(Failure::of_aws(Code::LookupFailed, what, AwsReason::Throttled, "")));
            }
            if round > 0 {
                tokio::time::sleep(Duration::from_millis(50 << round)).await;
            }
            round += 1;
            let answer = service.client().await.batch_get_item().request_items(table, request).send().await;
            let answer = answer.map_err(|error| failed(service, table, error.code(), error.message()))?;
            for item in answer.responses.into_iter().flat_map(HashMap::into_values).flatten() {
                let mut item = object(item);
                if let Some(Value::String(key)) = item.remove(KEY) {
                    items.insert(key, item);
                }
            }
            wanted = answer.unprocessed_keys.unwrap_or_default().remove(table).filter(|rest| !rest.keys.is_empty());
        }
    }
    Ok(items)
}

/// Nothing for no keys, which DynamoDB refuses to look for.
fn keys_of(keys: &[String], consistent: bool) -> Option<KeysAndAttributes> {
    let key = |key: &String| HashMap::from([(KEY.to_owned(), AttributeValue::S(key.clone()))]);
    let keys: Vec<_> = keys.iter().map(key).collect();
    let request = KeysAndAttributes::builder().set_keys(Some(keys)).consistent_read(consistent).build();
    request.ok().filter(|request| !request.keys.is_empty())
}

fn what(service: &Service<Client>, table: &str) -> String {
    format!("the table {table} in {}", service.region())
}

fn failed(service: &Service<Client>, table: &str, code: Option<&str>, message: Option<&str>) -> LookupError {
    LookupError(failure(Code::LookupFailed, what(service, table), code, message))
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
