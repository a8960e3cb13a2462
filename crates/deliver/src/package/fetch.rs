//! Fetching a bundle: into a folder beside the one that is to be made, which then gets its name as a whole.
use super::unpack::unpack_files;
use super::{Limits, Package, Progress, Tell};
use crate::bundle::{self, Bundle, write_whole};
use crate::files::{free_bytes, lock, make_folder, sync_folder};
use crate::store::Store;
use crate::{Blob, DeliverError, Digest};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Room that is left on a disk for everything else.
const SPARE_BYTES: u64 = 16 << 20;

/// See [`Package::fetch`].
pub(super) fn fetch(
    package: &Package,
    store: &dyn Store,
    into: &Path,
    limits: &Limits,
    tell: Tell<'_>,
) -> Result<Bundle, DeliverError> {
    if let Some(bundle) = already(package, into)? {
        return Ok(bundle);
    }
    let sum = package.manifest.files.values().fold(0_u64, |s, e| s.saturating_add(e.size_bytes));
    let found = package.archive.map_or(sum, |archive| archive.size_bytes.max(sum));
    // The archive has a header of 1 kB at most for each file and folder besides.
    let limit = limits.bundle_bytes;
    if found > limit.saturating_add(package.archive.map_or(0, |_| ARCHIVE_SPARE_BYTES)) {
        let what = package.store.clone();
        return Err(DeliverError::Oversized { what, limit, found });
    }
    let staging = Staging::open(into)?;
    // Whoever held the lock before may have fetched the same.
    if let Some(bundle) = already(package, into)? {
        let _ = fs::remove_dir_all(&staging.path);
        return Ok(bundle);
    }
    let wanted = wanted(package);
    staging.check_space(package, &wanted)?;
    for (blob, name) in &wanted {
        tell(Progress { name, size_bytes: blob.size_bytes });
        let what = format!("{}: {name}", package.store);
        staging.download(store, blob, &what)?;
    }
    staging.assemble(package)?;
    staging.finish(package, into)
}

const ARCHIVE_SPARE_BYTES: u64 = 8 << 20;

/// The very bundle, where it lies there already; an empty folder is as good as none.
fn already(package: &Package, into: &Path) -> Result<Option<Bundle>, DeliverError> {
    if fs::symlink_metadata(into).is_err() || fs::remove_dir(into).is_ok() {
        return Ok(None);
    }
    let exists = || DeliverError::Exists { path: into.to_path_buf() };
    if !Bundle::is_bundle(into) {
        return Err(exists());
    }
    let bundle = Bundle::open(into)?;
    if bundle.digest != package.bundle_digest() {
        return Err(exists());
    }
    write_seal(package, into)?;
    Ok(Some(bundle))
}

/// What must be downloaded, by content, with a name for it.
fn wanted(package: &Package) -> BTreeMap<Blob, String> {
    match package.archive {
        Some(archive) => BTreeMap::from([(archive, "files".to_owned())]),
        None => {
            let files = package.manifest.files.iter();
            files.map(|(name, entry)| (entry.blob(), name.clone())).collect()
        }
    }
}

/// The signature and the times, beside what is signed.
fn write_seal(package: &Package, folder: &Path) -> Result<(), DeliverError> {
    write_whole(&folder.join(bundle::MANIFEST), &package.bundle_json)?;
    if let Some(signature) = &package.signature {
        write_whole(&folder.join(bundle::SIGNATURE), signature.as_bytes())?;
    }
    if let Some(timings) = &package.timings {
        write_whole(&folder.join(bundle::TIMINGS), timings)?;
    }
    Ok(())
}

/// A folder for what was downloaded so far, by its digest. It outlives an interruption, and is one process's at a time.
struct Staging {
    path: PathBuf,
    _lock: File,
}

impl Staging {
    fn open(into: &Path) -> Result<Self, DeliverError> {
        let name = into.file_name().unwrap_or_default().to_string_lossy();
        let path = parent(into).join(format!(".{name}.partial"));
        loop {
            make_folder(&path.join("blobs"))?;
            let lock = lock(&path.join("lock"))?;
            // Whoever held it before removed the folder at the end, and with it the file that this is.
            if is_at(&lock, &path.join("lock")) {
                return Ok(Self { path, _lock: lock });
            }
        }
    }

    fn whole(&self, blob: &Blob) -> PathBuf {
        self.path.join("blobs").join(blob.digest.hex())
    }

    fn partial(&self, blob: &Blob) -> PathBuf {
        self.path.join("blobs").join(format!("{}.partial", blob.digest.hex()))
    }

    /// Refuses where what is missing does not fit on the disk.
    fn check_space(
        &self,
        package: &Package,
        wanted: &BTreeMap<Blob, String>,
    ) -> Result<(), DeliverError> {
        let size = |path: PathBuf| fs::metadata(path).map_or(0, |m| m.len());
        let missing = |blob: &Blob| {
            let there = size(self.whole(blob)).max(size(self.partial(blob)));
            blob.size_bytes.saturating_sub(there)
        };
        let mut needed = wanted.keys().map(missing).fold(SPARE_BYTES, u64::saturating_add);
        if package.archive.is_some() {
            // The archive lies there until its files do.
            let files = package.manifest.files.values();
            needed = files.map(|entry| entry.size_bytes).fold(needed, u64::saturating_add);
        }
        let available = free_bytes(&self.path).map_err(|e| DeliverError::read(&self.path, e))?;
        if available < needed {
            return Err(DeliverError::Space { path: self.path.clone(), needed, available });
        }
        Ok(())
    }

