//! MaxPool over two spatial axes.
//! Spec: onnx.ai/onnx/operators/onnx__MaxPool.html, opset 1 to 22; the Indices output is not supported.
use super::conv::{Window, out_len, taps, window};
use crate::Port::{Input, Output};
use crate::{
    Attribute, Channels, DataType, KeptAxes, LoweredNode, NodeSpec, OpError, Operator, Parsed,
    QuantFacts, Shapes, Tensor, TensorType,
};
use half::{bf16, f16};

/// Maximum over windows of `x: [N, C, H, W]`; padding never wins. A window wholly in the padding gives the least finite
/// number, as in ONNX Runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaxPool {
    /// Rows and columns of the window.
    pub kernel_shape: [usize; 2],
    /// Step of the window.
    pub strides: [usize; 2],
    /// Distance between taps.
    pub dilations: [usize; 2],
    /// Padding at top, left, bottom, right.
    pub pads: [usize; 4],
    /// Whether a last partial window counts.
    pub ceil_mode: bool,
}

/// The type of what windows over `x: [N, C, H, W]` give.
pub(super) fn pooled_type(
    x: &TensorType,
    w: &Window,
    ceil_mode: bool,
) -> Result<TensorType, OpError> {
    if x.rank() != 4 {
        return Err(OpError::Rank { input: 0, expected: "4", found: x.shape.clone() });
    }
    let mut shape = x.shape[..2].to_vec();
    for i in 0..2 {
        let len = x.shape[i + 2];
        let pads = w.pads[i] + w.pads[i + 2];
        let n = out_len(len, w.kernel_shape[i], w.strides[i], w.dilations[i], pads, ceil_mode);
        let n = n.ok_or(OpError::AxisLength {
            input: 0,
            axis: i + 2,
            expected: w.kernel_shape[i],
            found: len,
        })?;
        // A window of ceil_mode that would start in the bottom padding does not exist.
        let starts_outside = ceil_mode && (n - 1) * w.strides[i] >= len + w.pads[i];
        shape.push(n - usize::from(starts_outside));
    }
    crate::elements(&shape)?;
    Ok(TensorType::new(x.dtype, shape))
}

impl MaxPool {
    pub(super) fn window(&self) -> Window {
        Window {
            kernel_shape: self.kernel_shape,
            strides: self.strides,
            dilations: self.dilations,
            pads: self.pads,
        }
    }
}

impl Operator for MaxPool {
    const OP_TYPES: &'static [&'static str] = &["MaxPool"];

    fn parse(spec: &mut NodeSpec<'_>) -> Result<Parsed, OpError> {
        let Window { kernel_shape, strides, dilations, pads } = window(spec, None)?;
        let ceil_mode = spec.attributes.flag("ceil_mode")?.unwrap_or(false);
        spec.attributes.ignore(&["storage_order"]);
        if spec.outputs > 1 {
            return Err(OpError::Unsupported { feature: "the Indices output of MaxPool" });
        }
        Ok(Parsed::first(Self { kernel_shape, strides, dilations, pads, ceil_mode }, 1))
    }

    fn op_type(&self) -> &'static str {
        "MaxPool"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        super::expect_inputs(inputs, 1..=1, "1")?;
        pooled_type(inputs[0], &self.window(), self.ceil_mode).map(|t| vec![t])
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        let ty = inputs[0].ty();
        let out = self.infer(&[&ty])?.remove(0);
        let (x, xs, os) = (inputs[0].to_f64()?, &ty.shape, &out.shape);
        let least = match out.dtype {
            DataType::F32 => f64::from(f32::MIN),
            DataType::F16 => f16::MIN.to_f64(),
            DataType::BF16 => bf16::MIN.to_f64(),
            _ => f64::MIN,
        };
        let window = self.window();
        let mut y = vec![least; out.elements()];
        for (i, y) in y.iter_mut().enumerate() {
            let (ox, oy, plane) = (i % os[3], i / os[3] % os[2], i / (os[3] * os[2]));
            for ky in taps(&window, 0, oy, xs[2]) {
                let iy = oy * self.strides[0] + ky * self.dilations[0] - self.pads[0];
                for kx in taps(&window, 1, ox, xs[3]) {
                    let ix = ox * self.strides[1] + kx * self.dilations[1] - self.pads[1];
                    *y = y.max(x[(plane * xs[2] + iy) * xs[3] + ix]);
                }
            }
        }
        Ok(vec![Tensor::from_f64(out.dtype, out.shape, &y)?])
    }

    fn channel_links(&self, shapes: &Shapes<'_>) -> Channels {
        Channels::none().link(Input(0).axis(1), Output(0).axis(1), shapes.inputs[0].shape[1])
    }

    fn keep(&self, _shapes: &Shapes<'_>, _kept: &KeptAxes) -> Self {
        self.clone()
    }

    fn quant_facts(&self) -> QuantFacts {
        QuantFacts::SharesInput
    }

    fn macs(&self, _shapes: &Shapes<'_>) -> u64 {
        0
    }

    fn lower(&self, _opset: i64, _inputs: usize, _outputs: usize) -> Vec<LoweredNode> {
        let ints = |v: &[usize]| Attribute::Ints(v.iter().map(|&x| x as i64).collect());
        let attributes = vec![
            ("ceil_mode", Attribute::Int(i64::from(self.ceil_mode))),
            ("dilations", ints(&self.dilations)),
            ("kernel_shape", ints(&self.kernel_shape)),
            ("pads", ints(&self.pads)),
            ("strides", ints(&self.strides)),
        ];
        vec![LoweredNode::simple("MaxPool", 1, attributes)]
    }
}
