//! Images that stand for all others: each image is to be close to one that was chosen, and classes and sizes of objects are to be
//! balanced.
//!
//! Source: facility location with concave functions of counts, as Wei, Iyer and Bilmes, "Submodularity in Data Subset Selection
//! and Active Learning", ICML 2015; chosen by stochastic greedy steps, Mirzasoleiman et al., "Lazier Than Lazy Greedy",
//! AAAI 2015.

use std::collections::BTreeMap;

use numerics::Rng;
use yolo::Label;

use super::Candidate;

/// What a step looks at fewer images for: that it misses the best one costs this share at most, in expectation.
const EPSILON: f64 = 0.01;
/// What balance of classes and that of sizes count for, against closeness. With more, images that nothing is labelled in are
/// never chosen, and those are what a line sees most.
const BALANCE: f64 = 0.25;
/// Steps of the square root of an object's share of its image, by which sizes are told apart: each is twice the one before.
const SIZES: [f64; 5] = [0.025, 0.05, 0.1, 0.2, 0.4];

/// What images are compared by.
#[derive(Clone, Debug)]
pub struct Features {
    /// A vector for each image; groups of numbers weigh the same, whatever their units and however many numbers they have.
    vectors: Vec<Vec<f32>>,
    /// Groups of numbers that differ between the images at all.
    groups: usize,
    /// Objects of each image by class, and by size.
    counts: [Vec<BTreeMap<usize, f64>>; 2],
}

impl Features {
    /// Of images with their labels, by how they look and, where a model was run on them, by its pooled activations, as groups of
    /// numbers for each image.
    pub fn new(images: &[Candidate], activations: &[Vec<Vec<f32>>], labels: &[&[Label]]) -> Self {
        let looks = |i: usize| images[i].appearance.descriptor.iter();
        let of = |i: usize| looks(i).chain(activations.get(i).into_iter().flatten());
        let groups = if images.is_empty() { 0 } else { of(0).count() };
        let mut vectors = vec![Vec::new(); images.len()];
        let mut used = 0;
        for group in 0..groups {
            let rows: Vec<&[f32]> = (0..images.len())
                .map(|i| of(i).nth(group).map_or(&[][..], Vec::as_slice))
                .collect();
            used += usize::from(append_standardised(&rows, &mut vectors));
        }
        let count = |key: fn(&Label, [u32; 2]) -> usize| {
            let of_image = |(labels, image): (&&[Label], &Candidate)| {
                let mut counts = BTreeMap::new();
                for label in labels.iter().filter(|label| !label.crowd) {
                    *counts.entry(key(label, image.size_px)).or_insert(0.0) += 1.0;
                }
                counts
            };
            labels.iter().zip(images).map(of_image).collect::<Vec<_>>()
        };
        let counts = [count(|label, _| label.class), count(size_of)];
        Self { vectors, groups: used, counts }
    }

    /// How many images there are.
    pub fn len(&self) -> usize {
        self.vectors.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.vectors.is_empty()
    }

    fn distance(&self, a: usize, b: usize) -> f32 {
        let pairs = self.vectors[a].iter().zip(&self.vectors[b]);
        pairs.map(|(a, b)| (a - b) * (a - b)).sum::<f32>().sqrt()
    }
}

/// Which size an object has: how many of the steps it exceeds.
fn size_of(label: &Label, [width_px, height_px]: [u32; 2]) -> usize {
    let [_, _, width, height] = label.object(width_px, height_px).bbox;
    let share = width * height / (f64::from(width_px) * f64::from(height_px)).max(1.0);
    SIZES.iter().filter(|size| share.max(0.0).sqrt() > **size).count()
}

