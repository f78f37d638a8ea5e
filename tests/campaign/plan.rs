//! What is sent: all of it follows from the seed, so that the ledger needs to keep none of it.

use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};

use crate::Scale;
use crate::kinds::{Fault, Kind, SEVERITIES, Waits};

pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) kinds: Vec<Kind>,
    pub(crate) outcomes: usize,
    /// Seconds of the function's time in one of ours.
    pub(crate) time: f64,
    /// Destinations by detection.
    routes: Vec<Vec<usize>>,
}

/// One outcome, and how it arrives.
pub(crate) struct Planned {
    pub(crate) payload: String,
    pub(crate) webhook_id: String,
    pub(crate) kinds: Vec<usize>,
    pub(crate) form: Form,
    pub(crate) is_routed: bool,
    pub(crate) is_alert: bool,
    pub(crate) severity: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Form {
    Queue,
    SnsInQueue,
    EventBridgeInQueue,
    Direct,
    Sns,
    EventBridge,
    /// No outcome at all.
    Poison,
}

const UNROUTED: usize = 1_000_001;
const LARGE: usize = 1_000_002;

/// How much more often than others a destination without a fault is routed to.
const HEALTHY_WEIGHT: usize = 4;

/// The same for a dead one: enough in a short campaign for its circuit to open.
const DEAD_WEIGHT: usize = 2;

impl Plan {
    pub(crate) fn new(seed: u64, kinds: Vec<Kind>, scale: &Scale) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let is_healthy = |kind: &Kind| matches!(kind.fault, Fault::None | Fault::Tls(crate::kinds::Tls::None));
        let weight = |kind: &Kind| match kind.fault {
            Fault::Pager(_) => 0,
            Fault::Dead => scale.per_kind * DEAD_WEIGHT,
            _ if is_healthy(kind) => scale.per_kind * HEALTHY_WEIGHT,
            _ => scale.per_kind,
        };
        let mut deck: Vec<usize> =
            kinds.iter().enumerate().flat_map(|(index, kind)| std::iter::repeat_n(index, weight(kind))).collect();
        deck.shuffle(&mut random);
        let mut routes: Vec<Vec<usize>> = Vec::new();
        while !deck.is_empty() {
            let mut route: Vec<usize> = Vec::new();
            for _ in 0..=routes.len() % 3 {
                // A route names a destination once.
                if let Some(at) = deck.iter().rposition(|kind| !route.contains(kind)) {
                    route.push(deck.remove(at));
                }
            }
            routes.push(route);
        }
        Self { seed, kinds, outcomes: scale.outcomes, time: scale.time, routes }
    }

    /// The destinations document, during the operator's pause or after it.
    pub(crate) fn document(&self, url: impl Fn(&Kind) -> String, is_paused: bool) -> String {
        let mut destinations = serde_json::Map::new();
        for kind in &self.kinds {
            let mut options = match &kind.fault {
                Fault::Configured(Value::Null) => continue,
                Fault::Configured(options) => options.clone(),
                Fault::Waits(Waits::Paused) => json!({ "url": url(kind), "paused": is_paused }),
                Fault::Waits(Waits::Resting) => json!({ "url": url(kind), "paused": true }),
                Fault::Pager(takes) => json!({ "url": url(kind), "min_severity": takes.last() }),
                _ if kind.is("deadline") => json!({ "url": url(kind), "timeout": 300 }),
                _ if kind.is_slow() => json!({ "url": url(kind), "timeout": 1 }),
                _ => json!({ "url": url(kind) }),
            };
            if let Some((to, minutes)) = kind.fallback {
                options["fallback"] = json!({ "to": to, "after_minutes": minutes });
            }
            destinations.insert(kind.name.clone(), options);
        }
        let names = |route: &Vec<usize>| route.iter().map(|kind| self.kinds[*kind].name.clone()).collect::<Vec<_>>();
        let mut routes: serde_json::Map<_, _> =
            self.routes.iter().enumerate().map(|(id, route)| (id.to_string(), json!(names(route)))).collect();
        routes.insert(LARGE.to_string(), json!(["well", "good"]));
        json!({ "destinations": destinations, "routes": routes }).to_string()
    }

    pub(crate) fn kind(&self, name: &str) -> Option<usize> {
        self.kinds.iter().position(|kind| kind.name == name)
    }

