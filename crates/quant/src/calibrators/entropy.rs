//! The range that loses the least information.
use super::Calibrator;
use crate::{Profile, Range};

/// Bins of the whole range.
const BINS: usize = 4096;
/// Steps of a quantized value.
const LEVELS: usize = 256;
/// Distance of the clips that are tried, in bins.
const STRIDE: usize = 32;

/// The clip at which the distribution of the quantized values diverges least from that of the values.
///
/// Source: 8-bit Inference with TensorRT, GTC 2017; the divergence is Kullback's and Leibler's. Of a range whose lower
/// end is SiLU's only the upper end is searched; of others a magnitude, for both ends.
pub(super) const ENTROPY: Calibrator =
    Calibrator { name: "entropy", range: search, alternatives: &[] };

/// Divergence of `counts` from what `LEVELS` equally wide steps keep of them; `beyond` values were clipped onto the
/// last bin.
fn divergence(counts: &[f64], below: f64, beyond: f64) -> f64 {
    let inside: f64 = counts.iter().sum();
    let total = inside + below + beyond;
    if inside == 0.0 {
        return f64::INFINITY;
    }
    let mut sum = 0.0;
    for level in 0..LEVELS {
        let (from, to) = (level * counts.len() / LEVELS, (level + 1) * counts.len() / LEVELS);
        let step = &counts[from..to];
        let values = |i: usize| {
            let clipped_below = if from + i == 0 { below } else { 0.0 };
            let clipped = if from + i + 1 == counts.len() { beyond } else { 0.0 };
            step[i] + clipped_below + clipped
        };
        let filled = (0..step.len()).filter(|&i| values(i) > 0.0).count().max(1) as f64;
        // Of a step that holds clipped values alone nothing is kept: far less than one value.
        let q = (step.iter().sum::<f64>() / filled / inside).max(1e-3 / total);
        for p in (0..step.len()).map(|i| values(i) / total).filter(|&p| p > 0.0) {
            sum += p * (p / q).ln();
        }
    }
    sum
}

pub(super) fn search(profile: &Profile) -> Option<Range> {
    let whole = profile.whole()?;
    let (lo, hi) = (f64::from(whole.min), f64::from(whole.max));
    let width = (hi - lo) / BINS as f64;
    if width <= 0.0 {
        return Some(whole);
    }
    let mut counts = vec![0f64; BINS];
    for (x, n) in profile.bins() {
        let bin = (((x - lo) / width) as usize).min(BINS - 1);
        counts[bin] += n as f64;
    }
    // The step of 0 holds what an activation suppressed; NVIDIA's calibrator leaves that bin out, too.
    let zero = ((-lo / width) as usize).min(BINS - 1);
    counts[zero] = counts.get(zero + 1).copied().unwrap_or(0.0);
    let one_sided = profile.is_one_sided();
    let mut best = (f64::INFINITY, whole);
    let mut clip = BINS;
    while clip >= LEVELS {
        let share = clip as f64 / BINS as f64;
        let (from, to) = if one_sided {
            (0, zero + ((BINS - zero) as f64 * share) as usize)
        } else {
            let reach = lo.abs().max(hi) * share / width;
            let from = (zero as f64 - reach).max(0.0) as usize;
            (from, ((zero as f64 + reach) as usize).min(BINS))
        };
        if to > from && to - from >= LEVELS {
            let below = counts[..from].iter().sum();
            let beyond = counts[to..].iter().sum();
            let found = divergence(&counts[from..to], below, beyond);
            if found < best.0 {
                let end = |bin: usize| (lo + bin as f64 * width) as f32;
                let min = if from == 0 { whole.min } else { end(from) };
                let max = if to == BINS { whole.max } else { end(to) };
                best = (found, Range::new(min, max).with_zero());
            }
        }
        clip -= STRIDE;
    }
    Some(best.1)
}