/// Adds a group of numbers to the vectors, each without its mean and the whole group of variance 1; says whether they vary.
fn append_standardised(rows: &[&[f32]], vectors: &mut [Vec<f32>]) -> bool {
    let count = rows.len().max(1) as f64;
    let width = rows.iter().map(|row| row.len()).min().unwrap_or(0);
    let column = |i: usize| {
        let mean = rows.iter().map(|row| f64::from(row[i])).sum::<f64>() / count;
        let squares = rows.iter().map(|row| (f64::from(row[i]) - mean).powi(2)).sum::<f64>();
        (mean, squares / count)
    };
    let columns: Vec<(f64, f64)> = (0..width).map(column).collect();
    let variance: f64 = columns.iter().map(|c| c.1).sum();
    if variance < 1e-12 {
        return false;
    }
    let scale = variance.sqrt().recip();
    for (row, vector) in rows.iter().zip(vectors) {
        vector
            .extend(row.iter().zip(&columns).map(|(&v, c)| ((f64::from(v) - c.0) * scale) as f32));
    }
    true
}

/// What has been chosen so far, and what it is worth.
struct Chosen<'a> {
    features: &'a Features,
    /// For each image the distance to the nearest that was chosen.
    nearest: Vec<f32>,
    counts: [BTreeMap<usize, f64>; 2],
    /// What the whole set would be worth, by part.
    most: [f64; 2],
}

impl<'a> Chosen<'a> {
    fn new(features: &'a Features) -> Self {
        let total = |counts: &Vec<BTreeMap<usize, f64>>| {
            let mut all: BTreeMap<usize, f64> = BTreeMap::new();
            for (&key, n) in counts.iter().flatten() {
                *all.entry(key).or_insert(0.0) += n;
            }
            all.values().map(|n| n.sqrt()).sum::<f64>()
        };
        // Farther than nearly all pairs: two images are the root of twice the groups apart, on average.
        let far = 2.0 * (features.groups as f32).sqrt();
        Self {
            features,
            nearest: vec![far; features.len()],
            counts: [BTreeMap::new(), BTreeMap::new()],
            most: [total(&features.counts[0]), total(&features.counts[1])],
        }
    }

    /// What an image would add.
    fn gain(&self, image: usize) -> f64 {
        let Features { groups, counts, .. } = self.features;
        let closer = |(other, &nearest): (usize, &f32)| {
            f64::from((nearest - self.features.distance(image, other)).max(0.0))
        };
        let far = 2.0 * (*groups as f64).sqrt() * self.nearest.len() as f64;
        let mut gain = self.nearest.iter().enumerate().map(closer).sum::<f64>() / far.max(1e-9);
        for ((counts, so_far), most) in counts.iter().zip(&self.counts).zip(self.most) {
            let more = |(key, n): (&usize, &f64)| {
                let now = so_far.get(key).copied().unwrap_or(0.0);
                (now + n).sqrt() - now.sqrt()
            };
            gain += BALANCE * counts[image].iter().map(more).sum::<f64>() / most.max(1e-9);
        }
        gain
    }

    fn add(&mut self, image: usize) {
        for (other, nearest) in self.nearest.iter_mut().enumerate() {
            *nearest = nearest.min(self.features.distance(image, other));
        }
        for (counts, so_far) in self.features.counts.iter().zip(&mut self.counts) {
            for (&key, n) in &counts[image] {
                *so_far.entry(key).or_insert(0.0) += n;
            }
        }
    }
}

/// `count` more images beside those that are `taken`, as positions, in the order in which they were chosen. The same seed gives the
/// same images.
pub fn representative(features: &Features, count: usize, taken: &[usize], seed: u64) -> Vec<usize> {
    let mut chosen = Chosen::new(features);
    taken.iter().for_each(|&image| chosen.add(image));
    let mut left: Vec<usize> = (0..features.len()).filter(|i| !taken.contains(i)).collect();
    let count = count.min(left.len());
    let tried = (left.len() as f64 / count.max(1) as f64 * (1.0 / EPSILON).ln()).ceil() as usize;
    let mut rng = Rng::new(seed);
    let mut picked = Vec::with_capacity(count);
    for _ in 0..count {
        // The first `tried` of what is left, after a partial shuffle.
        let tried = tried.clamp(1, left.len());
        for i in 0..tried {
            let other = i + rng.below(left.len() - i);
            left.swap(i, other);
        }
        let gains = left[..tried].iter().map(|&image| (chosen.gain(image), image));
        let best = gains.max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)));
        let Some((_, image)) = best else { break };
        left.retain(|&other| other != image);
        chosen.add(image);
        picked.push(image);
    }
    picked
}

#[cfg(test)]
mod tests;
