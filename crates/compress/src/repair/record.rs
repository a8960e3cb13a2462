//! What is seen of a dense network's convolutions, image after image.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use ir::{NodeId, ValueId};
use ndarray::{Array2, Axis};
use numerics::{Linear, MomentSums};
use prune::{LayerStatistics, Statistics};

use super::DenseRecord;
use super::matching::outputs;
use super::patches::{Draw, Window, by_window};
use crate::{CompressError, Observation};

/// Rows from which a layer's moments are known, over all images, and rows that it is fitted to.
const ROWS: usize = 6144;
/// Images on which layers are fitted, at most: the whole network has to run on all of them at once.
const FITTED: usize = 48;
/// Images that are looked at between two additions to the moments.
const BATCH: usize = 16;

/// A window that is watched, and the convolutions that read it.
struct Watched {
    window: Window,
    layers: Vec<(NodeId, Linear)>,
}

/// What one image shows of a window.
struct Rows {
    image: usize,
    window: usize,
    /// For the moments.
    rows: Vec<f32>,
    /// What the layers give, of an image on which they are fitted.
    targets: Vec<(NodeId, Array2<f32>)>,
}

/// What is watched, and how.
struct Watch {
    windows: Vec<Watched>,
    draw: Draw,
    /// Position among the images on which layers are fitted, of each image.
    fitted: Vec<Option<usize>>,
    fitted_draw: Draw,
}

impl DenseRecord {
    /// Looks at every convolution before the head's tail. `images` must be readable.
    pub(crate) fn new(
        observation: &Observation<'_>,
        images: &[PathBuf],
        seed: u64,
    ) -> Result<Self, CompressError> {
        let watch = Watch::new(observation, images.len(), seed)?;
        let windows = || watch.windows.iter().map(|w| &w.window);
        let mut sums: Vec<MomentSums> = Vec::new();
        sums.extend(windows().map(|w| MomentSums::new(w.columns())));
        let mut targets: BTreeMap<NodeId, Vec<Array2<f32>>> = BTreeMap::new();
        for first in (0..images.len()).step_by(BATCH) {
            let batch = &images[first..images.len().min(first + BATCH)];
            let mut seen = watch.see(observation, (batch, first))?;
            for (at, (window, sum)) in windows().zip(&mut sums).enumerate() {
                let of = seen.iter_mut().filter(|r| r.window == at);
                let rows = of.map(|r| std::mem::take(&mut r.rows));
                let rows = window.stack(rows, watch.draw.count * batch.len());
                sum.add(rows.view(), observation.threads);
            }
            for (id, part) in seen.into_iter().flat_map(|r| r.targets) {
                targets.entry(id).or_default().push(part);
            }
        }
        let stacked = |(id, parts): (NodeId, Vec<Array2<f32>>)| {
            let parts: Vec<_> = parts.iter().map(|p| p.view()).collect();
            let all = ndarray::concatenate(Axis(0), &parts);
            (id, all.expect("a layer's rows have all its outputs"))
        };
        let of_fitted = |(path, at): (&PathBuf, &Option<usize>)| at.map(|_| path.clone());
        Ok(Self {
            images: images
                .iter()
                .zip(&watch.fitted)
                .filter_map(of_fitted)
                .collect(),
            draw: watch.fitted_draw,
            targets: targets.into_iter().map(stacked).collect(),
            statistics: watch.statistics(sums),
        })
    }
}

impl Watch {
    fn new(observation: &Observation<'_>, images: usize, seed: u64) -> Result<Self, CompressError> {
        let graph = observation.graph;
        let tail = ir::find_tail(graph);
        let before_tail = graph
            .nodes()
            .map(|(id, _)| id)
            .filter(|id| !tail.nodes.contains(id));
        let before_tail: Vec<NodeId> = before_tail.collect();
        let mut windows = Vec::new();
        for (window, ids) in by_window(graph, &before_tail)? {
            let layer = |id| Ok((id, prune::layer(graph, id)?));
            let layers = ids.into_iter().map(layer);
            let layers = layers.collect::<Result<_, CompressError>>()?;
            windows.push(Watched { window, layers });
        }
        let count = images.min(FITTED);
        let draw = |images: usize| Draw {
            count: ROWS.div_ceil(images.max(1)),
            seed,
        };
        let before = |image: usize| image * count / images.max(1);
        let fitted = |image| (before(image) < before(image + 1)).then_some(before(image));
        Ok(Self {
            windows,
            draw: draw(images),
            fitted: (0..images).map(fitted).collect(),
            fitted_draw: draw(count),
        })
    }

    /// What a batch of images, the first of which has this position, shows: by image, then by window.
    fn see(
        &self,
        observation: &Observation<'_>,
        (batch, first): (&[PathBuf], usize),
    ) -> Result<Vec<Rows>, CompressError> {
        let inputs: BTreeSet<ValueId> = self.windows.iter().map(|w| w.window.input).collect();
        let inputs: Vec<ValueId> = inputs.into_iter().collect();
        let observation = Observation {
            images: batch,
            progress: &|n| (observation.progress)(first + n),
            ..*observation
        };
        let (parts, _) = observation.watch(&inputs, Vec::new, |all, image, value, observed| {
            let tensor = observed.to_tensor()?;
            let x = tensor.as_slice::<f32>().expect("activations are f32");
            let read = self.windows.iter().enumerate();
            for (at, _) in read.filter(|(_, w)| w.window.input == value) {
                all.push(self.rows((x, first + image), at));
            }
            Ok(())
        })?;
        let mut all: Vec<Rows> = parts.into_iter().flatten().collect();
        all.sort_by_key(|r| (r.image, r.window));
        Ok(all)
    }

    fn rows(&self, (x, image): (&[f32], usize), at: usize) -> Rows {
        let Watched { window, layers } = &self.windows[at];
        let mut targets = Vec::new();
        if let Some(position) = self.fitted[image] {
            let rows = window.sample((x, position), self.fitted_draw);
            let rows = window.stack([rows].into_iter(), self.fitted_draw.count);
            targets.extend(layers.iter().map(|(id, l)| (*id, outputs(l, &rows))));
        }
        Rows {
            image,
            window: at,
            rows: window.sample((x, image), self.draw),
            targets,
        }
    }

    fn statistics(self, sums: Vec<MomentSums>) -> Statistics {
        let mut statistics = Statistics::new();
        for (watched, sums) in self.windows.into_iter().zip(sums) {
            let moments = Arc::new(sums.moments());
            for (id, layer) in watched.layers {
                let seen = LayerStatistics {
                    layer,
                    taps: watched.window.taps(),
                    moments: Arc::clone(&moments),
                };
                statistics.insert(id, seen);
            }
        }
        statistics
    }
}
