//! Weights as tiles read them.

use super::pack::{Panel, QConvSpec};
use super::pairing::pair;
use crate::Isa;
use crate::codes::vector::{code_lanes, code_pair_tiles, pack_quad, weight_bytes};

/// What remains of a tap's run after its full quads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Tail {
    /// Nothing.
    #[default]
    None,
    /// One to three codes, read as the run's last four: weights of those already counted are zero.
    Overlap,
    /// A run of one to three codes.
    Short,
}

/// Where four neighbouring codes lie in a window.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) tap_h: usize,
    pub(crate) tap_w: usize,
    /// Within the tap's run.
    pub(crate) at: usize,
}

/// One panel's weights.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PanelWeights {
    /// Where they start, and where their places do.
    pub(crate) data: usize,
    pub(crate) place: usize,
    /// Pairs of quads, and quads by themselves, that have places.
    pub(crate) pairs: usize,
    pub(crate) singles: usize,
}

/// All panels' weights.
///
/// Per panel `[taps][quads and tail][nv * lanes][4]`, a weight of one or two bytes, in the order of the taps; or, where
/// the instruction set gains by it, pairs of quads that are summed together before the rest, each quad with its place.
#[derive(Default)]
pub(crate) struct Weights {
    pub(crate) tail: Tail,
    pub(crate) panels: Vec<PanelWeights>,
    /// Of each panel the pairs' quads, then the single ones. None where quads are read in the order of the taps.
    pub(crate) places: Vec<Place>,
    pub(crate) data: Vec<i8>,
}

impl Weights {
    /// Packs the weights of `taps_w` taps a kernel row: each its own, or all one.
    pub(super) fn new(spec: &QConvSpec, isa: Isa, panels: &[Panel], taps_w: usize) -> Weights {
        let run = spec.kernel[1] / taps_w * spec.in_channels_per_group;
        let tail = match run {
            _ if run.is_multiple_of(4) => Tail::None,
            0..4 => Tail::Short,
            _ => Tail::Overlap,
        };
        let mut weights = Weights {
            tail,
            ..Weights::default()
        };
        let paired = tail != Tail::Short && code_pair_tiles(isa).is_some();
        for panel in panels {
            let lanes = panel.nv * code_lanes(isa);
            let (places, quads) = weights.quads(spec, panel, lanes, (taps_w, run));
            let quads: Vec<&[[i8; 4]]> = quads.chunks_exact(lanes).collect();
            if paired {
                weights.push_pairs(&places, &quads, isa);
            } else {
                weights.start_panel(0, 0);
                for quad in quads {
                    weights.push(quad, isa);
                }
            }
        }
        weights
    }

    /// The panel's quads in the order of the taps: their places, and the weights of all lanes of each.
    fn quads(
        &self,
        spec: &QConvSpec,
        panel: &Panel,
        lanes: usize,
        (taps_w, run): (usize, usize),
    ) -> (Vec<Place>, Vec<[i8; 4]>) {
        let inner = spec.in_channels_per_group;
        let [kernel_h, kernel_w] = spec.kernel;
        let quads = run.div_ceil(4);
        let count = kernel_h * taps_w * quads;
        let mut places = Vec::with_capacity(count);
        let mut all = Vec::with_capacity(count * lanes);
        for (tap_h, tap_w) in (0..kernel_h).flat_map(|h| (0..taps_w).map(move |w| (h, w))) {
            for q in 0..quads {
                // The overlapping tail holds the run's last four codes.
                let at = match self.tail {
                    Tail::Overlap if q == quads - 1 => run - 4,
                    _ => 4 * q,
                };
                places.push(Place { tap_h, tap_w, at });
                let taps: [Option<usize>; 4] = std::array::from_fn(|i| {
                    let at = at + i;
                    let (kw, c) = (tap_w + at / inner, at % inner);
                    let counts = at >= 4 * q && at < run;
                    counts.then_some((c * kernel_h + tap_h) * kernel_w + kw)
                });
                let filter = inner * kernel_h * kernel_w;
                let filters = spec.weight[panel.channel * filter..].chunks_exact(filter);
                let weights = filters.take(panel.channels);
                all.extend(weights.map(|filter| taps.map(|tap| tap.map_or(0, |tap| filter[tap]))));
                all.resize(places.len() * lanes, [0; 4]);
            }
        }
        (places, all)
    }

    fn start_panel(&mut self, pairs: usize, singles: usize) {
        self.panels.push(PanelWeights {
            data: self.data.len(),
            place: self.places.len(),
            pairs,
            singles,
        });
    }

    fn push(&mut self, quad: &[[i8; 4]], isa: Isa) {
        let start = self.data.len();
        self.data.resize(start + quad.len() * weight_bytes(isa), 0);
        pack_quad(isa, quad, &mut self.data[start..]);
    }

    fn push_pairs(&mut self, places: &[Place], quads: &[&[[i8; 4]]], isa: Isa) {
        let (pairs, singles) = pair(quads);
        self.start_panel(pairs.len(), singles.len());
        for &[a, b] in &pairs {
            self.places.extend([places[a], places[b]]);
            let vectors = |quad: usize| quads[quad].chunks(code_lanes(isa));
            for (a, b) in vectors(a).zip(vectors(b)) {
                self.data.extend(a.as_flattened());
                self.data.extend(b.as_flattened());
            }
        }
        for &index in &singles {
            self.places.push(places[index]);
            self.push(quads[index], isa);
        }
    }
}
