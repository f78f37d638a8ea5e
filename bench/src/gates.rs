//! Fails where a figure without noise has grown by more than a tenth.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use crate::figures::Figures;
use crate::setup::Setup;

/// How much a figure may grow before somebody must look.
const TOLERANCE: f64 = 1.10;

/// What to do about it.
pub const ADVICE: &str = "Find what grew: `callgrind_annotate target/bench/callgrind.NAME.out`, with the figure's name after `ir.`. If it is \
    meant: `make bench-gates ACCEPT=--accept` measures again and writes bench/gates.toml; `make bench ACCEPT=--accept` \
    does so for the release build.";

/// The file of accepted values: figures by build.
pub struct Gates {
    path: PathBuf,
    values: BTreeMap<String, BTreeMap<String, f64>>,
}

/// What is gated, of what is measured.
fn is_gated(name: &str) -> bool {
    name.starts_with("ir.") || name.starts_with("bytes.")
}

impl Gates {
    pub fn open(setup: &Setup) -> Self {
        let path = setup.root.join("bench/gates.toml");
        let values = toml::from_str(&std::fs::read_to_string(&path).unwrap_or_default()).unwrap();
        Self { path, values }
    }

    /// What has grown too much, one sentence each.
    pub fn check(&self, setup: &Setup, figures: &Figures) -> Vec<String> {
        let Some(accepted) = self.values.get(setup.build.name()) else {
            return vec![format!("bench/gates.toml has no table [{}]", setup.build.name())];
        };
        let mut failed = Vec::new();
        for (name, accepted) in accepted {
            match figures.get(name) {
                None => failed.push(format!("{name} was not measured")),
                Some(value) if value > accepted * TOLERANCE => {
                    let grown = 100.0 * (value / accepted - 1.0);
                    failed.push(format!("{name} is {value:.0}, {grown:.0} % more than the accepted {accepted:.0}"));
                }
                Some(_) => {}
            }
        }
        let missing = figures.names().filter(|name| is_gated(name) && !accepted.contains_key(*name));
        failed.extend(missing.map(|name| format!("{name} is measured, and bench/gates.toml has no value for it")));
        failed
    }

    /// Takes what was measured as the values to hold.
    pub fn accept(&mut self, setup: &Setup, figures: &Figures) {
        let measured = figures.names().filter(|name| is_gated(name));
        let measured = measured.map(|name| (name.to_owned(), figures.get(name).unwrap().round()));
        self.values.insert(setup.build.name().to_owned(), measured.collect());
        let mut text = String::from(
            "# Accepted values of what has no noise: instructions (ir) and bytes, for the release build and for the one that\n\
             # the tests run. A figure that is more than a tenth higher fails `make bench-gates`. To accept what is measured\n\
             # now: `make bench-gates ACCEPT=--accept`.\n",
        );
        for (build, figures) in &self.values {
            let _ = writeln!(text, "\n[{build}]");
            for (name, value) in figures {
                let _ = writeln!(text, "\"{name}\" = {value:.1}");
            }
        }
        std::fs::write(&self.path, text).unwrap();
    }
}
