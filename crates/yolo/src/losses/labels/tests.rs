//! Every rule on small heads with random outputs.
mod referee;

use super::*;
use crate::heads::{RawBoxes, RawChannels, RawForm};
use numerics::Rng;

/// Height and width of the input.
const SIZE_PX: [usize; 2] = [48, 64];

pub(super) const CLASSES: usize = 3;

/// Two scales, of strides 8 and 16, and two anchors at each where there are anchors.
fn head(kind: Kind, is_one_to_one: bool) -> LabelledLoss {
    let (mut boxes, mut elements, mut anchors_px) = (vec![], vec![], vec![]);
    for (level, stride) in [8, 16].into_iter().enumerate() {
        let [rows, columns] = SIZE_PX.map(|side| side / stride);
        let mut add = |width: usize| {
            elements.push(width * rows * columns);
            elements.len() - 1
        };
        let channels = |output: usize, first: usize| RawChannels { output, first };
        let base = |boxes, objectness, classes| RawBoxes {
            level,
            cells: rows * columns,
            columns,
            boxes,
            objectness,
            classes,
        };
        match kind {
            Kind::Anchors(count) => {
                let output = add(count * (5 + CLASSES));
                for anchor in 0..count {
                    let first = anchor * (5 + CLASSES);
                    boxes.push(base(
                        channels(output, first),
                        Some(channels(output, first + 4)),
                        channels(output, first + 5),
                    ));
                    let side = (stride * (1 + anchor)) as f32;
                    anchors_px.push([side, 1.5 * side]);
                }
            }
            Kind::Distances(bins) => {
                let (of_boxes, classes) = (add(4 * bins), add(CLASSES));
                boxes.push(base(channels(of_boxes, 0), None, channels(classes, 0)));
            }
            Kind::Offsets => {
                let (classes, of_boxes, objectness) = (add(CLASSES), add(4), add(1));
                let objectness = Some(channels(objectness, 0));
                boxes.push(base(channels(of_boxes, 0), objectness, channels(classes, 0)));
            }
        }
    }
    let form = RawForm { kind, classes: CLASSES, size_px: SIZE_PX, boxes, elements };
    let head = RawHead { outputs: vec![], form, is_one_to_one, anchors_px };
    LabelledLoss::new(&head).expect("anchors are given")
}

fn heads() -> [LabelledLoss; 5] {
    [
        head(Kind::Anchors(2), false),
        head(Kind::Distances(8), false),
        head(Kind::Distances(1), false),
        head(Kind::Distances(1), true),
        head(Kind::Offsets, false),
    ]
}

/// Raw outputs whose boxes are about as large as the labelled ones.
fn outputs(loss: &LabelledLoss, seed: u64) -> Vec<Vec<f32>> {
    let mut rng = Rng::new(seed);
    let shift = if loss.head.form.kind == Kind::Distances(1) { 1.5 } else { 0.0 };
    let output = |&n: &usize| (0..n).map(|_| 1.5 * rng.signed() + shift).collect();
    loss.head.form.elements.iter().map(output).collect()
}

fn label(class: usize, corners: [f32; 4]) -> LabelledBox {
    LabelledBox { class, bbox: BoxXyxy::from_corners(corners) }
}

/// Three objects, two of which overlap.
fn labels() -> Vec<LabelledBox> {
    vec![
        label(0, [3.0, 5.0, 19.5, 21.0]),
        label(2, [10.2, 7.0, 33.0, 30.3]),
        label(1, [40.1, 20.2, 61.0, 45.5]),
    ]
}

fn assigned(loss: &LabelledLoss, outputs: &[Vec<f32>], targets: &Targets) -> Vec<Match> {
    (loss.rule().assign)(&loss.predictions(outputs), &targets.0)
}

#[test]
fn gradients_of_every_rule_equal_finite_differences_of_a_frozen_assignment() {
    for loss in heads() {
        let outputs = outputs(&loss, 1);
        let targets = loss.targets(&labels()).unwrap();
        let matches = assigned(&loss, &outputs, &targets);
        assert!(matches.len() > 2, "{:?}", loss.head.form.kind);
        let found = loss.compare(&outputs, &targets, &matches, 3.0);
        for (output, gradient) in found.gradients.iter().enumerate() {
            let slope = |at: usize| {
                let moved = |by: f32| {
                    let mut moved = outputs.clone();
                    moved[output][at] += by;
                    let loss = loss.compare(&moved, &targets, &matches, 3.0);
                    (f64::from(moved[output][at]), loss.value)
                };
                let [(low, below), (high, above)] = [moved(-1e-3), moved(1e-3)];
                (above - below) / (high - low)
            };
            let length = |vector: &[f64]| vector.iter().map(|v| v * v).sum::<f64>().sqrt();
            let expected: Vec<f64> = (0..gradient.len()).map(slope).collect();
            let errors: Vec<f64> =
                gradient.iter().zip(&expected).map(|(&g, e)| f64::from(g) - e).collect();
            let error = length(&errors) / length(&expected).max(1e-9);
            // In complete IoU, the weight of the ratios is constant in the gradient, but not in a difference: its share is small.
            let kind = loss.head.form.kind;
            let allowed = if kind == Kind::Offsets { 1e-4 } else { 0.05 };
            assert!(error < allowed, "{kind:?}, output {output}: {error:e}");
        }
    }
}

