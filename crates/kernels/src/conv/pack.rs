use super::window::Window;
use crate::vector::{lanes, tiles};
use crate::{Isa, KernelError};

/// Weights and attributes of a 2-D convolution, as ONNX has them.
#[derive(Clone, Debug, PartialEq)]
pub struct ConvSpec {
    /// `[M, C / group, kH, kW]`, row-major.
    pub weight: Vec<f32>,
    /// M.
    pub out_channels: usize,
    /// C / group.
    pub in_channels_per_group: usize,
    /// kH, kW.
    pub kernel: [usize; 2],
    /// M values.
    pub bias: Option<Vec<f32>>,
    /// Pixels between windows.
    pub strides: [usize; 2],
    /// Pixels between taps.
    pub dilations: [usize; 2],
    /// Top, left, bottom, right.
    pub pads: [usize; 4],
    /// Groups of channels.
    pub group: usize,
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
    /// Where its weights and its bias start.
    pub(crate) weight: usize,
    pub(crate) bias: usize,
}

/// A convolution packed for one instruction set.
pub struct PackedConv {
    pub(crate) isa: Isa,
    pub(crate) out_channels: usize,
    pub(crate) in_channels_per_group: usize,
    pub(crate) kernel: [usize; 2],
    pub(crate) strides: [usize; 2],
    pub(crate) dilations: [usize; 2],
    pub(crate) pads: [usize; 4],
    pub(crate) group: usize,
    pub(crate) panels: Vec<Panel>,
    /// Direct: per panel `[kH][kW][C / group][nv * lanes]`. Depthwise: `[kH][kW][C]`, C rounded up to vectors.
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
    /// or bias do not fit the sizes, `IsaUnavailable`.
    pub fn new(spec: &ConvSpec, isa: Isa) -> Result<PackedConv, KernelError> {
        isa.check()?;
        check(spec)?;
        let mut conv = PackedConv {
            isa,
            out_channels: spec.out_channels,
            in_channels_per_group: spec.in_channels_per_group,
            kernel: spec.kernel,
            strides: spec.strides,
            dilations: spec.dilations,
            pads: spec.pads,
            group: spec.group,
            panels: Vec::new(),
            weight: Vec::new(),
            bias: Vec::new(),
        };
        if conv.is_depthwise() {
            conv.pack_depthwise(spec);
        } else {
            for group in 0..spec.group {
                conv.pack_group(spec, group);
            }
        }
        Ok(conv)
    }

    /// Whether every channel is convolved by itself.
    pub(crate) fn is_depthwise(&self) -> bool {
        self.group > 1 && self.in_channels_per_group == 1 && self.out_channels == self.group
    }

    pub(crate) fn window(&self) -> Window {
        Window {
            kernel: self.kernel,
            strides: self.strides,
            dilations: self.dilations,
            pads: self.pads,
        }
    }

    fn pack_depthwise(&mut self, spec: &ConvSpec) {
        let lanes = lanes(self.isa);
        let (taps, padded) = (
            spec.kernel[0] * spec.kernel[1],
            spec.out_channels.next_multiple_of(lanes),
        );
        self.weight = vec![0.0; taps * padded];
        self.bias = vec![0.0; padded];
        for channel in 0..spec.out_channels {
            self.bias[channel] = spec.bias.as_ref().map_or(0.0, |b| b[channel]);
            for tap in 0..taps {
                self.weight[tap * padded + channel] = spec.weight[channel * taps + tap];
            }
        }
    }

    fn pack_group(&mut self, spec: &ConvSpec, group: usize) {
        let lanes = lanes(self.isa);
        let channels = spec.out_channels / spec.group;
        let (taps, inner) = (spec.kernel[0] * spec.kernel[1], spec.in_channels_per_group);
        let mut widest = tiles(self.isa).len();
        while widest > 1 && taps * inner * widest * lanes * 4 > PANEL_BYTES {
            widest -= 1;
        }
        let vectors = channels.div_ceil(lanes);
        let panels = vectors.div_ceil(widest);
        let mut first = 0;
        for panel in 0..panels {
            // Widths that differ by one vector at most: 5 vectors are 3 + 2, not 4 + 1.
            let nv = vectors / panels + usize::from(panel < vectors % panels);
            let nr = nv * lanes;
            let count = nr.min(channels - first);
            let channel = group * channels + first;
            let (weight, bias) = (self.weight.len(), self.bias.len());
            self.weight.resize(weight + taps * inner * nr, 0.0);
            self.bias.resize(bias + nr, 0.0);
            for n in 0..count {
                self.bias[bias + n] = spec.bias.as_ref().map_or(0.0, |b| b[channel + n]);
                for i in 0..inner {
                    for tap in 0..taps {
                        self.weight[weight + (tap * inner + i) * nr + n] =
                            spec.weight[((channel + n) * inner + i) * taps + tap];
                    }
                }
            }
            self.panels.push(Panel {
                channel,
                channels: count,
                in_channel: group * inner,
                nv,
                weight,
                bias,
            });
            first += count;
        }
    }
}

fn check(spec: &ConvSpec) -> Result<(), KernelError> {
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
    let expected = [spec.in_channels_per_group, spec.kernel[0], spec.kernel[1]]
        .iter()
        .fold(spec.out_channels, |n, &d| n.saturating_mul(d));
    if spec.weight.len() != expected {
        return Err(KernelError::Length {
            operand: "weight",
            expected,
            found: spec.weight.len(),
        });
    }
    match &spec.bias {
        Some(bias) if bias.len() != spec.out_channels => Err(KernelError::Length {
            operand: "bias",
            expected: spec.out_channels,
            found: bias.len(),
        }),
        _ => Ok(()),
    }
}
