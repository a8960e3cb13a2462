//! What is really in the images.

use std::collections::BTreeMap;

use crate::{CocoResult, YoloError};

/// One object that a detector should find, or, as a crowd, may find any number of times.
#[derive(Clone, Debug, PartialEq)]
pub struct GroundTruthObject {
    /// Class index: position in [`GroundTruth::categories`].
    pub class: usize,
    /// Left, top, width and height in pixels of the original image.
    pub bbox: [f64; 4],
    /// Area by which the object counts as small, medium or large; of its mask, where there is one.
    pub area: f64,
    /// A group too dense to label one by one.
    pub crowd: bool,
}

/// A class of the ground truth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Category {
    /// Its id in results files; the class index for YOLO layout, sparse for COCO.
    pub id: u64,
    /// Its name.
    pub name: String,
}

/// Objects of a list of images.
#[derive(Clone, Debug, PartialEq)]
pub struct GroundTruth {
    categories: Vec<Category>,
    image_ids: Vec<u64>,
    objects: Vec<Vec<GroundTruthObject>>,
}

impl GroundTruth {
    /// A ground truth without images.
    pub fn new(categories: Vec<Category>) -> Self {
        Self { categories, image_ids: Vec::new(), objects: Vec::new() }
    }

    /// Adds an image with its objects; `image_id` must be new, objects of unknown classes are dropped.
    pub fn push(&mut self, image_id: u64, mut objects: Vec<GroundTruthObject>) {
        objects.retain(|object| object.class < self.categories.len());
        self.image_ids.push(image_id);
        self.objects.push(objects);
    }

    /// How many images there are.
    pub fn images(&self) -> usize {
        self.image_ids.len()
    }

    /// Ids of the images, in the order they were added.
    pub fn image_ids(&self) -> &[u64] {
        &self.image_ids
    }

    /// Classes by index.
    pub fn categories(&self) -> &[Category] {
        &self.categories
    }

    /// Objects of the image at `index`.
    pub fn objects(&self, index: usize) -> &[GroundTruthObject] {
        &self.objects[index]
    }

    /// Detections by image and then class, each list in the order given; unknown categories left out.
    pub(super) fn grouped<'d>(
        &self,
        detections: &'d [CocoResult],
    ) -> Result<Vec<BTreeMap<usize, Vec<&'d CocoResult>>>, YoloError> {
        let index_of_image: BTreeMap<u64, usize> =
            self.image_ids.iter().enumerate().map(|(index, &id)| (id, index)).collect();
        let class_of_category: BTreeMap<u64, usize> =
            self.categories.iter().enumerate().map(|(class, c)| (c.id, class)).collect();
        let mut grouped = vec![BTreeMap::new(); self.images()];
        for (index, detection) in detections.iter().enumerate() {
            let image_id = detection.image_id;
            let &image = index_of_image
                .get(&image_id)
                .ok_or(YoloError::UnknownImageId { index, image_id })?;
            if let Some(&class) = class_of_category.get(&detection.category_id) {
                grouped[image].entry(class).or_insert_with(Vec::new).push(detection);
            }
        }
        Ok(grouped)
    }
}
