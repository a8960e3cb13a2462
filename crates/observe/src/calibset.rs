//! Which images a model is calibrated on: representative ones, and extremes that the line will see.
//!
//! Images are decoded one by one and forgotten; what is kept of each is a short vector and a few figures.

mod activations;
mod conditions;
mod facility;
mod plan;
mod synthesis;

use std::sync::atomic::{AtomicUsize, Ordering};

use numerics::parallel_map;
use yolo::{Appearance, BadInput, Dataset, Label, read_rgb};

use crate::image_set::sampled;
use crate::{ImageSet, Progress};

pub use activations::{Activation, pooled_activations};
pub use conditions::{CONDITIONS, Condition, Conditions, Extremes, Looks, Objects, Source};
pub use facility::{Features, representative};
pub use plan::{CalibsetPlan, Coverage, Picked, Synthetic, plan_calibset};
pub use synthesis::{How, Made, Scene, synthesise};

/// Images among which `count` are chosen, at least: more would be decoded for little.
const LEAST_POOL: usize = 1000;
/// Images among which one is chosen.
const POOL_FACTOR: usize = 4;

/// What is known of an image that may be chosen.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Position in the data set.
    pub at: usize,
    /// How it looks.
    pub appearance: Appearance,
    /// Width and height in pixels.
    pub size_px: [u32; 2],
}

/// Looks at the images at some positions of a data set; those that cannot be read are left out, with the reasons.
pub fn candidates(
    dataset: &Dataset,
    positions: &[usize],
    threads: usize,
    progress: Progress<'_>,
) -> (Vec<Candidate>, Vec<BadInput>) {
    let finished = AtomicUsize::new(0);
    let looked = parallel_map(threads, positions, |&at| {
        let path = &dataset.images[at].path;
        let seen = read_rgb(path).map(|image| Candidate {
            at,
            appearance: Appearance::of(&image),
            size_px: [image.width(), image.height()],
        });
        progress(finished.fetch_add(1, Ordering::Relaxed) + 1);
        seen.map_err(|error| BadInput::image(path, &error))
    });
    let (mut seen, mut bad) = (Vec::new(), Vec::new());
    for looked in looked {
        match looked {
            Ok(candidate) => seen.push(candidate),
            Err(error) => bad.push(error),
        }
    }
    (seen, bad)
}

/// The images of a data set that represent it best, in its order: all of them where there are no more than `count`. At most
/// four times as many are looked at, or a thousand, drawn by `seed`. One that cannot be read is not chosen.
pub fn representative_images(
    dataset: &Dataset,
    count: usize,
    seed: u64,
    threads: usize,
) -> ImageSet {
    let all = ImageSet::from(dataset);
    if all.len() <= count {
        return all;
    }
    let most = LEAST_POOL.max(count.saturating_mul(POOL_FACTOR));
    let (seen, _) = candidates(dataset, &sampled(all.len(), most, seed), threads, &|_| ());
    let labels: Vec<&[Label]> = seen.iter().map(|c| &dataset.images[c.at].labels[..]).collect();
    let features = Features::new(&seen, &[], &labels);
    let mut chosen = representative(&features, count, &[], seed);
    chosen.sort_unstable();
    all.with(chosen.into_iter().map(|i| all.paths[seen[i].at].clone()).collect())
}
