//! Conv: 2-D convolution, grouped and depthwise included.
//! Spec: onnx.ai/onnx/operators/onnx__Conv.html, opset 1 to 22.
use crate::Port::{Input, Output};
use crate::{
    Attribute, Channels, FreezeReason, KeptAxes, LoweredNode, NodeSpec, OpError, Operator, Parsed,
    QuantFacts, Shapes, Tensor, TensorType,
};

/// A 2-D convolution of `x: [N, C, H, W]` with `weight: [O, C / group, kH, kW]` and an optional `bias: [O]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conv {
    /// Rows and columns of the kernel.
    pub kernel_shape: [usize; 2],
    /// Step of the window.
    pub strides: [usize; 2],
    /// Distance between taps.
    pub dilations: [usize; 2],
    /// Zeros added at top, left, bottom, right.
    pub pads: [usize; 4],
    /// Number of channel groups.
    pub group: usize,
}

/// Window attributes shared by convolution and pooling.
pub(super) struct Window {
    pub kernel_shape: [usize; 2],
    pub strides: [usize; 2],
    pub dilations: [usize; 2],
    pub pads: [usize; 4],
}

fn exactly<const N: usize>(
    name: &str,
    v: Option<Vec<usize>>,
    default: usize,
) -> Result<[usize; N], OpError> {
    let Some(v) = v else { return Ok([default; N]) };
    let found = format!("{v:?}");
    v.try_into().map_err(|_| OpError::Attribute {
        name: name.to_owned(),
        expected: "a 2-D window",
        found,
    })
}

/// Reads kernel_shape, strides, dilations and pads, with auto_pad turned into explicit pads.
pub(super) fn window(
    spec: &mut NodeSpec<'_>,
    kernel: Option<[usize; 2]>,
) -> Result<Window, OpError> {
    let x = spec.ty(0)?;
    if x.rank() != 4 {
        return Err(OpError::Rank { input: 0, expected: "4", found: x.shape.clone() });
    }
    let a = &mut spec.attributes;
    let given = a.usizes("kernel_shape")?;
    let kernel_shape = match (given, kernel) {
        (None, Some(k)) => k,
        (None, None) => {
            return Err(OpError::MissingAttribute { name: "kernel_shape" });
        }
        (given, _) => exactly("kernel_shape", given, 1)?,
    };
    let strides = exactly("strides", a.usizes("strides")?, 1)?;
    let dilations = exactly("dilations", a.usizes("dilations")?, 1)?;
    let explicit: [usize; 4] = exactly("pads", a.usizes("pads")?, 0)?;
    for (name, pair) in
        [("kernel_shape", kernel_shape), ("strides", strides), ("dilations", dilations)]
    {
        within(name, &pair, 1..=1 << 16, "numbers from 1 to 65536")?;
    }
    within("pads", &explicit, 0..=1 << 16, "numbers up to 65536")?;
    let auto_pad = a.string("auto_pad")?.unwrap_or_else(|| "NOTSET".into());
    let pads = match auto_pad.as_str() {
        "NOTSET" => explicit,
        "VALID" => [0; 4],
        "SAME_UPPER" | "SAME_LOWER" => {
            same_pads(&x.shape[2..], kernel_shape, strides, dilations, auto_pad == "SAME_LOWER")
        }
        _ => {
            return Err(OpError::Attribute {
                name: "auto_pad".into(),
                expected: "NOTSET, VALID, SAME_UPPER or SAME_LOWER",
                found: auto_pad,
            });
        }
    };
    Ok(Window { kernel_shape, strides, dilations, pads })
}

/// Refuses numbers beyond what any network has, before they are multiplied.
fn within(
    name: &str,
    found: &[usize],
    bounds: std::ops::RangeInclusive<usize>,
    expected: &'static str,
) -> Result<(), OpError> {
    if found.iter().all(|v| bounds.contains(v)) {
        return Ok(());
    }
    Err(OpError::Attribute { name: name.into(), expected, found: format!("{found:?}") })
}

