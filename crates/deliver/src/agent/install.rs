//! A package's files, brought into a slot.
use super::files::link_or_copy;
use super::folder::{Slot, StateFolder};
use super::pulse::Pulse;
use crate::bundle::Bundle;
use crate::bundle::{MANIFEST, SIGNATURE};
use crate::package::Package;
use crate::store::Store;
use crate::{Blob, DeliverError, Digest};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Bytes that are left free beside what is downloaded: for the small files and their folders.
const SLACK_BYTES: u64 = 4 << 20;

/// Downloads what no slot has, and says so.
///
/// # Errors
/// `Space` where the disk has too little; what the store says; `Digest` and `Size` for what is not what was promised; `Read`,
/// `Write`; `Stopped`.
pub(crate) fn fetch(
    folder: &StateFolder,
    store: &dyn Store,
    package: &Package,
    pulse: &Pulse,
) -> Result<(), DeliverError> {
    // The same bytes under two names come once.
    let blobs: BTreeMap<Digest, Blob> =
        package.blobs().into_values().map(|blob| (blob.digest, blob)).collect();
    folder.keep_downloads(&blobs.keys().copied().collect::<Vec<_>>())?;
    for slot in [Slot::A, Slot::B] {
        gather(folder, slot, &blobs, pulse)?;
    }
    let missing: Vec<&Blob> =
        blobs.values().filter(|blob| !folder.download(&blob.digest).exists()).collect();
    let present = |blob: &Blob| fs::metadata(folder.partial(&blob.digest)).map_or(0, |m| m.len());
    let needed: u64 =
        missing.iter().map(|blob| blob.size_bytes.saturating_sub(present(blob))).sum();
    let needed = needed.saturating_add(SLACK_BYTES);
    let available = folder.free_bytes()?;
    if available < needed {
        return Err(DeliverError::Space { path: folder.root().to_path_buf(), needed, available });
    }
    missing.into_iter().try_for_each(|blob| download(folder, store, blob, pulse))
}

/// Gives files of a slot that are wanted a second name among the downloads.
fn gather(
    folder: &StateFolder,
    slot: Slot,
    blobs: &BTreeMap<Digest, Blob>,
    pulse: &Pulse,
) -> Result<(), DeliverError> {
    let path = folder.slot(slot);
    // What is no bundle has nothing to offer.
    let Ok(bundle) = Bundle::open_unproved(&path) else { return Ok(()) };
    for (name, entry) in &bundle.manifest.files {
        pulse.beat()?;
        let (file, download) = (path.join(name), folder.download(&entry.digest));
        let is_regular = fs::symlink_metadata(&file).is_ok_and(|facts| facts.is_file());
        if !blobs.contains_key(&entry.digest) || download.exists() || !is_regular {
            continue;
        }
        // A slot that was being filled may hold anything.
        if Digest::of_file(&file)?.0 == entry.digest {
            let linked = link_or_copy(&*folder.files, &file, &download);
            linked.map_err(|e| DeliverError::write(&download, e))?;
        }
    }
    Ok(())
}

/// Brings one blob, from where it was left the last time.
fn download(
    folder: &StateFolder,
    store: &dyn Store,
    blob: &Blob,
    pulse: &Pulse,
) -> Result<(), DeliverError> {
    let partial = folder.partial(&blob.digest);
    let present = fs::metadata(&partial).map_or(0, |facts| facts.len());
    if present > 0 && present <= blob.size_bytes {
        receive(folder, store, blob, present, pulse)?;
        if proved(&partial, blob).is_ok() {
            return keep(folder, blob);
        }
        // What was there before may have been torn: once more, from the beginning.
    }
    receive(folder, store, blob, 0, pulse)?;
    if let Err(error) = proved(&partial, blob) {
        let _ = folder.files.remove_file(&partial);
        return Err(error);
    }
    keep(folder, blob)
}

fn receive(
    folder: &StateFolder,
    store: &dyn Store,
    blob: &Blob,
    from: u64,
    pulse: &Pulse,
) -> Result<(), DeliverError> {
    let partial = folder.partial(&blob.digest);
    let file = folder.files.write(&partial, from > 0);
    let file = file.map_err(|e| DeliverError::write(&partial, e))?;
    if from == blob.size_bytes {
        return Ok(());
    }
    let mut to =
        Receiver { file, path: &partial, left: blob.size_bytes - from, pulse, failed: None };
    let received = store.read_blob(blob, from, &mut to);
    let failed = to.failed.take();
    // What goes wrong on this side is not the store's fault.
    failed.map_or(received, Err)
}

fn proved(partial: &Path, blob: &Blob) -> Result<(), DeliverError> {
    let (digest, size_bytes) = Digest::of_file(partial)?;
    blob.expect(&format!("blob {}", blob.digest), digest, size_bytes)
}

fn keep(folder: &StateFolder, blob: &Blob) -> Result<(), DeliverError> {
    let (partial, whole) = (folder.partial(&blob.digest), folder.download(&blob.digest));
    let kept = folder.files.sync(&partial).and_then(|()| folder.files.rename(&partial, &whole));
    kept.map_err(|e| DeliverError::write(&whole, e))
}

/// A file that takes no more bytes than were promised, and none once all is to stop.
struct Receiver<'a> {
    file: Box<dyn Write + 'a>,
    path: &'a Path,
    left: u64,
    pulse: &'a Pulse,
    /// What went wrong here.
    failed: Option<DeliverError>,
}

impl Write for Receiver<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Err(stopped) = self.pulse.beat() {
            self.failed = Some(stopped);
            return Err(io::Error::other("stopped"));
        }
        if bytes.len() as u64 > self.left {
            return Err(io::Error::other("more bytes came than were promised"));
        }
        let written = self.file.write(bytes).inspect_err(|e| {
            let again = io::Error::new(e.kind(), e.to_string());
            self.failed = Some(DeliverError::write(self.path, again));
        })?;
        self.left -= written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Makes the bundle of a package in a slot, of what was downloaded, and proves it there.
///
/// # Errors
/// `Write`; as [`Bundle::open`].
pub(crate) fn assemble(
    folder: &StateFolder,
    slot: Slot,
    package: &Package,
) -> Result<Bundle, DeliverError> {
    let root = folder.clear(slot)?;
    let failed = |path: &Path, e| DeliverError::write(path, e);
    let mut folders = BTreeSet::from([root.clone()]);
    for (name, entry) in &package.manifest.files {
        let path = root.join(name);
        let above: Vec<PathBuf> = path
            .ancestors()
            .skip(1)
            .take_while(|above| *above != root)
            .map(Path::to_path_buf)
            .collect();
        for above in above.into_iter().rev() {
            if folders.insert(above.clone()) {
                folder.files.create_folder(&above).map_err(|e| failed(&above, e))?;
            }
        }
        let linked = link_or_copy(&*folder.files, &folder.download(&entry.digest), &path);
        linked.map_err(|e| failed(&path, e))?;
    }
    let signature = package.signature.as_deref().unwrap_or_default();
    for (name, bytes) in [(MANIFEST, &package.bundle_json[..]), (SIGNATURE, signature.as_bytes())] {
        let path = root.join(name);
        let written = folder.files.write(&path, false).and_then(|mut file| file.write_all(bytes));
        written.and_then(|()| folder.files.sync(&path)).map_err(|e| failed(&path, e))?;
    }
    for path in &folders {
        folder.files.sync(path).map_err(|e| failed(path, e))?;
    }
    Bundle::open(&root)
}
