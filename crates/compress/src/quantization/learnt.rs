//! The last rung: scales and weights that learn to give what the float model gives, label-free.

use ir::{Graph, Op};
use observe::{Engine, ImageSet};
use quant::QuantPlan;
use train::optimizers::ADAM;
use yolo::{Augmentation, YoloError};

use crate::CompressError;
use crate::{
    HeadedModel, LabelUse, RecoverHooks, RecoverOptions, RecoverSubject, recover_detector,
};

/// Steps of learning where the teacher is the float model itself.
pub(super) const STEPS: usize = 100;
/// Images of a step.
const BATCH: usize = 8;
/// The side in pixels of windows of larger inputs: four times as many steps for the time, and values are spread alike in them.
const WINDOW_PX: usize = 320;
/// Order and augmentation of the images.
const SEED: u64 = 0;

/// What a quantized detector learns from, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Lessons<'a> {
    /// The detector whose raw outputs it learns to give.
    pub teacher: HeadedModel<'a>,
    /// Readable images, some of which are held out.
    pub images: &'a ImageSet,
    /// Steps, each of eight windows of 320 px where inputs are larger.
    pub steps: usize,
}

/// A quantized graph after it learnt; `None` where nothing was better on the images that it holds out than what there was.
///
/// Scales of activations and weights are learnt together over the whole network (TQT, arXiv:1903.08066; LSQ, arXiv:1902.08153), from
/// the raw outputs of the teacher on the same pixels.
///
/// What cannot learn (a head without raw outputs, an operator without a gradient, too few images) is told, and stays as it was.
///
/// # Errors
/// As [`recover_detector`] otherwise.
pub(super) fn learnt(
    quantized: HeadedModel<'_>,
    lessons: Lessons<'_>,
    engine: Engine,
    log: &dyn Fn(&str),
) -> Result<Option<Graph>, CompressError> {
    let Lessons { teacher, images, steps } = lessons;
    let subject = RecoverSubject { student: quantized, teacher, images, labels: None, engine };
    let options = RecoverOptions {
        steps: Some(steps),
        most_steps: steps,
        batch: BATCH,
        memory_bytes: Some(engine.memory_bytes),
        optimizer: &ADAM,
        rate: None,
        labels: LabelUse::Off,
        window: window(quantized),
        augmentation: Augmentation::default(),
        seed: SEED,
    };
    let hooks = RecoverHooks {
        log,
        progress: &|point| log(&point.to_string()),
        is_enough: None,
        state: None,
    };
    let recovered = match recover_detector(&subject, &options, &hooks) {
        Err(
            error @ (CompressError::FewImages { .. }
            | CompressError::Training { .. }
            | CompressError::Yolo(YoloError::NoRawOutputs { .. })),
        ) => {
            log(&format!("nothing is learnt: {error}"));
            return Ok(None);
        }
        recovered => recovered?,
    };
    if let Some(reason) = &recovered.ended {
        log(&format!("warning: {reason}; what was best until then is used"));
    }
    Ok((recovered.best.step > 0).then_some(recovered.graph))
}

/// Windows where inputs are larger, and can be cut at every scale.
fn window(HeadedModel { graph, head }: HeadedModel<'_>) -> Option<usize> {
    let is_larger = head.input.size_px.iter().all(|side| *side > WINDOW_PX);
    let fits = || head.raw(graph).is_ok_and(|raw| raw.resized([WINDOW_PX; 2]).is_some());
    (is_larger && fits()).then_some(WINDOW_PX)
}

/// A plan with the parameters that a graph made by it has now.
pub(super) fn plan_of(graph: &Graph, plan: &QuantPlan) -> QuantPlan {
    let mut now = plan.clone();
    for (_, node) in graph.nodes() {
        let Op::QuantizeLinear(op) = &node.op else {
            continue;
        };
        if let Some(params) = now.activations.get_mut(&graph.value(node.inputs[0]).name) {
            params.clone_from(&op.params);
        }
    }
    now
}
