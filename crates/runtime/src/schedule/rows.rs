//! Convolutions whose groups of channels are the rows of a table, as the anchors of YOLOv5's head.
use super::parents::{Parent, Parents};
use crate::RuntimeError;
use crate::layout::{self, At};
use crate::lowering::{Item, Lowered, Operand, Wiring, Work};
use ir::Op;
use ir::ops::Concat;

/// Where the channels of a convolution's result go.
#[derive(Clone, Copy)]
pub(crate) struct Rows {
    /// The result as `[N, groups, H, W, C / groups]`.
    pub(crate) table: Operand,
    pub(crate) groups: usize,
}

/// Finds the convolution behind a Concat of a table's columns, some of them changed one by one: it can write the table
/// itself, and the changes happen in place.
pub(super) fn adopt_rows(
    lowered: &Lowered<'_>,
    wiring: &Wiring,
    (item, concat): (&Item, &Concat),
    found: &mut Parents,
) -> Option<()> {
    let y = item.outputs[0];
    let writer = |v: Operand| wiring.writer.get(&v).map(|&i| &lowered.items[i]);
    let alone = |v: Operand| {
        wiring
            .only_reader(v)
            .filter(|_| !lowered.keep.contains(&v.value))
    };
    let column = |v: Operand| {
        let change = writer(v)?;
        match &change.work {
            Work::Chain(_) | Work::Unary(_) => alone(change.inputs[0]).map(|_| change.inputs[0]),
            _ => Some(v),
        }
    };
    let columns: Option<Vec<Operand>> = item.inputs.iter().map(|&v| column(v)).collect();
    let columns = columns.filter(|_| concat.axis == 4)?;
    let split = writer(*columns.first()?)?;
    let cut = matches!(&split.work, Work::Node(Op::Split(split)) if split.axis == 4);
    let table = *split.inputs.first()?;
    alone(table).filter(|_| cut && split.outputs == columns)?;
    let transposed = writer(table)?;
    let Work::Node(Op::Transpose(transpose)) = &transposed.work else {
        return None;
    };
    let grouped = *transposed.inputs.first()?;
    alone(grouped).filter(|_| transpose.perm == [0, 1, 3, 4, 2])?;
    let reshaped = writer(grouped).filter(|i| matches!(i.work, Work::Node(Op::Reshape(_))))?;
    let image = *reshaped.inputs.first()?;
    alone(image)?;
    let conv = writer(image)?;
    let group = match &conv.work {
        Work::Conv(conv) => conv.conv.group,
        Work::QConv(conv) => conv.conv.group,
        _ => return None,
    };
    let shape = |v: Operand| lowered.graph.ty(v.value).map(|t| t.shape.as_slice()).ok();
    let (&[n, c, h, w], &[_, groups, k, _, _]) = (shape(image)?, shape(grouped)?) else {
        return None;
    };
    let fits = *shape(grouped)? == [n, groups, k, h, w] && groups * k == c;
    if !fits || group != 1 || conv.inputs.len() != 1 || shape(table) != shape(y) {
        return None;
    }
    found.rows.insert(image, Rows { table, groups });
    let (axis, start, len) = (4, 0, k);
    found.of.insert(
        table,
        Parent {
            value: y,
            axis,
            start,
            len,
        },
    );
    Some(())
}

impl Rows {
    /// The image that one group of channels makes in the table.
    pub(super) fn image(&self, name: &str, table: At, group: usize) -> Result<At, RuntimeError> {
        let failed = || RuntimeError::kernel(name);
        let rows = table.view.slice(1, group, 1).map_err(failed())?;
        let images = rows.permute(&[0, 1, 4, 2, 3]).map_err(failed())?;
        let shape = [0, 2, 3, 4].map(|axis| images.shape[axis]);
        let view = layout::reshape(&images, &shape);
        Ok(At {
            view: view.expect("only an axis of length 1 goes"),
            plane: false,
            ..table
        })
    }
}
