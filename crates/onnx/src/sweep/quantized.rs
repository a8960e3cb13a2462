//! Operators of quantized tensors (QOperator format), read as the float operator between DequantizeLinear and
//! QuantizeLinear that each is defined as, so that a quantized graph has one form.
//!
//! Spec: onnx.ai/onnx/operators (QLinearConv, QLinearMatMul), opset 10 to 21; ONNX Runtime's ContribOperators.md
//! (com.microsoft).
use super::{Slot, Sweep};
use crate::OnnxError;
use crate::proto::{AttributeProto, NodeProto};
use crate::topology;
use ir::{OpError, Tensor};

/// The domain in which ONNX Runtime keeps operators of its own.
pub(crate) const CONTRIBUTED: &str = "com.microsoft";

/// A quantized operand: the positions of its values and of its scale, which its zero_point follows.
#[derive(Clone, Copy)]
struct Operand {
    values: usize,
    scale: usize,
    /// Axis, counted from the last, along which it may have several scales.
    axis: Option<Axis>,
}

#[derive(Clone, Copy)]
enum Axis {
    First,
    Last,
}

/// How a quantized operator lays out its inputs.
struct Spelling {
    /// The float operator that it stands for.
    float: &'static str,
    operands: Vec<Operand>,
    /// Position of a bias in 32 bits, whose scale is the product of the operands' scales.
    bias: Option<usize>,
    /// Position of the scale of the result, which its zero_point follows.
    scale: usize,
}

impl Spelling {
    /// The layout of a node's inputs; `None` for any other operator.
    fn of(node: &NodeProto) -> Option<Self> {
        let operand = |values, axis| Operand { values, scale: values + 1, axis };
        let unary = |float| Self { float, operands: vec![operand(0, None)], bias: None, scale: 3 };
        let binary = |float, axis| Self {
            float,
            operands: vec![operand(0, None), operand(3, axis)],
            bias: None,
            scale: 6,
        };
        let transposed = int(node, "transB") == Some(1);
        Some(match (node.domain(), node.op_type()) {
            (CONTRIBUTED, "QLinearAdd") => binary("Add", None),
            (CONTRIBUTED, "QLinearMul") => binary("Mul", None),
            (CONTRIBUTED, "QLinearSigmoid") => unary("Sigmoid"),
            (CONTRIBUTED, "QLinearLeakyRelu") => unary("LeakyRelu"),
            (CONTRIBUTED, "QLinearAveragePool") => unary("AveragePool"),
            (CONTRIBUTED, "QLinearGlobalAveragePool") => unary("GlobalAveragePool"),
            (CONTRIBUTED, "QLinearReduceMean") => unary("ReduceMean"),
            (CONTRIBUTED, "QLinearSoftmax") => unary("Softmax"),
            (CONTRIBUTED, "QLinearConcat") => Self {
                float: "Concat",
                operands: (2..node.input.len()).step_by(3).map(|i| operand(i, None)).collect(),
                bias: None,
                scale: 0,
            },
            (CONTRIBUTED, "QGemm") => Self {
                bias: Some(6),
                scale: 7,
                ..binary("Gemm", Some(if transposed { Axis::First } else { Axis::Last }))
            },
            // ONNX Runtime's own files have these in either domain.
            ("" | "ai.onnx" | CONTRIBUTED, "QLinearConv") => {
                Self { bias: Some(8), ..binary("Conv", Some(Axis::First)) }
            }
            ("" | "ai.onnx" | CONTRIBUTED, "QLinearMatMul") => binary("MatMul", Some(Axis::Last)),
            _ => return None,
        })
    }
}

/// What became of a node.
pub(crate) enum Quantized {
    /// It was read.
    Read,
    /// It computes with quantized values in a way that has no float form, for this reason.
    Refused(&'static str),
    /// It does not compute with quantized values.
    Not,
}

fn int(node: &NodeProto, name: &str) -> Option<i64> {
    let found = node.attribute.iter().find(|a| a.name() == name);
    found.and_then(|a| a.i)
}

fn given(node: &NodeProto, position: usize) -> Option<&String> {
    node.input.get(position).filter(|n| !n.is_empty())
}

impl Sweep<'_> {
    /// Reads the node, if it is an operator of quantized tensors.
    ///
    /// # Errors
    /// As [`Sweep::node`].
    pub(crate) fn quantized(
        &mut self,
        node: &NodeProto,
        index: usize,
    ) -> Result<Quantized, OnnxError> {
        if node.domain() == CONTRIBUTED
            && matches!(node.op_type(), "QuantizeLinear" | "DequantizeLinear")
        {
            // The same operators, for types that the default domain had not yet.
            let node = NodeProto { domain: None, ..node.clone() };
            return self.node(&node, index).map(|()| Quantized::Read);
        }
        let Some(spelling) = Spelling::of(node) else {
            return Ok(Quantized::Not);
        };
        if let Some(reason) = self.refusal(node, &spelling) {
            return Ok(Quantized::Refused(reason));
        }
        let name = topology::node_name(node, index);
        let mut inputs = Vec::new();
        for operand in &spelling.operands {
            inputs.push(self.dequantized(node, *operand, &name)?);
        }
        if let Some(position) = spelling.bias
            && let Some(values) = given(node, position)
        {
            let scales = self.bias_scales(node, &spelling.operands);
            let scales = scales.map_err(|e| self.node_error(node, &name, e))?;
            inputs.push(self.bias(values, scales, &format!("{name}_dequantize_{position}"))?);
        }
        let output = node.output.first().cloned().unwrap_or_default();
        let quantized = given(node, spelling.scale).is_some();
        let float =
            if quantized { self.names.unique(&format!("{output}_real")) } else { output.clone() };
        let is_kept = |a: &&AttributeProto| !matches!(a.name(), "channels_last" | "opset");
        let made = NodeProto {
            op_type: Some(spelling.float.to_owned()),
            attribute: node.attribute.iter().filter(is_kept).cloned().collect(),
            ..part(&name, inputs, &float)
        };
        self.node(&made, index)?;
        if quantized {
            let mut inputs = vec![float];
            inputs.extend(node.input.iter().skip(spelling.scale).take(2).cloned());
            let made = NodeProto {
                op_type: Some("QuantizeLinear".to_owned()),
                ..part(&format!("{name}_quantize"), inputs, &output)
            };
            self.node(&made, index)?;
        }
        Ok(Quantized::Read)
    }

