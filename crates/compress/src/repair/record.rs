//! What a dense network's convolutions read and give, image after image.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ir::{NodeId, ValueId};
use ndarray::{Array2, Axis};
use numerics::{Linear, MomentSums};
use observe::{ImageSet, Observation};
use prune::{LayerStatistics, Statistics};

use super::DenseRecord;
use super::matching::outputs;
use super::windows::{Sampling, Window, by_window};
use crate::CompressError;

/// Rows from which a layer's moments are known, over all images, and rows that it is fitted to.
const ROWS: usize = 6144;
/// Images on which layers are fitted, at most: the whole network has to run on all of them at once.
const FITTED: usize = 48;
/// Images that are run between two additions to the moments.
const BATCH: usize = 16;

/// A window that is observed, and the convolutions that read it.
struct ObservedWindow {
    window: Window,
    layers: Vec<(NodeId, Linear)>,
}

/// What one image shows of a window.
struct Rows {
    image: usize,
    /// Position of the window in the list.
    window: usize,
    /// For the moments.
    rows: Vec<f32>,
    /// What the layers give, of an image on which they are fitted.
    targets: Vec<(NodeId, Array2<f32>)>,
}

/// What is recorded, and how.
struct Recorder {
    windows: Vec<ObservedWindow>,
    sampling: Sampling,
    /// Position among the images on which layers are fitted, of each image.
    fitted: Vec<Option<usize>>,
    fitted_sampling: Sampling,
}

impl DenseRecord {
    /// Records every convolution before the head's tail. `images` must be readable.
    pub(crate) fn new(
        observation: &Observation<'_>,
        images: &ImageSet,
        seed: u64,
    ) -> Result<Self, CompressError> {
        let recorder = Recorder::new(observation, images.len(), seed)?;
        let windows = || recorder.windows.iter().map(|w| &w.window);
        let mut sums: Vec<MomentSums> = Vec::new();
        sums.extend(windows().map(|w| MomentSums::new(w.columns())));
        let mut targets: BTreeMap<NodeId, Vec<Array2<f32>>> = BTreeMap::new();
        for (i, batch) in images.paths.chunks(BATCH).enumerate() {
            let batch = images.with(batch.to_vec());
            let mut all = recorder.record(observation, &batch, i * BATCH)?;
            for (at, (window, sum)) in windows().zip(&mut sums).enumerate() {
                let of_window = all.iter_mut().filter(|r| r.window == at);
                let rows = of_window.map(|r| std::mem::take(&mut r.rows));
                let rows = window.stack(rows, recorder.sampling.count * batch.len());
                sum.add(rows.view(), observation.engine.threads);
            }
            for (id, part) in all.into_iter().flat_map(|r| r.targets) {
                targets.entry(id).or_default().push(part);
            }
        }
        let stacked = |(id, parts): (NodeId, Vec<Array2<f32>>)| {
            let parts: Vec<_> = parts.iter().map(|p| p.view()).collect();
            let all = ndarray::concatenate(Axis(0), &parts);
            (id, all.expect("a layer's rows have all its outputs"))
        };
        let fitted = images.paths.iter().zip(&recorder.fitted);
        let fitted = fitted.filter_map(|(path, position)| position.map(|_| path.clone()));
        Ok(Self {
            images: images.with(fitted.collect()),
            sampling: recorder.fitted_sampling,
            targets: targets.into_iter().map(stacked).collect(),
            statistics: recorder.statistics(sums),
        })
    }
}

impl Recorder {
    fn new(observation: &Observation<'_>, images: usize, seed: u64) -> Result<Self, CompressError> {
        let graph = observation.model.graph;
        let tail = ir::find_tail(graph);
        let before_tail = graph.nodes().map(|(id, _)| id).filter(|id| !tail.nodes.contains(id));
        let before_tail: Vec<NodeId> = before_tail.collect();
        let mut windows = Vec::new();
        for (window, ids) in by_window(graph, &before_tail)? {
            let layer = |id| Ok((id, prune::layer(graph, id)?));
            let layers = ids.into_iter().map(layer);
            let layers = layers.collect::<Result<_, CompressError>>()?;
            windows.push(ObservedWindow { window, layers });
        }
        let count = images.min(FITTED);
        let sampling = |images: usize| Sampling { count: ROWS.div_ceil(images.max(1)), seed };
        let before = |image: usize| image * count / images.max(1);
        let fitted = |image| (before(image) < before(image + 1)).then_some(before(image));
        Ok(Self {
            windows,
            sampling: sampling(images),
            fitted: (0..images).map(fitted).collect(),
            fitted_sampling: sampling(count),
        })
    }

    /// What a batch of images, the first of which has this position, shows: by image, then by window.
    fn record(
        &self,
        observation: &Observation<'_>,
        batch: &ImageSet,
        first: usize,
    ) -> Result<Vec<Rows>, CompressError> {
        let inputs: BTreeSet<ValueId> = self.windows.iter().map(|w| w.window.input).collect();
        let inputs: Vec<ValueId> = inputs.into_iter().collect();
        let observation = Observation {
            images: batch,
            progress: &|n| (observation.progress)(first + n),
            ..*observation
        };
        let (parts, _) = observation.run(&inputs, Vec::new, |all, image, value, observed| {
            let tensor = observed.to_tensor()?;
            let x = tensor.as_slice::<f32>().expect("activations are f32");
            let windows = self.windows.iter().enumerate();
            for (i, _) in windows.filter(|(_, w)| w.window.input == value) {
                all.push(self.rows(x, first + image, i));
            }
            Ok(())
        })?;
        let mut all: Vec<Rows> = parts.into_iter().flatten().collect();
        all.sort_by_key(|r| (r.image, r.window));
        Ok(all)
    }

    fn rows(&self, x: &[f32], image: usize, window: usize) -> Rows {
        let observed = &self.windows[window];
        let mut targets = Vec::new();
        if let Some(position) = self.fitted[image] {
            let rows = observed.window.sample(x, position, self.fitted_sampling);
            let rows = [rows].into_iter();
            let rows = observed.window.stack(rows, self.fitted_sampling.count);
            let of_layer = |(id, layer): &(NodeId, Linear)| (*id, outputs(layer, &rows));
            targets.extend(observed.layers.iter().map(of_layer));
        }
        Rows { image, window, rows: observed.window.sample(x, image, self.sampling), targets }
    }

    fn statistics(self, sums: Vec<MomentSums>) -> Statistics {
        let mut statistics = Statistics::default();
        for (observed, sums) in self.windows.into_iter().zip(sums) {
            let moments = Arc::new(sums.moments());
            for (id, layer) in observed.layers {
                let layer = LayerStatistics {
                    layer,
                    taps: observed.window.taps(),
                    moments: Arc::clone(&moments),
                };
                statistics.layers.insert(id, layer);
            }
        }
        statistics
    }
}
