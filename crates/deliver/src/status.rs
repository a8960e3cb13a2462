//! What a device says of itself, and how it is kept beside the bundles: as an artifact that its key has signed.
use crate::package::{push_bytes, small_blob};
use crate::store::{Store, StoredManifest};
use crate::{Blob, DeliverError, Digest, PublicKeys, SigningKey};
use oci_spec::image::{
    Descriptor, DescriptorBuilder, ImageManifest, ImageManifestBuilder, MediaType, Sha256Digest,
};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::str::FromStr;

/// What a tag of a report begins with; the device's name follows.
pub const TAG_PREFIX: &str = "status-";
/// The kind of artifact, and of its first layer.
const STATUS: &str = "application/vnd.yoloslim.status.v1+json";
/// Its signature.
const MINISIG: &str = "application/vnd.yoloslim.status.v1.minisig";
/// The specification's stand-in for a configuration that says nothing.
const EMPTY: &[u8] = b"{}";
/// Bytes that a report or its signature may have.
const LIMIT_BYTES: u64 = 64 << 10;

/// What a device says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Status {
    /// The format's number, 1.
    pub yoloslim_status: u32,
    /// Its name.
    pub device: String,
    /// When it said so, in Unix seconds.
    pub time_s: u64,
    /// The tag that it follows.
    pub alias: String,
    /// What it uses, as far as that can be told.
    pub running: Option<Running>,
    /// Whether that has passed its probation and is in use.
    pub healthy: bool,
    /// Whether it is in its probation.
    pub probation: bool,
    /// Digest of the OCI manifest that the alias named last.
    pub wanted: Option<Digest>,
    /// What it does not take, and why.
    pub failed: Option<Failed>,
    /// How often it took a bundle back.
    pub rollbacks: u64,
    /// When it was last found to be on the alias, in Unix seconds.
    pub last_success_s: Option<u64>,
    /// Bytes that may still be written.
    pub free_bytes: Option<u64>,
    /// Why the last look at the alias came to nothing.
    pub error: Option<String>,
    /// The program's version.
    pub program: String,
}

/// What a device uses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Running {
    /// The detector's name.
    pub name: String,
    /// The version as which the bundle is signed.
    pub version: u64,
    /// Digest of its OCI manifest, where that is known.
    pub manifest: Option<Digest>,
    /// Digest of its `bundle.json`.
    pub bundle: Digest,
}

/// A bundle that this device does not take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failed {
    /// Digest of the OCI manifest.
    pub manifest: Digest,
    /// Where it failed.
    pub stage: Stage,
    /// Why.
    pub why: String,
}

/// Where a bundle failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// It was refused before it was used: its signature, its version, its target.
    Refused,
    /// It did not find on this machine what it must find in its golden frames, or not in time.
    WarmUp,
    /// It was used, did not hold, and was taken back.
    RolledBack,
}

impl Status {
    /// The format's number.
    pub(crate) const FORMAT: u32 = 1;

    /// Whether two say the same, whenever they do.
    pub(crate) fn says_the_same(&self, other: &Self) -> bool {
        let said = |status: &Self| Self {
            time_s: 0,
            last_success_s: None,
            free_bytes: None,
            ..status.clone()
        };
        said(self) == said(other)
    }

    /// The tag that it is kept under.
    pub fn tag(&self) -> String {
        format!("{TAG_PREFIX}{}", self.device)
    }
}

/// A name that can stand in a tag, `status-NAME`.
pub(crate) fn check_device(name: &str) -> Result<(), String> {
    let known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    if name.is_empty() || name.len() > 100 || !name.bytes().all(known) {
        return Err(format!(
            "device: `{name}` cannot name a device: names have at most 100 letters, digits, `.`, `-` and `_`"
        ));
    }
    Ok(())
}

/// The line that is signed with a report: of what it is, by whom, and when.
fn comment(status: &Status, bytes: &[u8]) -> String {
    format!("yoloslim status {} {} {}", status.device, Digest::of(bytes), status.time_s)
}

