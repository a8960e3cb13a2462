//! Reshape, and what is a Reshape once shapes are known: Flatten, Squeeze, Unsqueeze.
//! Spec: onnx.ai/onnx/operators (Reshape opset 5 to 21, Flatten 1 to 21, Squeeze and Unsqueeze 1 to 21).
use crate::Port::{Input, Output};
use crate::{
    Attribute, ChannelLink, Channels, DataType, KeptAxes, LoweredInput, LoweredNode, LoweredOutput,
    NodeSpec, OpError, Operator, Parsed, QuantFacts, Shapes, Span, Tensor, TensorType,
};

/// The same elements, in the same order, under another shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reshape {
    /// The output's shape, with no 0 or -1 left to fill in.
    pub shape: Vec<usize>,
}

fn wrong(name: &str, expected: &'static str, found: &[i64]) -> OpError {
    OpError::Attribute { name: name.to_owned(), expected, found: format!("{found:?}") }
}

/// Fills in what 0 and -1 stand for.
fn resolve(x: &[usize], given: &[i64], allow_zero: bool) -> Result<Vec<usize>, OpError> {
    let mut shape = Vec::with_capacity(given.len());
    let mut open = None;
    for (i, &d) in given.iter().enumerate() {
        shape.push(match d {
            0 if !allow_zero => *x.get(i).ok_or(OpError::Axis { axis: i as i64, rank: x.len() })?,
            -1 if open.replace(i).is_none() => 1,
            d => usize::try_from(d)
                .map_err(|_| wrong("shape", "lengths and at most one -1", given))?,
        });
    }
    let Some(open) = open else { return Ok(shape) };
    let (all, rest) = (crate::elements(x)?, crate::elements(&shape)?);
    if rest == 0 || all % rest != 0 {
        return Err(OpError::ElementCount { shape, expected: rest, found: all });
    }
    shape[open] = all / rest;
    Ok(shape)
}

fn flatten(x: &[usize], axis: i64) -> Result<Vec<usize>, OpError> {
    // The axis is a cut between axes: one past the last is allowed.
    let at = if axis < 0 { super::axis(axis, x.len())? } else { super::axis(axis, x.len() + 1)? };
    Ok(vec![crate::elements(&x[..at])?, crate::elements(&x[at..])?])
}

fn squeeze(x: &[usize], axes: Option<Vec<i64>>) -> Result<Vec<usize>, OpError> {
    let Some(axes) = axes else {
        return Ok(x.iter().copied().filter(|&d| d != 1).collect());
    };
    let mut gone = vec![false; x.len()];
    for &a in &axes {
        let axis = super::axis(a, x.len())?;
        if x[axis] != 1 {
            return Err(OpError::AxisLength { input: 0, axis, expected: 1, found: x[axis] });
        }
        gone[axis] = true;
    }
    Ok(x.iter().zip(gone).filter(|(_, gone)| !gone).map(|(&d, _)| d).collect())
}

fn unsqueeze(x: &[usize], axes: &[i64]) -> Result<Vec<usize>, OpError> {
    let rank = x.len() + axes.len();
    let mut new = vec![false; rank];
    for &a in axes {
        if std::mem::replace(&mut new[super::axis(a, rank)?], true) {
            return Err(wrong("axes", "distinct axes", axes));
        }
    }
    let mut old = x.iter().copied();
    Ok(new
        .into_iter()
        .map(|new| if new { 1 } else { old.next().expect("as many old axes as the input has") })
        .collect())
}

/// Axes, with their lengths, that hold the same elements on both sides; axes of length 1 are left out.
struct Group {
    from: Vec<(usize, usize)>,
    to: Vec<(usize, usize)>,
}

/// The finest groups of two shapes with the same number of elements, none for empty tensors.
fn groups(from: &[usize], to: &[usize]) -> Vec<Group> {
    let long = |shape: &[usize]| {
        shape.iter().copied().enumerate().filter(|&(_, d)| d != 1).collect::<Vec<_>>().into_iter()
    };
    if from.contains(&0) || to.contains(&0) {
        return vec![];
    }
    let (mut from, mut to, mut groups) = (long(from), long(to), vec![]);
    while let (Some(a), Some(b)) = (from.next(), to.next()) {
        let (mut p, mut q) = (a.1, b.1);
        let mut group = Group { from: vec![a], to: vec![b] };
        while p != q {
            let (side, axes, product) = if p < q {
                (&mut from, &mut group.from, &mut p)
            } else {
                (&mut to, &mut group.to, &mut q)
            };
            let Some(next) = side.next() else {
                return groups;
            };
            axes.push(next);
            *product = product.saturating_mul(next.1);
        }
        groups.push(group);
    }
    groups
}

