//! A DynamoDB table: one item per destination and one per route, so that ten thousand detections are no slower than
//! one. An outcome costs two reads, of its routes and then of their destinations, and a third where these name other
//! fallbacks. Only a check scans.
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

const KEY: &str = "pk";

/// What `BatchGetItem` takes at once.
const KEYS_AT_ONCE: usize = 100;

/// Answers with unprocessed keys (throttling) before the look-up counts as failed.
const ROUNDS: u32 = 6;

/// A table, and the client that reads it.
#[derive(Clone, Copy)]
pub(super) struct Table<'a> {
    pub(super) dynamodb: &'a Service<Client>,
    pub(super) name: &'a str,
}

impl Table<'_> {
    /// The part of the table under a key, as a document of its own: one destination with its fallback, or all that an
    /// outcome of a detection needs.
    pub(super) async fn read(self, key: &str, consistent: bool) -> Result<Document, Failure> {
        if let Some(id) = key.strip_prefix("destination#") {
            let destinations = self.destinations(vec![id.to_owned()], consistent).await?;
            return Ok(Document { destinations, routes: None }.checked());
        }
        let mut items = self.get(vec![key.to_owned(), "route#*".to_owned()], false).await?;
        let key = if items.contains_key(key) { key } else { "route#*" };
        let (Some(item), Some(id)) = (items.remove(key), key.strip_prefix("route#")) else {
            return Ok(Document { routes: Some(BTreeMap::new()), ..Document::default() });
        };
        let route = route(key, &item);
        let destinations = self.destinations(route.destinations.clone(), false).await?;
        Ok(Document { destinations, routes: Some(BTreeMap::from([(id.to_owned(), route)])) }.checked())
    }

    /// The whole table, and what is wrong with items that are neither destination nor route. It is read for a check
    /// alone, never for an outcome.
    pub(super) async fn read_all(self) -> Result<(Document, Vec<Problem>), Failure> {
        let (mut destinations, mut routes, mut problems) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        let client = self.dynamodb.client().await;
        let mut pages = client.scan().table_name(self.name).into_paginator().items().send();
        while let Some(item) = pages.next().await {
            let mut item = object(item.map_err(|error| self.failed(&error))?);
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

    /// Destinations by their ids, and the fallbacks that they name. An id that the table has not is left out.
    async fn destinations(self, mut wanted: Vec<String>, consistent: bool) -> Result<Destinations, Failure> {
        let mut destinations = Destinations::new();
        // A fallback has none itself, so the second round is the last.
        for _ in 0..2 {
            let keys = wanted.iter().map(|id| format!("destination#{id}")).collect();
            for (key, item) in self.get(keys, consistent).await? {
                if let Some(id) = key.strip_prefix("destination#") {
                    destinations.insert(id.to_owned(), destination(id, item));
                }
            }
            let named = destinations.values().flatten().filter_map(|one| one.fallback.as_ref());
            wanted = named.map(|fallback| fallback.to.clone()).filter(|id| !destinations.contains_key(id)).collect();
        }
        Ok(destinations)
    }

    /// Items by key, without the key attribute. What the table has not is left out.
    async fn get(self, mut keys: Vec<String>, consistent: bool) -> Result<HashMap<String, Item>, Failure> {
        keys.sort_unstable();
        keys.dedup();
        let mut items = HashMap::new();
        for keys in keys.chunks(KEYS_AT_ONCE) {
            let mut wanted = keys_of(keys, consistent);
            let mut round = 0;
            while let Some(request) = wanted.take() {
                if round == ROUNDS {
                    return Err(Failure::of_aws(Code::LookupFailed, &self.what(), AwsReason::Throttled, ""));
                }
                if round > 0 {
                    tokio::time::sleep(Duration::from_millis(50 << round)).await;
                }
                round += 1;
                let client = self.dynamodb.client().await;
                let answer = client.batch_get_item().request_items(self.name, request).send().await;
                let answer = answer.map_err(|error| self.failed(&error))?;
                for item in answer.responses.into_iter().flat_map(HashMap::into_values).flatten() {
                    let mut item = object(item);
                    if let Some(Value::String(key)) = item.remove(KEY) {
                        items.insert(key, item);
                    }
                }
                let mut unprocessed = answer.unprocessed_keys.unwrap_or_default();
                wanted = unprocessed.remove(self.name).filter(|rest| !rest.keys.is_empty());
            }
        }
        Ok(items)
    }

    fn what(self) -> String {
        format!("the table {} in {}", self.name, self.dynamodb.region())
    }

    fn failed(self, error: &impl ProvideErrorMetadata) -> Failure {
        failure(Code::LookupFailed, &self.what(), error)
    }
}

type Destinations = BTreeMap<String, Result<Arc<Destination>, Vec<Problem>>>;

/// An item's attributes by name.
type Item = Map<String, Value>;

/// Attributes `aws:…` are DynamoDB's own, such as those of global tables.
fn destination(id: &str, mut item: Item) -> Result<Arc<Destination>, Vec<Problem>> {
    item.retain(|name, _| !name.starts_with("aws:"));
    let path = format!("destination#{}", shown(id));
    // JSON with names that are strings is always written.
    let text = to_raw_value(&item).map_err(|_| vec![Problem::new(&*path, "JSON")])?;
    parse_destination(id, &path, &text)
}

fn route(key: &str, item: &Item) -> Route {
    Route::parse(&format!("{key}.destinations"), item.get("destinations").unwrap_or(&Value::Null))
}

/// Nothing for no keys, which DynamoDB refuses to look for.
fn keys_of(keys: &[String], consistent: bool) -> Option<KeysAndAttributes> {
    let key = |key: &String| HashMap::from([(KEY.to_owned(), AttributeValue::S(key.clone()))]);
    let keys: Vec<_> = keys.iter().map(key).collect();
    let request = KeysAndAttributes::builder().set_keys(Some(keys)).consistent_read(consistent).build();
    request.ok().filter(|request| !request.keys.is_empty())
}

fn object(attributes: HashMap<String, AttributeValue>) -> Item {
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
