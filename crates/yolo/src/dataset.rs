//! Labelled images: Ultralytics' data.yaml layout and COCO instances JSON; images alone: a folder.

mod bad_input;
mod classes;
mod coco_images;
mod coco_json;
mod copies;
mod data_yaml;
mod image_file;
mod image_limits;
mod image_names;
mod jpeg;
mod label_file;
mod labels;
mod listing;
mod yaml;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

pub use bad_input::{BadInput, most_bad};
pub use copies::first_of_content;
pub use image_file::{decode_rgb, decode_size, read_rgb, read_size};
pub use image_limits::{MAX_DECODING_BYTES, MAX_PIXELS};
pub use image_names::{IMAGE_EXTENSIONS, is_image_name};
pub use jpeg::lacks_end_marker;
use label_file::label_path;
pub use labels::{Label, LabelBox};
use listing::Listing;

use crate::metrics::{Category, GroundTruth, GroundTruthObject};
use crate::{Streams, YoloError};

/// One split of a data set: images with their labels.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dataset {
    /// Images by file name.
    pub images: Vec<ImageItem>,
    /// Class names by class index; empty where none are given, and then nothing is labelled.
    pub names: Vec<String>,
    /// Where the other images of a scene lie, for models that read several.
    pub streams: Streams,
    /// Category id in results files of every class: its index, or the id that the COCO JSON gives it.
    pub category_ids: Vec<u64>,
    /// Text files that list its images.
    pub lists: Vec<PathBuf>,
    /// Images that were named but are not there, or are of a kind that is not read.
    pub bad_images: Vec<BadInput>,
    /// Labels that were skipped.
    pub bad_labels: Vec<BadInput>,
    /// Labels of a label file that were dropped, since the file has the same object already.
    pub duplicate_labels: usize,
    /// What was assumed, replaced or looks wrong, in sentences.
    pub warnings: Vec<String>,
    /// Classes that nothing is labelled as and that all others name as their supercategory: whether they are classes
    /// depends on the model.
    supercategories: BTreeSet<usize>,
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
        self.labels.iter().map(|label| label.object(width_px, height_px)).collect()
    }
}

impl Dataset {
    /// Reads the `split` of a data.yaml, or all of a COCO instances JSON (its images are looked for
    /// beside it), or all images of a folder, which are not labelled. Images are listed, not opened.
    ///
    /// # Errors
    /// `DataFormat`, `DataYaml`, `CocoJson`, `Read` if there is no usable description; `MissingSplit`, `SplitNotFound`,
    /// `ClassCount`, `ClassNames` if it contradicts itself; `NoImages`; `TooManyBadInputs` if more than
    /// max(3, 1 %) of the labels are bad.
    pub fn open(data: &Path, split: &str) -> Result<Self, YoloError> {
        let (dataset, labels) = match Description::of_path(data)? {
            Description::Yaml => data_yaml::open(data, split)?,
            Description::Coco => coco_json::open(data, split)?,
            Description::Folder => (Self::unlabelled(folder(data, split)?), 0),
        };
        check_bad("labels", &dataset.bad_labels, labels)?;
        dataset.check_bad_images(&[])?;
        Ok(dataset)
    }

    /// Every file that is read with this split, besides the description itself: images, the others of their scenes,
    /// where labels lie or would lie, and lists.
    pub fn files(&self) -> impl Iterator<Item = PathBuf> {
        let of_images = self.images.iter().flat_map(|image| {
            let scene = self.streams.all(&image.path);
            scene.into_iter().chain([label_path(&image.path)])
        });
        of_images.chain(self.lists.iter().cloned())
    }

    /// The images of another split of the same data.yaml, without their labels; `None` where there is no such split that
    /// could be read, or nothing that has splits.
    pub fn images_of(data: &Path, split: &str) -> Option<Vec<PathBuf>> {
        match Description::of_path(data) {
            Ok(Description::Yaml) => data_yaml::images(data, split).ok(),
            _ => None,
        }
    }

    /// Images in which nothing is labelled, numbered by file name.
    fn unlabelled(listing: Listing) -> Self {
        let repeated = listing.repeated;
        let bad_images = listing.bad.clone();
        let lists = listing.lists.clone();
        let images = (0..).zip(listing.into_images());
        let images =
            images.map(|(image_id, path)| ImageItem { image_id, path, labels: Vec::new() });
        let mut dataset = Self { images: images.collect(), bad_images, lists, ..Self::default() };
        if repeated > 0 {
            let warning = "images are listed more than once: each counts once";
            dataset.warnings.push(format!("{repeated} {warning}"));
        }
        dataset
    }

    /// Whether anything is labelled.
    pub fn is_labelled(&self) -> bool {
        self.images.iter().any(|image| !image.labels.is_empty())
    }

    /// Checks the images that turned out bad while they were decoded, together with those known before.
    ///
    /// # Errors
    /// `TooManyBadInputs` if they are more than max(3, 1 %) of the images.
    pub fn check_bad_images(&self, undecodable: &[BadInput]) -> Result<(), YoloError> {
        let bad = [&self.bad_images[..], undecodable].concat();
        check_bad("images", &bad, self.images.len() + self.bad_images.len())
    }

    /// Refuses a data set in which no image has a label: there would be nothing to measure.
    ///
    /// # Errors
    /// `NoNames`, `NoLabels`.
    pub fn check_labelled(&self) -> Result<(), YoloError> {
        if self.names.is_empty() {
            return Err(YoloError::NoNames);
        }
        match self.images.first() {
            Some(first) if !self.is_labelled() => {
                let expected_at = label_path(&first.path);
                Err(YoloError::NoLabels { images: self.images.len(), expected_at })
            }
            _ => Ok(()),
        }
    }

    /// The classes as ground truth knows them.
    pub fn categories(&self) -> Vec<Category> {
        let pairs = self.category_ids.iter().zip(&self.names);
        pairs.map(|(&id, name)| Category { id, name: name.clone() }).collect()
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

/// What describes a data set.
enum Description {
    Yaml,
    Coco,
    Folder,
}

impl Description {
    fn of_path(data: &Path) -> Result<Self, YoloError> {
        let extension = image_names::extension_of(data);
        match extension.as_deref() {
            _ if data.is_dir() => Ok(Self::Folder),
            Some("yaml" | "yml") => Ok(Self::Yaml),
            Some("json") => Ok(Self::Coco),
            _ => Err(YoloError::DataFormat { path: data.to_owned() }),
        }
    }
}

/// The images of a folder, which has no splits.
fn folder(folder: &Path, split: &str) -> Result<Listing, YoloError> {
    let mut listing = Listing::default();
    listing.add(folder, &[])?;
    if listing.is_empty() {
        return Err(YoloError::NoImages {
            split: split.to_owned(),
            searched: vec![folder.to_owned()],
            example: None,
        });
    }
    Ok(listing)
}

/// A path with Windows' separators, as this system writes it.
fn slashed(path: &str) -> Option<String> {
    path.contains('\\').then(|| path.replace('\\', "/"))
}

/// Refuses more than [`most_bad`] of `total`.
fn check_bad(what: &'static str, bad: &[BadInput], total: usize) -> Result<(), YoloError> {
    let limit = most_bad(total);
    match bad.first() {
        Some(first) if bad.len() > limit => Err(YoloError::TooManyBadInputs {
            what,
            found: bad.len(),
            total,
            limit,
            first: first.clone(),
        }),
        _ => Ok(()),
    }
}
