//! What is read, compared with what was promised.
use crate::{Blob, DeliverError, Digest};
use std::fs::File;
use std::path::Path;

impl Digest {
    /// Of a file, and its size in bytes.
    ///
    /// # Errors
    /// `Read`.
    pub fn of_file(path: &Path) -> Result<(Self, u64), DeliverError> {
        File::open(path).and_then(Self::of_reader).map_err(|e| DeliverError::read(path, e))
    }
}

impl Blob {
    /// Compares with what was read.
    ///
    /// # Errors
    /// `Size`, `Digest`.
    pub fn expect(&self, what: &str, digest: Digest, size_bytes: u64) -> Result<(), DeliverError> {
        let what = || what.to_owned();
        if size_bytes != self.size_bytes {
            let expected = self.size_bytes;
            return Err(DeliverError::Size { what: what(), expected, found: size_bytes });
        }
        if digest != self.digest {
            let expected = self.digest;
            return Err(DeliverError::Digest { what: what(), expected, found: digest });
        }
        Ok(())
    }
}
