//! What a vendor's tool needs to quantize a detector itself: the float graph cut behind the output convolutions of its head, the
//! images to calibrate on, and the ranges of its tensors.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use ir::{CutOutput, DataType, Graph, Normalised, Op, ValueId, cut, find_tail, normalise};
use observe::{Model, Observation};
use quant::{Calibrator, Profile};
use runtime::{Plan, Session};
use serde::Serialize;
use yolo::families::{Family, Head, PICKED, RawHead, RawMap, identify};
use yolo::{BadInput, Detection, Placement};

use super::RangeDecision;
use crate::CompressError;

/// Key of the cut model's metadata that tells how images are prepared, as JSON.
const PREPROCESSING: &str = "preprocessing";
/// Images on which the cut model must find what the whole one finds.
const COMPARED: usize = 4;
/// Confidence from which candidates are compared.
const CONF: f32 = 0.05;
/// How far scores may differ: sums are in another order where steps are fused otherwise.
const SCORE_TOLERANCE: f32 = 1e-4;
/// How far sides of boxes may differ, in pixels.
const BOX_TOLERANCE_PX: f32 = 0.02;

/// A detector for a vendor's tool.
#[derive(Debug)]
pub struct VendorParts {
    /// The cut graph, float.
    pub graph: Graph,
    /// Images that could be read, to calibrate on.
    pub images: Vec<PathBuf>,
    /// Calibration images that could not be read.
    pub bad_images: Vec<BadInput>,
    /// What the graph is, and the ranges of its tensors.
    pub description: VendorDescription,
}

/// The keys of the JSON file beside the cut model.
#[derive(Clone, Debug, Serialize)]
pub struct VendorDescription {
    /// The family of the head.
    pub family: &'static str,
    /// Number of classes.
    pub classes: usize,
    /// How the model's images are prepared, in calibration as later.
    pub input: Preprocessing,
    /// The outputs, in the model's order.
    pub outputs: Vec<VendorOutput>,
    /// Width and height of the anchors of every scale, the finest first; empty for a head without anchors.
    pub anchors_px: Vec<[f32; 2]>,
    /// How many of the best boxes are to be picked, with nothing suppressed; null where overlapping boxes are to be suppressed.
    pub picked: Option<usize>,
    /// What chose `calibrated_min` and `calibrated_max`.
    pub calibrator: &'static str,
    /// Images on which tensors were observed.
    pub images: usize,
    /// The ranges of all values that are computed in floats, in the order of execution.
    pub tensors: Vec<TensorRange>,
}

impl VendorDescription {
    /// The ranges, as those of a quantized detector are told.
    pub fn sites(&self) -> Vec<RangeDecision> {
        let site = |tensor: &TensorRange| RangeDecision {
            value: tensor.name.clone(),
            range_by: self.calibrator.to_owned(),
            min: tensor.calibrated_min,
            max: tensor.calibrated_max,
            observed_min: tensor.min,
            observed_max: tensor.max,
            clipped: None,
        };
        self.tensors.iter().map(site).collect()
    }
}

/// How an image becomes the model's input.
#[derive(Clone, Debug, Serialize)]
pub struct Preprocessing {
    /// The input's name.
    pub name: String,
    /// `[1, C, H, W]`.
    pub shape: Vec<usize>,
    /// RGB, BGR or GRAY.
    pub channel_order: &'static str,
    /// What a pixel of 0 to 255 is multiplied by; nothing is subtracted.
    pub scale: f32,
    /// Where the image lies, scaled with its sides' ratio kept: in the middle, or in the upper left corner.
    pub letterbox: &'static str,
    /// The pixel that fills the rest.
    pub padding: u8,
}

/// What an output holds.
#[derive(Clone, Debug, Serialize)]
pub struct VendorOutput {
    /// Its name.
    pub name: String,
    /// `[1, C, H, W]`.
    pub shape: Vec<usize>,
    /// boxes, classes, objectness, or anchors for all of them together.
    pub part: &'static str,
    /// Position of its scale, the finest first.
    pub level: usize,
    /// Pixels from cell to cell, along x and y.
    pub stride_px: [f64; 2],
    /// Whether the graph ends in a Sigmoid here, so that scores come out; otherwise what the convolution gives.
    pub sigmoid: bool,
    /// Bins of the distribution of each of a box's distances; null where there are none.
    pub bins: Option<usize>,
}

/// The range of a tensor.
#[derive(Clone, Debug, Serialize)]
pub struct TensorRange {
    /// Its name in the model.
    pub name: String,
    /// Smallest value observed.
    pub min: f32,
    /// Largest value observed.
    pub max: f32,
    /// Lower end of the calibrator's range, which holds 0.
    pub calibrated_min: f32,
    /// Upper end of it.
    pub calibrated_max: f32,
}

