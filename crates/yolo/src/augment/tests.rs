//! Boxes follow pixels: a bright rectangle is drawn, augmented and found again.
use super::*;
use crate::{BoxXyxy, LETTERBOX, Placement as Corner, Preprocess};
use ir::{DataType, Graph, TensorType};
use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

/// The inputs of a model for images of so many pixels (height, width).
fn input(size_px: [usize; 2], placement: Corner) -> ModelInput {
    let mut graph = Graph::new(17);
    let mut edit = graph.edit();
    edit.input("x", TensorType::new(DataType::F32, [1, 3, size_px[0], size_px[1]]));
    graph.apply(edit).unwrap();
    ModelInput::new(&graph, Preprocess { placement, ..LETTERBOX }).unwrap()
}

/// A dark image with a bright rectangle, which is labelled.
fn scene(size: [u32; 2], [left, top, right, bottom]: [u32; 4]) -> LabelledScene {
    let mut image = RgbImage::from_pixel(size[0], size[1], image::Rgb([20; 3]));
    for y in top..bottom {
        for x in left..right {
            image.put_pixel(x, y, image::Rgb([250; 3]));
        }
    }
    let bbox = BoxXyxy::from_corners([left, top, right, bottom].map(|v| v as f32));
    LabelledScene { images: vec![image], boxes: vec![LabelledBox { class: 3, bbox }] }
}

/// The edges of what is brighter than halfway, in an input of one image.
fn bright(found: &AugmentedInput, size_px: [usize; 2]) -> Option<[f32; 4]> {
    let plane = &found.planes.0[0][..size_px[0] * size_px[1]];
    let mut edges: Option<[f32; 4]> = None;
    for (at, _) in plane.iter().enumerate().filter(|(_, v)| **v > 135.0 / 255.0) {
        let (x, y) = ((at % size_px[1]) as f32, (at / size_px[1]) as f32);
        let [left, top, right, bottom] = edges.unwrap_or([x, y, x, y]);
        edges = Some([left.min(x), top.min(y), right.max(x + 1.0), bottom.max(y + 1.0)]);
    }
    edges
}

/// Everything but brightness, by which pixels are told apart.
fn all() -> Augmentation {
    Augmentation {
        flip_horizontal: 0.5,
        flip_vertical: 0.5,
        scale: 0.4,
        translation: 0.3,
        hue: 0.02,
        saturation: 0.5,
        brightness: 0.0,
        mosaic: 0.3,
    }
}

fn key(step: u64) -> DrawKey {
    DrawKey { seed: 1, step, image: 0 }
}

proptest! {
    #[test]
    fn a_box_lies_where_its_bright_pixels_lie(
        seed in any::<u64>(),
        step in 0_u64..1000,
        is_window in any::<bool>(),
        is_centred in any::<bool>(),
        size in [40_u32..160, 40_u32..160],
        share in [0.0_f64..0.6, 0.0_f64..0.6],
    ) {
        let placement = if is_centred { Corner::Centered } else { Corner::TopLeft };
        let input = input([96, 128], placement);
        let size_px = if is_window { [64, 64] } else { [96, 128] };
        let corner = [0, 1].map(|axis| (share[axis] * f64::from(size[axis])) as u32);
        let far = [0, 1].map(|axis| corner[axis] + size[axis] * 2 / 5);
        let bright_scene = scene(size, [corner[0], corner[1], far[0], far[1]]);
        let dark = scene(size, [0; 4]);
        let draw = all().draw(DrawKey { seed, step, image: 5 }, 9);
        let mut scenes = vec![&bright_scene];
        scenes.extend(draw.others.iter().map(|_| &dark));
        let found = draw.compose(&scenes, &input, size_px).unwrap();
        prop_assert!(found.boxes.len() <= 1);
        for labelled in &found.boxes {
            let edges = bright(&found, size_px).expect("a box shows pixels");
            let BoxXyxy { left, top, right, bottom } = labelled.bbox;
            for (pixels, edge) in edges.into_iter().zip([left, top, right, bottom]) {
                prop_assert!((pixels - edge).abs() <= 1.0, "{edges:?} {labelled:?}");
            }
            prop_assert_eq!(labelled.class, 3);
        }
        if found.boxes.is_empty() && let Some([left, top, right, bottom]) = bright(&found, size_px) {
            // What shows without a box is a sliver of what is there.
            let ratio = (96.0 / f64::from(size[1])).min(128.0 / f64::from(size[0])) * 1.4;
            let whole = f64::from(far[0] - corner[0]) * f64::from(far[1] - corner[1]) * ratio * ratio;
            let shown = f64::from((right - left) * (bottom - top));
            let is_thin = right - left < 4.0 || bottom - top < 4.0;
            prop_assert!(is_thin || shown < 0.25 * whole, "{shown} of {whole}");
        }
    }
}

