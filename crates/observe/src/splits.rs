//! Which images are used for what: those to calibrate on, those by which attempts are chosen, those that judge.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use yolo::{Dataset, ImageItem, first_of_content};

use crate::calibset::representative_images;
use crate::{ImageSet, ObserveError};

/// Images and objects that are labelled in a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Labelled {
    /// Images with at least one label.
    pub images: usize,
    /// Labels.
    pub objects: usize,
}

impl Labelled {
    /// The least by which anything is decided. Of 20 images a percentile interval is already a tenth too narrow, of 10 a
    /// fifth; of fewer than 50 objects a single one weighs more than 2 %.
    ///
    /// Source: Hesterberg, "What Teachers Should Know About the Bootstrap", The American Statistician 69, 2015, on the
    /// narrowness of percentile intervals: `1.96 sqrt((n - 1) / n)` in place of the t quantile of `n - 1`.
    pub const LEAST: Self = Self { images: 20, objects: 50 };

    /// Whether that is enough.
    pub fn is_enough(self) -> bool {
        self.images >= Self::LEAST.images && self.objects >= Self::LEAST.objects
    }
}

impl From<&Dataset> for Labelled {
    fn from(dataset: &Dataset) -> Self {
        let labels = dataset.images.iter().map(|i| i.labels.len());
        Self { images: labels.clone().filter(|n| *n > 0).count(), objects: labels.sum() }
    }
}

impl fmt::Display for Labelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { images, objects } = self;
        write!(f, "{images} labelled images with {objects} objects")
    }
}

/// How calibration images are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Choice {
    /// Those that represent the split best, as [`crate::calibset`] chooses them.
    Representative,
    /// Any.
    #[default]
    Random,
}

/// All choices by name.
pub const CHOICES: &[(&str, Choice)] =
    &[("representative", Choice::Representative), ("random", Choice::Random)];

impl Choice {
    /// `count` images of a data set in its order, all where there are no more. The same seed gives the same images.
    pub fn images(self, dataset: &Dataset, count: usize, seed: u64, threads: usize) -> ImageSet {
        match self {
            Self::Representative => representative_images(dataset, count, seed, threads),
            Self::Random => ImageSet::from(dataset).sample(count, seed),
        }
    }
}

/// How many images are sampled, and of which split.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Sampling {
    /// Split that they come from.
    pub split: String,
    /// How many to calibrate on.
    pub calibration: u32,
    /// How many to choose among attempts by.
    pub holdout: u32,
    /// How those to calibrate on are chosen.
    #[serde(default)]
    pub choose: Choice,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            split: "train".to_owned(),
            calibration: 100,
            holdout: 100,
            choose: Choice::default(),
        }
    }
}

/// The data of a run. No image that a model is changed by judges it: a copy of an image under another name is left out.
#[derive(Clone, Debug)]
pub struct Splits {
    /// Images on which the model is observed while it is changed.
    pub calibration: ImageSet,
    /// All images on which it may learn, those of `calibration` among them.
    pub training: Dataset,
    /// Labelled images by which attempts are chosen; `None` where there are too few to spare.
    pub holdout: Option<Dataset>,
    /// Labelled images that judge the result, and are read for nothing else.
    pub val: Dataset,
    /// What was left out or used instead of what was asked, as sentences.
    pub warnings: Vec<String>,
}

impl Splits {
    /// Samples calibration images and a hold-out from `train`, without what is in `val` too. `seed` decides which, on as many
    /// threads.
    ///
    /// # Errors
    /// `NothingLeft` when every image of `train` is in `val` too.
    pub fn new(
        mut train: Dataset,
        val: Dataset,
        sampling: &Sampling,
        seed: u64,
        threads: usize,
    ) -> Result<Self, ObserveError> {
        let split = &sampling.split;
        let mut warnings = remove_copies(&mut train, split, &val);
        // What cannot be read has no content that could be compared.
        let judging: BTreeSet<&PathBuf> = val.images.iter().map(|i| &i.path).collect();
        train.images.retain(|i| !judging.contains(&i.path));
        if train.images.is_empty() {
            return Err(ObserveError::NothingLeft { split: split.clone() });
        }
        let mut training = train.clone();
        let mut holdout = None;
        if let Some((held, rest)) = hold_out(train, sampling, seed, &mut warnings) {
            (holdout, training.images) = (Some(held), rest);
        }
        let asked = sampling.calibration as usize;
        let calibration = sampling.choose.images(&training, asked, seed, threads);
        if calibration.len() < asked {
            warnings.push(format!(
                "calibration: {} images, {asked} were asked: `{split}` has no more",
                calibration.len(),
            ));
        }
        Ok(Self { calibration, training, holdout, val, warnings })
    }
}

