//! What pruning takes of memory and time, reckoned before it begins, and the passes over the images that keep it within its memory.

use std::collections::BTreeSet;
use std::fmt;

use ir::{Graph, NodeId};
use numerics::Symmetric;
use observe::Engine;
use prune::{Criterion, DependencyGroup, Groups};
use runtime::Plan;

use super::options::PruneBudget;
use crate::CompressError;
use crate::repair::{DenseRecord, ObservedWindow, PartBytes};

/// Multiply-accumulates of the network that take as long as one of a matrix in f64, about.
const MACS_OF_A_PRODUCT: f64 = 6.0;
/// How often a matrix of moments is inverted and its columns taken off, in cubes of its order.
const CUBES: f64 = 2.0;
/// Images on which detections are compared, at least and at most, where there are so many.
const COMPARED: [usize; 2] = [16, 32];
/// What evaluations of groups take of multiply-accumulates, about, unless that leaves too few images.
const EVALUATION_MACS: f64 = 16e12;
/// Plans that are tried to the end.
const CANDIDATES: f64 = 2.0;
/// What an allocator cannot give back, as a share.
const SLACK: f64 = 1.15;

/// Groups that are studied after one pass over the images, and the windows whose moments they need, by position.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Pass {
    /// Positions among the prunable groups, in a row.
    pub(super) groups: std::ops::Range<usize>,
    pub(super) windows: BTreeSet<usize>,
}

/// What pruning takes, about.
#[derive(Clone, Debug, PartialEq)]
pub struct Reckoning {
    /// Images that the network is observed on.
    pub images: usize,
    /// Images that are held out of these to compare detections on.
    pub compared: usize,
    /// Bytes of memory beside the loaded model, at most.
    pub memory_bytes: usize,
    /// Multiply-accumulates of all that runs, but for the evaluations of groups.
    macs: f64,
    /// Of these evaluations.
    evaluation_macs: f64,
    pub(super) passes: Vec<Pass>,
    /// What is held at a time while layers are fitted.
    pub(super) parts: PartBytes,
}

/// What is reckoned with.
pub(super) struct Reckoned<'a> {
    pub(super) graph: &'a Graph,
    pub(super) groups: &'a Groups,
    pub(super) criterion: &'a Criterion,
    pub(super) record: &'a DenseRecord,
    pub(super) compared: usize,
    pub(super) engine: Engine,
}

impl Reckoning {
    /// How the work is divided so that it keeps within the engine's memory.
    ///
    /// # Errors
    /// `PruningMemory`, with what is needed, where even the smallest parts do not fit.
    pub(super) fn new(of: &Reckoned<'_>) -> Result<Self, CompressError> {
        let allowed = (of.engine.memory_bytes as f64 / SLACK) as usize;
        let always = of.always_bytes()?;
        let prunable: Vec<&DependencyGroup> = of.groups.prunable().collect();
        let windows: Vec<BTreeSet<usize>> = prunable.iter().map(|g| of.windows(g)).collect();
        let work = of.largest_work_bytes();
        let fit = of.largest_fit_bytes();
        let bytes = |windows: &BTreeSet<usize>| -> usize {
            windows.iter().map(|&w| of.window_bytes(w)).sum()
        };
        let least_pass = windows.iter().map(bytes).max().unwrap_or(0);
        let part = of.largest_part();
        let least = always + (work + least_pass).max(fit + part.targets + part.rows);
        if least > allowed {
            return Err(CompressError::PruningMemory {
                needed: (least as f64 * SLACK) as usize,
                allowed: of.engine.memory_bytes,
            });
        }
        let room = allowed - always;
        let passes = passes(&windows, &bytes, room - work);
        let spare = (room - fit - part.targets - part.rows) / 2;
        let parts = PartBytes { targets: part.targets + spare, rows: part.rows + spare };
        let most_pass = passes.iter().map(|p| bytes(&p.windows)).max().unwrap_or(0);
        let all_targets = of.record.windows.iter().map(|w| of.record.target_bytes(w.outputs)).sum();
        let repair = parts.targets.min(all_targets) + parts.rows.min(of.level_bytes());
        let held = (work + most_pass).max(fit + repair);
        Ok(Self {
            images: of.record.images() + of.compared,
            compared: of.compared,
            memory_bytes: ((always + held) as f64 * SLACK) as usize,
            macs: of.macs(&passes, parts.targets < all_targets),
            evaluation_macs: of.compared as f64 * evaluation_macs(of.graph, of.groups),
            passes,
            parts,
        })
    }

