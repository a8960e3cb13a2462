//! Which crate may import which, and where unsafe code may stand.
use crate::source::{crates, rooms};
use std::fs;

/// Rooms by rank: a room imports lower ranks only.
const RANKS: &[(&str, u8)] = &[
    ("kernels", 0),
    ("numerics", 0),
    ("ir", 1),
    ("runtime", 2),
    ("onnx", 3),
    ("checkpoint", 3),
    ("prune", 3),
    ("quant", 3),
    ("train", 3),
    ("yolo", 3),
    ("demo", 4),
    ("observe", 4),
    ("compress", 5),
    ("serve", 5),
    ("deliver", 5),
    ("report", 6),
    ("yoloslim", 6),
    ("capi", 7),
    ("cli", 7),
    ("testkit", 8),
];

/// Rooms that hold unsafe code, and the one that is not shipped.
const MAY_BE_UNSAFE: &[&str] = &["kernels", "capi", "testkit"];

#[test]
fn every_room_has_a_rank_and_imports_lower_ranks_only() {
    let rank = |room: &str| {
        let row = RANKS.iter().find(|(name, _)| *name == room);
        row.unwrap_or_else(|| panic!("{room} has no rank")).1
    };
    for room in rooms() {
        let own = rank(&room);
        let manifest = fs::read_to_string(crates().join(&room).join("Cargo.toml"))
            .expect("every room has a manifest");
        let section = manifest.split("[dependencies]").nth(1).unwrap_or("");
        let section = section.split("\n[").next().unwrap_or("");
        let names: Vec<_> =
            section.lines().filter_map(|line| line.split(['.', ' ', '=']).next()).collect();
        for (other, other_rank) in RANKS.iter().filter(|(other, _)| names.contains(other)) {
            assert!(*other_rank < own, "{room} (rank {own}) imports {other} (rank {other_rank})");
        }
    }
}

#[test]
fn every_room_but_kernels_and_the_c_boundary_forbids_unsafe_code() {
    for room in rooms().iter().filter(|room| !MAY_BE_UNSAFE.contains(&room.as_str())) {
        let source = crates().join(room).join("src");
        let root = ["lib.rs", "main.rs"]
            .iter()
            .find_map(|file| fs::read_to_string(source.join(file)).ok());
        assert!(
            root.expect("a crate root").contains("#![forbid(unsafe_code)]"),
            "{room} does not forbid unsafe code"
        );
    }
}
