//! Files that outlive a power loss, and locks between processes.
use crate::DeliverError;
use std::fs::{self, File};
use std::io;
use std::path::Path;

/// Makes sure that what was made, renamed and removed in a folder is so after a power loss.
pub(crate) fn sync_folder(path: &Path) -> Result<(), DeliverError> {
    let synced = File::open(path).and_then(|folder| folder.sync_all());
    synced.map_err(|e| DeliverError::write(path, e))
}

/// Makes a folder, with those above it.
pub(crate) fn make_folder(path: &Path) -> Result<(), DeliverError> {
    fs::create_dir_all(path).map_err(|e| DeliverError::write(path, e))
}

/// Waits for other processes that hold this file's lock, and holds it until the result is dropped; the system frees it too when
/// the process ends, however it ends.
pub(crate) fn lock(path: &Path) -> Result<File, DeliverError> {
    let file = File::options().create(true).truncate(false).write(true).open(path);
    let locked = file.and_then(|file| file.lock().map(|()| file));
    locked.map_err(|e| DeliverError::write(path, e))
}

/// Bytes that an ordinary user may still write where a folder lies.
pub(crate) fn free_bytes(path: &Path) -> io::Result<u64> {
    let found = rustix::fs::statvfs(path)?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}
