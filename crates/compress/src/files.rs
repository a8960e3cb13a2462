//! Files that appear whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// Writes `bytes` under a temporary name beside `path` and renames; a device or a pipe is written to as it is.
///
/// # Errors
/// What the system says; nothing is left under either name.
pub fn write_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir()) {
        // Renaming over a device would replace it.
        return OpenOptions::new().write(true).open(path)?.write_all(bytes);
    }
    let name = path.file_name().ok_or(io::ErrorKind::InvalidFilename)?;
    let name = format!(".{}.{}.partial", name.to_string_lossy(), std::process::id());
    let partial = path.with_file_name(name);
    let written = File::create(&partial)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&partial, path));
    if written.is_err() {
        // The first error is the one worth telling; the leftover may not even exist.
        let _ = fs::remove_file(&partial);
    }
    written
}

/// Whether a file has such a temporary name, under which only a killed program leaves it.
pub(crate) fn is_partial(name: &str) -> bool {
    name.starts_with('.') && name.ends_with(".partial")
}

/// Whether a file could be written there, found out before the work of hours.
///
/// # Errors
/// What the system says about a file in that folder; `IsADirectory` for a folder.
pub fn check_writable(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if path.exists() && !path.is_file() {
        return Ok(());
    }
    let name = path.file_name().ok_or(io::ErrorKind::InvalidFilename)?;
    let name = format!(".{}.{}.partial", name.to_string_lossy(), std::process::id());
    let probe = path.with_file_name(name);
    File::create(&probe)?;
    fs::remove_file(&probe)
}
