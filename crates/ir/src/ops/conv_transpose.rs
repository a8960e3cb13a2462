//! ConvTranspose: 2-D transposed convolution.
//! Spec: onnx.ai/onnx/operators/onnx__ConvTranspose.html, opset 1 to 22.
use super::conv::{Window, window};
use crate::Port::{Input, Output};
use crate::{
    Attribute, Channels, FreezeReason, KeptAxes, LoweredNode, NodeSpec, OpError, Operator, Parsed,
    QuantFacts, Shapes, Tensor, TensorType,
};

/// The gradient of a convolution, of `x: [N, C, H, W]` with `weight: [C, O / group, kH, kW]` and an optional `bias: [O]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConvTranspose {
    /// Rows and columns of the kernel.
    pub kernel_shape: [usize; 2],
    /// Distance between the outputs of neighbouring inputs.
    pub strides: [usize; 2],
    /// Distance between taps.
    pub dilations: [usize; 2],
    /// Rows and columns cut off at top, left, bottom, right.
    pub pads: [usize; 4],
    /// Rows and columns added at bottom and right.
    pub output_padding: [usize; 2],
    /// Number of channel groups.
    pub group: usize,
}

impl ConvTranspose {
    fn reach(&self, axis: usize) -> usize {
        (self.kernel_shape[axis] - 1) * self.dilations[axis] + 1
    }

    fn out_len(&self, axis: usize, len: usize) -> Option<usize> {
        let whole = len
            .checked_sub(1)?
            .checked_mul(self.strides[axis])?
            .checked_add(self.reach(axis) + self.output_padding[axis])?;
        whole.checked_sub(self.pads[axis] + self.pads[axis + 2]).filter(|&n| n > 0)
    }

    /// Sets the pads that give the lengths asked for; an odd one goes to the end, for SAME_LOWER to the start.
    fn fit(&mut self, hw: &[usize], lengths: [usize; 2], lower: bool) -> Result<(), OpError> {
        self.pads = [0; 4];
        for axis in 0..2 {
            let whole = self.out_len(axis, hw[axis]).unwrap_or(0);
            let wrong = OpError::AxisLength {
                input: 0,
                axis: axis + 2,
                expected: lengths[axis],
                found: whole,
            };
            // What is missing is added as output padding.
            let Some(cut) = whole.checked_sub(lengths[axis]) else {
                self.output_padding[axis] += lengths[axis] - whole;
                if self.output_padding[axis] >= 1 << 16 {
                    return Err(wrong);
                }
                continue;
            };
            let (small, large) = (cut / 2, cut - cut / 2);
            (self.pads[axis], self.pads[axis + 2]) =
                if lower { (large, small) } else { (small, large) };
        }
        Ok(())
    }
}

fn two(spec: &mut NodeSpec<'_>, name: &'static str) -> Result<Option<[usize; 2]>, OpError> {
    let Some(v) = spec.attributes.usizes(name)? else {
        return Ok(None);
    };
    let found = format!("{v:?}");
    let wrong = OpError::Attribute {
        name: name.to_owned(),
        expected: "a small number for each of two axes",
        found,
    };
    let pair: [usize; 2] = v.try_into().map_err(|_| wrong.clone())?;
    if pair.iter().any(|&v| v > 1 << 16) { Err(wrong) } else { Ok(Some(pair)) }
}

