//! Activations of what convolutions gave and Concat, Reshape or Transpose only moved about: each element is read once, wherever
//! it lies, so the convolutions can apply the activation themselves.
use crate::RuntimeError;
use crate::lowering::rewriter::Rewriter;
use crate::steps::{Conv, Rearrange, Work};
use kernels::Activation;

/// Moves such activations into the convolutions.
pub(super) fn hoist(r: &mut Rewriter<'_, '_>) -> Result<(), RuntimeError> {
    for i in r.positions() {
        let Work::Unary(unary) = &r[i].work else {
            continue;
        };
        let activation = unary.activation();
        let activation = activation.filter(|&a| Conv::int8_activation(a).is_some());
        let (Some(activation), Some(convolutions)) = (activation, moved_convolutions(r, i)) else {
            continue;
        };
        for conv in convolutions {
            if let Work::Conv(conv) = &mut r[conv].work {
                conv.activation = activation;
            }
        }
        if let Some(writer) = r.writer(r[i].inputs[0]) {
            r.fuse(i, writer);
        }
    }
    Ok(())
}

/// The convolutions whose results item `i` reads, if they are moved, and nothing else reads any part of them.
fn moved_convolutions(r: &Rewriter<'_, '_>, i: usize) -> Option<Vec<usize>> {
    let (mut convolutions, mut open) = (Vec::new(), vec![(r[i].inputs[0], i)]);
    let mut is_moved = false;
    while let Some((v, reader)) = open.pop() {
        let writer = r.writer(v).filter(|_| r.only_reader(v) == Some(reader))?;
        match &r[writer].work {
            Work::Conv(conv) if is_moved && conv.activation == Activation::Identity => {
                convolutions.push(writer);
            }
            Work::Concat(_) | Work::Rearrange(Rearrange::Reshape | Rearrange::Transpose(_)) => {
                is_moved = true;
                open.extend(r[writer].inputs.iter().map(|&v| (v, writer)));
            }
            _ => return None,
        }
    }
    Some(convolutions)
}