/// Holds out at most a third of a split; gives the hold-out and the other images, or `None` where the hold-out would have too
/// few labels to choose by.
fn hold_out(
    mut train: Dataset,
    sampling: &Sampling,
    seed: u64,
    warnings: &mut Vec<String>,
) -> Option<(Dataset, Vec<ImageItem>)> {
    let (asked, split) = (sampling.holdout as usize, &sampling.split);
    if asked == 0 {
        return None;
    }
    let count = asked.min(train.images.len() / 3);
    // Another seed than that of the calibration images, which are sampled from the rest.
    let held = ImageSet::from(&train).sample(count, !seed);
    let held: BTreeSet<PathBuf> = held.paths.into_iter().collect();
    let images = std::mem::take(&mut train.images).into_iter();
    let (held, rest) = images.partition(|i| held.contains(&i.path));
    train.images = held;
    let labelled = Labelled::from(&train);
    if !labelled.is_enough() {
        warnings.push(format!(
            "no hold-out: of the {asked} images asked, `{split}` can spare {count}, {labelled}, and at least {} are needed to choose by: val alone decides",
            Labelled::LEAST
        ));
        return None;
    }
    if count < asked {
        warnings.push(format!(
            "hold-out: {count} images, {asked} were asked: at most a third of `{split}` is held out, since calibration needs images too"
        ));
    }
    Some((train, rest))
}

/// Removes from a split what is in `val` too, whatever it is called there, and all but one of equal images; gives what is to be
/// said of that.
fn remove_copies(train: &mut Dataset, split: &str, val: &Dataset) -> Vec<String> {
    let [judging, own] = [val, &*train].map(|d| ImageSet::from(d).paths);
    let (known, before) = (judging.len(), own.len());
    let all: Vec<&Path> = judging.iter().chain(&own).map(PathBuf::as_path).collect();
    let first = first_of_content(&all);
    let mut own = first.iter().enumerate().skip(known);
    train.images.retain(|_| own.next().is_some_and(|(at, first)| at == *first));
    let shared = first.iter().skip(known).filter(|first| **first < known);
    let shared = shared.count();
    let repeated = before - train.images.len() - shared;
    let mut sentences = Vec::new();
    for (count, what) in
        [(shared, "images of the split that judges too"), (repeated, "copies of others of it")]
    {
        if count > 0 {
            sentences.push(format!(
                "{count} of {before} images of `{split}` are {what}, by their content: left out"
            ));
        }
    }
    sentences
}

/// What is to be said of images of `split` that are there twice: under another name in the same split, or in `other`, given as the
/// images of another split.
///
/// Images are compared by their content, whatever they are called and wherever they lie.
pub fn copies(images: &ImageSet, split: &str, other: &str, others: &[PathBuf]) -> Vec<String> {
    let all: Vec<&Path> = others.iter().chain(&images.paths).map(PathBuf::as_path).collect();
    let first = first_of_content(&all);
    let own = first.iter().enumerate().skip(others.len());
    let shared = own.clone().filter(|(_, first)| **first < others.len()).count();
    let repeated = own.filter(|(at, first)| *at != **first && **first >= others.len()).count();
    let total = images.len();
    let mut sentences = Vec::new();
    if shared > 0 {
        sentences.push(format!(
            "{shared} of {total} images of `{split}` are images of `{other}` too, by their content: mAP on images that a model has seen flatters it"
        ));
    }
    if repeated > 0 {
        sentences.push(format!(
            "{repeated} of {total} images of `{split}` are copies of others of it, by their content"
        ));
    }
    sentences
}
