//! Weights of f32 convolutions, in the order in which tiles read them.

use super::geometry::ConvGeometry;
use super::panels::{Panel, PanelLimits};
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
    /// None of a depthwise convolution.
    pub(crate) panels: Vec<Panel>,
    /// Per panel `[kH][kW][C / group][vectors * lanes]`. Depthwise: `[kH][kW][C]`, C rounded up to vectors.
    pub(crate) weight: Vec<f32>,
    /// Per panel, or per channel, rounded up to vectors.
    pub(crate) bias: Vec<f32>,
}

/// A panel that outgrows this part of the second-level cache is made narrower.
const PANEL_BYTES: usize = 640 << 10;

impl PackedConv {
    /// Packs weights and bias for an instruction set.
    ///
    /// # Errors
    /// `Zero` for a size, stride, dilation or group of 0, `Groups` when channels do not divide, `Length` when weights
    /// or bias do not fit the sizes.
    pub fn new(spec: &ConvSpec, isa: Isa) -> Result<PackedConv, KernelError> {
        let geometry = spec.geometry;
        geometry.check()?;
        geometry.check_weights(spec.weight.len())?;
        let layout = isa.f32();
        let (panels, lanes) = if geometry.is_depthwise() {
            (Vec::new(), geometry.out_channels.next_multiple_of(layout.lanes))
        } else {
            let limits = PanelLimits {
                lanes: layout.lanes,
                vectors: layout.tiles.len(),
                lane_bytes: geometry.depth() * size_of::<f32>(),
                bytes: PANEL_BYTES,
            };
            let panels = Panel::split(&geometry, &limits);
            let lanes = panels.iter().map(|panel| panel.vectors * layout.lanes).sum();
            (panels, lanes)
        };
        let mut conv = PackedConv {
            isa,
            geometry,
            panels,
            weight: vec![0.0; lanes * geometry.depth()],
            bias: vec![0.0; lanes],
        };
        conv.repack(&spec.weight, spec.bias.as_deref())?;
        Ok(conv)
    }

    /// Replaces weights and bias in place, without taking memory: between two runs, the weights of a model in training
    /// may change.
    ///
    /// # Shapes
    /// `weight: [M, C / group, kH, kW] f32`, row-major; `bias: [M] f32`, zeros where there is none.
    ///
    /// # Errors
    /// `Length` when weights or bias do not fit the sizes; nothing has changed then.
    pub fn repack(&mut self, weight: &[f32], bias: Option<&[f32]>) -> Result<(), KernelError> {
        let geometry = self.geometry;
        geometry.check_weights(weight.len())?;
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
        let (taps, depth) = (geometry.taps(), geometry.depth());
        for panel in panels {
            let width = panel.vectors * self.isa.f32().lanes;
            let packed = &mut self.weight[panel.lane * depth..][..width * depth];
            for n in 0..panel.channels {
                self.bias[panel.lane + n] = bias.map_or(0.0, |bias| bias[panel.channel + n]);
            }
            // Rows are written one after the other; what is read of the filters stays in the cache meanwhile.
            let filters = &weight[panel.channel * depth..][..panel.channels * depth];
            for at in 0..depth {
                let (input, tap) = (at / taps, at % taps);
                let row = tap * geometry.in_channels_per_group + input;
                let lanes = &mut packed[row * width..][..panel.channels];
                for (lane, filter) in lanes.iter_mut().zip(filters.chunks_exact(depth)) {
                    *lane = filter[at];
                }
            }
        }
        Ok(())
    }
}
