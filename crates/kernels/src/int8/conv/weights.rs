//! Weights of INT8 convolutions by blocks of four that lie side by side in a window.

use super::pairing::{Order, sort};
use super::spec::QConvSpec;
use crate::Isa;
use crate::conv::panels::Panel;
use crate::isa::Int8Layout;

/// What remains of a tap's run after its full blocks of four.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Tail {
    /// Nothing.
    #[default]
    None,
    /// One to three values, read as the run's last four: weights of those already counted are zero.
    Overlap,
    /// The run itself has one to three values.
    Short,
}

/// Where four neighbouring values lie in a window.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TapOffset {
    pub(crate) tap_h: u32,
    pub(crate) tap_w: u32,
    /// Within the tap's run.
    pub(crate) at: u32,
}

/// One panel's weights.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PanelWeights {
    /// Where they start, and where their offsets do.
    pub(crate) data: usize,
    pub(crate) offset: usize,
    /// Blocks of four that have offsets: pairs summed in i16, blocks of four summed in i16 alone, others.
    pub(crate) counts: [usize; 3],
}

/// All panels' weights.
///
/// Per panel `[taps][blocks of four and tail][vectors * lanes][4]`, a weight of one or two bytes, in the order of the taps; or, where
/// the instruction set gains by it, those first whose products are summed in i16, each block of four with its offset.
#[derive(Default)]
pub(crate) struct Weights {
    pub(crate) tail: Tail,
    pub(crate) panels: Vec<PanelWeights>,
    /// Of each panel's blocks of four in their order. None where blocks of four are read in the order of the taps.
    pub(crate) offsets: Vec<TapOffset>,
    pub(crate) data: Vec<i8>,
}

impl Weights {
    /// Packs the weights of `taps_w` taps a kernel row: each its own, or all one.
    pub(super) fn new(spec: &QConvSpec, isa: Isa, panels: &[Panel], taps_w: usize) -> Weights {
        let geometry = &spec.geometry;
        let run = geometry.kernel[1] / taps_w * geometry.in_channels_per_group;
        let tail = match run {
            _ if run.is_multiple_of(4) => Tail::None,
            0..4 => Tail::Short,
            _ => Tail::Overlap,
        };
        let mut weights = Weights { tail, ..Weights::default() };
        let layout = isa.int8();
        let sorted = tail != Tail::Short && layout.sums_i16;
        for panel in panels {
            let lanes = panel.vectors * layout.lanes;
            let (offsets, blocks4) = weights.blocks4(spec, panel, lanes, taps_w);
            let blocks4: Vec<&[[i8; 4]]> = blocks4.chunks_exact(lanes).collect();
            if sorted {
                weights.push_sorted(&offsets, &blocks4, layout);
            } else {
                weights.start_panel([0; 3]);
                for block4 in blocks4 {
                    weights.push(block4, layout);
                }
            }
        }
        weights
    }

    /// The panel's blocks of four in the order of the taps: their offsets, and the weights of all lanes of each.
    fn blocks4(
        &self,
        spec: &QConvSpec,
        panel: &Panel,
        lanes: usize,
        taps_w: usize,
    ) -> (Vec<TapOffset>, Vec<[i8; 4]>) {
        let inner = spec.geometry.in_channels_per_group;
        let [kernel_h, kernel_w] = spec.geometry.kernel;
        let run = kernel_w / taps_w * inner;
        let blocks4 = run.div_ceil(4);
        let count = kernel_h * taps_w * blocks4;
        let mut offsets = Vec::with_capacity(count);
        let mut all = Vec::with_capacity(count * lanes);
        for (tap_h, tap_w) in (0..kernel_h).flat_map(|h| (0..taps_w).map(move |w| (h, w))) {
            for q in 0..blocks4 {
                // The overlapping tail holds the run's last four values.
                let at = match self.tail {
                    Tail::Overlap if q == blocks4 - 1 => run - 4,
                    _ => 4 * q,
                };
                offsets.push(TapOffset { tap_h: tap_h as u32, tap_w: tap_w as u32, at: at as u32 });
                let taps: [Option<usize>; 4] = std::array::from_fn(|i| {
                    let at = at + i;
                    let (kw, c) = (tap_w + at / inner, at % inner);
                    let counts = at >= 4 * q && at < run;
                    counts.then_some((c * kernel_h + tap_h) * kernel_w + kw)
                });
                let depth = spec.geometry.depth();
                let filters = spec.weight[panel.channel * depth..].chunks_exact(depth);
                let weights = filters.take(panel.channels);
                all.extend(weights.map(|filter| taps.map(|tap| tap.map_or(0, |tap| filter[tap]))));
                all.resize(offsets.len() * lanes, [0; 4]);
            }
        }
        (offsets, all)
    }

    fn start_panel(&mut self, counts: [usize; 3]) {
        self.panels.push(PanelWeights {
            data: self.data.len(),
            offset: self.offsets.len(),
            counts,
        });
    }

    fn push(&mut self, block4: &[[i8; 4]], layout: &Int8Layout) {
        let start = self.data.len();
        let end = start + block4.len() * layout.weight_bytes;
        self.data.resize(end, 0);
        (layout.pack)(block4, &mut self.data[start..]);
    }

    fn push_sorted(&mut self, offsets: &[TapOffset], blocks4: &[&[[i8; 4]]], layout: &Int8Layout) {
        let Order { pairs, singles, others } = sort(blocks4);
        self.start_panel([pairs.len(), singles.len(), others.len()]);
        let lanes = layout.lanes;
        let order = pairs.as_flattened().iter().chain(&singles).chain(&others);
        self.offsets.extend(order.map(|&index| offsets[index]));
        for [a, b] in pairs.iter().map(|pair| pair.map(|index| blocks4[index])) {
            for (a, b) in a.chunks(lanes).zip(b.chunks(lanes)) {
                self.data.extend(a.as_flattened());
                self.data.extend(b.as_flattened());
            }
        }
        for index in singles {
            self.data.extend(blocks4[index].as_flattened());
        }
        for index in others {
            self.push(blocks4[index], layout);
        }
    }
}
