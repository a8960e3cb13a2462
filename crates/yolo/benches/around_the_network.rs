//! What a detector does before and behind the network, one thread.
//!
//!     cargo bench -p yoloslim-yolo

use divan::{Bencher, Divan};
use image::RgbImage;
use numerics::Rng;
use yolo::families::{Decoder, identify, with_networks};
use yolo::{BoxXyxy, Detection, Letterbox, NetworkOptions, Placement, letterbox, nms};

fn main() {
    Divan::from_args().main();
}

/// A frame of a camera into a square input.
#[divan::bench(args = [320, 640])]
fn letterbox_of_full_hd(bencher: Bencher, side: usize) {
    let mut rng = Rng::new(1);
    let (width, height) = (1920, 1080);
    let frame = RgbImage::from_fn(width, height, |_, _| image::Rgb([rng.below(256) as u8; 3]));
    let sizes = [width as usize, height as usize];
    let geometry = Letterbox::new(Placement::Centered, sizes, [side; 2]);
    bencher.bench(|| letterbox(&frame, &geometry));
}

/// Candidates as `val` has them, at a confidence of 0.001: many, in clusters around few objects.
#[divan::bench(args = [1_000, 10_000, 30_000])]
fn nms_of_candidates(bencher: Bencher, count: usize) {
    let mut rng = Rng::new(2);
    let mut share = move || (rng.signed() + 1.0) / 2.0;
    let objects: Vec<[f32; 2]> = (0..50).map(|_| [share() * 600.0, share() * 600.0]).collect();
    let candidates: Vec<Detection> = (0..count)
        .map(|i| {
            let [x, y] = objects[i % objects.len()];
            let (x, y) = (x + 20.0 * share(), y + 20.0 * share());
            Detection {
                bbox: BoxXyxy::from_center(x, y, 30.0 + 20.0 * share(), 30.0 + 20.0 * share()),
                score: share(),
                class: i % 80,
            }
        })
        .collect();
    bencher.bench(|| nms(&candidates, 0.7, 300));
}

/// A network of YOLOv8's form for 80 classes at 640 x 640 gives `[1, 84, 8400]`: boxes and scores of 8400 candidates. Of
/// what is no object 1 % of the scores lie above 0.001; around each of 12 objects, 25 candidates have higher ones of two classes.
struct Outputs {
    decoder: Decoder,
    elements: Vec<f32>,
}

const CANDIDATES: usize = 8400;
const CLASSES: usize = 80;

fn outputs() -> Outputs {
    let names = (0..CLASSES).map(|class| format!("class{class}")).collect();
    let options = NetworkOptions { names, size_px: [640; 2], width: 0.0625, depth: 0.1, seed: 0 };
    let family = with_networks().find(|family| family.name == "v8").unwrap();
    let graph = family.network(&options).unwrap();
    let decoder = identify(&graph, None).unwrap().decoder;
    let mut rng = Rng::new(3);
    let mut share = move || (rng.signed() + 1.0) / 2.0;
    let mut elements = vec![0.0; (4 + CLASSES) * CANDIDATES];
    let (boxes, scores) = elements.split_at_mut(4 * CANDIDATES);
    boxes.iter_mut().for_each(|side| *side = 20.0 + 500.0 * share());
    scores.iter_mut().for_each(|score| *score = 0.002 * share().powi(64));
    for object in 0..12 {
        let [x, y, w, h] = [(); 4].map(|()| 100.0 + 300.0 * share());
        for near in 0..25 {
            let at = object * 640 + near * 7;
            for (side, value) in [x, y, w, h].into_iter().enumerate() {
                boxes[side * CANDIDATES + at] = value + 8.0 * share();
            }
            for class in [object * 5, object * 5 + 3] {
                scores[class * CANDIDATES + at] = 0.9 * share() / (1 + class % 5) as f32;
            }
        }
    }
    Outputs { decoder, elements }
}

/// Boxes and scores as `detect` (0.25) and `val` (0.001) read them.
#[divan::bench(args = [0.25, 0.001])]
fn decode_and_nms_of_8400_candidates(bencher: Bencher, conf: f32) {
    let Outputs { decoder, elements } = outputs();
    bencher.bench(|| {
        let candidates = decoder.decode_elements(&[&elements], conf).unwrap();
        nms(&candidates, 0.7, 300)
    });
}
