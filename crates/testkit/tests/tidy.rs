//! Rules of the code base that a compiler does not check.
use std::fs;
use std::path::{Path, PathBuf};

/// Rooms by rank: a room imports lower ranks only.
const RANKS: &[(&str, u8)] = &[
    ("kernels", 0),
    ("ir", 1),
    ("runtime", 2),
    ("onnx", 3),
    ("checkpoint", 3),
    ("prune", 3),
    ("quant", 3),
    ("yolo", 3),
    ("capi", 4),
    ("compress", 4),
    ("cli", 5),
    ("testkit", 6),
];

fn crates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn sources(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("the tree is readable").flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|e| e == "rs") {
            out.push(path);
        }
    }
}

fn rooms() -> Vec<(String, PathBuf)> {
    let entries = fs::read_dir(crates()).expect("crates/ exists").flatten();
    let mut rooms: Vec<_> = entries
        .filter(|e| e.path().is_dir())
        .map(|e| (e.file_name().to_string_lossy().into_owned(), e.path()))
        .collect();
    rooms.sort();
    rooms
}

#[test]
fn every_room_has_a_rank_and_imports_lower_ranks_only() {
    let rank = |room: &str| RANKS.iter().find(|(n, _)| *n == room).map(|(_, r)| *r);
    for (room, path) in rooms() {
        let own = rank(&room).unwrap_or_else(|| panic!("{room} has no rank"));
        let manifest =
            fs::read_to_string(path.join("Cargo.toml")).expect("every room has a manifest");
        let section = manifest.split("[dependencies]").nth(1).unwrap_or("");
        let section = section.split("\n[").next().unwrap_or("");
        for (other, r) in RANKS {
            let imports = section
                .lines()
                .any(|l| l.split(['.', ' ', '=']).next() == Some(*other));
            assert!(
                !imports || *r < own,
                "{room} (rank {own}) imports {other} (rank {r})"
            );
        }
    }
}

#[test]
fn every_room_but_kernels_and_the_c_boundary_forbids_unsafe_code() {
    for (room, path) in rooms()
        .into_iter()
        .filter(|(r, _)| !["kernels", "capi", "testkit"].contains(&r.as_str()))
    {
        let root = ["lib.rs", "main.rs"]
            .iter()
            .find_map(|f| fs::read_to_string(path.join("src").join(f)).ok());
        assert!(
            root.expect("a crate root")
                .contains("#![forbid(unsafe_code)]"),
            "{room} does not forbid unsafe code"
        );
    }
}

#[test]
fn every_file_stays_under_six_hundred_lines_of_code() {
    let mut files = Vec::new();
    sources(&crates(), &mut files);
    for file in files
        .iter()
        .filter(|f| !f.components().any(|c| c.as_os_str() == "tests"))
    {
        let text = fs::read_to_string(file).expect("sources are UTF-8");
        let code = text
            .split("#[cfg(test)]")
            .next()
            .unwrap_or("")
            .lines()
            .filter(|l| !l.trim().is_empty())
            .count();
        assert!(code <= 600, "{} has {code} lines of code", file.display());
    }
}

#[test]
fn every_list_names_every_file_of_its_folder() {
    for (list, folder) in [
        ("ir/src/ops.rs", "ir/src/ops"),
        ("ir/src/rewrites.rs", "ir/src/rewrites"),
        ("yolo/src/families.rs", "yolo/src/families"),
    ] {
        let text = fs::read_to_string(crates().join(list)).expect("the list exists");
        for entry in fs::read_dir(crates().join(folder))
            .expect("the folder exists")
            .flatten()
        {
            let stem = entry
                .path()
                .file_stem()
                .expect("files have names")
                .to_string_lossy()
                .into_owned();
            assert!(
                text.contains(&format!("{stem}::")),
                "{folder}/{stem} is not in {list}"
            );
        }
    }
}
