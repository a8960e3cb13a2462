//! Training images as the network takes them, augmented, with what is labelled in them.
use crate::CompressError;
use yolo::losses::{LabelledBox, LabelledLoss, Targets};
use yolo::{Augmentation, BoxXyxy, Dataset, DrawKey, ImageItem, LabelledScene, ModelInput};

/// An image, `[1, C, H, W] f32`, and its objects.
#[derive(Clone, Debug)]
pub(super) struct Example {
    pub(super) image: Vec<f32>,
    pub(super) targets: Targets,
}

/// Which image comes where in a training.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pick {
    pub(super) image: usize,
    pub(super) key: DrawKey,
}

/// What examples are made with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Recipe<'a> {
    pub(super) dataset: &'a Dataset,
    pub(super) input: &'a ModelInput,
    pub(super) loss: &'a LabelledLoss,
    pub(super) augmentation: Augmentation,
}

impl Recipe<'_> {
    /// An augmented image and its objects.
    ///
    /// # Errors
    /// `Yolo` for an image that cannot be read, and for labels that are not the head's.
    pub(super) fn example(&self, pick: Pick) -> Result<Example, CompressError> {
        let images = &self.dataset.images;
        let draw = self.augmentation.draw(pick.key, images.len());
        let picked = std::iter::once(pick.image).chain(draw.others.iter().copied());
        let scenes = picked.map(|image| self.scene(&images[image]));
        let scenes: Vec<LabelledScene> = scenes.collect::<Result<_, _>>()?;
        let scenes: Vec<&LabelledScene> = scenes.iter().collect();
        let mut composed = draw.compose(&scenes, self.input, self.input.size_px)?;
        let targets = self.loss.targets(&composed.boxes)?;
        Ok(Example { image: composed.planes.0.swap_remove(0), targets })
    }

    /// The images of a scene and what is labelled there; crowds are not learned.
    fn scene(&self, item: &ImageItem) -> Result<LabelledScene, CompressError> {
        let images = self.dataset.streams.read(&item.path, self.input.images())?;
        let (width, height) = images[0].dimensions();
        let objects = item.objects(width, height).into_iter().filter(|object| !object.crowd);
        let labelled = objects.map(|object| {
            let [left, top, width, height] = object.bbox.map(|side| side as f32);
            let bbox = BoxXyxy { left, top, right: left + width, bottom: top + height };
            LabelledBox { class: object.class, bbox }
        });
        Ok(LabelledScene { boxes: labelled.collect(), images })
    }
}
