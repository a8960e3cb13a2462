//! A model: what can be read can be written.
#![no_main]
use libfuzzer_sys::fuzz_target;
use onnx::{LoadOptions, encode, parse};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(graph) = parse(bytes, None, &LoadOptions::default()) {
        let _ = encode(&graph);
    }
});
