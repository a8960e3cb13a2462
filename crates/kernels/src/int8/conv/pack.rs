use super::depthwise::ChannelWeights;
use super::weights::Weights;
use crate::conv::Window;
use crate::int8::vector::{int8_lanes, int8_tiles, weight_bytes, x_offset};
use crate::{Isa, KernelError};

/// Weights and attributes of a 2-D convolution of quantized values.
#[derive(Clone, Debug, PartialEq)]
pub struct QConvSpec {
    /// `[M, C / group, kH, kW]`, row-major; symmetric.
    pub weight: Vec<i8>,
    /// M.
    pub out_channels: usize,
    /// C / group.
    pub in_channels_per_group: usize,
    /// kH, kW.
    pub kernel: [usize; 2],
    /// Pixels between windows.
    pub strides: [usize; 2],
    /// Pixels between taps.
    pub dilations: [usize; 2],
    /// Top, left, bottom, right.
    pub pads: [usize; 4],
    /// Groups of channels.
    pub group: usize,
    /// The quantized value of x that stands for 0.
    pub x_zero_point: u8,
    /// M values.
    pub bias: Vec<f32>,
    /// M values: `x_scale * w_scale[m]`, the real value of one step of a sum.
    pub multiplier: Vec<f32>,
}

/// Output channels computed together.
pub(crate) struct Panel {
    /// First output channel and how many there are.
    pub(crate) channel: usize,
    pub(crate) channels: usize,
    /// First input channel.
    pub(crate) in_channel: usize,
    /// Vectors.
    pub(crate) nv: usize,
    /// Where its starts, multipliers and bias lie.
    pub(crate) lane: usize,
}

/// A convolution of quantized values packed for one instruction set.
pub struct PackedQConv {
    pub(crate) isa: Isa,
    pub(crate) out_channels: usize,
    pub(crate) in_channels_per_group: usize,
    pub(crate) window: Window,
    pub(crate) group: usize,
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
    /// bias or multipliers do not fit the sizes, `NotFinite` for a multiplier or a bias, `IsaUnavailable`.
    pub fn new(spec: &QConvSpec, isa: Isa) -> Result<PackedQConv, KernelError> {
        isa.check()?;
        check(spec)?;
        let depthwise =
            spec.group > 1 && spec.in_channels_per_group == 1 && spec.out_channels == spec.group;
        let panels = if depthwise {
            Vec::new()
        } else {
            (0..spec.group).flat_map(|g| panels(spec, isa, g)).collect()
        };
        let inner = spec.in_channels_per_group;
        let rows_differ = spec.group == 1
            && spec.dilations[1] == 1
            && spec.kernel[1] > 1
            && !inner.is_multiple_of(4);
        let mut conv = PackedQConv {
            isa,
            out_channels: spec.out_channels,
            in_channels_per_group: inner,
            window: Window {
                kernel: spec.kernel,
                strides: spec.strides,
                dilations: spec.dilations,
                pads: spec.pads,
            },
            group: spec.group,
            weights: Weights::default(),
            row_weights: None,
            depthwise: None,
            start: Vec::new(),
            multiplier: Vec::new(),
            bias: Vec::new(),
            largest: largest(spec),
            panels,
        };
        if depthwise {
            conv.pack_depthwise(spec);
            return Ok(conv);
        }
        conv.weights = Weights::new(spec, isa, &conv.panels, spec.kernel[1]);
        conv.row_weights = rows_differ.then(|| Weights::new(spec, isa, &conv.panels, 1));
        for index in 0..conv.panels.len() {
            let (channel, channels) = (conv.panels[index].channel, conv.panels[index].channels);
            let lanes = conv.panels[index].nv * int8_lanes(isa);
            conv.pack_lanes(spec, channel..channel + channels, lanes);
        }
        Ok(conv)
    }

