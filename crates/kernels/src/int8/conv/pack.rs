//! Weights, bias and multipliers of INT8 convolutions, in the order in which tiles read them.

use super::channel_weights::ChannelWeights;
use super::spec::QConvSpec;
use super::weights::Weights;
use crate::conv::geometry::ConvGeometry;
use crate::conv::panels::{Panel, PanelLimits};
use crate::{Isa, KernelError};

/// An INT8 convolution packed for one instruction set.
pub struct PackedQConv {
    pub(crate) isa: Isa,
    pub(crate) geometry: ConvGeometry,
    /// None of a depthwise convolution.
    pub(crate) panels: Vec<Panel>,
    /// One tap at a time.
    pub(crate) weights: Weights,
    /// A kernel row at a time, for dense pixels, where its blocks of four differ.
    pub(crate) row_weights: Option<Weights>,
    /// Depthwise: its weights.
    pub(crate) depthwise: Option<ChannelWeights>,
    /// Per panel, or per channel, rounded up to vectors: what the zero point adds to sums.
    pub(crate) start: Vec<i32>,
    pub(crate) multiplier: Vec<f32>,
    pub(crate) bias: Vec<f32>,
    /// Largest magnitude of a sum's real value.
    pub(crate) largest: f32,
}

/// A panel that outgrows this part of the second-level cache is made narrower.
const PANEL_BYTES: usize = 384 << 10;

impl PackedQConv {
    /// Packs weights, multipliers and bias for an instruction set.
    ///
    /// # Errors
    /// `Zero` for a size, stride, dilation or group of 0, `Groups` when channels do not divide, `Length` when weights,
    /// bias or multipliers do not fit the sizes, `NotFinite` for a multiplier or a bias.
    pub fn new(spec: &QConvSpec, isa: Isa) -> Result<PackedQConv, KernelError> {
        spec.check()?;
        let (geometry, layout) = (spec.geometry, isa.int8());
        let mut conv = PackedQConv {
            isa,
            geometry,
            panels: Vec::new(),
            weights: Weights::default(),
            row_weights: None,
            depthwise: None,
            start: Vec::new(),
            multiplier: Vec::new(),
            bias: Vec::new(),
            largest: spec.largest(),
        };
        if geometry.is_depthwise() {
            conv.depthwise = Some(ChannelWeights::new(spec, isa));
            let padded = geometry.out_channels.next_multiple_of(4 * layout.lanes);
            conv.pack_lanes(spec, 0..geometry.out_channels, padded);
            return Ok(conv);
        }
        let limits = PanelLimits {
            lanes: layout.lanes,
            vectors: layout.tiles.len(),
            lane_bytes: geometry.depth() * layout.weight_bytes / 4,
            bytes: PANEL_BYTES,
        };
        conv.panels = Panel::split(&geometry, &limits);
        conv.weights = Weights::new(spec, isa, &conv.panels, geometry.kernel[1]);
        let rows_differ = geometry.group == 1
            && geometry.dilations[1] == 1
            && geometry.kernel[1] > 1
            && !geometry.in_channels_per_group.is_multiple_of(4);
        conv.row_weights = rows_differ.then(|| Weights::new(spec, isa, &conv.panels, 1));
        for index in 0..conv.panels.len() {
            let panel = &conv.panels[index];
            let channels = panel.channel..panel.channel + panel.channels;
            let lanes = panel.vectors * layout.lanes;
            conv.pack_lanes(spec, channels, lanes);
        }
        Ok(conv)
    }

    /// Appends the channels' starts, multipliers and bias, filled up to `lanes`.
    fn pack_lanes(&mut self, spec: &QConvSpec, channels: std::ops::Range<usize>, lanes: usize) {
        let end = self.start.len() + lanes;
        let depth = spec.geometry.depth();
        for m in channels {
            let weights = &spec.weight[m * depth..(m + 1) * depth];
            let sum = weights.iter().fold(0i32, |sum, &w| sum.wrapping_add(i32::from(w)));
            let zero = i32::from(spec.x_zero_point) - i32::from(self.isa.int8().x_offset);
            let zero = zero.wrapping_mul(sum);
            self.start.push(zero.wrapping_neg());
            self.multiplier.push(spec.multiplier[m]);
            self.bias.push(spec.bias[m]);
        }
        self.start.resize(end, 0);
        self.multiplier.resize(end, 0.0);
        self.bias.resize(end, 0.0);
    }
}
