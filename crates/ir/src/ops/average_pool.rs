//! AveragePool over two spatial axes.
//! Spec: onnx.ai/onnx/operators/onnx__AveragePool.html, opset 1 to 22.
use super::conv::{Window, taps, window};
use super::max_pool::pooled_type;
use crate::Port::{Input, Output};
use crate::{
    Attribute, Channels, KeptAxes, LoweredNode, NodeSpec, OpError, Operator, Parsed, QuantFacts,
    Shapes, Tensor, TensorType,
};

/// Mean over windows of `x: [N, C, H, W]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AveragePool {
    /// Rows and columns of the window.
    pub kernel_shape: [usize; 2],
    /// Step of the window.
    pub strides: [usize; 2],
    /// Distance between taps; other than 1 needs opset 19.
    pub dilations: [usize; 2],
    /// Padding at top, left, bottom, right.
    pub pads: [usize; 4],
    /// Whether a last partial window counts.
    pub ceil_mode: bool,
    /// Whether padding counts as zeros instead of being left out of the mean.
    pub count_include_pad: bool,
}

impl AveragePool {
    fn window(&self) -> Window {
        Window {
            kernel_shape: self.kernel_shape,
            strides: self.strides,
            dilations: self.dilations,
            pads: self.pads,
        }
    }

    /// Input indices that window `o` covers along an axis, and how many of its taps lie in the input or its padding.
    pub fn taps(&self, axis: usize, o: usize, len: usize) -> (Vec<usize>, usize) {
        let (start, before) = (o * self.strides[axis], self.pads[axis]);
        let inside =
            taps(&self.window(), axis, o, len).map(|k| start + k * self.dilations[axis] - before);
        let end = (len + before + self.pads[axis + 2]).saturating_sub(start);
        (inside.collect(), end.div_ceil(self.dilations[axis]).min(self.kernel_shape[axis]))
    }
}

impl Operator for AveragePool {
    const OP_TYPES: &'static [&'static str] = &["AveragePool"];

    fn parse(spec: &mut NodeSpec<'_>) -> Result<Parsed, OpError> {
        let Window { kernel_shape, strides, dilations, pads } = window(spec, None)?;
        let ceil_mode = spec.attributes.flag("ceil_mode")?.unwrap_or(false);
        let count_include_pad = spec.attributes.flag("count_include_pad")?.unwrap_or(false);
        Ok(Parsed::first(
            Self { kernel_shape, strides, dilations, pads, ceil_mode, count_include_pad },
            1,
        ))
    }

    fn op_type(&self) -> &'static str {
        "AveragePool"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        super::expect_inputs(inputs, 1..=1, "1")?;
        pooled_type(inputs[0], &self.window(), self.ceil_mode).map(|t| vec![t])
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        super::expect_inputs(inputs, 1..=1, "1")?;
        let ty = inputs[0].ty();
        let out = self.infer(&[&ty])?.remove(0);
        let (x, [h, w]) = (inputs[0].to_f64()?, [ty.shape[2], ty.shape[3]]);
        let rows: Vec<_> = (0..out.shape[2]).map(|o| self.taps(0, o, h)).collect();
        let columns: Vec<_> = (0..out.shape[3]).map(|o| self.taps(1, o, w)).collect();
        let mut y = Vec::with_capacity(out.elements());
        for plane in 0..out.shape[0] * out.shape[1] {
            for (iy, padded_rows) in &rows {
                for (ix, padded_columns) in &columns {
                    let sum: f64 = iy
                        .iter()
                        .flat_map(|r| ix.iter().map(move |c| (plane * h + r) * w + c))
                        .map(|i| x[i])
                        .sum();
                    let count = if self.count_include_pad {
                        padded_rows * padded_columns
                    } else {
                        iy.len() * ix.len()
                    };
                    y.push(sum / count.max(1) as f64);
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
        QuantFacts::Float
    }

    fn macs(&self, _shapes: &Shapes<'_>) -> u64 {
        0
    }

    fn lower(&self, opset: i64, _inputs: usize, _outputs: usize) -> Vec<LoweredNode> {
        let ints = |v: &[usize]| Attribute::Ints(v.iter().map(|&x| x as i64).collect());
        let mut attributes = vec![
            ("ceil_mode", Attribute::Int(i64::from(self.ceil_mode))),
            ("count_include_pad", Attribute::Int(i64::from(self.count_include_pad))),
            ("kernel_shape", ints(&self.kernel_shape)),
            ("pads", ints(&self.pads)),
            ("strides", ints(&self.strides)),
        ];
        if opset >= 19 {
            attributes.push(("dilations", ints(&self.dilations)));
        }
        vec![LoweredNode::simple("AveragePool", 1, attributes)]
    }
}
