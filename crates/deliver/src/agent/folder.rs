//! The agent's folder: two slots for bundles, a link to the one that is used, and what was downloaded.
use super::files::{Files, remove_tree, write_whole};
use crate::bundle::Bundle;
use crate::{DeliverError, Digest};
use serde::{Deserialize, Serialize};
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

/// The link to the slot that is used.
const CURRENT: &str = "current";
/// Where blobs lie by their digests.
const DOWNLOADS: &str = "downloads/sha256";

/// How often a folder is tried to be taken.
const TRIES: u32 = 20;
const BETWEEN_TRIES: Duration = Duration::from_millis(25);

/// One of the two places for a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Slot {
    /// The folder `a`.
    A,
    /// The folder `b`.
    B,
}

impl Slot {
    /// The folder's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }

    /// The one that this is not.
    pub(crate) fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

/// The folder, for as long as no other agent may have it.
#[derive(Debug)]
pub(crate) struct StateFolder {
    root: PathBuf,
    pub(crate) files: Box<dyn Files>,
    _lock: File,
}

impl StateFolder {
    /// Takes a folder, made where there is none.
    ///
    /// # Errors
    /// `Locked` where another agent has it, `Read`, `Write`.
    pub(crate) fn open(root: &Path, files: Box<dyn Files>) -> Result<Self, DeliverError> {
        fs::create_dir_all(root).map_err(|e| DeliverError::write(root, e))?;
        // Links and calls of `serve` name it wherever they are made.
        let root = fs::canonicalize(root).map_err(|e| DeliverError::read(root, e))?;
        // The folder itself is locked: that needs no right to write, and leaves no file behind.
        let lock = File::open(&root).map_err(|e| DeliverError::read(&root, e))?;
        for tries in 1.. {
            match lock.try_lock() {
                Ok(()) => break,
                // A program that is being started has all files of this process for a moment, and with them the lock.
                Err(TryLockError::WouldBlock) if tries < TRIES => thread::sleep(BETWEEN_TRIES),
                Err(TryLockError::WouldBlock) => return Err(DeliverError::Locked { path: root }),
                Err(TryLockError::Error(e)) => return Err(DeliverError::read(&root, e)),
            }
        }
        Ok(Self { root, files, _lock: lock })
    }

    /// Whether an agent has the folder now.
    ///
    /// # Errors
    /// `Read`.
    pub(crate) fn is_taken(root: &Path) -> Result<bool, DeliverError> {
        let folder = File::open(root).map_err(|e| DeliverError::read(root, e))?;
        match folder.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(e)) => Err(DeliverError::read(root, e)),
        }
    }

    /// The folder's path, absolute.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// A slot's path, absolute.
    pub(crate) fn slot(&self, slot: Slot) -> PathBuf {
        self.root.join(slot.name())
    }

    /// The bundle in a slot, all of it proved to be whole.
    ///
    /// # Errors
    /// As [`Bundle::open`].
    pub(crate) fn bundle(&self, slot: Slot) -> Result<Bundle, DeliverError> {
        Bundle::open(&self.slot(slot))
    }

    /// The slot that is used; none before the first bundle came.
    ///
    /// # Errors
    /// `Read`, also for something else of that name.
    pub(crate) fn current(&self) -> Result<Option<Slot>, DeliverError> {
        let path = self.root.join(CURRENT);
        let target = match fs::read_link(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            target => target.map_err(|e| DeliverError::read(&path, e))?,
        };
        let slot = [Slot::A, Slot::B].into_iter().find(|slot| target == Path::new(slot.name()));
        let strange = || io::Error::other(format!("it leads to {}", target.display()));
        slot.map(Some).ok_or_else(|| DeliverError::read(&path, strange()))
    }

    /// Uses a slot from now on: whoever follows the link finds the old or the new one at any moment.
    ///
    /// # Errors
    /// `Write`.
    pub(crate) fn switch(&self, slot: Slot) -> Result<(), DeliverError> {
        let path = self.root.join(CURRENT);
        let partial = self.root.join(format!(".{CURRENT}.partial"));
        let replace = || {
            if partial.is_symlink() {
                self.files.remove_file(&partial)?;
            }
            // Relative, so that the folder may be moved, or seen from a container.
            self.files.symlink(Path::new(slot.name()), &partial)?;
            self.files.rename(&partial, &path)?;
            self.files.sync(&self.root)
        };
        replace().map_err(|e| DeliverError::write(&path, e))
    }

    /// Empties a slot, and lets a power loss not bring anything of it back.
    ///
    /// # Errors
    /// `Write`.
    pub(crate) fn clear(&self, slot: Slot) -> Result<PathBuf, DeliverError> {
        let path = self.slot(slot);
        let clear = || {
            remove_tree(&*self.files, &path)?;
            self.files.create_folder(&path)?;
            self.files.sync(&self.root)
        };
        clear().map_err(|e| DeliverError::write(&path, e))?;
        Ok(path)
    }

    /// Where a blob lies once it came whole.
    pub(crate) fn download(&self, digest: &Digest) -> PathBuf {
        self.root.join(DOWNLOADS).join(digest.hex())
    }

    /// Where a blob lies while it comes.
    pub(crate) fn partial(&self, digest: &Digest) -> PathBuf {
        self.root.join(DOWNLOADS).join(format!("{}.partial", digest.hex()))
    }

    /// Makes the folder of downloads, and removes from it all but the named digests.
    ///
    /// # Errors
    /// `Read`, `Write`.
    pub(crate) fn keep_downloads(&self, wanted: &[Digest]) -> Result<(), DeliverError> {
        let mut path = self.root.clone();
        for part in DOWNLOADS.split('/') {
            path.push(part);
            self.files.create_folder(&path).map_err(|e| DeliverError::write(&path, e))?;
        }
        for entry in fs::read_dir(&path).map_err(|e| DeliverError::read(&path, e))? {
            let file = entry.map_err(|e| DeliverError::read(&path, e))?.path();
            let is_wanted = |digest| file == self.download(digest) || file == self.partial(digest);
            if !wanted.iter().any(is_wanted) {
                self.files.remove_file(&file).map_err(|e| DeliverError::write(&file, e))?;
            }
        }
        Ok(())
    }

    /// Writes a file of the folder, which is afterwards the old or the new, whole.
    ///
    /// # Errors
    /// `Write`.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), DeliverError> {
        let path = self.root.join(name);
        write_whole(&*self.files, &path, bytes).map_err(|e| DeliverError::write(&path, e))
    }

    /// Bytes that may still be written.
    ///
    /// # Errors
    /// `Read`.
    pub(crate) fn free_bytes(&self) -> Result<u64, DeliverError> {
        self.files.free_bytes(&self.root).map_err(|e| DeliverError::read(&self.root, e))
    }
}
