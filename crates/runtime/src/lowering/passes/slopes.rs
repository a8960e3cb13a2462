//! In training, a convolution whose activation follows stores the slope of the activation beside its result, and what is no longer
//! read, its sums, not at all. The gradient is then a product.
use crate::RuntimeError;
use crate::lowering::rewriter::Rewriter;
use crate::steps::{Binary, Work};
use kernels::{Activation, BinaryOp};

/// Lets convolutions keep slopes.
pub(super) fn keep(r: &mut Rewriter<'_, '_>) -> Result<(), RuntimeError> {
    for i in r.positions() {
        let Work::Unary(unary) = &r[i].work else {
            continue;
        };
        let Some((activation, gradients)) =
            unary.activation().and_then(|a| Some((a, gradients(r, i, a)?)))
        else {
            continue;
        };
        let Some(writer) = r.writer(r[i].inputs[0]).filter(|&writer| is_bare(r, writer)) else {
            continue;
        };
        if let Work::Conv(conv) = &mut r[writer].work {
            (conv.activation, conv.keeps_slope) = (activation, true);
        }
        r.fuse_beside(i, writer);
        for gradient in gradients {
            r[gradient].work = Work::Binary(Binary(BinaryOp::Mul));
        }
    }
    Ok(())
}

/// The gradients that read the input of activation `i`, if nothing else does.
fn gradients(r: &Rewriter<'_, '_>, i: usize, activation: Activation) -> Option<Vec<usize>> {
    let x = r[i].inputs[0];
    let mut readers = r.readers(x)?;
    readers.retain(|&reader| reader != i);
    let is_gradient = |&reader: &usize| {
        matches!(&r[reader].work, Work::UnaryGradient(gradient) if gradient.0 == activation)
            && r[reader].inputs[0] == x
            && r[reader].inputs[1] != x
    };
    (!readers.is_empty() && readers.iter().all(is_gradient)).then_some(readers)
}

/// Whether it is a convolution in f32 that does nothing more.
fn is_bare(r: &Rewriter<'_, '_>, i: usize) -> bool {
    let item = &r[i];
    let is_single = !item.on_int8 && item.inputs.len() == 1 && item.outputs.len() == 1;
    matches!(&item.work, Work::Conv(conv) if is_single
        && conv.activation == Activation::Identity
        && conv.fake_quantize.is_none())
}