fn same_pads(
    hw: &[usize],
    kernel: [usize; 2],
    strides: [usize; 2],
    dilations: [usize; 2],
    lower: bool,
) -> [usize; 4] {
    let mut pads = [0; 4];
    for i in 0..2 {
        let reach = (kernel[i] - 1) * dilations[i] + 1;
        let total =
            ((hw[i].div_ceil(strides[i]).max(1) - 1) * strides[i] + reach).saturating_sub(hw[i]);
        let (small, large) = (total / 2, total - total / 2);
        (pads[i], pads[i + 2]) = if lower { (large, small) } else { (small, large) };
    }
    pads
}

/// Output length along one axis, or `None` where the window does not fit.
pub(super) fn out_len(
    len: usize,
    kernel: usize,
    stride: usize,
    dilation: usize,
    pads: usize,
    ceil: bool,
) -> Option<usize> {
    let free = (len + pads).checked_sub((kernel - 1) * dilation + 1)?;
    Some(if ceil { free.div_ceil(stride) } else { free / stride } + 1)
}

/// Taps of window `o` that lie in the input: a window may be far larger than what it is laid over.
pub(super) fn taps(w: &Window, axis: usize, o: usize, len: usize) -> std::ops::Range<usize> {
    let (start, before, dilation) = (o * w.strides[axis], w.pads[axis], w.dilations[axis]);
    let first = before.saturating_sub(start).div_ceil(dilation);
    let end = (before + len).saturating_sub(start).div_ceil(dilation).min(w.kernel_shape[axis]);
    first.min(end)..end
}

impl Conv {
    pub(super) fn window(&self) -> Window {
        Window {
            kernel_shape: self.kernel_shape,
            strides: self.strides,
            dilations: self.dilations,
            pads: self.pads,
        }
    }

    /// Whether each input channel has a filter of its own.
    pub fn is_depthwise(&self, in_channels: usize, out_channels: usize) -> bool {
        self.group > 1 && self.group == in_channels && self.group == out_channels
    }
}