/// Cuts a detector behind the output convolutions of its head, proves on some images that the cut model finds what the whole one
/// finds, and observes the ranges of all its tensors.
///
/// # Errors
/// `NotCut` where the tail is not understood, with its first node; `CutDiffers` where the cut model finds something else;
/// `NonFinite` where activations are not numbers; as the stages otherwise.
pub fn cut_for_vendor(
    observation: &Observation<'_>,
    calibrator: &'static Calibrator,
) -> Result<VendorParts, CompressError> {
    let (graph, images) = (observation.model.graph, observation.images);
    let head = observation.model.head.ok_or_else(|| not_cut(graph, "no known head gives them"))?;
    let (cut, raw) = cut_off(graph, head)?;
    let read = cut_head(&cut, head.family, &raw)?;
    let cut_graph: &Graph = &cut;
    compare(observation, [(graph, head), (cut_graph, &read)])?;
    let pass = Observation { model: Model { graph: &cut, ..observation.model }, ..*observation };
    let (tensors, bad_images) = ranges(&pass, calibrator)?;
    let is_bad = |path: &PathBuf| bad_images.iter().any(|bad| bad.file == *path);
    let images: Vec<PathBuf> = images.paths.iter().filter(|p| !is_bad(p)).cloned().collect();
    let description = VendorDescription {
        family: read.family.name,
        classes: head.classes,
        input: preprocessing(&cut, head)?,
        outputs: outputs(&cut, &raw)?,
        anchors_px: raw.anchors_px.clone(),
        picked: cut.metadata.get(PICKED).and_then(|rows| rows.parse().ok()),
        calibrator: calibrator.name,
        images: images.len(),
        tensors,
    };
    Ok(VendorParts { graph: cut.into_graph(), images, bad_images, description })
}

/// Why a graph cannot be cut, with the first node that is not understood.
fn not_cut(graph: &Graph, reason: &str) -> CompressError {
    let tail = find_tail(graph);
    let in_tail = || graph.nodes().filter(|(id, _)| tail.nodes.contains(id));
    let unknown = in_tail().find(|(_, node)| matches!(node.op, Op::Opaque(_)));
    let last = || tail.output_convs.last().map(|id| (*id, graph.node(*id)));
    let node = unknown.or_else(|| in_tail().next()).or_else(last).map(|(_, node)| node);
    CompressError::NotCut {
        node: node.map_or_else(String::new, |n| n.name.clone()),
        op_type: node.map_or_else(String::new, |n| n.op.op_type().to_owned()),
        reason: reason.to_owned(),
    }
}

/// The graph up to its raw outputs, with what the tail told in its metadata.
fn cut_off(graph: &Graph, head: &Head) -> Result<(Normalised, RawHead), CompressError> {
    if head.input.images() != 1 {
        let reason = format!("the model reads {} images of a scene", head.input.images());
        return Err(not_cut(graph, &reason));
    }
    let raw = head.raw(graph).map_err(|error| not_cut(graph, &error.to_string()))?;
    if raw.lacks_anchors() {
        return Err(not_cut(graph, "boxes are not relative to anchors in YOLOv5's way"));
    }
    let output = |map: &RawMap| CutOutput {
        value: map.value,
        sigmoid: map.part.is_score(),
        name: name(map),
    };
    let outputs: Vec<CutOutput> = raw.maps().iter().map(output).collect();
    let mut part = cut(graph, &outputs)?;
    raw.tell(graph, &mut part);
    let input = preprocessing(&part, head)?;
    part.metadata.insert(PREPROCESSING.to_owned(), serde_json::to_string(&input)?);
    Ok((normalise(part)?, raw))
}

/// The name of an output: what it holds, and the distance of its cells.
fn name(map: &RawMap) -> String {
    let [x, y] = map.stride_px;
    let across = if x == y { String::new() } else { format!("x{y}") };
    format!("{}_stride_{x}{across}", map.part.name())
}

/// The head of the cut graph, as a reader of its file understands it.
fn cut_head(cut: &Graph, family: &Family, raw: &RawHead) -> Result<Head, CompressError> {
    let outputs: Vec<String> = raw.maps().iter().map(name).collect();
    identify(cut, None).map_err(|error| {
        let reason = format!(
            "cut as {}, its outputs {} are not understood any more ({error})",
            family.name,
            outputs.join(", ")
        );
        not_cut(cut, &reason)
    })
}

fn preprocessing(graph: &Graph, head: &Head) -> Result<Preprocessing, CompressError> {
    let input = graph.inputs()[0];
    let shape = graph.ty(input)?.shape.clone();
    let preprocess = head.input.preprocess;
    Ok(Preprocessing {
        name: graph.value(input).name.clone(),
        channel_order: match (shape.get(1), preprocess.bgr) {
            (Some(1), _) => "GRAY",
            (_, true) => "BGR",
            (_, false) => "RGB",
        },
        shape,
        scale: preprocess.scale,
        letterbox: match preprocess.placement {
            Placement::Centered => "centered",
            Placement::TopLeft => "top_left",
        },
        padding: yolo::PADDING,
    })
}

