//! Detections as COCO results JSON.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{Detection, YoloError, whole_file};

/// One detection as the COCO results format writes it.
///
/// Source: cocodataset.org, "Results Format", object detection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CocoResult {
    /// Which image: its id in the ground truth.
    pub image_id: u64,
    /// Which class: its id in the ground truth (the class index for YOLO layout).
    pub category_id: u64,
    /// Left, top, width and height in pixels of the original image.
    pub bbox: [f64; 4],
    /// Confidence.
    pub score: f64,
}

impl CocoResult {
    /// A detection in original pixels on the image `image_id`; `category_ids` maps class indices.
    ///
    /// A class beyond `category_ids` keeps its index: no ground truth has it, so it counts as nothing.
    pub fn new(detection: &Detection, image_id: u64, category_ids: &[u64]) -> Self {
        let category_id = category_ids.get(detection.class).copied();
        Self {
            image_id,
            category_id: category_id.unwrap_or(detection.class as u64),
            bbox: detection.bbox.xywh(),
            score: f64::from(detection.score),
        }
    }
}

/// Writes `results` to `path`, under a temporary name first.
///
/// # Errors
/// `Write` if the folder or the disk refuses.
pub fn write_results(path: &Path, results: &[CocoResult]) -> Result<(), YoloError> {
    whole_file::write(path, &results_json(results))
}

/// The bytes of such a file.
pub fn results_json(results: &[CocoResult]) -> Vec<u8> {
    serde_json::to_vec(results).expect("numbers and fixed keys always serialise")
}

/// Reads what [`write_results`] or another tool wrote.
///
/// # Errors
/// `Read` if the file cannot be read; `Results` if it is not a results list, or a number in it is no
/// usable box (not finite, negative size).
pub fn read_results(path: &Path) -> Result<Vec<CocoResult>, YoloError> {
    let bytes = fs::read(path).map_err(|cause| YoloError::Read { path: path.to_owned(), cause })?;
    let refuse = |reason: String| YoloError::Results { path: path.to_owned(), reason };
    let results: Vec<CocoResult> =
        serde_json::from_slice(&bytes).map_err(|error| refuse(error.to_string()))?;
    for (index, result) in results.iter().enumerate() {
        let [x, y, width, height] = result.bbox;
        let finite = [x, y, width, height, result.score].iter().all(|v| v.is_finite());
        if !finite || width < 0.0 || height < 0.0 {
            let CocoResult { bbox, score, .. } = result;
            return Err(refuse(format!(
                "entry {index}: bbox {bbox:?} with score {score} is no box"
            )));
        }
    }
    Ok(results)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BoxXyxy;

    fn detection(class: usize) -> Detection {
        let bbox = BoxXyxy { left: 1.1, top: 2.2, right: 11.3, bottom: 22.4 };
        Detection { bbox, score: 0.3, class }
    }

    #[test]
    fn results_written_and_read_are_equal() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("dets.json");
        let results = [
            CocoResult::new(&detection(0), 3, &[1, 90]),
            CocoResult::new(&detection(1), 7, &[1, 90]),
        ];
        write_results(&path, &results).expect("writable");
        assert_eq!(read_results(&path).expect("readable"), results);
        assert_eq!(results[1].category_id, 90);
        assert_eq!(fs::read_dir(folder.path()).expect("listable").count(), 1);
    }

    #[test]
    fn results_bad_entry_names_it() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("dets.json");
        let cases = [
            (r#"[{"image_id":1,"category_id":1,"bbox":[0,0,-1,1],"score":1}]"#, "entry 0"),
            (r#"[{"image_id":1,"category_id":1,"bbox":[0,0,1],"score":1}]"#, "not COCO results"),
            ("{", "not COCO results"),
        ];
        for (text, expected) in cases {
            fs::write(&path, text).expect("writable");
            let message = read_results(&path).expect_err(text).to_string();
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn results_folder_missing_names_the_file() {
        let path = Path::new("no/such/folder/dets.json");
        let message = write_results(path, &[]).expect_err("no folder").to_string();
        assert!(message.starts_with("cannot write no/such/folder/dets.json"), "{message}");
    }
}