    /// Appends the channels' starts, multipliers and bias, filled up to `lanes`.
    fn pack_lanes(&mut self, spec: &QConvSpec, channels: std::ops::Range<usize>, lanes: usize) {
        let end = self.start.len() + lanes;
        let per_channel = spec.in_channels_per_group * spec.kernel[0] * spec.kernel[1];
        for m in channels {
            let weights = &spec.weight[m * per_channel..(m + 1) * per_channel];
            let sum = weights
                .iter()
                .fold(0i32, |sum, &w| sum.wrapping_add(i32::from(w)));
            let zero = i32::from(spec.x_zero_point) - x_offset(self.isa);
            let zero = zero.wrapping_mul(sum);
            self.start.push(zero.wrapping_neg());
            self.multiplier.push(spec.multiplier[m]);
            self.bias.push(spec.bias[m]);
        }
        self.start.resize(end, 0);
        self.multiplier.resize(end, 0.0);
        self.bias.resize(end, 0.0);
    }

    fn pack_depthwise(&mut self, spec: &QConvSpec) {
        self.depthwise = Some(ChannelWeights::new(spec, self.isa));
        let padded = spec.out_channels.next_multiple_of(4 * int8_lanes(self.isa));
        self.pack_lanes(spec, 0..spec.out_channels, padded);
    }
}

/// The panels of one group: widths that differ by one vector at most.
fn panels(spec: &QConvSpec, isa: Isa, group: usize) -> Vec<Panel> {
    let lanes = int8_lanes(isa);
    let channels = spec.out_channels / spec.group;
    let depth = spec.kernel[0] * spec.kernel[1] * spec.in_channels_per_group;
    let mut widest = int8_tiles(isa).len();
    while widest > 1 && depth * widest * lanes * weight_bytes(isa) / 4 > PANEL_BYTES {
        widest -= 1;
    }
    let vectors = channels.div_ceil(lanes);
    let count = vectors.div_ceil(widest);
    let mut first = 0;
    let mut lane = group * vectors * lanes;
    (0..count)
        .map(|index| {
            let nv = vectors / count + usize::from(index < vectors % count);
            let panel = Panel {
                channel: group * channels + first,
                channels: (nv * lanes).min(channels - first),
                in_channel: group * spec.in_channels_per_group,
                nv,
                lane,
            };
            first += panel.channels;
            lane += nv * lanes;
            panel
        })
        .collect()
}

fn largest(spec: &QConvSpec) -> f32 {
    let of = |values: &[f32]| values.iter().fold(0.0f32, |a, v| a.max(v.abs()));
    // No sum's magnitude is above 2^31.
    2_147_483_648.0 * of(&spec.multiplier) + of(&spec.bias)
}

fn check(spec: &QConvSpec) -> Result<(), KernelError> {
    for (parameter, values) in [
        ("out_channels", [spec.out_channels; 2]),
        ("in_channels_per_group", [spec.in_channels_per_group; 2]),
        ("kernel", spec.kernel),
        ("strides", spec.strides),
        ("dilations", spec.dilations),
        ("group", [spec.group; 2]),
    ] {
        if values.contains(&0) {
            return Err(KernelError::Zero { parameter });
        }
    }
    if !spec.out_channels.is_multiple_of(spec.group) {
        return Err(KernelError::Groups {
            out_channels: spec.out_channels,
            group: spec.group,
        });
    }
    let weights = [spec.in_channels_per_group, spec.kernel[0], spec.kernel[1]]
        .iter()
        .fold(spec.out_channels, |n, &d| n.saturating_mul(d));
    for (operand, expected, found) in [
        ("weight", weights, spec.weight.len()),
        ("bias", spec.out_channels, spec.bias.len()),
        ("multiplier", spec.out_channels, spec.multiplier.len()),
    ] {
        if found != expected {
            return Err(KernelError::Length {
                operand,
                expected,
                found,
            });
        }
    }
    for (operand, values) in [("multiplier", &spec.multiplier), ("bias", &spec.bias)] {
        if let Some(&found) = values.iter().find(|value| !value.is_finite()) {
            return Err(KernelError::NotFinite { operand, found });
        }
    }
    Ok(())
}
