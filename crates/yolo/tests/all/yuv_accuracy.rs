//! What real models find in frames of video, against what they find in the frames as images: the same mAP.

use crate::frames::Frame;
use runtime::PlanOptions;
use std::path::{Path, PathBuf};
use yolo::metrics::evaluate;
use yolo::{
    CocoResult, CompiledDetector, Dataset, Detection, Thresholds, YuvColours, YuvFrame, YuvMatrix,
    YuvRange, read_rgb,
};

/// As `val` has them.
const THRESHOLDS: Thresholds = Thresholds { conf: 0.001, iou: 0.7 };

/// Images that are looked at, of each data set.
const IMAGES: usize = 100;

/// Beyond rounding, a difference of mAP between the two ways would be more.
const TIE: f64 = 0.002;

fn assets() -> Option<PathBuf> {
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/assets");
    if !assets.is_dir() {
        println!("skipped: mAP of frames of video (no ../shared/assets)");
        return None;
    }
    Some(assets)
}

/// mAP of the two ways, on images that were made frames of these colours: by an image, and in one pass.
fn map_50_95(model: &Path, data: &Path, colours: YuvColours) -> [f64; 2] {
    let graph = onnx::load(model, &onnx::LoadOptions::default()).unwrap();
    let compiled = CompiledDetector::open(graph, None, &PlanOptions::default()).unwrap();
    let mut detector = compiled.session(1).unwrap();
    let mut dataset = Dataset::open(data, "val").unwrap();
    dataset.images.truncate(IMAGES);
    let (mut sizes, mut results) = (Vec::new(), [Vec::new(), Vec::new()]);
    for image in &dataset.images {
        let rgb = read_rgb(&image.path).unwrap();
        sizes.push(Some((rgb.width(), rgb.height())));
        let frame = Frame::new(&rgb, colours);
        let view = YuvFrame::contiguous(&frame.bytes, frame.size_px, colours).unwrap();
        let by_image = detector.detect(&[frame.to_rgb()], THRESHOLDS).unwrap();
        let in_one_pass = detector.detect_yuv(&view, THRESHOLDS).unwrap();
        let result = |d: &Detection| CocoResult::new(d, image.image_id, &dataset.category_ids);
        for (results, found) in results.iter_mut().zip([by_image, in_one_pass]) {
            results.extend(found.iter().map(result));
        }
    }
    let truth = dataset.ground_truth(&sizes);
    results.map(|results| evaluate(&truth, &results).unwrap().0.coco.map_50_95)
}

#[test]
fn map_of_frames_in_one_pass_equals_that_of_their_images() {
    let Some(assets) = assets() else {
        return;
    };
    let video = YuvColours { matrix: YuvMatrix::Bt709, range: YuvRange::Limited };
    let camera = YuvColours { matrix: YuvMatrix::Bt601, range: YuvRange::Full };
    let cases = [
        ("yolov8n_deeppcb_320_fused_op17.onnx", "deeppcb", video),
        ("yolov5n_coco_fused_op17.onnx", "coco", camera),
        ("yolox_nano_coco_416.onnx", "coco", video),
    ];
    for (model, data, colours) in cases {
        let (weights, data) = (assets.join("weights"), assets.join(data).join("data.yaml"));
        let [by_image, in_one_pass] = map_50_95(&weights.join(model), &data, colours);
        println!("{model}: mAP {by_image:.4} by an image, {in_one_pass:.4} in one pass");
        assert!(by_image > 0.2, "{model}: {by_image}");
        assert!((by_image - in_one_pass).abs() < TIE, "{model}: {by_image} {in_one_pass}");
    }
}
