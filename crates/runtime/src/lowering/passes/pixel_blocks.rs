//! Convolutions over pixels that were first moved into channels (Focus) read the image where it is.
use crate::RuntimeError;
use crate::lowering::rewriter::Rewriter;
use crate::steps::{Rearrange, Work};
use crate::values::Operand;
use ir::{PixelBlocks, PixelGrid};

/// Lets convolutions of a Concat of an image's Slices read the image.
pub(super) fn read_images(r: &mut Rewriter<'_, '_>) -> Result<(), RuntimeError> {
    for i in r.positions() {
        let Some((image, blocks)) = moved_image(r, i) else {
            continue;
        };
        if let Work::Conv(conv) = &mut r[i].work
            && let Some(wide) = blocks.widen(&conv.attributes)
        {
            conv.attributes = wide;
            conv.blocks = Some(blocks);
            r.set_inputs(i, vec![image]);
        }
    }
    Ok(())
}

/// The image that a convolution's input channels are pixels of, and which.
fn moved_image(r: &Rewriter<'_, '_>, i: usize) -> Option<(Operand, PixelBlocks)> {
    if !matches!(r[i].work, Work::Conv(_)) {
        return None;
    }
    let joined = r[i].inputs[0];
    let writer = r.writer(joined).filter(|_| r.only_reader(joined) == Some(i))?;
    let concat = &r[writer];
    if !matches!(&concat.work, Work::Concat(concat) if concat.axis == 1) {
        return None;
    }
    let parts = concat.inputs.iter().map(|&v| sliced(r, v));
    let parts: Vec<(Operand, PixelGrid)> = parts.collect::<Option<_>>()?;
    let image = parts.first()?.0;
    let grids: Vec<PixelGrid> = parts.iter().map(|part| part.1).collect();
    let blocks = PixelBlocks::new(&grids, r.values.shape(image)?, r.values.shape(joined)?)?;
    let is_one = parts.iter().all(|part| part.0 == image);
    is_one.then_some((image, blocks))
}

/// The image of which Slices take some rows and columns, and which.
fn sliced(r: &Rewriter<'_, '_>, mut v: Operand) -> Option<(Operand, PixelGrid)> {
    let mut grid = PixelGrid::WHOLE;
    while let Some(writer) = r.writer(v) {
        let Work::Rearrange(Rearrange::Slice(slice)) = &r[writer].work else {
            break;
        };
        grid = grid.of_slice(slice)?;
        v = r[writer].inputs[0];
    }
    Some((v, grid))
}
