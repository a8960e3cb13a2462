//! Damaged and hostile checkpoints are errors, in bounded memory: a binary of its own, since the memory of the process is counted.
mod made;

use cap::Cap;
use checkpoint::{LoadOptions, parse};
use made::modules::*;
use made::{Container, Module, Py, Tensor, save};
use numerics::Rng;
use std::alloc::System;
use std::io::{Cursor, Read, Write};
use std::path::PathBuf;
use testkit::damage::damaged;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

const MIB: usize = 1 << 20;

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
    assert!(peak <= allowed, "{what}: {peak} bytes for a file of {}", bytes.len());
    ok
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

/// Bytes of an element of every class of storages, by the bytes with which the pickle refers to the class.
fn storage_classes(pickle: &[u8]) -> Vec<(Vec<u8>, u64)> {
    let classes = [("Half", 2), ("Float", 4), ("Long", 8), ("Double", 8)];
    let known = classes.into_iter().filter_map(|(name, width)| {
        let global = format!("ctorch\n{name}Storage\n").into_bytes();
        let end = memchr::memmem::find(pickle, &global)? + global.len();
        // The class is put into the memo, in one or four bytes, and fetched from there ever after.
        let (put, index) = match pickle[end] {
            b'q' => (2, [b"h", &pickle[end + 1..end + 2]].concat()),
            _ => (5, [b"j", &pickle[end + 1..end + 5]].concat()),
        };
        let first = [&global, &pickle[end..end + put]].concat();
        Some([(first, width), (index, width)])
    });
    known.flatten().collect()
}

/// The archive as PyTorch wrote checkpoints before 1.6: pickles in a row, then the storages.
fn legacy(original: &[u8]) -> [Vec<u8>; 2] {
    let mut archive = ZipArchive::new(Cursor::new(original)).expect("a zip archive");
    let (mut pickle, mut storages) = (Vec::new(), Vec::new());
    for i in 0..archive.len() {
        let mut entry = archive.by_index(i).expect("the entry exists");
        let name = entry.name().expect("names are UTF-8").into_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).expect("the entry is whole");
        match name.rsplit_once("/data/") {
            Some((_, key)) => storages.push((key.to_owned(), bytes)),
            None if name.ends_with("data.pkl") => pickle = bytes,
            None => (),
        }
    }
    let classes = storage_classes(&pickle);
    let mut file = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.".to_vec();
    file.extend(b"\x80\x02M\xe9\x03.\x80\x02}X\x0d\0\0\0little_endian\x88s.");
    file.extend(&pickle);
    file.extend(b"\x80\x02](");
    let mut raw = Vec::new();
    for (key, bytes) in storages {
        let text = [&[b'X', key.len() as u8, 0, 0, 0], key.as_bytes()].concat();
        let width = memchr::memmem::find_iter(&pickle, &text).find_map(|at| {
            let class = classes.iter().find(|c| pickle[..at].ends_with(&c.0));
            class.map(|c| c.1)
        });
        file.extend(text);
        raw.extend((bytes.len() as u64 / width.expect("the pickle uses it")).to_le_bytes());
        raw.extend(bytes);
    }
    file.extend(b"e.");
    [file, raw]
}

/// A model of modules that compute sizes from numbers in the file.
fn made_layers() -> Vec<Module> {
    let linear = |seed| torch("Linear").weight("weight", Tensor::noise(&[8, 8], 0.4, seed));
    let attention = torch("MultiheadAttention")
        .int("num_heads", 2)
        .weight("in_proj_weight", Tensor::noise(&[24, 8], 0.4, 1))
        .child("out_proj", linear(2));
    let norm = || torch("LayerNorm").with("eps", Py::Float(1e-5));
    let encoder = Module::new("ultralytics.nn.modules.transformer.AIFI")
        .child("ma", attention)
        .child("fc1", linear(3))
        .child("fc2", linear(4))
        .child("norm1", norm())
        .child("norm2", norm())
        .child("act", torch("GELU"));
    let mut bare = batch_norm(8, 5);
    bare.parameters.drain(..2);
    let larger = torch("Upsample")
        .with("size", ints(&[12, 16]))
        .with("scale_factor", Py::None)
        .with("mode", Py::Str("bilinear".to_owned()));
    let cut = block_of("CBLinear").with("c2s", ints(&[3, 5])).child("conv", conv2d(8, 8, 1, 2, 6));
    let fuse = block_of("CBFuse").with("idx", ints(&[1]));
    let layers = vec![
        block(3, 8, 3, 2, 1),
        encoder,
        block_of("Contract").int("gain", 2),
        block_of("Expand").int("gain", 2),
        bare,
        torch("ZeroPad2d").with("padding", ints(&[0, 1, 0, 1])),
        larger,
        torch("PReLU").weight("weight", Tensor::noise(&[8], 0.3, 2)),
        cut,
    ];
    let mut layers: Vec<Module> = layers.into_iter().map(after).collect();
    layers.push(conv2d(8, 5, 1, 1, 7).int("f", 7));
    layers.push(joining(fuse, &[8, 9]));
    layers.push(after(detect(&[5])));
    layers
}

