//! Bundles as OCI artifacts, there and back.
//!
//! *ModelPack* (<https://github.com/modelpack/model-spec>, v1) has one uncompressed layer a file, so that a layer's digest is that of
//! the file in `bundle.json`. An *image* has the same files in archives, for what mounts only images. Both are functions of the
//! bundle's folder: the same files, the same digests.
mod fetch;
mod image;
mod model_pack;
mod oci;
mod unpack;

use crate::bundle::{self, Bundle, Signed, check_name, verify_manifest};
use crate::store::{Reference, Store, StoredManifest};
use crate::{Blob, DeliverError, Digest, PublicKeys};
use oci::Parsed;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Bytes that the seal of a bundle, all but its files, may have at most.
const PAPER_LIMIT_BYTES: u64 = 4 << 20;

/// What a bundle is stored as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// An artifact by the ModelPack specification.
    ModelPack,
    /// An image of files below `/models`.
    Image,
}

/// How much is taken from a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all files of a bundle together.
    pub bundle_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bundle_bytes: 2 << 30 }
    }
}

/// What is told of each file before it is sent or fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress<'a> {
    /// Its name; that of the archive for an image.
    pub name: &'a str,
    /// Its size in bytes.
    pub size_bytes: u64,
}

/// Who is told.
pub type Tell<'a> = &'a mut dyn FnMut(Progress<'_>);

/// Stores a bundle under a tag; gives the digest of what the tag then names.
///
/// # Errors
/// `Read` and those of the store.
pub fn push(
    store: &dyn Store,
    bundle: &Bundle,
    tag: &str,
    form: Form,
    tell: Tell<'_>,
) -> Result<Digest, DeliverError> {
    let manifest = match form {
        Form::ModelPack => model_pack::push(store, bundle, tell)?,
        Form::Image => image::push(store, bundle, tell)?,
    };
    store.push_manifest(tag, &manifest)?;
    Ok(manifest.digest)
}

/// Fetches a bundle into a folder that is not there yet, and proves it. What was fetched before an interruption is not fetched again.
///
/// # Errors
/// Those of [`Package::resolve`] and [`Package::fetch`].
pub fn pull(
    store: &dyn Store,
    reference: &Reference,
    into: &Path,
    limits: &Limits,
) -> Result<Bundle, DeliverError> {
    Package::resolve(store, reference)?.fetch(store, into, limits, &mut |_| {})
}

/// A stored bundle, of which the seal was fetched and proved, and nothing large.
#[derive(Clone, Debug)]
pub struct Package {
    /// Digest of the manifest, or of the index, that a tag names.
    pub digest: Digest,
    /// What it is stored as.
    pub form: Form,
    /// Bytes of `bundle.json`.
    pub bundle_json: Vec<u8>,
    /// The text of its signature; not verified.
    pub signature: Option<String>,
    /// What `bundle.json` says.
    pub manifest: bundle::Manifest,
    /// Where it was found, for messages.
    store: String,
    /// Bytes of the times, where there are some.
    timings: Option<Vec<u8>>,
    /// The archive with the files, of an image.
    archive: Option<Blob>,
}

/// What seals a bundle: its manifest, the signature and the times, beside the files that the manifest names.
#[derive(Debug, Default)]
struct Seal {
    by_name: BTreeMap<String, Vec<u8>>,
}

impl Package {
    /// Reads what a tag or a digest names. What comes of it is no more than what was asked for: the signature is not verified.
    ///
    /// # Errors
    /// `Missing`; `ManifestDigest`, `Digest`, `Size`, `Oversized`; `Name`; `Package` for something else than a bundle, or layers
    /// that are not those of `bundle.json`; those of the store.
    pub fn resolve(store: &dyn Store, reference: &Reference) -> Result<Self, DeliverError> {
        let named = find(store, reference)?;
        let name = format!("{}@{}", store.name(), named.digest);
        let wrong = |why: String| DeliverError::Package { store: name.clone(), why };
        let parsed = Parsed::read(store, &named).map_err(|e| e.in_store(&name))?;
        let form = parsed.form().map_err(wrong)?;
        let (seal, archive) = match form {
            Form::ModelPack => (model_pack::seal(store, &parsed, &name)?, None),
            Form::Image => {
                let image = image::seal(store, &parsed, &name)?;
                (image.seal, Some(image.files))
            }
        };
        let Seal { by_name: mut seal } = seal;
        let bundle_json = seal.remove(bundle::MANIFEST);
        let bundle_json =
            bundle_json.ok_or_else(|| wrong(format!("it has no {}", bundle::MANIFEST)))?;
        let manifest = bundle::Manifest::parse(&bundle_json).map_err(wrong)?;
        manifest.files.keys().try_for_each(|file| check_name(file))?;
        if form == Form::ModelPack {
            model_pack::compare(&parsed, &manifest).map_err(wrong)?;
        }
        let signature = seal.remove(bundle::SIGNATURE).map(String::from_utf8).transpose();
        let signature = signature.map_err(|_| wrong("its signature is no text".to_owned()))?;
        let timings = seal.remove(bundle::TIMINGS);
        let (digest, store) = (named.digest, name.clone());
        Ok(Self { digest, form, bundle_json, signature, manifest, store, timings, archive })
    }

    /// Digest of the bundle itself, the same wherever and in whatever form it is stored.
    pub fn bundle_digest(&self) -> Digest {
        Digest::of(&self.bundle_json)
    }

    /// The bundle's files, by name.
    pub fn blobs(&self) -> BTreeMap<&str, Blob> {
        self.manifest.files.iter().map(|(name, entry)| (name.as_str(), entry.blob())).collect()
    }

    /// Proves that a trusted key signed the bundle; every file of it is proved with it when it is fetched.
    ///
    /// # Errors
    /// `Unsigned`, `Untrusted`, `Signature`.
    pub fn verify(&self, keys: &PublicKeys) -> Result<Signed, DeliverError> {
        let path = PathBuf::from(&self.store);
        match &self.signature {
            Some(signature) => verify_manifest(&path, &self.bundle_json, signature, keys),
            None => Err(DeliverError::Unsigned { path }),
        }
    }

    /// Fetches the bundle into a folder that is not there yet, and proves it. What was fetched before an interruption is not
    /// fetched again; where the very bundle lies there already, only its signature is written.
    ///
    /// # Errors
    /// `Exists`, `Oversized`, `Space`; `Digest`, `Size`, `Unpack`, `Name` for what is not as promised; `Write`, and those of the
    /// store.
    pub fn fetch(
        &self,
        store: &dyn Store,
        into: &Path,
        limits: &Limits,
        tell: Tell<'_>,
    ) -> Result<Bundle, DeliverError> {
        fetch::fetch(self, store, into, limits, tell)
    }
}

fn find(store: &dyn Store, reference: &Reference) -> Result<StoredManifest, DeliverError> {
    let found = match reference {
        Reference::Tag(tag) => store.manifest_of_tag(tag)?,
        Reference::Digest(digest) => store.manifest(digest)?,
    };
    let what = || match reference {
        Reference::Tag(tag) => format!("tag {tag}"),
        Reference::Digest(digest) => format!("manifest {digest}"),
    };
    found.ok_or_else(|| DeliverError::Missing { store: store.name(), what: what() })
}

/// A blob that is small, in memory, compared with its digest.
pub(crate) fn small_blob(
    store: &dyn Store,
    blob: &Blob,
    what: &str,
) -> Result<Vec<u8>, DeliverError> {
    if blob.size_bytes > PAPER_LIMIT_BYTES {
        return Err(DeliverError::Oversized {
            what: what.to_owned(),
            limit: PAPER_LIMIT_BYTES,
            found: blob.size_bytes,
        });
    }
    let mut bytes = Vec::new();
    store.read_blob(blob, 0, &mut bytes)?;
    blob.expect(what, Digest::of(&bytes), bytes.len() as u64)?;
    Ok(bytes)
}

/// Stores bytes, by way of a file.
pub(crate) fn push_bytes(store: &dyn Store, bytes: &[u8]) -> Result<Blob, DeliverError> {
    let blob = Blob::of(bytes);
    let failed = |e| DeliverError::write(&std::env::temp_dir(), e);
    let mut file = tempfile::NamedTempFile::new().map_err(failed)?;
    file.write_all(bytes).map_err(failed)?;
    store.push_blob(&blob, file.path())?;
    Ok(blob)
}

/// The parts of the seal that lie in a bundle's folder.
fn seal_of(bundle: &Bundle) -> Vec<&'static str> {
    let mut names = vec![bundle::MANIFEST, bundle::SIGNATURE, bundle::TIMINGS];
    names.retain(|name| bundle.path.join(name).is_file());
    names
}

#[cfg(test)]
pub(crate) mod tests;
