//! Damaged and hostile checkpoints are errors, in bounded memory.
use cap::Cap;
use checkpoint::{LoadOptions, parse};
use std::alloc::System;
use std::io::{Cursor, Read, Write};
use std::path::PathBuf;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

const MIB: usize = 1 << 20;

/// Numbers of a linear congruential generator, high bits.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % limit.max(1)
    }
}

fn asset(name: &str) -> Option<Vec<u8>> {
    let folder = "../../../shared/assets/weights";
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), folder, name].iter().collect();
    if !path.exists() {
        println!("skipped: {name} (no ../shared/assets)");
        return None;
    }
    Some(std::fs::read(path).expect("the file is readable"))
}

/// Reads it and gives whether it was a model; panics where it took more memory than it may.
fn read_bounded(bytes: &[u8], what: &str) -> bool {
    let before = ALLOCATOR.allocated();
    let result = parse(bytes, &LoadOptions::default());
    let ok = result.is_ok();
    drop(result);
    // The highest mark of the process never falls, so that one bound holds for the whole run.
    let peak = ALLOCATOR.max_allocated().saturating_sub(before);
    let allowed = 3 * bytes.len() + 64 * MIB;
    assert!(
        peak <= allowed,
        "{what}: {peak} bytes for a file of {}",
        bytes.len()
    );
    ok
}

/// A change of one, some or many bytes, a piece moved elsewhere, or the rest cut off; the last part is struck more often.
fn mutated(original: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = original.to_vec();
    let len = bytes.len();
    let at = |random: &mut Random| match random.below(4) {
        0 => len - 1 - random.below(len.min(70_000)),
        _ => random.below(len),
    };
    match random.below(8) {
        0 => bytes.truncate(random.below(len)),
        1 => {
            let (from, to) = (at(random), at(random));
            let piece = random.below(64).min(len - from.max(to));
            bytes.copy_within(from..from + piece, to);
        }
        2 => {
            let at = at(random);
            let end = (at + 4).min(len);
            bytes[at..end].fill(0xff);
        }
        _ => {
            for _ in 0..=random.below(6) {
                let at = at(random);
                bytes[at] = random.below(256) as u8;
            }
        }
    }
    bytes
}

/// The archive with other bytes as its main pickle, whose CRC fits them.
fn with_pickle(original: &[u8], change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut archive = ZipArchive::new(Cursor::new(original)).expect("a zip archive");
    let mut writer = ZipWriter::new(Cursor::new(Vec::with_capacity(2 * original.len())));
    let mut change = Some(change);
    for i in 0..archive.len() {
        let mut entry = archive.by_index(i).expect("the entry exists");
        let name = entry.name().expect("names are UTF-8").into_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).expect("the entry is whole");
        if name.ends_with("data.pkl") {
            change.take().expect("there is one pickle")(&mut bytes);
        }
        let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
        writer.start_file(name, stored).expect("memory is writable");
        writer.write_all(&bytes).expect("memory is writable");
    }
    writer.finish().expect("memory is writable").into_inner()
}

#[test]
fn mutated_checkpoints_never_panic_nor_take_more_memory_than_they_may() {
    let Some(original) = asset("yolov5n_coco_focus.pt") else {
        return;
    };
    let runs = std::env::var("YOLOSLIM_MUTATIONS")
        .ok()
        .and_then(|n| n.parse().ok());
    let mut random = Random(7);
    let mut intact = 0;
    for i in 0..runs.unwrap_or(300) {
        let bytes = match i % 4 {
            0 => mutated(&original, &mut random),
            _ => with_pickle(&original, |pickle| *pickle = mutated(pickle, &mut random)),
        };
        intact += usize::from(read_bounded(&bytes, &format!("mutation {i}")));
    }
    println!("{intact} mutations left a readable model");
}

#[test]
fn claims_beyond_the_file_are_errors() {
    let Some(original) = asset("yolov5n_coco_focus.pt") else {
        return;
    };
    let replace = |from: &[u8], to: &[u8]| {
        with_pickle(&original, |pickle| {
            let at = memchr::memmem::find(pickle, from).expect("the pickle holds it");
            pickle.splice(at..at + from.len(), to.iter().copied());
        })
    };
    // The stem's weight [16, 12, 3, 3] claims 2^24 times 2^24 elements; its stride runs out of the storage; a class is not known.
    let huge = b"(J\0\0\0\x01J\0\0\0\x01K\x03K\x03t";
    let far = b"(K\x6cJ\xff\xff\xff\x7fK\x03K\x01t";
    for (from, to, expected) in [
        (
            &b"(K\x10K\x0cK\x03K\x03t"[..],
            &huge[..],
            "unfolds to more than",
        ),
        (b"(K\x6cK\x09K\x03K\x01t", far, "must hold"),
        (
            b"cmodels.common\nFocus\n",
            b"cevil.code\nBackdoor\n",
            "model.0: class `evil.code.Backdoor` is not known",
        ),
    ] {
        let bytes = replace(from, to);
        let error = parse(&bytes, &LoadOptions::default()).expect_err("it is refused");
        assert!(error.to_string().contains(expected), "{error}");
    }
}
