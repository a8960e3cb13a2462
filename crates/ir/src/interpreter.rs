//! The plain reference interpreter: every operator's `forward`, in order. The oracle, never the fast path.
use crate::{Graph, IrError, Tensor, ValueId};
use std::collections::BTreeMap;

/// Runs the graph and gives its outputs in order.
///
/// # Errors
/// `InputCount` or `InputType` when the inputs do not fit, `Op` when an operator complains.
pub fn run(graph: &Graph, inputs: &[Tensor]) -> Result<Vec<Tensor>, IrError> {
    let mut values = run_all(graph, inputs)?;
    let fetch =
        |v: &ValueId| values.get(v).cloned().or_else(|| graph.value(*v).elements().cloned());
    let outputs: Option<Vec<Tensor>> = graph.outputs().iter().map(fetch).collect();
    values.clear();
    outputs.ok_or(IrError::Undefined { value: "output".into(), by: "the interpreter".into() })
}

/// Runs the graph and gives every value that is not constant.
///
/// # Errors
/// As [`run`].
pub fn run_all(graph: &Graph, inputs: &[Tensor]) -> Result<BTreeMap<ValueId, Tensor>, IrError> {
    if inputs.len() != graph.inputs().len() {
        return Err(IrError::InputCount { expected: graph.inputs().len(), found: inputs.len() });
    }
    let mut values: BTreeMap<ValueId, Tensor> = BTreeMap::new();
    for (&v, tensor) in graph.inputs().iter().zip(inputs) {
        let expected = graph.ty(v)?;
        if *expected != tensor.ty() {
            return Err(IrError::InputType {
                input: graph.value(v).name.clone(),
                expected: expected.to_string(),
                found: tensor.ty().to_string(),
            });
        }
        values.insert(v, tensor.clone());
    }
    for (_, node) in graph.nodes() {
        let read = |v: &ValueId| {
            let undefined = || IrError::Undefined {
                value: graph.value(*v).name.clone(),
                by: node.name.clone(),
            };
            values.get(v).or_else(|| graph.value(*v).elements()).ok_or_else(undefined)
        };
        let tensors: Vec<&Tensor> = node.inputs.iter().map(read).collect::<Result<_, _>>()?;
        let outputs = node.op.forward(&tensors).map_err(|source| graph.op_error(node, source))?;
        values.extend(node.outputs.iter().copied().zip(outputs));
    }
    Ok(values)
}
