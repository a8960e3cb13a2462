//! Which images are looked at, which choose among attempts, and whether there are enough to judge by.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use yolo::{Dataset, ImageItem};

use crate::{CompressError, Recipe, sample};

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
    pub const LEAST: Self = Self {
        images: 20,
        objects: 50,
    };

    /// What is labelled in a data set.
    pub fn of(dataset: &Dataset) -> Self {
        let labels = dataset.images.iter().map(|i| i.labels.len());
        Self {
            images: labels.clone().filter(|n| *n > 0).count(),
            objects: labels.sum(),
        }
    }

    /// Whether that is enough.
    pub fn is_enough(self) -> bool {
        self.images >= Self::LEAST.images && self.objects >= Self::LEAST.objects
    }
}

impl fmt::Display for Labelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { images, objects } = self;
        write!(f, "{images} labelled images with {objects} objects")
    }
}

/// Images of the training split, drawn.
#[derive(Clone, Debug)]
pub struct Drawn {
    /// Images to calibrate on.
    pub calibration: Vec<PathBuf>,
    /// Labelled images by which attempts are chosen; `None` where there are too few.
    pub holdout: Option<Dataset>,
    /// What was used instead of what was asked.
    pub warnings: Vec<String>,
}

impl Drawn {
    /// Images to calibrate on, and others to choose by: none of them is of `val`, none is of both.
    ///
    /// # Errors
    /// `NothingLeft` when every image of the split is in `val` too.
    pub fn new(recipe: &Recipe, mut train: Dataset, val: &Dataset) -> Result<Self, CompressError> {
        let judged: BTreeSet<&PathBuf> = val.images.iter().map(|i| &i.path).collect();
        train.images.retain(|i| !judged.contains(&i.path));
        if train.images.is_empty() {
            return Err(CompressError::NothingLeft {
                data: recipe.data.clone(),
                split: recipe.images.split.clone(),
            });
        }
        let mut warnings = Vec::new();
        let all = std::mem::take(&mut train.images);
        let (held, rest) = hold_out(recipe, &all);
        train.images = held;
        let labelled = Labelled::of(&train);
        let asked = recipe.images.holdout as usize;
        let (holdout, rest) = match labelled.is_enough() {
            _ if asked == 0 => (None, all),
            true => (Some(train), rest),
            false => {
                warnings.push(format!(
                    "no hold-out: of the {asked} images asked, `{}` can spare {}, {labelled}, and at least {} are needed to choose by: val alone decides",
                    recipe.images.split,
                    train.images.len(),
                    Labelled::LEAST
                ));
                (None, all)
            }
        };
        let found = holdout.as_ref().map_or(asked, |h| h.images.len());
        if found < asked {
            warnings.push(format!(
                "hold-out: {found} images, {asked} were asked: at most a third of `{}` is held out, since calibration needs images too",
                recipe.images.split
            ));
        }
        let asked = recipe.images.calibration as usize;
        let calibration = sample(&paths(&rest), asked, recipe.seed);
        if calibration.len() < asked {
            warnings.push(format!(
                "calibration: {} images, {asked} were asked: `{}` has no more",
                calibration.len(),
                recipe.images.split
            ));
        }
        Ok(Self {
            calibration,
            holdout,
            warnings,
        })
    }
}

/// Images to hold out, at most a third of a small split, and the others.
fn hold_out(recipe: &Recipe, images: &[ImageItem]) -> (Vec<ImageItem>, Vec<ImageItem>) {
    let spare = (recipe.images.holdout as usize).min(images.len() / 3);
    // Another seed than that of the calibration images, which are drawn from the rest.
    let held: BTreeSet<PathBuf> = sample(&paths(images), spare, !recipe.seed)
        .into_iter()
        .collect();
    let images = images.iter().cloned();
    images.partition(|i| held.contains(&i.path))
}

fn paths(images: &[ImageItem]) -> Vec<PathBuf> {
    images.iter().map(|i| i.path.clone()).collect()
}
