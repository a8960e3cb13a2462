//! Images on which models are observed.

use std::path::{Path, PathBuf};

use numerics::{Rng, parallel_map};
use yolo::{BadInput, Dataset, ModelInput, Planes, Streams, YoloError};

use crate::ObserveError;

/// Images, and where the partners of each lie for models that read several images of a scene.
#[derive(Clone, Debug, Default)]
pub struct ImageSet {
    /// The images; one names its scene.
    pub paths: Vec<PathBuf>,
    /// Folders of the other images of a scene.
    pub streams: Streams,
}

impl From<&Dataset> for ImageSet {
    fn from(dataset: &Dataset) -> Self {
        Self {
            paths: dataset.images.iter().map(|i| i.path.clone()).collect(),
            streams: dataset.streams.clone(),
        }
    }
}

impl ImageSet {
    /// How many images there are.
    pub fn len(&self) -> usize {
        self.paths.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// Other images in the same folders.
    pub fn with(&self, paths: Vec<PathBuf>) -> Self {
        Self { paths, streams: self.streams.clone() }
    }

    /// `count` of the images, sampled by `seed`, in the order of the set; all of them where there are no more.
    pub fn sample(&self, count: usize, seed: u64) -> Self {
        let paths = sampled(self.len(), count, seed).into_iter().map(|i| self.paths[i].clone());
        self.with(paths.collect())
    }

    /// An image, with the others of its scene, as a model's inputs.
    ///
    /// # Errors
    /// As [`Streams::read`] and [`ModelInput::prepare`].
    pub fn planes(&self, image: &Path, input: &ModelInput) -> Result<Planes, YoloError> {
        let scene = self.streams.read(image, input.images())?;
        input.prepare(&scene)
    }

    /// The images that can be read, for a model that reads `per_scene` images of a scene, and those that cannot.
    ///
    /// # Errors
    /// `NoImages` when no image can be read; `Yolo` when something else than an image is wrong.
    pub fn readable(
        &self,
        per_scene: usize,
        threads: usize,
    ) -> Result<(Self, Vec<BadInput>), ObserveError> {
        let error = |path: &PathBuf| self.streams.read(path, per_scene).err();
        let errors = parallel_map(threads, &self.paths, error);
        let paths = self.paths.iter().zip(&errors);
        let good = paths.filter(|(_, error)| error.is_none());
        let good = self.with(good.map(|(path, _)| path.clone()).collect());
        let errors = errors.into_iter().map(|e| e.map(ObserveError::from));
        Ok((good, self.bad_images(errors)?))
    }

    /// Images that failed, given what went wrong with each of the set, if anything.
    ///
    /// # Errors
    /// The first failure that is not the image's fault; `NoImages` when all images failed.
    pub(crate) fn bad_images(
        &self,
        failures: impl IntoIterator<Item = Option<ObserveError>>,
    ) -> Result<Vec<BadInput>, ObserveError> {
        let mut bad = Vec::new();
        for (path, failure) in self.paths.iter().zip(failures) {
            match failure {
                None => {}
                Some(ObserveError::Yolo(error)) if error.is_of_an_image() => {
                    bad.push(BadInput::image(path, &error));
                }
                Some(other) => return Err(other),
            }
        }
        if bad.len() == self.len() {
            let reason = bad.first().map_or("there are none".to_owned(), ToString::to_string);
            return Err(ObserveError::NoImages { images: bad.len(), reason });
        }
        Ok(bad)
    }
}

/// `count` of so many positions, drawn by `seed`, in their order.
pub(crate) fn sampled(all: usize, count: usize, seed: u64) -> Vec<usize> {
    let mut random = Rng::new(seed);
    let mut keyed: Vec<(u64, usize)> = (0..all).map(|i| (random.next_u64(), i)).collect();
    keyed.sort_unstable();
    let mut picked: Vec<usize> = keyed.into_iter().take(count).map(|(_, i)| i).collect();
    picked.sort_unstable();
    picked
}

/// Refuses more bad images than max(3, 1 %): with so many missing, the others may not stand for the data.
///
/// # Errors
/// `TooManyBadImages`.
pub fn check_bad_images(bad: usize, images: usize) -> Result<(), ObserveError> {
    let limit = yolo::most_bad(images);
    if bad > limit {
        return Err(ObserveError::TooManyBadImages { bad, images, limit });
    }
    Ok(())
}
