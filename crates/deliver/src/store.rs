//! Where bundles are kept: OCI registries and OCI layout folders, behind one interface.
mod access;
mod layout;
mod location;
mod registry;

pub use crate::Blob;
use crate::{DeliverError, Digest};
pub use access::{Access, Credentials, Patience};
pub use location::{Location, Reference};
use std::io::Write;
use std::path::Path;

/// Bytes that a manifest may have at most: registries take no larger ones (OCI distribution specification 1.1).
pub(crate) const MANIFEST_LIMIT_BYTES: u64 = 4 << 20;

/// A manifest as it is stored.
#[derive(Clone, Debug)]
pub struct StoredManifest {
    /// Digest of the bytes.
    pub digest: Digest,
    /// Its media type.
    pub media_type: String,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// A repository of a registry, or a layout folder. Whatever it gives was compared with its digest.
pub trait Store: Send {
    /// How messages name it.
    fn name(&self) -> String;

    /// What a tag names now, as the store says: cheap enough to ask every minute, and no proof. None where there is no such tag.
    fn digest_of_tag(&self, tag: &str) -> Result<Option<Digest>, DeliverError>;

    /// The manifest of a tag; none where there is no such tag.
    fn manifest_of_tag(&self, tag: &str) -> Result<Option<StoredManifest>, DeliverError>;

    /// The manifest of a digest; none where there is no such manifest.
    fn manifest(&self, digest: &Digest) -> Result<Option<StoredManifest>, DeliverError>;

    /// Hands a blob on, from byte `from` on; the caller compares the digest of the whole.
    fn read_blob(&self, blob: &Blob, from: u64, to: &mut dyn Write) -> Result<(), DeliverError>;

    /// Stores a file as a blob, where it is not stored already.
    fn push_blob(&self, blob: &Blob, file: &Path) -> Result<(), DeliverError>;

    /// Stores a manifest, whose blobs are stored, under its digest and a tag.
    fn push_manifest(&self, tag: &str, manifest: &StoredManifest) -> Result<(), DeliverError>;

    /// Stores a manifest, whose blobs are stored, under its digest alone: an index will name it.
    fn push_untagged(&self, manifest: &StoredManifest) -> Result<(), DeliverError>;

    /// All tags, in order.
    fn tags(&self) -> Result<Vec<String>, DeliverError>;
}
