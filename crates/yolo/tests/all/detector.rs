//! A detector gives the same detections whichever way its engine takes the pixels.
use image::RgbImage;
use ir::Tensor;
use runtime::{PlanOptions, Session};
use testkit::tiny;
use yolo::{CompiledDetector, Detector, Network, Thresholds, YoloError};

/// An engine that takes real numbers only.
struct Reals(Session);

impl Network for Reals {
    fn infer(&mut self, inputs: &[&[f32]]) -> Result<Vec<Tensor>, YoloError> {
        Network::infer(&mut self.0, inputs)
    }
}

const THRESHOLDS: Thresholds = Thresholds { conf: 0.25, iou: 0.6 };

fn scene(seed: u64) -> RgbImage {
    let side = u32::try_from(tiny::SIDE_PX).unwrap();
    RgbImage::from_raw(side, side, tiny::scene(seed).rgb).unwrap()
}

#[test]
fn detect_from_pixels_equals_detect_from_real_numbers() {
    let compiled = CompiledDetector::open(tiny::detector(), None, &PlanOptions::default()).unwrap();
    // Blue, green and red in that order: channels that were swapped would show.
    assert_eq!(compiled.head.family.name, "yolox");
    let mut pixels = compiled.session(1).unwrap();
    let reals = Reals(Session::new(&compiled.plan, 1).unwrap());
    let mut reals = Detector::new(&compiled.head, Box::new(reals));
    let mut found = 0;
    for seed in 0..8 {
        let image = scene(seed);
        let expected = reals.detect(std::slice::from_ref(&image), THRESHOLDS).unwrap();
        assert_eq!(pixels.detect(std::slice::from_ref(&image), THRESHOLDS).unwrap(), expected);
        found += expected.len();
    }
    assert!(found > 8, "{found} detections");
}

#[test]
fn detect_in_a_larger_image_gives_boxes_in_its_own_pixels() {
    let compiled = CompiledDetector::open(tiny::detector(), None, &PlanOptions::default()).unwrap();
    let mut detector = compiled.session(1).unwrap();
    let small = scene(1);
    let large = image::imageops::resize(&small, 128, 128, image::imageops::FilterType::Nearest);
    let [small, large] = [small, large].map(|i| detector.detect(&[i], THRESHOLDS).unwrap());
    assert!(!small.is_empty());
    for a in &small {
        let near = |b: &&yolo::Detection| {
            let wrong =
                (b.bbox.left - 2.0 * a.bbox.left).abs() + (b.bbox.top - 2.0 * a.bbox.top).abs();
            b.class == a.class && wrong < 6.0
        };
        assert!(large.iter().any(|b| near(&b)), "{a:?} in {large:?}");
    }
}