#[test]
fn an_input_that_nothing_is_changed_of_is_the_letterbox() {
    let mut image = RgbImage::new(150, 90);
    let mut rng = Rng::new(3);
    image.pixels_mut().for_each(|p| *p = image::Rgb([(); 3].map(|()| rng.below(256) as u8)));
    for (placement, size_px) in [(Corner::Centered, [96, 128]), (Corner::TopLeft, [64, 64])] {
        let input = input(size_px, placement);
        let expected = input.prepare(std::slice::from_ref(&image)).unwrap();
        let scene = LabelledScene { images: vec![image.clone()], boxes: vec![] };
        let draw = Augmentation::NONE.draw(key(0), 1);
        let found = draw.compose(&[&scene], &input, size_px).unwrap().planes;
        let pairs = found.0[0].iter().zip(&expected.0[0]);
        let most = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        // OpenCV rounds weights to 2^-11.
        assert!(most < 1.5 / 255.0, "{most}");
    }
}

#[test]
fn draws_of_equal_keys_are_equal_and_of_others_differ() {
    let draw = |seed, step, image| all().draw(DrawKey { seed, step, image }, 50);
    assert_eq!(draw(1, 2, 3), draw(1, 2, 3));
    for other in [draw(2, 2, 3), draw(1, 3, 3), draw(1, 2, 4), draw(3, 2, 1)] {
        assert_ne!(draw(1, 2, 3), other);
    }
}

#[test]
fn mosaics_show_four_images_and_end_before_the_training_does() {
    let options = Augmentation { mosaic: 1.0, ..Augmentation::NONE };
    let (input, size_px) = (input([64, 64], Corner::Centered), [64, 64]);
    let scenes = [scene([64; 2], [24, 24, 40, 40]), scene([64; 2], [0; 4])];
    let draw = options.at(0, 10).draw(key(7), 20);
    assert!(draw.others.len() == 3 && draw.others.iter().all(|&other| other < 20));
    let mut shown = 0;
    for at in 0..4 {
        let mut all = [&scenes[1]; 4];
        all[at] = &scenes[0];
        let found = draw.compose(&all, &input, size_px).unwrap();
        shown += found.boxes.len();
        // Every image covers its quarter, and no other one's.
        if let Some(labelled) = found.boxes.first() {
            let [x, y] = draw.meeting.map(|share| (64.0 * share) as f32);
            let b = labelled.bbox;
            let is_within = |low: f32, high: f32, edge: f32, after: bool| {
                if after { low >= edge } else { high <= edge }
            };
            assert!(is_within(b.left, b.right, x, at & 1 == 1), "{at} {b:?}");
            assert!(is_within(b.top, b.bottom, y, at >> 1 == 1), "{at} {b:?}");
        }
    }
    assert!(shown > 0);
    assert!(options.at(9, 10).draw(key(7), 20).others.is_empty());
}

#[test]
fn scenes_of_another_number_than_drawn_are_an_error() {
    let input = input([64, 64], Corner::Centered);
    let draw = Augmentation::NONE.draw(key(0), 1);
    let empty = LabelledScene::default();
    let one = scene([10, 10], [0; 4]);
    for scenes in [&[&one, &one][..], &[], &[&empty]] {
        assert!(draw.compose(scenes, &input, [64, 64]).is_err());
    }
}
