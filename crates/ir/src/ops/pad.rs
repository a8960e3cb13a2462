//! Pad: elements added around, or cut off.
//! Spec: onnx.ai/onnx/operators/onnx__Pad.html, opset 2 to 21.
use super::slice::gathered;
use crate::Port::{Input, Output};
use crate::{
    Attribute, Channels, KeptAxes, LoweredInput, LoweredNode, LoweredOutput, NodeSpec, OpError,
    Operator, Parsed, QuantFacts, Shapes, Tensor, TensorType,
};

/// What the added elements are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum PadMode {
    Constant,
    Reflect,
    Edge,
    Wrap,
}

/// Elements added (or, if negative, cut off) before and after each axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Pad {
    /// What they are.
    pub mode: PadMode,
    /// How many before and after, for each axis.
    pub pads: Vec<[i64; 2]>,
    /// Their value in constant mode, of rank 0 and the input's type; 0 where it is left out.
    pub value: Option<Tensor>,
}

const MODES: &[(PadMode, &str)] = &[
    (PadMode::Constant, "constant"),
    (PadMode::Reflect, "reflect"),
    (PadMode::Edge, "edge"),
    (PadMode::Wrap, "wrap"),
];
const MAX_PAD: u64 = 1 << 31;

impl Pad {
    /// The input index along an axis of length `len` that output index `i` shows; `None` for an added constant.
    fn source(&self, axis: usize, i: usize, len: usize) -> Option<usize> {
        let (i, n) = (i as i64 - self.pads[axis][0], len as i64);
        let at = match self.mode {
            _ if (0..n).contains(&i) => i,
            PadMode::Constant => return None,
            PadMode::Edge => i.clamp(0, n - 1),
            PadMode::Wrap => i.rem_euclid(n),
            PadMode::Reflect if n == 1 => 0,
            PadMode::Reflect => {
                let period = 2 * (n - 1);
                let folded = i.rem_euclid(period);
                folded.min(period - folded)
            }
        };
        Some(at as usize)
    }
}

/// Pads of all axes from as many starts and then as many ends, for the axes given or all.
fn pairs(spec: &mut NodeSpec<'_>, rank: usize) -> Result<Vec<[i64; 2]>, OpError> {
    let given = if spec.opset < 11 { spec.attributes.ints("pads")? } else { spec.integers(1)? };
    let given = given.ok_or(OpError::MissingAttribute { name: "pads" })?;
    let axes = if spec.opset < 18 { None } else { spec.integers(3)? };
    let axes = match axes {
        None => (0..rank).collect(),
        Some(axes) => axes.iter().map(|&a| super::axis(a, rank)).collect::<Result<Vec<_>, _>>()?,
    };
    let wrong = |expected| OpError::Attribute {
        name: "pads".into(),
        expected,
        found: format!("{given:?}"),
    };
    if given.len() != 2 * axes.len() {
        return Err(wrong("a start and an end for each axis"));
    }
    if given.iter().any(|p| p.unsigned_abs() > MAX_PAD) {
        return Err(wrong("numbers up to 2147483648"));
    }
    let mut pads = vec![[0; 2]; rank];
    for (i, &axis) in axes.iter().enumerate() {
        pads[axis] = [given[i], given[i + axes.len()]];
    }
    Ok(pads)
}