    pub(crate) fn planned(&self, n: usize) -> Planned {
        let mut random = StdRng::seed_from_u64(self.seed ^ (n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let (detection, kinds, form) = match n % 60 {
            1 => (0, Vec::new(), Form::Poison),
            2 | 3 => (UNROUTED, Vec::new(), Form::Queue),
            4 => (LARGE, vec![0, 1], Form::Queue),
            _ => {
                let detection = n % self.routes.len();
                let form = match random.random_range(0..20) {
                    0 | 1 => Form::SnsInQueue,
                    2 | 3 => Form::EventBridgeInQueue,
                    4 => Form::Direct,
                    5 => Form::Sns,
                    6 => Form::EventBridge,
                    _ => Form::Queue,
                };
                (detection, self.routes[detection].clone(), form)
            }
        };
        let is_alert = n % 60 != 3;
        let outcome = match (is_alert, random.random_range(0..3)) {
            (false, _) => "NOT_MATCHED",
            (true, 0) => "ERROR",
            (true, _) => "MATCHED",
        };
        let severity = SEVERITIES[random.random_range(0..SEVERITIES.len())];
        let run_id = if n.is_multiple_of(50) { String::new() } else { format!(r#", "run_id":"run-{n}""#) };
        let mut payload = format!(
            "{{ \"detection_id\":{detection},\t\"detection_name\" : \"campaign {n}\"{run_id},\r\n \"severity\":\"{severity}\", \
             \"outcome\":\"{outcome}\",\"match_count\": {}, \"replay_link\":\"https:\\/\\/app.example\\/{n}\", \
             \"description\":\"\\u00e9 ü 🦀 \\\"q\\\" \", \"n\": 1.50e+2, \"search_id\":null}}",
            random.random_range(0..1000)
        );
        if detection == LARGE {
            let pad = "x".repeat((1 << 20) - payload.len());
            payload = payload.replace("\\u00e9 ü", &(pad + "\\u00e9 ü"));
        }
        if form == Form::Poison {
            payload = match n / 60 % 3 {
                0 => payload.replace("\"outcome\"", "\"result\""),
                1 => payload.trim_end_matches('}').to_owned(),
                _ => format!("[\"campaign {n}\"]"),
            };
        }
        let webhook_id = digest(&payload);
        Planned { payload, webhook_id, kinds, form, is_routed: detection != UNROUTED, is_alert, severity }
    }

    /// How many of a delivery's first requests fail: mostly one, sometimes two, seldom all.
    pub(crate) fn failures(&self, n: usize, kind: usize) -> u32 {
        let salt = (n as u64) << 16 | kind as u64;
        match StdRng::seed_from_u64(self.seed.wrapping_add(salt)).random_range(0..100) {
            0..=3 => u32::MAX,
            4..=29 => 2,
            _ => 1,
        }
    }

    /// Whether a delivery waits until it is too old. Its messages age faster, because nobody waits for six days here.
    pub(crate) fn is_hurried(&self, n: usize, kind: usize) -> bool {
        match self.kinds[kind].fault {
            Fault::Waits(Waits::Resting) => true,
            Fault::Status(429) => self.failures(n, kind) == u32::MAX,
            _ => false,
        }
    }

    /// The fallback of a kind.
    pub(crate) fn fallback(&self, kind: usize) -> Option<usize> {
        self.kind(self.kinds[kind].fallback?.0)
    }
}

fn digest(payload: &str) -> String {
    ring::digest::digest(&ring::digest::SHA256, payload.as_bytes()).as_ref()[..16]
        .iter()
        .fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

/// The number of the outcome that a text is about, in whatever envelope.
pub(crate) fn number(text: &str) -> Option<usize> {
    let rest = text.split_once("campaign ")?.1;
    rest[..rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())].parse().ok()
}

impl Planned {
    /// The body of its SQS message.
    pub(crate) fn message(&self) -> String {
        match self.form {
            Form::SnsInQueue => self.notification().to_string(),
            Form::EventBridgeInQueue => self.event_bridge(),
            _ => self.payload.clone(),
        }
    }

    /// The event of its own invocation.
    pub(crate) fn event(&self) -> String {
        match self.form {
            Form::Sns => {
                json!({ "Records": [{ "EventSource": "aws:sns", "EventVersion": "1.0", "Sns": self.notification() }] })
                    .to_string()
            }
            Form::EventBridge => self.event_bridge(),
            _ => self.payload.clone(),
        }
    }

    fn notification(&self) -> Value {
        json!({ "Type": "Notification", "MessageId": "m", "TopicArn": "arn:aws:sns:eu-west-1:1:t", "Message": self.payload })
    }

    fn event_bridge(&self) -> String {
        format!(r#"{{"version":"0","id":"e","detail-type":"Outcome","source":"platform","detail":{}}}"#, self.payload)
    }
}