/// Signs a report, and keeps it in the repository.
///
/// # Errors
/// `Key`; what the store says.
pub fn push(store: &dyn Store, status: &Status, key: &SigningKey) -> Result<(), DeliverError> {
    // No key of it is anything but a string: this cannot fail.
    let bytes = serde_json::to_vec_pretty(status).unwrap_or_default();
    let signature = key.sign(&bytes, &comment(status, &bytes))?;
    let part = |media_type: &str, bytes: &[u8]| descriptor(media_type, &push_bytes(store, bytes)?);
    let layers = vec![part(STATUS, &bytes)?, part(MINISIG, signature.as_bytes())?];
    let config = part("application/vnd.oci.empty.v1+json", EMPTY)?;
    let manifest = ImageManifestBuilder::default()
        .schema_version(2u32)
        .media_type(MediaType::ImageManifest)
        .artifact_type(MediaType::Other(STATUS.to_owned()))
        .config(config)
        .layers(layers)
        .build()
        .map_err(unmade)?;
    let bytes = manifest.to_string().map_err(unmade)?.into_bytes();
    let media_type = MediaType::ImageManifest.to_string();
    let manifest = StoredManifest { digest: Digest::of(&bytes), media_type, bytes };
    store.push_manifest(&status.tag(), &manifest)
}

fn descriptor(media_type: &str, blob: &Blob) -> Result<Descriptor, DeliverError> {
    let digest = Sha256Digest::from_str(&blob.digest.hex()).map_err(unmade)?;
    DescriptorBuilder::default()
        .media_type(MediaType::from(media_type))
        .size(blob.size_bytes)
        .digest(digest)
        .build()
        .map_err(unmade)
}

fn unmade(why: impl std::fmt::Display) -> DeliverError {
    DeliverError::Report { tag: TAG_PREFIX.to_owned(), why: why.to_string() }
}

/// Reads a report; on an error what is wrong with it.
pub(crate) fn parse(bytes: &[u8]) -> Result<Status, String> {
    let status: Status = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
    if status.yoloslim_status != Status::FORMAT {
        return Err(format!("its format is {}, not {}", status.yoloslim_status, Status::FORMAT));
    }
    Ok(status)
}

/// A report that a trusted key has signed.
#[derive(Clone, Debug, PartialEq)]
pub struct SignedStatus {
    /// What it says.
    pub status: Status,
    /// The number of the key.
    pub key: String,
}

/// Reads the report in a tag; none where the tag is gone.
///
/// # Errors
/// `Report` for one that no trusted key has signed, or that contradicts itself; what the store says.
pub fn pull(
    store: &dyn Store,
    tag: &str,
    keys: &PublicKeys,
) -> Result<Option<SignedStatus>, DeliverError> {
    let refused = |why: String| DeliverError::Report { tag: tag.to_owned(), why };
    let Some(stored) = store.manifest_of_tag(tag)? else { return Ok(None) };
    let manifest =
        ImageManifest::from_reader(&*stored.bytes).map_err(|e| refused(e.to_string()))?;
    if manifest.artifact_type() != &Some(MediaType::Other(STATUS.to_owned())) {
        return Err(refused("it is no report".to_owned()));
    }
    let layer = |media_type: &str| {
        let mut layers = manifest.layers().iter();
        let layer = layers.find(|layer| layer.media_type().to_string() == media_type);
        let layer = layer.ok_or_else(|| refused(format!("it has no layer of {media_type}")))?;
        layer_bytes(store, layer, tag)
    };
    let (bytes, signature) = (layer(STATUS)?, layer(MINISIG)?);
    let signature = String::from_utf8_lossy(&signature);
    let found = keys.verify(Path::new(tag), &bytes, &signature);
    let found = found.map_err(|e| refused(e.to_string()))?;
    let status = parse(&bytes).map_err(refused)?;
    check_device(&status.device).map_err(&refused)?;
    if status.tag() != tag || found.comment != comment(&status, &bytes) {
        return Err(refused(format!(
            "it is {}'s, and signed as `{}`",
            status.device, found.comment
        )));
    }
    Ok(Some(SignedStatus { status, key: found.key }))
}

fn layer_bytes(store: &dyn Store, layer: &Descriptor, tag: &str) -> Result<Vec<u8>, DeliverError> {
    let refused = |why: String| DeliverError::Report { tag: tag.to_owned(), why };
    let digest: Digest = layer.digest().to_string().parse()?;
    let blob = Blob { digest, size_bytes: layer.size() };
    if blob.size_bytes > LIMIT_BYTES {
        return Err(refused(format!("{} bytes are too many", blob.size_bytes)));
    }
    small_blob(store, &blob, tag)
}
