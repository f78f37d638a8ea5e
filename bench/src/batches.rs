//! One invocation with many deliveries, to receivers that take 50 ms.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::figures::Figures;
use crate::function::{Function, Program};
use crate::programs::{NAMES, deliverer};
use crate::servers::{self, Counts, OK, Reply};
use crate::setup::{Setup, batch, destination, direct};
use crate::warm::milliseconds;

const ROUNDS: usize = 5;

/// What a receiver takes.
const DELAY: Duration = Duration::from_millis(50);

/// Attempts that the function makes at once.
const AT_ONCE: usize = 64;

pub async fn measure(setup: &Setup, figures: &mut Figures) {
    let mut receivers = Vec::new();
    for _ in 0..10 {
        let reply = Reply { delay: DELAY, ..OK };
        receivers.push(servers::receiver(Some(&setup.authority), &Counts::default(), reply).await);
    }
    let aws = servers::aws(None, &Counts::default(), String::new(), Duration::ZERO).await;
    let keep = |name: &str, document: &Value| {
        let path = setup.work.join(format!("{name}.json"));
        std::fs::write(&path, document.to_string()).unwrap();
        path.display().to_string()
    };

    // Outcomes of a thousand detections, to ten destinations by turns: one destination alone has fewer places.
    let ids: Vec<_> = (0..10).map(|index| format!("team-{index}")).collect();
    let destinations: Value = ids.iter().zip(&receivers).map(|(id, url)| (id.clone(), destination(url))).collect();
    let mut routes: Value = (1..=1000).map(|id: usize| (id.to_string(), json!([ids[id % 10]]))).collect();
    routes["*"] = json!(["team-0"]);
    let place = keep("batches", &json!({ "destinations": destinations, "routes": routes }));
    for name in NAMES {
        let program = deliverer(setup, name, "file", &place, &aws).program;
        for size in [10, 100, 1000] {
            let figure = format!("batch.{size}.{name}");
            times(setup, figures, &figure, &program, &batch(&setup.root, size), size).await;
        }
    }

    for size in [1, 10, 50] {
        let ids: Vec<_> = (0..size).map(|index| format!("team-{index}")).collect();
        let receivers = receivers.iter().cycle();
        let destinations: Value = ids.iter().zip(receivers).map(|(id, url)| (id.clone(), destination(url))).collect();
        let place = keep("fan-out", &json!({ "destinations": destinations, "routes": { "*": ids } }));
        let program = deliverer(setup, "function", "file", &place, &aws).program;
        times(setup, figures, &format!("fanout.{size}"), &program, &direct(&setup.root), size).await;
    }
}

/// Wall time of an event that makes so many deliveries, that time by the ideal, and the most memory.
async fn times(setup: &Setup, figures: &mut Figures, name: &str, program: &Program, event: &Bytes, deliveries: usize) {
    let mut function = Function::start(program, &setup.output()).await;
    let mut samples = Vec::new();
    // The first opens the connections.
    let first = milliseconds(&mut function, event).await;
    for _ in 0..ROUNDS {
        samples.push(milliseconds(&mut function, event).await);
    }
    let ideal = deliveries.div_ceil(AT_ONCE) as f64 * DELAY.as_secs_f64() * 1e3;
    figures.set(format!("{name}.ideal"), ideal);
    figures.set(format!("{name}.first"), first);
    figures.set_samples(name, &samples);
    figures.set(format!("{name}.rss"), function.memory().1);
}
