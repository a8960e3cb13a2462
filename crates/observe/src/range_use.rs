//! How a quantized model's ranges fit the images that it is run on: what is cut off, and what is lost in the coarse steps of a
//! range that is far too wide.

use std::collections::BTreeMap;

use ir::{Graph, Op, ValueId};
use runtime::PlanOptions;
use serde::{Deserialize, Serialize};
use yolo::BadInput;

use crate::{Engine, Observation, ObserveError};

/// Key of the model's metadata under which its calibration is described.
const KEY: &str = "yoloslim.calibration";
/// A tensor has left its range where it is cut off so many times as often as in the worst calibration image, on the average image ...
const CLIPPED_FACTOR: f64 = 3.0;
/// ... and at least this share of its values is.
const CLIPPED_SHARE: f64 = 0.0002;
/// Tensors that are left, or weak, from which images are of another kind. One alone is a matter of single images: on held-out
/// images of the same data, eight or more, there was never a second (decision 0021).
const SHIFTED: usize = 2;
/// Values of a tensor in the floating-point sums, in steps of 2^-20 of the tensor's range: sums that do not depend on the order.
const STEPS: f64 = (1u64 << 20) as f64;

/// How one tensor used its range over several images.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Use {
    /// Smallest value that can be represented.
    pub min: f32,
    /// Largest value that can be represented.
    pub max: f32,
    /// Share of the values outside, over all images.
    pub clipped: f64,
    /// The same of the image that has most of them.
    pub most_clipped: f64,
    /// Root of the mean square over the larger end of the range, over all images.
    pub level: f64,
    /// The same of the image where it is smallest.
    pub least_level: f64,
}

/// How a model used its ranges on its calibration images, as its file says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CalibrationUse {
    /// How many images that was measured on.
    pub images: usize,
    /// By tensor.
    pub tensors: BTreeMap<String, Use>,
}

/// The same as a file has it: of a small model's file every number of a tensor is felt.
#[derive(Deserialize, Serialize)]
struct Stored {
    images: usize,
    /// The ends of the range, then what is in [`Use`] behind them, in its order.
    tensors: BTreeMap<String, [f32; 6]>,
}

impl Use {
    /// The ends as they are, by which a range is known again; the others to four digits.
    fn stored(&self) -> [f32; 6] {
        let short = |x: f64| format!("{x:.3e}").parse().unwrap_or(x as f32);
        let [clipped, most_clipped, level, least_level] =
            [self.clipped, self.most_clipped, self.level, self.least_level].map(short);
        [self.min, self.max, clipped, most_clipped, level, least_level]
    }

    fn of_stored([min, max, rest @ ..]: [f32; 6]) -> Self {
        let [clipped, most_clipped, level, least_level] = rest.map(f64::from);
        Self { min, max, clipped, most_clipped, level, least_level }
    }
}

impl CalibrationUse {
    /// What a file says; `None` where it says nothing that is understood.
    pub fn of(graph: &Graph) -> Option<Self> {
        let stored: Stored = serde_json::from_str(graph.metadata.get(KEY)?).ok()?;
        let tensors = stored.tensors.into_iter().map(|(name, seen)| (name, Use::of_stored(seen)));
        Some(Self { images: stored.images, tensors: tensors.collect() })
    }

    /// Writes it into the metadata of a graph.
    ///
    /// # Panics
    /// Never: numbers and names are always JSON.
    pub fn describe(&self, graph: &mut Graph) {
        let tensors = self.tensors.iter().map(|(name, seen)| (name.clone(), seen.stored()));
        let stored = Stored { images: self.images, tensors: tensors.collect() };
        let text = serde_json::to_string(&stored).expect("numbers and names");
        graph.metadata.insert(KEY.to_owned(), text);
    }

    /// From what was measured.
    pub fn new(tensors: &[TensorUse], images: usize) -> Self {
        Self { images, tensors: tensors.iter().map(|t| (t.value.clone(), t.seen)).collect() }
    }
}

/// One quantized tensor on some images.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TensorUse {
    /// Its name.
    pub value: String,
    /// Name of the node that gives it.
    pub layer: String,
    /// How its range was used.
    pub seen: Use,
    /// Position of the image that is cut off most.
    pub worst_image: usize,
    /// How it was used in calibration; `None` where the file does not say, or says it of another range.
    pub calibrated: Option<Use>,
    /// What is wrong, if anything is known to be.
    pub shift: Option<Shift>,
}

/// How images differ from those that a tensor was calibrated on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Shift {
    /// Many values lie outside of its range.
    Clipped,
    /// Its values are weaker than in any calibration image, on the average image.
    Weak,
}

/// Whether images are of another kind than those that a model was calibrated on.
pub fn has_shifted(tensors: &[TensorUse]) -> bool {
    tensors.iter().filter(|t| t.shift.is_some()).count() >= SHIFTED
}