    /// Why a node cannot be read as a float operator between quantization steps.
    fn refusal(&self, node: &NodeProto, spelling: &Spelling) -> Option<&'static str> {
        if int(node, "channels_last").unwrap_or(0) != 0 {
            return Some("its channels are the last axis");
        }
        let defined = int(node, "opset").filter(|_| node.op_type() == "QLinearSoftmax");
        if defined.is_some_and(|opset| (opset < 13) != (self.opset < 13)) {
            return Some("its Softmax is that of another opset");
        }
        let operands = spelling.operands.iter().map(|o| o.scale);
        let mut parameters = operands.chain([spelling.scale]).flat_map(|i| [i, i + 1]);
        let computed = |i| {
            let slot = given(node, i).and_then(|n| self.slots.get(n));
            slot.is_some_and(|s| s.constant.is_none())
        };
        let computed = parameters.any(computed);
        computed.then_some("its scales are computed from the model's input")
    }

    /// The float value of an operand; the same quantized value is dequantized once.
    fn dequantized(
        &mut self,
        node: &NodeProto,
        operand: Operand,
        name: &str,
    ) -> Result<String, OnnxError> {
        let end = node.input.len().min(operand.scale + 2);
        let mut inputs = vec![node.input[operand.values.min(end)].clone()];
        inputs.extend(node.input[operand.scale.min(end)..end].iter().cloned());
        if let Some(known) = self.dequantized.get(&inputs) {
            return Ok(known.clone());
        }
        let rank = self.slots.get(&inputs[0]).and_then(|s| s.ty.as_ref()).map_or(0, |t| t.rank());
        let axis = match operand.axis {
            Some(Axis::Last) => rank as i64 - 1,
            Some(Axis::First) | None => 0,
        };
        let name = format!("{name}_dequantize_{}", operand.values);
        let float = self.dequantize(&name, inputs.clone(), axis)?;
        self.dequantized.insert(inputs, float.clone());
        Ok(float)
    }

    /// Adds a DequantizeLinear of that name and gives the name of its output.
    fn dequantize(
        &mut self,
        name: &str,
        inputs: Vec<String>,
        axis: i64,
    ) -> Result<String, OnnxError> {
        let output = self.names.unique(&format!("{}_dequantized", inputs[0]));
        let axis = crate::attributes::encode("axis", &ir::Attribute::Int(axis))?;
        let made = NodeProto {
            op_type: Some("DequantizeLinear".to_owned()),
            attribute: vec![axis],
            ..part(name, inputs, &output)
        };
        self.node(&made, 0)?;
        Ok(output)
    }

    /// A bias has no scale of its own: it is scaled as the product of the operands is.
    fn bias_scales(&self, node: &NodeProto, operands: &[Operand]) -> Result<Vec<f32>, OpError> {
        let alpha = node.attribute.iter().find(|a| a.name() == "alpha");
        let mut scales = vec![alpha.and_then(|a| a.f).unwrap_or(1.0)];
        for operand in operands {
            let slot = given(node, operand.scale).and_then(|n| self.slots.get(n));
            let constant = slot.and_then(|s| s.constant.as_ref());
            let factors = constant.map_or(Ok(vec![1.0]), Tensor::to_f64)?;
            scales = match (scales.as_slice(), factors.as_slice()) {
                (&[one], many) => many.iter().map(|&s| one * s as f32).collect(),
                (many, &[one]) => many.iter().map(|&s| s * one as f32).collect(),
                (many, more) => many.iter().zip(more).map(|(a, &b)| a * b as f32).collect(),
            };
        }
        Ok(scales)
    }

    /// The float values of a bias with these scales, by a node of that name.
    fn bias(&mut self, values: &str, scales: Vec<f32>, name: &str) -> Result<String, OnnxError> {
        let scales = match scales.as_slice() {
            &[one] => Tensor::scalar(one),
            _ => Tensor::vector(scales),
        };
        let scale = self.names.unique(&format!("{values}_scale"));
        let slot = Slot::constant(&scale, scales);
        self.slots.insert(scale.clone(), slot);
        self.dequantize(name, vec![values.to_owned(), scale], 0)
    }
}

fn part(name: &str, input: Vec<String>, output: &str) -> NodeProto {
    NodeProto {
        name: Some(name.to_owned()),
        input,
        output: vec![output.to_owned()],
        ..NodeProto::default()
    }
}