#[test]
fn mutated_modules_never_panic_nor_take_more_memory_than_they_may() {
    let key = |name: &str| Py::Str(name.to_owned());
    let size = Py::Dict(vec![(key("imgsz"), Py::Int(16))]);
    let value = checkpoint(model(made_layers()).with("args", size));
    let [archive, legacy] = [Container::Zip, Container::Legacy].map(|c| save(&value, c));
    let mut random = Rng::new(11);
    assert!(read_bounded(&archive, "zip") && read_bounded(&legacy, "legacy"));
    let mut intact = 0;
    for i in 0..4 * runs() {
        let bytes = match i % 2 {
            0 => with_pickle(&archive, |pickle| *pickle = damaged(pickle, &mut random)),
            _ => damaged(&legacy, &mut random),
        };
        intact += usize::from(read_bounded(&bytes, &format!("mutation {i}")));
    }
    println!("{intact} mutations left a readable model");
}

#[test]
fn modules_that_hold_each_other_without_end_are_an_error() {
    // Each level holds the next twice: 2^30 modules if all were visited.
    let mut nested = torch("Sequential");
    for _ in 0..30 {
        nested = torch("Sequential").child("0", nested);
    }
    let file = save(&checkpoint(model(vec![after(nested), after(detect(&[3]))])), Container::Zip);
    let bytes = with_pickle(&file, |pickle| {
        // After the first child, the memo gives it again under another name.
        let mut at = 0;
        while let Some(next) = memchr::memmem::find(&pickle[at..], b"ub") {
            at += next + 2;
            if pickle.get(at) == Some(&b'u') {
                pickle.splice(at..at, *b"q\x07X\x01\0\0\x001h\x07");
                at += 10;
            }
        }
    });
    let error = parse(&bytes, &LoadOptions::default()).expect_err("it is refused");
    assert!(error.to_string().contains("unfolds to more than"), "{error}");
}

/// How many files each test reads.
fn runs() -> usize {
    let asked = std::env::var("YOLOSLIM_MUTATIONS").ok();
    asked.and_then(|n| n.parse().ok()).unwrap_or(300)
}

#[test]
fn mutated_checkpoints_never_panic_nor_take_more_memory_than_they_may() {
    let Some(original) = asset("yolov5n_coco_focus.pt") else {
        return;
    };
    let [pickles, storages] = legacy(&original);
    let legacy = [&pickles[..], &storages].concat();
    assert!(read_bounded(&legacy, "legacy"));
    let mut random = Rng::new(7);
    let mut intact = [0; 2];
    for i in 0..runs() {
        let is_legacy = i % 2 == 1;
        let bytes = match (is_legacy, i % 8) {
            (false, 0) => damaged(&original, &mut random),
            (false, _) => with_pickle(&original, |pickle| *pickle = damaged(pickle, &mut random)),
            (true, 1) => damaged(&legacy, &mut random),
            (true, _) => [damaged(&pickles, &mut random), storages.clone()].concat(),
        };
        intact[usize::from(is_legacy)] +=
            usize::from(read_bounded(&bytes, &format!("mutation {i}")));
    }
    println!("{intact:?} mutations left a readable model: zip archives, legacy files");
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
        (&b"(K\x10K\x0cK\x03K\x03t"[..], &huge[..], "unfolds to more than"),
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
