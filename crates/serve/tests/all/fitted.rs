//! Detectors whose inputs are fitted to their images, against the same detectors as their files have them.
use image::RgbImage;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use yolo::{
    CocoResult, CompiledDetector, Dataset, Detection, Detector, Thresholds, iou, metrics, read_rgb,
};

fn assets() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/assets");
    if !root.is_dir() {
        println!("skipped: fitted inputs of real models (no ../shared/assets)");
        return None;
    }
    Some(root)
}

/// A model as its file has it, and how it is fitted.
struct Subject {
    graph: ir::Normalised,
    own: CompiledDetector,
}

impl Subject {
    fn open(path: &Path) -> Self {
        let graph = ir::normalise(yoloslim::Model::open(path).unwrap().graph).unwrap();
        let head = yolo::families::identify(&graph, None).unwrap().into();
        let own = CompiledDetector::compile(&graph, &head, &Default::default()).unwrap();
        Self { graph, own }
    }

    fn fitted(&self, image_px: [usize; 2]) -> CompiledDetector {
        let options = Default::default();
        CompiledDetector::compile_fitted(&self.graph, &self.own.head, image_px, &options).unwrap()
    }
}

/// Whether each of these is among those, nearly.
fn are_among(these: &[Detection], those: &[Detection]) -> bool {
    these.iter().all(|a| {
        let same = |b: &&Detection| {
            b.class == a.class
                && (b.score - a.score).abs() < 0.01
                && iou(&a.bbox.xywh(), &b.bbox.xywh()) > 0.97
        };
        those.iter().any(|b| same(&b))
    })
}

#[test]
fn fitted_of_an_image_that_fills_the_input_detects_the_same_in_every_family() {
    let Some(assets) = assets() else { return };
    let models =
        ["yolov5n_coco_fused_op17", "yolov8n_deeppcb_320_fused_op17", "yolox_nano_coco_416"];
    let photo = std::fs::read_dir(assets.join("photos")).unwrap().flatten().map(|e| e.path());
    let photo = photo.filter(|p| yolo::is_image_name(p)).min().unwrap();
    for name in models {
        let subject = Subject::open(&assets.join("weights").join(format!("{name}.onnx")));
        let [height, width] = subject.own.head.input.size_px;
        // A part of the photo that needs no padding and no scaling.
        let photo = read_rgb(&photo).unwrap();
        let image: RgbImage =
            image::imageops::crop_imm(&photo, 0, 0, width as u32, height as u32).to_image();
        let thresholds = Thresholds { conf: 0.05, iou: 0.6 };
        let mut own = subject.own.session(1).unwrap();
        let fitted = subject.fitted([image.width() as usize, image.height() as usize]);
        let expected = own.detect(std::slice::from_ref(&image), thresholds).unwrap();
        let found =
            fitted.session(1).unwrap().detect(std::slice::from_ref(&image), thresholds).unwrap();
        assert!(!expected.is_empty(), "{name} sees nothing, which proves nothing");
        assert!(
            are_among(&expected, &found) && are_among(&found, &expected),
            "{name}: {expected:?} {found:?}"
        );
    }
}

#[test]
fn fitted_inputs_keep_the_accuracy_of_the_models_own() {
    let Some(assets) = assets() else { return };
    let dataset = Dataset::open(&assets.join("coco/data.yaml"), "val").unwrap();
    let thresholds = Thresholds { conf: 0.001, iou: 0.7 };
    for name in ["yolov5n_coco_fused_op17", "yolox_nano_coco_416"] {
        let subject = Subject::open(&assets.join("weights").join(format!("{name}.onnx")));
        let mut own = subject.own.session(2).unwrap();
        let mut fitted: BTreeMap<[usize; 2], Detector> = BTreeMap::new();
        let mut results = [Vec::new(), Vec::new()];
        let mut sizes = Vec::new();
        let (mut pixels, mut own_pixels) = (0, 0);
        for item in &dataset.images {
            let image = read_rgb(&item.path).unwrap();
            let image_px = [image.width() as usize, image.height() as usize];
            let session = fitted
                .entry(image_px)
                .or_insert_with(|| subject.fitted(image_px).session(2).unwrap());
            pixels += session.head().input.size_px.iter().product::<usize>();
            own_pixels += subject.own.head.input.size_px.iter().product::<usize>();
            sizes.push(Some(image.dimensions()));
            for (detector, results) in [&mut own, session].into_iter().zip(&mut results) {
                let found = detector.detect(std::slice::from_ref(&image), thresholds).unwrap();
                let result = |d| CocoResult::new(d, item.image_id, &dataset.category_ids);
                results.extend(found.iter().map(result));
            }
        }
        let truth = dataset.ground_truth(&sizes);
        let map = |results| metrics::evaluate(&truth, results).unwrap().0.coco.map_50_95;
        let [own, fitted] = [map(&results[0]), map(&results[1])];
        let share = pixels as f64 / own_pixels as f64;
        println!("{name}: map_50_95 {own:.4}, fitted {fitted:.4} with {share:.2} of the pixels");
        // The frame of gray that is missing changes what is seen at the edges, either way.
        assert!((own - fitted).abs() < 0.012, "{name}: {own} {fitted}");
    }
}
