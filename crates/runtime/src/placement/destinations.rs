//! Values that steps write where they end up: inside the result of a Concat, or as rows of a table of anchors.
use crate::layout::{self, At};
use crate::values::Operand;
use kernels::KernelError;
use std::collections::{BTreeMap, BTreeSet};

/// The part of a Concat's result that a value is written to.
pub(crate) struct Destination {
    /// The result.
    pub(crate) value: Operand,
    pub(crate) axis: usize,
    pub(crate) start: usize,
    pub(crate) len: usize,
}

/// What is written where it ends up.
#[derive(Default)]
pub(crate) struct Destinations {
    pub(crate) of: BTreeMap<Operand, Destination>,
    /// Concats of flattened images, whose channels lie side by side as in the images.
    pub(crate) channels_last: BTreeSet<Operand>,
    /// Convolutions whose groups of channels are rows of a table of anchors.
    pub(crate) anchors: BTreeMap<Operand, AnchorRows>,
}

/// Where the channels of a convolution go whose groups of channels are anchors, as in YOLOv5's head.
#[derive(Clone, Copy)]
pub(crate) struct AnchorRows {
    /// The result as `[N, anchors, H, W, C / anchors]`.
    pub(crate) table: Operand,
    pub(crate) anchors: usize,
}

impl AnchorRows {
    /// The image that one anchor's channels make in the table.
    pub(crate) fn image(self, table: At, anchor: usize) -> Result<At, KernelError> {
        let rows = table.view.slice(1, anchor, 1)?;
        let images = rows.permute(&[0, 1, 4, 2, 3])?;
        let shape = [0, 2, 3, 4].map(|axis| images.shape[axis]);
        let view = layout::reshape(&images, &shape);
        Ok(At { view: view.expect("only an axis of length 1 goes"), covers_pixels: false, ..table })
    }
}
