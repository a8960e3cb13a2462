//! YOLO families: recognised from the graph's structure, never from names.
pub use crate::heads::{ANCHORS, Decoder};
use crate::heads::{Kind, Recognised, Subject};
use crate::{ModelInput, Placement, Thresholds, YoloError};
use ir::rewrites::SUPPRESSIONS;
use ir::{Graph, Op, Tail, ValueId, find_tail};

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

/// One family of detectors.
#[derive(Debug)]
pub struct Family {
    /// Name for `--family` and listings.
    pub name: &'static str,
    /// How images are prepared.
    pub preprocess: Preprocess,
    /// What its own tools show as a detection.
    pub thresholds: Thresholds,
    /// Whether a head is of the family.
    pub(crate) fits: fn(&Evidence<'_>) -> bool,
    /// How boxes are predicted where nothing but the family's name tells it.
    pub(crate) kind: Kind,
    /// What its outputs are, in words.
    pub(crate) gives: &'static str,
}

/// What is known of a head.
pub(crate) struct Evidence<'a> {
    pub(crate) graph: &'a Graph,
    pub(crate) tail: &'a Tail,
    /// How its output convolutions predict a box.
    pub(crate) kind: Kind,
    /// Whether the best boxes are picked inside the graph, so that nothing is left to suppress.
    pub(crate) is_picked: bool,
    /// Whether the family was named by the user.
    pub(crate) is_forced: bool,
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
    /// How the outputs are read.
    pub decoder: Decoder,
    /// Number of classes.
    pub classes: usize,
    /// Class names, where the model carries them.
    pub names: Option<Vec<String>>,
    /// How images are fed to it.
    pub input: ModelInput,
    /// Evidence from the graph.
    pub tail: Tail,
    /// What was assumed and could not be read from the graph, for the user.
    pub notes: Vec<String>,
}

impl Head {
    /// How boxes and pixels are read, in one line.
    pub fn reading(&self) -> String {
        format!(
            "family {}, {}, pixels {}",
            self.family.name, self.decoder, self.input
        )
    }
}

/// Recognises the detection head and how its outputs are read.
///
/// # Errors
/// `OtherTask` for a head that predicts more than boxes, `SuppressesInside` for NMS in the graph, `NoFamily` when no
/// family fits, `NotThisFamily` when no output is the named one's, `UnknownFamily` for a name that is not in the list,
/// `ImageInput` and `InputPixels` as [`ModelInput::new`].
pub fn identify(graph: &Graph, forced: Option<&str>) -> Result<Head, YoloError> {
    let families = named(forced)?;
    let tail = find_tail(graph);
    let names = graph
        .metadata
        .get("names")
        .and_then(|text| parse_names(text));
    let size_px = ModelInput::new(graph, LETTERBOX).map_or([0; 2], |input| input.size_px);
    let subject = Subject {
        graph,
        tail: &tail,
        size_px,
        names: names.as_ref().map(Vec::len),
    };
    let recognised = subject.recognise(&families, forced.is_some());
    if let Recognised::Read(family, decoder, notes) = recognised {
        return head((family, decoder), graph, (tail, names), notes);
    }
    if let Recognised::WithoutAnchors(anchors) = recognised {
        return Err(YoloError::Anchors { anchors });
    }
    if let Some(task) = other_tasks::task(graph, &tail) {
        return Err(YoloError::OtherTask { task });
    }
    if let Some(op) = suppression(graph, &tail) {
        return Err(YoloError::SuppressesInside { op });
    }
    let forced_family = families.first().filter(|_| forced.is_some()).copied();
    let assumed = match recognised {
        Recognised::Assumed(family, decoder, why) => Some((family, decoder, why)),
        _ => forced_family.and_then(|family| {
            let decoder = subject.assume(family)?;
            Some((family, decoder, "--family names it".to_owned()))
        }),
    };
    match assumed {
        Some((family, decoder, why)) => {
            let note = format!(
                "how the outputs are written could not be read from the graph ({why}): they are taken as those of {}, {decoder}; `val` on labelled images tells whether that is right",
                family.name
            );
            head((family, decoder), graph, (tail, names), vec![note])
        }
        None => Err(refusal(graph, &tail, forced_family)),
    }
}

fn refusal(graph: &Graph, tail: &Tail, forced: Option<&'static Family>) -> YoloError {
    let (outputs, output_convs) = (shapes(graph, graph.outputs()), tail.widths.clone());
    match forced {
        Some(family) => YoloError::NotThisFamily {
            family: family.name,
            gives: family.gives,
            outputs,
            output_convs,
        },
        None => YoloError::NoFamily {
            outputs,
            output_convs,
        },
    }
}

/// The families that come into question.
fn named(forced: Option<&str>) -> Result<Vec<&'static Family>, YoloError> {
    let Some(name) = forced else {
        return Ok(FAMILIES.to_vec());
    };
    let known = || FAMILIES.iter().map(|f| f.name).collect::<Vec<_>>();
    match FAMILIES.iter().find(|f| f.name == name) {
        Some(family) => Ok(vec![*family]),
        None => Err(YoloError::UnknownFamily {
            found: name.to_owned(),
            expected: known().join(", "),
        }),
    }
}

fn head(
    (family, decoder): (&'static Family, Decoder),
    graph: &Graph,
    (tail, names): (Tail, Option<Vec<String>>),
    notes: Vec<String>,
) -> Result<Head, YoloError> {
    let classes = decoder.classes();
    Ok(Head {
        family,
        classes,
        names: names.filter(|n| n.len() == classes),
        input: ModelInput::new(graph, family.preprocess)?,
        decoder,
        tail,
        notes,
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