    /// How often the images are read to keep within the memory.
    pub fn passes(&self) -> usize {
        self.passes.len()
    }

    /// Multiply-accumulates of pruning by a budget.
    pub fn macs(&self, budget: PruneBudget) -> f64 {
        let evaluations = if budget.needs_curves() { self.evaluation_macs } else { 0.0 };
        self.macs + evaluations
    }
}

/// Groups in their order, as many to a pass as fit together.
fn passes(
    windows: &[BTreeSet<usize>],
    bytes: &dyn Fn(&BTreeSet<usize>) -> usize,
    most_bytes: usize,
) -> Vec<Pass> {
    let mut passes: Vec<Pass> = Vec::new();
    for (i, own) in windows.iter().enumerate() {
        if let Some(pass) = passes.last_mut() {
            let both = &pass.windows | own;
            if bytes(&both) <= most_bytes {
                pass.windows = both;
                pass.groups.end = i + 1;
                continue;
            }
        }
        passes.push(Pass { groups: i..i + 1, windows: own.clone() });
    }
    passes
}

impl Reckoned<'_> {
    /// Windows whose moments a group needs.
    fn windows(&self, group: &DependencyGroup) -> BTreeSet<usize> {
        let layers = group.layers(self.graph).into_iter();
        let needed = layers.filter(|l| l.reads > 0.0 || self.criterion.needs_writers);
        needed.filter_map(|l| self.record.window_of(l.node)).collect()
    }

    /// What is held at all times: the weights of a model that is changed and those that are packed of its two halves, sessions of
    /// both, activations that are kept.
    fn always_bytes(&self) -> Result<usize, CompressError> {
        let weights = self.graph.params() as usize * size_of::<f32>();
        let part = ir::normalise(self.graph.clone())?;
        let arena = Plan::compile(&part, &[], &self.engine.options)?.arena_bytes();
        // What lies at a cut through the network lies in the arena together.
        let images = self.compared.max(self.record.fitted_images());
        let kept = self.engine.kept_bytes().min(images * arena);
        Ok(3 * weights + 2 * self.engine.threads * arena + kept)
    }

    /// Of a window in a pass: its moments, and what a batch of images shows of it.
    fn window_bytes(&self, window: usize) -> usize {
        let columns = self.record.windows[window].window.columns();
        self.record.moments_bytes(window) + self.record.batch_bytes(columns)
    }

    /// While one window's moments are summed, or its columns taken off.
    fn largest_work_bytes(&self) -> usize {
        let work = |w: usize| {
            let observed = &self.record.windows[w];
            let columns = observed.window.columns();
            let strips = columns * (2 * 256 + 2 * observed.outputs) * size_of::<f64>();
            let sweep = Symmetric::bytes(columns) + strips;
            sweep.max(self.record.batch_bytes(columns))
        };
        (0..self.record.windows.len()).map(work).max().unwrap_or(0)
    }

    /// While one layer is fitted, beside its rows: their covariance, what the layer gave, and the solution.
    fn largest_fit_bytes(&self) -> usize {
        let fit = |w: &ObservedWindow| {
            let columns = w.window.columns();
            let given = self.record.target_bytes(w.outputs);
            given + columns * (columns + 4 * w.outputs) * size_of::<f64>()
        };
        self.record.windows.iter().map(fit).max().unwrap_or(0)
    }

    /// The least that a part of the layers to be fitted takes.
    fn largest_part(&self) -> PartBytes {
        let most = |bytes: &dyn Fn(&ObservedWindow) -> usize| {
            self.record.windows.iter().map(bytes).max().unwrap_or(0)
        };
        PartBytes {
            targets: most(&|w| self.record.target_bytes(w.outputs)),
            rows: most(&|w| self.record.fitted_bytes(w.window.columns())),
        }
    }

    /// The most that the rows of one level take: windows of three scales and both branches of a head wait together.
    fn level_bytes(&self) -> usize {
        let bytes =
            self.record.windows.iter().map(|w| self.record.fitted_bytes(w.window.columns()));
        let mut bytes: Vec<usize> = bytes.collect();
        bytes.sort_unstable_by(|a, b| b.cmp(a));
        bytes.into_iter().take(6).sum()
    }

    /// All that runs, but for the evaluations of groups.
    fn macs(&self, passes: &[Pass], in_parts: bool) -> f64 {
        let model = self.graph.macs() as f64;
        let images = |n: usize| n as f64 * model;
        let observed = images(self.record.images()) * passes.len() as f64;
        let targets =
            images(self.record.fitted_images()) * if in_parts { 2.0 * CANDIDATES } else { 1.0 };
        let walks = images(self.record.fitted_images()) * CANDIDATES;
        let compared = images(self.compared) * (1.0 + CANDIDATES);
        let order = |w: &usize| self.record.windows[*w].window.columns() as f64;
        let studied = passes.iter().flat_map(|p| &p.windows).map(|w| CUBES * order(w).powi(3));
        let fitted = (0..self.record.windows.len()).map(|w| CANDIDATES * order(&w).powi(3) / 3.0);
        let products: f64 = studied.chain(fitted).sum();
        observed + targets + walks + compared + MACS_OF_A_PRODUCT * products
    }
}

