//! What a dense network's convolutions read and give, image after image: found out for as many of them at a time as memory
//! lets, so that the images may have to run several times. No bit depends on how often.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ir::{Graph, NodeId, ValueId};
use ndarray::{Array2, Axis};
use numerics::{Linear, MomentSums, Symmetric};
use observe::{ImageSet, Observation};
use prune::{LayerStatistics, Statistics};
use runtime::Observed;

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
pub(crate) struct ObservedWindow {
    pub(crate) window: Window,
    pub(crate) layers: Vec<NodeId>,
    /// Outputs of all these together.
    pub(crate) outputs: usize,
}

/// What one image shows of a window.
struct Rows {
    image: usize,
    /// Position of the window in the list.
    window: usize,
    rows: Vec<f32>,
}

/// What one image shows of what a layer gives.
struct Target {
    image: usize,
    layer: NodeId,
    rows: Array2<f32>,
}

/// The convolutions before the head's tail, and the images that show what they read and give.
pub(crate) struct DenseRecord {
    pub(crate) windows: Vec<ObservedWindow>,
    /// All images, for the moments.
    images: ImageSet,
    sampling: Sampling,
    /// Those on which layers are fitted.
    pub(super) fitted: ImageSet,
    pub(super) fitted_sampling: Sampling,
    /// What convolutions gave on the windows of these: `[rows, outputs]`; of as many as were asked for last.
    targets: BTreeMap<NodeId, Array2<f32>>,
}

impl DenseRecord {
    /// Of every convolution before the head's tail; nothing is observed yet. `images` must be readable.
    pub(crate) fn new(graph: &Graph, images: ImageSet, seed: u64) -> Result<Self, CompressError> {
        let tail = ir::find_tail(graph);
        let before_tail = graph.nodes().map(|(id, _)| id).filter(|id| !tail.nodes.contains(id));
        let before_tail: Vec<NodeId> = before_tail.collect();
        let mut windows = Vec::new();
        for (window, layers) in by_window(graph, &before_tail)? {
            let mut outputs = 0;
            for &id in &layers {
                outputs += graph.ty(graph.node(id).inputs[1])?.shape[0];
            }
            windows.push(ObservedWindow { window, layers, outputs });
        }
        let all = images.len();
        let count = all.min(FITTED);
        let sampling = |images: usize| Sampling { count: ROWS.div_ceil(images.max(1)), seed };
        let before = |image: usize| image * count / all.max(1);
        let is_fitted = |image: &usize| before(*image) < before(image + 1);
        let fitted = (0..all).filter(is_fitted).map(|image| images.paths[image].clone());
        Ok(Self {
            windows,
            sampling: sampling(all),
            fitted: images.with(fitted.collect()),
            fitted_sampling: sampling(count),
            images,
            targets: BTreeMap::new(),
        })
    }

    /// Images that one call of [`DenseRecord::statistics`] runs.
    pub(crate) fn images(&self) -> usize {
        self.images.len()
    }

    /// Images that layers are fitted to.
    pub(crate) fn fitted_images(&self) -> usize {
        self.fitted.len()
    }

    /// The windows that a convolution reads, by position.
    pub(crate) fn window_of(&self, layer: NodeId) -> Option<usize> {
        self.windows.iter().position(|w| w.layers.contains(&layer))
    }

