//! Transpose: axes in another order.
//! Spec: onnx.ai/onnx/operators/onnx__Transpose.html, opset 1 to 21.
use crate::Port::{Input, Output};
use crate::{
    Attribute, Channels, KeptAxes, LoweredNode, NodeSpec, OpError, Operator, Parsed, QuantFacts,
    Shapes, Tensor, TensorType,
};

/// Output axis `a` is input axis `perm[a]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transpose {
    /// A permutation of the axes.
    pub perm: Vec<usize>,
}

impl Operator for Transpose {
    const OP_TYPES: &'static [&'static str] = &["Transpose"];

    fn parse(spec: &mut NodeSpec<'_>) -> Result<Parsed, OpError> {
        let rank = spec.ty(0)?.rank();
        let perm = spec.attributes.usizes("perm")?.unwrap_or_else(|| (0..rank).rev().collect());
        let mut sorted = perm.clone();
        sorted.sort_unstable();
        if !sorted.iter().copied().eq(0..rank) {
            return Err(OpError::Attribute {
                name: "perm".into(),
                expected: "a permutation of the axes",
                found: format!("{perm:?}"),
            });
        }
        Ok(Parsed::first(Self { perm }, 1))
    }

    fn op_type(&self) -> &'static str {
        "Transpose"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        super::expect_inputs(inputs, 1..=1, "1")?;
        let x = inputs[0];
        if x.rank() != self.perm.len() {
            return Err(OpError::Rank {
                input: 0,
                expected: "that of perm",
                found: x.shape.clone(),
            });
        }
        let shape = self
            .perm
            .iter()
            .map(|&p| {
                x.shape.get(p).copied().ok_or(OpError::Axis { axis: p as i64, rank: x.rank() })
            })
            .collect::<Result<Vec<_>, _>>()?;
        crate::elements(&shape)?;
        Ok(vec![TensorType::new(x.dtype, shape)])
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        super::expect_inputs(inputs, 1..=1, "1")?;
        let x = inputs[0];
        let shape = self.infer(&[&x.ty()])?.remove(0).shape;
        let (from, to) = (super::strides(x.shape()), super::strides(&shape));
        let source = |i: usize| {
            self.perm.iter().enumerate().map(|(a, &p)| i / to[a] % shape[a] * from[p]).sum()
        };
        Ok(vec![super::slice::gathered(x, shape.clone(), source)?])
    }

    fn channel_links(&self, shapes: &Shapes<'_>) -> Channels {
        let shape = &shapes.inputs[0].shape;
        self.perm.iter().enumerate().fold(Channels::none(), |c, (a, &p)| {
            c.link(Input(0).axis(p), Output(0).axis(a), shape[p])
        })
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
        let perm = self.perm.iter().map(|&p| p as i64).collect();
        vec![LoweredNode::simple("Transpose", 1, vec![("perm", Attribute::Ints(perm))])]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transpose_cyclic_perm_moves_elements() {
        let x = Tensor::new([2, 1, 3], vec![1i32, 2, 3, 4, 5, 6]).unwrap();
        let y = Transpose { perm: vec![2, 0, 1] }.forward(&[&x]).unwrap().remove(0);
        assert_eq!(y, Tensor::new([3, 2, 1], vec![1i32, 4, 2, 5, 3, 6]).unwrap());
    }
}
