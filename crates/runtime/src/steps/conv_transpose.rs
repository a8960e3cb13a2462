//! ConvTranspose: outputs that lie a stride apart see the same taps, so each of these phases is a convolution of its own.
use super::conv::Elements;
use super::{FastStep, Int8, Item, OfNode};
use crate::RuntimeError;
use crate::layout::{self, At, Halo};
use crate::placement::{Made, Placement};
use crate::step::{Kernel, Packing, Parameters, StepError, Weights};
use crate::values::{Operand, Values};
use ir::ops::{self, SliceRange};
use ir::{Node, Op, ValueId};
use kernels::{ConvGeometry, Epilogue, FilterOrder, Isa, KernelError, PackedConv, View};
use std::borrow::Cow;

/// A transposed convolution; the item's first input is the image, then comes what is added and what that is multiplied by.
#[derive(Clone, Debug)]
pub(crate) struct ConvTranspose {
    attributes: ops::ConvTranspose,
    weight: ValueId,
    bias: Option<ValueId>,
    pub(crate) has_residual: bool,
    pub(crate) has_factor: bool,
}

impl OfNode for ConvTranspose {
    fn lower(node: &Node, operands: &mut Vec<Operand>, values: &Values<'_>) -> Option<Self> {
        let Op::ConvTranspose(attributes) = &node.op else {
            return None;
        };
        let has_phases = |axis: usize| {
            let (stride, dilation) = (attributes.strides[axis], attributes.dilations[axis]);
            stride == 1 || (dilation == 1 && attributes.kernel_shape[axis] >= stride)
        };
        let is_packable = node.inputs[1..].iter().all(|&v| values.is_packable(v));
        if !is_packable || !has_phases(0) || !has_phases(1) {
            return None;
        }
        operands.truncate(1);
        Some(Self {
            attributes: attributes.clone(),
            weight: node.inputs[1],
            bias: node.inputs.get(2).copied(),
            has_residual: false,
            has_factor: false,
        })
    }
}

impl FastStep for ConvTranspose {
    fn int8(&self) -> Int8 {
        Int8::None
    }

    fn place(&self, item: &Item, placement: &mut Placement<'_>) -> Result<(), RuntimeError> {
        let (x, y) = (placement.shape(item.inputs[0])?, placement.shape(item.output())?);
        let phases = [0, 1].map(|axis| self.phases(axis, x[axis + 2], y[axis + 2]));
        let mut halo: Halo = [0; 4];
        for (axis, phases) in phases.iter().enumerate() {
            for phase in phases {
                halo[axis] = halo[axis].max(phase.pads()[0]);
                halo[axis + 2] = halo[axis + 2].max(phase.pads()[1]);
            }
        }
        let image = placement.image(item.inputs[0], halo)?;
        let beside = item.inputs[1..].iter().map(|&v| placement.image(v, [0; 4]));
        let beside = beside.collect::<Result<Vec<At>, _>>()?;
        let result = placement.place(item.output())?;
        for rows in &phases[0] {
            for columns in &phases[1] {
                let phase = [rows, columns];
                let from = At { view: placement.check(seen(&image.view, phase))?, ..image };
                let every = |at: At| At { view: self.every(&at.view, phase), ..at };
                let to = every(result);
                let mut inputs = vec![from];
                inputs.extend(beside.iter().map(|&at| every(at)));
                let source = Source {
                    weight: Elements::new(self.weight, placement.values)?,
                    bias: self.bias.map(|v| Elements::new(v, placement.values)).transpose()?,
                    taps: phase.map(|phase| phase.taps.clone()),
                    kernel: self.attributes.kernel_shape,
                    geometry: self.geometry(phase, [x[1], y[1]]),
                    pixels: y[0] * rows.outputs * columns.outputs,
                    has_residual: self.has_residual,
                    has_factor: self.has_factor,
                    isa: placement.isa,
                };
                let values = placement.values;
                let shares = phases[0].len() * phases[1].len();
                placement.emit(inputs, vec![to], || {
                    let made = source.make(values, &item.name)?;
                    Ok(Made { shares, ..made })
                })?;
            }
        }
        Ok(())
    }
}

/// Outputs along one axis that lie a stride apart: a convolution of so many taps over the input.
struct Phase {
    /// The first output.
    first: usize,
    outputs: usize,
    /// The kernel's indices, in the order in which the convolution meets them.
    taps: Vec<usize>,
    dilation: usize,
    /// Inputs that the first window starts before the image, and that the last one reaches beyond it; below zero, inputs
    /// that no window sees.
    margins: [isize; 2],
}

impl Phase {
    /// Pixels of padding before and after.
    fn pads(&self) -> [usize; 2] {
        self.margins.map(|margin| margin.max(0) as usize)
    }

    /// Inputs that no window sees, before and after.
    fn unseen(&self) -> [usize; 2] {
        self.margins.map(|margin| (-margin).max(0) as usize)
    }
}