impl Operator for ConvTranspose {
    const OP_TYPES: &'static [&'static str] = &["ConvTranspose"];

    fn parse(spec: &mut NodeSpec<'_>) -> Result<Parsed, OpError> {
        let (x, w) = (spec.ty(0)?, spec.ty(1)?);
        if w.rank() != 4 {
            return Err(OpError::Rank { input: 1, expected: "4", found: w.shape.clone() });
        }
        // SAME of a transposed convolution means lengths times strides, not what `window` makes of it.
        let auto_pad = spec.attributes.string("auto_pad")?.unwrap_or_else(|| "NOTSET".into());
        let Window { kernel_shape, strides, dilations, pads } =
            window(spec, Some([w.shape[2], w.shape[3]]))?;
        let group = spec.attributes.int("group")?.unwrap_or(1);
        let group =
            usize::try_from(group).ok().filter(|&g| g > 0).ok_or_else(|| OpError::Attribute {
                name: "group".into(),
                expected: "a positive integer",
                found: group.to_string(),
            })?;
        let output_padding = two(spec, "output_padding")?.unwrap_or([0; 2]);
        let mut op = Self { kernel_shape, strides, dilations, pads, output_padding, group };
        let hw = &x.shape[2..];
        match (two(spec, "output_shape")?, auto_pad.as_str()) {
            (Some(lengths), same) => op.fit(hw, lengths, same == "SAME_LOWER")?,
            (None, "NOTSET") => {}
            (None, "VALID") => op.pads = [0; 4],
            (None, "SAME_UPPER" | "SAME_LOWER") => {
                let lengths = [0, 1].map(|a| hw[a].saturating_mul(strides[a]));
                op.fit(hw, lengths, auto_pad == "SAME_LOWER")?;
            }
            (None, _) => {
                return Err(OpError::Attribute {
                    name: "auto_pad".into(),
                    expected: "NOTSET, VALID, SAME_UPPER or SAME_LOWER",
                    found: auto_pad,
                });
            }
        }
        Ok(Parsed::first(op, if spec.input(2).is_some() { 3 } else { 2 }))
    }

    fn op_type(&self) -> &'static str {
        "ConvTranspose"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        super::expect_inputs(inputs, 2..=3, "2 or 3")?;
        let (x, w) = (inputs[0], inputs[1]);
        if let Some(input) = (0..2).find(|&i| inputs[i].rank() != 4) {
            let found = inputs[input].shape.clone();
            return Err(OpError::Rank { input, expected: "4", found });
        }
        let expect = |input, axis, expected, found| {
            if expected == found {
                Ok(())
            } else {
                Err(OpError::AxisLength { input, axis, expected, found })
            }
        };
        expect(1, 0, x.shape[1], w.shape[0])?;
        expect(1, 0, w.shape[0] / self.group * self.group, w.shape[0])?;
        expect(1, 2, self.kernel_shape[0], w.shape[2])?;
        expect(1, 3, self.kernel_shape[1], w.shape[3])?;
        let channels = w.shape[1].saturating_mul(self.group);
        if let Some(b) = inputs.get(2) {
            expect(2, 0, channels, b.elements())?;
        }
        let mut shape = vec![x.shape[0], channels];
        for axis in 0..2 {
            let found = x.shape[axis + 2];
            shape.push(self.out_len(axis, found).ok_or(OpError::AxisLength {
                input: 0,
                axis: axis + 2,
                expected: 1,
                found,
            })?);
        }
        crate::elements(&shape)?;
        Ok(vec![TensorType::new(x.dtype, shape)])
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        let types: Vec<TensorType> = inputs.iter().map(|t| t.ty()).collect();
        let out = self.infer(&types.iter().collect::<Vec<_>>())?.remove(0);
        let (x, w) = (inputs[0].to_f64()?, inputs[1].to_f64()?);
        let bias = inputs.get(2).map(|b| b.to_f64()).transpose()?;
        let (xs, ws, os) = (&types[0].shape, &types[1].shape, &out.shape);
        let plane = os[2] * os[3];
        let mut y: Vec<f64> = (0..out.elements())
            .map(|i| bias.as_ref().map_or(0.0, |b| b[i / plane % os[1]]))
            .collect();
        let inside = |axis: usize, i: usize, k: usize| {
            let at =
                (i * self.strides[axis] + k * self.dilations[axis]).wrapping_sub(self.pads[axis]);
            (at < os[axis + 2]).then_some(at)
        };
        for (i, &x) in x.iter().enumerate() {
            let (ix, iy, c, n) = (
                i % xs[3],
                i / xs[3] % xs[2],
                i / (xs[3] * xs[2]) % xs[1],
                i / (xs[3] * xs[2] * xs[1]),
            );
            let first = c / (xs[1] / self.group) * ws[1];
            for tap in 0..ws[1] * ws[2] * ws[3] {
                let (kx, ky, o) = (tap % ws[3], tap / ws[3] % ws[2], tap / (ws[3] * ws[2]));
                if let (Some(oy), Some(ox)) = (inside(0, iy, ky), inside(1, ix, kx)) {
                    y[(n * os[1] + first + o) * plane + oy * os[3] + ox] +=
                        x * w[c * ws[1] * ws[2] * ws[3] + tap];
                }
            }
        }
        Ok(vec![Tensor::from_f64(out.dtype, out.shape, &y)?])
    }

    fn channel_links(&self, shapes: &Shapes<'_>) -> Channels {
        let (w, out) = (&shapes.inputs[1].shape, shapes.outputs[0].shape[1]);
        if self.group != 1 {
            return Channels::none().freeze(Input(0), 1, FreezeReason::GroupedConvolution).freeze(
                Output(0),
                1,
                FreezeReason::GroupedConvolution,
            );
        }
        let mut channels = Channels::none().link(Input(0).axis(1), Input(1).axis(0), w[0]).link(
            Input(1).axis(1),
            Output(0).axis(1),
            out,
        );
        if shapes.inputs.len() > 2 {
            channels = channels.link(Input(2).axis(0), Output(0).axis(1), out);
        }
        channels
    }

    fn keep(&self, _shapes: &Shapes<'_>, _kept: &KeptAxes) -> Self {
        self.clone()
    }

    fn quant_facts(&self) -> QuantFacts {
        if self.group == 1 {
            QuantFacts::Weighted { weight: 1, axis: 1, bias: 2 }
        } else {
            QuantFacts::Float
        }
    }

    fn macs(&self, shapes: &Shapes<'_>) -> u64 {
        let w = &shapes.inputs[1].shape;
        shapes.inputs[0].elements() as u64 * (w[1] * w[2] * w[3]) as u64
    }

    fn lower(&self, _opset: i64, inputs: usize, _outputs: usize) -> Vec<LoweredNode> {
        let ints = |v: &[usize]| Attribute::Ints(v.iter().map(|&x| x as i64).collect());
        let attributes = vec![
            ("dilations", ints(&self.dilations)),
            ("group", Attribute::Int(self.group as i64)),
            ("kernel_shape", ints(&self.kernel_shape)),
            ("output_padding", ints(&self.output_padding)),
            ("pads", ints(&self.pads)),
            ("strides", ints(&self.strides)),
        ];
        vec![LoweredNode::simple("ConvTranspose", inputs, attributes)]
    }
}
