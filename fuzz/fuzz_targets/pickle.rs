//! The main pickle of a checkpoint, in the legacy container without storages.
#![no_main]
use checkpoint::{LoadOptions, parse};
use libfuzzer_sys::fuzz_target;

/// The pickles before the main one: PyTorch's magic number, the version of the container, the byte order.
const BEFORE: &[u8] =
    b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.\
    \x80\x02}X\x0d\0\0\0little_endian\x88s.";
/// The pickle behind it: no storages.
const BEHIND: &[u8] = b"\x80\x02].";

fuzz_target!(|bytes: &[u8]| {
    let file = [BEFORE, bytes, BEHIND].concat();
    let _ = parse(&file, &LoadOptions::default());
});
