//! YOLO families: recognised from the graph's structure, never from names, and decoded to detections.
use crate::{Detection, ModelInput, Placement, YoloError};
use ir::rewrites::SUPPRESSIONS;
use ir::{Graph, NodeId, Op, Tensor, ValueId};
use std::collections::BTreeSet;

mod end2end;
mod other_tasks;
mod v5;
mod v8;
mod yolox;

/// How an image becomes the network's input.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Preprocess {
    /// Where the resized image sits in the input.
    pub placement: Placement,
    /// What a pixel byte is multiplied by.
    pub scale: f32,
    /// Whether channels are blue, green, red.
    pub bgr: bool,
}

/// RGB from 0 to 1 in the middle of the input, as Ultralytics trains: every family that does not say otherwise.
pub const LETTERBOX: Preprocess = Preprocess {
    placement: Placement::Centered,
    scale: 1.0 / 255.0,
    bgr: false,
};

/// What the tail of a graph looks like: the evidence on which a family is recognised.
#[derive(Clone, Debug)]
pub struct Tail {
    /// The head's output convolutions: the last ones on every path to an output.
    pub output_convs: Vec<NodeId>,
    /// Nodes between them and the outputs.
    pub nodes: Vec<NodeId>,
    /// Output channels of the output convolutions, in the same order.
    pub widths: Vec<usize>,
    /// Length of the Softmax over box bins (DFL), where there is one.
    pub dfl_bins: Option<usize>,
}

/// One family of detectors.
#[derive(Debug)]
pub struct Family {
    /// Name for `--family` and listings.
    pub name: &'static str,
    /// How images are prepared.
    pub preprocess: Preprocess,
    /// The number of classes, if this graph with this tail is of the family.
    pub classes: fn(&Graph, &Tail) -> Option<usize>,
    /// The number of classes, if the output can be decoded as this family's, whatever comes before it.
    pub forced: fn(&Graph, &Tail) -> Option<usize>,
    /// Candidates above a confidence from the output, in pixels of the network's input.
    pub decode: fn(&RawOutput<'_>, conf: f32) -> Vec<Detection>,
    /// Whether overlapping boxes of one class are still to be suppressed.
    pub nms: bool,
}

/// The network's output as a decoder reads it.
#[derive(Clone, Copy, Debug)]
pub struct RawOutput<'a> {
    /// Row-major elements.
    pub data: &'a [f32],
    /// The two axes after the batch axis.
    pub shape: [usize; 2],
    /// Height and width of the network's input.
    pub size_px: [usize; 2],
}

impl<'a> RawOutput<'a> {
    /// The first output of a network.
    ///
    /// # Errors
    /// `OutputRank` unless it is `[_, A, B]`, `Output` unless it is f32.
    pub fn new(output: &'a Tensor, size_px: [usize; 2]) -> Result<Self, YoloError> {
        let &[_, rows, columns] = output.shape() else {
            return Err(YoloError::OutputRank {
                shape: output.shape().to_vec(),
            });
        };
        Ok(Self {
            data: output.as_slice::<f32>()?,
            shape: [rows, columns],
            size_px,
        })
    }
}

/// All families, in the order in which they are tried.
pub const FAMILIES: &[&Family] = &[
    &end2end::FAMILY,
    &v8::V11,
    &v8::FAMILY,
    &v8::V26,
    &v5::FAMILY,
    &yolox::FAMILY,
];

/// A recognised detection head.
#[derive(Clone, Debug)]
pub struct Head {
    /// Its family.
    pub family: &'static Family,
    /// Number of classes.
    pub classes: usize,
    /// Class names, where the model carries them.
    pub names: Option<Vec<String>>,
    /// How images are fed to it.
    pub input: ModelInput,
    /// Evidence from the graph.
    pub tail: Tail,
}

/// Walks back from the outputs to the last convolutions. The projection of DFL (a convolution to one
/// channel behind a Softmax) belongs to the tail.
pub fn find_tail(graph: &Graph) -> Tail {
    let mut tail = Tail {
        output_convs: vec![],
        nodes: vec![],
        widths: vec![],
        dfl_bins: None,
    };
    let mut seen: BTreeSet<NodeId> = BTreeSet::new();
    let mut todo: Vec<ValueId> = graph.outputs().to_vec();
    while let Some(value) = todo.pop() {
        let Some(id) = graph.producer(value).filter(|id| seen.insert(*id)) else {
            continue;
        };
        let node = graph.node(id);
        let width = || {
            graph
                .ty(node.outputs[0])
                .ok()
                .and_then(|t| t.shape.get(1).copied())
        };
        match &node.op {
            Op::Conv(_) if !(width() == Some(1) && reads_softmax(graph, id)) => {
                tail.output_convs.push(id)
            }
            op => {
                if let Op::Softmax(softmax) = op {
                    let ty = graph.ty(node.outputs[0]).ok();
                    tail.dfl_bins = ty.and_then(|t| t.shape.get(softmax.axis).copied());
                }
                tail.nodes.push(id);
                todo.extend(&node.inputs);
            }
        }
    }
    tail.output_convs.sort();
    tail.nodes.sort();
    let width = |id: &NodeId| {
        graph
            .ty(graph.node(*id).outputs[0])
            .map_or(0, |t| t.shape[1])
    };
    tail.widths = tail.output_convs.iter().map(width).collect();
    tail
}

