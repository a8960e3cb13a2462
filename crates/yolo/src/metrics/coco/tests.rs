use proptest::prelude::*;

use super::*;

fn truth(objects: &[(u64, usize, [f64; 4], bool)], images: u64) -> GroundTruth {
    let category = |id: u64| Category { id: id * 7 + 1, name: format!("class {id}") };
    let mut truth = GroundTruth::new((0..3).map(category).collect());
    for image_id in 0..images {
        let here = objects.iter().filter(|object| object.0 == image_id);
        let object = |&(_, class, bbox, crowd): &(u64, usize, [f64; 4], bool)| GroundTruthObject {
            class,
            bbox,
            area: bbox[2] * bbox[3],
            crowd,
        };
        truth.push(image_id, here.map(object).collect());
    }
    truth
}

fn found(image_id: u64, class: u64, bbox: [f64; 4], score: f64) -> CocoResult {
    CocoResult { image_id, category_id: class * 7 + 1, bbox, score }
}

const BOX: [f64; 4] = [10.0, 10.0, 50.0, 50.0];

#[test]
fn coco_perfect_detections_score_one() {
    let truth = truth(&[(0, 0, BOX, false), (1, 2, BOX, false)], 2);
    let detections = [found(0, 0, BOX, 0.4), found(1, 2, BOX, 0.3)];
    let metrics = CocoEvaluator::new(&truth).evaluate(&detections).expect("known").accumulate(None);
    let one = |figure: Option<f64>| figure.is_some_and(|figure| (figure - 1.0).abs() < 1e-12);
    assert!(one(Some(metrics.map_50_95)) && one(Some(metrics.map_75)) && one(metrics.ar_1));
    assert!(metrics.map_small.is_none() && one(metrics.map_medium));
    assert!(metrics.per_class[1].map_50_95.is_none() && one(metrics.per_class[2].map_50_95));
}

#[test]
fn coco_crowd_absorbs_any_number_of_detections() {
    let crowd = [100.0, 100.0, 100.0, 100.0];
    let truth = truth(&[(0, 0, BOX, false), (0, 0, crowd, true)], 1);
    let inside = |left: f64| found(0, 0, [left, 120.0, 20.0, 20.0], 0.9);
    let detections = [inside(110.0), inside(130.0), inside(160.0), found(0, 0, BOX, 0.1)];
    let metrics = CocoEvaluator::new(&truth).evaluate(&detections).expect("known").accumulate(None);
    assert!((metrics.map_50_95 - 1.0).abs() < 1e-12, "{metrics:?}");
    assert_eq!(metrics.per_class[0].objects, 1);
}

#[test]
fn found_50_counts_right_detections_of_an_image_from_a_confidence_on() {
    let other = [200.0, 200.0, 50.0, 50.0];
    let objects = [(0, 0, BOX, false), (0, 1, other, false), (1, 2, BOX, false)];
    let detections = [
        found(0, 0, BOX, 0.9),
        found(0, 0, BOX, 0.8),
        found(0, 1, other, 0.2),
        found(1, 1, BOX, 0.9),
        found(1, 2, [20.0, 10.0, 50.0, 50.0], 0.5),
    ];
    let matches = CocoEvaluator::new(&truth(&objects, 3)).evaluate(&detections).expect("known");
    assert_eq!(matches.found_50(0.25), [1, 1, 0], "twice found, not confident, another class");
    assert_eq!(matches.found_50(0.2), [2, 1, 0]);
    assert_eq!(matches.found_50(0.95), [0, 0, 0]);
}

#[test]
fn coco_nothing_labelled_is_zero() {
    let matches = CocoEvaluator::new(&truth(&[], 1)).evaluate(&[]).expect("known");
    let metrics = matches.accumulate(None);
    assert_eq!((metrics.map_50_95, metrics.ar_100), (0.0, None));
}

#[test]
fn coco_unknown_image_is_an_error() {
    let message = CocoEvaluator::new(&truth(&[], 1))
        .evaluate(&[found(9, 0, BOX, 0.5)])
        .expect_err("image 9")
        .to_string();
    assert_eq!(message, "detection 0 is on image_id 9, which the ground truth does not have");
}

#[test]
fn last_point_reached_agrees_with_the_points() {
    for point in 0..RECALL_POINTS {
        assert_eq!(last_point_reached(recall_point(point)), point);
        assert_eq!(last_point_reached(recall_point(point) - 1e-12), point.saturating_sub(1));
    }
}

type RawObject = (u64, usize, (f64, f64, f64, f64), bool);

fn raw_objects() -> impl Strategy<Value = Vec<RawObject>> {
    let bbox = (0f64..150.0, 0f64..150.0, 5f64..120.0, 5f64..120.0);
    prop::collection::vec((0u64..4, 0usize..3, bbox, prop::bool::weighted(0.1)), 1..25)
}

proptest! {
    /// An image drawn twice counts as two images with the same contents.
    #[test]
    fn coco_resampled_images_equal_copied_images(
        objects in raw_objects(),
        noise in prop::collection::vec((-8f64..8.0, -8f64..8.0, 0u32..1000), 25),
        draws in prop::collection::vec(0usize..4, 1..7),
    ) {
        let objects: Vec<_> = objects
            .into_iter()
            .map(|(image, class, (x, y, w, h), crowd)| (image, class, [x, y, w, h], crowd))
            .collect();
        // Distinct scores: between equal ones the order of images decides, and copies move it.
        let detections: Vec<_> = objects
            .iter()
            .zip(&noise)
            .enumerate()
            .map(|(index, (&(image, class, [x, y, w, h], _), &(dx, dy, score)))| {
                let score = f64::from(score) + index as f64 * 1e-3;
                found(image, class as u64, [x + dx, y + dy, w, h], score)
            })
            .collect();
        let original = truth(&objects, 4);
        let resampled = CocoEvaluator::new(&original)
            .evaluate(&detections)
            .expect("known images")
            .accumulate(Some(&draws));

        let mut copied_truth = GroundTruth::new(original.categories().to_vec());
        let mut copied = Vec::new();
        for (copy, &image) in draws.iter().enumerate() {
            copied_truth.push(copy as u64, original.objects(image).to_vec());
            let here = detections.iter().filter(|d| d.image_id == image as u64);
            copied.extend(here.map(|d| CocoResult { image_id: copy as u64, ..d.clone() }));
        }
        let expected = CocoEvaluator::new(&copied_truth)
            .evaluate(&copied)
            .expect("known images")
            .accumulate(None);
        prop_assert_eq!(resampled, expected);
    }
}