    /// Moments of these windows, by position, with the layers that read them.
    pub(crate) fn statistics(
        &self,
        observation: &Observation<'_>,
        which: &BTreeSet<usize>,
    ) -> Result<Statistics, CompressError> {
        let threads = observation.engine.threads;
        let mut sums: BTreeMap<usize, MomentSums> = BTreeMap::new();
        sums.extend(which.iter().map(|&w| (w, MomentSums::new(self.windows[w].window.columns()))));
        for (i, batch) in self.images.paths.chunks(BATCH).enumerate() {
            let batch = self.images.with(batch.to_vec());
            let mut all = self.rows(observation, &batch, i * BATCH, which)?;
            for (at, sum) in &mut sums {
                let of_window = all.iter_mut().filter(|r| r.window == *at);
                let rows = of_window.map(|r| std::mem::take(&mut r.rows));
                let most = self.sampling.count * batch.len();
                let rows = self.windows[*at].window.stack(rows, most);
                sum.add(rows.view(), threads);
            }
        }
        let mut statistics = Statistics { threads, ..Statistics::default() };
        for (at, sum) in sums {
            let (observed, moments) = (&self.windows[at], Arc::new(sum.moments(threads)));
            for &id in &observed.layers {
                let layer = LayerStatistics {
                    layer: prune::layer(observation.model.graph, id)?,
                    taps: observed.window.taps(),
                    moments: Arc::clone(&moments),
                };
                statistics.layers.insert(id, layer);
            }
        }
        Ok(statistics)
    }

    /// What a batch of images, the first of which has this position, shows: by image, then by window.
    fn rows(
        &self,
        observation: &Observation<'_>,
        batch: &ImageSet,
        first: usize,
        which: &BTreeSet<usize>,
    ) -> Result<Vec<Rows>, CompressError> {
        let observation = Observation {
            images: batch,
            progress: &|n| (observation.progress)(first + n),
            ..*observation
        };
        let mut all = self.observe(&observation, |all, image, value, observed| {
            let wanted = which.iter().filter(|w| self.windows[**w].window.input == value);
            let wanted: Vec<usize> = wanted.copied().collect();
            if wanted.is_empty() {
                return Ok(());
            }
            let tensor = observed.to_tensor()?;
            let x = tensor.as_slice::<f32>().expect("activations are f32");
            for window in wanted {
                let rows = self.windows[window].window.sample(x, first + image, self.sampling);
                all.push(Rows { image, window, rows });
            }
            Ok(())
        })?;
        all.sort_by_key(|r| (r.image, r.window));
        Ok(all)
    }

    /// What the dense layer gave on the windows of the images that are fitted to. Where it is not known, it is found out with that of
    /// `level`, to which the layer belongs, and of as many others from there on as `most_bytes` let.
    pub(super) fn target(
        &mut self,
        observation: &Observation<'_>,
        layer: NodeId,
        level: &[NodeId],
        most_bytes: usize,
    ) -> Result<&Array2<f32>, CompressError> {
        if !self.targets.contains_key(&layer) {
            self.targets.clear();
            let wanted = self.next_targets(observation.model.graph, layer, level, most_bytes)?;
            self.targets = self.observe_targets(observation, wanted)?;
        }
        Ok(&self.targets[&layer])
    }

    /// Forgets what layers gave.
    pub(crate) fn release(&mut self) {
        self.targets.clear();
    }

    /// The layer, those of its level, and others in the order of the graph, as long as what they give fits.
    fn next_targets(
        &self,
        graph: &Graph,
        layer: NodeId,
        level: &[NodeId],
        most_bytes: usize,
    ) -> Result<BTreeSet<NodeId>, CompressError> {
        let recorded: BTreeSet<NodeId> =
            self.windows.iter().flat_map(|w| w.layers.iter().copied()).collect();
        let order: Vec<NodeId> =
            graph.nodes().map(|(id, _)| id).filter(|id| recorded.contains(id)).collect();
        let from = order.iter().position(|id| *id == layer).unwrap_or(0);
        let later = order[from..].iter().chain(&order[..from]);
        let first = std::iter::once(&layer).chain(level.iter().filter(|id| recorded.contains(id)));
        let mut wanted = BTreeSet::new();
        let mut bytes = 0;
        for &id in first.chain(later) {
            if wanted.contains(&id) {
                continue;
            }
            bytes += self.target_bytes(graph.ty(graph.node(id).inputs[1])?.shape[0]);
            if bytes > most_bytes && !wanted.is_empty() {
                break;
            }
            wanted.insert(id);
        }
        Ok(wanted)
    }