impl Shift {
    fn of(seen: &Use, calibrated: &Use) -> Option<Self> {
        if seen.clipped > CLIPPED_SHARE.max(CLIPPED_FACTOR * calibrated.most_clipped) {
            Some(Self::Clipped)
        } else if seen.level < calibrated.least_level {
            Some(Self::Weak)
        } else {
            None
        }
    }
}

/// What is counted of one tensor in one image.
struct Count {
    value: ValueId,
    image: usize,
    clipped: u64,
    squares: i128,
    elements: u64,
}

/// The values that are quantized, with the range that their quantized form represents.
fn quantized(graph: &Graph) -> BTreeMap<ValueId, [f32; 2]> {
    let mut ranges = BTreeMap::new();
    for (_, node) in graph.nodes() {
        let Op::QuantizeLinear(op) = &node.op else { continue };
        let value = node.inputs[0];
        // Pixels are bytes: none lies outside.
        let is_computed = graph.producer(value).is_some() && graph.constant(value).is_none();
        if is_computed && op.params.axis().is_none() {
            let (lowest, highest) = op.params.range();
            let ends = [lowest, highest].map(|q| op.params.dequantize(0, q as i32));
            ranges.insert(value, ends);
        }
    }
    ranges
}

/// Runs a quantized model on images, in floats that are rounded as its integers are, and tells for each quantized tensor what lies
/// outside of its range.
///
/// # Errors
/// As [`Observation::run`].
pub fn range_use(
    observation: &Observation<'_>,
) -> Result<(Vec<TensorUse>, Vec<BadInput>), ObserveError> {
    let graph = observation.model.graph;
    let ranges = quantized(graph);
    let values: Vec<ValueId> = ranges.keys().copied().collect();
    let options = PlanOptions { integer: false, ..observation.engine.options };
    let observation =
        Observation { engine: Engine { options, ..observation.engine }, ..*observation };
    let (collectors, bad) =
        observation.run(&values, Vec::new, |counts, image, value, observed| {
            let [min, max] = ranges[&value];
            let half_step = (max - min) / 510.0;
            let (low, high) = (min - half_step, max + half_step);
            let unit = f64::from(min.abs().max(max.abs())).max(1e-30);
            let mut count = Count { value, image, clipped: 0, squares: 0, elements: 0 };
            observed.for_each_run(&mut |_, run| {
                let mut squares = 0.0f64;
                for &x in run {
                    count.clipped += u64::from(!(low..=high).contains(&x));
                    squares += (f64::from(x) / unit).powi(2);
                }
                count.squares = count.squares.saturating_add((squares * STEPS) as i128);
                count.elements += run.len() as u64;
            })?;
            counts.push(count);
            Ok(())
        })?;
    let mut by_value: BTreeMap<ValueId, Vec<Count>> = BTreeMap::new();
    for count in collectors.into_iter().flatten() {
        by_value.entry(count.value).or_default().push(count);
    }
    let known = CalibrationUse::of(graph).unwrap_or_default();
    let tensors = by_value.into_iter().map(|(value, mut counts)| {
        counts.sort_by_key(|c| c.image);
        let name = &graph.value(value).name;
        let (seen, worst_image) = summed(ranges[&value], &counts);
        let is_of_range = |c: &&Use| [c.min, c.max] == ranges[&value];
        let calibrated = known.tensors.get(name).filter(is_of_range).copied();
        let layer = graph.producer(value).map_or(String::new(), |id| graph.node(id).name.clone());
        let shift = calibrated.and_then(|calibrated| Shift::of(&seen, &calibrated));
        TensorUse { value: name.clone(), layer, seen, worst_image, calibrated, shift }
    });
    Ok((tensors.collect(), bad))
}

/// What the counts of a tensor, in the order of the images, come to; and the image that is cut off most.
fn summed([min, max]: [f32; 2], counts: &[Count]) -> (Use, usize) {
    let share = |c: &Count| c.clipped as f64 / c.elements.max(1) as f64;
    let level = |c: &Count| (c.squares as f64 / STEPS / c.elements.max(1) as f64).sqrt();
    let mean =
        |f: &dyn Fn(&Count) -> f64| counts.iter().map(f).sum::<f64>() / counts.len().max(1) as f64;
    let worst =
        counts.iter().max_by(|a, b| share(a).total_cmp(&share(b)).then(b.image.cmp(&a.image)));
    let seen = Use {
        min,
        max,
        clipped: mean(&share),
        most_clipped: worst.map_or(0.0, share),
        level: mean(&level),
        least_level: counts.iter().map(level).fold(f64::INFINITY, f64::min).min(1e30),
    };
    (seen, worst.map_or(0, |c| c.image))
}

#[cfg(test)]
mod tests;
