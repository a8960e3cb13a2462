use ir::{DataType, TensorType};

use super::*;

fn used(clipped: f64, level: f64) -> Use {
    Use { min: -1.0, max: 1.0, clipped, most_clipped: clipped, level, least_level: level }
}

fn tensor(shift: Option<Shift>) -> TensorUse {
    let (value, layer) = ("value".to_owned(), "layer".to_owned());
    TensorUse { value, layer, seen: used(0.0, 0.5), worst_image: 0, calibrated: None, shift }
}

#[test]
fn a_tensor_is_shifted_where_it_is_cut_off_often_or_weaker_than_ever() {
    let calibrated = Use { most_clipped: 0.001, least_level: 0.1, ..used(0.0005, 0.2) };
    let shift = |clipped, level| Shift::of(&used(clipped, level), &calibrated);
    assert_eq!(shift(0.002, 0.2), None);
    assert_eq!(shift(0.004, 0.2), Some(Shift::Clipped));
    assert_eq!(shift(0.0, 0.09), Some(Shift::Weak));
    // Where nothing was cut off in calibration, a few values are no shift.
    let spotless = Use { most_clipped: 0.0, ..calibrated };
    assert_eq!(Shift::of(&used(0.0001, 0.2), &spotless), None);
    assert_eq!(Shift::of(&used(0.0003, 0.2), &spotless), Some(Shift::Clipped));
}

#[test]
fn images_have_shifted_where_two_tensors_say_so() {
    let [none, clipped, weak] = [None, Some(Shift::Clipped), Some(Shift::Weak)].map(tensor);
    assert!(!has_shifted(&[none.clone(), clipped.clone(), none.clone()]));
    assert!(has_shifted(&[clipped, none, weak]));
}

#[test]
fn counts_of_images_come_to_their_mean_and_their_worst() {
    let value = Graph::new(17).edit().input("x", TensorType::new(DataType::F32, [1]));
    let count = |image, clipped, squares: f64| Count {
        value,
        image,
        clipped,
        squares: (squares * STEPS) as i128,
        elements: 100,
    };
    let (seen, worst) = summed([-1.0, 2.0], &[count(3, 1, 25.0), count(5, 3, 1.0)]);
    let expected = Use {
        clipped: 0.02,
        most_clipped: 0.03,
        level: 0.3,
        least_level: 0.1,
        min: -1.0,
        max: 2.0,
    };
    let near = |a: f64, b: f64| (a - b).abs() < 1e-6;
    assert!(near(seen.clipped, expected.clipped) && near(seen.most_clipped, expected.most_clipped));
    assert!(near(seen.level, expected.level) && near(seen.least_level, expected.least_level));
    assert_eq!((seen.min, seen.max, worst), (expected.min, expected.max, 5));
}

#[test]
fn calibration_in_a_file_is_short_and_reads_back_to_four_digits() {
    let seen = Use {
        min: -0.278_464_5,
        max: 7.123_456_7,
        clipped: 0.000_123_456_789,
        most_clipped: 1.0 / 3.0,
        level: 0.0,
        least_level: 2.0 / 3.0,
    };
    let tensors = BTreeMap::from([("a".to_owned(), seen)]);
    let (mut graph, before) = (Graph::new(17), CalibrationUse { images: 32, tensors });
    before.describe(&mut graph);
    let text = &graph.metadata[KEY];
    assert!(text.len() < 110, "{text}");
    let after = CalibrationUse::of(&graph).unwrap();
    let now = after.tensors["a"];
    assert_eq!((after.images, now.min, now.max), (32, seen.min, seen.max));
    let pairs = [
        (now.clipped, seen.clipped),
        (now.most_clipped, seen.most_clipped),
        (now.level, seen.level),
        (now.least_level, seen.least_level),
    ];
    for (now, before) in pairs {
        assert!((now - before).abs() <= 5e-4 * before, "{now} {before}");
    }
    after.describe(&mut graph);
    assert_eq!(CalibrationUse::of(&graph), Some(after));
}