    /// Bytes of what a layer with so many outputs gave.
    pub(crate) fn target_bytes(&self, outputs: usize) -> usize {
        self.fitted_sampling.count * self.fitted.len() * outputs * size_of::<f32>()
    }

    /// Bytes of the rows of a window on the images that are fitted to.
    pub(crate) fn fitted_bytes(&self, columns: usize) -> usize {
        self.target_bytes(columns)
    }

    /// Bytes of the rows of a window that a batch of images gives.
    pub(crate) fn batch_bytes(&self, columns: usize) -> usize {
        self.sampling.count * self.images.len().min(BATCH) * columns * size_of::<f32>()
    }

    /// Bytes of the moments of a window and of the layers that read it.
    pub(crate) fn moments_bytes(&self, window: usize) -> usize {
        let ObservedWindow { window, outputs, .. } = &self.windows[window];
        Symmetric::bytes(window.columns()) + outputs * window.columns() * size_of::<f64>()
    }

    fn observe_targets(
        &self,
        observation: &Observation<'_>,
        wanted: BTreeSet<NodeId>,
    ) -> Result<BTreeMap<NodeId, Array2<f32>>, CompressError> {
        let mut layers: BTreeMap<ValueId, Vec<(&Window, NodeId, Linear)>> = BTreeMap::new();
        for observed in &self.windows {
            for &id in observed.layers.iter().filter(|id| wanted.contains(id)) {
                let layer = prune::layer(observation.model.graph, id)?;
                let of_value = layers.entry(observed.window.input).or_default();
                of_value.push((&observed.window, id, layer));
            }
        }
        let observation = Observation { images: &self.fitted, progress: &|_| (), ..*observation };
        let mut all = self.observe(&observation, |all, image, value, observed| {
            let Some(layers) = layers.get(&value) else {
                return Ok(());
            };
            let tensor = observed.to_tensor()?;
            let x = tensor.as_slice::<f32>().expect("activations are f32");
            let mut read: Option<(&Window, Array2<f32>)> = None;
            for (window, id, layer) in layers {
                if read.as_ref().is_none_or(|(known, _)| *known != *window) {
                    let rows = [window.sample(x, image, self.fitted_sampling)].into_iter();
                    read = Some((*window, window.stack(rows, self.fitted_sampling.count)));
                }
                let rows = read.as_ref().map(|(_, rows)| outputs(layer, rows));
                all.extend(rows.map(|rows| Target { image, layer: *id, rows }));
            }
            Ok(())
        })?;
        all.sort_by_key(|t| (t.layer, t.image));
        let mut parts: BTreeMap<NodeId, Vec<Array2<f32>>> = BTreeMap::new();
        all.into_iter().for_each(|t| parts.entry(t.layer).or_default().push(t.rows));
        let stacked = |(id, parts): (NodeId, Vec<Array2<f32>>)| {
            let parts: Vec<_> = parts.iter().map(|p| p.view()).collect();
            let rows = ndarray::concatenate(Axis(0), &parts);
            (id, rows.expect("a layer's rows have all its outputs"))
        };
        Ok(parts.into_iter().map(stacked).collect())
    }

    /// The dense network run on the observation's images, `observe` told of each value that a window is read from.
    fn observe<T: Send>(
        &self,
        observation: &Observation<'_>,
        observe: impl Fn(
            &mut Vec<T>,
            usize,
            ValueId,
            &Observed<'_>,
        ) -> Result<(), runtime::RuntimeError>
        + Sync,
    ) -> Result<Vec<T>, CompressError> {
        // Always the same values: what is observed decides what is fused.
        let values: BTreeSet<ValueId> = self.windows.iter().map(|w| w.window.input).collect();
        let values: Vec<ValueId> = values.into_iter().collect();
        let (parts, _) = observation.run(&values, Vec::new, observe)?;
        Ok(parts.into_iter().flatten().collect())
    }
}
