//! Weights of f32 convolutions, in the order in which tiles read them.

use super::filter_order::FilterOrder;
use super::geometry::ConvGeometry;
use super::panels::{Panel, PanelLimits};
use super::winograd;
use crate::checks::check_length;
use crate::{Isa, KernelError};

/// A 2-D convolution's attributes, weights and bias.
#[derive(Clone, Debug, PartialEq)]
pub struct ConvSpec {
    /// Sizes and attributes.
    pub geometry: ConvGeometry,
    /// `[M, C / group, kH, kW] f32`, row-major.
    pub weight: Vec<f32>,
    /// `[M] f32`; zeros where there is none.
    pub bias: Option<Vec<f32>>,
}

/// A convolution packed for one instruction set.
#[derive(Clone)]
pub struct PackedConv {
    pub(crate) isa: Isa,
    pub(crate) geometry: ConvGeometry,
    /// Of the weights that it is packed from.
    order: FilterOrder,
    /// Whether it is computed by transformed filters.
    pub(crate) is_winograd: bool,
    /// None of a depthwise convolution.
    pub(crate) panels: Vec<Panel>,
    /// Per panel `[kH][kW][C / group][vectors * lanes]`, or `[36][C][vectors * lanes]` of transformed filters. Depthwise: `[kH][kW][C]`, C rounded up to vectors.
    pub(crate) weight: Vec<f32>,
    /// Per panel, or per channel, rounded up to vectors.
    pub(crate) bias: Vec<f32>,
}

/// A panel that outgrows this part of the second-level cache is made narrower.
const PANEL_BYTES: usize = 640 << 10;
/// Transformed filters of one position that outgrow this part of the first-level cache make a panel narrower.
const POSITION_BYTES: usize = 32 << 10;

impl PackedConv {
    /// Packs weights and bias for an instruction set, and for outputs of about so many pixels, by which it is chosen how it is
    /// computed.
    ///
    /// # Errors
    /// `Zero` for a size, stride, dilation or group of 0, `Groups` when channels do not divide, `Length` when weights
    /// or bias do not fit the sizes.
    pub fn new(spec: &ConvSpec, pixels: usize, isa: Isa) -> Result<PackedConv, KernelError> {
        spec.geometry.check()?;
        let order = FilterOrder::row_major(&spec.geometry);
        let (weight, bias) = (&spec.weight, spec.bias.as_deref());
        PackedConv::in_order(spec.geometry, order, weight, bias, pixels, isa)
    }

    /// As [`PackedConv::new`], from weights in another order.
    ///
    /// # Errors
    /// As [`PackedConv::new`].
    pub fn in_order(
        geometry: ConvGeometry,
        order: FilterOrder,
        weight: &[f32],
        bias: Option<&[f32]>,
        pixels: usize,
        isa: Isa,
    ) -> Result<PackedConv, KernelError> {
        geometry.check()?;
        let layout = isa.f32();
        let is_winograd = winograd::serves(&geometry, pixels);
        let inputs = geometry.in_channels_per_group;
        let (panels, lanes) = if geometry.is_depthwise() {
            (Vec::new(), geometry.out_channels.next_multiple_of(layout.lanes))
        } else {
            let limits = PanelLimits {
                lanes: layout.lanes,
                vectors: layout.tiles.len(),
                lane_bytes: size_of::<f32>() * if is_winograd { inputs } else { geometry.depth() },
                bytes: if is_winograd { POSITION_BYTES } else { PANEL_BYTES },
            };
            let panels = Panel::split(&geometry, &limits);
            let lanes = panels.iter().map(|panel| panel.vectors * layout.lanes).sum();
            (panels, lanes)
        };
        let depth = if is_winograd { winograd::POSITIONS * inputs } else { geometry.depth() };
        let mut conv = PackedConv {
            isa,
            geometry,
            order,
            is_winograd,
            panels,
            weight: vec![0.0; lanes * depth],
            bias: vec![0.0; lanes],
        };
        conv.repack(weight, bias)?;
        Ok(conv)
    }

    /// Bytes of memory that each thread computes in, at most.
    pub fn scratch_bytes(&self) -> usize {
        if self.is_winograd { winograd::scratch_bytes(&self.geometry) } else { 0 }
    }

    /// Replaces weights and bias in place, without taking memory: between two runs, the weights of a model in training
    /// may change.
    ///
    /// # Shapes
    /// `weight` in the order in which it was packed at first; `bias: [M] f32`, zeros where there is none.
    ///
    /// # Errors
    /// `Length` when weights or bias do not fit the sizes; nothing has changed then.
    pub fn repack(&mut self, weight: &[f32], bias: Option<&[f32]>) -> Result<(), KernelError> {
        let (geometry, order) = (self.geometry, &self.order);
        check_length("weight", geometry.group * order.group_step, weight.len())?;
        if let Some(bias) = bias {
            geometry.check_per_channel("bias", bias.len())?;
        }
        let whole = Panel {
            channel: 0,
            channels: geometry.out_channels,
            in_channel: 0,
            vectors: self.bias.len() / self.isa.f32().lanes,
            lane: 0,
        };
        let panels =
            if self.panels.is_empty() { std::slice::from_ref(&whole) } else { &self.panels };
        let inputs = geometry.in_channels_per_group;
        let depth = self.weight.len() / self.bias.len();
        for panel in panels {
            let width = panel.vectors * self.isa.f32().lanes;
            let packed = &mut self.weight[panel.lane * depth..][..width * depth];
            for n in 0..panel.channels {
                self.bias[panel.lane + n] = bias.map_or(0.0, |bias| bias[panel.channel + n]);
            }
            if self.is_winograd {
                winograd::pack(self.isa, &geometry, order, panel, weight, packed);
                continue;
            }
            // Rows are written one after the other; what is read of the filters stays in the cache meanwhile.
            let first = order.output(&geometry, panel.channel);
            let step = if geometry.is_depthwise() { order.group_step } else { order.output_step };
            for input in 0..inputs {
                for (tap, &at) in order.taps.iter().enumerate() {
                    let lanes = &mut packed[(tap * inputs + input) * width..][..panel.channels];
                    let filters = weight[first + input * order.input_step + at..].iter();
                    lanes.iter_mut().zip(filters.step_by(step)).for_each(|(to, &w)| *to = w);
                }
            }
        }
        Ok(())
    }
}
