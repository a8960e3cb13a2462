//! YOLO families: recognised from the graph's structure, never from names.
pub use crate::heads::{ANCHORS, Decoder, Family, PICKED, RawHead, RawMap, RawPart};
use crate::heads::{Recognised, Subject};
use crate::model_input::shapes;
use crate::{LETTERBOX, ModelInput, YoloError};
use ir::rewrites::SUPPRESSIONS;
use ir::{Graph, Op, Tail, find_tail};

mod end2end;
mod other_tasks;
mod v5;
mod v8;
mod yolox;

/// All families, in the order in which they are tried.
pub const FAMILIES: &[&Family] =
    &[&end2end::FAMILY, &v8::V11, &v8::FAMILY, &v8::V26, &v5::FAMILY, &yolox::FAMILY];

ir::choices!(Family, "family", FAMILIES);

/// The families whose networks are built with random weights.
pub fn with_networks() -> impl Iterator<Item = &'static Family> {
    FAMILIES.iter().copied().filter(|family| family.network.is_some())
}

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
    /// What was assumed and could not be read from the graph, for the user.
    pub notes: Vec<String>,
}

impl Head {
    /// How boxes and pixels are read, in one line.
    pub fn reading(&self) -> String {
        format!("family {}, {}, pixels {}", self.family.name, self.decoder, self.input)
    }

    /// What the head's output convolutions hold in a graph whose head this is.
    ///
    /// # Errors
    /// `NoRawOutputs` where they are not as the family has them.
    pub fn raw(&self, graph: &Graph) -> Result<RawHead, YoloError> {
        let raw = RawHead::new(graph, self.family, &self.decoder, self.input.size_px);
        raw.ok_or(YoloError::NoRawOutputs { family: self.family.name })
    }
}

/// Recognises the detection head and how its outputs are read.
///
/// # Errors
/// `OtherTask` for a head that predicts more than boxes, `SuppressesInside` for NMS in the graph, `NoFamily` when no
/// family fits, `NotThisFamily` when no output is the named one's, `ImageInput` and `InputPixels` as [`ModelInput::new`].
pub fn identify(graph: &Graph, forced: Option<&'static Family>) -> Result<Head, YoloError> {
    let families = forced.map_or(FAMILIES.to_vec(), |family| vec![family]);
    let tail = find_tail(graph);
    let names = graph.metadata.get("names").and_then(|text| parse_names(text));
    let size_px = ModelInput::new(graph, LETTERBOX).map_or([0; 2], |input| input.size_px);
    let subject = Subject { graph, tail: &tail, size_px, names: names.as_ref().map(Vec::len) };
    let recognised = subject.recognise(&families, forced.is_some());
    if let Recognised::Read(family, decoder, notes) = recognised {
        return head(graph, family, decoder, names, notes);
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
    let assumed = match recognised {
        Recognised::Assumed(family, decoder, why) => Some((family, decoder, why)),
        _ => forced.and_then(|family| {
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
            head(graph, family, decoder, names, vec![note])
        }
        None => Err(refusal(graph, &tail, forced)),
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
        None => YoloError::NoFamily { outputs, output_convs },
    }
}

fn head(
    graph: &Graph,
    family: &'static Family,
    decoder: Decoder,
    names: Option<Vec<String>>,
    notes: Vec<String>,
) -> Result<Head, YoloError> {
    let classes = decoder.classes();
    Ok(Head {
        family,
        classes,
        names: names.filter(|n| n.len() == classes),
        input: ModelInput::new(graph, family.preprocess)?,
        decoder,
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

/// Class names as exporters write them: a YAML flow list or a map by index.
fn parse_names(text: &str) -> Option<Vec<String>> {
    if let Ok(list) = serde_saphyr::from_str::<Vec<String>>(text) {
        return Some(list);
    }
    let map: std::collections::BTreeMap<usize, String> = serde_saphyr::from_str(text).ok()?;
    map.keys().copied().eq(0..map.len()).then(|| map.into_values().collect())
}
