//! Scenes seen by several cameras: visible light in one folder, infrared in another, under the same file names.
//!
//! Source: the layout of YOLOFuse, `images/` and `imagesIR/` side by side with labels for both.

use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

use crate::{YoloError, read_rgb};
use image::RgbImage;

/// Folders of the images of one scene, in the order in which a model reads them. An image's path names one of them;
/// the other images lie where that folder is replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Streams(Vec<String>);

impl Default for Streams {
    fn default() -> Self {
        Self(["images", "imagesIR"].map(str::to_owned).into())
    }
}

impl Streams {
    /// Images of a scene in these folders.
    pub(crate) fn new(folders: Vec<String>) -> Self {
        Self(folders)
    }

    /// The `count` images of the scene that an image belongs to; one image is the scene itself.
    ///
    /// # Errors
    /// `Streams` where the path names none of the folders, or there are fewer folders.
    pub fn paths(&self, image: &Path, count: usize) -> Result<Vec<PathBuf>, YoloError> {
        if count == 1 {
            return Ok(vec![image.to_owned()]);
        }
        let parts: Vec<Component<'_>> = image.components().collect();
        let folders = &parts[..parts.len().saturating_sub(1)];
        let named = |part: &Component<'_>| self.0.iter().any(|f| part.as_os_str() == OsStr::new(f));
        let own = folders.iter().rposition(named);
        let (Some(own), Some(read)) = (own, self.0.get(..count)) else {
            return Err(YoloError::Streams {
                image: image.to_owned(),
                images: count,
                folders: self.0.clone(),
            });
        };
        let inside = |folder: &String| {
            let mut path: PathBuf = parts[..own].iter().collect();
            path.push(folder);
            path.extend(&parts[own + 1..]);
            path
        };
        Ok(read.iter().map(inside).collect())
    }

    /// All images of the scene that an image may belong to, the image included, whatever a model reads of it.
    pub(crate) fn all(&self, image: &Path) -> Vec<PathBuf> {
        let partners = self.paths(image, self.0.len());
        let mut all = partners.unwrap_or_default();
        if !all.iter().any(|path| path == image) {
            all.push(image.to_owned());
        }
        all
    }

    /// The `count` images of a scene, decoded.
    ///
    /// # Errors
    /// As [`read_rgb`] for the image itself, `Partner` where another one cannot be read or has another size; as
    /// [`Streams::paths`].
    pub fn read(&self, image: &Path, count: usize) -> Result<Vec<RgbImage>, YoloError> {
        let first = read_rgb(image)?;
        if count == 1 {
            return Ok(vec![first]);
        }
        let partner = |path: PathBuf| {
            if path == image {
                return Ok(first.clone());
            }
            let refuse = |reason: String| YoloError::Partner {
                path: path.clone(),
                image: image.to_owned(),
                reason,
            };
            let pixels = read_rgb(&path).map_err(|error| refuse(error.reason()))?;
            if pixels.dimensions() == first.dimensions() {
                return Ok(pixels);
            }
            let [found, expected] =
                [&pixels, &first].map(|i| format!("{}x{}", i.width(), i.height()));
            Err(refuse(format!("{found} pixels, expected {expected}")))
        };
        self.paths(image, count)?.into_iter().map(partner).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(streams: &Streams, image: &str, count: usize) -> Result<Vec<String>, String> {
        let found = streams.paths(Path::new(image), count);
        let text = |p: &PathBuf| p.display().to_string();
        found.map(|all| all.iter().map(text).collect()).map_err(|e| e.to_string())
    }

    #[test]
    fn paths_of_two_streams_replace_the_last_folder_that_is_named() {
        let usual = Streams::default();
        assert_eq!(
            paths(&usual, "/images/d/images/val/a.jpg", 2).unwrap(),
            ["/images/d/images/val/a.jpg", "/images/d/imagesIR/val/a.jpg"]
        );
        let named = Streams(["infrared", "visible"].map(str::to_owned).into());
        assert_eq!(
            paths(&named, "d/visible/images/a.jpg", 2).unwrap(),
            ["d/infrared/images/a.jpg", "d/visible/images/a.jpg"]
        );
        assert_eq!(paths(&named, "d/a.jpg", 1).unwrap(), ["d/a.jpg"]);
    }

    #[test]
    fn paths_of_an_image_elsewhere_or_of_more_streams_than_folders_are_an_error() {
        let usual = Streams::default();
        for (image, count) in [("shots/a.jpg", 2), ("images", 2), ("images/a.jpg", 3)] {
            let told = paths(&usual, image, count).unwrap_err();
            assert!(told.contains("images, imagesIR") && told.contains(image), "{told}");
        }
    }
}
