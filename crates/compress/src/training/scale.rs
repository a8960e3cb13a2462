//! The sizes of input that a training goes through, and what learns from inputs of each.
use super::{TrainOptions, TrainSubject};
use crate::CompressError;
use crate::examples::Examples;
use crate::learning::trainer_within;
use ir::{Graph, ValueId};
use observe::ImageSet;
use train::{Statistics, Trainer};
use yolo::families::RawHead;
use yolo::losses::LabelledLoss;

/// What the model's own size is multiplied by: that first, since by it the model is judged.
const SHARES: [f64; 3] = [1.0, 0.75, 1.25];

/// Sides are multiples of so many pixels.
const STEP_PX: usize = 32;

/// Inputs of one size, and what learns from them.
pub(super) struct Scale<'a> {
    pub(super) training: Examples<'a>,
    pub(super) trainer: Trainer,
    pub(super) loss: LabelledLoss,
}

/// What all sizes of a training have in common.
pub(super) struct Scales<'a> {
    pub(super) subject: &'a TrainSubject<'a>,
    pub(super) options: &'a TrainOptions,
    /// The images that are trained on.
    pub(super) images: ImageSet,
    pub(super) statistics: Statistics,
}

impl<'a> Scales<'a> {
    /// All sizes, the model's own first.
    ///
    /// # Errors
    /// `InputSize` where the graph holds on to its own size, else as [`trainer_within`] and [`LabelledLoss::new`].
    pub(super) fn of(
        &self,
        graph: &Graph,
        raw: &RawHead,
        learned: &[ValueId],
    ) -> Result<Vec<Scale<'a>>, CompressError> {
        let mut scales: Vec<Scale<'a>> = Vec::new();
        for size_px in sizes_px(self.subject.head.input.size_px, self.options.multi_scale) {
            let [height, width] = size_px;
            let resized = raw.resized(size_px).ok_or(CompressError::InputSize { height, width })?;
            let trunk = yolo::trunk(graph, &raw.outputs, size_px);
            let trunk = trunk.map_err(|_| CompressError::InputSize { height, width })?;
            let used: usize = scales.iter().map(|scale| scale.trainer.memory_bytes()).sum();
            let trainer = trainer_within(
                self.options.memory_bytes.map(|allowed| allowed.saturating_sub(used)),
                &trunk,
                learned,
                self.subject.engine,
                self.options.batch,
                self.statistics,
            )?;
            let mut input = self.subject.head.input.clone();
            input.size_px = size_px;
            let dataset = Some(self.subject.dataset);
            let training = Examples::new(self.images.clone(), dataset, &input, size_px);
            scales.push(Scale { training, trainer, loss: LabelledLoss::new(&resized)? });
        }
        Ok(scales)
    }
}

/// The sizes for a model of this one.
fn sizes_px(own_px: [usize; 2], multi_scale: bool) -> Vec<[usize; 2]> {
    let mut sizes = vec![own_px];
    for share in SHARES.into_iter().filter(|_| multi_scale) {
        let side = |px: usize| (px as f64 * share / STEP_PX as f64).round() as usize * STEP_PX;
        let size = own_px.map(|px| side(px).max(STEP_PX));
        if share != 1.0 && !sizes.contains(&size) {
            sizes.push(size);
        }
    }
    sizes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_multiples_of_32_and_the_models_own() {
        assert_eq!(sizes_px([320; 2], false), [[320; 2]]);
        assert_eq!(sizes_px([320; 2], true), [[320; 2], [256; 2], [416; 2]]);
        assert_eq!(sizes_px([480, 640], true), [[480, 640], [352, 480], [608, 800]]);
        assert_eq!(sizes_px([32; 2], true), [[32; 2]]);
    }
}
