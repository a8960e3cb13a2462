//! The same model with 16-bit floats, whole or in part, and back.
use crate::ops::{Cast, Op};
use crate::{DataType, Edit, Graph, IrError, OpError, Tensor, TensorType, ValueId};
use std::collections::{BTreeMap, BTreeSet};

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
        let outputs: Vec<_> =
            values.map(|v| (v.name.as_str(), v.ty.as_ref().map(narrow_type))).collect();
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

mod part;

pub use part::part_to_f16;

/// The types of floats other than f32 that constants, inputs and outputs of the graph have.
pub fn other_floats(graph: &Graph) -> BTreeSet<DataType> {
    let types = graph.values().filter_map(|(_, v)| v.ty.as_ref());
    let floats = types.map(|t| t.dtype).filter(|t| t.is_float());
    floats.filter(|&t| t != DataType::F32).collect()
}

/// Makes every float of the graph f32, from input to output: constants are widened (or, where they are f64, rounded), and
/// casts between floats go. What is not known (opaque) stays as it is.
///
/// # Errors
/// `Op` where a constant is too large for f32, or where an operator does not take it.
pub fn to_f32(graph: &mut Graph) -> Result<(), IrError> {
    if other_floats(graph).is_empty() {
        return Ok(());
    }
    let mut wide = graph.clone();
    for node in wide.nodes.values_mut() {
        if let Op::Cast(Cast { to }) = &mut node.op
            && to.is_float()
        {
            *to = DataType::F32;
        }
    }
    for value in wide.values.values_mut() {
        if let Some(tensor) = &value.constant {
            let tensor = widen(tensor).map_err(|cause| IrError::Op {
                node: value.name.clone(),
                op_type: "constant".to_owned(),
                inputs: tensor.ty().to_string(),
                cause: Box::new(cause),
            })?;
            value.constant = Some(tensor);
        }
        if let Some(ty) = value.ty.as_mut().filter(|t| t.dtype.is_float()) {
            ty.dtype = DataType::F32;
        }
    }
    let edit = wide.edit();
    wide.apply(edit)?;
    while let Some(edit) = without_a_cast(&wide) {
        wide.apply(edit)?;
    }
    *graph = wide;
    Ok(())
}

/// Lets what reads a cast from f32 to f32 read its source, unless both are borders of the model.
fn without_a_cast(graph: &Graph) -> Option<Edit> {
    let border = |v: ValueId| graph.inputs().contains(&v) || graph.outputs().contains(&v);
    let is_border = |v| border(v) || graph.constant(v).is_some();
    let idle = graph.nodes().find_map(|(_, node)| {
        let is_cast = matches!(node.op, Op::Cast(Cast { to: DataType::F32 }));
        let (&x, &y) = (node.inputs.first()?, node.outputs.first()?);
        let real = graph.ty(x).is_ok_and(|t| t.dtype == DataType::F32);
        (is_cast && real && !(is_border(x) && border(y))).then_some((x, y))
    });
    let (x, y) = idle?;
    let mut edit = graph.edit();
    edit.replace_uses(y, x);
    Some(edit)
}

fn widen(tensor: &Tensor) -> Result<Tensor, OpError> {
    if !tensor.dtype().is_float() || tensor.dtype() == DataType::F32 {
        return Ok(tensor.clone());
    }
    let values = tensor.to_f64()?;
    let largest = f64::from(f32::MAX);
    if values.iter().any(|v| v.is_finite() && v.abs() > largest) {
        return Err(OpError::Unsupported {
            feature: "a constant beyond the range of 32-bit floats",
        });
    }
    Tensor::from_f64(DataType::F32, tensor.shape(), &values)
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
        return Err(OpError::Unsupported { feature: "a constant beyond 65504 in 16-bit floats" });
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
        let value = half.constant(k).expect("constant").to_f64().expect("numbers");
        assert!((value[0] - 0.1).abs() < 1e-4);
    }

    /// As converters leave it that keep the types of inputs and outputs: f32 outside, f16 inside, casts between.
    #[test]
    fn floats_become_f32_and_casts_between_them_go() {
        let half = to_f16(&times(0.1)).expect("it fits");
        let mut wide = half.clone();
        to_f32(&mut wide).expect("it fits");
        assert_eq!(other_floats(&half), [DataType::F16].into());
        assert!(other_floats(&wide).is_empty());
        let x = Tensor::vector(vec![1f32, 2.0]);
        let y = crate::interpreter::run(&wide, &[x]).expect("it runs");
        let expected = f32::from(half::f16::from_f32(0.1));
        assert_eq!(y, [Tensor::vector(vec![expected, 2.0 * expected])]);

        let mut mixed = Graph::new(17);
        let mut edit = mixed.edit();
        let x = edit.input("x", TensorType::new(DataType::F32, [2]));
        let cast = |to| Cast { to };
        let narrow = edit.node("in", cast(DataType::F16), &[x], &["narrow"])[0];
        let double = edit.node("double", BinaryKind::Add, &[narrow, narrow], &["double"])[0];
        let y = edit.node("out", cast(DataType::F32), &[double], &["y"])[0];
        edit.output(y);
        mixed.apply(edit).expect("valid");
        to_f32(&mut mixed).expect("it fits");
        let names: Vec<_> = mixed.nodes().map(|(_, n)| n.name.as_str()).collect();
        assert_eq!(names, ["double"]);
        assert_eq!(mixed.value(mixed.outputs()[0]).name, "y");
    }

    #[test]
    fn a_constant_beyond_f16_is_an_error_that_names_the_node() {
        let error = to_f16(&times(1e6)).expect_err("it does not fit");
        assert!(error.to_string().contains("node `times`"), "{error}");
    }
}
