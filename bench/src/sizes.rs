//! The size of the build, and what must not be in it.

use std::process::Command;

use crate::figures::Figures;
use crate::setup::{Build, Setup};

/// Bytes of the build without symbols; of the archive that is deployed, for the release build.
pub fn measure(setup: &Setup, figures: &mut Figures) {
    let binary = setup.binary("detection-outcome-handler");
    let stripped = setup.work.join("bootstrap");
    let run = |command: &mut Command| {
        let status = command.status().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        assert!(status.success(), "{command:?}: {status}");
    };
    run(Command::new("strip").arg("-o").arg(&stripped).arg(&binary));
    let bytes = |path| std::fs::metadata(path).unwrap().len() as f64;
    figures.set("bytes.binary", bytes(&stripped));
    if setup.build == Build::Release {
        let zip = setup.work.join("bootstrap.zip");
        run(Command::new("python3").args(["-m", "zipfile", "-c"]).arg(&zip).arg(&binary));
        figures.set("bytes.zip", bytes(&zip));
    }
}

/// Crates that the function must not have, by the beginning of their line in `cargo tree`, and why.
const BANNED: [(&str, &str); 5] = [
    ("aws-lc", "a second cryptography, whose default build gathers entropy for 0.6 s of a small function's cold start"),
    ("hyper v0.14", "the AWS SDK's former HTTP client, a second one"),
    ("rustls v0.20", "a former TLS library, a second one"),
    ("rustls v0.21", "a former TLS library, a second one"),
    ("openssl-sys", "a second TLS library"),
];

/// The banned crates that the function depends on.
pub fn banned(setup: &Setup) -> Vec<String> {
    let arguments = ["tree", "--locked", "--edges", "normal", "--target", "all", "--prefix", "none"];
    let output = Command::new("cargo").args(arguments).current_dir(&setup.root).output().unwrap();
    assert!(output.status.success(), "cargo tree: {}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).unwrap();
    assert!(tree.contains("rustls v0.23"), "cargo tree lists no rustls: is this the function's tree?");
    let found = BANNED.iter().filter(|(name, _)| tree.lines().any(|line| line.starts_with(name)));
    found.map(|(name, why)| format!("{name} is among the dependencies: {why}")).collect()
}
