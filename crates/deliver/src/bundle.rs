//! Bundles: a folder with everything that a device needs of a detector, and the proof that it is what was made.
//!
//! `bundle.json` names every file with its digest; its own digest is the bundle's. `bundle.json.minisig` and `timings.json` lie
//! beside it and are no part of it: the same inputs make the same digest, whoever signs it and however long it took.
mod draft;
mod manifest;
mod mlbom;
mod record;

use crate::files::sync_folder;
use crate::{DeliverError, Digest, PublicKeys, SigningKey};
pub use draft::Draft;
pub use manifest::{
    DataRecord, FileEntry, FileRole, InputShape, Manifest, Metric, Provenance, Thresholds,
};
pub use mlbom::mlbom;
pub use record::{
    ClassFigures, ImageLoss, RunGate, RunLabels, RunRecord, StageFigures, class_names,
};
use serde::Serialize;
use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// The file that names all others.
pub const MANIFEST: &str = "bundle.json";
/// Its signature.
pub const SIGNATURE: &str = "bundle.json.minisig";
/// What was timed, on which machine.
pub const TIMINGS: &str = "timings.json";

/// Bytes that a manifest may have at most: what comes from a registry is not believed.
const MANIFEST_LIMIT_BYTES: u64 = 4 << 20;

/// A bundle in a folder, whose files are those that its manifest names.
#[derive(Clone, Debug)]
pub struct Bundle {
    /// Its folder.
    pub path: PathBuf,
    /// What it holds.
    pub manifest: Manifest,
    /// Digest of its `bundle.json`.
    pub digest: Digest,
}

/// A signature that fits a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Signed {
    /// The number of the key that signed.
    pub key: String,
    /// The version that was given to the bundle: devices take none that is lower than their own.
    pub version: u64,
}

impl Bundle {
    /// Makes a bundle of the files of a folder: writes their digests and sizes, and what else is known, to `bundle.json`.
    /// `roles` says what each file is, by its name relative to the folder; a folder has no other files.
    ///
    /// # Errors
    /// `Bundle` for a file without a role or a role without its file, `Name`, `Read`, `Write`.
    pub fn seal(
        path: &Path,
        mut manifest: Manifest,
        roles: impl IntoIterator<Item = (String, FileRole)>,
    ) -> Result<Self, DeliverError> {
        manifest.files.clear();
        for (name, role) in roles {
            check_name(&name)?;
            let (digest, size_bytes) = Digest::of_file(&path.join(&name))?;
            manifest.files.insert(name, FileEntry { digest, size_bytes, role });
        }
        manifest.check().map_err(|why| refused(path, why))?;
        let file = path.join(MANIFEST);
        write_whole(&file, manifest.to_json().as_bytes())?;
        // A signature of what lay here before would be of something else.
        let _ = fs::remove_file(path.join(SIGNATURE));
        Self::open(path)
    }

    /// Opens a bundle, and proves that its files are those that the manifest names, no more, no fewer, to the byte.
    ///
    /// # Errors
    /// `Read`; `Bundle` for a folder that is none; `Name`; `Size` and `Digest` for a file that is not the one named.
    pub fn open(path: &Path) -> Result<Self, DeliverError> {
        let bundle = Self::open_unproved(path)?;
        let mut found = BTreeSet::new();
        files_below(path, "", &mut found)?;
        for beside in [MANIFEST, SIGNATURE, TIMINGS] {
            found.remove(beside);
        }
        if let Some(stray) = found.iter().find(|name| !bundle.manifest.files.contains_key(*name)) {
            return Err(refused(path, format!("{stray} is not named by {MANIFEST}")));
        }
        for (name, entry) in &bundle.manifest.files {
            if !found.contains(name) {
                return Err(refused(path, format!("{name} is missing")));
            }
            let (digest, size_bytes) = Digest::of_file(&path.join(name))?;
            entry.expect(&format!("{}", path.join(name).display()), digest, size_bytes)?;
        }
        Ok(bundle)
    }

    /// Reads the manifest alone.
    ///
    /// # Errors
    /// `Read`; `Bundle` for a folder without one, or one that cannot be understood; `Name`.
    pub fn open_unproved(path: &Path) -> Result<Self, DeliverError> {
        let file = path.join(MANIFEST);
        let size = fs::metadata(&file).map_err(|e| DeliverError::read(&file, e))?.len();
        if size > MANIFEST_LIMIT_BYTES {
            return Err(refused(path, format!("{MANIFEST} has {size} bytes")));
        }
        let bytes = fs::read(&file).map_err(|e| DeliverError::read(&file, e))?;
        let manifest = Manifest::parse(&bytes).map_err(|why| refused(path, why))?;
        for name in manifest.files.keys() {
            check_name(name)?;
        }
        Ok(Self { path: path.to_path_buf(), manifest, digest: Digest::of(&bytes) })
    }

    /// Whether a folder is meant to be a bundle.
    pub fn is_bundle(path: &Path) -> bool {
        path.join(MANIFEST).is_file()
    }

    /// The model of a target; none where the bundle has none for it.
    pub fn model(&self, target: &str) -> Option<PathBuf> {
        self.manifest.models.get(target).map(|name| self.path.join(name))
    }

