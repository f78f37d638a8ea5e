//! Measures the function from outside. `make bench` runs everything, `make bench-gates` what has no noise.
#![allow(clippy::missing_panics_doc, reason = "a measurement ends at what it does not expect")]

mod counts;
mod figures;
mod function;
mod servers;
mod setup;

use figures::Figures;
use setup::{Build, Setup};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let build = if arguments.iter().any(|argument| argument == "--shaped") { Build::Shaped } else { Build::Release };
    let setup = Setup::new(build);
    let mut figures = Figures::open(&setup.work.join(format!("{}.json", build.name())));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let work = async {
        counts::measure(&setup, &mut figures).await;
    };
    runtime.block_on(tokio::task::LocalSet::new().run_until(work));
}
