//! What is chosen of images whose groups are known.
use super::*;
use yolo::{Appearance, ImageMeasures};

fn candidate(at: usize, place: [f32; 2]) -> Candidate {
    let measures = ImageMeasures::default();
    let descriptor = [place.to_vec(), vec![1.0; 3], vec![], vec![], vec![]];
    Candidate { at, appearance: Appearance { measures, descriptor }, size_px: [100, 100] }
}

/// Three groups far apart, of 20, 10 and 5 images.
fn grouped() -> Vec<Candidate> {
    let centres = [[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]];
    let sizes = [20, 10, 5];
    let mut rng = Rng::new(9);
    let mut all = Vec::new();
    for (centre, size) in centres.into_iter().zip(sizes) {
        for _ in 0..size {
            all.push(candidate(all.len(), centre.map(|c: f32| c + 0.1 * rng.signed())));
        }
    }
    all
}

fn group(image: usize) -> usize {
    [20, 30, 35].iter().position(|end| image < *end).unwrap()
}

fn label(class: usize, side: f64) -> Label {
    let bbox = yolo::LabelBox::Normalised([0.5, 0.5, side, side]);
    Label { class, bbox, area: None, crowd: false }
}

#[test]
fn representative_takes_one_of_each_group_first() {
    let features = Features::new(&grouped(), &[], &vec![&[][..]; 35]);
    for seed in 0..20 {
        let mut groups: Vec<usize> =
            representative(&features, 3, &[], seed).into_iter().map(group).collect();
        groups.sort_unstable();
        assert_eq!(groups, [0, 1, 2], "seed {seed}");
    }
}

#[test]
fn representative_leaves_out_what_was_taken_and_its_group() {
    let features = Features::new(&grouped(), &[], &vec![&[][..]; 35]);
    let found = representative(&features, 2, &[3, 25], 1);
    assert!(found.iter().any(|&i| group(i) == 2) && !found.contains(&3) && !found.contains(&25));
    let all = representative(&features, 100, &[3, 25], 1);
    let distinct: std::collections::BTreeSet<usize> = all.iter().copied().collect();
    assert_eq!((all.len(), distinct.len()), (33, 33));
}

#[test]
fn representative_of_equal_seeds_is_equal_and_of_no_images_empty() {
    let features = Features::new(&grouped(), &[], &vec![&[][..]; 35]);
    let chosen = |seed| representative(&features, 12, &[], seed);
    assert_eq!(chosen(4), chosen(4));
    assert_ne!(chosen(4), chosen(5));
    assert!(representative(&Features::new(&[], &[], &[]), 5, &[], 0).is_empty());
}

#[test]
fn a_rare_class_is_chosen_among_images_that_look_alike() {
    let images: Vec<Candidate> = (0..40).map(|at| candidate(at, [0.0, 0.0])).collect();
    let common = vec![label(0, 0.3)];
    let rare = [label(1, 0.3)];
    let labels: Vec<&[Label]> =
        (0..40).map(|i| if i == 33 { &rare[..] } else { &common }).collect();
    let features = Features::new(&images, &[], &labels);
    for seed in 0..10 {
        assert!(representative(&features, 20, &[], seed).contains(&33), "seed {seed}");
    }
}

#[test]
fn an_objects_size_goes_by_its_share_of_the_image() {
    let sizes = [0.01, 0.03, 0.08, 0.15, 0.3, 0.9].map(|side| size_of(&label(0, side), [100, 80]));
    assert_eq!(sizes, [0, 1, 2, 3, 4, 5]);
    assert_eq!(size_of(&label(0, 0.3), [0, 0]), 0);
}

#[test]
fn groups_of_activations_weigh_as_much_as_looks() {
    let images: Vec<Candidate> = (0..4).map(|at| candidate(at, [at as f32, 0.0])).collect();
    let activations: Vec<Vec<Vec<f32>>> =
        [0.0, 0.0, 900.0, 900.0].iter().map(|v| vec![vec![*v, 0.0]]).collect();
    let features = Features::new(&images, &activations, &[&[][..]; 4]);
    assert_eq!(features.groups, 2);
    // Each group has variance 1, so that the mean of squared distances is twice the groups.
    let pairs = (0..4).flat_map(|a| (0..4).map(move |b| (a, b)));
    let mean = pairs.map(|(a, b)| features.distance(a, b).powi(2)).sum::<f32>() / 16.0;
    assert!((mean - 4.0).abs() < 1e-4, "{mean}");
}
