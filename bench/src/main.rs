//! Measures the function from outside. `make bench` runs everything, `make bench-gates` what has no noise.
//!
//! `cargo run --profile shaped --package bench -- PART…` measures parts again: `counts`, `sizes`, `start`, `warm`,
//! `batches`, `outage`; names such as `ir.warm` pick figures of `counts`. `--shaped` takes the tests' build.
//!
//! `make bench-flow` runs `flow`, which has a file of figures and a table of its own.

mod batches;
mod cold;
mod counts;
#[path = "../../tests/support/dynamodb.rs"]
mod dynamodb;
mod figures;
mod floor;
mod flow;
mod function;
mod gates;
mod moto;
mod outage;
mod plot;
mod programs;
mod report;
mod servers;
mod setup;
mod sizes;
#[path = "../../tests/support/throttle.rs"]
mod throttle;
mod warm;

use std::process::ExitCode;

use figures::Figures;
use gates::Gates;
use setup::{Build, Setup};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let is = |name: &str| arguments.iter().any(|argument| argument == name);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let run = |work| tokio::task::LocalSet::new().block_on(&runtime, work);
    if let [floor, url] = &arguments[..]
        && floor == "floor"
    {
        run(Box::pin(floor::post(url)) as std::pin::Pin<Box<dyn Future<Output = ()>>>);
        return ExitCode::SUCCESS;
    }
    if let [flow, before @ ..] = &arguments[..]
        && flow == "flow"
    {
        let setup = Setup::new(Build::Shaped);
        let mut figures = Figures::open(&setup.work.join("flow.json"), true);
        let before = before.first().map(String::as_str);
        run(Box::pin(async { flow::measure(&setup, &mut figures, before).await }));
        report::write_flow(&setup, &figures, before);
        return ExitCode::SUCCESS;
    }
    let only_gates = is("gates");
    let setup = Setup::new(if only_gates || is("--shaped") { Build::Shaped } else { Build::Release });
    let mut figures = Figures::open(&setup.work.join(format!("{}.json", setup.build.name())), only_gates || is("all"));
    run(Box::pin(async {
        let counts =
            |name: &str| only_gates || is("all") || is("counts") || arguments.iter().any(|one| name.starts_with(one));
        counts::measure(&setup, &mut figures, &counts).await;
        if only_gates || is("all") || is("sizes") {
            sizes::measure(&setup, &mut figures);
        }
        if is("all") || is("start") {
            cold::measure(&setup, &mut figures).await;
        }
        if is("all") || is("warm") {
            warm::measure(&setup, &mut figures).await;
        }
        if is("all") || is("batches") {
            batches::measure(&setup, &mut figures).await;
        }
        if is("all") || is("outage") {
            outage::measure(&setup, &mut figures).await;
        }
    }));
    let mut gates = Gates::open(&setup);
    if is("--accept") {
        gates.accept(&setup, &figures);
    }
    let failed = [gates.check(&setup, &figures), sizes::banned(&setup)].concat();
    for problem in &failed {
        eprintln!("{problem}");
    }
    if !failed.is_empty() {
        eprintln!("{}", gates::ADVICE);
        return ExitCode::FAILURE;
    }
    if setup.build == Build::Release {
        report::write(&setup, &figures);
    }
    ExitCode::SUCCESS
}
