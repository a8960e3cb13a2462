//! Images of a training as the network takes them, with what is labelled in them.
use crate::CompressError;
use numerics::Rng;
use observe::ImageSet;
use std::collections::BTreeMap;
use std::path::PathBuf;
use yolo::losses::LabelledBox;
use yolo::{Augmentation, BoxXyxy, Dataset, DrawKey, ImageItem, LabelledScene, ModelInput};

/// Images that are augmented.
#[derive(Clone, Debug)]
pub(crate) struct Examples<'a> {
    pub(crate) images: ImageSet,
    /// What is labelled, by image.
    labels: BTreeMap<PathBuf, &'a ImageItem>,
    input: ModelInput,
    /// Height and width of what is trained on: of the model's inputs, or of windows of these.
    size_px: [usize; 2],
}

/// An image that is picked, and how it is augmented.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pick {
    /// Position among the images.
    pub(crate) image: usize,
    pub(crate) augmentation: Augmentation,
    pub(crate) key: DrawKey,
}

/// One image as the network takes it.
#[derive(Clone, Debug)]
pub(crate) struct Example {
    /// `[1, C, H, W]`.
    pub(crate) image: Vec<f32>,
    /// What is labelled, in pixels of the network's input; `None` where nothing is in any of the images that it is made of.
    pub(crate) boxes: Option<Vec<LabelledBox>>,
}

impl<'a> Examples<'a> {
    /// The images of a set, with what a data set has labelled in them.
    pub(crate) fn new(
        images: ImageSet,
        labels: Option<&'a Dataset>,
        input: &ModelInput,
        size_px: [usize; 2],
    ) -> Self {
        let items = labels.into_iter().flat_map(|dataset| &dataset.images);
        let labelled = items.filter(|item| item.labels.iter().any(|label| !label.crowd));
        let labels = labelled.map(|item| (item.path.clone(), item)).collect();
        Self { images, labels, input: input.clone(), size_px }
    }

    /// Whether anything is labelled in any of the images.
    pub(crate) fn is_labelled(&self) -> bool {
        self.images.paths.iter().any(|path| self.labels.contains_key(path))
    }

    /// The images of a step: every image comes once before any comes again.
    pub(crate) fn batch(
        &self,
        step: usize,
        batch: usize,
        seed: u64,
        augmentation: Augmentation,
    ) -> Vec<Pick> {
        let count = self.images.len();
        let mut orders: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        let pick = |at: usize| {
            let place = step * batch + at;
            let epoch = place / count;
            let order = orders.entry(epoch).or_insert_with(|| order(count, seed ^ epoch as u64));
            let key = DrawKey { seed, step: step as u64, image: at as u64 };
            Pick { image: order[place % count], augmentation, key }
        };
        (0..batch).map(pick).collect()
    }

    /// An image, augmented.
    ///
    /// # Errors
    /// `Yolo` where an image cannot be read.
    pub(crate) fn example(&self, pick: &Pick) -> Result<Example, CompressError> {
        let draw = pick.augmentation.draw(pick.key, self.images.len());
        let mut positions = vec![pick.image];
        positions.extend(&draw.others);
        let is_labelled =
            positions.iter().any(|&at| self.labels.contains_key(&self.images.paths[at]));
        let scenes = positions.into_iter().map(|at| self.scene(at));
        let scenes: Vec<LabelledScene> = scenes.collect::<Result<_, _>>()?;
        let mut input =
            draw.compose(&scenes.iter().collect::<Vec<_>>(), &self.input, self.size_px)?;
        let image = input.planes.0.swap_remove(0);
        Ok(Example { image, boxes: is_labelled.then_some(input.boxes) })
    }

    fn scene(&self, at: usize) -> Result<LabelledScene, CompressError> {
        let path = &self.images.paths[at];
        let images = self.images.streams.read(path, self.input.images())?;
        let (width, height) = images[0].dimensions();
        let item = self.labels.get(path);
        let objects = item.map_or(vec![], |item| item.objects(width, height));
        let boxes = objects.into_iter().filter(|object| !object.crowd).map(|object| {
            let [left, top, width, height] = object.bbox.map(|side| side as f32);
            let bbox = BoxXyxy { left, top, right: left + width, bottom: top + height };
            LabelledBox { class: object.class, bbox }
        });
        Ok(LabelledScene { boxes: boxes.collect(), images })
    }
}

/// The numbers below `count` in an order that a seed decides.
pub(crate) fn order(count: usize, seed: u64) -> Vec<usize> {
    let mut rng = Rng::new(seed);
    let mut keyed: Vec<(u64, usize)> = (0..count).map(|i| (rng.next_u64(), i)).collect();
    keyed.sort_unstable();
    keyed.into_iter().map(|(_, i)| i).collect()
}
