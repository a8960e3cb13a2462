//! The same model with 16-bit floats.
use crate::ops::{Cast, Op};
use crate::{DataType, Graph, IrError, OpError, Tensor, TensorType, ValueId};
use std::collections::BTreeMap;

/// The graph with every f32 constant, input and output as f16; integers and everything else stay.
///
/// # Errors
/// `Op` where a constant is too large for f16, or where an operator does not take it.
pub fn to_f16(graph: &Graph) -> Result<Graph, IrError> {
    let mut half = Graph::new(graph.opset);
    half.name.clone_from(&graph.name);
    half.domains.clone_from(&graph.domains);
    half.metadata.clone_from(&graph.metadata);
    let mut edit = half.edit();
    let mut new: BTreeMap<ValueId, ValueId> = BTreeMap::new();
    for &id in graph.inputs() {
        let ty = narrow_type(graph.ty(id)?);
        new.insert(id, edit.input(&graph.value(id).name, ty));
    }
    for (_, node) in graph.nodes() {
        for id in &node.inputs {
            let Some(tensor) = graph.constant(*id).filter(|_| !new.contains_key(id)) else {
                continue;
            };
            let narrow = narrow(tensor).map_err(|source| graph.op_error(node, source))?;
            new.insert(*id, edit.constant(&graph.value(*id).name, narrow));
        }
        let inputs: Vec<ValueId> = node.inputs.iter().map(|v| new[v]).collect();
        let values = node.outputs.iter().map(|&v| graph.value(v));
        let outputs: Vec<_> = values
            .map(|v| (v.name.as_str(), v.ty.as_ref().map(narrow_type)))
            .collect();
        let op = match &node.op {
            Op::Cast(Cast { to: DataType::F32 }) => Cast { to: DataType::F16 }.into(),
            other => other.clone(),
        };
        let made = edit.node_typed(&node.name, op, &inputs, &outputs);
        new.extend(node.outputs.iter().copied().zip(made));
    }
    for id in graph.outputs() {
        match (new.get(id), graph.constant(*id)) {
            (Some(&v), _) => edit.output(v),
            (None, Some(tensor)) => {
                let v = edit.constant(&graph.value(*id).name, tensor.clone());
                edit.output(v);
            }
            (None, None) => {}
        }
    }
    half.apply(edit)?;
    Ok(half)
}

fn narrow_type(ty: &TensorType) -> TensorType {
    match ty.dtype {
        DataType::F32 => TensorType::new(DataType::F16, ty.shape.clone()),
        _ => ty.clone(),
    }
}

fn narrow(tensor: &Tensor) -> Result<Tensor, OpError> {
    if tensor.dtype() != DataType::F32 {
        return Ok(tensor.clone());
    }
    let values = tensor.to_f64()?;
    let largest = f64::from(half::f16::MAX);
    if values.iter().any(|v| v.is_finite() && v.abs() > largest) {
        return Err(OpError::Unsupported {
            feature: "a constant beyond 65504 in 16-bit floats",
        });
    }
    Tensor::from_f64(DataType::F16, tensor.shape(), &values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::BinaryKind;

    fn times(factor: f32) -> Graph {
        let mut graph = Graph::new(17);
        let mut edit = graph.edit();
        let x = edit.input("x", TensorType::new(DataType::F32, [2]));
        let k = edit.constant("k", Tensor::scalar(factor));
        let y = edit.node("times", BinaryKind::Mul, &[x, k], &["y"])[0];
        edit.output(y);
        graph.apply(edit).expect("valid");
        graph
    }

    #[test]
    fn floats_of_a_graph_become_f16_from_input_to_output() {
        let half = to_f16(&times(0.1)).expect("it fits");
        for id in [half.inputs()[0], half.outputs()[0]] {
            assert_eq!(half.ty(id).expect("known").dtype, DataType::F16);
        }
        let k = half.value_named("k").expect("it is kept");
        let value = half
            .constant(k)
            .expect("constant")
            .to_f64()
            .expect("numbers");
        assert!((value[0] - 0.1).abs() < 1e-4);
    }

    #[test]
    fn a_constant_beyond_f16_is_an_error_that_names_the_node() {
        let error = to_f16(&times(1e6)).expect_err("it does not fit");
        assert!(error.to_string().contains("node `times`"), "{error}");
    }
}
