//! OCI image layout 1.1: a folder that is used like a repository of a registry, also by several processes at a time.
//! <https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md>
use super::{Blob, MANIFEST_LIMIT_BYTES, Store, StoredManifest};
use crate::bundle::write_whole;
use crate::files::{lock, make_folder, sync_folder};
use crate::{DeliverError, Digest, DigestWriter};
use oci_spec::image::MediaType;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// The version that `oci-layout` names; that of the specification is another one.
const VERSION: &str = "1.0.0";
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// An OCI layout folder.
pub(super) struct Layout {
    path: PathBuf,
}

/// An entry of `index.json`. What else other programs wrote there is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Entry {
    #[serde(rename = "mediaType")]
    media_type: String,
    digest: Digest,
    size: u64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Index {
    manifests: Vec<Entry>,
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

impl Layout {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_path_buf() }
    }

    fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.path.join("blobs/sha256").join(digest.hex())
    }

    fn wrong(&self, why: impl Into<String>) -> DeliverError {
        DeliverError::Layout { path: self.path.clone(), why: why.into() }
    }

    /// The index; none where the folder is not there yet.
    fn index(&self) -> Result<Option<Index>, DeliverError> {
        #[derive(Deserialize)]
        struct Marker {
            #[serde(rename = "imageLayoutVersion")]
            version: String,
        }
        if !self.path.exists() {
            return Ok(None);
        }
        let marker = self.small_file("oci-layout")?;
        let Some(marker) = marker else {
            // The lock alone lies there while the first process makes the rest.
            let mut entries = fs::read_dir(&self.path).into_iter().flatten().flatten();
            let foreign = entries.any(|entry| !is_ours(&entry.file_name().to_string_lossy()));
            return if foreign { Err(self.wrong("it has no oci-layout")) } else { Ok(None) };
        };
        let Marker { version } =
            serde_json::from_slice(&marker).map_err(|e| self.wrong(format!("oci-layout: {e}")))?;
        if version != VERSION {
            return Err(self.wrong(format!("its version is {version}, and {VERSION} is read")));
        }
        let Some(index) = self.small_file("index.json")? else { return Ok(None) };
        let index = serde_json::from_slice(&index);
        index.map(Some).map_err(|e| self.wrong(format!("index.json: {e}")))
    }

    fn small_file(&self, name: &str) -> Result<Option<Vec<u8>>, DeliverError> {
        let path = self.path.join(name);
        match open_regular(&path) {
            Ok(file) => read_at_most(file, &path, MANIFEST_LIMIT_BYTES).map(Some),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(DeliverError::read(&path, e)),
        }
    }

    fn entry_of_tag(&self, tag: &str) -> Result<Option<Entry>, DeliverError> {
        let Some(index) = self.index()? else { return Ok(None) };
        let named = |entry: &Entry| entry.annotations.get(REF_NAME).is_some_and(|n| n == tag);
        let mut found = index.manifests.into_iter().filter(named);
        let first = found.next();
        if found.next().is_some() {
            return Err(self.wrong(format!("index.json names several manifests {tag}")));
        }
        Ok(first)
    }

    /// The bytes of a manifest, compared with its digest.
    fn manifest_bytes(&self, digest: &Digest) -> Result<Option<Vec<u8>>, DeliverError> {
        let path = self.blob_path(digest);
        let file = match open_regular(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(|e| DeliverError::read(&path, e))?,
        };
        let bytes = read_at_most(file, &path, MANIFEST_LIMIT_BYTES)?;
        let found = Digest::of(&bytes);
        if found != *digest {
            return Err(DeliverError::ManifestDigest {
                store: self.name(),
                expected: *digest,
                found,
            });
        }
        Ok(Some(bytes))
    }

    /// Makes the folder, where it is not there yet; the lock is held.
    fn create(&self) -> Result<(), DeliverError> {
        // What is there must be a layout: nothing is written into a folder of something else.
        if self.index()?.is_some() {
            return Ok(());
        }
        let marker = json!({ "imageLayoutVersion": VERSION });
        write_whole(&self.path.join("oci-layout"), marker.to_string().as_bytes())?;
        let media_type = MediaType::ImageIndex.to_string();
        let empty = json!({ "schemaVersion": 2, "mediaType": media_type, "manifests": [] });
        self.write_index(&empty)?;
        sync_folder(&self.path)
    }

    fn write_index(&self, index: &impl Serialize) -> Result<(), DeliverError> {
        let text = serde_json::to_vec(index).map_err(|e| self.wrong(e.to_string()))?;
        write_whole(&self.path.join("index.json"), &text)
    }

    /// Holds the lock that everyone holds who changes `index.json`; readers need none, since it is replaced as a whole.
    fn lock(&self) -> Result<File, DeliverError> {
        make_folder(&self.path.join("blobs/sha256"))?;
        lock(&self.path.join(LOCK))
    }

    /// Writes a blob under a temporary name first; several processes may write the same one.
    fn write_blob(&self, blob: &Blob, mut from: impl Read, what: &str) -> Result<(), DeliverError> {
        let folder = self.path.join("blobs/sha256");
        let mut temporary = tempfile::Builder::new()
            .prefix(".partial-")
            .tempfile_in(&folder)
            .map_err(|e| DeliverError::write(&folder, e))?;
        let mut writer = DigestWriter::new(temporary.as_file_mut());
        io::copy(&mut from, &mut writer).map_err(|e| DeliverError::write(&folder, e))?;
        let (found, size_bytes) = writer.finish();
        blob.expect(what, found, size_bytes)?;
        let path = self.blob_path(&blob.digest);
        let stored = temporary.as_file().sync_all().and_then(|()| {
            // Temporary files are their owner's alone; what is stored is for everyone who may enter the folder.
            #[cfg(unix)]
            fs::set_permissions(
                temporary.path(),
                std::os::unix::fs::PermissionsExt::from_mode(0o644),
            )?;
            temporary.persist(&path).map_err(|e| e.error).map(drop)
        });
        stored.map_err(|e| DeliverError::write(&path, e))?;
        sync_folder(&folder)
    }
}

