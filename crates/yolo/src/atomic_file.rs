//! Files that appear whole or not at all.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use crate::YoloError;

/// Writes `bytes` beside `path` and renames: a reader never sees half a file.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), YoloError> {
    let failed = |source: io::Error| YoloError::Write {
        path: path.to_owned(),
        source,
    };
    let name = path
        .file_name()
        .ok_or_else(|| failed(io::ErrorKind::InvalidFilename.into()))?;
    let mut partial_name = OsString::from(".");
    partial_name.push(name);
    partial_name.push(format!(".{}.partial", std::process::id()));
    let partial = path.with_file_name(partial_name);
    let written = File::create(&partial)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&partial, path));
    written.map_err(|source| {
        // The first error is the one worth telling; the leftover may not even exist.
        let _ = fs::remove_file(&partial);
        failed(source)
    })
}
