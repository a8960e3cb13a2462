//! Comparisons and logic: pairs of elements to booleans.
//! Spec: onnx.ai/onnx/operators (Equal, Less, LessOrEqual, Greater, GreaterOrEqual, And, Or, Xor, Not), opset 7 to 19.
use super::binary::{broadcast, broadcast_indices};
use crate::{
    Channels, DataType, KeptAxes, LoweredNode, NodeSpec, OpError, Operator, Parsed, QuantFacts,
    Shapes, Tensor, TensorType,
};

/// Which question is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum PredicateKind {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    And,
    Or,
    Xor,
    /// Of one input.
    Not,
}

/// A question about pairs of elements, with broadcasting; about single elements for Not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Predicate {
    /// Which question.
    pub kind: PredicateKind,
}

impl PredicateKind {
    const ALL: &'static [(PredicateKind, &'static str)] = &[
        (PredicateKind::Equal, "Equal"),
        (PredicateKind::Less, "Less"),
        (PredicateKind::LessOrEqual, "LessOrEqual"),
        (PredicateKind::Greater, "Greater"),
        (PredicateKind::GreaterOrEqual, "GreaterOrEqual"),
        (PredicateKind::And, "And"),
        (PredicateKind::Or, "Or"),
        (PredicateKind::Xor, "Xor"),
        (PredicateKind::Not, "Not"),
    ];

    fn inputs(self) -> usize {
        if self == PredicateKind::Not { 1 } else { 2 }
    }

    fn is_logic(self) -> bool {
        matches!(
            self,
            PredicateKind::And | PredicateKind::Or | PredicateKind::Xor | PredicateKind::Not
        )
    }

    fn holds<T: PartialOrd>(self, a: T, b: T, zero: T) -> bool {
        match self {
            PredicateKind::Equal => a == b,
            PredicateKind::Less => a < b,
            PredicateKind::LessOrEqual => a <= b,
            PredicateKind::Greater => a > b,
            PredicateKind::GreaterOrEqual => a >= b,
            PredicateKind::And => a != zero && b != zero,
            PredicateKind::Or => a != zero || b != zero,
            PredicateKind::Xor => (a != zero) != (b != zero),
            PredicateKind::Not => a == zero,
        }
    }
}

impl Operator for Predicate {
    const OP_TYPES: &'static [&'static str] =
        &["Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "And", "Or", "Xor", "Not"];

    fn parse(spec: &mut NodeSpec<'_>) -> Result<Parsed, OpError> {
        let found = PredicateKind::ALL.iter().find(|(_, name)| *name == spec.op_type);
        let kind = found.expect("OP_TYPES are the names of all kinds").0;
        Ok(Parsed::first(Self { kind }, kind.inputs()))
    }

    fn op_type(&self) -> &'static str {
        PredicateKind::ALL
            .iter()
            .find(|(kind, _)| *kind == self.kind)
            .expect("every kind has a name")
            .1
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        let n = self.kind.inputs();
        super::expect_inputs(inputs, n..=n, if n == 1 { "1" } else { "2" })?;
        let expected = if self.kind.is_logic() { DataType::Bool } else { inputs[0].dtype };
        if let Some(t) = inputs.iter().find(|t| t.dtype != expected) {
            return Err(OpError::DType { expected, found: t.dtype });
        }
        let shape = broadcast(&inputs[0].shape, &inputs[n - 1].shape)?;
        crate::elements(&shape)?;
        Ok(vec![TensorType::new(DataType::Bool, shape)])
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        let types: Vec<TensorType> = inputs.iter().map(|t| t.ty()).collect();
        let shape = self.infer(&types.iter().collect::<Vec<_>>())?.remove(0).shape;
        let (a, b) = (inputs[0], inputs[self.kind.inputs() - 1]);
        let pairs = broadcast_indices(a.shape(), &shape)
            .into_iter()
            .zip(broadcast_indices(b.shape(), &shape));
        let y: Vec<bool> = if a.dtype().is_float() {
            let (x, z) = (a.to_f64()?, b.to_f64()?);
            pairs.map(|(i, j)| self.kind.holds(x[i], z[j], 0.0)).collect()
        } else {
            let (x, z) = (super::integers(a)?, super::integers(b)?);
            pairs.map(|(i, j)| self.kind.holds(x[i], z[j], 0)).collect()
        };
        Ok(vec![Tensor::new(shape, y)?])
    }

    fn channel_links(&self, shapes: &Shapes<'_>) -> Channels {
        super::link_broadcast(shapes)
    }

    fn keep(&self, _shapes: &Shapes<'_>, _kept: &KeptAxes) -> Self {
        *self
    }

    fn quant_facts(&self) -> QuantFacts {
        QuantFacts::Float
    }

    fn macs(&self, _shapes: &Shapes<'_>) -> u64 {
        0
    }

    fn lower(&self, _opset: i64, inputs: usize, _outputs: usize) -> Vec<LoweredNode> {
        vec![LoweredNode::simple(self.op_type(), inputs, vec![])]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn predicate_of_large_integers_and_booleans_is_exact() {
        let big = 1i64 << 60;
        let (a, b) = (Tensor::vector(vec![big, big + 1]), Tensor::scalar(big));
        let ask =
            |kind, a: &Tensor, b: &Tensor| Predicate { kind }.forward(&[a, b]).unwrap().remove(0);
        assert_eq!(ask(PredicateKind::Equal, &a, &b), Tensor::vector(vec![true, false]));
        assert_eq!(ask(PredicateKind::Greater, &a, &b), Tensor::vector(vec![false, true]));
        let (x, y) =
            (Tensor::vector(vec![true, true, false]), Tensor::vector(vec![true, false, false]));
        assert_eq!(ask(PredicateKind::Xor, &x, &y), Tensor::vector(vec![false, true, false]));
        assert!(Predicate { kind: PredicateKind::Xor }.infer(&[&a.ty(), &b.ty()]).is_err());
    }
}
