//! Images with all that is learned from them.
use super::objective::{Lesson, Objective};
use crate::CompressError;
use crate::examples::{Example, Examples, Pick};
use ir::Tensor;
use numerics::parallel_map_with;
use runtime::{RuntimeError, Session};

/// An image as the network takes it, and what is learned from it.
pub(super) struct Prepared {
    pub(super) image: Vec<f32>,
    pub(super) lesson: Lesson,
}

/// Images, augmented, with what the teachers (one for each thread) give for them and what is labelled in them.
pub(super) fn prepared(
    teachers: &mut [Session],
    objective: &Objective,
    source: &Examples<'_>,
    picks: Vec<Pick>,
) -> Result<Vec<Prepared>, CompressError> {
    let prepared = |session: &mut Session, pick: Pick| {
        let Example { image, boxes } = source.example(&pick)?;
        let teacher = raw_outputs(session, &image)?;
        let targets = objective.targets(boxes.as_deref())?;
        Ok(Prepared { image, lesson: Lesson { teacher, targets } })
    };
    let examples = parallel_map_with(teachers, picks, prepared);
    examples.into_iter().collect()
}

/// What a model gives for an image.
pub(super) fn raw_outputs(
    session: &mut Session,
    image: &[f32],
) -> Result<Vec<Vec<f32>>, RuntimeError> {
    let outputs = session.run(&[image])?;
    let elements = |t: &Tensor| t.as_slice::<f32>().expect("the runtime gives f32").to_vec();
    Ok(outputs.iter().map(elements).collect())
}
