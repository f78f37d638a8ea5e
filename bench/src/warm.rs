//! Warm deliveries: CPU and wall time per event, in shuffled rounds.

use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::figures::Figures;
use crate::floor;
use crate::function::{Function, Program};
use crate::programs::deliverer;
use crate::servers::{self, Counts, OK};
use crate::setup::{Setup, batch, direct, document, large_document};

const ROUNDS: usize = 9;

/// A program with the event that it gets again and again.
struct Case {
    name: String,
    function: Function,
    event: Bytes,
    /// Deliveries per event.
    deliveries: usize,
    /// Events per round.
    events: usize,
    cpu: Vec<f64>,
    wall: Vec<f64>,
}

impl Case {
    async fn start(
        setup: &Setup,
        name: &str,
        program: &Program,
        event: Bytes,
        deliveries: usize,
        events: usize,
    ) -> Self {
        let output = setup.work.join(format!("output.{name}.log"));
        let mut function = Function::start(program, &output).await;
        for _ in 0..events {
            function.deliver(&event).await;
        }
        Self { name: name.to_owned(), function, event, deliveries, events, cpu: Vec::new(), wall: Vec::new() }
    }

    async fn round(&mut self) {
        // Its idle connections may have been closed meanwhile.
        self.function.deliver(&self.event).await;
        let (before, mut wall) = (self.function.cpu(), Duration::ZERO);
        for _ in 0..self.events {
            wall += self.function.deliver(&self.event).await;
        }
        let deliveries = (self.events * self.deliveries) as f64;
        self.cpu.push(self.function.cpu().saturating_sub(before).as_secs_f64() * 1e6 / deliveries);
        self.wall.push(wall.as_secs_f64() * 1e6 / deliveries);
    }
}

pub async fn measure(setup: &Setup, figures: &mut Figures) {
    let https = servers::receiver(Some(&setup.authority), &Counts::default(), OK).await;
    let http = servers::receiver(None, &Counts::default(), OK).await;
    let aws = servers::aws(None, &Counts::default(), String::new(), Duration::ZERO).await;
    let trusting = |name: &str, document: &_| setup.trusting(setup.with_document(name, document, &aws));
    let direct = direct(&setup.root);
    let mut cases = vec![Case::start(setup, "hello", &setup.hello(), direct.clone(), 1, 200).await];
    for (name, url) in [("http", &http), ("https", &https)] {
        let program = trusting(&format!("warm-{name}"), &document(url));
        cases.push(Case::start(setup, &format!("function.{name}"), &program, direct.clone(), 1, 200).await);
        for size in [1, 10] {
            let (name, event) = (format!("function.{name}.sqs.{size}"), batch(&setup.root, size));
            cases.push(Case::start(setup, &name, &program, event, size, 200 / size).await);
        }
    }
    for size in [1, 485, 10_000] {
        let name = format!("registry.{size}");
        // Read once: a file's document is read anew after REGISTRY_TTL_SECONDS, which is no delivery's own cost.
        let program = trusting(&name, &large_document(&https, size)).with("REGISTRY_TTL_SECONDS", "3600");
        cases.push(Case::start(setup, &name, &program, direct.clone(), 1, 200).await);
    }
    let file = setup.work.join("warm-https.json");
    for name in ["python", "node"] {
        let peer = deliverer(setup, name, "file", file.to_str().unwrap(), &aws);
        cases.push(Case::start(setup, &format!("{name}.https"), &peer.program, direct.clone(), 1, 100).await);
    }
    let floors = [("http", &http), ("https", &https)];
    let mut floor_samples = [const { Vec::new() }; 2];
    let mut order: Vec<_> = (0..cases.len() + floors.len()).collect();
    for _ in 0..ROUNDS {
        fastrand::shuffle(&mut order);
        for index in &order {
            match index.checked_sub(cases.len()) {
                None => cases[*index].round().await,
                Some(index) => floor_samples[index].push(floor::run(floors[index].1).await),
            }
        }
    }
    for case in &cases {
        figures.set_samples(&format!("warm.{}.cpu", case.name), &case.cpu);
        figures.set_samples(&format!("warm.{}.wall", case.name), &case.wall);
    }
    for ((name, _), samples) in floors.iter().zip(&floor_samples) {
        figures.set_samples(&format!("warm.floor.{name}.cpu"), samples);
    }
    let (now, most) = cases.iter().find(|case| case.name == "function.https").unwrap().function.memory();
    figures.set("rss.warm", now);
    figures.set("rss.warm.most", most);
}

/// For what is timed once: milliseconds of one event.
pub async fn milliseconds(function: &mut Function, event: &Bytes) -> f64 {
    let started = Instant::now();
    function.deliver(event).await;
    started.elapsed().as_secs_f64() * 1e3
}