/// Two evaluations of each group on one image, of all that lies behind its first root.
fn evaluation_macs(graph: &Graph, groups: &Groups) -> f64 {
    let nodes: Vec<NodeId> = graph.nodes().map(|(id, _)| id).collect();
    let behind = |g: &DependencyGroup| {
        let from = nodes.iter().position(|id| *id == g.roots[0].node).unwrap_or(0);
        nodes[from..].iter().map(|id| graph.node_macs(*id)).sum::<u64>() as f64
    };
    2.0 * groups.prunable().map(behind).sum::<f64>()
}

/// On how many images detections are compared, at most: fewer where the network is so large that the evaluations of its groups would
/// take nearly all of the time.
pub(super) fn compared_images(graph: &Graph, groups: &Groups) -> usize {
    let [least, most] = COMPARED;
    let images = EVALUATION_MACS / evaluation_macs(graph, groups).max(1.0);
    (images as usize).clamp(least, most)
}

impl fmt::Display for Reckoning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let times = match self.passes() {
            0 | 1 => String::new(),
            n => format!(", read {n} times to keep within the memory"),
        };
        write!(
            f,
            "{} images{times}, {} of them to compare detections on",
            self.images, self.compared
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_take_groups_in_order_and_count_shared_windows_once() {
        let windows = [[0, 1], [1, 2], [2, 3], [4, 4]].map(BTreeSet::from);
        let bytes = |windows: &BTreeSet<usize>| 10 * windows.len();
        let groups = |most| -> Vec<std::ops::Range<usize>> {
            passes(&windows, &bytes, most).into_iter().map(|p| p.groups).collect()
        };
        assert_eq!((groups(50).len(), groups(50)[0].clone()), (1, 0..4));
        assert_eq!(groups(40), [0..3, 3..4]);
        assert_eq!(groups(30), [0..2, 2..4]);
        // A group that alone takes more has a pass of its own: whoever asks has made sure that the largest fits.
        assert_eq!(groups(10), [0..1, 1..2, 2..3, 3..4]);
        let pass = &passes(&windows, &bytes, 30)[1];
        assert_eq!(pass.windows, BTreeSet::from([2, 3, 4]));
    }
}
