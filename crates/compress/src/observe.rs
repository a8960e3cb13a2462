//! Running a detector on images while values of its plan are watched.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, ScopedJoinHandle};

use ir::{Graph, ValueId};
use numerics::Rng;
use runtime::{Observed, Plan, PlanOptions, RuntimeError, Session};
use yolo::families::Decoder;
use yolo::{BadInput, ModelInput, Planes, Streams, YoloError};

use crate::CompressError;

/// A detector and the images on which it is watched.
#[derive(Clone, Copy)]
pub struct Observation<'a> {
    /// The graph, with SiLU recognised and BatchNorm folded or kept, as the caller will change it.
    pub graph: &'a Graph,
    /// How images are prepared.
    pub input: &'a ModelInput,
    /// Where the other images of a scene lie, for models that read several.
    pub streams: &'a Streams,
    /// What decodes its outputs; without it, they are compared as they are.
    pub decoder: Option<&'a Decoder>,
    /// The images.
    pub images: &'a [PathBuf],
    /// How the plan is compiled.
    pub options: PlanOptions,
    /// Images in flight.
    pub threads: usize,
    /// Told the number of finished images, or of as many as the part of the work that is done.
    pub progress: &'a (dyn Fn(usize) + Sync),
}

/// `count` of the images, drawn by `seed`, in the order of the list.
pub fn sample(images: &[PathBuf], count: usize, seed: u64) -> Vec<PathBuf> {
    let mut random = Rng::new(seed);
    let mut keyed: Vec<(u64, usize)> = (0..images.len()).map(|i| (random.next_u64(), i)).collect();
    keyed.sort_unstable();
    let mut picked: Vec<usize> = keyed.into_iter().take(count).map(|(_, i)| i).collect();
    picked.sort_unstable();
    picked.into_iter().map(|i| images[i].clone()).collect()
}

impl Observation<'_> {
    /// An image, with the others of its scene, as the model's inputs.
    ///
    /// # Errors
    /// As [`Streams::read`].
    pub(crate) fn planes(&self, image: &Path) -> Result<Planes, YoloError> {
        let scene = self.streams.read(image, self.input.images())?;
        self.input.prepare(&scene)
    }

    /// Runs every image once; `see` gets the watcher of its thread, the image's index, and each value of `values`.
    /// Gives the watchers, and the images that could not be read.
    ///
    /// # Errors
    /// `Runtime` when the plan complains, `NoImages` when no image could be read.
    pub(crate) fn watch<T: Send>(
        &self,
        values: &[ValueId],
        make: impl Fn() -> T,
        see: impl Fn(&mut T, usize, ValueId, &Observed<'_>) -> Result<(), RuntimeError> + Sync,
    ) -> Result<(Vec<T>, Vec<BadInput>), CompressError> {
        let plan = Arc::new(Plan::compile(self.graph, values, &self.options)?);
        let next = AtomicUsize::new(0);
        let finished = AtomicUsize::new(0);
        let failures: Mutex<Vec<(usize, CompressError)>> = Mutex::default();
        let mut workers = (0..self.threads.max(1))
            .map(|_| Ok((Session::new(&plan, 1)?, make())))
            .collect::<Result<Vec<_>, RuntimeError>>()?;
        let work = |session: &mut Session, watcher: &mut T| {
            loop {
                let i = next.fetch_add(1, Ordering::Relaxed);
                let Some(path) = self.images.get(i) else {
                    return;
                };
                let done = self.planes(path).map_err(CompressError::from);
                let done = done.and_then(|planes| {
                    let mut sink = |v: ValueId, o: &Observed<'_>| see(watcher, i, v, o);
                    session.run_observed(&planes.slices(), &mut sink)?;
                    Ok(())
                });
                if let Err(error) = done {
                    let mut failures = failures.lock().unwrap_or_else(PoisonError::into_inner);
                    failures.push((i, error));
                }
                (self.progress)(finished.fetch_add(1, Ordering::Relaxed) + 1);
            }
        };
        thread::scope(|scope| {
            for (session, watcher) in &mut workers {
                scope.spawn(|| work(session, watcher));
            }
        });
        let failures = failures
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        let bad = self.bad_images(failures)?;
        Ok((
            workers.into_iter().map(|(_, watcher)| watcher).collect(),
            bad,
        ))
    }

    /// The images that can be read, and the others.
    ///
    /// # Errors
    /// `NoImages` when no image could be read.
    pub(crate) fn readable(&self) -> Result<(Vec<PathBuf>, Vec<BadInput>), CompressError> {
        let share = self.images.len().div_ceil(self.threads.max(1)).max(1);
        let read = |path: &PathBuf| self.streams.read(path, self.input.images()).err();
        let errors: Vec<Option<YoloError>> = thread::scope(|scope| {
            let start = |part| scope.spawn(move || <[PathBuf]>::iter(part).map(read).collect());
            let running: Vec<_> = self.images.chunks(share).map(start).collect();
            let end = |w: ScopedJoinHandle<'_, Vec<_>>| w.join().expect("a worker does not panic");
            running.into_iter().flat_map(end).collect()
        });
        let mut good = Vec::new();
        let mut failures = Vec::new();
        for (i, (path, error)) in self.images.iter().zip(errors).enumerate() {
            match error {
                None => good.push(path.clone()),
                Some(error) => failures.push((i, error.into())),
            }
        }
        Ok((good, self.bad_images(failures)?))
    }

    /// Unreadable images are reported; any other failure, the first by image, is an error.
    fn bad_images(
        &self,
        mut failures: Vec<(usize, CompressError)>,
    ) -> Result<Vec<BadInput>, CompressError> {
        failures.sort_by_key(|(i, _)| *i);
        let mut bad = Vec::new();
        for (i, error) in failures {
            match error {
                CompressError::Yolo(error) if error.is_of_an_image() => {
                    bad.push(BadInput::image(&self.images[i], &error));
                }
                other => return Err(other),
            }
        }
        if bad.len() == self.images.len() {
            let reason = bad
                .first()
                .map_or("there are none".to_owned(), ToString::to_string);
            return Err(CompressError::NoImages {
                images: bad.len(),
                reason,
            });
        }
        Ok(bad)
    }
}
