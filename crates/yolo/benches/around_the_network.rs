//! What a detector does before and behind the network, one thread.
//!
//!     cargo bench -p yoloslim-yolo

use divan::{Bencher, Divan};
use image::RgbImage;
use numerics::Rng;
use yolo::{BoxXyxy, Detection, Letterbox, Placement, letterbox, nms};

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
