//! Labelled images: Ultralytics' data.yaml layout and COCO instances JSON.

mod bad_input;
mod coco_json;
mod data_yaml;
mod image_file;
mod labels;

use std::path::{Path, PathBuf};

pub use bad_input::BadInput;
pub(crate) use data_yaml::streams;
pub use image_file::{MAX_DECODED_BYTES, MAX_SIDE_PX, read_rgb, read_size};
pub use labels::{Label, LabelBox};

use crate::metrics::{Category, GroundTruth, GroundTruthObject};
use crate::{Streams, YoloError};

/// One split of a data set: images with their labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    /// Images by file name.
    pub images: Vec<ImageItem>,
    /// Class names by class index.
    pub names: Vec<String>,
    /// Where the other images of a scene lie, for models that read several.
    pub streams: Streams,
    /// Category id in results files of every class: its index, or the id that the COCO JSON gives it.
    pub category_ids: Vec<u64>,
    /// Images that were named but are not there, or are of a kind that is not read.
    pub bad_images: Vec<BadInput>,
    /// Labels that were skipped.
    pub bad_labels: Vec<BadInput>,
}

/// An image and what is labelled in it.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageItem {
    /// Id in results files: position in the list by file name, or the id that the COCO JSON gives it.
    pub image_id: u64,
    /// The image.
    pub path: PathBuf,
    /// What is in it.
    pub labels: Vec<Label>,
}

impl ImageItem {
    /// The labels in pixels, given the size of the image as it is seen (EXIF orientation applied).
    pub fn objects(&self, width_px: u32, height_px: u32) -> Vec<GroundTruthObject> {
        self.labels
            .iter()
            .map(|label| label.object(width_px, height_px))
            .collect()
    }
}

impl Dataset {
    /// Reads the `split` of a data.yaml, or all of a COCO instances JSON (its images are looked for
    /// beside it). Images are listed, not opened.
    ///
    /// # Errors
    /// `DataFormat`, `DataYaml`, `CocoJson`, `Read` if there is no usable description; `MissingSplit`,
    /// `ClassCount`, `ClassNames` if it contradicts itself; `NoImages`; `TooManyBadInputs` if more than
    /// max(3, 1 %) of the labels are bad.
    pub fn open(data: &Path, split: &str) -> Result<Self, YoloError> {
        let extension = data
            .extension()
            .and_then(|e| e.to_str())
            .map(str::to_ascii_lowercase);
        let (dataset, labels) = match extension.as_deref() {
            Some("yaml" | "yml") => data_yaml::open(data, split)?,
            Some("json") => coco_json::open(data, split)?,
            _ => {
                return Err(YoloError::DataFormat {
                    path: data.to_owned(),
                });
            }
        };
        bad_input::check("labels", &dataset.bad_labels, labels)?;
        dataset.check_bad_images(&[])?;
        Ok(dataset)
    }

    /// Every file that is read with this split, besides the description itself: images, the others of their scenes, and
    /// where labels lie or would lie.
    pub fn files(&self) -> impl Iterator<Item = PathBuf> {
        self.images.iter().flat_map(|image| {
            let scene = self.streams.all(&image.path);
            scene
                .into_iter()
                .chain([data_yaml::label_path(&image.path)])
        })
    }

    /// Checks the images that turned out bad while they were decoded, together with those known before.
    ///
    /// # Errors
    /// `TooManyBadInputs` if they are more than max(3, 1 %) of the images.
    pub fn check_bad_images(&self, undecodable: &[BadInput]) -> Result<(), YoloError> {
        let bad = [&self.bad_images[..], undecodable].concat();
        bad_input::check("images", &bad, self.images.len() + self.bad_images.len())
    }

    /// Refuses a data set in which no image has a label: there would be nothing to measure.
    ///
    /// # Errors
    /// `NoLabels`.
    pub fn check_labelled(&self) -> Result<(), YoloError> {
        match self.images.first() {
            Some(first) if self.images.iter().all(|image| image.labels.is_empty()) => {
                let expected_at = data_yaml::label_path(&first.path);
                Err(YoloError::NoLabels {
                    images: self.images.len(),
                    expected_at,
                })
            }
            _ => Ok(()),
        }
    }

    /// The classes as ground truth knows them.
    pub fn categories(&self) -> Vec<Category> {
        let pairs = self.category_ids.iter().zip(&self.names);
        pairs
            .map(|(&id, name)| Category {
                id,
                name: name.clone(),
            })
            .collect()
    }

    /// Ground truth of the images whose `(width_px, height_px)` is known; the others are left out.
    ///
    /// `sizes_px` goes along with [`Dataset::images`].
    pub fn ground_truth(&self, sizes_px: &[Option<(u32, u32)>]) -> GroundTruth {
        let mut ground_truth = GroundTruth::new(self.categories());
        for (image, size) in self.images.iter().zip(sizes_px) {
            if let Some((width_px, height_px)) = *size {
                ground_truth.push(image.image_id, image.objects(width_px, height_px));
            }
        }
        ground_truth
    }
}
