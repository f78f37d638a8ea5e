//! The figures of a run, by name. A part can be measured again: what it does not measure stays.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub struct Figures {
    path: PathBuf,
    values: BTreeMap<String, f64>,
}

impl Figures {
    /// Those of earlier runs, or none.
    pub fn open(path: &Path, anew: bool) -> Self {
        let text = if anew { String::new() } else { std::fs::read_to_string(path).unwrap_or_default() };
        Self { path: path.to_owned(), values: serde_json::from_str(&text).unwrap_or_default() }
    }

    pub fn set(&mut self, name: impl Into<String>, value: f64) {
        let name = name.into();
        println!("{name:44} {value:>14.3}");
        self.values.insert(name, value);
        std::fs::write(&self.path, serde_json::to_string_pretty(&self.values).unwrap()).unwrap();
    }

    /// The median and the least of samples.
    pub fn set_samples(&mut self, name: &str, samples: &[f64]) {
        self.set(format!("{name}.median"), median(samples));
        self.set(format!("{name}.min"), samples.iter().copied().fold(f64::INFINITY, f64::min));
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    pub fn get(&self, name: &str) -> Option<f64> {
        self.values.get(name).copied()
    }
}

pub fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) }
}
