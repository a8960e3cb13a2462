//! Git LFS pointers: the few lines that a checkout holds in place of a large file that was not fetched.
//!
//! Source: git-lfs, docs/spec.md.

/// What to say of a pointer.
pub const POINTER: &str =
    "this is a Git LFS pointer, not the file itself: run `git lfs pull` in its repository";

/// Whether a file that begins like this is a pointer.
pub fn is_pointer(start: &[u8]) -> bool {
    ["version https://git-lfs.github.com/spec/", "version https://hawser.github.com/spec/"]
        .iter()
        .any(|line| start.starts_with(line.as_bytes()))
}
