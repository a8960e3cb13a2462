//! Which of images with known figures show what.
use super::*;

fn measures(luminance: f64) -> ImageMeasures {
    ImageMeasures {
        luminance,
        luminance_low: luminance - 60.0,
        luminance_high: luminance + 60.0,
        saturated_share: 0.0,
        sharpness: 1.0,
        noise: 1.0,
    }
}

fn shown(all: &[ImageMeasures], name: &str) -> Vec<usize> {
    let looks: Vec<Looks<'_>> =
        all.iter().map(|measures| Looks { measures, objects: None }).collect();
    let found = Conditions::of(&looks);
    found.0.into_iter().find(|e| e.condition.name == name).unwrap().images
}

#[test]
fn an_ordinary_set_shows_nothing() {
    let all: Vec<ImageMeasures> = (0..50).map(|i| measures(100.0 + f64::from(i))).collect();
    for condition in CONDITIONS {
        assert!(shown(&all, condition.name).is_empty(), "{}", condition.name);
    }
}

#[test]
fn dark_images_among_bright_ones_are_found_the_darkest_first() {
    let mut all: Vec<ImageMeasures> = (0..48).map(|_| measures(120.0)).collect();
    all.insert(7, measures(40.0));
    all.insert(30, measures(20.0));
    assert_eq!(shown(&all, "darkness"), [30, 7]);
}

#[test]
fn of_a_set_in_the_dark_only_a_tenth_is_extreme() {
    let all: Vec<ImageMeasures> = (0..50).map(|i| measures(10.0 + f64::from(i) / 2.0)).collect();
    assert_eq!(shown(&all, "darkness"), [0, 1, 2, 3, 4]);
    let equal: Vec<ImageMeasures> = (0..50).map(|_| measures(10.0)).collect();
    assert_eq!(shown(&equal, "darkness").len(), 5);
}

#[test]
fn crowded_and_small_boxes_are_counted() {
    let row = |n: usize, step: f64, side: f64| Objects {
        boxes_px: (0..n).map(|i| [step * i as f64, 0.0, side, side]).collect(),
        size_px: [640, 640],
    };
    assert_eq!((row(5, 50.0, 100.0).overlapped(), row(5, 50.0, 100.0).small()), (5, 0));
    assert_eq!((row(5, 50.0, 20.0).overlapped(), row(5, 50.0, 20.0).small()), (0, 5));
}

#[test]
fn what_is_not_known_is_not_measured() {
    let measures = measures(100.0);
    let found = Conditions::of(&[Looks { measures: &measures, objects: None }]);
    let of = |name: &str| found.0.iter().find(|e| e.condition.name == name).unwrap().threshold;
    assert!(of("occlusion").is_none() && of("small objects").is_none() && of("blur").is_some());
    assert!(Conditions::of(&[]).0.iter().all(|e| e.threshold.is_none() && e.images.is_empty()));
}
