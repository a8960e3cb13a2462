//! What a stage's result depends on, as one short text.

use std::fs;
use std::path::Path;

use observe::ImageSet;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use yolo::Dataset;

use crate::CompressError;

/// SHA-256 in hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hexadecimal(Sha256::new_with_prefix(bytes))
}

fn hexadecimal(digest: Sha256) -> String {
    let hex = |byte: &u8| format!("{byte:02x}");
    digest.finalize().iter().map(hex).collect()
}

/// SHA-256 of a file's content, in hexadecimal.
///
/// # Errors
/// `Read` when it cannot be read.
pub fn file_digest(path: &Path) -> Result<String, CompressError> {
    let bytes =
        fs::read(path).map_err(|cause| CompressError::Read { path: path.to_owned(), cause })?;
    Ok(sha256(&bytes))
}

/// The key of a stage with these inputs: options as they are serialized, files and images by the digests that stand in
/// their place. The program's version belongs to it, since another version may decide otherwise.
pub(crate) fn stage_key(stage: &str, inputs: &impl Serialize) -> Result<String, serde_json::Error> {
    let parts = (env!("CARGO_PKG_VERSION"), stage, inputs);
    Ok(sha256(&serde_json::to_vec(&parts)?))
}

/// Digest of images by content, wherever they lie, for a model that reads `per_scene` images of a scene. An image that cannot
/// be read counts as empty.
pub(crate) fn images_digest(images: &ImageSet, per_scene: usize) -> String {
    let mut digest = Sha256::new();
    for image in &images.paths {
        let scene = images.streams.paths(image, per_scene);
        for path in scene.unwrap_or_default() {
            let content = fs::read(path).unwrap_or_default();
            // Lengths keep `ab`, `c` apart from `a`, `bc`.
            digest.update((content.len() as u64).to_le_bytes());
            digest.update(content);
        }
    }
    hexadecimal(digest)
}

/// Digest of class names, images and labels by content, for a model that reads `per_scene` images of a scene; as a run's record
/// has it of `val`.
///
/// # Errors
/// When labels are no numbers.
pub fn dataset_digest(dataset: &Dataset, per_scene: usize) -> Result<String, serde_json::Error> {
    let images = images_digest(&ImageSet::from(dataset), per_scene);
    let labels = dataset.images.iter().map(|i| (i.image_id, &i.labels));
    let labels: Vec<_> = labels.collect();
    let parts = (&dataset.names, labels, images);
    Ok(sha256(&serde_json::to_vec(&parts)?))
}
