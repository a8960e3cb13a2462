//! Objects are planted into the output convolutions of a head; the reading of the outputs that finds them again is right.
use super::decoder::Decoder;
use super::predictions::{Kind, Object, Predictions};
use crate::Detection;
use ir::{Graph, Tensor, ValueId, subgraph};
use runtime::{Plan, PlanOptions, Session};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Confidence between what is planted and what is not.
const CONF: f32 = 0.3;
/// How far from where it was planted an object is found by a reading that is right, in strides.
const EXACT_STRIDES: f32 = 0.05;
/// How far it may be found where no reading is exact: the range of a quantized head may not hold all that is planted.
const NEAR_STRIDES: f32 = 0.75;

/// Outputs that show the objects.
pub(crate) struct Probe {
    objects: Vec<Object>,
    outputs: Vec<Tensor>,
}

impl Probe {
    /// Runs the tail of the graph on planted objects.
    ///
    /// # Errors
    /// Why it cannot be run.
    pub(crate) fn new(graph: &Graph, predictions: &Predictions) -> Result<Self, String> {
        Self::of(graph, predictions, predictions.objects())
    }

    fn of(graph: &Graph, predictions: &Predictions, objects: Vec<Object>) -> Result<Self, String> {
        let maps = predictions.planted(graph, &objects);
        let maps = maps.ok_or("the output convolutions have no known shape")?;
        let from: BTreeSet<ValueId> = maps.keys().copied().collect();
        let planted = |v: &ValueId| maps.get(v).map(Vec::as_slice).unwrap_or_default();
        let (part, inputs) = subgraph(graph, &from, graph.outputs()).map_err(|e| e.to_string())?;
        let mut computed = Vec::new();
        if !part.outputs().is_empty() {
            let plan = Plan::compile(&part, &[], &PlanOptions::default());
            let plan = Arc::new(plan.map_err(|e| e.to_string())?);
            let given: Vec<&[f32]> = inputs.iter().map(planted).collect();
            let run = Session::new(&plan, 1).and_then(|mut session| session.run(&given));
            computed = run.map_err(|e| e.to_string())?;
        }
        let mut computed = computed.into_iter();
        let output = |v: &ValueId| {
            if !from.contains(v) {
                return computed.next().ok_or("an output is missing".to_owned());
            }
            let shape = graph.ty(*v).map_err(|e| e.to_string())?.shape.clone();
            Tensor::new(shape, planted(v).to_vec()).map_err(|e| e.to_string())
        };
        let outputs = graph.outputs().iter().map(output).collect::<Result<_, String>>()?;
        Ok(Self { objects, outputs })
    }

    /// The first reading that finds every object where it is, or else the one that finds them nearest.
    pub(crate) fn choose<'r>(&self, readings: &'r [Decoder]) -> Option<&'r Decoder> {
        let mut nearest: Option<(f32, &Decoder)> = None;
        for reading in readings {
            let Some(error) = self.error_strides(reading) else {
                continue;
            };
            if error <= EXACT_STRIDES {
                return Some(reading);
            }
            if error <= NEAR_STRIDES && nearest.is_none_or(|(least, _)| error < least) {
                nearest = Some((error, reading));
            }
        }
        nearest.map(|(_, reading)| reading)
    }

    /// Width and height with which each object is found; `None` unless each is found and nothing else is.
    fn sizes_px(&self, decoder: &Decoder) -> Option<Vec<[f32; 2]>> {
        let found = decoder.decode(&self.outputs, CONF).unwrap_or_default();
        if found.len() != self.objects.len() {
            return None;
        }
        let size = |object: &Object| {
            let error = |d: &Detection| error_strides(d, object);
            let fits = |d: &&Detection| error(d).is_some_and(|e| e <= EXACT_STRIDES);
            let b = found.iter().find(fits)?.bbox;
            Some([b.right - b.left, b.bottom - b.top])
        };
        self.objects.iter().map(size).collect()
    }

    /// How far the objects are found from where they are, at most. `None` unless each is found once and nothing else is.
    fn error_strides(&self, decoder: &Decoder) -> Option<f32> {
        let found = decoder.decode(&self.outputs, CONF).unwrap_or_default();
        if found.len() != self.objects.len() {
            return None;
        }
        let mut most = 0f32;
        for object in &self.objects {
            let of_class = found.iter().filter(|d| d.class == object.class);
            let errors = of_class.filter_map(|d| error_strides(d, object));
            most = most.max(errors.reduce(f32::min)?);
        }
        Some(most)
    }
}

/// Width and height of the anchors of every scale, in the order of the scales, as the decoder finds objects of them. `None`
/// where the head has no anchors, or boxes are not relative to them in YOLOv5's way: (2σ)² times the anchor.
pub(super) fn anchors_px(
    graph: &Graph,
    predictions: &Predictions,
    decoder: &Decoder,
) -> Option<Vec<[f32; 2]>> {
    /// A raw number, besides 0, by which the formula is checked.
    const RAW: f32 = 1.0;
    let Kind::Anchors(per_cell) = predictions.kind else {
        return None;
    };
    let growth = (2.0 / (1.0 + (-RAW).exp())).powi(2);
    let mut by_anchor = Vec::new();
    for anchor in 0..per_cell {
        let sizes = |raw: f32| {
            let objects = predictions.objects_of_anchor(anchor, raw);
            Probe::of(graph, predictions, objects).ok()?.sizes_px(decoder)
        };
        let (anchors, grown) = (sizes(0.0)?, sizes(RAW)?);
        let sides = anchors.as_flattened().iter().zip(grown.as_flattened());
        let mut ratios = sides.map(|(side, grown)| grown / (side * growth));
        if !ratios.all(|ratio| (ratio - 1.0).abs() < 0.01) {
            return None;
        }
        by_anchor.push(anchors);
    }
    let levels = 0..predictions.levels.len();
    Some(levels.flat_map(|level| by_anchor.iter().map(move |sizes| sizes[level])).collect())
}

/// How far a detection is from an object, in strides: its centre, and its size where that is known.
fn error_strides(found: &Detection, object: &Object) -> Option<f32> {
    let b = found.bbox;
    let apart = |found: [f32; 2], expected: [f32; 2]| {
        let axes = found.iter().zip(expected).zip(object.stride);
        axes.map(|((f, e), stride)| (f - e).abs() / stride).fold(0.0, f32::max)
    };
    let size = [b.right - b.left, b.bottom - b.top];
    let of_size = match object.size {
        Some(expected) => apart(size, expected),
        None if size.iter().all(|&s| s > 0.0) => 0.0,
        None => return None,
    };
    let centre = [(b.left + b.right) / 2.0, (b.top + b.bottom) / 2.0];
    (found.score <= 1.01).then(|| of_size.max(apart(centre, object.centre)))
}