const LOCK: &str = ".lock";

/// What a process leaves that was ended while it made the folder.
fn is_ours(name: &str) -> bool {
    matches!(name, LOCK | "blobs" | "index.json") || name.ends_with(".partial")
}

/// Opens a file that is one: a pipe or a device would be waited for without end.
fn open_regular(path: &Path) -> io::Result<File> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    File::open(path)
}

fn read_at_most(file: File, path: &Path, limit: u64) -> Result<Vec<u8>, DeliverError> {
    let mut bytes = Vec::new();
    let read = file.take(limit + 1).read_to_end(&mut bytes);
    read.map_err(|e| DeliverError::read(path, e))?;
    if bytes.len() as u64 > limit {
        return Err(DeliverError::Oversized {
            what: path.display().to_string(),
            limit,
            found: bytes.len() as u64,
        });
    }
    Ok(bytes)
}

impl Store for Layout {
    fn name(&self) -> String {
        format!("oci:{}", self.path.display())
    }

    fn digest_of_tag(&self, tag: &str) -> Result<Option<Digest>, DeliverError> {
        Ok(self.entry_of_tag(tag)?.map(|entry| entry.digest))
    }

    fn manifest_of_tag(&self, tag: &str) -> Result<Option<StoredManifest>, DeliverError> {
        let Some(Entry { digest, media_type, .. }) = self.entry_of_tag(tag)? else {
            return Ok(None);
        };
        let bytes = self.manifest_bytes(&digest)?;
        // The tag is there: what it names must be, too.
        let bytes = bytes.ok_or_else(|| DeliverError::Missing {
            store: self.name(),
            what: format!("manifest {digest}, which {tag} names"),
        })?;
        Ok(Some(StoredManifest { digest, media_type, bytes }))
    }

