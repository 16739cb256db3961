//! The fuzz targets once more, with the committed corpus and on any compiler: what
//! a fuzzer has ever found stays found. `make fuzz` looks for more.

#[path = "../fuzz/src/lib.rs"]
mod fuzz;

use std::fs;
use std::path::Path;

fn replay(name: &str) {
    let target = fuzz::TARGETS.iter().find(|(target, _)| *target == name);
    let (_, target) = target.expect("a target");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let mut inputs: Vec<_> = fs::read_dir(folder.join(name))
        .expect("the corpus")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    inputs.sort();
    assert!(inputs.len() > 10, "the corpus of {name} is missing");
    for input in inputs {
        // Printed if the test fails, and the last one is the culprit.
        println!("{}", input.display());
        target(&fs::read(input).expect("an input"));
    }
}

#[test]
fn handshake() {
    replay("handshake");
}

#[test]
fn chunk_reader() {
    replay("chunk_reader");
}

#[test]
fn amf0() {
    replay("amf0");
}

#[test]
fn session_raw() {
    replay("session_raw");
}

#[test]
fn session_structured() {
    replay("session_structured");
}

#[test]
fn ertmp_inspect() {
    replay("ertmp_inspect");
}

/// Nobody adds a target and forgets it here.
#[test]
fn every_target_has_a_test() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/fuzz_targets");
    let targets = fs::read_dir(folder).expect("the targets").count();
    assert_eq!(targets, fuzz::TARGETS.len());
    assert_eq!(targets, 6);
}
