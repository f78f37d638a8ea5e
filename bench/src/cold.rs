//! Cold starts: init, look-up and first HTTPS delivery, with a warm and with a cold page cache.

use std::fs::File;
use std::path::Path;

use rustix::fs::{Advice, fadvise};
use serde_json::Value;

use crate::figures::Figures;
use crate::function::Function;
use crate::moto::Moto;
use crate::programs::{Deliverer, NAMES, deliverer};
use crate::servers::{self, Counts, OK};
use crate::setup::{Setup, direct, document};

const ROUNDS: usize = 9;

pub async fn measure(setup: &Setup, figures: &mut Figures) {
    let receiver = servers::receiver(Some(&setup.authority), &Counts::default(), OK).await;
    let (document, event) = (document(&receiver), direct(&setup.root));
    let moto = Moto::start(setup).await;
    moto.keep("destinations", &document).await;
    let file = keep(setup, &document);
    let mut cases: Vec<(Deliverer, bool)> = Vec::new();
    for registry in ["file", "secretsmanager", "dynamodb"] {
        for name in NAMES {
            let place = if registry == "file" { &file } else { "destinations" };
            for cold in [false, true] {
                cases.push((deliverer(setup, name, registry, place, &moto.url), cold));
            }
        }
    }
    let hello = setup.hello();
    for cold in [false, true] {
        let files = vec![setup.binary("hello")];
        cases.push((Deliverer { name: "hello", registry: "file", program: hello.clone(), files }, cold));
    }
    let mut samples = vec![[const { Vec::new() }; 4]; cases.len()];
    let mut order: Vec<_> = (0..cases.len()).collect();
    for _ in 0..ROUNDS {
        fastrand::shuffle(&mut order);
        for index in &order {
            let (one, cold) = &cases[*index];
            if *cold {
                one.files.iter().for_each(|path| forget(path));
            }
            let mut function = Function::start(&one.program, &setup.output()).await;
            let first = function.deliver(&event).await;
            let total = function.init + first;
            let (memory, _) = function.memory();
            let [inits, firsts, totals, memories] = &mut samples[*index];
            inits.push(function.init.as_secs_f64() * 1e3);
            firsts.push(first.as_secs_f64() * 1e3);
            totals.push(total.as_secs_f64() * 1e3);
            memories.push(memory);
        }
    }
    for ((one, cold), samples) in cases.iter().zip(&samples) {
        let cache = if *cold { "cold" } else { "warm" };
        for (what, samples) in ["init", "first", "total", "rss"].iter().zip(samples) {
            figures.set_samples(&format!("start.{}.{}.{cache}.{what}", one.name, one.registry), samples);
        }
    }
}

fn keep(setup: &Setup, document: &Value) -> String {
    let path = setup.work.join("destinations.json");
    std::fs::write(&path, document.to_string()).unwrap();
    path.display().to_string()
}

/// Takes files out of the page cache, as far as no process has them mapped.
fn forget(path: &Path) {
    if path.is_dir() {
        for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
            if !entry.path().is_symlink() {
                forget(&entry.path());
            }
        }
    } else if let Ok(file) = File::open(path) {
        let _ = fadvise(&file, 0, None, Advice::DontNeed);
    }
}