fn reads_softmax(graph: &Graph, conv: NodeId) -> bool {
    let mut value = graph.node(conv).inputs[0];
    while let Some(id) = graph.producer(value) {
        match &graph.node(id).op {
            Op::Softmax(_) => return true,
            Op::Reshape(_) | Op::Transpose(_) | Op::QuantizeLinear(_) | Op::DequantizeLinear(_) => {
                value = graph.node(id).inputs[0]
            }
            _ => return false,
        }
    }
    false
}

/// Recognises the detection head.
///
/// # Errors
/// `OtherTask` for a head that predicts more than boxes, `SuppressesInside` for NMS in the graph, `NoFamily` when no
/// family fits (or the output is not the named one's), `UnknownFamily` for a name that is not in the list, `ImageInput` as [`ModelInput::new`].
pub fn identify(graph: &Graph, forced: Option<&str>) -> Result<Head, YoloError> {
    let candidates: Vec<&'static Family> = match forced {
        None => FAMILIES.to_vec(),
        Some(name) => {
            let known = || {
                FAMILIES
                    .iter()
                    .map(|f| f.name)
                    .collect::<Vec<_>>()
                    .join(", ")
            };
            vec![*FAMILIES.iter().find(|f| f.name == name).ok_or_else(|| {
                YoloError::UnknownFamily {
                    found: name.to_owned(),
                    expected: known(),
                }
            })?]
        }
    };
    let tail = find_tail(graph);
    let classes = |f: &Family| match forced {
        None => (f.classes)(graph, &tail),
        Some(_) => (f.forced)(graph, &tail),
    };
    let fit = candidates.into_iter().find_map(|f| Some((f, classes(f)?)));
    if let (None, Some(task)) = (fit, other_tasks::task(graph, &tail)) {
        return Err(YoloError::OtherTask { task });
    }
    if let (None, Some(op)) = (fit, suppression(graph, &tail)) {
        return Err(YoloError::SuppressesInside { op });
    }
    let (family, classes) = fit.ok_or_else(|| YoloError::NoFamily {
        outputs: shapes(graph, graph.outputs()),
        output_convs: tail.widths.clone(),
    })?;
    let input = ModelInput::new(graph, family.preprocess)?;
    let names = graph
        .metadata
        .get("names")
        .and_then(|text| parse_names(text))
        .filter(|n| n.len() == classes);
    Ok(Head {
        family,
        classes,
        names,
        input,
        tail,
    })
}

/// The operator in the tail that suppresses boxes.
fn suppression(graph: &Graph, tail: &Tail) -> Option<String> {
    tail.nodes.iter().find_map(|&id| match &graph.node(id).op {
        Op::Opaque(o) if SUPPRESSIONS.contains(&o.op_type.as_str()) => Some(o.op_type.clone()),
        _ => None,
    })
}

pub(crate) fn shapes(graph: &Graph, values: &[ValueId]) -> String {
    let shape = |v: &ValueId| format!("{:?}", graph.ty(*v).map_or(vec![], |t| t.shape.clone()));
    values.iter().map(shape).collect::<Vec<_>>().join(", ")
}

/// Class names as exporters write them: a YAML flow list or a map by index.
fn parse_names(text: &str) -> Option<Vec<String>> {
    if let Ok(list) = serde_saphyr::from_str::<Vec<String>>(text) {
        return Some(list);
    }
    let map: std::collections::BTreeMap<usize, String> = serde_saphyr::from_str(text).ok()?;
    map.keys()
        .copied()
        .eq(0..map.len())
        .then(|| map.into_values().collect())
}

/// The shape of the output without its batch axis. Exporters of YOLOv5 before v6.2 write the raw maps of each scale
/// beside it, as tensors of five axes.
fn single_output(graph: &Graph) -> Option<[usize; 2]> {
    let (output, others) = graph.outputs().split_first()?;
    let raw_map = |v: &ValueId| graph.ty(*v).is_ok_and(|t| t.rank() == 5);
    match graph.ty(*output).ok()?.shape[..] {
        [1, a, b] if others.iter().all(raw_map) => Some([a, b]),
        _ => None,
    }
}

/// The width of the class branch where each scale has a box branch of `4 * bins` channels and a class branch.
fn dfl_classes(tail: &Tail, bins: usize) -> Option<usize> {
    let boxes = bins.checked_mul(4)?;
    let mut others = tail.widths.iter().copied().filter(|&w| w != boxes);
    let count = others.clone().count();
    // Where both branches are as wide, every width is the box branch's.
    let Some(classes) = others.next() else {
        let even = !tail.widths.is_empty() && tail.widths.len().is_multiple_of(2);
        return even.then_some(boxes);
    };
    (count * 2 == tail.widths.len() && others.all(|w| w == classes)).then_some(classes)
}
