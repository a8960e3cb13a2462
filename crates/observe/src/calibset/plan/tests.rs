//! Sets whose extremes are known.
use super::*;
use crate::calibset::{CONDITIONS, Candidate, Extremes};
use yolo::{Appearance, ImageMeasures};

fn features(images: usize) -> Features {
    let measures = ImageMeasures::default();
    let mut rng = Rng::new(3);
    let candidate = |at| {
        let place = vec![rng.signed(), rng.signed()];
        let descriptor = [place, vec![], vec![], vec![], vec![]];
        Candidate { at, appearance: Appearance { measures, descriptor }, size_px: [10, 10] }
    };
    let all: Vec<Candidate> = (0..images).map(candidate).collect();
    Features::new(&all, &[], &vec![&[][..]; images])
}

/// Of every condition so many images show it, beginning with these.
fn conditions(images: &[(&str, &[usize])]) -> Conditions {
    let extremes = CONDITIONS.iter().map(|condition| {
        let shown = images.iter().find(|(name, _)| *name == condition.name);
        let images = shown.map_or(vec![], |(_, images)| images.to_vec());
        Extremes { condition, threshold: Some(0.0), images }
    });
    Conditions(extremes.collect())
}

#[test]
fn what_exists_is_picked_and_the_rest_is_made() {
    let conditions = conditions(&[("darkness", &[90, 91]), ("noise", &[92])]);
    let plan = plan_calibset(&features(100), &conditions, 50, 0.14, true, 1);
    assert_eq!(plan.picked.len() + plan.synthetic.len(), 50);
    for covered in &plan.coverage {
        assert_eq!(covered.wanted, 1);
        assert!(covered.picked + covered.synthetic >= 1, "{covered:?}");
        let is_there = ["darkness", "noise"].contains(&covered.condition);
        assert_eq!(covered.synthetic, usize::from(!is_there), "{covered:?}");
    }
    let distinct: BTreeSet<usize> = plan.picked.iter().map(|p| p.image).collect();
    assert_eq!(distinct.len(), plan.picked.len());
    assert!(plan.synthetic.iter().all(|s| s.of.iter().all(|i| distinct.contains(i))));
}

#[test]
fn without_synthesis_what_is_missing_is_representative() {
    let plan = plan_calibset(&features(100), &conditions(&[]), 50, 0.2, false, 1);
    assert_eq!((plan.picked.len(), plan.synthetic.len()), (50, 0));
    assert!(plan.picked.iter().all(|p| p.extreme.is_none()));
}

#[test]
fn few_extremes_go_to_the_first_conditions() {
    let plan = plan_calibset(&features(100), &conditions(&[]), 20, 0.15, true, 1);
    let made: Vec<&str> = plan.synthetic.iter().map(|s| s.condition).collect();
    assert_eq!(made, ["darkness", "strong light", "blur"]);
}

#[test]
fn equal_seeds_give_equal_sets_and_few_images_are_all_taken() {
    let plan = |seed| {
        let plan = plan_calibset(&features(30), &conditions(&[]), 20, 0.3, true, seed);
        (plan.picked, plan.synthetic)
    };
    assert_eq!(plan(5), plan(5));
    assert_ne!(plan(5), plan(6));
    let all = plan_calibset(&features(10), &conditions(&[]), 100, 0.1, true, 0);
    assert_eq!((all.picked.len(), all.synthetic.len()), (10, 10));
    let none = plan_calibset(&features(0), &conditions(&[]), 100, 0.1, true, 0);
    assert!(none.picked.is_empty() && none.synthetic.is_empty());
}
