//! Files of equal content, wherever they lie.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::regular_file;

/// How much of files of one length is compared before they are read whole.
const START_BYTES: u64 = 4096;

/// For each file the index of the first one with the same content: its own where there is none before it.
///
/// Files are compared by length, then by how they begin, then whole, so that little is read of files that differ; no
/// content is kept. A file that cannot be read is like no other.
pub fn first_of_content(files: &[&Path]) -> Vec<usize> {
    let mut first: Vec<usize> = (0..files.len()).collect();
    let length =
        |at: &usize| fs::metadata(files[*at]).ok().filter(|m| m.is_file()).map(|m| m.len());
    let start = |at: &usize| digest(files[*at], START_BYTES).ok();
    let whole = |at: &usize| digest(files[*at], u64::MAX).ok();
    for alike in groups((0..files.len()).collect(), length) {
        for alike in groups(alike, start) {
            for equal in groups(alike, whole) {
                equal.iter().for_each(|at| first[*at] = equal[0]);
            }
        }
    }
    first
}

/// Those of equal keys together, where there are two at least.
fn groups<K: Ord>(members: Vec<usize>, key: impl Fn(&usize) -> Option<K>) -> Vec<Vec<usize>> {
    let mut by_key: BTreeMap<K, Vec<usize>> = BTreeMap::new();
    for at in members {
        if let Some(key) = key(&at) {
            by_key.entry(key).or_default().push(at);
        }
    }
    let several = by_key.into_values().filter(|members| members.len() > 1);
    several.collect()
}

/// SHA-256 of the first `most` bytes, in memory that does not grow with the file.
fn digest(path: &Path, most: u64) -> io::Result<[u8; 32]> {
    let mut file = regular_file::open(path).map_err(io::Error::other)?.take(most);
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(digest.finalize().into()),
            read => digest.update(&buffer[..read]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_of_content_finds_equal_files_and_no_others() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let long = vec![b'x'; 10_000];
        let mut other_end = long.clone();
        other_end[9_999] = b'y';
        let files: [(&str, &[u8]); 7] = [
            ("a", b"one"),
            ("b", &long),
            ("c", b"two"),
            ("d", b"one"),
            ("e", &other_end),
            ("f", &long),
            ("g", b"one"),
        ];
        let mut paths: Vec<_> = files.iter().map(|(name, _)| folder.path().join(name)).collect();
        for (path, (_, bytes)) in paths.iter().zip(files) {
            fs::write(path, bytes).expect("writable");
        }
        paths.push(folder.path().join("gone"));
        paths.push(folder.path().join("gone"));
        let paths: Vec<&Path> = paths.iter().map(|p| p.as_path()).collect();
        assert_eq!(first_of_content(&paths), [0, 1, 2, 0, 4, 1, 0, 7, 8]);
    }
}
