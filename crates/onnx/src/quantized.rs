//! Operators of quantized tensors (QOperator format), read as the real operator between DequantizeLinear and
//! QuantizeLinear that each is defined as, so that a quantized graph has one form.
//!
//! Spec: onnx.ai/onnx/operators (QLinearConv, QLinearMatMul), opset 10 to 21; ONNX Runtime's ContribOperators.md
//! (com.microsoft).
use crate::OnnxError;
use crate::proto::{AttributeProto, NodeProto};
use crate::sweep::{Slot, Sweep};
use crate::topology;
use ir::Tensor;

/// The domain in which ONNX Runtime keeps operators of its own.
pub(crate) const CONTRIBUTED: &str = "com.microsoft";

/// A quantized operand: the positions of its codes and its scale, which its zero_point follows.
#[derive(Clone, Copy)]
struct Operand {
    codes: usize,
    scale: usize,
    /// Axis, counted from the last, along which it may have several scales.
    axis: Option<Axis>,
}

#[derive(Clone, Copy)]
enum Axis {
    First,
    Last,
}

/// How a quantized operator is spelled.
struct Spelling {
    real: &'static str,
    operands: Vec<Operand>,
    /// Position of 32-bit codes on the grid of the operands' product.
    bias: Option<usize>,
    /// Position of the scale of the result, which its zero_point follows.
    scale: usize,
}

impl Spelling {
    fn of(node: &NodeProto) -> Option<Self> {
        let operand = |codes, axis| Operand {
            codes,
            scale: codes + 1,
            axis,
        };
        let one = |real| Self {
            real,
            operands: vec![operand(0, None)],
            bias: None,
            scale: 3,
        };
        let two = |real, axis| Self {
            real,
            operands: vec![operand(0, None), operand(3, axis)],
            bias: None,
            scale: 6,
        };
        let transposed = int(node, "transB") == Some(1);
        Some(match (node.domain(), node.op_type()) {
            (CONTRIBUTED, "QLinearAdd") => two("Add", None),
            (CONTRIBUTED, "QLinearMul") => two("Mul", None),
            (CONTRIBUTED, "QLinearSigmoid") => one("Sigmoid"),
            (CONTRIBUTED, "QLinearLeakyRelu") => one("LeakyRelu"),
            (CONTRIBUTED, "QLinearAveragePool") => one("AveragePool"),
            (CONTRIBUTED, "QLinearGlobalAveragePool") => one("GlobalAveragePool"),
            (CONTRIBUTED, "QLinearReduceMean") => one("ReduceMean"),
            (CONTRIBUTED, "QLinearSoftmax") => one("Softmax"),
            (CONTRIBUTED, "QLinearConcat") => Self {
                real: "Concat",
                operands: (2..node.input.len())
                    .step_by(3)
                    .map(|i| operand(i, None))
                    .collect(),
                bias: None,
                scale: 0,
            },
            (CONTRIBUTED, "QGemm") => Self {
                bias: Some(6),
                scale: 7,
                ..two(
                    "Gemm",
                    Some(if transposed { Axis::First } else { Axis::Last }),
                )
            },
            // ONNX Runtime's own files have these in either domain.
            ("" | "ai.onnx" | CONTRIBUTED, "QLinearConv") => Self {
                bias: Some(8),
                ..two("Conv", Some(Axis::First))
            },
            ("" | "ai.onnx" | CONTRIBUTED, "QLinearMatMul") => two("MatMul", Some(Axis::Last)),
            _ => return None,
        })
    }
}