    /// The model that our own engine runs: the one for it, or the only one.
    ///
    /// # Errors
    /// `Bundle` where there are several models, none of which is meant for it.
    pub fn builtin_model(&self) -> Result<PathBuf, DeliverError> {
        let models = &self.manifest.models;
        let only = || models.values().next().filter(|_| models.len() == 1);
        let Some(name) = models.get("builtin").or_else(only) else {
            let targets: Vec<&str> = models.keys().map(String::as_str).collect();
            let why = format!("its models are for {}: name one of their files", targets.join(", "));
            return Err(refused(&self.path, why));
        };
        Ok(self.path.join(name))
    }

    /// The file that says what must be found in the golden frames, as `detect --json` writes it.
    pub fn golden(&self) -> Option<PathBuf> {
        let mut files = self.manifest.files.iter();
        let file = files.find(|(_, entry)| entry.role == FileRole::Golden);
        file.map(|(name, _)| self.path.join(name))
    }

    /// Signs the manifest, and with it the digest of every file, as a version.
    ///
    /// # Errors
    /// `Key`, `Read`, `Write`.
    pub fn sign(&self, key: &SigningKey, version: u64) -> Result<(), DeliverError> {
        let file = self.path.join(MANIFEST);
        let bytes = fs::read(&file).map_err(|e| DeliverError::read(&file, e))?;
        let comment = comment(&Digest::of(&bytes), version);
        write_whole(&self.path.join(SIGNATURE), key.sign(&bytes, &comment)?.as_bytes())
    }

    /// Proves that a trusted key signed this bundle.
    ///
    /// # Errors
    /// `Unsigned`, `Untrusted`, `Signature`, `Read`.
    pub fn verify(&self, keys: &PublicKeys) -> Result<Signed, DeliverError> {
        let file = self.path.join(MANIFEST);
        let bytes = fs::read(&file).map_err(|e| DeliverError::read(&file, e))?;
        let signature = self.path.join(SIGNATURE);
        if !signature.exists() {
            return Err(DeliverError::Unsigned { path: self.path.clone() });
        }
        let text = fs::read_to_string(&signature).map_err(|e| DeliverError::read(&signature, e))?;
        verify_manifest(&self.path, &bytes, &text, keys)
    }
}

/// Proves that a trusted key signed the bytes of a `bundle.json`; `path` is what errors name.
///
/// # Errors
/// `Untrusted`; `Signature` also where the comment is not that of a bundle.
pub fn verify_manifest(
    path: &Path,
    manifest: &[u8],
    signature: &str,
    keys: &PublicKeys,
) -> Result<Signed, DeliverError> {
    let found = keys.verify(path, manifest, signature)?;
    let version = found.comment.rsplit(' ').next().and_then(|text| text.parse().ok());
    let version = version.filter(|v| found.comment == comment(&Digest::of(manifest), *v));
    let why = || format!("its comment, `{}`, is not that of this bundle", found.comment);
    let version =
        version.ok_or_else(|| DeliverError::Signature { path: path.to_path_buf(), why: why() })?;
    Ok(Signed { key: found.key, version })
}

/// What is signed together with the manifest, and shown by `minisign`.
fn comment(digest: &Digest, version: u64) -> String {
    format!("yoloslim bundle {digest} version {version}")
}

/// Refuses names that could leave a folder, hide, or be read differently by another system.
///
/// # Errors
/// `Name`.
pub fn check_name(name: &str) -> Result<(), DeliverError> {
    let known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    let part = |part: &str| !part.is_empty() && !part.starts_with('.') && part.bytes().all(known);
    if name.len() > 200 || !name.split('/').all(part) {
        return Err(DeliverError::Name { name: name.chars().take(200).collect() });
    }
    Ok(())
}

/// Names of all files below a folder; anything but files and folders is refused.
fn files_below(
    folder: &Path,
    prefix: &str,
    found: &mut BTreeSet<String>,
) -> Result<(), DeliverError> {
    let entries = fs::read_dir(folder).map_err(|e| DeliverError::read(folder, e))?;
    for entry in entries {
        let entry = entry.map_err(|e| DeliverError::read(folder, e))?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        check_name(&name)?;
        // Of the entry itself: a link is not followed.
        let kind = entry.file_type().map_err(|e| DeliverError::read(&entry.path(), e))?;
        if kind.is_dir() {
            files_below(&entry.path(), &format!("{name}/"), found)?;
        } else if kind.is_file() {
            found.insert(name);
        } else {
            return Err(refused(folder, format!("{name} is no regular file")));
        }
    }
    Ok(())
}

/// Writes a file under a temporary name and renames it: a reader never sees half of it, nor does one after a power loss.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), DeliverError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let partial = folder.join(format!(".{name}.{}.partial", std::process::id()));
    let written = fs::File::create(&partial)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&partial, path));
    written.map_err(|e| {
        let _ = fs::remove_file(&partial);
        DeliverError::write(path, e)
    })?;
    // The rename itself is lost otherwise.
    sync_folder(if folder.as_os_str().is_empty() { Path::new(".") } else { folder })
}

fn refused(path: &Path, why: impl Into<String>) -> DeliverError {
    DeliverError::Bundle { path: path.to_path_buf(), why: why.into() }
}

#[cfg(test)]
pub(crate) mod tests;
