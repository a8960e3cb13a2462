//! Whether detections have so little to do with the labels that boxes or pixels were probably misread.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::families::Head;
use crate::metrics::GroundTruth;
use crate::{CocoResult, YoloError, iou};

/// Confidence of detections that should lie on objects.
const CONF: f64 = 0.25;
/// Overlap with an object of any class, at which a detection lies on it.
const IOU: f64 = 0.5;
/// Fewer labelled objects say nothing.
const MIN_OBJECTS: usize = 5;
/// Share of the confident detections that lie on objects even where a detector is poor.
const MIN_SHARE: f64 = 0.1;
/// Share of the objects that even a poor detector finds at any confidence.
const MIN_FOUND: f64 = 0.02;

/// A reason to doubt that a model is read as it was meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doubt {
    /// Labelled objects.
    pub objects: usize,
    /// Objects that some detection lies on, whatever its confidence and class.
    pub objects_found: usize,
    /// Detections of a confidence of 0.25 and more.
    pub confident: usize,
    /// Those of them that lie on an object of any class.
    pub confident_on_objects: usize,
}

impl Doubt {
    /// Compares detections with labels.
    ///
    /// # Errors
    /// `UnknownImageId` for a detection on an image that the ground truth does not have.
    pub(crate) fn from_results(
        truth: &GroundTruth,
        results: &[CocoResult],
    ) -> Result<Option<Self>, YoloError> {
        let ids = truth.image_ids().iter().enumerate();
        let index_of: BTreeMap<u64, usize> = ids.map(|(index, &id)| (id, index)).collect();
        let mut found: Vec<Vec<bool>> =
            (0..truth.images()).map(|i| vec![false; truth.objects(i).len()]).collect();
        let (mut confident, mut confident_on_objects) = (0, 0);
        for (index, result) in results.iter().enumerate() {
            let image_id = result.image_id;
            let unknown = YoloError::UnknownImageId { index, image_id };
            let &image = index_of.get(&image_id).ok_or(unknown)?;
            let mut on_object = false;
            for (object, found) in truth.objects(image).iter().zip(&mut found[image]) {
                if iou(&object.bbox, &result.bbox) >= IOU {
                    on_object = true;
                    *found = true;
                }
            }
            if result.score >= CONF {
                confident += 1;
                confident_on_objects += usize::from(on_object);
            }
        }
        let doubt = Self {
            objects: found.iter().map(Vec::len).sum(),
            objects_found: found.iter().flatten().filter(|f| **f).count(),
            confident,
            confident_on_objects,
        };
        Ok((doubt.objects >= MIN_OBJECTS && doubt.is_grave()).then_some(doubt))
    }

    fn is_grave(&self) -> bool {
        let share = |part: usize, whole: usize| part as f64 / whole.max(1) as f64;
        let off_objects = self.confident >= MIN_OBJECTS
            && share(self.confident_on_objects, self.confident) < MIN_SHARE;
        off_objects || share(self.objects_found, self.objects) < MIN_FOUND
    }

    /// The doubt in words, with what was assumed and the way on.
    pub fn describe(&self, head: &Head) -> String {
        format!(
            "boxes or pixels are probably misread: {} of {} detections with a confidence from {CONF} lie on a labelled object of any class, and {} of {} objects are found at all; read as {}; if that is not how the model was exported, --family names another family, and --data other labels",
            self.confident_on_objects,
            self.confident,
            self.objects_found,
            self.objects,
            head.reading()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Category, GroundTruthObject};

    fn truth() -> GroundTruth {
        let name = "a".to_owned();
        let mut truth = GroundTruth::new(vec![Category { id: 0, name }]);
        let object = |i: usize| GroundTruthObject {
            class: 0,
            bbox: [20.0 * i as f64, 0.0, 10.0, 10.0],
            area: 100.0,
            crowd: false,
        };
        truth.push(7, (0..6).map(object).collect());
        truth
    }

    fn doubt(boxes: impl Iterator<Item = [f64; 4]>, score: f64) -> Option<Doubt> {
        let result = |bbox| CocoResult { image_id: 7, category_id: 0, bbox, score };
        Doubt::from_results(&truth(), &boxes.map(result).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn doubt_of_confident_detections_beside_all_objects_is_there() {
        let beside = (0..6).map(|i| [20.0 * f64::from(i) + 8.0, 5.0, 10.0, 10.0]);
        let found = doubt(beside, 0.9).unwrap();
        assert_eq!((found.confident, found.confident_on_objects), (6, 0));
    }

    #[test]
    fn doubt_where_nothing_is_found_is_there_and_where_a_poor_detector_is_right_at_times_is_not() {
        assert!(doubt(std::iter::empty(), 0.9).is_some());
        assert!(doubt([[0.0, 0.0, 10.0, 9.0]].into_iter(), 0.01).is_none());
        let one_right = (0..6).map(|i| [20.0 * f64::from(i), f64::from(i) * 7.0, 10.0, 10.0]);
        assert_eq!(doubt(one_right, 0.9), None);
    }
}
