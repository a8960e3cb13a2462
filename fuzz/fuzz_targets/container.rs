//! A checkpoint as a file: the zip archive and the legacy container.
#![no_main]
use checkpoint::{LoadOptions, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = parse(bytes, &LoadOptions::default());
});