fn outputs(cut: &Graph, raw: &RawHead) -> Result<Vec<VendorOutput>, CompressError> {
    let output = |(map, &value): (RawMap, &ValueId)| {
        let holds_boxes = !map.part.is_score();
        Ok(VendorOutput {
            name: cut.value(value).name.clone(),
            shape: cut.ty(value)?.shape.clone(),
            part: map.part.name(),
            level: map.level,
            stride_px: map.stride_px,
            sigmoid: map.part.is_score(),
            bins: raw.bins().filter(|_| holds_boxes),
        })
    };
    raw.maps().into_iter().zip(cut.outputs()).map(output).collect()
}

/// Refuses a cut model whose candidates on some images are not those of the whole one.
fn compare(observation: &Observation<'_>, pair: [(&Graph, &Head); 2]) -> Result<(), CompressError> {
    let mut sessions = Vec::new();
    for (graph, head) in pair {
        let graph = normalise(graph.clone())?;
        let plan = Arc::new(Plan::compile(&graph, &[], &observation.engine.options)?);
        sessions.push((Session::new(&plan, observation.engine.threads)?, head));
    }
    for path in observation.images.paths.iter().take(COMPARED) {
        // Calibration reports what cannot be read.
        let Ok(planes) = observation.images.planes(path, observation.model.input) else {
            continue;
        };
        let mut found = Vec::new();
        for (session, head) in &mut sessions {
            let outputs = session.run(&planes.slices())?;
            found.push(head.decoder.decode(&outputs, CONF)?);
        }
        let missing = missing(&found[0], &found[1]).or_else(|| missing(&found[1], &found[0]));
        if let Some(detection) = missing {
            return Err(CompressError::CutDiffers { image: path.clone(), detection });
        }
    }
    Ok(())
}

/// A candidate clearly above the confidence that has no equal among others.
fn missing(all: &[Detection], others: &[Detection]) -> Option<Detection> {
    let equal = |a: &Detection, b: &Detection| {
        let sides = |d: &Detection| [d.bbox.left, d.bbox.top, d.bbox.right, d.bbox.bottom];
        let near = |(a, b): (f32, f32)| (a - b).abs() <= BOX_TOLERANCE_PX;
        a.class == b.class
            && (a.score - b.score).abs() <= SCORE_TOLERANCE
            && sides(a).into_iter().zip(sides(b)).all(near)
    };
    let mut clear = all.iter().filter(|d| d.score > CONF + SCORE_TOLERANCE);
    clear.find(|a| !others.iter().any(|b| equal(a, b))).copied()
}

/// What all values held that are computed in floats, in the order of execution, the input first.
fn ranges(
    pass: &Observation<'_>,
    calibrator: &'static Calibrator,
) -> Result<(Vec<TensorRange>, Vec<BadInput>), CompressError> {
    let graph = pass.model.graph;
    let made = graph.nodes().flat_map(|(_, node)| &node.outputs).copied();
    let is_float = |v: &ValueId| graph.ty(*v).is_ok_and(|t| t.dtype == DataType::F32);
    let values: Vec<ValueId> = made.filter(is_float).collect();
    let collector = || -> BTreeMap<ValueId, Profile> {
        values.iter().map(|&v| (v, Profile::default())).collect()
    };
    let (collectors, bad_images) = pass.run(&values, collector, |profiles, _, v, observed| {
        let profile = profiles.entry(v).or_default();
        observed.for_each_run(&mut |_, run| profile.observe(run))
    })?;
    let mut merged = collector();
    for (v, profile) in collectors.iter().flatten() {
        merged.entry(*v).or_default().merge(profile);
    }
    let mut tensors = vec![of_pixels(pass)];
    for v in values {
        let (profile, name) = (&merged[&v], graph.value(v).name.clone());
        let count = profile.non_finite();
        if count > 0 {
            return Err(CompressError::NonFinite { value: name, count });
        }
        if let Some((observed, range)) = profile.extremes().zip((calibrator.range)(profile)) {
            tensors.push(TensorRange {
                name,
                min: observed.min,
                max: observed.max,
                calibrated_min: range.min,
                calibrated_max: range.max,
            });
        }
    }
    Ok((tensors, bad_images))
}

/// The range of the input is that of its pixels, whatever was seen.
fn of_pixels(pass: &Observation<'_>) -> TensorRange {
    let max = 255.0 * pass.model.input.preprocess.scale;
    let name = pass.model.graph.inputs().first().map(|&v| pass.model.graph.value(v).name.clone());
    let name = name.unwrap_or_default();
    TensorRange { name, min: 0.0, max, calibrated_min: 0.0, calibrated_max: max }
}