#[test]
fn assignments_name_no_place_twice_and_scores_are_shares() {
    for loss in heads() {
        for seed in 0..20 {
            let outputs = outputs(&loss, seed);
            let matches = assigned(&loss, &outputs, &loss.targets(&labels()).unwrap());
            assert!(matches.is_sorted_by(|a, b| a.place < b.place));
            assert!(matches.iter().all(|m| (0.0..=1.0).contains(&m.score)));
            if loss.head.is_one_to_one {
                assert!((0..3).all(|o| matches.iter().filter(|m| m.object == o).count() <= 1));
            }
        }
    }
}

#[test]
fn steps_against_the_gradient_make_every_loss_smaller() {
    for loss in heads() {
        let mut outputs = outputs(&loss, 4);
        let targets = loss.targets(&labels()).unwrap();
        let first = loss.loss(&outputs, &targets, 3.0).value;
        for _ in 0..200 {
            let step = loss.loss(&outputs, &targets, 3.0).gradients;
            for (raw, gradient) in outputs.iter_mut().flatten().zip(step.iter().flatten()) {
                *raw -= 0.1 * gradient;
            }
        }
        let last = loss.loss(&outputs, &targets, 3.0).value;
        assert!(last < 0.7 * first, "{:?}: {first} then {last}", loss.head.form.kind);
    }
}

#[test]
fn an_image_without_boxes_teaches_that_nothing_is_there() {
    for loss in heads() {
        let outputs = outputs(&loss, 2);
        let targets = loss.targets(&[]).unwrap();
        assert_eq!(targets.objects(), 0);
        let found = loss.loss(&outputs, &targets, 1.0);
        assert!(found.value > 0.0);
        assert!(found.gradients.iter().flatten().all(|&g| g >= 0.0));
    }
}

#[test]
fn targets_are_clipped_and_those_without_area_are_left_out() {
    let loss = head(Kind::Offsets, false);
    let labels = [
        label(0, [-10.0, 4.0, 20.0, 90.0]),
        label(0, [-20.0, 4.0, -5.0, 9.0]),
        label(0, [5.0, 5.0, 5.0, 9.0]),
        label(0, [9.0, 5.0, 5.0, 9.0]),
        label(0, [64.0, 5.0, 80.0, 9.0]),
    ];
    let targets = loss.targets(&labels).unwrap();
    assert_eq!(targets.0, [Target { class: 0, edges: [0.0, 4.0, 20.0, 48.0] }]);
}

#[test]
fn labels_of_another_list_of_classes_are_an_error_that_names_both() {
    let loss = head(Kind::Distances(8), false);
    let told = loss.targets(&[label(CLASSES, [1.0, 1.0, 9.0, 9.0])]).unwrap_err().to_string();
    assert!(told.contains("class 3") && told.contains("3 classes"), "{told}");
    let told = loss.targets(&[label(0, [1.0, f32::NAN, 9.0, 9.0])]).unwrap_err().to_string();
    assert!(told.contains("no number"), "{told}");
}

#[test]
fn a_head_without_known_anchors_is_refused() {
    let loss = head(Kind::Anchors(2), false);
    let head = RawHead { anchors_px: vec![], ..loss.head };
    assert!(matches!(LabelledLoss::new(&head), Err(YoloError::UnknownAnchors)));
}

#[test]
fn a_head_for_inputs_of_another_size_keeps_its_strides_and_has_as_many_cells_as_fit() {
    for loss in heads() {
        let [height, width] = SIZE_PX;
        let form = &loss.head.form;
        assert!(loss.head.resized([height, width + 1]).is_none());
        let larger = loss.head.resized([2 * height, 3 * width]).unwrap();
        for (new, of) in larger.form.boxes.iter().zip(&form.boxes) {
            assert_eq!((new.cells, new.columns), (6 * of.cells, 3 * of.columns));
            assert_eq!(larger.form.stride(new), form.stride(of));
        }
        let elements: Vec<usize> = form.elements.iter().map(|n| 6 * n).collect();
        assert_eq!(larger.form.elements, elements);
        assert_eq!(larger.resized(SIZE_PX).unwrap().form, *form);
    }
}

#[test]
fn boxes_that_nothing_fits_and_more_boxes_than_cells_give_numbers() {
    let whole = [label(1, [0.0, 0.0, 64.0, 48.0])];
    let tiny = [label(1, [8.0, 8.0, 8.001, 8.001])];
    let mut rng = Rng::new(9);
    let mut random = || {
        let [x, y, w, h] = [(); 4].map(|()| (rng.signed() + 1.0) / 2.0);
        label(0, [x * 50.0, y * 40.0, x * 50.0 + 1.0 + w * 20.0, y * 40.0 + 1.0 + h * 20.0])
    };
    let many: Vec<LabelledBox> = (0..500).map(|_| random()).collect();
    let equal = vec![labels()[0]; 300];
    for loss in heads() {
        let outputs = outputs(&loss, 3);
        for labels in [&whole[..], &tiny, &many, &equal] {
            let targets = loss.targets(labels).unwrap();
            let found = loss.loss(&outputs, &targets, targets.objects() as f64);
            let all = found.gradients.iter().flatten().map(|&g| f64::from(g));
            assert!(all.chain([found.value]).all(f64::is_finite), "{:?}", loss.head.form.kind);
        }
    }
}

#[test]
fn raw_numbers_beyond_all_bounds_give_numbers() {
    for loss in heads() {
        for raw in [-80.0, 0.0, 80.0] {
            let outputs: Vec<Vec<f32>> =
                loss.head.form.elements.iter().map(|&n| vec![raw; n]).collect();
            let targets = loss.targets(&labels()).unwrap();
            let found = loss.loss(&outputs, &targets, 3.0);
            let all = found.gradients.iter().flatten().map(|&g| f64::from(g));
            assert!(all.chain([found.value]).all(f64::is_finite), "{:?}", loss.head.form.kind);
        }
    }
}