impl ConvTranspose {
    /// The phases along an axis whose input and output have these lengths. With stride `s` and padding `p`, output
    /// `s * q + r` is the sum over taps `k` of `x[(s * q + r + p - k * dilation) / s]`, where that is whole.
    fn phases(&self, axis: usize, input: usize, output: usize) -> Vec<Phase> {
        let a = &self.attributes;
        let (stride, dilation) = (a.strides[axis], a.dilations[axis]);
        let (kernel, pad) = (a.kernel_shape[axis], a.pads[axis]);
        let phase = |first: usize| {
            let nearest = (first + pad) % stride;
            let taps: Vec<usize> = (nearest..kernel).step_by(stride).rev().collect();
            let reach = (taps.len() - 1) * dilation;
            let outputs = (output - first).div_ceil(stride);
            let before = reach as isize - ((first + pad - nearest) / stride) as isize;
            let after = (outputs + reach) as isize - input as isize - before;
            Phase { first, outputs, taps, dilation, margins: [before, after] }
        };
        (0..stride.min(output)).map(phase).collect()
    }

    /// The outputs of two phases.
    fn every(&self, y: &View, phase: [&Phase; 2]) -> View {
        let range = |i: usize| SliceRange {
            axis: i + 2,
            start: phase[i].first,
            len: phase[i].outputs,
            step: self.attributes.strides[i] as i64,
        };
        let ranges = vec![range(0), range(1)];
        layout::slice(y, &ops::Slice { ranges }).expect("a step forwards")
    }

    /// The convolution that computes two phases of channels in and out.
    fn geometry(&self, phase: [&Phase; 2], [inputs, outputs]: [usize; 2]) -> ConvGeometry {
        let [rows, columns] = phase;
        let ([top, bottom], [left, right]) = (rows.pads(), columns.pads());
        ConvGeometry {
            out_channels: outputs,
            in_channels_per_group: inputs / self.attributes.group,
            kernel: phase.map(|phase| phase.taps.len()),
            strides: [1, 1],
            dilations: phase.map(|phase| phase.dilation),
            pads: [top, left, bottom, right],
            group: self.attributes.group,
        }
    }
}

/// The inputs that the windows of two phases see.
fn seen(x: &View, phase: [&Phase; 2]) -> Result<View, KernelError> {
    let mut view = *x;
    for (i, phase) in phase.into_iter().enumerate() {
        let [before, after] = phase.unseen();
        let len = view.shape[i + 2].saturating_sub(before + after);
        view = view.slice(i + 2, before, len)?;
    }
    Ok(view)
}

/// All that a phase's kernel is made of, before it is packed.
struct Source {
    weight: Elements,
    bias: Option<Elements>,
    /// Rows and columns of the kernel that belong to the phase.
    taps: [Vec<usize>; 2],
    /// Rows and columns of the whole kernel.
    kernel: [usize; 2],
    geometry: ConvGeometry,
    /// Outputs of a channel, of all images.
    pixels: usize,
    has_residual: bool,
    has_factor: bool,
    isa: Isa,
}

impl Source {
    fn make(self, values: &Values<'_>, name: &str) -> Result<Made, RuntimeError> {
        let initial = values.initial(&self.parameters())?;
        let kernel = self.kernel(&initial).map_err(|e| e.at(name))?;
        Ok(Made {
            kernel,
            shares: 1,
            packing: if initial.is_empty() { None } else { Some(Box::new(self)) },
        })
    }

    fn kernel(&self, parameters: &Parameters) -> Result<Kernel, StepError> {
        let Weights { weight, bias } = self.weights(parameters)?;
        let (geometry, order, pixels) = (self.geometry, self.order(), self.pixels);
        let packed =
            PackedConv::in_order(geometry, order, &weight, bias.as_deref(), pixels, self.isa)?;
        let (has_residual, has_factor) = (self.has_residual, self.has_factor);
        let fused = [has_residual.then_some(" + Add"), has_factor.then_some(" + Mul")];
        let fused = fused.into_iter().flatten().collect::<String>();
        Ok(Kernel::convolution(format!("ConvTranspose{fused}"), packed, move |ctx, packed, at| {
            let mut beside = at.inputs[1..].iter().copied();
            let residual = if has_residual { beside.next() } else { None };
            let epilogue = Epilogue { residual, factor: beside.next(), ..Epilogue::default() };
            kernels::conv2d(ctx, packed, at.x(), at.y(), &epilogue)
        }))
    }

    /// Where the phase's weights lie in those of the node, `[C, M / group, kH, kW]`.
    fn order(&self) -> FilterOrder {
        let ConvGeometry { out_channels, in_channels_per_group: inputs, group, .. } = self.geometry;
        let (outputs, [height, width]) = (out_channels / group, self.kernel);
        let [rows, columns] = &self.taps;
        let taps = |&row: &usize| columns.iter().map(move |column| row * width + column);
        FilterOrder {
            group_step: inputs * outputs * height * width,
            output_step: height * width,
            input_step: outputs * height * width,
            taps: rows.iter().flat_map(taps).collect(),
        }
    }
}

impl Packing for Source {
    fn parameters(&self) -> Vec<ValueId> {
        let held = [Some(&self.weight), self.bias.as_ref()];
        let held = held.into_iter().flatten();
        held.filter_map(Elements::parameter).collect()
    }

    fn weights<'a>(&'a self, parameters: &'a Parameters) -> Result<Weights<'a>, StepError> {
        let bias = self.bias.as_ref().map(|bias| bias.read(parameters)).transpose()?;
        let weight = Cow::Borrowed(self.weight.read(parameters)?);
        Ok(Weights { weight, bias: bias.map(Cow::Borrowed) })
    }
}
