//! Files that appear whole or not at all.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::YoloError;

/// Held from the creation of a temporary file to its last name.
static WRITING: Mutex<()> = Mutex::new(());

/// Writes `bytes` under a temporary name beside `path` and renames: a reader never sees half a file. What is no regular
/// file (a device, a pipe, whatever lies in `/dev`) is written to as it is.
///
/// # Errors
/// What the system says; nothing is left under either name.
pub fn write_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if is_special(path) {
        // Renaming over a device would replace it.
        return OpenOptions::new().append(true).open(path)?.write_all(bytes);
    }
    let partial = partial_path(path)?;
    let _whole = between_files();
    let written = File::create(&partial)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&partial, path));
    if written.is_err() {
        // The first error is the one worth telling; the leftover may not even exist.
        let _ = fs::remove_file(&partial);
    }
    written
}

/// As [`write_file`], with an error that names the file.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), YoloError> {
    write_file(path, bytes).map_err(|cause| YoloError::Write { path: path.to_owned(), cause })
}

/// Waits until no file is half-written; none is begun while the guard lives. Who ends the process holds it.
pub fn between_files() -> MutexGuard<'static, ()> {
    WRITING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a file has a temporary name, under which only a killed program leaves it.
pub fn is_partial(name: &str) -> bool {
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
    if is_special(path) {
        return Ok(());
    }
    let probe = partial_path(path)?;
    let _whole = between_files();
    File::create(&probe)?;
    fs::remove_file(&probe)
}

/// Whether a path names something that is not replaced by renaming. `/dev/stdout` is a link, perhaps to a regular file.
fn is_special(path: &Path) -> bool {
    let of_the_system = || {
        let folder = path.parent().unwrap_or(Path::new(""));
        ["/dev", "/dev/fd", "/proc/self/fd"].iter().any(|f| folder == Path::new(f))
    };
    fs::metadata(path).is_ok_and(|f| !f.is_dir() && (!f.is_file() || of_the_system()))
}

fn partial_path(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidFilename)?;
    let mut partial = OsString::from(".");
    partial.push(name);
    partial.push(format!(".{}.partial", std::process::id()));
    Ok(path.with_file_name(partial))
}
