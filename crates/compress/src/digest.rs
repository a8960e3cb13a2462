//! What a stage's result depends on, as one short text.

use std::fs;
use std::path::Path;

use sha2::{Digest as _, Sha256};
use yolo::{Dataset, Streams};

use crate::CompressError;

/// A digest that is being made of parts; the same parts in the same order give the same text.
pub(crate) struct Key(Sha256);

impl Key {
    /// The key of a stage. The program's version belongs to it: another version may decide otherwise.
    pub(crate) fn of(stage: &str) -> Self {
        Self(Sha256::new())
            .and(env!("CARGO_PKG_VERSION"))
            .and(stage)
    }

    /// One more part.
    pub(crate) fn and(mut self, part: impl AsRef<[u8]>) -> Self {
        let part = part.as_ref();
        // Lengths keep `ab`, `c` apart from `a`, `bc`.
        self.0.update((part.len() as u64).to_le_bytes());
        self.0.update(part);
        self
    }

    /// One more part that has a text.
    pub(crate) fn and_text(self, part: impl ToString) -> Self {
        self.and(part.to_string())
    }

    /// The content of a file.
    pub(crate) fn and_file(self, path: &Path) -> Result<Self, CompressError> {
        let bytes = fs::read(path).map_err(|source| CompressError::Read {
            path: path.to_owned(),
            source,
        })?;
        Ok(self.and(bytes))
    }

    /// The text.
    pub(crate) fn finish(self) -> String {
        let hex = |byte: &u8| format!("{byte:02x}");
        self.0.finalize().iter().map(hex).collect()
    }
}

/// SHA-256 of a file's content, in hexadecimal.
///
/// # Errors
/// `Read` when it cannot be read.
pub fn file_digest(path: &Path) -> Result<String, CompressError> {
    let bytes = fs::read(path).map_err(|source| CompressError::Read {
        path: path.to_owned(),
        source,
    })?;
    let hex = |byte: &u8| format!("{byte:02x}");
    Ok(Sha256::digest(&bytes).iter().map(hex).collect())
}

/// The images of which a digest is made.
pub(crate) struct Scenes<'a> {
    /// Where the images of a scene lie.
    pub(crate) streams: &'a Streams,
    /// How many images a scene has.
    pub(crate) images: usize,
}

impl Scenes<'_> {
    /// The content of the scene that an image belongs to; an image that cannot be read counts as empty.
    pub(crate) fn and(&self, key: Key, image: &Path) -> Key {
        let paths = self.streams.paths(image, self.images).unwrap_or_default();
        let content = |path| fs::read(path).unwrap_or_default();
        paths.iter().fold(key, |key, path| key.and(content(path)))
    }
}

/// Digest of images and labels by content, wherever they lie.
pub(crate) fn dataset_digest(dataset: &Dataset, images: usize) -> String {
    let mut key = Key::of("data").and_text(dataset.names.join("\n"));
    let scenes = Scenes {
        streams: &dataset.streams,
        images,
    };
    for image in &dataset.images {
        let labels = format!("{} {:?}", image.image_id, image.labels);
        key = scenes.and(key.and(labels), &image.path);
    }
    key.finish()
}
