//! 2-D convolution: weights packed once, direct on NHWC views with a physical halo, epilogue fused.

mod depthwise;
mod direct;
mod epilogue;
mod split;
#[cfg(test)]
mod tests;
mod tile;

pub(crate) use direct::{Gemm, Steps};
pub(crate) use split::part;
pub use tile::TileChoice;
pub(crate) use tile::{TileFn, choose, tile};

use crate::arena::Floats;
use crate::{Activation, Context, FakeQuantize, Isa, KernelError, View};

/// Shape of a convolution, named as in ONNX Conv.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvSpec {
    /// Channels of the input, all groups together.
    pub in_channels: usize,
    /// Channels of the output, all groups together.
    pub out_channels: usize,
    /// Height and width of the kernel.
    pub kernel_shape: [usize; 2],
    /// Steps along height and width.
    pub strides: [usize; 2],
    /// Distance of the taps along height and width.
    pub dilations: [usize; 2],
    /// Top, left, bottom, right.
    pub pads: [usize; 4],
    /// Number of channel groups.
    pub group: usize,
}

impl ConvSpec {
    /// Height and width of the output for an input of that height and width; `None` when the kernel does not fit.
    pub fn output_size(&self, input: [usize; 2]) -> Option<[usize; 2]> {
        let [top, left, bottom, right] = self.pads;
        let along = |axis: usize, lead: usize, trail: usize| {
            let reach = self.dilations[axis]
                .checked_mul(self.kernel_shape[axis].checked_sub(1)?)?
                .checked_add(1)?;
            let padded = input[axis].checked_add(lead)?.checked_add(trail)?;
            Some(padded.checked_sub(reach)?.checked_div(self.strides[axis])? + 1)
        };
        Some([along(0, top, bottom)?, along(1, left, right)?])
    }

    fn check(&self) -> Result<(), KernelError> {
        let sizes = [
            ("in_channels", self.in_channels),
            ("out_channels", self.out_channels),
            (
                "kernel_shape",
                self.kernel_shape[0].min(self.kernel_shape[1]),
            ),
            ("strides", self.strides[0].min(self.strides[1])),
            ("dilations", self.dilations[0].min(self.dilations[1])),
            ("group", self.group),
        ];
        if let Some(&(parameter, _)) = sizes.iter().find(|&&(_, size)| size == 0) {
            return Err(KernelError::Zero { parameter });
        }
        if !self.in_channels.is_multiple_of(self.group)
            || !self.out_channels.is_multiple_of(self.group)
        {
            return Err(KernelError::Groups {
                in_channels: self.in_channels,
                out_channels: self.out_channels,
                group: self.group,
            });
        }
        Ok(())
    }

    fn is_depthwise(&self) -> bool {
        self.group > 1 && self.group == self.in_channels && self.group == self.out_channels
    }
}

/// What happens to a convolution's sum before it is stored: `fake_quantize(activation(sum + bias) + residual)`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Epilogue {
    /// Applied to the sum.
    pub activation: Activation,
    /// Added after the activation; `[N, C, H, W]` as the output, which it may be.
    pub residual: Option<View>,
    /// Applied last.
    pub fake_quantize: Option<FakeQuantize>,
}

/// A convolution's weights in the order in which the kernels of one instruction set read them.
pub struct PackedConv {
    spec: ConvSpec,
    isa: Isa,
    /// `[group, vector of output channels, ky, kx, input channel, lane]`.
    weights: Floats,
    /// `[group, vector of output channels, lane]`.
    bias: Floats,
}

impl PackedConv {
    /// Packs weights `[O, I/group, kH, kW]` and bias `[O]`.
    ///
    /// # Errors
    /// `Zero` and `Groups` for an impossible spec, `Length` when the slices have other sizes than it says, `OutOfMemory`.
    pub fn new(
        isa: Isa,
        spec: ConvSpec,
        weights: &[f32],
        bias: Option<&[f32]>,
    ) -> Result<PackedConv, KernelError> {
        spec.check()?;
        let check = |operand, expected, found| {
            if expected == found {
                Ok(())
            } else {
                Err(KernelError::Length {
                    operand,
                    expected,
                    found,
                })
            }
        };
        let [kh, kw] = spec.kernel_shape;
        let per_output = (spec.in_channels / spec.group)
            .saturating_mul(kh)
            .saturating_mul(kw);
        check(
            "weights",
            spec.out_channels.saturating_mul(per_output),
            weights.len(),
        )?;
        check(
            "bias",
            spec.out_channels,
            bias.map_or(spec.out_channels, <[f32]>::len),
        )?;

        let lanes = isa.lanes();
        let packing = Packing::of(&spec, lanes);
        let mut packed = Floats::zeroed(packing.groups * packing.vectors * packing.depth * lanes)?;
        let mut packed_bias = Floats::zeroed(packing.groups * packing.vectors * lanes)?;
        let per_group = spec.out_channels / packing.groups;
        let inputs = if spec.is_depthwise() {
            1
        } else {
            spec.in_channels / spec.group
        };
        for (o, kernel) in weights.chunks_exact(per_output).enumerate() {
            let (group, o_in_group) = (o / per_group, o % per_group);
            let vector = group * packing.vectors + o_in_group / lanes;
            let lane = o_in_group % lanes;
            if let Some(bias) = bias {
                packed_bias.as_mut_slice()[vector * lanes + lane] = bias[o];
            }
            let panel = &mut packed.as_mut_slice()[vector * packing.depth * lanes..]
                [..packing.depth * lanes];
            for (i, taps) in kernel.chunks_exact(kh * kw).enumerate() {
                for (tap, &weight) in taps.iter().enumerate() {
                    panel[(tap * inputs + i) * lanes + lane] = weight;
                }
            }
        }
        Ok(PackedConv {
            spec,
            isa,
            weights: packed,
            bias: packed_bias,
        })
    }

