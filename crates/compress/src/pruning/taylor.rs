//! What a dense detector's parameters mean to a loss, image after image.
//!
//! The loss is what recovery makes small: the distance from a teacher. From the detector itself that distance is 0, and so is its
//! gradient; what grows with the change of a parameter is its curvature. So the teacher is drawn: it is certain of what the
//! detector holds for probable. The mean square of the gradients is then the curvature of the distance from the detector itself
//! (the Fisher information; Theis et al., "Faster gaze prediction with dense networks and Fisher pruning", arXiv:1801.05787), and no
//! labels are needed.
use std::collections::BTreeSet;

use numerics::Rng;
use observe::{ImageSet, Observation};
use prune::{Groups, Member, Sensitivity};
use train::{
    BatchGradients, Batching, OutputGradients, Statistics, Trainer, Weight, parameters, weights,
};
use yolo::losses::{Distillation, Loss};

use crate::CompressError;

/// Most images by which parameters are judged.
const IMAGES: usize = 48;

/// For each of some images, the sums of gradient times element along the axes that carry the channels of prunable groups.
///
/// # Errors
/// `NoHead` where no detection head was recognised, `Training` for a node that has no gradient, with the image as the step.
pub(super) fn sensitivities(
    observation: &Observation<'_>,
    images: &ImageSet,
    groups: &Groups,
) -> Result<Vec<Sensitivity>, CompressError> {
    let (model, engine) = (observation.model, observation.engine);
    let head = model.head.ok_or(CompressError::NoHead)?;
    let raw = head.raw(model.graph)?;
    let trunk = yolo::trunk(model.graph, &raw.outputs, model.input.size_px)?;
    let distillation = Distillation::new(&raw, &raw)?;
    let failed = |image| move |e| CompressError::training(image, e);
    let learned = parameters(&trunk);
    let weights = weights(&trunk, &learned).map_err(failed(0))?;
    let one = Batching { images: 1, per_run: 1, statistics: Statistics::Frozen };
    let mut trainer =
        Trainer::new(&trunk, &learned, &engine.options, engine.threads, one).map_err(failed(0))?;
    let members: BTreeSet<Member> =
        groups.prunable().flat_map(|g| g.members.iter().copied()).collect();
    let images = images.sample(IMAGES, 0);
    let mut batch = BatchGradients::default();
    let of_image = |(image, path): (usize, &std::path::PathBuf)| {
        let pixels = images.planes(path, model.input)?.0.swap_remove(0);
        let loss = |_: usize, raw: &[Vec<f32>]| {
            let teacher = distillation.drawn(raw, &mut Rng::new(image as u64));
            let objects = distillation.weight(&teacher).max(1.0);
            let Loss { value, gradients } = distillation.loss(raw, &teacher, objects);
            OutputGradients { loss: value, gradients }
        };
        trainer.gradients(&[&pixels], &loss, &mut batch).map_err(failed(image))?;
        Ok(sensitivity(&weights, &batch.gradients, &members))
    };
    images.paths.iter().enumerate().map(of_image).collect()
}

fn sensitivity(
    weights: &[Weight],
    gradients: &[Vec<f32>],
    members: &BTreeSet<Member>,
) -> Sensitivity {
    let mut sensitivity = Sensitivity::new();
    for (weight, gradients) in weights.iter().zip(gradients) {
        for axis in 0..weight.shape.len() {
            let member = Member { value: weight.value, axis };
            if !members.contains(&member) {
                continue;
            }
            let length = weight.shape[axis];
            let inner: usize = weight.shape[axis + 1..].iter().product();
            let mut sums = vec![0.0; length];
            for (at, (w, g)) in weight.elements.iter().zip(gradients).enumerate() {
                sums[at / inner % length] += f64::from(*w) * f64::from(*g);
            }
            sensitivity.insert(member, sums);
        }
    }
    sensitivity
}