impl Operator for Pad {
    const OP_TYPES: &'static [&'static str] = &["Pad"];

    fn parse(spec: &mut NodeSpec<'_>) -> Result<Parsed, OpError> {
        let (rank, dtype) = (spec.ty(0)?.rank(), spec.ty(0)?.dtype);
        let name = spec.attributes.string("mode")?.unwrap_or_else(|| "constant".into());
        let mode = MODES.iter().find(|m| m.1 == name).map(|m| m.0);
        let mode = mode.ok_or_else(|| OpError::Attribute {
            name: "mode".into(),
            expected: "constant, reflect, edge or wrap",
            found: name,
        })?;
        let pads = pairs(spec, rank)?;
        let value = if spec.opset < 11 {
            spec.attributes
                .float("value")?
                .map(|v| Tensor::from_f64(dtype, [], &[f64::from(v)]))
                .transpose()?
        } else {
            spec.parameter(2)?.filter(|t| t.len() == 1).map(|t| t.reshaped([])).transpose()?
        };
        if let Some(t) = value.as_ref().filter(|t| t.dtype() != dtype) {
            return Err(OpError::DType { expected: dtype, found: t.dtype() });
        }
        Ok(Parsed::first(Self { mode, pads, value }, 1))
    }

    fn op_type(&self) -> &'static str {
        "Pad"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        super::expect_inputs(inputs, 1..=1, "1")?;
        let x = inputs[0];
        if x.rank() != self.pads.len() {
            return Err(OpError::Rank {
                input: 0,
                expected: "that of pads",
                found: x.shape.clone(),
            });
        }
        crate::elements(&x.shape)?;
        let mut shape = Vec::with_capacity(x.rank());
        for (axis, (&len, [before, after])) in x.shape.iter().zip(&self.pads).enumerate() {
            let padded = usize::try_from(len as i64 + before + after).ok();
            let made_of_nothing = self.mode != PadMode::Constant && len == 0;
            let missing = OpError::AxisLength { input: 0, axis, expected: 1, found: len };
            shape.push(padded.filter(|&n| n == 0 || !made_of_nothing).ok_or(missing)?);
        }
        crate::elements(&shape)?;
        Ok(vec![TensorType::new(x.dtype, shape)])
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        super::expect_inputs(inputs, 1..=1, "1")?;
        let x = inputs[0];
        let TensorType { dtype, shape } = self.infer(&[&x.ty()])?.remove(0);
        let value = match &self.value {
            Some(v) => v.reshaped([1])?,
            None => Tensor::from_f64(dtype, [1], &[0.0])?,
        };
        let (from, to) = (super::strides(x.shape()), super::strides(&shape));
        // The constant stands behind the last element, so that one gather serves every element type.
        let both = super::Concat { axis: 0 }.forward(&[&x.reshaped([x.len()])?, &value])?.remove(0);
        let source = |i: usize| {
            let mut at = 0;
            for a in 0..shape.len() {
                match self.source(a, i / to[a] % shape[a], x.shape()[a]) {
                    Some(index) => at += index * from[a],
                    None => return x.len(),
                }
            }
            at
        };
        Ok(vec![gathered(&both, shape.clone(), source)?])
    }

    fn channel_links(&self, shapes: &Shapes<'_>) -> Channels {
        let shape = &shapes.inputs[0].shape;
        let whole = (0..shape.len()).filter(|&a| self.pads[a] == [0, 0]);
        whole.fold(Channels::none(), |c, a| c.link(Input(0).axis(a), Output(0).axis(a), shape[a]))
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

    fn lower(&self, _opset: i64, _inputs: usize, _outputs: usize) -> Vec<LoweredNode> {
        let list = [0, 1].iter().flat_map(|&side| self.pads.iter().map(move |p| p[side])).collect();
        let mut inputs =
            vec![LoweredInput::Input(0), LoweredInput::Constant("pads", Tensor::vector(list))];
        inputs.extend(self.value.clone().map(|v| LoweredInput::Constant("value", v)));
        let name = MODES.iter().find(|m| m.0 == self.mode).expect("every mode has a name").1;
        let attributes = vec![("mode", Attribute::String(name.as_bytes().to_vec()))];
        vec![LoweredNode {
            op_type: "Pad",
            inputs,
            outputs: vec![LoweredOutput::Output(0)],
            attributes,
        }]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pad_modes_continue_the_row() {
        let x = Tensor::vector(vec![1i8, 2, 3]);
        let cases = [
            (PadMode::Constant, vec![0i8, 0, 1, 2, 3, 0]),
            (PadMode::Edge, vec![1, 1, 1, 2, 3, 3]),
            (PadMode::Reflect, vec![3, 2, 1, 2, 3, 2]),
            (PadMode::Wrap, vec![2, 3, 1, 2, 3, 1]),
        ];
        for (mode, y) in cases {
            let op = Pad { mode, pads: vec![[2, 1]], value: None };
            assert_eq!(op.forward(&[&x]).unwrap(), [Tensor::vector(y)], "{mode:?}");
        }
        let cut = Pad { mode: PadMode::Constant, pads: vec![[-1, -1]], value: None };
        assert_eq!(cut.forward(&[&x]).unwrap(), [Tensor::vector(vec![2i8])]);
        let gone = Pad { pads: vec![[-4, 0]], ..cut };
        assert!(gone.infer(&[&x.ty()]).is_err());
    }
}