impl Operator for Conv {
    const OP_TYPES: &'static [&'static str] = &["Conv"];

    fn parse(spec: &mut NodeSpec<'_>) -> Result<Parsed, OpError> {
        let w = spec.ty(1)?;
        if w.rank() != 4 {
            return Err(OpError::Rank { input: 1, expected: "4", found: w.shape.clone() });
        }
        let Window { kernel_shape, strides, dilations, pads } =
            window(spec, Some([w.shape[2], w.shape[3]]))?;
        let group = spec.attributes.int("group")?.unwrap_or(1);
        let group =
            usize::try_from(group).ok().filter(|&g| g > 0).ok_or_else(|| OpError::Attribute {
                name: "group".into(),
                expected: "a positive integer",
                found: group.to_string(),
            })?;
        let inputs = if spec.input(2).is_some() { 3 } else { 2 };
        Ok(Parsed::first(Self { kernel_shape, strides, dilations, pads, group }, inputs))
    }

    fn op_type(&self) -> &'static str {
        "Conv"
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
        expect(0, 1, w.shape[1].saturating_mul(self.group), x.shape[1])?;
        expect(1, 2, self.kernel_shape[0], w.shape[2])?;
        expect(1, 3, self.kernel_shape[1], w.shape[3])?;
        expect(1, 0, w.shape[0] / self.group * self.group, w.shape[0])?;
        if let Some(b) = inputs.get(2) {
            expect(2, 0, w.shape[0], b.elements())?;
        }
        let mut shape = vec![x.shape[0], w.shape[0]];
        for i in 0..2 {
            let len = out_len(
                x.shape[i + 2],
                self.kernel_shape[i],
                self.strides[i],
                self.dilations[i],
                self.pads[i] + self.pads[i + 2],
                false,
            );
            shape.push(len.ok_or(OpError::AxisLength {
                input: 0,
                axis: i + 2,
                expected: self.kernel_shape[i],
                found: x.shape[i + 2],
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
        let per_group = os[1] / self.group;
        let window = self.window();
        let mut y = vec![0.0; out.elements()];
        for (i, y) in y.iter_mut().enumerate() {
            let (ox, oy, o, n) = (
                i % os[3],
                i / os[3] % os[2],
                i / (os[3] * os[2]) % os[1],
                i / (os[3] * os[2] * os[1]),
            );
            let mut sum = bias.as_ref().map_or(0.0, |b| b[o]);
            let (rows, columns) = (taps(&window, 0, oy, xs[2]), taps(&window, 1, ox, xs[3]));
            for c in 0..ws[1] {
                let channel = o / per_group * ws[1] + c;
                for ky in rows.clone() {
                    let iy = oy * self.strides[0] + ky * self.dilations[0] - self.pads[0];
                    for kx in columns.clone() {
                        let ix = ox * self.strides[1] + kx * self.dilations[1] - self.pads[1];
                        sum += x[((n * xs[1] + channel) * xs[2] + iy) * xs[3] + ix]
                            * w[((o * ws[1] + c) * ws[2] + ky) * ws[3] + kx];
                    }
                }
            }
            *y = sum;
        }
        Ok(vec![Tensor::from_f64(out.dtype, out.shape, &y)?])
    }

    fn channel_links(&self, shapes: &Shapes<'_>) -> Channels {
        let (x, w) = (&shapes.inputs[0].shape, &shapes.inputs[1].shape);
        let mut channels = Channels::none().link(Input(1).axis(0), Output(0).axis(1), w[0]);
        if shapes.inputs.len() > 2 {
            channels = channels.link(Input(2).axis(0), Output(0).axis(1), w[0]);
        }
        if self.group == 1 {
            return channels.link(Input(0).axis(1), Input(1).axis(1), w[1]);
        }
        if self.is_depthwise(x[1], w[0]) {
            return channels.link(Input(0).axis(1), Output(0).axis(1), w[0]);
        }
        channels.freeze(Input(0), 1, FreezeReason::GroupedConvolution).freeze(
            Output(0),
            1,
            FreezeReason::GroupedConvolution,
        )
    }

    fn keep(&self, shapes: &Shapes<'_>, kept: &KeptAxes) -> Self {
        let (x, w) = (&shapes.inputs[0].shape, &shapes.inputs[1].shape);
        let group =
            if self.is_depthwise(x[1], w[0]) { kept.len(Output(0), 1, w[0]) } else { self.group };
        Self { group, ..self.clone() }
    }

    fn quant_facts(&self) -> QuantFacts {
        QuantFacts::Weighted { weight: 1, axis: 0, bias: 2 }
    }

    fn macs(&self, shapes: &Shapes<'_>) -> u64 {
        let w = &shapes.inputs[1].shape;
        shapes.outputs[0].elements() as u64 * (w[1] * w[2] * w[3]) as u64
    }

    fn lower(&self, _opset: i64, inputs: usize, _outputs: usize) -> Vec<LoweredNode> {
        let ints = |v: &[usize]| Attribute::Ints(v.iter().map(|&x| x as i64).collect());
        let mut attributes = vec![("kernel_shape", ints(&self.kernel_shape))];
        let lists = [
            ("dilations", &self.dilations[..], 1),
            ("pads", &self.pads[..], 0),
            ("strides", &self.strides[..], 1),
        ];
        // ONNX's defaults need no bytes; small models are to a good part nodes.
        attributes.extend(
            lists
                .iter()
                .filter(|(_, v, default)| v.iter().any(|x| x != default))
                .map(|&(n, v, _)| (n, ints(v))),
        );
        if self.group != 1 {
            attributes.push(("group", Attribute::Int(self.group as i64)));
        }
        vec![LoweredNode::simple("Conv", inputs, attributes)]
    }
}