impl Operator for Reshape {
    const OP_TYPES: &'static [&'static str] = &["Reshape", "Flatten", "Squeeze", "Unsqueeze"];

    fn parse(spec: &mut NodeSpec<'_>) -> Result<Parsed, OpError> {
        let x = &spec.ty(0)?.shape;
        let shape = match spec.op_type {
            "Flatten" => flatten(x, spec.attributes.int("axis")?.unwrap_or(1))?,
            "Squeeze" | "Unsqueeze" => {
                let axes =
                    if spec.opset < 13 { spec.attributes.ints("axes")? } else { spec.integers(1)? };
                match (spec.op_type, axes) {
                    ("Squeeze", axes) => squeeze(x, axes)?,
                    (_, axes) => {
                        unsqueeze(x, &axes.ok_or(OpError::MissingAttribute { name: "axes" })?)?
                    }
                }
            }
            _ => {
                let allow_zero =
                    spec.opset >= 14 && spec.attributes.flag("allowzero")?.unwrap_or(false);
                let given =
                    spec.integers(1)?.ok_or(OpError::InputCount { expected: "2", found: 1 })?;
                resolve(x, &given, allow_zero)?
            }
        };
        Ok(Parsed::first(Self { shape }, 1))
    }

    fn op_type(&self) -> &'static str {
        "Reshape"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        super::expect_inputs(inputs, 1..=1, "1")?;
        let x = inputs[0];
        let (expected, found) = (crate::elements(&self.shape)?, crate::elements(&x.shape)?);
        if expected != found {
            return Err(OpError::ElementCount { shape: self.shape.clone(), expected, found });
        }
        Ok(vec![TensorType::new(x.dtype, self.shape.clone())])
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        super::expect_inputs(inputs, 1..=1, "1")?;
        if let found @ DataType::Other(_) = inputs[0].dtype() {
            return Err(OpError::UnsupportedDType { found });
        }
        Ok(vec![inputs[0].reshaped(self.shape.clone())?])
    }

    fn channel_links(&self, shapes: &Shapes<'_>) -> Channels {
        let span = |port, axis, len, block| Span { port, axis, start: 0, len, block };
        let mut channels = Channels::none();
        for Group { from, to } in groups(&shapes.inputs[0].shape, &self.shape) {
            // Dropping an index of the first of several axes drops a block of the one axis they make up.
            if from.len() > 1 && to.len() > 1 {
                continue;
            }
            let ((a, p), (b, q)) = (from[0], to[0]);
            let len = p.min(q);
            channels.links.push(ChannelLink {
                a: span(Input(0), a, len, p / len),
                b: span(Output(0), b, len, q / len),
            });
        }
        channels
    }

    fn keep(&self, _shapes: &Shapes<'_>, kept: &KeptAxes) -> Self {
        Self {
            shape: self
                .shape
                .iter()
                .enumerate()
                .map(|(a, &len)| kept.len(Output(0), a, len))
                .collect(),
        }
    }

    fn quant_facts(&self) -> QuantFacts {
        QuantFacts::SharesInput
    }

    fn macs(&self, _shapes: &Shapes<'_>) -> u64 {
        0
    }

    fn lower(&self, opset: i64, _inputs: usize, _outputs: usize) -> Vec<LoweredNode> {
        let shape = Tensor::vector(self.shape.iter().map(|&d| d as i64).collect());
        let empty = opset >= 14 && self.shape.contains(&0);
        vec![LoweredNode {
            op_type: "Reshape",
            inputs: vec![LoweredInput::Input(0), LoweredInput::Constant("shape", shape)],
            outputs: vec![LoweredOutput::Output(0)],
            attributes: if empty { vec![("allowzero", Attribute::Int(1))] } else { vec![] },
        }]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reshape_shapes_resolve_as_onnx_says() {
        assert_eq!(resolve(&[2, 3, 4], &[0, -1], false), Ok(vec![2, 12]));
        assert!(resolve(&[2, 3], &[-1, -1], false).is_err());
        assert!(resolve(&[2, 3], &[4, -1], false).is_err());
        assert!(resolve(&[0, 3], &[0, -1], true).is_err());
        assert!(resolve(&[2], &[2, 0], false).is_err());
        assert!(resolve(&[2], &[-2], false).is_err());
        assert_eq!(flatten(&[2, 3, 4], -1), Ok(vec![6, 4]));
        assert_eq!(flatten(&[2, 3], 2), Ok(vec![6, 1]));
        assert_eq!(squeeze(&[1, 3, 1], Some(vec![-1])), Ok(vec![1, 3]));
        assert!(squeeze(&[1, 3], Some(vec![1])).is_err());
        assert_eq!(unsqueeze(&[3], &[-1, 0]), Ok(vec![1, 3, 1]));
        assert!(unsqueeze(&[3], &[0, -3]).is_err());
    }

    #[test]
    fn reshape_links_blocks_of_split_and_merged_axes() {
        let links = |from: &[usize], to: &[usize]| {
            let (x, y) = (TensorType::new(DataType::F32, from), TensorType::new(DataType::F32, to));
            let links = Reshape { shape: to.to_vec() }
                .channel_links(&Shapes { inputs: vec![&x], outputs: vec![&y] })
                .links;
            links
                .iter()
                .map(|l| (l.a.axis, l.b.axis, l.a.len, l.a.block, l.b.block))
                .collect::<Vec<_>>()
        };
        assert_eq!(links(&[1, 64, 10], &[1, 4, 16, 10]), [(1, 1, 4, 16, 1), (2, 3, 10, 1, 1)]);
        assert_eq!(links(&[1, 4, 16, 10], &[1, 64, 10]), [(1, 1, 4, 1, 16), (3, 2, 10, 1, 1)]);
        assert_eq!(links(&[4, 6], &[6, 4]), []);
        assert_eq!(links(&[3, 1], &[1, 3, 1]), [(0, 1, 3, 1, 1)]);
    }
}
