//! Bundles as ModelPack artifacts: <https://github.com/modelpack/model-spec/blob/main/docs/spec.md>.
use super::oci::{MODEL_MANIFEST, Parsed, descriptor, stored};
use super::{Progress, Seal, Tell, push_bytes, seal_of, small_blob};
use crate::bundle::{self, Bundle, FileRole, check_name};
use crate::store::{Store, StoredManifest};
use crate::{Blob, DeliverError, Digest};
use oci_spec::image::MediaType;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const CONFIG: &str = "application/vnd.cncf.model.config.v1+json";
const WEIGHT: &str = "application/vnd.cncf.model.weight.v1.raw";
const WEIGHT_CONFIG: &str = "application/vnd.cncf.model.weight.config.v1.raw";
const DOCUMENT: &str = "application/vnd.cncf.model.doc.v1.raw";
const DATA: &str = "application/vnd.cncf.model.dataset.v1.raw";

const FILEPATH: &str = "org.cncf.model.filepath";
/// By which `oras pull` names what it writes.
const TITLE: &str = "org.opencontainers.image.title";

/// Stores the blobs, and gives the manifest that is to be stored.
pub(super) fn push(
    store: &dyn Store,
    bundle: &Bundle,
    tell: Tell<'_>,
) -> Result<StoredManifest, DeliverError> {
    let mut layers = Vec::new();
    let mut digests = Vec::new();
    let mut layer = |name: &str, media_type: &str, blob: Blob| {
        tell(Progress { name, size_bytes: blob.size_bytes });
        store.push_blob(&blob, &bundle.path.join(name))?;
        let mut layer = descriptor(media_type, &blob);
        layer["annotations"] = json!({ FILEPATH: name, TITLE: name });
        layers.push(layer);
        digests.push(blob.digest);
        Ok::<_, DeliverError>(())
    };
    for name in seal_of(bundle) {
        let (digest, size_bytes) = Digest::of_file(&bundle.path.join(name))?;
        layer(name, WEIGHT_CONFIG, Blob { digest, size_bytes })?;
    }
    for (name, entry) in &bundle.manifest.files {
        layer(name, media_type(entry.role), entry.blob())?;
    }
    let config = push_bytes(store, config(&bundle.manifest, &digests).to_string().as_bytes())?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MediaType::ImageManifest.to_string(),
        "artifactType": MODEL_MANIFEST,
        "config": descriptor(CONFIG, &config),
        "layers": layers,
    });
    Ok(stored(&MediaType::ImageManifest, &manifest))
}

fn media_type(role: FileRole) -> &'static str {
    match role {
        FileRole::Model => WEIGHT,
        FileRole::Config => WEIGHT_CONFIG,
        FileRole::Document => DOCUMENT,
        FileRole::Golden | FileRole::Image => DATA,
    }
}

/// The ModelPack configuration. It has no time of creation: the same bundle would have another digest every time.
fn config(manifest: &bundle::Manifest, digests: &[Digest]) -> Value {
    let mut descriptor = json!({ "name": manifest.name, "family": manifest.family });
    if let Some(commit) = &manifest.provenance.commit {
        descriptor["revision"] = json!(commit);
    }
    let mut config = json!({
        "architecture": "cnn",
        "format": "onnx",
        "capabilities": { "inputTypes": ["image"], "outputTypes": ["other"] },
    });
    // The plan says what is quantized, so there is one wherever something is.
    if manifest.files.contains_key(QUANT_PLAN) {
        config["precision"] = json!("int8");
    }
    json!({
        "descriptor": descriptor,
        "config": config,
        "modelfs": { "type": "layers", "diffIds": digests },
    })
}

const QUANT_PLAN: &str = "quant.plan.json";

/// Layers by their file; names that are none, or come twice, are refused.
fn by_name(parsed: &Parsed) -> Result<BTreeMap<&str, Blob>, DeliverError> {
    let mut found = BTreeMap::new();
    for layer in &parsed.layers {
        let name = layer.annotation(FILEPATH).unwrap_or_default();
        check_name(name)?;
        if found.insert(name, layer.blob).is_some() {
            return Err(DeliverError::Name { name: format!("{name} (twice)") });
        }
    }
    Ok(found)
}

/// Fetches what is needed to know the bundle.
pub(super) fn seal(store: &dyn Store, parsed: &Parsed, place: &str) -> Result<Seal, DeliverError> {
    let layers = by_name(parsed)?;
    let mut seal = Seal::default();
    for name in [bundle::MANIFEST, bundle::SIGNATURE, bundle::TIMINGS] {
        if let Some(blob) = layers.get(name) {
            let bytes = small_blob(store, blob, &format!("{place}: {name}"))?;
            seal.by_name.insert(name.to_owned(), bytes);
        }
    }
    Ok(seal)
}

/// Compares the layers with what `bundle.json` says, of which alone digests are signed.
pub(super) fn compare(parsed: &Parsed, manifest: &bundle::Manifest) -> Result<(), String> {
    let mut layers = by_name(parsed).map_err(|e| e.to_string())?;
    for name in [bundle::MANIFEST, bundle::SIGNATURE, bundle::TIMINGS] {
        layers.remove(name);
    }
    for (name, entry) in &manifest.files {
        match layers.remove(name.as_str()) {
            None => return Err(format!("it has no layer for {name}")),
            Some(blob) if blob != entry.blob() => {
                return Err(format!(
                    "its layer for {name} is not the file of {}",
                    bundle::MANIFEST
                ));
            }
            Some(_) => {}
        }
    }
    match layers.keys().next() {
        Some(stray) => Err(format!("its layer {stray} is not named by {}", bundle::MANIFEST)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
