//! Manifests and indexes, read with suspicion and written so that the same content has the same bytes.
use super::Form;
use crate::store::{Store, StoredManifest};
use crate::{Blob, DeliverError, Digest};
use oci_spec::image::{Descriptor, ImageIndex, ImageManifest, MediaType};
use serde_json::{Value, json};

pub(super) const MODEL_MANIFEST: &str = "application/vnd.cncf.model.manifest.v1+json";

/// The manifest of a bundle, without the index that may lead to it.
pub(super) struct Parsed {
    manifest: ImageManifest,
    /// Its layers, in order.
    pub(super) layers: Vec<Layer>,
}

/// A layer of a manifest.
pub(super) struct Layer {
    pub(super) blob: Blob,
    pub(super) media_type: String,
    annotations: std::collections::HashMap<String, String>,
}

impl Layer {
    pub(super) fn annotation(&self, name: &str) -> Option<&str> {
        self.annotations.get(name).map(String::as_str)
    }
}

/// What is wrong with a manifest, before it is said where it lies.
pub(super) enum Wrong {
    /// What contradicts itself, or is something else.
    Content(String),
    /// What the store says.
    Store(DeliverError),
}

impl Wrong {
    pub(super) fn in_store(self, store: &str) -> DeliverError {
        match self {
            Self::Content(why) => DeliverError::Package { store: store.to_owned(), why },
            Self::Store(error) => error,
        }
    }
}

impl Parsed {
    /// Reads a manifest, or the first manifest of an index: those of a bundle have the same layers.
    pub(super) fn read(store: &dyn Store, stored: &StoredManifest) -> Result<Self, Wrong> {
        if stored.media_type == MediaType::ImageIndex.to_string() {
            let index: ImageIndex = parse(stored).map_err(Wrong::Content)?;
            let child = index.manifests().first();
            let child = child.ok_or_else(|| Wrong::Content("its index is empty".to_owned()))?;
            let blob = blob_of(child).map_err(Wrong::Content)?;
            let found = store.manifest(&blob.digest).map_err(Wrong::Store)?;
            let found = found.ok_or_else(|| {
                Wrong::Content(format!("its index names {}, which is not there", blob.digest))
            })?;
            return Self::of_manifest(&found).map_err(Wrong::Content);
        }
        Self::of_manifest(stored).map_err(Wrong::Content)
    }

    fn of_manifest(stored: &StoredManifest) -> Result<Self, String> {
        if stored.media_type != MediaType::ImageManifest.to_string() {
            return Err(format!("its media type is {}", shortened(&stored.media_type)));
        }
        let manifest: ImageManifest = parse(stored)?;
        // The same bytes must not be two things, depending on who tells (image specification 1.1, Manifest).
        if manifest.media_type().as_ref().is_some_and(|t| *t != MediaType::ImageManifest) {
            return Err("the media type inside it is another than the one outside".to_owned());
        }
        let layer = |descriptor: &Descriptor| {
            Ok(Layer {
                blob: blob_of(descriptor)?,
                media_type: descriptor.media_type().to_string(),
                annotations: descriptor.annotations().clone().unwrap_or_default(),
            })
        };
        let layers = manifest.layers().iter().map(layer).collect::<Result<_, String>>()?;
        Ok(Self { manifest, layers })
    }

    pub(super) fn form(&self) -> Result<Form, String> {
        let artifact = self.manifest.artifact_type().as_ref().map(ToString::to_string);
        match artifact.as_deref() {
            Some(MODEL_MANIFEST) => Ok(Form::ModelPack),
            None if *self.manifest.config().media_type() == MediaType::ImageConfig => {
                Ok(Form::Image)
            }
            Some(other) => Err(format!("it is an artifact of type {}", shortened(other))),
            None => Err("it is neither a ModelPack nor an image".to_owned()),
        }
    }
}

fn parse<T: serde::de::DeserializeOwned>(stored: &StoredManifest) -> Result<T, String> {
    serde_json::from_slice(&stored.bytes).map_err(|e| format!("its manifest cannot be read: {e}"))
}

fn shortened(text: &str) -> String {
    text.chars().take(100).collect()
}

fn blob_of(descriptor: &Descriptor) -> Result<Blob, String> {
    let digest = descriptor.digest().to_string();
    let digest = digest.parse::<Digest>().map_err(|e| e.to_string())?;
    Ok(Blob { digest, size_bytes: descriptor.size() })
}

/// A descriptor of a blob.
pub(super) fn descriptor(media_type: &str, blob: &Blob) -> Value {
    json!({ "mediaType": media_type, "digest": blob.digest, "size": blob.size_bytes })
}

/// A manifest or an index as it is stored. Made of [`Value`]s, whose members have an order: the maps of `oci-spec` have none, and
/// the same bundle would get another digest every time.
pub(super) fn stored(media_type: &MediaType, content: &Value) -> StoredManifest {
    let bytes = content.to_string().into_bytes();
    StoredManifest { digest: Digest::of(&bytes), media_type: media_type.to_string(), bytes }
}