/// What became of a node.
pub(crate) enum Quantized {
    /// It was read.
    Read,
    /// It computes with codes in a way that has no real form, for this reason.
    Refused(&'static str),
    /// It does not compute with codes.
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
            let node = NodeProto {
                domain: None,
                ..node.clone()
            };
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
        if let Some(codes) = spelling.bias.and_then(|i| given(node, i)) {
            inputs.push(self.bias(node, (codes, &spelling), &name)?);
        }
        let output = node.output.first().cloned().unwrap_or_default();
        let quantized = given(node, spelling.scale).is_some();
        let real = match quantized {
            true => self.names.unique(&format!("{output}_real")),
            false => output.clone(),
        };
        let told = |a: &&AttributeProto| !matches!(a.name(), "channels_last" | "opset");
        let made = NodeProto {
            op_type: Some(spelling.real.to_owned()),
            attribute: node.attribute.iter().filter(told).cloned().collect(),
            ..part(&name, inputs, &real)
        };
        self.node(&made, index)?;
        if quantized {
            let mut inputs = vec![real];
            inputs.extend(node.input.iter().skip(spelling.scale).take(2).cloned());
            let made = NodeProto {
                op_type: Some("QuantizeLinear".to_owned()),
                ..part(&format!("{name}_quantize"), inputs, &output)
            };
            self.node(&made, index)?;
        }
        Ok(Quantized::Read)
    }

    /// Why a node cannot be read as a real operator between quantization steps.
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

    /// What the codes of an operand stand for; the same codes are dequantized once.
    fn dequantized(
        &mut self,
        node: &NodeProto,
        operand: Operand,
        name: &str,
    ) -> Result<String, OnnxError> {
        let end = node.input.len().min(operand.scale + 2);
        let mut inputs = vec![node.input[operand.codes.min(end)].clone()];
        inputs.extend(node.input[operand.scale.min(end)..end].iter().cloned());
        if let Some(real) = self.dequantized.get(&inputs) {
            return Ok(real.clone());
        }
        let rank = self
            .slots
            .get(&inputs[0])
            .and_then(|s| s.ty.as_ref())
            .map_or(0, |t| t.rank());
        let axis = match operand.axis {
            Some(Axis::Last) => rank as i64 - 1,
            Some(Axis::First) | None => 0,
        };
        let real = self.names.unique(&format!("{}_dequantized", inputs[0]));
        self.dequantize((name, operand.codes), inputs.clone(), axis, &real)?;
        self.dequantized.insert(inputs, real.clone());
        Ok(real)
    }

    fn dequantize(
        &mut self,
        (name, position): (&str, usize),
        inputs: Vec<String>,
        axis: i64,
        real: &str,
    ) -> Result<(), OnnxError> {
        let axis = crate::attributes::encode("axis", &ir::Attribute::Int(axis))?;
        let made = NodeProto {
            op_type: Some("DequantizeLinear".to_owned()),
            attribute: vec![axis],
            ..part(&format!("{name}_dequantize_{position}"), inputs, real)
        };
        self.node(&made, 0)
    }

    /// A bias has no scale of its own: it is on the grid of the product.
    fn bias(
        &mut self,
        node: &NodeProto,
        (codes, spelling): (&String, &Spelling),
        name: &str,
    ) -> Result<String, OnnxError> {
        let alpha = node.attribute.iter().find(|a| a.name() == "alpha");
        let mut scales = vec![alpha.and_then(|a| a.f).unwrap_or(1.0)];
        for operand in &spelling.operands {
            let slot = given(node, operand.scale).and_then(|n| self.slots.get(n));
            let constant = slot.and_then(|s| s.constant.as_ref());
            let found = constant.map_or(Ok(vec![1.0]), Tensor::to_f64);
            let found = found.map_err(|e| self.node_error(node, name, e))?;
            scales = match (scales.as_slice(), found.as_slice()) {
                (&[one], many) => many.iter().map(|&s| one * s as f32).collect(),
                (many, &[one]) => many.iter().map(|&s| s * one as f32).collect(),
                (many, more) => many.iter().zip(more).map(|(a, &b)| a * b as f32).collect(),
            };
        }
        let scales = match scales.as_slice() {
            &[one] => Tensor::scalar(one),
            _ => Tensor::vector(scales),
        };
        let scale = self.names.unique(&format!("{codes}_scale"));
        self.slots
            .insert(scale.clone(), Slot::constant(&scale, scales));
        let real = self.names.unique(&format!("{codes}_dequantized"));
        self.dequantize(
            (name, spelling.bias.unwrap_or(0)),
            vec![codes.clone(), scale],
            0,
            &real,
        )?;
        Ok(real)
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
