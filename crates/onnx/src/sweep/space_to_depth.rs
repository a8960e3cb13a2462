//! SpaceToDepth, read as the slices and the join that it is (ONNX SpaceToDepth, opsets 1 and 13), so that Focus has one
//! form. ONNX Runtime's tools write it where a model had the slices.
use super::Sweep;
use crate::OnnxError;
use crate::proto::NodeProto;
use ir::ops::{Concat, Slice, SliceRange};
use ir::{Op, OpError, Parsed};

impl Sweep<'_> {
    /// Reads the node; `false` where its input has no static shape of four axes.
    ///
    /// # Errors
    /// `Node` when `blocksize` is missing or does not divide height and width.
    pub(crate) fn space_to_depth(
        &mut self,
        node: &NodeProto,
        name: &str,
        blocksize: Option<i64>,
    ) -> Result<bool, OnnxError> {
        let ty = node.input.first().and_then(|n| self.slots.get(n)?.ty.clone());
        let (Some(ty), [output]) = (ty, node.output.as_slice()) else {
            return Ok(false);
        };
        let &[_, _, height, width] = ty.shape.as_slice() else {
            return Ok(false);
        };
        let divides = |b: &usize| *b > 0 && height % b == 0 && width % b == 0;
        let block = blocksize.and_then(|b| usize::try_from(b).ok());
        let Some(block) = block.filter(divides) else {
            let source = OpError::Attribute {
                name: "blocksize".to_owned(),
                expected: "a divisor of height and width",
                found: format!("{blocksize:?} for {height} x {width}"),
            };
            return Err(self.node_error(node, name, source));
        };
        let every = |axis, start, dim: usize| SliceRange {
            axis,
            start,
            len: dim / block,
            step: if dim / block > 1 { block as i64 } else { 1 },
        };
        let mut parts = Vec::new();
        for (row, column) in (0..block * block).map(|i| (i / block, i % block)) {
            let part = format!("{output}_block_{row}_{column}");
            let ranges = vec![every(2, row, height), every(3, column, width)];
            let slice = Op::from(Slice { ranges });
            self.made(&node.input[..1], &part, slice)?;
            parts.push(part);
        }
        self.made(&parts, output, Concat { axis: 1 }.into())?;
        Ok(true)
    }

    fn made(&mut self, inputs: &[String], output: &str, op: Op) -> Result<(), OnnxError> {
        let node = NodeProto {
            input: inputs.to_vec(),
            output: vec![output.to_owned()],
            op_type: Some(op.op_type().to_owned()),
            ..NodeProto::default()
        };
        let parsed = Parsed { op, inputs: (0..inputs.len()).collect() };
        self.known(&node, output.to_owned(), parsed)
    }
}