    fn manifest(&self, digest: &Digest) -> Result<Option<StoredManifest>, DeliverError> {
        #[derive(Deserialize)]
        struct Typed {
            #[serde(rename = "mediaType")]
            media_type: String,
        }
        let Some(bytes) = self.manifest_bytes(digest)? else { return Ok(None) };
        let typed = serde_json::from_slice(&bytes);
        let Typed { media_type } =
            typed.map_err(|e| self.wrong(format!("manifest {digest}: {e}")))?;
        Ok(Some(StoredManifest { digest: *digest, media_type, bytes }))
    }

    fn read_blob(&self, blob: &Blob, from: u64, to: &mut dyn Write) -> Result<(), DeliverError> {
        let path = self.blob_path(&blob.digest);
        let mut file = match open_regular(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let what = format!("blob {}", blob.digest);
                return Err(DeliverError::Missing { store: self.name(), what });
            }
            file => file.map_err(|e| DeliverError::read(&path, e))?,
        };
        let found = file.metadata().map_err(|e| DeliverError::read(&path, e))?.len();
        if found != blob.size_bytes {
            let what = path.display().to_string();
            return Err(DeliverError::Size { what, expected: blob.size_bytes, found });
        }
        file.seek(SeekFrom::Start(from)).map_err(|e| DeliverError::read(&path, e))?;
        let copied = io::copy(&mut file.take(blob.size_bytes.saturating_sub(from)), to);
        copied.map(drop).map_err(|e| DeliverError::read(&path, e))
    }

    fn push_blob(&self, blob: &Blob, file: &Path) -> Result<(), DeliverError> {
        drop(self.lock().and_then(|held| self.create().map(|()| held))?);
        let stored = fs::metadata(self.blob_path(&blob.digest));
        if stored.is_ok_and(|m| m.is_file() && m.len() == blob.size_bytes) {
            return Ok(());
        }
        let from = File::open(file).map_err(|e| DeliverError::read(file, e))?;
        self.write_blob(blob, from, &file.display().to_string())
    }

    fn push_manifest(&self, tag: &str, manifest: &StoredManifest) -> Result<(), DeliverError> {
        self.push_untagged(manifest)?;
        let _held = self.lock()?;
        let index = self.index()?;
        let mut index = index.ok_or_else(|| self.wrong("its index.json is gone"))?;
        for entry in &mut index.manifests {
            if entry.annotations.get(REF_NAME).is_some_and(|name| name == tag) {
                entry.annotations.remove(REF_NAME);
            }
        }
        // What lost its last tag can still be had by its digest, as in a registry.
        let others = BTreeMap::new();
        let annotations = BTreeMap::from([(REF_NAME.to_owned(), tag.to_owned())]);
        let StoredManifest { digest, media_type, bytes } = manifest;
        let known = |entry: &Entry| entry.digest == *digest && entry.annotations.is_empty();
        index.manifests.retain(|entry| !known(entry));
        index.manifests.push(Entry {
            media_type: media_type.clone(),
            digest: *digest,
            size: bytes.len() as u64,
            annotations,
            others,
        });
        self.write_index(&index)?;
        sync_folder(&self.path)
    }

    fn push_untagged(&self, manifest: &StoredManifest) -> Result<(), DeliverError> {
        drop(self.lock().and_then(|held| self.create().map(|()| held))?);
        let StoredManifest { digest, bytes, .. } = manifest;
        let blob = Blob { digest: *digest, size_bytes: bytes.len() as u64 };
        self.write_blob(&blob, &bytes[..], "the manifest")
    }

    fn tags(&self) -> Result<Vec<String>, DeliverError> {
        let entries = self.index()?.map(|index| index.manifests).unwrap_or_default();
        let names = entries.into_iter().filter_map(|mut e| e.annotations.remove(REF_NAME));
        let mut names: Vec<String> = names.collect();
        names.sort();
        Ok(names)
    }
}

#[cfg(test)]
mod tests;
