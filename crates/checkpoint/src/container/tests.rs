use super::{open, storage_types};
use crate::budget::Budget;
use crate::storages::read_entry;
use crate::{LoadOptions, parse, pickle};
use std::io::Cursor;
use std::path::PathBuf;
use zip::ZipArchive;

fn asset(name: &str) -> Option<Vec<u8>> {
    let folder = "../../../shared/assets/weights";
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), folder, name].iter().collect();
    if !path.exists() {
        println!("skipped: {name} (no ../shared/assets)");
        return None;
    }
    Some(std::fs::read(path).expect("the file is readable"))
}

/// A zip checkpoint as PyTorch wrote them before 1.6.
fn legacy(original: &[u8], folder: &str) -> Vec<u8> {
    let mut archive = ZipArchive::new(Cursor::new(original)).expect("a zip archive");
    let mut entry = |name: &str| {
        read_entry(&mut archive, &format!("{folder}/{name}"), original.len()).expect("an entry")
    };
    let main = entry("data.pkl");
    let (tree, _) = pickle::read(&main, &Budget::new(1 << 26)).expect("the pickle is valid");
    let mut file = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.".to_vec();
    file.extend(b"\x80\x02M\xe9\x03.\x80\x02}X\x0d\0\0\0little_endian\x88s.");
    file.extend(&main);
    file.extend(b"\x80\x02](");
    let mut raw = Vec::new();
    for (key, dtype) in storage_types(&tree) {
        file.extend([b'X', key.len() as u8, 0, 0, 0]);
        file.extend(key.as_bytes());
        let bytes = entry(&format!("data/{key}"));
        raw.extend((bytes.len() as u64 / dtype.size_bytes() as u64).to_le_bytes());
        raw.extend(bytes);
    }
    file.extend(b"e.");
    file.extend(raw);
    file
}

#[test]
fn a_legacy_container_gives_the_same_model() {
    let Some(original) = asset("yolov5n_coco_focus.pt") else {
        return;
    };
    let legacy = legacy(&original, "yolov5n_coco_focus");
    let constants = |bytes: &[u8]| -> Vec<_> {
        let model = parse(bytes, &LoadOptions::default()).expect("it loads");
        let values = model.graph.values();
        values.map(|(_, v)| (v.name.clone(), v.constant.clone())).collect()
    };
    assert_eq!(constants(&original), constants(&legacy));
    for cut in [14, 100, 60_000, 105_000, legacy.len() - 1] {
        assert!(parse(&legacy[..cut], &LoadOptions::default()).is_err(), "cut at {cut}");
    }
}

#[test]
fn other_files_are_refused_by_what_they_are() {
    for (bytes, expected) in [
        (&b""[..], "an empty file"),
        (b"\x07\x09onnx", "a file that starts with"),
        (b"PK\x03\x04rest", "not a readable zip archive"),
        (b"\x80\x02K\x01.", "a plain Python pickle"),
    ] {
        let error = open(bytes, &Budget::new(1 << 20)).map(|_| ()).expect_err("it is refused");
        assert!(error.to_string().contains(expected), "{error}");
    }
}