    /// Downloads a blob, from where it was left.
    fn download(&self, store: &dyn Store, blob: &Blob, what: &str) -> Result<(), DeliverError> {
        let (whole, partial) = (self.whole(blob), self.partial(blob));
        if whole.exists() {
            let (digest, size_bytes) = Digest::of_file(&whole)?;
            if blob.expect(what, digest, size_bytes).is_ok() {
                return Ok(());
            }
            fs::remove_file(&whole).map_err(|e| DeliverError::write(&whole, e))?;
        }
        let resumed = download_rest(store, blob, &partial)?;
        let (digest, size_bytes) = Digest::of_file(&partial)?;
        let mut found = blob.expect(what, digest, size_bytes);
        if found.is_err() && resumed {
            // What lay there may be what a power loss left.
            fs::remove_file(&partial).map_err(|e| DeliverError::write(&partial, e))?;
            download_rest(store, blob, &partial)?;
            let (digest, size_bytes) = Digest::of_file(&partial)?;
            found = blob.expect(what, digest, size_bytes);
        }
        if let Err(error) = found {
            // Whatever this is, it is not the beginning of what is wanted.
            let _ = fs::remove_file(&partial);
            return Err(error);
        }
        fs::rename(&partial, &whole).map_err(|e| DeliverError::write(&whole, e))
    }

    /// Makes the bundle's folder of what was downloaded; always anew.
    fn assemble(&self, package: &Package) -> Result<(), DeliverError> {
        let folder = self.path.join("bundle");
        if folder.exists() {
            fs::remove_dir_all(&folder).map_err(|e| DeliverError::write(&folder, e))?;
        }
        make_folder(&folder)?;
        if let Some(archive) = &package.archive {
            unpack_files(&self.whole(archive), &package.manifest, &folder, &package.store)?;
        } else {
            for (name, entry) in &package.manifest.files {
                place(&self.whole(&entry.blob()), &folder.join(name))?;
            }
        }
        write_seal(package, &folder)?;
        sync_below(&folder)
    }

    /// Proves the bundle, gives it its name, and cleans up.
    fn finish(self, package: &Package, into: &Path) -> Result<Bundle, DeliverError> {
        let folder = self.path.join("bundle");
        let bundle = Bundle::open(&folder)?;
        if bundle.digest != package.bundle_digest() {
            return Err(DeliverError::Digest {
                what: folder.display().to_string(),
                expected: package.bundle_digest(),
                found: bundle.digest,
            });
        }
        fs::rename(&folder, into).map_err(|e| DeliverError::write(into, e))?;
        sync_folder(&parent(into))?;
        // The bundle is whole; what cannot be removed is removed next time.
        let _ = fs::remove_dir_all(&self.path);
        Ok(Bundle { path: into.to_path_buf(), ..bundle })
    }
}

/// Whether a path leads to an open file.
fn is_at(file: &File, path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let found = file.metadata().ok().zip(fs::metadata(path).ok());
        found.is_some_and(|(open, there)| (open.dev(), open.ino()) == (there.dev(), there.ino()))
    }
    #[cfg(not(unix))]
    {
        file.metadata().is_ok() && path.exists()
    }
}

fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

/// Appends what is missing to a partial file; says whether there was something before.
fn download_rest(store: &dyn Store, blob: &Blob, partial: &Path) -> Result<bool, DeliverError> {
    let failed = |e| DeliverError::write(partial, e);
    let mut file = File::options().create(true).append(true).open(partial).map_err(failed)?;
    let mut from = file.metadata().map_err(failed)?.len();
    if from > blob.size_bytes {
        file.set_len(0).map_err(failed)?;
        from = 0;
    }
    if from < blob.size_bytes {
        let mut writer = Remembering { file: &mut file, failed: None };
        let read = store.read_blob(blob, from, &mut writer);
        if let Some(error) = writer.failed {
            return Err(failed(error));
        }
        read?;
    }
    file.sync_all().map_err(failed)?;
    Ok(from > 0)
}

/// Remembers why it could not write: the store that hands bytes on cannot tell that from its own failures.
struct Remembering<'a> {
    file: &'a mut File,
    failed: Option<io::Error>,
}

impl Write for Remembering<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes).map_err(|error| {
            let kind = error.kind();
            if kind != io::ErrorKind::Interrupted {
                self.failed = Some(error);
            }
            io::Error::from(kind)
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Puts a downloaded file in its place: a second name for it, or a copy where the file system has no such names or another file
/// of the bundle has the same content.
fn place(whole: &Path, path: &Path) -> Result<(), DeliverError> {
    path.parent().map_or(Ok(()), make_folder)?;
    let failed = |e| DeliverError::write(path, e);
    if names_of(whole) == Some(1) && fs::hard_link(whole, path).is_ok() {
        return Ok(());
    }
    fs::copy(whole, path).map_err(failed)?;
    File::open(path).and_then(|file| file.sync_all()).map_err(failed)
}

fn names_of(path: &Path) -> Option<u64> {
    #[cfg(unix)]
    return fs::metadata(path).ok().map(|m| std::os::unix::fs::MetadataExt::nlink(&m));
    #[cfg(not(unix))]
    return None;
}

/// Makes sure of a folder and all folders below it.
fn sync_below(folder: &Path) -> Result<(), DeliverError> {
    for entry in fs::read_dir(folder).map_err(|e| DeliverError::read(folder, e))? {
        let entry = entry.map_err(|e| DeliverError::read(folder, e))?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            sync_below(&entry.path())?;
        }
    }
    sync_folder(folder)
}

#[cfg(test)]
mod tests;