    /// The shape it was packed for.
    pub fn spec(&self) -> &ConvSpec {
        &self.spec
    }

    /// Memory of the packed weights and bias.
    pub fn bytes(&self) -> usize {
        (self.weights.len() + self.bias.len()) * size_of::<f32>()
    }

    /// The register tile that `conv2d` uses for this output, with the reason for it.
    ///
    /// # Errors
    /// `Rank` when the view is not `[N, C, H, W]`.
    pub fn tile_for(&self, y: &View) -> Result<TileChoice, KernelError> {
        y.check_rank("y", 4)?;
        if self.spec.is_depthwise() {
            return Ok(depthwise::tile_for(
                self.isa,
                y.shape[3],
                self.spec.out_channels,
            ));
        }
        let packing = Packing::of(&self.spec, self.isa.lanes());
        Ok(choose(
            self.isa,
            direct::row_width(&self.spec, &[y]),
            packing.vectors,
        ))
    }
}

/// Extents of the packed weights.
struct Packing {
    /// Groups packed one after the other; a depthwise convolution is one group of channel vectors.
    groups: usize,
    vectors: usize,
    /// Products summed for one output.
    depth: usize,
}

impl Packing {
    fn of(spec: &ConvSpec, lanes: usize) -> Packing {
        let [kh, kw] = spec.kernel_shape;
        let groups = if spec.is_depthwise() { 1 } else { spec.group };
        let inputs = spec.in_channels / spec.group;
        Packing {
            groups,
            vectors: (spec.out_channels / groups).div_ceil(lanes),
            depth: kh * kw * inputs,
        }
    }
}

/// Convolves `x` into `y`.
///
/// The arena must hold zeros around `x`, as wide as the spec's pads ([`crate::fill_halo`]): pixels at negative
/// coordinates and beyond the far edge are read. Nothing but `y` is written.
///
/// # Shapes
/// `x: [N, I, H, W] f32`, `y: [N, O, H', W'] f32`, both with channels side by side; `x` and `y` may be slices of the same
/// concat buffer.
///
/// # Errors
/// `Rank`, `Shape`, `Stride` for views that do not fit the spec, `OutOfBounds`, `SelfOverlap`, `Overlap` for memory,
/// `IsaMismatch` when packed for another instruction set.
///
/// Source: ONNX Conv, opset 1 to 22.
pub fn conv2d(
    ctx: &mut Context<'_>,
    packed: &PackedConv,
    x: &View,
    y: &View,
    epilogue: &Epilogue,
) -> Result<(), KernelError> {
    let spec = &packed.spec;
    if packed.isa != ctx.isa {
        return Err(KernelError::IsaMismatch {
            packed: packed.isa,
            running: ctx.isa,
        });
    }
    x.check_nhwc("x")?;
    y.check_nhwc("y")?;
    let n = x.shape[0];
    x.check_shape("x", &[n, spec.in_channels, x.shape[2], x.shape[3]])?;
    let [h, w] = spec.output_size([x.shape[2], x.shape[3]]).unwrap_or([0, 0]);
    y.check_shape("y", &[n, spec.out_channels, h, w])?;
    let wide = x.with_halo("x", spec.pads, ctx.arena.elements())?;
    ctx.check(y, &[("x", &wide)], false)?;
    if let Some(residual) = &epilogue.residual {
        residual.check_nhwc("residual")?;
        residual.check_shape("residual", &y.shape)?;
        ctx.check(y, &[("residual", residual)], true)?;
    }
    if y.elements() == 0 {
        return Ok(());
    }
    if spec.is_depthwise() {
        depthwise::run(ctx, packed, x, y, epilogue);
    } else {
        direct::run(ctx, packed, x, y, epilogue);
    }
    Ok(())
}
